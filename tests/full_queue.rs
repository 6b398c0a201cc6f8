//! What happens when there is more work than workers and queue slots (promises 4 and 7): requests
//! wait, in turn, for as long as `--busy-timeout` allows, and none is lost or answered twice.
//!
//! Knows no way to look into the queue: `Server::occupy` and `Server::barrier` bring a server into
//! a known state, and what must hold is counted in answers rather than measured in milliseconds.
//!
//! Rule: where a time is asserted, the lower bound is exact and the upper one generous.

mod common;

use std::io::Write as _;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, Random, Server, lines_of, ms, show, wait_until};

const BUSY: &str = "ERR server busy";

// ---- waiting, and waiting too long
// --------------------------------------------------------------

#[test]
fn a_lone_request_is_refused_one_second_after_framing_and_not_before() {
    let server = Server::start(&["--workers", "1", "--queue", "1"]);
    let occupants = server.occupy(2, 5000);
    let mut client = server.connect();
    let start = Instant::now();
    client.send("ECHO lone\n");
    client.expect(BUSY);
    let elapsed = start.elapsed();
    assert!(elapsed >= ms(950), "refused after {elapsed:?}");
    assert!(elapsed < ms(1600), "refused after {elapsed:?}");
    drop(occupants);
}

#[test]
fn the_busy_timeout_is_the_one_given() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "300"]);
    let occupants = server.occupy(2, 5000);
    let mut client = server.connect();
    for _ in 0..2 {
        let start = Instant::now();
        client.send("ECHO lone\n");
        client.expect(BUSY);
        let elapsed = start.elapsed();
        assert!(elapsed >= ms(290), "refused after {elapsed:?}");
        assert!(elapsed < ms(900), "refused after {elapsed:?}");
    }
    drop(occupants);
}

#[test]
fn a_request_that_gets_its_slot_in_time_is_served_however_long_it_is_queued() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "700"]);
    // Waits 100 ms for its slot, and then 1100 ms in the queue.
    let _first = server.occupy(1, 100);
    let _second = server.occupy(1, 1100);
    let mut client = server.connect();
    client.send("ECHO patient\n");
    client.expect("OK patient");
}

#[test]
fn a_refused_connection_stays_usable_and_is_read_on() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "200"]);
    let mut occupants = server.occupy(2, 500);
    let mut client = server.connect();
    client.send("ECHO early\n");
    client.expect(BUSY);
    for occupant in &mut occupants {
        occupant.expect("OK 500");
    }
    client.send("ECHO late\nECHO later\n");
    client.expect_lines(&["OK late", "OK later"]);
}

#[test]
fn a_deep_pipeline_that_keeps_moving_is_slowed_and_not_refused() {
    const COUNT: usize = 100;
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "300"]);
    let start = Instant::now();
    let answers = server.exchange("SLEEP 15\n".repeat(COUNT));
    assert_eq!(lines_of(&answers), vec!["OK 15"; COUNT]);
    // Else the last ones have not waited for longer than the timeout, and nothing is shown.
    assert!(start.elapsed() >= ms(1000));
}

#[test]
fn a_pipeline_that_gets_no_slot_for_the_busy_timeout_is_refused_in_order() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "300"]);
    let mut client = server.connect();
    client.send("SLEEP 1200\nECHO a\nECHO b\nECHO c\n");
    // The first runs, the second has the slot; the others wait, and their refusals wait in turn.
    client.expect_lines(&["OK 1200", "OK a", BUSY, BUSY]);
    client.send("ECHO d\n");
    client.expect("OK d");
}

#[test]
fn a_pipeline_that_moved_waits_again_from_its_last_slot() {
    let server = Server::start(&["--workers", "1", "--queue", "1", "--busy-timeout", "800"]);
    let mut client = server.connect();
    let start = Instant::now();
    // At 400 ms the third line gets its slot; only from then on do 800 ms count for the fourth.
    client.send("SLEEP 400\nSLEEP 600\nECHO a\nECHO b\n");
    client.expect_lines(&["OK 400", "OK 600", "OK a", "OK b"]);
    assert!(start.elapsed() >= ms(1000));
}

// ---- refusing at once
// ---------------------------------------------------------------------------

/// Fills one worker and one slot of a server that refuses at once, which needs more than one try:
/// a request that comes before the worker has taken the last one is refused.
fn occupy_in_spite_of_refusals(server: &Server, sleep_ms: u64) -> Vec<Client> {
    let mut occupants = Vec::new();
    while occupants.len() < 2 {
        let mut client = server.connect();
        client.send(format!("SLEEP {sleep_ms}\n"));
        server.barrier();
        match client.try_line(ms(20)) {
            Some(line) => assert_eq!(show(&line), BUSY),
            None => occupants.push(client),
        }
    }
    occupants
}

#[test]
fn both_spellings_refuse_at_once() {
    for spelling in [&["--reject-when-full"][..], &["--busy-timeout", "0"][..]] {
        let flags = [&["--workers", "1", "--queue", "1"], spelling].concat();
        let server = Server::start(&flags);
        let _occupants = occupy_in_spite_of_refusals(&server, 1500);
        let mut client = server.connect();
        let start = Instant::now();
        for _ in 0..10 {
            client.send("ECHO lone\n");
            client.expect(BUSY);
        }
        let elapsed = start.elapsed();
        assert!(
            elapsed < ms(900),
            "{spelling:?}: ten refusals took {elapsed:?}"
        );
        // Refused is refused: nothing of it is done later.
        client.half_close();
        client.expect_end();
    }
}

#[test]
fn a_busy_timeout_of_0_refuses_nothing_while_there_are_free_slots() {
    const CLIENTS: usize = 16;
    const BURST: usize = 4;
    const ROUNDS: usize = 50;
    // As many slots as there are ever requests at a time, whatever the workers have done by then.
    let server = Server::start(&["--workers", "2", "--queue", "64", "--busy-timeout", "0"]);
    assert_eq!(CLIENTS * BURST, 64);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = server.connect();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    client.send(format!("ECHO {round}\n").repeat(BURST));
                    client.expect_lines(&[format!("OK {round}").as_str(); BURST]);
                }
            });
        }
    });
    // One more client that sends without waiting: what it may have in flight has a slot each.
    let server = Server::start(&[
        "--workers",
        "1",
        "--queue",
        "64",
        "--max-inflight",
        "64",
        "--busy-timeout",
        "0",
    ]);
    let answers = server.exchange("ECHO x\n".repeat(2000));
    assert_eq!(lines_of(&answers), vec!["OK x"; 2000]);
}

#[test]
fn requests_refused_at_once_keep_their_places_among_those_served() {
    let server = Server::start(&["--workers", "2", "--queue", "4", "--reject-when-full"]);
    for _ in 0..3 {
        let mut requests = String::from("SLEEP 30\n");
        for tag in 1..100 {
            requests += &format!("ECHO {tag}\n");
        }
        let answers = lines_of(&server.exchange(&requests));
        assert_eq!(answers.len(), 100);
        assert_eq!(answers[0], "OK 30");
        for (tag, answer) in answers.iter().enumerate().skip(1) {
            assert!(
                *answer == format!("OK {tag}") || answer == BUSY,
                "{answer:?} at {tag}"
            );
        }
    }
    // One worker held, so that at most four of the others find a slot, and the rest must not.
    let server = Server::start(&["--workers", "1", "--queue", "4", "--reject-when-full"]);
    let answers = lines_of(&server.exchange(format!("SLEEP 200\n{}", "ECHO x\n".repeat(50))));
    assert_eq!(answers.len(), 51);
    assert_eq!(answers[0], "OK 200");
    let refused = answers.iter().filter(|answer| *answer == BUSY).count();
    assert!((46..=47).contains(&refused), "{refused} of 50 were refused");
}

// ---- turns
// --------------------------------------------------------------------------------------

/// A client that pipelines `count` times `SLEEP n`; returns once the server has framed what it
/// reads.
fn hog(server: &Server, count: usize, sleep_ms: u64) -> common::Counter {
    let mut client = server.connect();
    client.send(format!("SLEEP {sleep_ms}\n").repeat(count));
    server.barrier();
    client.count_in_background()
}

#[test]
fn a_client_that_pipelines_does_not_starve_a_lone_one_of_slots() {
    let server = Server::start(&["--workers", "1", "--queue", "1"]);
    let hog = hog(&server, 128, 20);
    let mut lone = server.connect();
    for tag in 0..10 {
        lone.send(format!("ECHO {tag}\n"));
        lone.expect(format!("OK {tag}"));
    }
    // Each of the ten waits for one running, one queued and one slot of the other at most.
    let answered = hog.count();
    assert!(
        answered < 90,
        "the other client got {answered} of its 128 answers meanwhile"
    );
}

#[test]
fn a_client_that_pipelines_does_not_starve_a_lone_one_of_workers() {
    let server = Server::start(&["--workers", "1"]);
    let hog = hog(&server, 128, 20);
    let mut lone = server.connect();
    for tag in 0..10 {
        lone.send(format!("ECHO {tag}\n"));
        lone.expect(format!("OK {tag}"));
    }
    let answered = hog.count();
    assert!(
        answered < 90,
        "the other client got {answered} of its 128 answers meanwhile"
    );
}

#[test]
fn first_in_first_out_can_be_chosen_and_makes_the_lone_client_wait_for_all() {
    let server = Server::start(&["--workers", "1", "--queue-order", "fifo"]);
    let hog = hog(&server, 100, 10);
    let mut lone = server.connect();
    lone.send("ECHO lone\n");
    lone.expect("OK lone");
    wait_until("all that was queued before is answered", ms(300), || {
        hog.count() == 100
    });
}

#[test]
fn clients_that_pipeline_get_equal_shares() {
    const COUNT: usize = 50;
    for queue in ["1", "256"] {
        let server = Server::start(&[
            "--workers",
            "1",
            "--queue",
            queue,
            "--busy-timeout",
            "10000",
        ]);
        // Nobody begins before all are there.
        let _occupant = server.occupy(1, 200);
        let hogs: Vec<_> = (0..4).map(|_| hog(&server, COUNT, 4)).collect();
        wait_until(
            "one client has all its answers",
            Duration::from_secs(8),
            || hogs.iter().any(|hog| hog.count() == COUNT),
        );
        let counts: Vec<usize> = hogs.iter().map(common::Counter::count).collect();
        assert!(
            counts.iter().all(|count| *count >= COUNT * 3 / 4),
            "queue {queue}: {counts:?}"
        );
    }
}

#[test]
fn a_request_waits_for_at_most_one_of_each_other_connection() {
    let server = Server::start(&["--workers", "1"]);
    // Nobody's turn comes before all are queued, and a second turn takes long.
    let _occupant = server.occupy(1, 2000);
    let requests = format!("SLEEP 1\n{}", "SLEEP 4000\n".repeat(24));
    let mut hogs: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for hog in &mut hogs {
        hog.send(&requests);
    }
    server.barrier();
    let mut lone = server.connect();
    lone.send("ECHO lone\n");
    lone.expect("OK lone");
    for hog in &mut hogs {
        hog.expect("OK 1");
        assert_eq!(hog.try_line(ms(1)), None, "a second turn came before");
    }
}

#[test]
fn answers_do_not_wait_for_a_slow_request_that_their_worker_takes_next() {
    const QUICK: usize = 48;
    let server = Server::start(&["--workers", "1", "--queue-order", "fifo"]);
    // All are queued when the worker comes for the next ones, and the slow one is the last. Those
    // before it take a while, so that nobody is still being told of the occupant's answer when the
    // last of them is done.
    let _occupant = server.occupy(1, 500);
    let mut quick = server.connect();
    quick.send(format!("HASH {}\n", "x".repeat(1000)).repeat(QUICK));
    server.barrier();
    let mut slow = server.connect();
    slow.send("SLEEP 4000\n");
    server.barrier();
    for _ in 0..QUICK {
        assert!(quick.line().starts_with(b"OK "));
    }
    let answer = slow.try_line(ms(1));
    assert_eq!(answer, None, "the slow one was answered before");
}

#[test]
fn slots_that_come_free_together_go_round_those_that_wait() {
    const SLOTS: usize = 32;
    // First in, first out, so that who has got the slots shows in the order of the answers.
    let server = Server::start(&[
        "--workers",
        "1",
        "--queue",
        &SLOTS.to_string(),
        "--queue-order",
        "fifo",
        "--busy-timeout",
        "10000",
    ]);
    let _occupant = server.occupy(1, 1000);
    let mut gone = server.connect();
    gone.send("SLEEP 20\n".repeat(SLOTS));
    server.barrier();
    let hog = hog(&server, 2 * SLOTS, 20);
    let mut lone = server.connect();
    lone.send("ECHO lone\n");
    server.barrier();
    gone.reset();
    lone.expect("OK lone");
    // Half of the slots are the other's, and what is answered while this thread sleeps.
    let answered = hog.count();
    assert!(
        answered < SLOTS * 3 / 4,
        "the other client got {answered} of {SLOTS} slots before"
    );
}

#[test]
fn other_connections_go_on_while_one_waits() {
    let server = Server::start(&["--workers", "2", "--queue", "1", "--busy-timeout", "10000"]);
    let mut before = server.connect();
    before.send("ECHO before\n");
    before.expect("OK before");
    // One worker sleeps for long; through the other all must go.
    let _occupant = server.occupy(1, 3000);
    let hog = hog(&server, 100, 20);
    // Old connections and new ones, answers of workers and of the loop itself.
    for tag in 0..5 {
        let mut new = server.connect();
        for client in [&mut before, &mut new] {
            client.send(format!("ECHO {tag}\n{}\n", "x".repeat(65537)));
            client.expect(format!("OK {tag}"));
            client.expect("ERR line too long (limit 65536 bytes)");
        }
    }
    let answered = hog.count();
    assert!(
        answered < 90,
        "the waiting client got {answered} of its 100 answers meanwhile"
    );
}

// ---- slots that are freed
// -----------------------------------------------------------------------

#[test]
fn a_slot_that_a_worker_frees_is_filled_although_nothing_else_happens() {
    // Each request but the first waits until a worker has taken the one before, and that moment is
    // all that happens: whoever misses it leaves seven workers idle until the first answer.
    const WORKERS: usize = 8;
    let server = Server::start(&["--workers", "8", "--queue", "1", "--busy-timeout", "10000"]);
    for _ in 0..3 {
        let start = Instant::now();
        let answers = server.exchange("SLEEP 500\n".repeat(WORKERS));
        let elapsed = start.elapsed();
        assert_eq!(lines_of(&answers), vec!["OK 500"; WORKERS]);
        assert!(
            elapsed < ms(2000),
            "eight workers slept 500 ms each in {elapsed:?}"
        );
    }
}

#[test]
fn what_comes_while_a_request_waits_is_read_as_soon_as_it_has_its_slot() {
    let server = Server::start(&["--workers", "2", "--queue", "1", "--busy-timeout", "10000"]);
    let _occupants = server.occupy(3, 300);
    let mut client = server.connect();
    let start = Instant::now();
    client.send("SLEEP 900\n");
    server.barrier();
    // Announced while the connection is not read, and never again.
    client.send("SLEEP 900\n");
    client.expect_lines(&["OK 900", "OK 900"]);
    let elapsed = start.elapsed();
    assert!(
        elapsed < ms(2000),
        "two SLEEP 900 on two workers took {elapsed:?}"
    );
}

// ---- back-pressure
// ------------------------------------------------------------------------------

#[test]
fn a_connection_whose_request_waits_is_not_read_and_loses_nothing() {
    // The other bounds are set so high that only the waiting request can stop the reading.
    let server = Server::start(&[
        "--workers",
        "1",
        "--queue",
        "1",
        "--busy-timeout",
        "10000",
        "--max-inflight",
        "65536",
        "--max-line",
        "4194304",
    ]);
    const COUNT: usize = 10_000;
    let mut occupant = server.connect();
    occupant.send("SLEEP 1500\nSLEEP 0\n");
    server.barrier();
    let mut client = Client::connect_with_small_send_buffer(server.address());
    let padding = "p".repeat(1200);
    let requests: String = (0..COUNT)
        .map(|tag| format!("ECHO {tag} {padding}\n"))
        .collect();
    let sent = client.send_until_blocked(requests.as_bytes(), ms(400));
    assert!(
        sent < 6 << 20,
        "{sent} of {} bytes were taken from a client whose request waits",
        requests.len()
    );
    occupant.expect_lines(&["OK 1500", "OK 0"]);
    // It goes on by itself once the request has its slot.
    let mut writer = client.writer();
    thread::scope(|scope| {
        let rest = &requests.as_bytes()[sent..];
        scope.spawn(move || {
            writer.write_all(rest).expect("the server reads on");
            writer.shutdown(Shutdown::Write).expect("half-close");
        });
        for tag in 0..COUNT {
            client.expect(format!("OK {tag} {padding}"));
        }
        client.expect_end();
    });
}

// ---- all of it
// ----------------------------------------------------------------------------------

#[test]
fn every_request_gets_exactly_one_answer_in_overload() {
    const CLIENTS: usize = 100;
    const ROUNDS: usize = 3;
    let server = Server::start(&["--workers", "1", "--queue", "4", "--busy-timeout", "300"]);
    let clients: Vec<(usize, usize)> = thread::scope(|scope| {
        let server = &server;
        let one_client = move |client: usize| {
            let mut random = Random::new(client as u64 + 1);
            let (mut served, mut refused) = (0, 0);
            for round in 0..ROUNDS {
                let tag = format!("{client}:{round}:{}", random.below(1000));
                let answers = lines_of(&server.exchange(format!("SLEEP 5\nECHO {tag}\nSLEEP 5")));
                assert_eq!(answers.len(), 3, "{answers:?}");
                assert_eq!(answers[2], "ERR incomplete line");
                for (answer, wanted) in answers.iter().zip(["OK 5", &format!("OK {tag}")]) {
                    match answer.as_str() {
                        BUSY => refused += 1,
                        other => {
                            assert_eq!(other, wanted);
                            served += 1;
                        }
                    }
                }
            }
            (served, refused)
        };
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || one_client(client)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a client failed"))
            .collect()
    });
    let served: usize = clients.iter().map(|(served, _)| served).sum();
    let refused: usize = clients.iter().map(|(_, refused)| refused).sum();
    assert_eq!(served + refused, CLIENTS * ROUNDS * 2);
    // Else it was no overload, or no service.
    assert!(
        served > 0 && refused > 0,
        "{served} served, {refused} refused"
    );
    server.assert_serves();
}

#[test]
fn refusals_in_overload_come_when_the_timeout_is_over_and_for_nobody_before() {
    const CLIENTS: usize = 60;
    let server = Server::start(&["--workers", "1", "--queue", "4", "--busy-timeout", "500"]);
    let times: Vec<Option<Duration>> = thread::scope(|scope| {
        let one_client = || {
            let mut client = server.connect();
            let start = Instant::now();
            client.send("SLEEP 50\n");
            let line = client.line();
            let elapsed = start.elapsed();
            let refused = line == BUSY.as_bytes();
            assert!(refused || line == b"OK 50", "{:?}", show(&line));
            refused.then_some(elapsed)
        };
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one_client)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a client failed"))
            .collect()
    });
    let refusals: Vec<Duration> = times.iter().flatten().copied().collect();
    // One worker does at most ten or so in the time, and four more have a slot.
    assert!(
        refusals.len() >= CLIENTS / 2,
        "{} of {CLIENTS} refused",
        refusals.len()
    );
    assert!(refusals.len() < CLIENTS, "all were refused");
    for elapsed in refusals {
        assert!(elapsed >= ms(490), "refused after {elapsed:?}");
        assert!(elapsed < ms(1300), "refused after {elapsed:?}");
    }
}
