//! What crosses threads: a request on its way to a worker, and its response on the way back.
//!
//! Knows nothing of sockets, of the queues or of what a request means.
//!
//! Rule: an id is never used twice, so a late response cannot meet a stranger (promise 6).

use std::fmt;
use std::time::Instant;

/// Names one connection for the whole life of the server.
///
/// The low 20 bits are the slot that it uses in the tables of the loop, the rest is a serial number
/// that counts accepted connections: slots are reused, ids are not (2^44 connections last for
/// years at any rate that a host can accept).
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

    /// The how manyth accepted connection this is, from 1: its name in the log.
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

/// The place of a request in its connection's order, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One request line on its way to a worker.
#[derive(Debug)]
pub struct Task {
    /// Whose request it is.
    pub connection: ConnectionId,
    /// Its place in that connection's order.
    pub sequence: Sequence,
    /// The request line without its ending.
    pub line: Vec<u8>,
    /// When it got its queue slot.
    pub queued_at: Instant,
}

/// One response line on its way back to the loop.
#[derive(Debug)]
pub struct Response {
    /// Whose response it is.
    pub connection: ConnectionId,
    /// The place that it fills.
    pub sequence: Sequence,
    /// The response line, its LF included.
    pub line: Vec<u8>,
    /// How the request fared.
    pub outcome: Outcome,
    /// When it got its queue slot.
    pub queued_at: Instant,
    /// When a worker took it.
    pub started_at: Instant,
    /// When the worker was done.
    pub finished_at: Instant,
}

/// How a request fared at its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The handler answered, and its line begins with `OK`.
    Ok,
    /// The handler answered with another line.
    Error,
    /// The handler panicked, or wrote more than one line.
    Internal,
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
