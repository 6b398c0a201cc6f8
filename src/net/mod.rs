//! What the reactor asks of the system: sockets, readiness, signals, time.
//!
//! Knows no requests and no limits.
//!
//! Rule: the reactor reaches the system through [`Net`] alone. `MioNet` is the real one; the
//! simulation brings its own, and so runs the reactor of production.

mod alarm;
mod listener;
mod mio_net;
#[cfg(feature = "signals")]
mod signals;
#[cfg(not(feature = "signals"))]
#[path = "no_signals.rs"]
mod signals;
mod socket_diag;
mod socket_file;
mod stream;

use crate::address::Peer;
use crate::task::{ConnectionId, Task};
pub use listener::Listener;
pub(crate) use listener::{BACKLOG, Bound};
pub(crate) use mio_net::MioNet;
use std::io;
use std::time::Instant;

/// The system, as the reactor sees it.
pub trait Net {
    /// The socket of one connection.
    type Stream;

    /// The time.
    fn now(&self) -> Instant;

    /// Sleeps until something happens, and appends that to `events`. Readiness is told as an edge:
    /// it comes once, until the call that it announces would block.
    ///
    /// # Errors
    /// When polling fails, which is no matter of any single connection.
    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;

    /// The next connection that the listener of that number has; none when it would block.
    ///
    /// # Errors
    /// The system is out of descriptors or memory.
    fn accept(&mut self, listener: usize) -> io::Result<Option<(Self::Stream, Peer)>>;

    /// From here on events of the stream come with this id.
    ///
    /// # Errors
    /// The system is out of memory.
    fn register(&mut self, stream: &mut Self::Stream, id: ConnectionId) -> io::Result<()>;

    /// Whether a short read of this stream never means that it is empty, as
    /// [`Readiness::short_reads_mislead`] says of one in which something has happened.
    fn short_reads_mislead(&self, stream: &Self::Stream) -> bool;

    /// Takes what has come; zero bytes are the end of the stream.
    ///
    /// # Errors
    /// As recv(2), "would block" among them.
    fn receive(&mut self, stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize>;

    /// Hands bytes to the socket; says how many it took. `is_last` says that nothing comes behind
    /// them: as soon as all are taken the sending side is shut, or the socket closed. Then they
    /// may wait for that, so that the client sees them and the end of the stream at one time.
    ///
    /// # Errors
    /// As send(2), "would block" among them.
    fn send(&mut self, stream: &mut Self::Stream, bytes: &[u8], is_last: bool)
    -> io::Result<usize>;

    /// Shuts the sending side.
    ///
    /// # Errors
    /// As shutdown(2).
    fn shut(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// The error that waits in the socket, after an event has announced one.
    fn take_error(&mut self, stream: &mut Self::Stream) -> io::Error;

    /// Bytes that have come and have not been read; none where the system does not tell.
    fn unread(&mut self, stream: &Self::Stream) -> usize;

    /// Bytes that were sent and that the other side has not acknowledged. A shut sending side
    /// counts as one. None where the system does not tell, or where a client has at once what its
    /// socket takes.
    fn unacknowledged(&mut self, stream: &Self::Stream) -> Option<usize>;

    /// Closes the socket.
    fn close(&mut self, stream: Self::Stream);

    /// Closes the listeners, so that later connects fail instead of hanging in the backlog.
    fn stop_listening(&mut self);

    /// These tasks are about to be queued: a simulation takes note of them.
    fn note_tasks(&mut self, _tasks: &[Task]) {}
}

/// How long a poll may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: it only says what has happened.
    Not,
    /// Until something happens, or that time has come.
    Until(Instant),
    /// Until something happens.
    Forever,
}

/// What a poll says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The listener of that number has a connection.
    Connect(usize),
    /// Something has changed for a stream. Its connection may have gone meanwhile.
    Stream(ConnectionId, Readiness),
    /// A signal has come that was asked for.
    Signal(Signal),
}

/// What has changed for a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The end of the stream, or urgent data: a read stops at its mark although there is more
    /// (tcp(7)). From here on a short read does not mean that the socket is empty.
    pub short_reads_mislead: bool,
    /// An error waits in the socket.
    pub failed: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To stop; the name is for the log.
    Stop(&'static str),
    /// To write the counters to the log.
    Report,
}

/// Names what could not be done.
pub(crate) fn cannot(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |cause| io::Error::new(cause.kind(), format!("cannot {what}: {cause}"))
}
