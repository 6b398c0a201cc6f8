//! What a server answers who is asked for its numbers: before it runs, while it is busy, and
//! after.
//!
//! Knows what the test itself has sent.
//!
//! Rule: the loop answers, or the monitor says that it does not.

use crate::harness::{Client, DEADLINE, Running, wait_until};
use reactor_pool::{Config, ConnectionId, Monitor, Peer, Request, Response, Server, ServerState};
use reactor_pool::{Service, Snapshot, StopReason};
use std::error::Error;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn echo(request: &[u8], response: &mut Response<'_>) {
    response.push(b"OK ");
    response.push(request);
}

/// A server that listens at a free port.
fn bound(config: Config, service: impl Service) -> Server {
    Server::bind("127.0.0.1:0", config, service).expect("a free port")
}

#[track_caller]
fn ask(monitor: &Monitor) -> Snapshot {
    monitor.snapshot(DEADLINE).expect("the loop answers")
}

#[test]
fn before_the_run_nothing_is_counted_and_after_the_end_all_is() {
    let builder = Server::builder(Config::default().workers(3)).expect("descriptors");
    let monitor = builder.monitor();
    let server = builder
        .listen("127.0.0.1:0")
        .and_then(|builder| builder.serve(echo));
    let server = server.expect("a free port");
    let before = monitor
        .snapshot(Duration::ZERO)
        .expect("nobody has to answer");
    assert_eq!(
        (before.state, before.uptime),
        (ServerState::Starting, Duration::ZERO)
    );
    assert_eq!((before.workers, before.stats.accepted), (3, 0));

    let running = Running::run(Ok(server));
    let mut client = running.connect();
    client.send("a\n");
    client.expect(&["OK a"]);
    let now = ask(&monitor);
    assert_eq!(
        (now.state, now.stats.answered_ok),
        (ServerState::Serving, 1)
    );
    assert_eq!(
        (now.stats.connections.now, now.stats.written_time.count()),
        (1, 1)
    );

    drop(client);
    let summary = running.stop();
    let after = monitor
        .clone()
        .snapshot(Duration::ZERO)
        .expect("nobody has to answer");
    assert_eq!(after.state, ServerState::Ended);
    assert!(after.uptime >= now.uptime && now.uptime > Duration::ZERO);
    assert_eq!(after.stats.bytes_out, summary.stats.bytes_out);
    assert_eq!((after.stats.accepted, after.stats.connections.now), (1, 0));
}

#[test]
fn a_server_that_is_dropped_before_it_runs_has_ended() {
    let server = bound(Config::default(), echo);
    let monitor = server.monitor();
    drop(server);
    assert_eq!(ask(&monitor).state, ServerState::Ended);
    let builder = Server::builder(Config::default()).expect("descriptors");
    let monitor = builder.monitor();
    drop(builder);
    assert_eq!(ask(&monitor).state, ServerState::Ended);
}

#[test]
fn it_answers_with_all_workers_busy_and_the_queue_full() {
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let config = Config::default().workers(2).queue(3);
    let server = bound(config, move |_: &[u8], response: &mut Response<'_>| {
        let gate = gate.lock().expect("no panic");
        gate.recv_timeout(DEADLINE).expect("the test lets it go on");
        response.push(b"OK");
    });
    let monitor = server.monitor();
    let running = Running::run(Ok(server));
    assert_eq!(ask(&monitor).workers_busy, 0);
    let mut client = running.connect();
    client.send("x\n".repeat(9));
    // Two run, three are queued, and four wait for a slot.
    let is_full = || {
        let snapshot = ask(&monitor);
        (snapshot.stats.waiting.now, snapshot.workers_busy) == (4, 2)
    };
    wait_until("all are where they can be", is_full);
    for _ in 0..100 {
        let snapshot = ask(&monitor);
        assert_eq!((snapshot.workers, snapshot.workers_busy), (2, 2));
        assert_eq!(
            (snapshot.queue.queued.now, snapshot.stats.submitted.now),
            (3, 5)
        );
    }
    (0..9).for_each(|_| go_on.send(()).expect("a worker waits"));
    client.expect(&["OK"; 9]);
    wait_until("the workers wait", || ask(&monitor).workers_busy == 0);
    drop(client);
    running.stop();
}

#[test]
fn an_answer_counts_what_has_happened_before_the_question() {
    let server = bound(Config::default(), echo);
    let monitor = server.monitor();
    let running = Running::run(Ok(server));
    let ask_often = |mut client: Client| {
        for round in 0..300 {
            let before = ask(&monitor).stats.answered_ok;
            client.send(format!("{round}\n"));
            client.expect(&[&format!("OK {round}")]);
            let after = ask(&monitor).stats.answered_ok;
            assert!(
                after > before,
                "{after} after {before}, and an answer in between"
            );
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask_often(running.connect()));
        }
    });
    assert_eq!(ask(&monitor).stats.answered_ok, 1200);
    running.stop();
}

#[test]
fn a_question_while_the_server_ends_is_answered() {
    for _ in 0..30 {
        let server = bound(Config::default().workers(1), echo);
        let monitor = server.monitor();
        let running = Running::run(Ok(server));
        let ask_to_the_end = || {
            let mut last = ServerState::Starting;
            while last != ServerState::Ended {
                let now = ask(&monitor).state;
                assert!(now >= last, "{now:?} after {last:?}");
                last = now;
            }
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(ask_to_the_end);
            }
            running.stop();
        });
    }
}

#[test]
fn a_server_that_drains_says_so() {
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = bound(Config::default(), move |_: &[u8], _: &mut Response<'_>| {
        let gate = gate.lock().expect("no panic");
        gate.recv_timeout(DEADLINE).expect("the test lets it go on");
    });
    let monitor = server.monitor();
    let running = Running::run(Ok(server));
    let mut client = running.connect();
    client.send("x\n");
    wait_until("it is framed", || ask(&monitor).stats.framed == 1);
    running.stopper.stop();
    let is_draining = || ask(&monitor).state == ServerState::Draining;
    wait_until("it drains", is_draining);
    go_on.send(()).expect("the worker waits");
    client.expect(&[""]);
    client.expect_end();
    drop(client);
    running.end();
}

#[test]
fn a_server_that_is_about_to_stop_says_so_and_serves_on() {
    const DELAY: Duration = Duration::from_secs(2);
    let server = bound(Config::default().stop_delay(DELAY), echo);
    let monitor = server.monitor();
    let running = Running::run(Ok(server));
    let mut known = running.connect();
    known.send("x\n");
    known.expect(&["OK x"]);
    let asked_at = Instant::now();
    running.stopper.stop();
    assert_eq!(
        monitor.wait_for(ServerState::LameDuck, DEADLINE),
        ServerState::LameDuck
    );
    assert_eq!(ask(&monitor).state, ServerState::LameDuck);
    let mut new = running.connect();
    for client in [&mut known, &mut new] {
        client.send("x\n");
        client.expect(&["OK x"]);
    }
    known.expect_end();
    new.expect_end();
    let stopped_after = asked_at.elapsed();
    assert!(stopped_after >= DELAY, "it stops after {stopped_after:?}");
    drop((known, new));
    assert_eq!(running.end().stop_reason, StopReason::Drained);
    assert_eq!(
        monitor.wait_for(ServerState::LameDuck, Duration::ZERO),
        ServerState::Ended
    );
}

#[test]
fn each_state_of_a_server_ends_a_wait_for_it() {
    let server = bound(Config::default(), echo);
    let monitor = server.monitor();
    let (begun, has_begun) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let before = monitor.wait_for(ServerState::Serving, Duration::ZERO);
        begun.send(before).expect("the test listens");
        let serving = monitor.wait_for(ServerState::Serving, DEADLINE);
        begun.send(serving).expect("the test listens");
        monitor.wait_for(ServerState::Ended, DEADLINE)
    });
    let next = || has_begun.recv_timeout(DEADLINE).expect("it waits");
    assert_eq!(next(), ServerState::Starting);
    let running = Running::run(Ok(server));
    assert_eq!(next(), ServerState::Serving);
    running.stopper.stop();
    running.end();
    let ended = waiting.join().expect("no panic");
    assert_eq!(ended, ServerState::Ended);
}

/// Holds the loop up at each connection, and asks for numbers where it can.
struct Blocking {
    monitor: Monitor,
    entered: mpsc::SyncSender<()>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Service for Blocking {
    type Worker = ();

    fn start(&self, _: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn handle(&self, (): &mut (), _: &Request<'_>, response: &mut Response<'_>) {
        let snapshot = ask(&self.monitor);
        response.push(format!("OK {}", snapshot.workers_busy).as_bytes());
    }

    fn opened(&self, _: ConnectionId, _: Peer) -> bool {
        self.entered.send(()).expect("the test listens");
        let gate = self.gate.lock().expect("no panic");
        gate.recv_timeout(DEADLINE).expect("the test lets it go on");
        true
    }
}

#[test]
fn a_loop_that_does_not_answer_is_an_error_and_a_handler_may_ask() {
    let (entered, entries) = mpsc::sync_channel(9);
    let (go_on, gate) = mpsc::channel();
    let builder = Server::builder(Config::default()).and_then(|new| new.listen("127.0.0.1:0"));
    let builder = builder.expect("a free port");
    let monitor = builder.monitor();
    let service = Blocking {
        monitor: builder.monitor(),
        entered,
        gate: Mutex::new(gate),
    };
    let running = Running::run(builder.serve(service));
    let mut client = running.connect();
    entries.recv_timeout(DEADLINE).expect("it is accepted");
    let start = Instant::now();
    let timeout = Duration::from_millis(50);
    let error = monitor.snapshot(timeout).expect_err("the loop is held up");
    assert!(start.elapsed() >= timeout);
    assert_eq!(error.timeout(), timeout);
    assert_eq!(
        error.to_string(),
        "the event loop has not answered within 50ms"
    );
    // The question that nobody waits for any more harms no later one.
    let later = thread::spawn({
        let monitor = monitor.clone();
        move || ask(&monitor).stats.accepted
    });
    go_on.send(()).expect("the loop waits");
    assert_eq!(later.join().expect("it has an answer"), 1);
    client.send("x\n");
    client.expect(&["OK 1"]);
    drop(client);
    running.stop();
}

#[test]
fn a_monitor_may_be_shared_and_may_outlive_its_server() {
    fn shared<T: Clone + Send + Sync + 'static>(value: T) -> Arc<T> {
        Arc::new(value)
    }
    let server = bound(Config::default(), echo);
    let monitor = shared(server.monitor());
    Running::run(Ok(server)).stop();
    assert_eq!(ask(&monitor).state, ServerState::Ended);
}

/// Waits for one word on its channel, then answers.
fn gated(config: Config) -> (Running, mpsc::Sender<()>) {
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let service = move |_: &[u8], response: &mut Response<'_>| {
        let gate = gate.lock().expect("nobody panics here");
        gate.recv_timeout(DEADLINE).expect("the test lets it go on");
        response.push(b"OK");
    };
    (Running::start(config, service), go_on)
}

#[test]
fn workers_and_connections_can_be_seen_and_what_waits_for_too_long() {
    let config = Config::default().workers(2).queue(1).max_inflight(3);
    let (server, go_on) = gated(config.busy_timeout(DEADLINE));
    let monitor = server.monitor.clone();
    let mut client = server.connect();
    let address = client.0.get_ref().local_addr().expect("it is connected");
    let idle = server.connect();
    assert!(
        monitor
            .workers()
            .iter()
            .all(|worker| worker.running.is_none())
    );
    // One in the hands of each worker that there is a gate for; of the others one is queued.
    client.send("a\nb\nc\nd\n");
    wait_until("both workers are busy", || {
        monitor
            .workers()
            .iter()
            .all(|worker| worker.running.is_some())
    });
    let mut other = server.connect();
    other.send("e\n");
    wait_until("nothing moves", || {
        ask(&monitor).stalled_for > Some(Duration::from_millis(20))
    });

    let firsts: Vec<_> = monitor
        .workers()
        .into_iter()
        .map(|worker| {
            let running = worker.running.expect("it runs");
            assert_eq!(
                (running.peer, running.requests),
                (Some(Peer::Tcp(address)), 1)
            );
            assert!(running.age > Duration::from_millis(20));
            running.first
        })
        .collect();
    assert!(firsts.contains(&1) && firsts.contains(&2));

    let views = monitor.connections(DEADLINE).expect("the loop answers");
    assert_eq!(views.len(), 3);
    let busy = &views[0];
    assert_eq!(
        (busy.peer, busy.in_flight, busy.requests),
        (Some(Peer::Tcp(address)), 3, 3)
    );
    assert_eq!(
        (busy.bytes_in, busy.bytes_out, busy.unsent_bytes),
        (8, 0, 0)
    );
    assert!(busy.buffered_bytes > 0);
    assert_eq!(busy.state.name(), "serving");
    let waiting: usize = views.iter().map(|view| view.waiting).sum();
    assert_eq!(waiting, 1, "{views:?}");

    drop(idle);
    (0..5).for_each(|_| go_on.send(()).expect("the server runs"));
    client.expect(&["OK", "OK", "OK", "OK"]);
    other.expect(&["OK"]);
    assert_eq!(ask(&monitor).stalled_for, None);
    let workers = monitor.workers();
    assert_eq!(workers.iter().map(|worker| worker.requests).sum::<u64>(), 5);
    assert!(
        workers
            .iter()
            .all(|worker| worker.busy > Duration::from_millis(20))
    );
    drop((client, other));
    server.stop();
    assert!(
        monitor
            .connections(Duration::ZERO)
            .expect("it comes at once")
            .is_empty()
    );
}
