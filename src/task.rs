//! What crosses threads: requests on their way to a worker, and their responses on the way back.
//!
//! Knows nothing of sockets, of the queues or of what a request means.
//!
//! Rule: an id is never used twice, so a late response cannot meet a stranger (promise 6).

use std::fmt;
use std::time::{Duration, Instant};

/// Names one connection for the whole life of the server.
///
/// The low 20 bits are the slot that it uses in the tables of the loop. The rest is a serial
/// number that counts accepted connections. So slots are reused, and ids are not: 2^44 connections
/// last for years at any rate that a host can accept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    const SLOT_BITS: u32 = 20;
    /// Slots that an id can name; above the limit of connections and its reserve.
    pub const SLOTS: usize = 1 << Self::SLOT_BITS;

    /// The id of the `serial`th connection, which uses `slot`.
    pub fn new(serial: u64, slot: usize) -> ConnectionId {
        debug_assert!(slot < Self::SLOTS, "slot {slot} does not fit an id");
        ConnectionId(serial << Self::SLOT_BITS | slot as u64)
    }

    /// The id whose [`ConnectionId::bits`] these are.
    pub fn from_bits(bits: u64) -> ConnectionId {
        ConnectionId(bits)
    }

    /// The whole id as one number, to travel as a poll token.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Where the tables of the loop keep this connection.
    pub fn slot(self) -> usize {
        (self.0 & (Self::SLOTS as u64 - 1)) as usize
    }

    /// Which accepted connection this is, from 1: its name in the log.
    pub fn serial(self) -> u64 {
        self.0 >> Self::SLOT_BITS
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.serial())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.serial(), self.slot())
    }
}

/// The number of a request on its connection, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Requests of one connection that follow each other; at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The number of the first one.
    pub first: Sequence,
    /// How many they are.
    pub requests: usize,
}

impl Span {
    /// The number behind the last one.
    pub fn end(self) -> Sequence {
        Sequence(self.first.0 + self.requests as u64)
    }

    /// The number of each.
    pub fn sequences(self) -> impl Iterator<Item = Sequence> {
        (self.first.0..self.end().0).map(Sequence)
    }
}

/// Whole requests of one connection, which one worker answers one after the other.
///
/// Several share a run only where they follow each other and the handler calls each of them quick
/// ([`crate::Handler::is_quick`]); any other request is a run of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which requests they are.
    pub span: Span,
    /// The requests side by side, as they came; the codec finds where each ends.
    pub frames: Vec<u8>,
    /// When they were framed.
    pub framed_at: Instant,
    /// The handler calls them quick.
    pub is_quick: bool,
}

/// A run on its way to a worker.
#[derive(Debug)]
pub struct Task {
    /// Whose requests they are.
    pub connection: ConnectionId,
    /// The requests.
    pub run: Run,
}

/// What a worker made of a [`Task`], on its way back to the loop.
#[derive(Debug)]
pub struct Completion {
    /// Whose requests they were.
    pub connection: ConnectionId,
    /// Which requests they were.
    pub span: Span,
    /// The responses side by side.
    pub responses: Vec<u8>,
    /// How the requests fared.
    pub outcomes: Outcomes,
    /// The connection closes after these responses.
    pub is_last: bool,
    /// The number of the worker.
    pub worker: usize,
    /// When it took the task.
    pub started_at: Instant,
    /// When it was done with it.
    pub finished_at: Instant,
    /// The handler calls it quick, and it took longer than [`QUICK_LIMIT`].
    pub is_overrun: bool,
}

/// A task that its handler calls quick and that takes longer is counted and warned of.
pub const QUICK_LIMIT: Duration = Duration::from_millis(1);

/// How requests fared at their worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// The handler answered with a success.
    pub ok: usize,
    /// The handler answered with an error.
    pub error: usize,
    /// The handler panicked, or what it wrote was not one response.
    pub internal: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_slot_differ_and_keep_their_parts() {
        let (a, b) = (ConnectionId::new(7, 3), ConnectionId::new(8, 3));
        assert_ne!(a, b);
        assert_eq!((a.slot(), a.serial()), (3, 7));
        assert_eq!(ConnectionId::from_bits(b.bits()), b);
    }
}
