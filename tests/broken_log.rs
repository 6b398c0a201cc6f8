//! A program whose log cannot be written, as that of `program 2>&1 | head` once head has ended.
//!
//! Knows the public names of the crate, and TCP.
//!
//! Rule: each line of the log panics, and no client notices.

#[path = "library/harness.rs"]
#[expect(dead_code, reason = "this test uses little of it")]
mod harness;

use harness::Running;
use reactor_pool::{Config, Handler, Response, StopReason};
use std::io::{self, Write};
use std::time::Duration;
use tracing::Level;

const BROKEN: &str = "nobody reads the log";
const ASKED: &str = "as the client asked";

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("{BROKEN}")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers `n`; `p` panics and `l` writes two lines, which are logged. What is in capitals is
/// called quick.
struct Faulty;

impl Handler for Faulty {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        match request.to_ascii_lowercase().as_slice() {
            b"p" => panic!("{ASKED}"),
            b"l" => response.push(b"OK\nOK"),
            _ => response.push(b"OK"),
        }
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        assert!(request != b"?", "{ASKED}");
        request.iter().all(u8::is_ascii_uppercase)
    }
}

#[test]
fn answers_are_made_whatever_the_log_does() {
    // At trace mio writes lines of its own, whose panics are not ours to catch.
    tracing_subscriber::fmt()
        .with_max_level(Level::DEBUG)
        .with_writer(|| Broken)
        .init();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied());
        if !text.is_some_and(|text| [BROKEN, ASKED].contains(&text)) {
            default(panic);
        }
    }));
    let config = Config::default()
        .workers(2)
        .queue(4)
        .busy_timeout(Duration::ZERO)
        .max_connections(3)
        .stats_interval(Duration::from_millis(10));
    let server = Running::start_handler(config, Faulty);
    let mut clients = [server.connect(), server.connect()];
    for _ in 0..200 {
        for client in &mut clients {
            // One after the other, for more at a time may be refused as busy.
            for (request, answer) in [
                ("p", "ERR internal error"),
                ("P", "ERR internal error"),
                ("l", "ERR internal error"),
                ("L", "ERR internal error"),
                ("n", "OK"),
                ("N", "OK"),
                ("?", "OK"),
            ] {
                client.send(format!("{request}\n"));
                client.expect(&[answer]);
            }
        }
    }
    // What the loop itself warns of: too many requests, and too many connections.
    clients[0].send("n\n".repeat(1000));
    for _ in 0..1000 {
        let answer = clients[0].line();
        assert!(answer == "OK" || answer == "ERR server busy", "{answer}");
    }
    let _third = server.connect();
    server.connect().expect(&["ERR too many connections"]);
    drop((clients, _third));
    let summary = server.stop();
    assert_eq!(summary.stop_reason, StopReason::Drained);
    assert_eq!(summary.stats.answered_internal, 200 * 2 * 4);
}
