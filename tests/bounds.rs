//! Promise 5 as memory: hostile clients drive a server to its bounds, and what it then holds is
//! compared with the formula of docs/reference.md.
//!
//! Knows of the server's code only the function that computes the formula.
//!
//! Rule: each client sends several times what the formula allows, so a bound that is gone shows.

mod common;

use common::{Server, ms, wait_until};
use reactor_pool::Config;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A connection that keeps sending, whether or not it is read, and never reads.
struct Flood {
    stream: TcpStream,
    pattern: Vec<u8>,
    sent: usize,
}

impl Flood {
    fn open(server: &Server, pattern: impl AsRef<[u8]>) -> Flood {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_nonblocking(true).unwrap();
        let pattern = pattern.as_ref().repeat(65_536 / pattern.as_ref().len() + 1);
        Flood {
            stream,
            pattern,
            sent: 0,
        }
    }

    /// Sends what the socket takes; false when it takes nothing.
    fn pour(&mut self) -> bool {
        let from = self.sent % self.pattern.len();
        match self.stream.write(&self.pattern[from..]) {
            Ok(count) => {
                self.sent += count;
                true
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => false,
            Err(cause) => panic!("after {} bytes: {cause}", self.sent),
        }
    }
}

/// Pours until nobody's socket has taken anything for a while: all bounds have been reached.
fn pour_all(floods: &mut [Flood]) {
    const QUIET: Duration = Duration::from_millis(500);
    let end = Instant::now() + ms(20_000);
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < QUIET {
        let moved = floods
            .iter_mut()
            .fold(false, |moved, flood| flood.pour() | moved);
        if moved {
            quiet_since = Instant::now();
        } else {
            thread::sleep(ms(5));
        }
        assert!(Instant::now() < end, "the server takes without end");
    }
}

#[track_caller]
fn assert_bounded(server: &Server, before: usize, bound: usize, who: &str) {
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown <= bound, "{who}: {grown} bytes, allowed are {bound}");
    server.assert_serves();
}

#[test]
fn clients_that_never_read_stay_below_the_documented_memory() {
    for pattern in [
        format!("ECHO {}\n", "x".repeat(990)),
        "\n".to_owned(),
        "ECHO\n".to_owned(),
    ] {
        let server = Server::start(&["--max-line", "1000", "--max-inflight", "8"]);
        server.assert_serves();
        let before = server.resident_bytes();
        let mut floods: Vec<Flood> = (0..50).map(|_| Flood::open(&server, &pattern)).collect();
        pour_all(&mut floods);
        let config = Config::default().max_line(1000).max_inflight(8);
        let bound = 50 * config.worst_case_connection() as usize;
        let who = format!("lines of {} bytes", pattern.len());
        assert_bounded(&server, before, bound, &who);
    }
}

#[test]
fn clients_that_never_read_fill_no_more_of_the_kernel_than_is_documented() {
    const CLIENTS: usize = 20;
    let server = Server::start(&[]);
    let pattern = format!("ECHO {}\n", "x".repeat(990));
    let mut floods: Vec<Flood> = (0..CLIENTS)
        .map(|_| Flood::open(&server, &pattern))
        .collect();
    pour_all(&mut floods);
    let config = Config::default().max_connections(CLIENTS);
    let (held, bound) = (
        server.bytes_in_kernel(),
        config.worst_case_memory().kernel as usize,
    );
    assert!(held <= bound, "{held} bytes, allowed are {bound}");
    // What it is set to is also used.
    assert!(held >= CLIENTS * config.socket_buffer, "{held} bytes");
}

#[test]
fn answers_held_behind_a_slow_one_stay_below_the_documented_memory() {
    // One bound for each: the number of requests, their bytes, and short answers in the buffers of
    // long requests.
    for pattern in [
        "\n".to_owned(),
        format!("ECHO {}\n", "x".repeat(60_000)),
        format!("HASH {}\n", "x".repeat(1000)),
    ] {
        let server = Server::start(&[
            "--workers",
            "60",
            "--queue-order",
            "fifo",
            "--max-sleep",
            "60000",
        ]);
        server.assert_serves();
        let before = server.resident_bytes();
        let mut floods: Vec<Flood> = (0..50)
            .map(|_| {
                let mut flood = Flood::open(&server, &pattern);
                let slow = b"SLEEP 60000\n";
                assert_eq!(
                    flood.stream.write(slow).expect("room for a line"),
                    slow.len()
                );
                flood
            })
            .collect();
        pour_all(&mut floods);
        let bound = 50 * Config::default().worst_case_connection() as usize;
        let who = format!("held answers to lines of {} bytes", pattern.len());
        assert_bounded(&server, before, bound, &who);
    }
}

#[test]
fn a_thousand_partial_lines_cost_their_bytes_and_those_too_long_cost_nothing() {
    const CLIENTS: usize = 1000;
    const PARTIAL_BYTES: usize = 60 * KIB;
    let server = Server::start(&[]);
    server.assert_serves();
    let before = server.resident_bytes();
    // Half of them end here, in the middle of it.
    let too_long = "x".repeat(256 * KIB);
    let and_a_partial_line = format!("{too_long}\n{}", "x".repeat(PARTIAL_BYTES));
    let _clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|n| {
            let input = [&too_long, &and_a_partial_line][n % 2];
            let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
            stream.write_all(input.as_bytes()).expect("it is read");
            stream
        })
        .collect();
    let sent = CLIENTS / 2 * (too_long.len() + and_a_partial_line.len());
    wait_until("all is read", ms(20_000), || {
        reported(&server, "bytes_in.total") >= Some(sent)
    });
    // Far below the formula, which allows each of them 1 MiB.
    let bound = CLIENTS / 2 * (80 * KIB + 10 * KIB);
    assert_bounded(&server, before, bound, "partial lines");
}

#[test]
fn the_budget_of_all_bounds_memory_and_goes_on_by_itself() {
    const BUDGET: usize = MIB;
    const CONNECTIONS: usize = 40;
    const MAX_LINE: usize = MIB;
    const MAX_INFLIGHT: usize = 32;
    // The slow requests all run at once, and a few workers are left for the others.
    let server = Server::start(&[
        "--workers",
        &(CONNECTIONS + 4).to_string(),
        "--queue-order",
        "fifo",
        "--max-line",
        &MAX_LINE.to_string(),
        "--max-inflight",
        &MAX_INFLIGHT.to_string(),
        "--max-buffered",
        &BUDGET.to_string(),
    ]);
    server.assert_serves();
    let before = server.resident_bytes();
    // Answers that finish at once, behind one slow request on each connection: the budget is spent
    // on them, and only the slow ones can free it. A connection alone may hold 2 MiB of them.
    const ANSWERS: usize = 25;
    let text = "x".repeat(100_000);
    let input = format!("SLEEP 1000\n{}", format!("ECHO {text}\n").repeat(ANSWERS));
    let answer = format!("OK {text}");
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            let (mut writer, input, answer) = (client.writer(), &input, &answer);
            scope.spawn(move || {
                writer
                    .write_all(input.as_bytes())
                    .expect("it is read in the end")
            });
            scope.spawn(move || {
                client.expect("OK 1000");
                (0..ANSWERS).for_each(|_| client.expect(answer));
            });
        }
    });
    let config = Config::default()
        .max_connections(CONNECTIONS)
        .max_line(MAX_LINE)
        .max_inflight(MAX_INFLIGHT)
        .max_buffered(BUDGET);
    let bound = config.worst_case_memory().connections as usize;
    let grown = server.peak_resident_bytes().saturating_sub(before);
    assert!(
        grown <= bound,
        "held answers under a budget: {grown} bytes, allowed are {bound}"
    );
    server.assert_serves();
    server.signal("USR1");
    let report = server
        .log()
        .wait_for("reports bytes", |line| line.contains("stats: bytes "));
    assert!(field(&report, "budget_pauses") > 0, "no pause: {report}");
    wait_until("all is freed", ms(10_000), || {
        reported(&server, "buffered") == Some(0)
    });
}

#[test]
fn partial_lines_that_spend_the_budget_lock_nobody_up() {
    let server = Server::start(&["--max-buffered", &MIB.to_string()]);
    let part = "x".repeat(30 * KIB);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(format!("ECHO {part}"));
    }
    server.barrier();
    server.assert_serves();
    // Each of them can still finish its line, and the next.
    for client in &mut clients {
        client.send(format!("{part}\nECHO next\n"));
        client.expect(format!("OK {part}{part}"));
        client.expect("OK next");
    }
}

#[test]
fn connections_that_the_budget_paused_are_read_again_as_soon_as_others_have_freed_it() {
    const SPENT: usize = MIB + MIB / 2;
    const SLOW: &str = "SLEEP 60000\n";
    const NEXT: &str = "ECHO next\n";
    let server = Server::start(&[
        "--max-buffered",
        &MIB.to_string(),
        "--max-line",
        &(2 * MIB).to_string(),
        "--max-sleep",
        "60000",
    ]);
    let wait_for = |what: &str, at_least: usize| {
        wait_until(what, ms(10_000), || {
            reported(&server, what).is_some_and(|number| number >= at_least)
        });
    };
    let mut client = server.connect();
    client.send(SLOW);
    // It spends the budget alone: nothing of its line is let go.
    let mut spender = server.connect();
    spender.send("x".repeat(SPENT));
    wait_for("bytes_in.total", SLOW.len() + SPENT);
    // An answer is pending on this one, so it has to wait; and nothing of its own will end that.
    client.send(NEXT);
    wait_for("budget_pauses.total", 1);
    spender.reset();
    wait_for("bytes_in.total", SLOW.len() + SPENT + NEXT.len());
}

#[test]
fn connections_that_are_idle_again_take_less_than_a_kibibyte_each() {
    const CLIENTS: usize = 1000;
    let server = Server::start(&[]);
    server.assert_serves();
    let before = server.resident_bytes();
    let line = format!("ECHO {}\n", "x".repeat(4 * KIB));
    let _clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.connect();
            // In two pieces, one after the other: each buffer that a connection can have is in use
            // once.
            let (begin, end) = line.split_at(2 * KIB);
            client.send(begin);
            server.barrier();
            client.send(end);
            client.expect(format!("OK {}", line["ECHO ".len()..].trim_end()));
            client
        })
        .collect();
    assert_bounded(&server, before, CLIENTS * KIB, "idle clients");
}

/// A worker has just answered a long request when it answers a short one: the short response, which
/// waits behind a slow one, must not keep the memory of the long one.
#[test]
fn short_responses_that_wait_take_no_more_memory_than_their_bytes() {
    const WAITING: usize = 4;
    const REQUESTS: usize = 120;
    let workers = (WAITING + 1).to_string();
    let server = Server::start(&["--workers", &workers]);
    let text = "x".repeat(60_000);
    let mut long = server.connect();
    let mut exchange = || {
        long.send(format!("ECHO {text}\n"));
        long.expect(format!("OK {text}"));
    };
    exchange();
    let before = server.resident_bytes();
    let mut waiting: Vec<_> = (0..WAITING).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send("SLEEP 10000\n");
    }
    for _ in 0..REQUESTS {
        for client in &mut waiting {
            client.send("HASH x\n");
            exchange();
        }
    }
    assert_bounded(&server, before, WAITING * MIB, "waiting clients");
}

/// Free memory stays with the process instead of coming back page by page.
#[test]
#[cfg(target_env = "gnu")]
fn large_requests_do_not_make_the_heap_shrink_and_grow() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 30;
    let server = Server::start(&["--workers", "2"]);
    let text = "x".repeat(60_000);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    let mut exchange = || {
        for _ in 0..ROUNDS {
            for client in &mut clients {
                client.send(format!("ECHO {text}\n"));
            }
            for client in &mut clients {
                client.expect(format!("OK {text}"));
            }
        }
    };
    exchange();
    let before = server.page_faults();
    exchange();
    let faults = server.page_faults() - before;
    let requests = (CLIENTS * ROUNDS) as u64;
    // It was seven and more a request; a few are new memory.
    assert!(
        faults < 3 * requests,
        "{faults} page faults for {requests} requests"
    );
}

/// A number of the last report on bytes; asks for the next one.
fn reported(server: &Server, name: &str) -> Option<usize> {
    server.signal("USR1");
    let lines = server.log().lines();
    let last = lines.iter().rfind(|line| line.contains("stats: bytes "))?;
    Some(field(last, name))
}

/// The number of `name=` in a line of the log, where zeros are left out.
fn field(line: &str, name: &str) -> usize {
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(&format!("{name}=")));
    value.map_or(0, |value| value.parse().expect("a number"))
}
