//! HTTP/1.1 over real sockets: order, keeping of connections, and every refusal.
//!
//! Knows the public names of the crate, and HTTP as RFC 9112 has it.
//!
//! Rule: responses are read as a client reads them, by their content-length.

use super::harness::{Client, DEADLINE, Running};
use reactor_pool::codec::Http1;
use reactor_pool::codec::http1::{Request, respond};
use reactor_pool::{Config, Response};
use std::io::{BufRead as _, Read as _};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

const MAX_BODY: usize = 1000;

pub(crate) fn start(
    config: Config,
    handler: impl Fn(&Request<'_>) -> (u16, String) + Send + Sync + 'static,
) -> Running {
    let handler = move |bytes: &[u8], response: &mut Response<'_>| {
        let request = Request::parse(bytes).expect("the codec has found it");
        let (status, body) = handler(&request);
        respond(response, status, "text/plain", body.as_bytes());
    };
    Running::start_codec(config, Http1::new(MAX_BODY), handler)
}

/// Answers with what it got.
fn echo(request: &Request<'_>) -> (u16, String) {
    assert_ne!(request.target, "/panic", "as asked");
    let body = String::from_utf8_lossy(&request.body);
    (200, format!("{} {} {body}", request.method, request.target))
}

pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// The next response: its status, whether it says that the connection closes, and its body.
#[track_caller]
pub(crate) fn response(client: &mut Client) -> (u16, bool, String) {
    let (mut status, mut closes, mut length) = (0, false, 0);
    loop {
        let mut line = String::new();
        client.0.read_line(&mut line).expect("a line in time");
        match line.trim_end().split_once([':', ' ']) {
            None if line == "\r\n" => break,
            Some(("HTTP/1.1", rest)) => status = rest[..3].parse().expect("a status"),
            Some(("connection", value)) => closes = value.trim() == "close",
            Some(("content-length", value)) => length = value.trim().parse().expect("a number"),
            Some(_) => {}
            None => panic!("no header: {line:?}"),
        }
    }
    let mut body = vec![0; length];
    client.0.read_exact(&mut body).expect("the whole body");
    (status, closes, String::from_utf8(body).expect("ASCII"))
}

#[test]
fn pipelined_requests_of_a_kept_connection_are_answered_in_their_order() {
    let server = start(Config::default(), echo);
    let mut client = server.connect();
    for _ in 0..3 {
        let posts = "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nx\ny\
            POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nzz\r\n0\r\n\r\n";
        client.send(format!("{}{posts}", get("/a")));
        for body in ["GET /a ", "POST /b x\ny", "POST /c zz"] {
            assert_eq!(response(&mut client), (200, false, body.to_owned()));
        }
    }
    server.stop();
}

#[test]
fn after_connection_close_nothing_more_is_answered() {
    let server = start(Config::default(), echo);
    let mut client = server.connect();
    let last = "GET /b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.send(format!("{}{last}{}", get("/a"), get("/c")));
    assert_eq!(response(&mut client), (200, false, "GET /a ".to_owned()));
    assert_eq!(response(&mut client), (200, true, "GET /b ".to_owned()));
    client.expect_end();
    assert_eq!(server.stop().stats.framed, 2);
}

/// Some clients send one behind a body (RFC 9112, section 2.2).
#[test]
fn empty_lines_between_requests_ask_for_nothing() {
    let server = start(Config::default(), echo);
    for end in ["\r\n", "\r\n\r\n", "\r", ""] {
        let mut client = server.connect();
        let (a, b) = (get("/a"), get("/b"));
        client.send(format!("\r\n{a}\r\n\r\n{b}{a}{end}"));
        client.half_close();
        for target in ["/a", "/b", "/a"] {
            let expected = (200, false, format!("GET {target} "));
            assert_eq!(response(&mut client), expected, "{end:?}");
        }
        client.expect_end();
    }
    assert_eq!(server.stop().stats.framed, 12);
}

#[test]
fn a_handler_that_has_a_connection_closed_says_so_to_the_client() {
    let handler = |_: &[u8], response: &mut Response<'_>| {
        respond(response, 200, "text/plain", b"bye");
        response.close_after();
    };
    let server = Running::start_codec(Config::default(), Http1::new(MAX_BODY), handler);
    let mut client = server.connect();
    client.send([get("/a"), get("/b")].concat());
    assert_eq!(response(&mut client), (200, true, "bye".to_owned()));
    client.expect_end();
    server.stop();
}

#[test]
fn what_is_out_of_step_gets_its_refusal_in_its_turn_and_the_connection_closes() {
    let server = start(Config::default(), echo);
    let long = format!("x: {}\r\n", "y".repeat(20_000));
    for (wrong, status) in [
        ("hello\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n",
            413,
        ),
        (&format!("GET / HTTP/1.1\r\nhost: a\r\n{long}"), 431),
    ] {
        let mut client = server.connect();
        client.send(format!("{}{wrong}", get("/a")));
        assert_eq!(response(&mut client).0, 200, "{wrong}");
        let (got, closes, _) = response(&mut client);
        assert_eq!((got, closes), (status, true), "{wrong}");
        client.expect_end();
    }
    let mut client = server.connect();
    client.send("GET / HT");
    client.half_close();
    assert_eq!(response(&mut client).0, 400);
    client.expect_end();
    server.stop();
}

#[test]
fn a_panic_is_a_status_500_and_the_connection_is_kept() {
    let server = start(Config::default(), echo);
    let mut client = server.connect();
    client.send([get("/panic"), get("/a")].concat());
    let (status, closes, _) = response(&mut client);
    assert_eq!((status, closes), (500, false));
    assert_eq!(response(&mut client).0, 200);
    server.stop();
}

#[test]
fn a_full_queue_is_a_status_503_and_the_connection_is_kept() {
    let (go_on, gate) = mpsc::channel::<()>();
    let (runs, running) = mpsc::channel();
    let gate = Mutex::new((runs, gate));
    let config = Config::default()
        .workers(1)
        .queue(1)
        .busy_timeout(Duration::ZERO);
    let server = start(config, move |request| {
        if request.target == "/wait" {
            let (runs, gate) = &*gate.lock().expect("nobody panics here");
            runs.send(()).expect("the test listens");
            gate.recv_timeout(DEADLINE).expect("the test lets it go on");
        }
        (200, String::new())
    });
    let mut client = server.connect();
    client.send(get("/wait").repeat(4));
    running.recv_timeout(DEADLINE).expect("the first runs");
    // The loop answers this itself, once it is through with what came before.
    let mut other = server.connect();
    other.send("hello\r\n\r\n");
    assert_eq!(response(&mut other).0, 400);
    // The first runs, and one may be queued beside it; two at least have found no slot.
    go_on.send(()).expect("it waits");
    go_on.send(()).expect("it waits");
    let responses: Vec<_> = (0..4).map(|_| response(&mut client)).collect();
    assert_eq!(responses[0].0, 200);
    let is_busy = |(status, closes, _): &(u16, bool, String)| (*status, *closes) == (503, false);
    assert!(responses.iter().any(is_busy), "{responses:?}");
    assert!(!responses.iter().any(|response| response.1));
    client.send(get("/a"));
    assert_eq!(response(&mut client).0, 200);
    server.stop();
}

#[test]
fn an_idle_connection_is_told_so_by_a_status_408() {
    let config = Config::default().idle_timeout(Duration::from_secs(1));
    let server = start(config, echo);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost");
    let (status, closes, _) = response(&mut client);
    assert_eq!((status, closes), (408, true));
    client.expect_end();
    server.stop();
}

#[test]
fn a_request_that_takes_too_long_to_come_is_told_so_by_a_status_408() {
    let config = Config::default().request_timeout(Duration::from_secs(1));
    let server = start(config, echo);
    let mut client = server.connect();
    let head = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
    // What stands behind a body is no beginning of a request.
    client.send(format!("{}\r\n", get("/")));
    assert_eq!(response(&mut client).0, 200);
    client.send(head);
    assert_eq!(response(&mut client).0, 100);
    client.send("ab");
    let (status, closes, _) = response(&mut client);
    assert_eq!((status, closes), (408, true));
    client.expect_end();
    assert_eq!(server.stop().stats.request_timeouts, 1);
}
