//! The beginning and the end: signals, draining, exit codes, restarts (promise 9), and what counts
//! as idle (promise 8).
//!
//! Knows the moment of a stop only by what every client can see: connects are refused.
//!
//! Rule: what was framed before the stop is answered, and nothing else is; and each stream ends in
//! an orderly way, never in a reset.

mod common;

use std::io::{Read as _, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, DEADLINE, Launch, Server, lines_of, ms, show, wait_until};

/// What a server may take to close lingering connections and to go, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

// ---- stopping
// -----------------------------------------------------------------------------------

#[test]
fn all_framed_requests_are_answered_before_a_stop() {
    for signal in ["TERM", "INT"] {
        let mut server =
            Server::start(&["--workers", "1", "--queue", "2", "--busy-timeout", "10000"]);
        // Running, queued and waiting.
        let mut client = server.connect();
        client.send("SLEEP 100\n".repeat(8));
        let mut half_closed = server.connect();
        half_closed.send("SLEEP 50\nECHO half-closed\n");
        half_closed.half_close();
        server.barrier();
        server.signal(signal);
        assert_eq!(lines_of(&client.rest()), vec!["OK 100"; 8], "SIG{signal}");
        half_closed.expect_lines(&["OK 50", "OK half-closed"]);
        half_closed.expect_end();
        // The server waits a little for its clients to close as well.
        drop((client, half_closed));
        assert_eq!(server.wait_for_exit(SOON).code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn idle_connections_are_closed_by_a_stop() {
    let mut server = Server::start(&[]);
    let mut silent = server.connect();
    let mut served = server.connect();
    served.send("ECHO a\n");
    served.expect("OK a");
    server.barrier();
    server.signal("TERM");
    silent.expect_end();
    served.expect_end();
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

#[test]
fn a_server_that_nobody_uses_stops_at_once() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        server.signal(signal);
        assert_eq!(
            server.wait_for_exit(ms(1500)).code(),
            Some(0),
            "SIG{signal}"
        );
    }
}

#[test]
fn new_connects_are_refused_while_a_stop_waits_for_work() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.send("SLEEP 1500\n");
    server.barrier();
    let start = Instant::now();
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    let refused_after = start.elapsed();
    assert!(
        refused_after < ms(1400),
        "refused only after {refused_after:?}"
    );
    client.expect("OK 1500");
    client.expect_end();
    drop(client);
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

#[test]
fn what_was_not_framed_before_a_stop_gets_no_answer_and_costs_none() {
    let mut server = Server::start(&["--workers", "1"]);
    let mut busy = server.connect();
    busy.send("SLEEP 800\nECHO b\nECHO cut");
    let mut partial = server.connect();
    partial.send("ECHO par");
    server.barrier();
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    // Too late: neither run, nor answered, nor a reason to lose the answers to what came before.
    busy.send("\nECHO late\n");
    partial.expect_end();
    busy.expect_lines(&["OK 800", "OK b"]);
    busy.expect_end();
    drop((busy, partial));
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

#[test]
fn a_stop_loses_no_answers_to_a_slow_reader_that_goes_on_sending() {
    // Enough in flight that a reset would eat hundreds of kilobytes.
    let mut server = Server::start(&["--workers", "1", "--max-line", "1000000"]);
    let mut client = Client::connect_with_small_buffers(server.address());
    let mut writer = client.writer();
    let text = "abcdefghij".repeat(6000);
    let framed = format!("SLEEP 1000\n{}", format!("ECHO {text}\n").repeat(8));
    writer
        .write_all(framed.as_bytes())
        .expect("the server reads");
    server.barrier();
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    thread::scope(|scope| {
        scope.spawn(move || {
            // Far more than the server reads in vain, or less when it has closed.
            let more = [b'x'; 16 * 1024];
            for _ in 0..12 * 1024 {
                if writer.write_all(&more).is_err() {
                    return;
                }
            }
        });
        client.expect("OK 1000");
        // What was still in the client's own buffer at the stop has not been framed.
        let mut answers = Vec::new();
        while answers.len() < 8
            && let Some(answer) = client.line_or_end()
        {
            assert_eq!(show(&answer), show(format!("OK {text}").as_bytes()));
            answers.push(answer);
            thread::sleep(ms(20));
        }
        assert!(answers.len() >= 4, "{} answers", answers.len());
        client.expect_end();
        assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    });
}

#[test]
fn a_stop_in_the_middle_of_pipelines_answers_a_prefix_of_each() {
    let mut server = Server::start(&["--workers", "2", "--queue", "4", "--busy-timeout", "10000"]);
    let (begun, all_begun) = mpsc::channel();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let mut client = server.connect();
                let mut writer = client.writer();
                let begun = begun.clone();
                scope.spawn(move || {
                    let mut tag = 0;
                    while writer.write_all(format!("ECHO {tag}\n").as_bytes()).is_ok() {
                        tag += 1;
                    }
                });
                scope.spawn(move || {
                    // Some way into the pipeline, then everything to its end.
                    client.expect("OK 0");
                    begun.send(()).expect("the test listens");
                    let answers = lines_of(&client.rest());
                    for (at, answer) in answers.iter().enumerate() {
                        assert_eq!(*answer, format!("OK {}", at + 1));
                    }
                    answers.len()
                })
            })
            .collect();
        for _ in 0..8 {
            all_begun
                .recv_timeout(DEADLINE)
                .expect("each has an answer");
        }
        thread::sleep(ms(200));
        server.signal("TERM");
        for reader in readers {
            let answers = reader.join().expect("a stream ended in disorder");
            assert!(answers > 0, "the pipeline had hardly begun");
        }
        assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    });
}

#[test]
fn a_stop_does_not_wait_for_connections_that_were_reset() {
    let mut server = Server::start(&["--workers", "1"]);
    let occupant = server.occupy(1, 300);
    let mut gone = server.connect();
    gone.send("SLEEP 5000\n".repeat(5));
    server.barrier();
    gone.reset();
    server.barrier();
    server.signal("TERM");
    drop(occupant);
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

/// Until then, a request of a client that resets would be taken out of the queue.
fn wait_until_running(server: &Server) {
    let log = server.log();
    log.wait_for("says that a worker has the request", |line| {
        line.contains(" started ")
    });
}

#[test]
fn a_request_that_runs_for_a_client_that_has_gone_does_not_outlast_the_drain_timeout() {
    let mut server = Server::start(&["-vv", "--workers", "1", "--drain-timeout", "1"]);
    let mut gone = server.occupy(1, 9000);
    wait_until_running(&server);
    gone.remove(0).reset();
    server.barrier();
    server.signal("TERM");
    // Nobody waits for its answer, so nothing is lost.
    assert_eq!(server.wait_for_exit(ms(6000)).code(), Some(0));
}

#[test]
fn a_second_signal_is_heard_while_a_request_runs_for_a_client_that_has_gone() {
    let mut server = Server::start(&["-vv", "--workers", "1"]);
    let mut gone = server.occupy(1, 9000);
    wait_until_running(&server);
    gone.remove(0).reset();
    server.barrier();
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    server.signal("TERM");
    // Nobody waits for its answer, so nothing is lost.
    assert_eq!(server.wait_for_exit(ms(6000)).code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_server_at_once_with_1() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let mut server = Server::start(&[]);
        let _occupant = server.occupy(1, 8000);
        server.signal(first);
        server.wait_until_refusing(DEADLINE);
        server.signal(second);
        let status = server.wait_for_exit(ms(2000));
        assert_eq!(status.code(), Some(1), "SIG{first}, SIG{second}");
    }
}

#[test]
fn a_stop_gives_up_after_the_drain_timeout_and_says_what_it_abandoned() {
    let mut server = Server::start(&["--drain-timeout", "1", "--workers", "1"]);
    let mut client = server.connect();
    client.send("ECHO a\nSLEEP 8000\nECHO b\n");
    client.expect("OK a");
    server.barrier();
    let start = Instant::now();
    server.signal("TERM");
    let status = server.wait_for_exit(ms(4000));
    assert_eq!(status.code(), Some(1));
    assert!(
        start.elapsed() >= ms(950),
        "gave up after {:?}",
        start.elapsed()
    );
    server
        .log()
        .wait_for("says what was abandoned", |line| line.contains("abandoned"));
    // Neither the one that ran nor the one behind it.
    assert_eq!(show(&client.rest_or_reset()), "");
}

#[test]
fn a_drain_timeout_of_0_waits_for_nothing() {
    let mut server = Server::start(&["--drain-timeout", "0"]);
    let _occupant = server.occupy(1, 8000);
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(ms(2000)).code(), Some(1));
    server
        .log()
        .wait_for("says what was abandoned", |line| line.contains("abandoned"));

    let mut server = Server::start(&["--drain-timeout", "0"]);
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(ms(2000)).code(), Some(0));
}

#[test]
fn a_client_that_takes_no_answers_does_not_hold_up_a_stop_for_longer_than_the_drain_timeout() {
    let mut server = Server::start(&["--drain-timeout", "1"]);
    let mut client = Client::connect_with_small_buffers(server.address());
    let requests = format!("ECHO {}\n", "x".repeat(60_000)).repeat(300);
    client.send_until_blocked(requests.as_bytes(), ms(300));
    server.signal("TERM");
    let status = server.wait_for_exit(SOON);
    assert_eq!(status.code(), Some(1), "its answers were abandoned");
}

// ---- starting again
// -----------------------------------------------------------------------------

#[test]
fn a_server_starts_again_at_once_on_the_same_port() {
    let mut server = Server::start(&[]);
    let port = server.address().port();
    // A connection that the server closes first stays in TIME_WAIT on its side.
    let mut client = server.connect();
    client.send("ECHO before\n");
    client.expect("OK before");
    server.signal("TERM");
    client.expect_end();
    drop(client);
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));

    let server = Launch::new(&[]).port(port).start();
    server.assert_serves();
    let client = server.connect();
    // Killed in the middle of things.
    drop(server);
    let server = Launch::new(&[]).port(port).start();
    server.assert_serves();
    drop(client);
}

// ---- idle
// ---------------------------------------------------------------------------------------

/// Waits for the end of an idle connection and returns how long that took.
#[track_caller]
fn time_until_idle(client: &mut Client) -> Duration {
    let start = Instant::now();
    client.expect("ERR idle timeout");
    let elapsed = start.elapsed();
    client.expect_end();
    elapsed
}

#[test]
fn an_idle_connection_is_told_so_and_closed() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut silent = server.connect();
    let elapsed = time_until_idle(&mut silent);
    assert!(elapsed >= ms(900), "idle after {elapsed:?}");
    assert!(elapsed < ms(3000), "idle after {elapsed:?}");
    server.assert_serves();
}

#[test]
fn the_idle_clock_starts_anew_with_each_answer() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut client = server.connect();
    let mut last_request = Instant::now();
    for tag in 0..3 {
        thread::sleep(ms(500));
        client.send(format!("ECHO {tag}\n"));
        let line = client.line();
        if line == b"ERR idle timeout" {
            // Only if this machine has kept the client from sending for so long.
            assert!(
                last_request.elapsed() >= ms(1000),
                "idle after {:?}",
                last_request.elapsed()
            );
            return;
        }
        assert_eq!(show(&line), format!("OK {tag}"));
        last_request = Instant::now();
    }
    let elapsed = time_until_idle(&mut client);
    assert!(elapsed >= ms(900), "idle {elapsed:?} after its last answer");
}

#[test]
fn bytes_that_complete_no_line_are_no_activity_and_do_not_cost_the_last_word() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut client = server.connect();
    let start = Instant::now();
    loop {
        client.send("x");
        if let Some(line) = client.try_line(ms(200)) {
            assert_eq!(show(&line), "ERR idle timeout");
            break;
        }
        assert!(
            start.elapsed() < ms(4000),
            "one byte at a time keeps the connection open"
        );
    }
    // It goes on sending; that the stream ends in order shows that its bytes are discarded.
    client.send("x");
    client.expect_end();
    assert!(
        start.elapsed() >= ms(900),
        "idle after {:?}",
        start.elapsed()
    );
}

#[test]
fn a_running_or_waiting_request_is_not_idle() {
    let server = Server::start(&[
        "--idle-timeout",
        "1",
        "--workers",
        "1",
        "--queue",
        "1",
        "--busy-timeout",
        "10000",
    ]);
    let mut running = server.occupy(1, 1500).pop().expect("one occupant");
    let mut queued = server.occupy(1, 500).pop().expect("one occupant");
    let mut waiting = server.connect();
    waiting.send("ECHO waited\n");
    running.expect("OK 1500");
    queued.expect("OK 500");
    waiting.expect("OK waited");
    let elapsed = time_until_idle(&mut waiting);
    assert!(elapsed >= ms(900), "idle {elapsed:?} after its last answer");
}

#[test]
fn a_client_that_does_not_take_its_answers_is_closed() {
    let server = Server::start(&["--idle-timeout", "2"]);
    server.assert_serves();
    let before = server.descriptors();
    let mut client = Client::connect_with_small_buffers(server.address());
    let requests = format!("ECHO {}\n", "x".repeat(60_000)).repeat(300);
    let sent = client.send_until_blocked(requests.as_bytes(), ms(300));
    assert!(sent < requests.len(), "the server took all");
    wait_until(
        "its descriptor is free again",
        Duration::from_secs(8),
        || server.descriptors() <= before,
    );
    server.assert_serves();
}

#[test]
fn a_client_that_takes_its_answer_slowly_is_not_idle() {
    // One answer that takes twice the idle timeout, and moves several times in each.
    const BYTES: usize = 12 << 20;
    let server = Server::start(&["--idle-timeout", "2", "--max-line", "16777216"]);
    let mut client = Client::connect_with_small_buffers(server.address());
    let text = "x".repeat(BYTES);
    client.send(format!("ECHO {text}\n"));
    let start = Instant::now();
    let mut stream = client.writer();
    let mut answer = vec![0; "OK \n".len() + BYTES];
    for piece in answer.chunks_mut(BYTES / 50) {
        thread::sleep(ms(80));
        stream.read_exact(piece).expect("it goes on");
    }
    assert!(
        answer == format!("OK {text}\n").as_bytes(),
        "another answer"
    );
    assert!(start.elapsed() > ms(4000));
}

#[test]
fn an_idle_timeout_of_0_is_none() {
    let server = Server::start(&["--idle-timeout", "0"]);
    let mut client = server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    assert_eq!(client.try_line(ms(1500)), None);
    client.send("ECHO b\n");
    client.expect("OK b");
}

#[test]
fn a_half_closed_connection_is_not_cut_by_the_idle_timeout() {
    let server = Server::start(&["--idle-timeout", "1", "--workers", "1"]);
    let mut client = server.connect();
    client.send("SLEEP 1500\nECHO end\n");
    client.half_close();
    client.expect_lines(&["OK 1500", "OK end"]);
    client.expect_end();
}
