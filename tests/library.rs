//! The library from outside: what an embedder sees who binds a server with a handler of his own.
//!
//! Knows the public names of the crate, and TCP; nothing of the `server` command or its
//! operations.
//!
//! Rule: a handler can do no harm beyond its own answer, and every wait here has a deadline.

#[path = "library/bad_frames.rs"]
mod bad_frames;
#[cfg(feature = "http")]
#[path = "library/bad_http.rs"]
mod bad_http;
#[path = "library/codecs.rs"]
mod codecs;
#[path = "library/harness.rs"]
mod harness;
#[cfg(feature = "http")]
#[path = "library/http.rs"]
mod http;
#[cfg(feature = "http")]
#[path = "library/http_order.rs"]
mod http_order;
#[path = "library/listeners.rs"]
mod listeners;
#[path = "library/local.rs"]
mod local;
#[path = "library/local_clients.rs"]
mod local_clients;
#[path = "library/monitor.rs"]
mod monitor;
#[path = "library/panics.rs"]
mod panics;
#[path = "library/proxied.rs"]
mod proxied;
#[path = "library/quick.rs"]
mod quick;
#[path = "library/service.rs"]
mod service;
#[cfg(feature = "signals")]
#[path = "library/signals.rs"]
mod signals;
#[path = "library/trace.rs"]
mod trace;
#[path = "library/workers.rs"]
mod workers;

use harness::{Client, DEADLINE, Log, Running, wait_until};
use reactor_pool::{Address, Builder, Config, Response, Server, StopReason};
use std::io::{self, Read as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

// ---- answers of every shape
// ------------------------------------------------------------------------

#[test]
fn an_answer_of_more_than_one_line_becomes_an_internal_error() {
    let log = Log::capture();
    let server = Running::start(
        Config::default(),
        |request: &[u8], response: &mut _| match request {
            b"end" => response.push(b"OK with an LF of its own\n"),
            b"middle" => response.push(b"OK one\nOK two"),
            b"only" => response.push(b"\n"),
            _ => response.push(b"OK"),
        },
    );
    let mut client = server.connect();
    client.send("end\nfine\nmiddle\nonly\nfine\n");
    const INTERNAL: &str = "ERR internal error";
    client.expect(&[INTERNAL, "OK", INTERNAL, INTERNAL, "OK"]);
    client.half_close();
    client.expect_end();
    let stats = server.stop().stats;
    assert_eq!((stats.answered_internal, stats.answered_ok), (3, 2));
    assert_eq!(
        log.count(&["ERROR", "the handler wrote more than one line"]),
        3
    );
}

#[test]
fn an_empty_answer_is_an_empty_line() {
    let server = Running::start(Config::default(), |request: &[u8], response: &mut _| {
        response.push(request);
    });
    let mut client = server.connect();
    client.send("\nOK a\n\r\n\n");
    client.expect(&["", "OK a", "", ""]);
    drop(client);
    let stats = server.stop().stats;
    assert_eq!((stats.answered_error, stats.answered_ok), (3, 1));
}

/// Bytes that show where in the answer they stand; no LF among them.
fn huge_answer(bytes: usize) -> Vec<u8> {
    let number = |n: usize| format!("{n:07},").into_bytes();
    (0..bytes / 8).flat_map(number).collect()
}

#[test]
fn a_huge_answer_reaches_a_slow_reader_whole_while_others_are_served() {
    const HUGE_BYTES: usize = 5 << 20;
    let server = Running::start(Config::default(), |request: &[u8], response: &mut _| {
        if request == b"huge" {
            response.reserve(HUGE_BYTES);
            response.push(&huge_answer(HUGE_BYTES));
        } else {
            response.push(request);
        }
    });
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small is allowed");
    socket
        .connect(&server.address.into())
        .expect("the server accepts");
    let mut slow = Client::over(socket.into());
    let mut other = server.connect();
    slow.send("huge\nafterwards\n");

    let mut got = vec![0; HUGE_BYTES];
    let mut round_trips = 0;
    for piece in got.chunks_mut(HUGE_BYTES / 64) {
        // While the slow one does not read, the other one is answered at once.
        for _ in 0..3 {
            other.send("quick\n");
            other.expect(&["quick"]);
            round_trips += 1;
        }
        slow.0.read_exact(piece).expect("the next piece");
    }
    assert!(got == huge_answer(HUGE_BYTES), "the answer was altered");
    slow.expect(&["", "afterwards"]);
    slow.half_close();
    slow.expect_end();
    drop(other);
    let stats = server.stop().stats;
    assert_eq!(stats.framed, round_trips + 2);
    assert!(stats.buffered.peak > (HUGE_BYTES / 2) as u64, "it was slow");
}

// ---- the end
// ----------------------------------------------------------------------------------------

#[test]
fn a_stopper_lets_what_was_framed_be_answered() {
    let (started, starts) = mpsc::channel();
    let config = Config::default().workers(2);
    let server = Running::start(config, move |request: &[u8], response: &mut _| {
        started.send(()).expect("the test listens");
        thread::sleep(Duration::from_millis(20));
        response.push(b"OK ");
        response.push(request);
    });
    let mut client = server.connect();
    // One segment, so that one read frames all of it.
    client.send("1\n2\n3\n4\n5\n6\n7\n8\n");
    starts.recv_timeout(DEADLINE).expect("the first one runs");
    let stopper = server.stopper.clone();
    let stopping = thread::spawn(move || {
        stopper.stop();
        stopper.stop();
    });
    let answers: Vec<String> = (1..=8).map(|n| format!("OK {n}")).collect();
    client.expect(&answers.iter().map(String::as_str).collect::<Vec<_>>());
    client.expect_end();
    stopping.join().expect("stopping twice is allowed");
    let address = server.address;
    drop(client);
    let summary = server.end();
    assert_eq!(summary.stop_reason, StopReason::Drained);
    assert_eq!(summary.stats.answered_ok, 8);
    TcpStream::connect(address).expect_err("nobody listens any more");
}

#[test]
fn a_handler_may_stop_its_own_server_and_a_stop_may_come_before_the_run() {
    let builder = Server::builder(Config::default()).and_then(|new| new.listen("127.0.0.1:0"));
    let builder = builder.expect("a free port");
    let stopper = builder.stopper();
    let server = builder.serve(move |_: &[u8], response: &mut Response<'_>| {
        stopper.stop();
        response.push(b"OK stopping");
    });
    let running = Running::run(server);
    let mut client = running.connect();
    client.send("stop\n");
    client.expect(&["OK stopping"]);
    client.expect_end();
    drop(client);
    assert_eq!(running.end().stop_reason, StopReason::Drained);

    let handler = |_: &[u8], _: &mut Response<'_>| {};
    let server = Server::bind("127.0.0.1:0", Config::default(), handler).expect("a free port");
    server.stopper().stop();
    let running = Running::run(Ok(server));
    assert_eq!(running.end().stop_reason, StopReason::Drained);
}

#[test]
fn a_stop_that_cannot_wait_says_what_it_abandoned() {
    let (started, starts) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let config = Config::default().workers(1).drain_timeout(Duration::ZERO);
    let server = Running::start(config, move |_: &[u8], _: &mut _| {
        // The later ones may run when the test has gone.
        started.send(()).ok();
        let gate = may_go_on.lock().expect("one worker");
        gate.recv_timeout(DEADLINE).ok();
    });
    let mut client = server.connect();
    client.send("a\nb\nc\n");
    starts.recv_timeout(DEADLINE).expect("the first one runs");
    let summary = server.stop();
    let StopReason::TimedOut(unfinished) = summary.stop_reason else {
        panic!("three requests were unanswered: {:?}", summary.stop_reason);
    };
    assert_eq!((unfinished.requests, unfinished.bytes), (3, 0));
    go_on.send(()).expect("the worker waits");
}

#[test]
fn a_stop_that_is_asked_for_again_and_again_does_not_start_the_drain_timeout_anew() {
    let (started, starts) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let config = Config::default()
        .workers(1)
        .drain_timeout(Duration::from_millis(500));
    let server = Running::start(config, move |_: &[u8], response: &mut _| {
        started.send(()).expect("the test listens");
        // Far longer than the drain timeout.
        let gate = may_go_on.lock().expect("one worker");
        gate.recv_timeout(Duration::from_secs(8)).ok();
        response.push(b"OK");
    });
    let mut client = server.connect();
    client.send("a\n");
    starts.recv_timeout(DEADLINE).expect("it runs");
    wait_until("the server has ended", || {
        server.stopper.stop();
        server.thread.is_finished()
    });
    let ending = server.end().stop_reason;
    assert!(matches!(ending, StopReason::TimedOut(_)), "{ending:?}");
    go_on.send(()).expect("the worker waits");
}

#[test]
fn a_server_that_is_never_run_takes_its_workers_along() {
    let held = Arc::new(());
    let by_handler = Arc::clone(&held);
    let handler = move |_: &[u8], response: &mut Response<'_>| {
        response.push(format!("OK {}", Arc::strong_count(&by_handler)).as_bytes());
    };
    let server = Server::bind("127.0.0.1:0", Config::default(), handler).expect("a free port");
    drop(server);
    wait_until("no worker keeps the handler", || {
        Arc::strong_count(&held) == 1
    });
}

// ---- what bind refuses
// ------------------------------------------------------------------------------

fn bind_error(host: &str, port: u16, config: Config) -> io::Error {
    let called = Arc::new(AtomicUsize::new(0));
    let by_handler = Arc::clone(&called);
    let handler = move |_: &[u8], _: &mut Response<'_>| {
        by_handler.fetch_add(1, Ordering::Relaxed);
    };
    let error = Server::bind((host, port), config, handler).expect_err("it cannot be bound");
    assert_eq!(
        Arc::strong_count(&called),
        1,
        "the handler is dropped, and no worker keeps it"
    );
    error
}

#[test]
fn a_number_out_of_range_is_an_error_that_names_it_with_its_range() {
    let base = Config::default;
    let cases = [
        (
            base().workers(0),
            "workers is 0 threads: allowed are whole numbers from 1 to 1024",
        ),
        (
            base().queue(1001),
            "queue is 1001 requests: allowed are whole numbers from 1 to 1000",
        ),
        (
            base().max_line(0),
            "max_line is 0 bytes: allowed are whole numbers from 1 to 16777216",
        ),
        (
            base().max_inflight(65_537),
            "max_inflight is 65537 requests: allowed are whole numbers from 1 to 65536",
        ),
        (
            base().max_connections(0),
            "max_connections is 0 connections: allowed are whole numbers from 1 to 1000000",
        ),
        (
            base().busy_timeout(Duration::MAX),
            "busy_timeout is 18446744073709551615999 ms: allowed are whole numbers from 0 to 3600000",
        ),
        (
            base().idle_timeout(Duration::from_secs(31_536_001)),
            "idle_timeout is 31536001 s: allowed are whole numbers from 0 to 31536000",
        ),
        (
            base().drain_timeout(Duration::from_secs(86_401)),
            "drain_timeout is 86401 s: allowed are whole numbers from 0 to 86400",
        ),
    ];
    for (config, message) in cases {
        let error = bind_error("127.0.0.1", 0, config);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let error = bind_error("127.0.0.1", port, Config::default());
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let begin = format!("cannot listen on 127.0.0.1:{port}: ");
    assert!(error.to_string().starts_with(&begin), "{error}");

    // RFC 5737 keeps this address for documentation: no host has it.
    let error = bind_error("192.0.2.1", 9000, Config::default());
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    let begin = "cannot listen on 192.0.2.1:9000: ";
    assert!(error.to_string().starts_with(begin), "{error}");

    // Hosts without IPv6 say so in other words; the address is always named with its brackets.
    let error = bind_error("2001:db8::1", 9000, Config::default());
    let begin = "cannot listen on [2001:db8::1]:9000: ";
    assert!(error.to_string().starts_with(begin), "{error}");
}

#[test]
fn a_server_that_listens_nowhere_is_an_error_that_says_so() {
    let builder = Server::builder(Config::default()).expect("descriptors");
    let error = builder.serve(|_: &[u8], _: &mut Response<'_>| ());
    let error = error.expect_err("nobody could connect");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("listens nowhere"), "{error}");
}

#[test]
fn a_server_listens_at_all_addresses_that_it_is_given() {
    let asked = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"];
    let builder = Server::builder(Config::default()).expect("descriptors");
    let listen = |builder: Builder, address| builder.listen(address).expect("a free port");
    let builder = asked.into_iter().fold(builder, listen);
    let server = builder.serve(|_: &[u8], response: &mut Response<'_>| response.push(b"OK"));
    let server = server.expect("nobody else listens there");
    let addresses = server.local_addrs().to_vec();
    let tcp = addresses.iter().filter_map(Address::tcp);
    let ips: Vec<_> = tcp.map(|address| address.ip()).collect();
    assert_eq!(
        ips,
        [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 1]].map(IpAddr::from)
    );
    let running = Running::run(Ok(server));
    for address in addresses {
        let mut client = Client::over(TcpStream::connect(address).expect("it listens there"));
        client.send("x\n");
        client.expect(&["OK"]);
    }
    running.stop();
}

#[test]
fn a_port_is_free_again_at_once() {
    let handler = |_: &[u8], response: &mut Response<'_>| response.push(b"OK");
    let start = |port| Server::bind(("127.0.0.1", port), Config::default(), handler);
    let mut port = 0;
    for _ in 0..5 {
        let server = start(port).expect("the port of the one before");
        port = server.local_addr().tcp().expect("of TCP").port();
        let running = Running::run(Ok(server));
        let mut client = running.connect();
        client.send("x\n");
        client.expect(&["OK"]);
        // The server closes first, so its side of the connection stays in TIME_WAIT.
        running.stopper.stop();
        client.expect_end();
        drop(client);
        assert_eq!(running.end().stop_reason, StopReason::Drained);
    }
}
