//! Whether the server is alive and ready, as probes ask, while it is busy, stalled, stuck, ending
//! or hung.
//!
//! Knows how a person brings a server into such a state from outside.
//!
//! Rule: a busy server is alive; a reason not to be ready is one line; and a loop that does not
//! answer is told of in time.

use crate::common::{DEADLINE, Server, ms, wait_until};
use crate::http::{Answer, get, start};
use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Waits until `/readyz` has said no, with that in its body.
#[track_caller]
fn wait_until_not_ready(admin: SocketAddr, why: &str) {
    let mut last = String::new();
    let deadline = Instant::now() + DEADLINE;
    while !last.contains(why) {
        assert!(Instant::now() < deadline, "{why}: the last was {last}");
        let answer = get(admin, "/readyz");
        assert_eq!(answer.status == 200, answer.body == "ok\n", "{answer:?}");
        assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
        last = answer.body;
        thread::sleep(ms(5));
    }
}

#[track_caller]
fn assert_alive(admin: SocketAddr) {
    let answer = get(admin, "/livez");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
}

#[test]
fn all_calls_are_answered_while_every_worker_is_busy_and_the_queue_is_full() {
    let flags = ["--workers", "2", "--queue", "1", "--busy-timeout", "60000"];
    let (server, admin) = start(&flags);
    let _busy = server.occupy(2 + 1 + 3, 10_000);
    let begin = Instant::now();
    for call in 0..100 {
        assert_alive(admin);
        let metrics = get(admin, "/metrics");
        assert_eq!(metrics.status, 200, "call {call}");
        for (name, value) in [
            ("workers_busy", 2.0),
            ("queue_requests", 1.0),
            ("waiting_requests", 3.0),
            ("submitted_requests", 3.0),
            ("answers_total{outcome=\"ok\"}", 0.0),
        ] {
            assert_eq!(metrics.metric(name), value, "{name}, call {call}");
        }
    }
    // Far less than one of the requests that hold the workers.
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_queue_that_has_been_full_for_a_second_is_not_ready_and_alive() {
    let flags = ["--workers", "1", "--queue", "1", "--busy-timeout", "60000"];
    let (server, admin) = start(&flags);
    let begin = Instant::now();
    let busy = server.occupy(3, 2500);
    assert_eq!(get(admin, "/readyz").status, 200, "a burst is no reason");
    wait_until_not_ready(admin, "the queue has been full for 1 s");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_alive(admin);
    assert!(get(admin, "/metrics").metric("queue_stalled_seconds") > 1.0);
    for mut client in busy {
        client.expect("OK 2500");
    }
    assert_eq!(get(admin, "/readyz").status, 200);
}

#[test]
fn a_request_that_runs_for_longer_than_allowed_is_not_ready() {
    let (server, admin) = start(&["--stuck-after", "1"]);
    let mut client = server.connect();
    client.send("SLEEP 2000\n");
    server.barrier();
    assert_eq!(get(admin, "/readyz").status, 200);
    wait_until_not_ready(admin, "request 1 of connection 1 has run on worker");
    client.expect("OK 2000");
    wait_until("it is ready again", DEADLINE, || {
        get(admin, "/readyz").status == 200
    });

    let (server, admin) = start(&[]);
    let mut client = server.connect();
    client.send("SLEEP 2000\n");
    server.barrier();
    while client.try_line(ms(5)).is_none() {
        assert_eq!(
            get(admin, "/readyz").status,
            200,
            "nothing is too long by default"
        );
    }
}

#[test]
fn a_server_that_drains_is_not_ready_and_alive_until_its_end() {
    let (mut server, admin) = start(&[]);
    let mut client = server.connect();
    client.send("SLEEP 1000\n");
    server.barrier();
    assert_eq!(get(admin, "/readyz").status, 200);
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    wait_until_not_ready(admin, "draining");
    assert_alive(admin);
    assert_eq!(get(admin, "/status").json()["state"], "draining");
    client.expect("OK 1000");
    client.expect_end();
    drop(client);
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(0));
}

/// The thread of the loop, held still: as `kill -STOP` would, if it stopped one thread alone.
struct Held(Pid);

impl Held {
    /// The loop runs in the first thread, whose number is that of the process.
    fn of(server: &Server) -> Held {
        let thread = Pid::from_raw(i32::try_from(server.pid()).expect("a process id"));
        ptrace::attach(thread).expect("a child of ours may be traced");
        waitpid(thread, None).expect("it stops");
        Held(thread)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).expect("it is traced");
    }
}

#[test]
fn a_loop_that_does_not_answer_is_told_to_all_who_ask_within_two_seconds() {
    let (server, admin) = start(&["--workers", "2"]);
    assert_alive(admin);
    let held = Held::of(&server);
    let paths = [
        "/livez",
        "/readyz",
        "/status",
        "/metrics",
        "/connections",
        "/livez",
        "/workers",
    ];
    let ask = |path: &'static str| {
        move || {
            let begin = Instant::now();
            (path, get(admin, path), begin.elapsed())
        }
    };
    let answers: Vec<(&str, Answer, Duration)> = thread::scope(|scope| {
        let asking: Vec<_> = (0..40)
            .map(|number| scope.spawn(ask(paths[number % 7])))
            .collect();
        let joined = asking
            .into_iter()
            .map(|thread| thread.join().expect("an answer"));
        joined.collect()
    });
    for (path, answer, took) in answers {
        assert!(took < Duration::from_secs(2), "{path} after {took:?}");
        // What the workers do is known without the loop.
        let status = if path == "/workers" { 200 } else { 503 };
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let why = "the event loop has not answered within 1s";
        match path {
            "/workers" => assert_eq!(answer.json()[1]["state"], "idle"),
            "/status" | "/connections" => assert_eq!(answer.json()["error"], why),
            _ => assert_eq!(answer.body, format!("{why}\n"), "{path}"),
        }
    }
    drop(held);
    wait_until("it is alive again", DEADLINE, || {
        get(admin, "/livez").status == 200
    });
    server.assert_serves();
}
