//! `--unix`: where the command listens, what it says of that, and that its file goes with it.
//!
//! Knows the start line and the exit codes.
//!
//! Rule: no end but SIGKILL leaves a file, and no file that is left keeps the next server from
//! starting.

use crate::common::{DEADLINE, Launch, Server, wait_until};
use crate::run;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A name for a socket, and nothing there; what is there in the end is removed.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> SocketPath {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reactor-pool-{}-{number}.sock", std::process::id());
        SocketPath(std::env::temp_dir().join(name))
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("ASCII")
    }

    /// Asserts that a server answers there.
    fn assert_serves(&self) {
        let mut client = self.connect();
        client.write_all(b"ECHO hello\n").expect("it takes that");
        let mut line = String::new();
        let read = BufReader::new(client).read_line(&mut line);
        read.expect("an answer in time");
        assert_eq!(line, "OK hello\n");
    }

    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(&self.0).expect("a server listens there");
        client.set_read_timeout(Some(DEADLINE)).expect("not zero");
        client
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// A server that listens at `path` alone.
fn start(path: &SocketPath) -> Server {
    Launch::new(&["--unix", path.text()]).without_port().start()
}

#[test]
fn a_unix_socket_takes_the_place_of_tcp_and_the_start_line_names_it() {
    let path = SocketPath::new();
    let server = start(&path);
    path.assert_serves();
    let lines = server.log().lines();
    let listening: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("listening"))
        .collect();
    assert_eq!(listening.len(), 1, "{listening:?}");
    let wanted = format!("listening addr={} workers=4", path.text());
    assert!(listening[0].contains(&wanted), "{listening:?}");
    assert!(!lines.iter().any(|line| line.contains("WARN")), "{lines:?}");
}

#[test]
fn with_a_port_it_listens_at_both_and_several_may_be_given() {
    let paths = [SocketPath::new(), SocketPath::new()];
    let flags = ["--unix", paths[0].text(), "--unix", paths[1].text()];
    let server = Server::start(&flags);
    server.assert_serves();
    for path in &paths {
        path.assert_serves();
        let wanted = format!("listening, too addr={}", path.text());
        server
            .log()
            .wait_for("names it", |line| line.contains(&wanted));
    }
}

#[test]
fn the_path_comes_from_its_variable() {
    let path = SocketPath::new();
    let launch = Launch::new(&[]).env("REACTOR_POOL_UNIX", path.text());
    let _server = launch.without_port().start();
    path.assert_serves();
}

#[test]
fn the_file_goes_at_sigterm() {
    let path = SocketPath::new();
    let mut server = start(&path);
    path.assert_serves();
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(0));
    assert!(!path.0.exists());
}

#[test]
fn the_file_goes_at_a_second_signal() {
    let path = SocketPath::new();
    let mut server = start(&path);
    let mut client = path.connect();
    client.write_all(b"SLEEP 10000\n").expect("it takes that");
    server.signal("TERM");
    wait_until("it stops listening", DEADLINE, || !path.0.exists());
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(1));
    assert!(!path.0.exists());
}

#[test]
fn the_file_of_a_server_that_was_killed_does_not_keep_the_next_one_from_starting() {
    let path = SocketPath::new();
    drop(start(&path));
    assert!(path.0.exists(), "SIGKILL leaves no time");
    let server = start(&path);
    path.assert_serves();
    server.log().wait_for("says so", |line| {
        line.contains("nobody answers at this socket") && line.contains(path.text())
    });
}

#[test]
fn a_path_that_cannot_be_had_gives_one_line_with_path_and_cause_and_exit_code_1() {
    let (taken, file) = (SocketPath::new(), SocketPath::new());
    let _server = start(&taken);
    fs::write(&file.0, "precious").expect("a new file");
    let long = format!("/tmp/{}", "x".repeat(200));
    for (path, cause) in [
        (taken.text(), "in use"),
        (file.text(), "not a socket"),
        (&long, "107 bytes"),
        ("/no/such/folder/socket", "No such file"),
    ] {
        let outcome = run(&["--unix", path], &[]);
        let line = outcome.only_line(1, path);
        let begin = format!("error: cannot listen on {path}: ");
        assert!(line.starts_with(&begin) && line.contains(cause), "{line}");
    }
    taken.assert_serves();
    assert_eq!(fs::read(&file.0).expect("it is there"), b"precious");
    let outcome = run(&["--unix", ""], &[]);
    assert!(outcome.only_line(2, "empty").contains("--unix"));
}
