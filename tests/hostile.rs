//! Clients that mean harm or do not know better, and surroundings that fail: random bytes, other
//! protocols, readers that never read, storms of resets, no descriptors, no standard error.
//!
//! Knows no way to harm the server but those that a network and an operating system have.
//!
//! Rule: after each of them the server still serves others, and holds no more than before.

mod common;

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, DEADLINE, Launch, Random, Server, Stderr, lines_of, ms, show, wait_until};

const MIB: usize = 1 << 20;

/// How much memory a test may add to a server that keeps its bounds; what is sent is far more.
const SLACK_BYTES: usize = 24 * MIB;

/// Asserts that a phase in which nothing happens costs (almost) no CPU time, once the server has
/// done what there was to do.
#[track_caller]
fn assert_no_cpu_time(server: &Server, what: &str) {
    let mut used = Duration::ZERO;
    for _ in 0..4 {
        used = server.cpu_time_during(ms(600));
        if used < ms(40) {
            return;
        }
    }
    panic!("{what}: {used:?} of CPU time in 600 ms, again and again");
}

// ---- bytes
// --------------------------------------------------------------------------------------

/// A stream of bytes that looks a little like requests.
fn random_stream(random: &mut Random) -> Vec<u8> {
    const PIECES: &[&[u8]] = &[
        b"ECHO ",
        b"SLEEP ",
        b"HASH ",
        b"sleep 1",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\0",
        b"0",
        b"-1",
        b"\xff\xfe",
        b"ERR server busy",
        b"OK ",
        b"\x16\x03\x01",
        b"GET /",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.below(60) {
        match random.below(3) {
            0 => bytes.extend((0..random.below(30)).map(|_| random.next() as u8)),
            _ => bytes.extend_from_slice(PIECES[random.below(PIECES.len())]),
        }
    }
    bytes
}

#[test]
fn each_of_2000_random_streams_gets_one_answer_a_line_and_harms_nobody() {
    let server = Server::start(&["--max-sleep", "3", "--max-line", "200"]);
    thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for seed in (1..=2000).filter(|seed| seed % 4 == thread) {
                    let mut random = Random::new(seed);
                    let stream = random_stream(&mut random);
                    let mut client = server.connect();
                    client.send(&stream);
                    match random.below(4) {
                        0 => client.reset(),
                        1 => drop(client),
                        _ => {
                            client.half_close();
                            let answers = lines_of(&client.rest());
                            let context = format!("seed {seed}: {:?}", show(&stream));
                            assert_eq!(answers.len(), expected_answers(&stream), "{context}");
                            let well_formed = |answer: &String| {
                                answer.starts_with("OK ") || answer.starts_with("ERR ")
                            };
                            assert!(answers.iter().all(well_formed), "{context}: {answers:?}");
                        }
                    }
                }
            });
        }
    });
    server.assert_serves();
}

/// One for each line, too long or not, and one when the stream ends inside a line, of whatever
/// length.
fn expected_answers(stream: &[u8]) -> usize {
    let lines = stream.iter().filter(|byte| **byte == b'\n').count();
    let ends_inside_a_line = stream.last().is_some_and(|byte| *byte != b'\n');
    lines + usize::from(ends_inside_a_line)
}

#[test]
fn a_client_that_greets_in_http_is_told_so_and_other_greetings_are_answered_as_lines() {
    let server = Server::start(&[]);
    let answers = server.exchange("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(lines_of(&answers), ["ERR this is not an HTTP server"]);
    // The beginning of a TLS 1.2 ClientHello; its length bytes hold no LF, so it is cut.
    let mut hello = vec![
        0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, 0x03,
    ];
    hello.extend([0xa5; 32]);
    hello.extend([0x00, 0x00, 0x04, 0xc0, 0x2f, 0xc0, 0x30, 0x01, 0x00]);
    assert_eq!(lines_of(&server.exchange(&hello)), ["ERR incomplete line"]);
    hello.push(b'\n');
    // Its first space is far behind the 32 bytes that are shown.
    let shown = format!("ERR unknown op ????/???+{}", "?".repeat(23));
    assert_eq!(lines_of(&server.exchange(&hello)), [shown]);
    server.assert_serves();
}

#[test]
fn ten_megabytes_without_a_line_ending_are_not_kept() {
    let server = Server::start(&[]);
    server.assert_serves();
    let before = server.resident_bytes();
    let mut client = server.connect();
    for _ in 0..160 {
        client.send([b'x'; 65536]);
    }
    client.expect("ERR line too long (limit 65536 bytes)");
    client.send("\nECHO after\n");
    client.expect("OK after");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 8 * MIB, "grown by {grown} bytes");
    client.half_close();
    client.expect_end();
}

// ---- readers that do not read
// -------------------------------------------------------------------

#[test]
fn clients_that_never_read_are_not_read_either_and_cost_bounded_memory() {
    let server = Server::start(&["--workers", "4"]);
    server.assert_serves();
    let before = server.resident_bytes();
    let requests = format!("ECHO {}\n", "x".repeat(60_000)).repeat(600);
    let silent: Vec<Client> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect_with_small_buffers(server.address());
                    let sent = client.send_until_blocked(requests.as_bytes(), ms(400));
                    assert!(sent < requests.len(), "the server took all {sent} bytes");
                    client
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it was not blocked"))
            .collect()
    });
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES, "grown by {grown} bytes");
    server.assert_serves();
    assert_no_cpu_time(&server, "eight clients that do not read");
    // The short answers, many to a kilobyte, are bounded as well.
    let mut client = Client::connect_with_small_buffers(server.address());
    let sent = client.send_until_blocked("\n".repeat(40 * MIB).as_bytes(), ms(400));
    assert!(sent < 40 * MIB, "the server took all");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES, "grown by {grown} bytes");
    server.assert_serves();
    drop(silent);
}

#[test]
fn a_half_closed_client_that_does_not_read_costs_no_cpu_time() {
    // Twelve megabytes in flight, so that the kernel's buffers do not take all the answers; and
    // answered only after the end of the stream has been read.
    let server = Server::start(&["--workers", "4", "--max-line", "8000000"]);
    let mut client = server.connect();
    let text = "x".repeat(100_000);
    let requests = format!("SLEEP 600\n{}", format!("ECHO {text}\n").repeat(120));
    let mut writer = client.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer
                .write_all(requests.as_bytes())
                .expect("the server reads it all in the end");
            writer.shutdown(Shutdown::Write).expect("half-close");
        });
        // The answers begin to come; nobody reads them.
        thread::sleep(ms(700));
        assert_no_cpu_time(&server, "half-closed with unread output");
        client.expect("OK 600");
        for _ in 0..120 {
            client.expect(format!("OK {text}"));
        }
        client.expect_end();
    });
}

#[test]
fn waiting_costs_no_cpu_time() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "10000"]);
    let _occupants = server.occupy(2, 5000);
    // Waits with input unread, waits half-closed, and has gone with its request still running.
    let mut unread = server.connect();
    unread.send("ECHO x\n".repeat(20_000));
    let mut half_closed = server.connect();
    half_closed.send("ECHO a\n");
    half_closed.half_close();
    let partial = {
        let mut client = server.connect();
        client.send("ECHO par");
        client
    };
    let refused_input = {
        let mut client = server.connect();
        client.send("ECHO x\nECHO");
        client.half_close();
        client
    };
    server.barrier();
    assert_no_cpu_time(&server, "requests that wait");
    drop((unread, half_closed, partial, refused_input));
    server.barrier();
    assert_no_cpu_time(&server, "after the waiting clients have gone");
}

#[test]
fn an_idle_server_with_open_connections_uses_no_cpu_time() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("ECHO a\nECHO b");
        client.expect("OK a");
    }
    server.barrier();
    assert_no_cpu_time(&server, "100 idle connections");
}

// ---- many connections
// ---------------------------------------------------------------------------

#[test]
fn a_connection_beyond_the_limit_is_told_so_and_a_place_that_is_left_is_used_again() {
    let server = Server::start(&["--max-connections", "2"]);
    let mut places: Vec<Client> = Vec::new();
    for round in 0..5 {
        while places.len() < 2 {
            // The server hears of a close a moment after the client has closed.
            let mut found = None;
            wait_until("a place is free", ms(5000), || {
                let mut client = server.connect();
                client.send("ECHO place\n");
                let line = client.line();
                let served = line == b"OK place";
                assert!(
                    served || line == b"ERR too many connections",
                    "{:?}",
                    show(&line)
                );
                found = served.then_some(client);
                served
            });
            places.push(found.expect("just found"));
        }
        for _ in 0..10 {
            let mut refused = server.connect();
            refused.expect("ERR too many connections");
            refused.expect_end();
        }
        for client in &mut places {
            client.send(format!("ECHO {round}\n"));
            client.expect(format!("OK {round}"));
        }
        // In turn by FIN, by reset and by half-close.
        let mut leaving = places.remove(round % 2);
        match round % 3 {
            0 => drop(leaving),
            1 => leaving.reset(),
            _ => {
                leaving.half_close();
                leaving.expect_end();
            }
        }
    }
}

#[test]
fn a_refused_connection_that_stays_takes_nobodys_place() {
    let server = Server::start(&["--max-connections", "1"]);
    let mut first = server.connect();
    first.send("ECHO first\n");
    first.expect("OK first");
    // The server goes on reading from it for a while.
    let mut refused = server.connect();
    refused.expect("ERR too many connections");
    first.half_close();
    first.expect_end();
    let mut second = server.connect();
    second.send("ECHO second\n");
    second.expect("OK second");
}

#[test]
fn connections_beyond_the_limit_are_warned_of_at_most_once_a_second() {
    let server = Server::start(&["--max-connections", "1"]);
    let _place = server.connect();
    let warnings = || {
        let lines = server.log().lines();
        let of_the_limit =
            |line: &&String| line.contains("WARN") && line.contains("connection limit");
        lines.iter().filter(of_the_limit).count()
    };
    let start = Instant::now();
    let mut refused = 0;
    wait_until("the second warning", DEADLINE, || {
        let mut client = server.connect();
        client.expect("ERR too many connections");
        client.expect_end();
        refused += 1;
        warnings() > 1
    });
    let elapsed = start.elapsed();
    assert!(
        elapsed >= ms(1000),
        "two warnings of {refused} connections in {elapsed:?}"
    );
}

#[test]
fn a_storm_of_connects_and_resets_leaks_nothing() {
    let server = Server::start(&["--workers", "2", "--max-sleep", "5"]);
    server.assert_serves();
    let (descriptors, threads) = (server.descriptors(), server.threads());
    let storm = |count: usize| {
        thread::scope(|scope| {
            for thread in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    for number in 0..count / 4 {
                        let mut client = server.connect();
                        match (number + thread) % 4 {
                            0 => {}
                            1 => client.send("SLEEP 1\nECHO x\nECHO"),
                            2 => client.send("x".repeat(70_000)),
                            _ => client.send("ECHO y\n"),
                        }
                        client.reset();
                    }
                });
            }
        });
        wait_until("all descriptors are free again", ms(8000), || {
            server.descriptors() <= descriptors
        });
        server.assert_serves();
        server.resident_bytes()
    };
    let before = storm(1000);
    let after = storm(5000);
    assert_eq!(server.threads(), threads);
    assert!(
        after < before + 4 * MIB,
        "grown from {before} to {after} bytes"
    );
}

#[test]
fn four_hundred_connects_at_once_are_all_served_without_a_retransmission() {
    let server = Server::start(&[]);
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..400).map(|_| server.connect()).collect();
    let connected = start.elapsed();
    // A SYN that finds the backlog full is sent again after a second.
    assert!(connected < ms(900), "400 connects took {connected:?}");
    for client in &mut clients {
        client.send("ECHO a\n");
    }
    for client in &mut clients {
        client.expect("OK a");
    }
}

#[test]
fn without_descriptors_new_connections_wait_and_old_ones_are_served() {
    const LIMIT: usize = 48;
    let server = Launch::new(&["--workers", "2"])
        .descriptor_limit(LIMIT)
        .start();
    let clients: Vec<Client> = (0..LIMIT + 20)
        .map(|_| {
            let mut client = server.connect();
            client.send("ECHO here\n");
            client
        })
        .collect();
    // The first ones are served, the last ones have no descriptor and no answer.
    let mut served = Vec::new();
    let mut waiting = Vec::new();
    for mut client in clients {
        let patience = if waiting.is_empty() { ms(500) } else { ms(1) };
        match client.try_line(patience) {
            Some(line) => {
                assert_eq!(show(&line), "OK here");
                served.push(client);
            }
            None => waiting.push(client),
        }
    }
    assert!(served.len() >= 20, "{} served", served.len());
    assert!(waiting.len() >= 20, "{} waiting", waiting.len());
    // Ten looks a second at a listener that gives nothing.
    assert_no_cpu_time(&server, "no descriptors, and connections that wait");
    for client in &mut served {
        client.send("ECHO still\n");
        client.expect("OK still");
    }
    // Descriptors come free, and nothing else happens: those that wait are found all the same.
    let freed = served.len() - 4;
    drop(served.drain(4..));
    for client in waiting.iter_mut().take(freed) {
        client.expect("OK here");
    }
    for client in &mut served {
        client.send("ECHO still\n");
        client.expect("OK still");
    }
    let warnings = server
        .log()
        .lines()
        .iter()
        .filter(|line| line.contains("WARN"))
        .count();
    assert!((1..=20).contains(&warnings), "{warnings} warnings");
}

// ---- a log that cannot be written
// ---------------------------------------------------------------

#[test]
fn a_standard_error_that_fails_changes_nothing_for_clients() {
    for stderr in [
        Stderr::Closed,
        Stderr::Full,
        Stderr::ReaderGone,
        Stderr::NobodyReads,
    ] {
        let mut server = Launch::new(&["-vv"]).stderr(stderr).start();
        // Some hundred kilobytes of log, more than a pipe holds.
        let requests: String = (0..3000).map(|tag| format!("ECHO {tag}\n")).collect();
        let expected: String = (0..3000).map(|tag| format!("OK {tag}\n")).collect();
        let start = Instant::now();
        let answers = server.exchange(&requests);
        assert!(
            answers == expected.as_bytes(),
            "{stderr:?}: {:?}",
            show(&answers)
        );
        for _ in 0..20 {
            server.assert_serves();
        }
        let elapsed = start.elapsed();
        assert!(elapsed < ms(5000), "{stderr:?}: took {elapsed:?}");
        let mut slow = server.connect();
        slow.send("SLEEP 200\n");
        server.barrier();
        server.signal("TERM");
        slow.expect("OK 200");
        slow.expect_end();
        drop(slow);
        assert_eq!(server.wait_for_exit(ms(5000)).code(), Some(0), "{stderr:?}");
    }
}

#[test]
fn a_log_of_any_length_that_nobody_reads_holds_nobody_up() {
    // Five lines a request, and more than 128,000 of them, which the log keeps before it drops
    // some.
    const REQUESTS: usize = 40_000;
    let server = Launch::new(&["-vv"]).stderr(Stderr::NobodyReads).start();
    let requests: String = (0..REQUESTS).map(|tag| format!("ECHO {tag}\n")).collect();
    let expected: String = (0..REQUESTS).map(|tag| format!("OK {tag}\n")).collect();
    let answers = server.exchange(&requests);
    assert!(answers == expected.as_bytes(), "{:?}", show(&answers));
    server.assert_serves();
}

#[test]
fn a_peer_that_vanishes_is_asked_after() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    let hex = |port: u16| format!(":{port:04X}");
    let local = hex(server.address().port());
    let remote = hex(client
        .writer()
        .local_addr()
        .expect("it is connected")
        .port());
    // proc(5): the server's end of the connection, and the timer that it has running. The code 02
    // is that of keepalive.
    wait_until("a keepalive timer runs", DEADLINE, || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        table.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&local)
                && fields[2].ends_with(&remote)
                && fields[5].starts_with("02:")
        })
    });
}

// ---- many at once
// -------------------------------------------------------------------------------

#[test]
fn urgent_data_in_the_stream_holds_up_no_request_behind_it() {
    for _ in 0..20 {
        let server = Server::start(&[]);
        let mut client = server.connect();
        // Stopped, so that it finds all three at once, and its read stops at the urgent mark.
        server.signal("STOP");
        client.send("ECHO a\n");
        client.send_urgent(b'!');
        client.send("ECHO b\n");
        server.signal("CONT");
        client.expect("OK a");
        client.expect("OK b");
    }
}

#[test]
fn megabytes_that_come_at_once_are_read_to_their_end() {
    let server = Server::start(&["--max-line", "64"]);
    let mut client = server.connect();
    // The first ones make the system grow its buffers.
    client.send("x".repeat(32 * MIB) + "\nECHO warm\n");
    client.expect("ERR line too long (limit 64 bytes)");
    client.expect("OK warm");
    // Stopped, so that it finds all of these there and is told of them once.
    server.signal("STOP");
    let bytes = "x".repeat(2 * MIB) + "\nECHO end\n";
    let sent = client.send_until_blocked(bytes.as_bytes(), ms(300));
    server.signal("CONT");
    client.send(&bytes[sent..]);
    client.expect("ERR line too long (limit 64 bytes)");
    client.expect("OK end");
}

#[test]
fn slow_senders_do_not_slow_anybody_else() {
    let server = Server::start(&["--workers", "2"]);
    // Two hundred lines that never end, each near the limit.
    let partial: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = server.connect();
            client.send("x".repeat(60_000));
            client
        })
        .collect();
    let start = Instant::now();
    for _ in 0..50 {
        server.assert_serves();
    }
    let elapsed = start.elapsed();
    assert!(
        elapsed < Duration::from_secs(3),
        "fifty clients took {elapsed:?}"
    );
    assert!(TcpStream::connect(server.address()).is_ok());
    drop(partial);
}
