//! A server on a unix socket, on a thread of its own, and clients of it.
//!
//! Knows the folder that each test has for its sockets.
//!
//! Rule: every wait has a deadline, and no folder is left behind.

use crate::harness::{DEADLINE, wait_until};
use reactor_pool::{Builder, Config, Response, Server, Service, Stopper, Summary};
use rustix::net::{RecvFlags, recv};
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A folder for sockets, removed at the end of its test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reactor-pool-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new name");
        Folder(folder)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A server on a thread of its own, of which only a socket's path is known.
pub(crate) struct Local {
    path: PathBuf,
    stopper: Stopper,
    thread: JoinHandle<io::Result<Summary>>,
}

pub(crate) fn listen_unix(config: Config, path: &Path) -> io::Result<Builder> {
    Server::builder(config)?.listen_unix(path)
}

impl Local {
    pub(crate) fn start(config: Config, path: &Path, service: impl Service) -> Local {
        let server = listen_unix(config, path).and_then(|builder| builder.serve(service));
        let server = server.expect("nobody else listens there");
        let stopper = server.stopper();
        Local {
            path: path.to_owned(),
            stopper,
            thread: thread::spawn(move || server.run()),
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::over(UnixStream::connect(&self.path).expect("it listens there"))
    }

    pub(crate) fn stop(self) -> Summary {
        self.stopper.stop();
        wait_until("the server has ended", || self.thread.is_finished());
        let ended = self.thread.join().expect("the reactor does not panic");
        ended.expect("polling does not fail")
    }
}

pub(crate) struct Client(pub(crate) BufReader<UnixStream>);

impl Client {
    pub(crate) fn over(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
        Client(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.0.get_mut().write_all(bytes.as_ref());
        sent.expect("the server takes the bytes");
    }

    pub(crate) fn half_close(&self) {
        let shut = self.0.get_ref().shutdown(Shutdown::Write);
        shut.expect("half-close");
    }

    /// Waits until there is something to read, which stays there.
    pub(crate) fn peek(&self) {
        let peeked = recv(self.0.get_ref(), &mut [0; 1][..], RecvFlags::PEEK);
        peeked.expect("an answer comes");
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        assert_eq!(line, format!("{expected}\n"));
    }

    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an orderly end");
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
    }
}

/// Answers each line with itself. `nap` takes a moment.
pub(crate) fn echo(request: &[u8], response: &mut Response<'_>) {
    if request.starts_with(b"nap") {
        thread::sleep(Duration::from_millis(20));
    }
    response.push(b"OK ");
    response.push(request);
}
