//! Sockets that come from outside: a server is started with them, and they outlive it; and ports
//! that processes share (promise 9, between two processes).
//!
//! Knows how a supervisor passes sockets: sd_listen_fds(3). The test is the supervisor.
//!
//! Rule: while the supervisor holds the socket, no connect is refused, whatever the servers do.

mod common;

use common::{Client, DEADLINE, Launch, Server, clean_environment, ms, wait_until};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What a server may take to go, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn tcp() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// What is passed of a socket that the test keeps.
fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().expect("a descriptor").into()
}

/// All addresses that the log names, in their order.
fn addresses(server: &Server) -> Vec<String> {
    let lines = server.log().lines();
    let words = lines.iter().filter(|line| line.contains("listening"));
    let words = words.flat_map(|line| line.split_whitespace());
    words
        .filter_map(|word| word.strip_prefix("addr="))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn assert_serves(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.send("ECHO hello\n");
    client.expect("OK hello");
}

// ---- what is passed
// -----------------------------------------------------------------------------

#[test]
fn passed_sockets_are_served_and_take_the_place_of_the_default_address() {
    let (listener, address) = tcp();
    let path = std::env::temp_dir().join(format!("reactor-pool-passed-{}", std::process::id()));
    let unix = UnixListener::bind(&path).expect("nothing is there");
    let sockets = vec![copy(&listener), unix.into()];
    let mut server = Launch::new(&[]).passing(sockets, "").start();
    assert_serves(address);
    let mut client = UnixStream::connect(&path).expect("it listens");
    client
        .write_all(b"ECHO over unix\n")
        .expect("it takes that");
    client.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let mut line = String::new();
    let read = BufReader::new(&client).read_line(&mut line);
    read.expect("an answer in time");
    assert_eq!(line, "OK over unix\n");
    drop(client);

    server
        .log()
        .wait_for("names both", |line| line.contains("too"));
    let expected = [address.to_string(), path.display().to_string()];
    assert_eq!(addresses(&server), expected);
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    // Whose socket it is, may still want its file.
    std::fs::remove_file(&path).expect("the server leaves it there");
}

#[test]
fn what_flags_ask_for_is_served_beside_passed_sockets() {
    let (listener, address) = tcp();
    let launch = Launch::new(&["--port", "0"]).passing(vec![copy(&listener)], "");
    let server = launch.start();
    server
        .log()
        .wait_for("names both", |line| line.contains("too"));
    let addresses = addresses(&server);
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert_eq!(addresses[0], address.to_string());
    for address in addresses {
        assert_serves(address.parse().expect("an address"));
    }
}

#[test]
fn a_passed_socket_called_admin_is_that_of_the_admin_interface() {
    // What the other one is called need be no text.
    for names in ["admin:main", "admin:'$(printf '\\377')'"] {
        assert_serves_admin_at_the_first(names);
    }
}

fn assert_serves_admin_at_the_first(names: &str) {
    let ((main, main_address), (admin, admin_address)) = (tcp(), tcp());
    let sockets = vec![copy(&admin), copy(&main)];
    let _server = Launch::new(&[]).passing(sockets, names).start();
    assert_serves(main_address);
    let mut client = TcpStream::connect(admin_address).expect("it listens");
    client.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let request = "GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).expect("it takes that");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let launch = Launch::new(&[]).env("LISTEN_FDS", "1");
    let server = launch.env("LISTEN_PID", "1").start();
    server.assert_serves();
}

#[test]
fn passed_sockets_that_cannot_be_used_are_an_error_in_one_line() {
    for (count, names, expected) in [
        ("one", "", "LISTEN_FDS is \"one\""),
        ("99999", "", "LISTEN_FDS is \"99999\""),
        ("1", "", "something else than a TCP or unix stream socket"),
        ("2", "admin", "LISTEN_FDNAMES has 1 names"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
        clean_environment(&mut command);
        command
            .env("LISTEN_FDS", count)
            .env("LISTEN_FDNAMES", names);
        let output = command.output().expect("the server binary starts");
        assert_eq!(output.status.code(), Some(2), "{count} {names:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let is_one_line = stderr.lines().count() == 1;
        assert!(is_one_line && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn a_passed_socket_that_does_not_listen_is_an_error_in_one_line() {
    let (connected, _other) = UnixStream::pair().expect("two descriptors");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" 3<&0", env!("CARGO_BIN_EXE_server")]);
    clean_environment(&mut command);
    command
        .env("LISTEN_FDS", "1")
        .stdin(OwnedFd::from(connected));
    let output = command.output().expect("the server binary starts");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = "error: LISTEN_FDS passes a socket that does not listen, as number 1\n";
    assert_eq!(stderr, expected);
}

// ---- between two processes
// ----------------------------------------------------------------------

/// Connects anew for each request until `is_over`; says how many were answered.
fn connect_anew(address: SocketAddr, is_over: &AtomicBool) -> u64 {
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut client = Client::connect(address);
        client.send("ECHO a\n");
        answered += u64::from(client.line_or_end().is_some());
    }
    answered
}

#[test]
fn restarts_at_a_passed_socket_lose_no_connect() {
    const RESTARTS: usize = 20;
    let (listener, address) = tcp();
    let is_over = AtomicBool::new(false);
    let start = || {
        let launch = Launch::new(&["--workers", "2"]);
        launch.passing(vec![copy(&listener)], "").start()
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| connect_anew(address, &is_over)))
            .collect();
        for _ in 0..RESTARTS {
            let mut server = start();
            thread::sleep(ms(50));
            server.signal("TERM");
            assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
        }
        let _last = start();
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            let answered = client.join().expect("no connect is refused");
            assert!(answered > RESTARTS as u64, "{answered} requests");
        }
    });
}

#[test]
fn what_connects_in_the_second_half_of_a_stop_delay_is_served_by_the_next_server() {
    let (listener, address) = tcp();
    let start = |flags: &[&str]| {
        Launch::new(flags)
            .passing(vec![copy(&listener)], "")
            .start()
    };
    let mut first = start(&["--stop-delay", "2"]);
    let mut known = Client::connect(address);
    first.signal("TERM");
    wait_until("connections are closed after an answer", DEADLINE, || {
        known.send("ECHO a\n");
        known.expect("OK a");
        known.has_ended()
    });
    let mut new = Client::connect(address);
    // In the words of the server that answers.
    new.send("SLEEP 8\n");
    assert_eq!(first.wait_for_exit(SOON).code(), Some(0));
    let _second = start(&["--max-sleep", "7"]);
    new.expect("ERR SLEEP needs an integer from 0 to 7");
}

// ---- several at one port
// ------------------------------------------------------------------------

/// Connections that a server has accepted, from its log.
fn opened(server: &Server) -> usize {
    let lines = server.log().lines();
    lines.iter().filter(|line| line.contains("opened")).count()
}

#[test]
fn servers_share_a_port_where_all_of_them_say_so() {
    const CONNECTS: usize = 64;
    let mut first = Server::start(&["-v", "--reuse-port"]);
    let port = first.address().port();
    let second = Launch::new(&["-v", "--reuse-port"]).port(port).start();
    for _ in 0..CONNECTS {
        assert_serves(first.address());
    }
    wait_until("both have logged all of them", DEADLINE, || {
        opened(&first) + opened(&second) == CONNECTS
    });
    assert!(opened(&first) > 0 && opened(&second) > 0);

    first.signal("TERM");
    assert_eq!(first.wait_for_exit(SOON).code(), Some(0));
    for _ in 0..CONNECTS {
        second.assert_serves();
    }
    let mut third = Command::new(env!("CARGO_BIN_EXE_server"));
    clean_environment(&mut third);
    let output = third.args(["--port", &port.to_string()]).output();
    let output = output.expect("the server binary starts");
    assert_eq!(output.status.code(), Some(1), "without the flag");
}
