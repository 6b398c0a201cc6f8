//! A server of the library on a thread of its own, clients of it, and what it logs.
//!
//! Knows no handler: each test brings its own.
//!
//! Rule: every wait has a deadline.

use reactor_pool::codec::Codec;
use reactor_pool::{Config, Handler, Monitor, Response, Server, Service, Stopper, Summary};
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, Once};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// What any single event may take on a machine that is busy with something else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a thread of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stopper: Stopper,
    pub(crate) monitor: Monitor,
    pub(crate) thread: JoinHandle<io::Result<Summary>>,
}

impl Running {
    pub(crate) fn start(
        config: Config,
        handler: impl Fn(&[u8], &mut Response<'_>) + Send + Sync + 'static,
    ) -> Running {
        Running::start_handler(config, handler)
    }

    /// As [`Running::start`], for what a closure cannot say.
    pub(crate) fn start_handler(config: Config, handler: impl Handler) -> Running {
        Running::start_service(config, handler)
    }

    pub(crate) fn start_service(config: Config, service: impl Service) -> Running {
        Running::run(Server::bind("127.0.0.1:0", config, service))
    }

    pub(crate) fn start_codec(
        config: Config,
        codec: impl Codec,
        handler: impl Fn(&[u8], &mut Response<'_>) + Send + Sync + 'static,
    ) -> Running {
        let builder = Server::builder(config).and_then(|new| new.listen("127.0.0.1:0"));
        Running::run(builder.and_then(|builder| builder.codec(codec).serve(handler)))
    }

    pub(crate) fn run(bound: io::Result<Server>) -> Running {
        let server = bound.expect("a free port");
        Running {
            address: server.local_addr().tcp().expect("of TCP"),
            stopper: server.stopper(),
            monitor: server.monitor(),
            thread: thread::spawn(move || server.run()),
        }
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        Client::over(stream)
    }

    /// Stops the server and waits for its end.
    pub(crate) fn stop(self) -> Summary {
        self.stopper.stop();
        self.end()
    }

    pub(crate) fn end(self) -> Summary {
        wait_until("the server has ended", || self.thread.is_finished());
        let ended = self.thread.join().expect("the reactor does not panic");
        ended.expect("polling does not fail")
    }
}

/// One connection, blocking, with a deadline on each read and write.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
        Client(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stream = self.0.get_mut();
        stream
            .write_all(bytes.as_ref())
            .expect("the server takes the bytes");
    }

    pub(crate) fn half_close(&self) {
        let stream = self.0.get_ref();
        stream.shutdown(Shutdown::Write).expect("half-close");
    }

    /// The next line without its LF.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("a line in time");
        assert_eq!(line.pop(), Some(b'\n'), "the last line is cut: {line:?}");
        String::from_utf8(line).expect("the handlers here answer in ASCII")
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.line(), *line);
        }
    }

    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an orderly end");
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What the library has logged in this process. All tests share it, so each looks for words of its
/// own.
#[derive(Clone, Copy)]
pub(crate) struct Log(&'static Mutex<Vec<u8>>);

impl Log {
    /// The log from here on, at debug and above.
    pub(crate) fn capture() -> Log {
        static BYTES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(Log(&BYTES));
            subscriber.init();
        });
        Log(&BYTES)
    }

    /// How many lines hold all of `words`.
    pub(crate) fn count(self, words: &[&str]) -> usize {
        self.lines(words).len()
    }

    /// The lines that hold all of `words`.
    pub(crate) fn lines(self, words: &[&str]) -> Vec<String> {
        let bytes = self.0.lock().expect("nobody panics while writing a line");
        let text = String::from_utf8_lossy(&bytes);
        let holds_all = |line: &&str| words.iter().all(|word| line.contains(word));
        text.split('\n')
            .filter(holds_all)
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().expect("nobody panics while writing a line");
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        *self
    }
}
