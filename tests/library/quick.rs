//! Handlers that call requests quick, and what becomes of those who are wrong about it.
//!
//! Knows the public names of the crate, and TCP.
//!
//! Rule: what a handler says about its requests changes how fast they are answered, never what
//! with.

use super::harness::{Log, Running};
use reactor_pool::{Config, Handler, Response};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// Answers `q…` and calls it quick; `b` waits at the barrier; `p` panics, `i` when asked about.
struct Mixed {
    barrier: Barrier,
    /// Times that the loop asked.
    asked: AtomicUsize,
}

impl Mixed {
    fn new(together: usize) -> Mixed {
        Mixed {
            barrier: Barrier::new(together),
            asked: AtomicUsize::new(0),
        }
    }
}

impl Handler for Mixed {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        match request.first() {
            Some(b'b') => {
                self.barrier.wait();
            }
            Some(b'p') => {
                response.push(b"OK half a li");
                panic!("as asked");
            }
            _ => {}
        }
        response.push(b"OK ");
        response.push(request);
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!request.starts_with(b"i"), "as asked");
        matches!(request.first(), Some(b'q' | b'p'))
    }
}

fn config(workers: usize, max_run: usize) -> Config {
    Config::default().workers(workers).max_run(max_run)
}

#[test]
fn quick_requests_and_others_leave_in_order_whatever_is_between_them() {
    for max_run in [1, 2, 32] {
        let server = Running::start_handler(config(3, max_run), Mixed::new(1));
        let mut client = server.connect();
        let requests: Vec<String> = (0..500)
            .map(|n| format!("{}{n}", ["q", "p", "q", "q", "slow", "b"][n % 6]))
            .collect();
        let answers: Vec<String> = requests
            .iter()
            .map(|request| match request.starts_with('p') {
                true => "ERR internal error".to_owned(),
                false => format!("OK {request}"),
            })
            .collect();
        client.send(requests.join("\n") + "\n");
        client.expect(&answers.iter().map(String::as_str).collect::<Vec<_>>());
        drop(client);
        let stats = server.stop().stats;
        let panics = answers.iter().filter(|a| a.starts_with("ERR")).count() as u64;
        assert_eq!(stats.answered_internal, panics);
        assert_eq!(stats.answered_ok, 500 - panics);
    }
}

#[test]
fn requests_that_are_not_quick_run_beside_quick_ones_and_each_other() {
    // Three of them must be at the barrier at once, with quick ones between them.
    let server = Running::start_handler(config(3, 32), Mixed::new(3));
    let mut client = server.connect();
    client.send("q1\nb2\nq3\nb4\nq5\nb6\nq7\n");
    let answers = [
        "OK q1", "OK b2", "OK q3", "OK b4", "OK q5", "OK b6", "OK q7",
    ];
    client.expect(&answers);
    drop(client);
    server.stop();
}

/// Calls all quick, takes 20 ms for each, and counts them.
struct Wrong(Arc<AtomicUsize>);

impl Handler for Wrong {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        std::thread::sleep(std::time::Duration::from_millis(20));
        self.0.fetch_add(1, Ordering::Relaxed);
        response.push(request);
    }

    fn is_quick(&self, _: &[u8]) -> bool {
        true
    }
}

/// Calls all quick; `hold…` waits at the barrier.
struct Liar(Arc<Barrier>);

impl Handler for Liar {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        if request.starts_with(b"hold") {
            self.0.wait();
        }
        response.push(request);
    }

    fn is_quick(&self, _: &[u8]) -> bool {
        true
    }
}

#[test]
fn what_is_falsely_called_quick_holds_up_nobody_who_could_have_a_worker() {
    const HELD: usize = 4;
    let log = Log::capture();
    let barrier = Arc::new(Barrier::new(HELD + 1));
    let server = Running::start_handler(config(HELD + 1, 64), Liar(Arc::clone(&barrier)));
    for round in 0..20 {
        // Those come first, at the same time, and the other one when they may or may not have
        // begun.
        let mut held: Vec<_> = (0..HELD).map(|_| server.connect()).collect();
        for client in &mut held {
            client.send("hold\x1b[31m me\n");
        }
        let mut other = server.connect();
        for n in 0..20 {
            let text = format!("{round}.{n}");
            other.send(format!("{text}\n"));
            other.expect(&[&text]);
        }
        // The limit is one.
        thread::sleep(Duration::from_millis(2));
        barrier.wait();
        for client in &mut held {
            client.expect(&["hold\x1b[31m me"]);
        }
    }
    let stats = server.stop().stats;
    assert!(stats.quick_overruns >= 20 * HELD as u64);
    let warned = log.count(&["slow, although"]);
    assert!((1..20).contains(&warned), "at most one a second");
    // What a client has written stands in the log for debugging only.
    assert_eq!(log.count(&["WARN", "hold"]), 0);
    let words = ["DEBUG", "not quick", r"operation=hold\x1b[31m "];
    assert!(log.count(&words) >= 20 * HELD);
}

#[test]
fn finished_responses_do_not_wait_until_all_that_is_queued_is_done() {
    const REQUESTS: usize = 128;
    let handled = Arc::new(AtomicUsize::new(0));
    let server = Running::start_handler(config(1, 2), Wrong(Arc::clone(&handled)));
    let mut client = server.connect();
    client.send("x\n".repeat(REQUESTS));
    client.expect(&["x"]);
    // The worker announces each run of two, and goes on while this thread sleeps.
    let handled = handled.load(Ordering::Relaxed);
    assert!(handled < 100, "{handled} of {REQUESTS} were handled before");
    drop(client);
    server.stop();
}

#[test]
fn with_runs_of_one_the_handler_is_not_asked() {
    let handler = Arc::new(Mixed::new(1));
    let server = Running::start_handler(config(2, 1), Shared(Arc::clone(&handler)));
    let mut client = server.connect();
    client.send("q1\nq2\n");
    client.expect(&["OK q1", "OK q2"]);
    assert_eq!(handler.asked.load(Ordering::Relaxed), 0);
    drop(client);
    server.stop();
}

#[test]
fn a_panic_while_asked_counts_as_no_and_the_loop_goes_on() {
    let server = Running::start_handler(config(2, 32), Mixed::new(1));
    let mut client = server.connect();
    client.send("i1\nq2\ni3\ni4\n".repeat(50));
    for _ in 0..50 {
        client.expect(&["OK i1", "OK q2", "OK i3", "OK i4"]);
    }
    drop(client);
    assert_eq!(server.stop().stats.answered_ok, 200);
}

/// A handler that the test looks into.
struct Shared(Arc<Mixed>);

impl Handler for Shared {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        self.0.handle(request, response);
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        self.0.is_quick(request)
    }
}
