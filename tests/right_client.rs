//! Answers reach the client that asked, and nobody else (promise 6): connections that go away with
//! work in flight, and new ones that take their descriptors and slots at once.
//!
//! Knows nothing of how the server names its connections; it only makes the names change hands as
//! often and as fast as it can.
//!
//! Rule: every request carries a tag of its own, and every client reads to the end of its stream.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{Random, Server, ms, show};

/// How long the connections change hands in each test.
const ROUNDS_LAST: Duration = Duration::from_secs(3);

#[test]
fn no_answer_of_a_reset_connection_reaches_the_next_one() {
    let server = Server::start(&["--workers", "4"]);
    let rounds: usize = thread::scope(|scope| {
        let server = &server;
        let reset_and_connect = move |thread: u64| {
            let mut random = Random::new(thread + 1);
            let start = Instant::now();
            let mut round = 0;
            while start.elapsed() < ROUNDS_LAST {
                let mut gone = server.connect();
                let foreign = format!("ECHO foreign-{thread}-{round}\n");
                let pause = random.below(4);
                gone.send(format!(
                    "SLEEP {pause}\n{foreign}SLEEP {pause}\n{foreign}{foreign}"
                ));
                if random.below(2) == 0 {
                    // Let the workers begin, so that answers are on their way when it goes.
                    thread::sleep(Duration::from_micros(random.next() % 2000));
                }
                gone.reset();
                let mut client = server.connect();
                client.send(format!("ECHO mine-{thread}-{round}\nSLEEP 1\nECHO end\n"));
                client.half_close();
                let got = client.rest();
                let expected = format!("OK mine-{thread}-{round}\nOK 1\nOK end\n");
                assert_eq!(show(&got), show(expected.as_bytes()));
                round += 1;
            }
            round
        };
        let threads: Vec<_> = (0..4)
            .map(|thread| scope.spawn(move || reset_and_connect(thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a foreign answer"))
            .sum()
    });
    // Else nothing has been tried.
    assert!(rounds >= 200, "{rounds} rounds in {ROUNDS_LAST:?}");
}

#[test]
fn a_connection_that_says_nothing_hears_nothing() {
    let server = Server::start(&["--workers", "4"]);
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < ROUNDS_LAST {
        let resets: Vec<_> = (0..8)
            .map(|tag| {
                let mut client = server.connect();
                client.send(format!("SLEEP 2\nECHO foreign-{tag}\nNOPE\n"));
                client
            })
            .collect();
        for client in resets {
            client.reset();
        }
        let mut listeners: Vec<_> = (0..8).map(|_| server.connect()).collect();
        // All that was in flight has been answered or dropped once these have slept longer.
        for client in &mut listeners {
            client.send("SLEEP 4\n");
            client.half_close();
        }
        for client in &mut listeners {
            client.expect("OK 4");
            client.expect_end();
        }
        round += 1;
    }
    assert!(round >= 20, "{round} rounds in {ROUNDS_LAST:?}");
}

#[test]
fn requests_of_a_reset_connection_that_no_worker_started_are_not_run() {
    // Of twenty requests, four are in the queue and the others wait for a slot, or all are queued.
    for queue in ["4", "256"] {
        for order in ["fair", "fifo"] {
            let server = Server::start(&[
                "--workers",
                "1",
                "--queue",
                queue,
                "--queue-order",
                order,
                "--busy-timeout",
                "10000",
            ]);
            let mut occupant = server.occupy(1, 300).pop().expect("one occupant");
            let mut gone = server.connect();
            gone.send("SLEEP 200\n".repeat(20));
            server.barrier();
            gone.reset();
            server.barrier();
            let start = Instant::now();
            let mut client = server.connect();
            for tag in 0..20 {
                client.send(format!("ECHO {tag}\n"));
                client.expect(format!("OK {tag}"));
            }
            let elapsed = start.elapsed();
            assert!(
                elapsed < ms(2500),
                "queue {queue}, {order}: waited {elapsed:?} for the work of a client that has gone"
            );
            occupant.expect("OK 300");
        }
    }
}

#[test]
fn requests_of_a_half_closed_connection_are_run() {
    let server = Server::start(&["--workers", "1", "--queue", "2", "--busy-timeout", "10000"]);
    let _occupant = server.occupy(1, 200);
    let mut client = server.connect();
    client.send("ECHO a\nECHO b\nECHO c\nECHO d\n");
    client.half_close();
    client.expect_lines(&["OK a", "OK b", "OK c", "OK d"]);
    client.expect_end();
}

#[test]
fn a_connection_reset_while_it_waits_gives_up_its_turn() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "10000"]);
    let mut occupants = server.occupy(2, 300);
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let mut client = server.connect();
            client.send("SLEEP 500\nSLEEP 500\n");
            client
        })
        .collect();
    server.barrier();
    for client in waiting {
        client.reset();
    }
    server.barrier();
    let start = Instant::now();
    let mut client = server.connect();
    client.send("ECHO next\n");
    client.expect("OK next");
    let elapsed = start.elapsed();
    assert!(
        elapsed < ms(2500),
        "waited {elapsed:?} behind clients that have gone"
    );
    for occupant in &mut occupants {
        occupant.expect("OK 300");
    }
}

#[test]
fn a_running_request_of_a_reset_connection_leaves_its_worker_usable() {
    let server = Server::start(&["--workers", "2"]);
    for _ in 0..5 {
        for occupant in server.occupy(2, 100) {
            occupant.reset();
        }
        server.assert_serves();
    }
}
