//! The loop tick by tick, on real sockets, where a promise is about one tick or about an error
//! that no client can bring about.
//!
//! Knows the reactor's fields; has no workers.
//!
//! Rule: the tests run the ticks themselves, in their own thread.

use super::serve::READS_PER_TICK;
use super::shutdown::{CATCH_UP, LATE};
use super::*;
use crate::codec::Lines;
use crate::config::QueueOrder;
use crate::net::{Bound, MioNet};
use crate::pool::Board;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::atomic::{AtomicUsize, Ordering};

const DEADLINE: Duration = Duration::from_secs(10);

/// A loop that listens, and where.
fn reactor(config: Config) -> (Reactor<MioNet, Lines>, SocketAddr) {
    let (reactor, address, _) = monitored(config);
    (reactor, address)
}

/// The same, with a monitor of it.
fn monitored(config: Config) -> (Reactor<MioNet, Lines>, SocketAddr, Monitor) {
    let queue = Arc::new(WorkQueue::new(config.queue, QueueOrder::Fair));
    let net = MioNet::new(&config).expect("descriptors");
    let completions = Arc::new(ResponseQueue::new(net.waker().expect("descriptors")));
    let codec = Arc::new(Lines::new(config.max_line));
    let protocol = Protocol {
        codec,
        is_quick: Box::new(|_| false),
        sessions: Box::new(Nobody),
    };
    let board = Arc::new(Board::new(config.workers));
    let (monitor, monitored) = Monitor::new(board, &completions);
    let mut reactor = Reactor::new(&config, net, protocol, queue, completions, monitored);
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = Bound::tcp(&[free], &config).expect("a free port");
    let address = bound[0].address().tcp().expect("of TCP");
    let listening = reactor.net_mut().listen(bound, config.socket_buffer);
    listening.expect("nobody else listens there");
    reactor.start_accepting([false]);
    (reactor, address, monitor)
}

/// Is told of connections, and does not care.
struct Nobody;

impl Sessions for Nobody {
    fn opened(&self, _: ConnectionId, _: Peer) -> bool {
        true
    }

    fn closed(&self, _: ConnectionId) {}

    fn ended(&self) {}
}

fn tick(reactor: &mut Reactor<MioNet, Lines>) {
    let wait = reactor.park();
    reactor.tick(wait).expect("polling does not fail");
}

/// A client that has sent all that the sockets take, and how much that is.
fn flood(address: SocketAddr) -> (StdStream, usize) {
    let mut client = StdStream::connect(address).expect("it listens");
    client.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    loop {
        match client.write(&[b'x'; READ_CHUNK_BYTES]) {
            Ok(count) => sent += count,
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => return (client, sent),
            Err(cause) => panic!("{cause}"),
        }
    }
}

#[test]
fn a_tick_reads_a_bounded_share_of_each_connection() {
    const SHARE_BYTES: u64 = (READS_PER_TICK * READ_CHUNK_BYTES) as u64;
    let (mut reactor, address) = reactor(
        Config::default()
            .max_line(16 << 20)
            // As much as a machine grants that has not been configured.
            .socket_buffer(212_992),
    );
    let clients = [flood(address), flood(address)];
    let sent: usize = clients.iter().map(|(_, sent)| sent).sum();
    let deadline = Instant::now() + DEADLINE;
    let (mut before, mut largest) = (0, 0);
    while before < sent as u64 {
        // A tick brings a share of both at most.
        tick(&mut reactor);
        let bytes_in = reactor.engine.stats().bytes_in;
        largest = largest.max(bytes_in - before);
        assert!(
            bytes_in - before <= 2 * SHARE_BYTES,
            "{largest} bytes in one tick"
        );
        before = bytes_in;
        assert!(
            Instant::now() < deadline,
            "{before} of {sent} bytes are read"
        );
    }
    assert!(
        largest > SHARE_BYTES,
        "too little has come to tell: {largest} bytes"
    );
}

/// Counts the connections that are open.
struct Open(Arc<AtomicUsize>);

impl Sessions for Open {
    fn opened(&self, _: ConnectionId, _: Peer) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn closed(&self, _: ConnectionId) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn ended(&self) {}
}

#[test]
fn a_connection_that_cannot_be_registered_is_closed_and_forgotten() {
    let (mut reactor, address) = reactor(Config::default());
    let open = Arc::new(AtomicUsize::new(0));
    reactor.sessions = Box::new(Open(Arc::clone(&open)));
    let client = StdStream::connect(address).expect("it listens");
    let (mut stream, peer) = loop {
        let accepted = reactor.net.accept(0).expect("there are descriptors");
        match accepted {
            Some(accepted) => break accepted,
            None => std::thread::yield_now(),
        }
    };
    // Registered already, it cannot be registered again.
    let registered = reactor.net.register(&mut stream, ConnectionId::new(1, 0));
    registered.expect("it is new");
    reactor.open(stream, peer, Instant::now());
    assert!(reactor.engine.is_empty());
    assert_eq!(reactor.engine.stats().connections.now, 0);
    assert_eq!(open.load(Ordering::Relaxed), 0, "its service hears of it");
    client.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let mut end = [0];
    let read = std::io::Read::read(&mut &client, &mut end);
    assert!(matches!(read, Ok(0)), "it is closed: {read:?}");
}

#[test]
fn a_worker_that_died_ends_the_loop_with_an_error() {
    let (mut reactor, _, monitor) = monitored(Config::default());
    reactor.completions.report_death();
    let error = reactor.run().expect_err("nobody would answer any more");
    assert!(error.to_string().contains("worker"), "{error}");
    let snapshot = monitor.snapshot(Duration::ZERO);
    assert_eq!(
        snapshot.expect("nobody has to answer").state,
        ServerState::Ended
    );
}

#[test]
fn a_drain_that_is_noticed_late_gets_time_once_and_then_ends() {
    let (mut reactor, address) = reactor(Config::default());
    let _client = StdStream::connect(address).expect("it listens");
    while reactor.engine.is_empty() {
        tick(&mut reactor);
    }
    let now = Instant::now();
    reactor.stop("asked", now);
    let late = now + reactor.drain_timeout + LATE;
    reactor.check_drained(late);
    assert!(matches!(reactor.stage, Stage::Draining { by, .. } if by == late + CATCH_UP));
    reactor.check_drained(late + CATCH_UP + 2 * LATE);
    assert!(matches!(reactor.stage, Stage::Ended(StopReason::Drained)));
}
