//! A handler that panics, with any message and from many workers.
//!
//! Knows the threads of the pool only by what a handler sees of them.
//!
//! Rule: a panic costs its own answer and one line of the log, and nothing else.

use crate::harness::{DEADLINE, Log, Running};
use reactor_pool::{Config, Handler, Response};
use std::collections::HashSet;
use std::io::Write as _;
use std::panic::panic_any;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};

/// The default hook writes the message, and where asked a backtrace, of each panic to standard
/// error: thousands of lines in which a real failure would drown. Panics of workers are what these
/// tests are about, so theirs are silenced; those of the tests' own threads are shown as ever.
fn silence_panics_of_workers() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = thread::current();
            if !thread
                .name()
                .is_some_and(|name| name.starts_with("worker-"))
            {
                default(panic);
            }
        }));
    });
}

/// Held by each test whose panics carry no text, since the log that all share cannot tell them
/// apart.
fn alone_without_a_text() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed has told so; the other one need not.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const WORKERS: usize = 8;
const CLIENTS: usize = 16;
const REQUESTS: usize = 600;

/// What request `n` asks for; two of three panic, with each kind of message that Rust knows.
fn request(client: usize, n: usize) -> String {
    match n % 6 {
        0 => format!("say {client}.{n}"),
        1 => format!("panic with a String {client}.{n}"),
        2 => "panic with a &str".to_owned(),
        3 => format!("shout {client}.{n}"),
        4 => "panic without a text".to_owned(),
        _ => format!("panic in the middle of the answer {client}.{n}"),
    }
}

fn answer_or_panic(request: &str, response: &mut Response<'_>) {
    match request {
        "panic with a &str" => panic!("a text of the program"),
        "panic without a text" => panic_any(42),
        _ if request.starts_with("panic with a String") => panic!("{request}"),
        _ if request.starts_with("panic in the middle") => {
            response.push(b"OK half an ans");
            panic!("{request}")
        }
        _ => response.push(format!("OK {request}").as_bytes()),
    }
}

fn expected(client: usize, n: usize) -> String {
    let request = request(client, n);
    if request.starts_with("panic") {
        "ERR internal error".to_owned()
    } else {
        format!("OK {request}")
    }
}

/// The threads that answer `WORKERS` requests which wait for each other: it takes as many live
/// workers.
#[track_caller]
fn workers_that_meet(server: &Running, seen: &Mutex<HashSet<ThreadId>>) -> HashSet<ThreadId> {
    seen.lock().expect("the handler holds it alone").clear();
    let mut client = server.connect();
    client.send("meet\n".repeat(WORKERS));
    client.expect(&["OK met"; WORKERS]);
    seen.lock().expect("the handler holds it alone").clone()
}

#[test]
fn thousands_of_panics_cost_their_own_answers_and_nothing_else() {
    silence_panics_of_workers();
    let _alone = alone_without_a_text();
    let log = Log::capture();
    let panics_of_others = log.count(&["not a text"]);
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let meeting = Barrier::new(WORKERS);
    let by_handler = Arc::clone(&seen);
    let config = Config::default()
        .workers(WORKERS)
        // Nobody is refused, however busy the machine is.
        .busy_timeout(DEADLINE);
    let server = Running::start(config, move |request: &[u8], response: &mut _| {
        let mut seen = by_handler.lock().expect("nothing panics in between");
        seen.insert(thread::current().id());
        drop(seen);
        if request == b"meet" {
            meeting.wait();
            response.push(b"OK met");
        } else {
            let request = std::str::from_utf8(request).expect("this test sends ASCII");
            answer_or_panic(request, response);
        }
    });
    let before = workers_that_meet(&server, &seen);
    assert_eq!(before.len(), WORKERS);

    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = server.connect();
            scope.spawn(move || {
                let mut writer = client.0.get_ref().try_clone().expect("a second handle");
                let lines: String = (0..REQUESTS).map(|n| request(number, n) + "\n").collect();
                let sending = thread::spawn(move || writer.write_all(lines.as_bytes()));
                for n in 0..REQUESTS {
                    assert_eq!(client.line(), expected(number, n), "request {number}.{n}");
                }
                let sent = sending.join().expect("it only writes");
                sent.expect("the server takes everything");
                client.half_close();
                client.expect_end();
            });
        }
    });

    let served = seen.lock().expect("the handler is idle").clone();
    assert!(served.is_subset(&before), "a worker was replaced");
    let after = workers_that_meet(&server, &seen);
    assert_eq!(after, before, "a worker is gone");

    let stats = server.stop().stats;
    let panics = CLIENTS * REQUESTS * 2 / 3;
    assert_eq!(stats.answered_internal, panics as u64);
    assert_eq!(
        stats.answered_ok,
        (CLIENTS * REQUESTS - panics + 2 * WORKERS) as u64
    );
    assert_eq!(stats.answered_error, 0);

    // One line of the log for each panic, with its message.
    let of_each_kind = CLIENTS * REQUESTS / 6;
    for message in [
        "panic with a String",
        "a text of the program",
        "not a text",
        "panic in the middle of the answer",
    ] {
        let mut count = log.count(&["ERROR", "the handler panicked", message]);
        if message == "not a text" {
            count -= panics_of_others;
        }
        assert_eq!(count, of_each_kind, "{message}");
    }
    assert_eq!(log.count(&["panic with a String 7.301"]), 1);
}

#[test]
fn a_panic_with_bytes_of_a_client_is_one_short_escaped_line_of_the_log() {
    silence_panics_of_workers();
    let log = Log::capture();
    let text = |request: &[u8]| format!("client said\n{}", String::from_utf8_lossy(request));
    let server = Running::start(
        Config::default(),
        move |request: &[u8], _: &mut Response<'_>| panic!("{}", text(request)),
    );
    // Colours, a carriage return, a tab, a NUL, a quote, writing from right to left, no UTF-8.
    let short = b"\x1b[31mred\r\t\0\"\xe2\x80\xae\xff end".to_vec();
    let long = [&short[..], &[b'x'; 5000]].concat();
    let mut client = server.connect();
    for request in [&short, &long] {
        client.send([request, &b"\n"[..]].concat());
        client.expect(&["ERR internal error"]);
    }
    drop(client);
    server.stop();
    let shown = |request: &[u8]| {
        let first_chars = text(request).chars().take(200).collect::<String>();
        // Escaped for whoever reads the field, and quoted once more by the text format.
        format!("panic={:?}", first_chars.escape_debug().to_string())
    };
    let lines = log.lines(&["client said"]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, request) in lines.iter().zip([&short, &long]) {
        assert!(line.contains("the handler panicked"), "{line:?}");
        assert!(
            line.ends_with(&shown(request)),
            "{line:?} and not {}",
            shown(request)
        );
    }
    assert_eq!(log.count(&["[31mred"]), 2);
}

/// A message that panics once more when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("and once more");
    }
}

#[test]
fn a_panic_message_that_panics_when_it_is_dropped_takes_no_worker() {
    silence_panics_of_workers();
    let _alone = alone_without_a_text();
    let config = Config::default().workers(1);
    let server = Running::start(config, |request: &[u8], response: &mut _| {
        if request == b"bomb" {
            panic_any(Bomb);
        }
        response.push(b"OK");
    });
    let mut client = server.connect();
    client.send("bomb\nfine\nbomb\nfine\n");
    const INTERNAL: &str = "ERR internal error";
    client.expect(&[INTERNAL, "OK", INTERNAL, "OK"]);
    drop(client);
    let stats = server.stop().stats;
    assert_eq!((stats.answered_internal, stats.answered_ok), (2, 2));
}

/// Panics, answers, or waits until all workers are there; quick or not, as the request says.
struct Asked {
    meeting: Barrier,
}

impl Handler for Asked {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        match request {
            b"quick panic" | b"slow panic" => panic!("as asked"),
            b"meet" => drop(self.meeting.wait()),
            _ => {}
        }
        response.push(b"OK");
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        request.starts_with(b"quick")
    }
}

#[test]
fn after_a_panic_each_request_wakes_a_worker_as_before() {
    silence_panics_of_workers();
    for workers in [1, 3] {
        let config = Config::default().workers(workers);
        let meeting = Barrier::new(workers);
        let server = Running::start_handler(config, Asked { meeting });
        let mut client = server.connect();
        // One at a time, so that the workers sleep in between.
        for _ in 0..20 {
            for kind in ["quick", "slow"] {
                client.send(format!("{kind} panic\n"));
                client.expect(&["ERR internal error"]);
                for request in ["quick\n", "slow\n"] {
                    client.send(request);
                    client.expect(&["OK"]);
                }
                client.send("meet\n".repeat(workers));
                client.expect(&vec!["OK"; workers]);
            }
        }
        drop(client);
        server.stop();
    }
}
