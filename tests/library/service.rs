//! What a service sees and owns: its requests, its workers' states, its connections.
//!
//! Knows the public names of the crate, and TCP.
//!
//! Rule: each test is a service of its own, which says what it has seen.

use super::harness::{Client, Running, wait_until};
use reactor_pool::{Config, ConnectionId, Handler, Peer, Request, Response, Server, Service};
use std::cell::RefCell;
use std::error::Error;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

type StartError = Box<dyn Error + Send + Sync>;

/// Lines that say who asks.
struct Who;

impl Service for Who {
    type Worker = ();

    fn start(&self, _: usize) -> Result<(), StartError> {
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, response: &mut Response<'_>) {
        let peer = request.peer().expect("its client waits");
        let is_young = request.age() < Duration::from_secs(20);
        let shown = write!(
            response,
            "OK {peer} {} {is_young} {}",
            request.connection(),
            request.is_gone()
        );
        shown.expect("a response takes every write");
    }
}

#[test]
fn a_request_knows_its_client_its_connection_and_its_age() {
    let server = Running::start_service(Config::default(), Who);
    for connection in 1..=2 {
        let mut client = server.connect();
        let own = client.0.get_ref().local_addr().expect("it is connected");
        client.send("who\n");
        client.expect(&[&format!("OK {own} {connection} true false")]);
    }
    server.stop();
}

/// Each worker counts in a cell that is neither `Send` nor `Sync`.
#[derive(Default)]
struct PerWorker {
    starts: AtomicUsize,
    /// The start that fails, if one does, and whether it panics.
    fails_at: Option<usize>,
    panics: bool,
    /// Held by the service, and by what each worker owns.
    alive: Arc<()>,
}

impl Service for PerWorker {
    type Worker = (Rc<RefCell<usize>>, Arc<()>);

    fn start(&self, worker: usize) -> Result<Self::Worker, StartError> {
        let start = self.starts.fetch_add(1, Ordering::SeqCst);
        if Some(start) == self.fails_at {
            assert!(!self.panics, "worker {worker} has no idea");
            return Err(format!("worker {worker} has no database").into());
        }
        Ok((Rc::default(), Arc::clone(&self.alive)))
    }

    fn handle(
        &self,
        (count, _): &mut Self::Worker,
        request: &Request<'_>,
        response: &mut Response<'_>,
    ) {
        *count.borrow_mut() += 1;
        assert_ne!(request.bytes(), b"panic", "as asked");
        response.push(format!("OK {}", count.borrow()).as_bytes());
    }
}

fn one_worker() -> Config {
    Config::default().workers(1)
}

#[test]
fn a_worker_has_a_state_of_its_own_which_is_made_anew_after_a_panic() {
    let server = Running::start_service(one_worker(), PerWorker::default());
    let mut client = server.connect();
    client.send("a\nb\npanic\nc\n");
    client.expect(&["OK 1", "OK 2", "ERR internal error", "OK 1"]);
    server.stop();
}

#[test]
fn a_state_that_cannot_be_made_again_is_an_internal_error_until_it_can() {
    let service = PerWorker {
        fails_at: Some(1),
        ..PerWorker::default()
    };
    let server = Running::start_service(one_worker(), service);
    let mut client = server.connect();
    client.send("panic\na\nb\n");
    client.expect(&["ERR internal error", "ERR internal error", "OK 1"]);
    server.stop();
}

/// Binds a server of four workers, the third of which to start fails; returns the reason.
fn failed_start(panics: bool) -> String {
    let alive = Arc::new(());
    let service = PerWorker {
        fails_at: Some(2),
        panics,
        alive: Arc::clone(&alive),
        ..PerWorker::default()
    };
    let bound = Server::bind("127.0.0.1:0", Config::default().workers(4), service);
    let error = bound.expect_err("one of four cannot start");
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert_eq!(
        Arc::strong_count(&alive),
        1,
        "nothing is left of the service and of what its workers own"
    );
    error.to_string()
}

#[test]
fn a_worker_that_cannot_start_fails_the_bind_with_its_reason() {
    for (panics, reason) in [(false, "no database"), (true, "no idea")] {
        let error = failed_start(panics);
        let expected = (0..4).map(|worker| {
            let how = if panics { "it panicked: " } else { "" };
            let number = worker + 1;
            format!("cannot start worker {number} of 4: {how}worker {worker} has {reason}")
        });
        assert!(expected.into_iter().any(|one| one == error), "{error}");
    }
}

/// What happens to connections, in its order.
struct Sessions {
    seen: Arc<Mutex<Vec<String>>>,
    is_closed: AtomicBool,
}

impl Service for Sessions {
    type Worker = ();

    fn start(&self, _: usize) -> Result<(), StartError> {
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, response: &mut Response<'_>) {
        response.push(b"OK ");
        response.push(request.bytes());
        if request.bytes() == b"bye" {
            response.close_after();
        }
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        request.len() < 9
    }

    fn opened(&self, connection: ConnectionId, _: Peer) -> bool {
        let mut seen = self.seen.lock().expect("no panic");
        seen.push(format!("opened {connection}"));
        !self.is_closed.load(Ordering::SeqCst)
    }

    fn closed(&self, connection: ConnectionId) {
        self.is_closed.store(true, Ordering::SeqCst);
        let mut seen = self.seen.lock().expect("no panic");
        seen.push(format!("closed {connection}"));
    }
}

#[test]
fn a_service_is_told_of_connections_and_may_turn_them_away() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = Sessions {
        seen: Arc::clone(&seen),
        is_closed: AtomicBool::new(false),
    };
    let server = Running::start_service(Config::default(), service);
    let mut client = server.connect();
    client.send("a\n");
    client.expect(&["OK a"]);
    client.half_close();
    client.expect_end();
    wait_until("it is told of the end", || {
        seen.lock().expect("no panic").len() == 2
    });
    // From the first end on nobody is welcome.
    server.connect().expect_end();
    server.stop();
    let seen = seen.lock().expect("no panic");
    assert_eq!(*seen, ["opened 1", "closed 1", "opened 2"]);
}

#[test]
fn nothing_behind_a_response_that_closes_is_answered() {
    for bye in ["bye", "bye\nsurely slow\nb", "bye\nb\nc"] {
        let service = Sessions {
            seen: Arc::default(),
            is_closed: AtomicBool::new(false),
        };
        let server = Running::start_service(one_worker(), service);
        let mut client = server.connect();
        client.send(format!("a\n{bye}\n"));
        client.expect(&["OK a", "OK bye"]);
        client.expect_end();
        let stats = server.stop().stats;
        assert_eq!(stats.connections.now, 0);
        let fates = stats.answered_ok + stats.discarded;
        assert_eq!(fates, stats.framed, "each request has one fate: {bye}");
    }
}

/// Works until nobody waits any more.
struct Patient {
    started: mpsc::SyncSender<()>,
    gave_up: mpsc::SyncSender<()>,
}

impl Service for Patient {
    type Worker = ();

    fn start(&self, _: usize) -> Result<(), StartError> {
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, _: &mut Response<'_>) {
        self.started.send(()).expect("the test listens");
        while !request.is_gone() {
            thread::sleep(Duration::from_millis(1));
        }
        self.gave_up.send(()).expect("the test listens");
    }
}

fn patient(config: Config) -> (Running, mpsc::Receiver<()>, mpsc::Receiver<()>) {
    let (started, starts) = mpsc::sync_channel(9);
    let (gave_up, ends) = mpsc::sync_channel(9);
    let service = Patient { started, gave_up };
    (Running::start_service(config, service), starts, ends)
}

#[test]
fn long_work_sees_that_its_client_has_reset_the_connection() {
    let (server, starts, ends) = patient(Config::default());
    let mut client = server.connect();
    client.send("work\n");
    starts.recv_timeout(super::DEADLINE).expect("it is run");
    let socket = socket2::SockRef::from(client.0.get_ref());
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(client);
    ends.recv_timeout(super::DEADLINE).expect("it sees that");
    server.stop();
}

#[test]
fn long_work_sees_that_the_server_waits_no_more() {
    let config = Config::default().drain_timeout(Duration::ZERO);
    let (server, starts, ends) = patient(config);
    let mut client = server.connect();
    client.send("work\n");
    starts.recv_timeout(super::DEADLINE).expect("it is run");
    server.stop();
    ends.recv_timeout(super::DEADLINE).expect("it sees that");
}

/// Notes when each request begins and ends.
struct Notes(Mutex<Vec<String>>);

impl Handler for Notes {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        let note = |what: &str| {
            let line = format!("{what} {}", request.escape_ascii());
            self.0.lock().expect("no panic").push(line);
        };
        note("begin");
        thread::sleep(Duration::from_millis(2));
        note("end");
        response.push(b"OK");
    }
}

#[test]
fn with_max_parallel_one_the_requests_of_a_connection_run_one_after_the_other() {
    let notes = Arc::new(Notes(Mutex::default()));
    let config = Config::default().max_parallel(1);
    let server = Running::start_service(config, Arc::clone(&notes));
    let mut client: Client = server.connect();
    client.send("0\n1\n2\n3\n4\n5\n");
    client.expect(&["OK"; 6]);
    server.stop();
    let expected: Vec<_> = (0..6)
        .flat_map(|n| [format!("begin {n}"), format!("end {n}")])
        .collect();
    assert_eq!(*notes.0.lock().expect("no panic"), expected);
}
