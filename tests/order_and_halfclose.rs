//! One answer per request, in order, to the last byte: pipelines across workers, half-closed
//! connections, and last words that no reset may eat (promises 1 to 3).
//!
//! Knows no full queue: what waits here waits for a worker or for the client.
//!
//! Rule: bounds of time are only there to tell "at the same time" from "one after the other", and
//! leave several hundred milliseconds for a busy machine.

mod common;

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use common::{Client, Random, Server, lines_of, ms, show};

// ---- order
// --------------------------------------------------------------------------------------

#[test]
fn a_slow_request_holds_back_the_answers_behind_it() {
    let server = Server::start(&["--workers", "4"]);
    for ending in ["\n", "\r\n"] {
        let mut client = server.connect();
        let start = Instant::now();
        client.send(format!("SLEEP 300{ending}ECHO a{ending}"));
        client.expect_lines(&["OK 300", "OK a"]);
        let elapsed = start.elapsed();
        assert!(
            elapsed >= ms(300),
            "the answer to SLEEP 300 came after {elapsed:?}"
        );
        assert!(elapsed < ms(900), "SLEEP 300 and ECHO took {elapsed:?}");
    }
}

#[test]
fn requests_of_one_connection_run_on_several_workers_at_once() {
    let server = Server::start(&["--workers", "4"]);
    let start = Instant::now();
    let answers = server.exchange("SLEEP 300\n".repeat(4));
    let elapsed = start.elapsed();
    assert_eq!(show(&answers), show("OK 300\n".repeat(4).as_bytes()));
    assert!(
        elapsed < ms(900),
        "four SLEEP 300 on four workers took {elapsed:?}"
    );
}

#[test]
fn one_worker_runs_one_request_at_a_time() {
    let server = Server::start(&["--workers", "1"]);
    let start = Instant::now();
    let answers = server.exchange("SLEEP 100\n".repeat(4));
    assert_eq!(show(&answers), show("OK 100\n".repeat(4).as_bytes()));
    assert!(
        start.elapsed() >= ms(400),
        "one worker took {:?}",
        start.elapsed()
    );
}

#[test]
fn no_more_requests_of_a_connection_run_at_once_than_max_inflight() {
    let server = Server::start(&["--workers", "4", "--max-inflight", "2"]);
    let start = Instant::now();
    let answers = server.exchange("SLEEP 400\n".repeat(4));
    assert_eq!(show(&answers), show("OK 400\n".repeat(4).as_bytes()));
    assert!(
        start.elapsed() >= ms(800),
        "two at a time took {:?}",
        start.elapsed()
    );
}

#[test]
fn pipelined_requests_answer_in_order_across_workers() {
    let server = Server::start(&["--workers", "8"]);
    for seed in 1..=3 {
        let mut random = Random::new(seed);
        let mut requests = String::new();
        let mut expected = String::new();
        for tag in 0..150 {
            match random.below(4) {
                0 => {
                    let n = random.below(25);
                    requests += &format!("SLEEP {n}\n");
                    expected += &format!("OK {n}\n");
                }
                1 => {
                    requests += &format!("op{tag}\n");
                    expected += &format!("ERR unknown op OP{tag}\n");
                }
                _ => {
                    requests += &format!("ECHO {tag}\n");
                    expected += &format!("OK {tag}\n");
                }
            }
        }
        let answers = server.exchange(&requests);
        assert_eq!(
            lines_of(&answers),
            lines_of(expected.as_bytes()),
            "seed {seed}"
        );
    }
}

#[test]
fn thousands_of_requests_behind_a_slow_one_answer_in_order() {
    let server = Server::start(&["--workers", "4"]);
    let mut requests = String::from("SLEEP 200\n");
    let mut expected = String::from("OK 200\n");
    for tag in 0..5000 {
        requests += &format!("ECHO {tag}\n");
        expected += &format!("OK {tag}\n");
    }
    let answers = server.exchange(&requests);
    assert!(answers == expected.as_bytes(), "got {:?}", show(&answers));
}

#[test]
fn many_pipelining_connections_each_get_their_own_answers_in_order() {
    let server = Server::start(&["--workers", "4"]);
    thread::scope(|scope| {
        for client in 0..20 {
            let server = &server;
            scope.spawn(move || {
                let mut random = Random::new(client + 1);
                let mut requests = String::new();
                let mut expected = String::new();
                for tag in 0..100 {
                    if random.below(5) == 0 {
                        requests += "SLEEP 2\n";
                        expected += "OK 2\n";
                    }
                    requests += &format!("ECHO {client}:{tag}\n");
                    expected += &format!("OK {client}:{tag}\n");
                }
                let answers = server.exchange(&requests);
                assert_eq!(
                    lines_of(&answers),
                    lines_of(expected.as_bytes()),
                    "client {client}"
                );
            });
        }
    });
}

#[test]
fn a_slow_request_of_one_connection_does_not_hold_back_another_connection() {
    let server = Server::start(&["--workers", "2"]);
    let mut slow = server.connect();
    slow.send("SLEEP 1500\n");
    server.barrier();
    let start = Instant::now();
    let mut other = server.connect();
    for tag in 0..10 {
        other.send(format!("ECHO {tag}\n"));
        other.expect(format!("OK {tag}"));
    }
    let elapsed = start.elapsed();
    assert!(
        elapsed < ms(1000),
        "ten ECHOs beside a SLEEP took {elapsed:?}"
    );
}

#[test]
fn a_hundred_thousand_requests_are_answered_to_a_client_that_reads_later() {
    const COUNT: usize = 100_000;
    let server = Server::start(&["--workers", "4"]);
    let mut client = Client::connect_with_small_buffers(server.address());
    let mut writer = client.writer();
    let padding = "p".repeat(50);
    let (written, writing_is_under_way) = mpsc::channel();
    thread::scope(|scope| {
        let padding = &padding;
        scope.spawn(move || {
            let all: Vec<usize> = (0..COUNT).collect();
            for part in all.chunks(COUNT / 100) {
                let lines: String = part
                    .iter()
                    .map(|tag| format!("ECHO {tag} {padding}\n"))
                    .collect();
                writer
                    .write_all(lines.as_bytes())
                    .expect("the server reads in the end");
                // The reader may have what it waits for, and be gone from the channel.
                written.send(()).ok();
            }
            writer.shutdown(Shutdown::Write).expect("half-close");
        });
        // Reads nothing until all is written or nothing more goes out.
        while writing_is_under_way.recv_timeout(ms(300)).is_ok() {}
        for tag in 0..COUNT {
            client.expect(format!("OK {tag} {padding}"));
        }
        client.expect_end();
    });
}

#[test]
fn an_answer_does_not_wait_for_the_acknowledgement_of_the_one_before() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.connect();
    let mut times: Vec<_> = (0..40)
        .map(|_| {
            let start = Instant::now();
            // Two answers a few milliseconds apart: Nagle's algorithm would hold back the second
            // until the client's delayed acknowledgement of the first, 40 ms later.
            client.send("ECHO a\nSLEEP 3\n");
            client.expect_lines(&["OK a", "OK 3"]);
            start.elapsed()
        })
        .collect();
    // A busy machine slows some of them; held back, all but the first or two take 40 ms.
    times.sort_unstable();
    assert!(times[5] < ms(30), "pairs of answers took {times:?}");
}

// ---- half-close
// ---------------------------------------------------------------------------------

#[test]
fn a_half_closed_client_gets_every_answer_and_then_the_end() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "10000"]);
    // Running, queued, waiting and not yet read, when the end of the stream arrives.
    let mut client = server.connect();
    client.send("SLEEP 150\nSLEEP 50\nECHO a\nNOPE\nECHO b\n");
    client.half_close();
    client.expect_lines(&["OK 150", "OK 50", "OK a", "ERR unknown op NOPE", "OK b"]);
    client.expect_end();
}

#[test]
fn a_half_close_long_after_the_last_answer_is_answered_by_the_end() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    client.half_close();
    client.expect_end();
}

#[test]
fn a_half_closed_slow_reader_gets_megabytes_of_answers_to_the_last_byte() {
    let server = Server::start(&["--workers", "4"]);
    let mut client = Client::connect_with_small_buffers(server.address());
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for tag in 0..30 {
        let text = format!("{tag} {}", "abcdefghij".repeat(6000));
        requests.extend_from_slice(format!("ECHO {text}\n").as_bytes());
        expected.extend_from_slice(format!("OK {text}\n").as_bytes());
    }
    let mut writer = client.writer();
    thread::scope(|scope| {
        let requests = &requests;
        scope.spawn(move || {
            writer
                .write_all(requests)
                .expect("the server reads in the end");
            writer.shutdown(Shutdown::Write).expect("half-close");
        });
        // A reader that is slow, not one that waits for something.
        thread::sleep(ms(300));
        for line in expected.split_inclusive(|byte| *byte == b'\n') {
            client.expect(&line[..line.len() - 1]);
            thread::sleep(ms(5));
        }
        client.expect_end();
    });
}

#[test]
fn an_incomplete_last_line_is_told_behind_much_output_to_a_slow_reader() {
    // All requests are framed before the half-close, so that the server is left with the output.
    let server = Server::start(&["--workers", "4", "--max-line", "1000000"]);
    let mut client = Client::connect_with_small_buffers(server.address());
    let text = "abcdefghij".repeat(5000);
    let mut writer = client.writer();
    thread::scope(|scope| {
        let text = &text;
        scope.spawn(move || {
            let requests = format!("ECHO {text}\n").repeat(10);
            writer
                .write_all(requests.as_bytes())
                .expect("the server reads in the end");
            writer
                .write_all(b"ECHO cut")
                .expect("the server reads in the end");
            writer.shutdown(Shutdown::Write).expect("half-close");
        });
        thread::sleep(ms(300));
        for _ in 0..10 {
            client.expect(format!("OK {text}"));
            thread::sleep(ms(10));
        }
        client.expect("ERR incomplete line");
        client.expect_end();
    });
}

#[test]
fn thousands_of_short_half_closed_connections_each_get_their_answer() {
    let server = Server::start(&["--workers", "4"]);
    thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..500 {
                    let mut client = server.connect();
                    client.send(format!("ECHO {thread}:{round}\nECHO again"));
                    client.half_close();
                    client.expect(format!("OK {thread}:{round}"));
                    client.expect("ERR incomplete line");
                    client.expect_end();
                }
            });
        }
    });
}

// ---- last words
// ---------------------------------------------------------------------------------

/// Writes `total` bytes without a line ending, and stops early when the other side has closed.
fn write_megabytes(client: &Client, total: usize) -> impl FnOnce() + Send + use<> {
    let mut writer = client.writer();
    move || {
        let chunk = [b'x'; 64 * 1024];
        for _ in 0..total / chunk.len() {
            if writer.write_all(&chunk).is_err() {
                return;
            }
        }
    }
}

#[test]
fn a_line_too_long_is_told_to_a_client_that_goes_on_sending_megabytes() {
    let server = Server::start(&["--max-line", "64"]);
    let mut client = server.connect();
    thread::scope(|scope| {
        let writing = scope.spawn(write_megabytes(&client, 8 << 20));
        client.expect("ERR line too long (limit 64 bytes)");
        writing.join().unwrap();
        client.send("\nECHO after megabytes\n");
        client.expect("OK after megabytes");
        client.half_close();
        client.expect_end();
    });
}

#[test]
fn a_refused_connection_is_told_so_while_it_sends_megabytes() {
    let server = Server::start(&["--max-connections", "1"]);
    let mut first = server.connect();
    first.send("ECHO first\n");
    first.expect("OK first");
    for _ in 0..5 {
        let mut refused = server.connect();
        thread::scope(|scope| {
            scope.spawn(write_megabytes(&refused, 4 << 20));
            // It reads late: a reset would have come by now.
            thread::sleep(ms(200));
            refused.expect("ERR too many connections");
            refused.expect_end();
            // Else a writer that the server no longer reads would wait for its deadline.
            refused.writer().shutdown(Shutdown::Both).ok();
        });
    }
    first.send("ECHO still first\n");
    first.expect("OK still first");
}

#[test]
fn a_refused_client_that_first_sends_megabytes_and_then_reads_is_told_so() {
    let server = Server::start(&["--max-connections", "1"]);
    let mut first = server.connect();
    first.send("ECHO first\n");
    first.expect("OK first");
    // More than the buffers of both ends hold, so it can send all of that only while the server
    // reads: two seconds, which a busy machine may not leave it.
    let told = || {
        let mut refused = Client::connect_with_small_send_buffer(server.address());
        let sent = refused.writer().write_all(&vec![b'x'; 48 << 20]).is_ok();
        sent && {
            refused.expect("ERR too many connections");
            refused.expect_end();
            true
        }
    };
    assert!(
        (0..5).any(|_| told()),
        "five times not all bytes were taken"
    );
}

#[test]
fn answers_come_before_the_error_that_ends_the_stream() {
    let server = Server::start(&["--workers", "2", "--max-line", "64"]);
    let too_long = "x".repeat(100);
    let input = format!("SLEEP 150\nECHO a\n{too_long}\nSLEEP 50\nECHO cut");
    let answers = server.exchange(&input);
    let expected = "OK 150\nOK a\nERR line too long (limit 64 bytes)\nOK 50\nERR incomplete line\n";
    assert_eq!(show(&answers), show(expected.as_bytes()));
}
