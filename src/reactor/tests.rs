//! The loop turn by turn, on real sockets, where a promise is about one turn or about an error that no
//! client can bring about.
//!
//! Knows the reactor's fields; has no workers.
//!
//! Rule: the tests run the turns themselves, in their own thread.

use super::*;
use crate::codec::Lines;
use crate::config::QueueOrder;
use mio::unix::SourceFd;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream as StdStream;
use std::os::fd::AsRawFd as _;

const DEADLINE: Duration = Duration::from_secs(10);

/// A loop that listens, and where.
fn reactor(config: Config) -> (Reactor, SocketAddr) {
    let queue = Arc::new(WorkQueue::new(config.queue, QueueOrder::Fair));
    let codec = Arc::new(Lines::new(config.max_line));
    let reactor = Reactor::new(&config, codec, Box::new(|_| false), queue);
    let mut reactor = reactor.expect("descriptors");
    let bound = Bound::bind("127.0.0.1", 0, config.socket_buffer).expect("a free port");
    let address = bound.addresses()[0];
    reactor.listen(bound).expect("nobody else listens there");
    (reactor, address)
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
fn a_turn_reads_a_bounded_share_of_each_connection() {
    const SHARE_BYTES: u64 = (READS_PER_TURN * READ_CHUNK_BYTES) as u64;
    let (mut reactor, address) = reactor(Config {
        max_line: 16 << 20,
        // As much as a machine grants that has not been configured.
        socket_buffer: 212_992,
        ..Config::default()
    });
    let clients = [flood(address), flood(address)];
    let sent: usize = clients.iter().map(|(_, sent)| sent).sum();
    let deadline = Instant::now() + DEADLINE;
    let (mut before, mut largest) = (0, 0);
    while before < sent as u64 {
        // Each of them in its turn: what a turn brings is at most a share of both.
        reactor.turn().expect("polling does not fail");
        let bytes_in = reactor.engine.stats().bytes_in;
        largest = largest.max(bytes_in - before);
        assert!(
            bytes_in - before <= 2 * SHARE_BYTES,
            "{largest} bytes in one turn"
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

#[test]
fn a_connection_that_cannot_be_registered_is_closed_and_forgotten() {
    let (mut reactor, address) = reactor(Config::default());
    let client = StdStream::connect(address).expect("it listens");
    let accepted = loop {
        reactor.listeners[0].set_ready();
        match reactor.listeners[0].accept(Instant::now()) {
            Accepted::Connection(accepted) => break accepted,
            Accepted::Nothing | Accepted::Exhausted => std::thread::yield_now(),
        }
    };
    let (stream, peer) = accepted;
    // Registered already, it cannot be registered again.
    let descriptor = stream.as_raw_fd();
    let registry = reactor.poll.registry();
    let registered = registry.register(&mut SourceFd(&descriptor), WAKER, Interest::READABLE);
    registered.expect("it is new");
    reactor.open(stream, peer, Instant::now());
    assert!(reactor.engine.is_empty());
    assert_eq!(reactor.engine.stats().connections.now, 0);
    client.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let mut end = [0];
    let read = std::io::Read::read(&mut &client, &mut end);
    assert!(matches!(read, Ok(0)), "it is closed: {read:?}");
}

#[test]
fn a_worker_that_died_ends_the_loop_with_an_error() {
    let (mut reactor, _) = reactor(Config::default());
    reactor.completions.report_death();
    let error = reactor.run().expect_err("nobody would answer any more");
    assert!(error.to_string().contains("worker"), "{error}");
}

#[test]
fn a_drain_that_is_noticed_late_gets_time_once_and_then_ends() {
    let (mut reactor, address) = reactor(Config::default());
    let _client = StdStream::connect(address).expect("it listens");
    while reactor.engine.is_empty() {
        reactor.turn().expect("polling does not fail");
    }
    let now = Instant::now();
    reactor.stop("asked", now);
    let late = now + reactor.drain_timeout + LATE;
    reactor.check_drained(late);
    assert!(matches!(reactor.stage, Stage::Draining { by, .. } if by == late + CATCH_UP));
    reactor.check_drained(late + CATCH_UP + 2 * LATE);
    assert!(matches!(reactor.stage, Stage::Ended(StopReason::Drained)));
}
