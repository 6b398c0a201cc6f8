//! Where a server listens besides one address of TCP: at several, at the files of unix sockets,
//! and at listeners that somebody else has made.
//!
//! Knows what unix(7) says of the files of sockets.
//!
//! Rule: only a socket that nobody answers at is replaced, and a server leaves no file behind.

use crate::harness::Running;
use crate::local::{Client, Folder, Local, echo, listen_unix};
use reactor_pool::{Address, Config, Server};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

// ---- the file
// ---------------------------------------------------------------------------------------

#[track_caller]
fn error_at(path: &Path) -> io::Error {
    let error = listen_unix(Config::default(), path).expect_err("it cannot be listened on");
    let begin = format!("cannot listen on {}: ", path.display());
    assert!(error.to_string().starts_with(&begin), "{error}");
    error
}

#[test]
fn a_socket_that_nobody_answers_at_is_replaced() {
    let folder = Folder::new();
    drop(UnixListener::bind(folder.path()).expect("a new name"));
    assert!(folder.path().exists(), "its owner has not removed it");
    let server = Local::start(Config::default(), &folder.path(), echo);
    let mut client = server.connect();
    client.send("a\n");
    client.expect("OK a");
    drop(client);
    server.stop();
}

#[test]
fn a_socket_of_a_server_that_lives_is_in_use_and_that_one_goes_on() {
    let folder = Folder::new();
    let server = Local::start(Config::default(), &folder.path(), echo);
    let error = error_at(&folder.path());
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("in use"), "{error}");
    let mut client = server.connect();
    client.send("a\n");
    client.expect("OK a");
    drop(client);
    server.stop();
}

#[test]
fn a_server_with_a_full_backlog_or_of_another_kind_is_in_use_too() {
    let folder = Folder::new();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let address = socket2::SockAddr::unix(folder.path()).expect("a short path");
    socket.bind(&address).expect("a new name");
    socket.listen(0).expect("it is bound");
    let first = UnixStream::connect(folder.path()).expect("a backlog of 0 takes one");
    assert_eq!(error_at(&folder.path()).kind(), ErrorKind::AddrInUse);
    drop(first);

    let path = folder.0.join("datagrams");
    let _bound = UnixDatagram::bind(&path).expect("a new name");
    assert_eq!(error_at(&path).kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_file_of_another_kind_is_an_error_and_is_left_alone() {
    let folder = Folder::new();
    let path = folder.path();
    fs::write(&path, "precious").expect("a new file");
    let error = error_at(&path);
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert_eq!(fs::read(&path).expect("it is there"), b"precious");

    fs::remove_file(&path).expect("it is there");
    drop(UnixListener::bind(folder.0.join("stale")).expect("a new name"));
    std::os::unix::fs::symlink(folder.0.join("stale"), &path).expect("a new name");
    error_at(&path);
    assert!(path.is_symlink() && folder.0.join("stale").exists());
}

#[test]
fn a_path_that_no_socket_can_have_is_an_error_that_says_why() {
    let folder = Folder::new();
    let begin = folder.0.as_os_str().len() + 1;
    let path = folder.0.join("x".repeat(107 - begin));
    drop(listen_unix(Config::default(), &path).expect("107 bytes are allowed"));
    let path = folder.0.join("x".repeat(108 - begin));
    let error = error_at(&path);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("107 bytes") && error.to_string().contains("108"),
        "{error}"
    );
    assert!(error_at(Path::new("")).to_string().contains("1 to 107"));
    error_at(&folder.0.join("no/folder"));
}

#[test]
fn the_file_goes_with_the_server() {
    let folder = Folder::new();
    let path = folder.path();
    let server = Local::start(Config::default(), &path, echo);
    assert!(path.exists());
    server.stop();
    assert!(!path.exists(), "stopped");

    drop(listen_unix(Config::default(), &path));
    assert!(!path.exists(), "never served");
    let server = listen_unix(Config::default(), &path).and_then(|new| new.serve(echo));
    assert!(path.exists());
    drop(server);
    assert!(!path.exists(), "never run");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("it is bound");
    let builder = listen_unix(Config::default(), &path).expect("a new name");
    drop(builder.listen(taken));
    assert!(!path.exists(), "another address could not be had");
}

#[test]
fn a_file_that_somebody_else_has_put_there_meanwhile_is_left_alone() {
    let folder = Folder::new();
    let server = Local::start(Config::default(), &folder.path(), echo);
    fs::remove_file(folder.path()).expect("it is there");
    let _other = UnixListener::bind(folder.path()).expect("the name is free");
    server.stop();
    UnixStream::connect(folder.path()).expect("the other one's file is there");
}

#[test]
fn of_servers_that_start_at_once_one_has_the_socket_and_the_others_say_so() {
    const SERVERS: usize = 8;
    for _ in 0..10 {
        let folder = Folder::new();
        drop(UnixListener::bind(folder.path()).expect("a new name"));
        let start = Barrier::new(SERVERS);
        let listen = || {
            start.wait();
            listen_unix(Config::default(), &folder.path())
        };
        let started: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..SERVERS).map(|_| scope.spawn(listen)).collect();
            threads
                .into_iter()
                .map(|one| one.join().expect("no panic"))
                .collect()
        });
        let errors = started.iter().filter_map(|started| started.as_ref().err());
        let in_use = errors.filter(|error| error.kind() == ErrorKind::AddrInUse);
        assert_eq!(in_use.count(), SERVERS - 1);
        UnixStream::connect(folder.path()).expect("the one's file is there");
    }
}

// ---- several listeners, and given ones
// --------------------------------------------------------------

#[test]
fn one_server_serves_tcp_and_unix_sockets_and_says_where() {
    let folder = Folder::new();
    let paths = [folder.0.join("a"), folder.0.join("b")];
    let builder = listen_unix(Config::default(), &paths[0]);
    let builder = builder.and_then(|builder| builder.listen("127.0.0.1:0"));
    let builder = builder.and_then(|builder| builder.listen_unix(&paths[1]));
    let server = builder
        .and_then(|builder| builder.serve(echo))
        .expect("free");
    let addresses = server.local_addrs().to_vec();
    assert_eq!(server.local_addr(), addresses[0]);
    let shown: Vec<_> = addresses.iter().map(Address::path).collect();
    assert_eq!(shown, [Some(&*paths[0]), None, Some(&*paths[1])]);
    let tcp = addresses[1].tcp().expect("of TCP");
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.run());
    for path in &paths {
        let mut client = Client::over(UnixStream::connect(path).expect("it listens there"));
        client.send("a\n");
        client.expect("OK a");
    }
    let mut client = crate::Client::over(TcpStream::connect(tcp).expect("it listens there"));
    client.send("a\n");
    client.expect(&["OK a"]);
    drop(client);
    stopper.stop();
    let summary = thread.join().expect("no panic").expect("no error");
    assert_eq!(summary.stats.answered_ok, 3);
}

#[test]
fn a_listener_that_somebody_else_has_made_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    // Connected before the server knows of it.
    let early = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let builder = Server::builder(Config::default()).and_then(|new| new.listener(listener));
    let server = Running::run(builder.and_then(|builder| builder.serve(echo)));
    for stream in [early, TcpStream::connect(server.address)] {
        let mut client = crate::Client::over(stream.expect("it listens there"));
        client.send("a\n");
        client.expect(&["OK a"]);
    }
    server.stop();
}

#[test]
fn a_unix_listener_that_somebody_else_has_made_is_served_and_its_file_stays() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path()).expect("a new name");
    let mut early = Client::over(UnixStream::connect(folder.path()).expect("it listens"));
    let builder = Server::builder(Config::default()).and_then(|new| new.listener(listener));
    let server = builder
        .and_then(|builder| builder.serve(echo))
        .expect("descriptors");
    assert_eq!(server.local_addr().path(), Some(&*folder.path()));
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.run());
    early.send("a\n");
    early.expect("OK a");
    drop(early);
    stopper.stop();
    thread.join().expect("no panic").expect("no error");
    assert!(folder.path().exists());
}

#[test]
fn a_socket_that_does_not_listen_is_an_error_that_says_so() {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket.expect("a socket")));
    let builder = Server::builder(Config::default()).expect("descriptors");
    let error = builder
        .listener(listener)
        .expect_err("nobody could connect");
    assert!(error.to_string().contains("does not listen"), "{error}");
}
