//! What crosses threads: requests on their way to a worker, and their responses on the way back.
//!
//! Knows nothing of sockets, of the queues or of what a request means.
//!
//! Rule: an id is never used twice, so a late response cannot meet a stranger (promise 6).

use memchr::memchr;
use smallvec::SmallVec;
use std::fmt;
use std::time::{Duration, Instant};

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

impl Sequence {
    /// The places of a run of `requests` that begins here.
    pub fn run(self, requests: usize) -> impl Iterator<Item = Sequence> {
        (self.0..self.0 + requests as u64).map(Sequence)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lines, each ended by one LF. Short ones travel in the task itself: no memory has to be found for
/// them, and none has to be fetched from the cache of another core.
pub type Lines = SmallVec<[u8; INLINE_BYTES]>;

/// What counts as short: as many as take no more room than the address of others would. With more
/// the state of a connection would pass 512 bytes, and that of 10,000 the block that the server
/// keeps in its heap ("Free memory stays with the server", docs/decisions.md).
pub const INLINE_BYTES: usize = 16;

/// A run of request lines on its way to a worker, which answers them one after the other.
///
/// Lines share a task only where they follow each other on one connection and the handler calls
/// each of them quick ([`crate::Handler::is_quick`]); any other line is a task of its own.
#[derive(Debug)]
pub struct Task {
    /// Whose requests they are.
    pub connection: ConnectionId,
    /// The place of the first one in that connection's order; the others follow it.
    pub first: Sequence,
    /// How many requests they are.
    pub requests: usize,
    /// The request lines, each ended by one LF.
    pub lines: Lines,
    /// The handler calls them quick.
    pub is_quick: bool,
}

/// The responses to the requests of one [`Task`], on their way back to the loop.
#[derive(Debug)]
pub struct Response {
    /// Whose responses they are.
    pub connection: ConnectionId,
    /// The place of the first one; the others follow it.
    pub first: Sequence,
    /// How many responses they are.
    pub requests: usize,
    /// The response lines, each ended by one LF.
    pub lines: Lines,
    /// How the requests fared.
    pub outcomes: Outcomes,
    /// When a worker took the task.
    pub started_at: Instant,
    /// When it was done with it.
    pub finished_at: Instant,
    /// The name of the operation, if the handler calls it quick and it took longer than
    /// [`QUICK_LIMIT`].
    pub overrun: Option<Box<str>>,
}

/// A task that its handler calls quick and that takes longer is counted and warned of.
pub const QUICK_LIMIT: Duration = Duration::from_millis(1);

/// What a request seems to ask for, fit for a line of the log: its first word, escaped and
/// shortened.
pub fn operation_name(request: &[u8]) -> Box<str> {
    const SHOWN_BYTES: usize = 32;
    let word = request.split(|byte| *byte == b' ').next();
    let word = word.unwrap_or_default();
    let shown = &word[..word.len().min(SHOWN_BYTES)];
    shown.escape_ascii().to_string().into()
}

/// How requests fared at their worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// The handler answered, and its line begins with `OK`.
    pub ok: usize,
    /// The handler answered with another line.
    pub error: usize,
    /// The handler panicked, or wrote more than one line.
    pub internal: usize,
}

/// The lines in `lines`, each of which one LF ends, without it.
pub fn split_lines(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let lf = find_lf(rest)?;
        let line = &rest[..lf];
        rest = &rest[lf + 1..];
        Some(line)
    })
}

/// Where the first LF is. Most lines are short, and end before `memchr` has begun, so the first 32
/// bytes are looked at here, eight at a time: a byte of `word` is zero where there is an LF, and
/// the lowest such byte has its highest bit set in `found` (Mycroft's test: Anderson, "Bit
/// Twiddling Hacks", "Determine if a word has a zero byte").
#[inline]
pub fn find_lf(bytes: &[u8]) -> Option<usize> {
    const SHORT_BYTES: usize = 32;
    const ONES: u64 = u64::MAX / 0xff;
    let (short, rest) = bytes.split_at(bytes.len().min(SHORT_BYTES));
    let (words, tail) = short.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'\n'));
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return Some(8 * number + found.trailing_zeros() as usize / 8);
        }
    }
    if rest.is_empty() {
        let lf = tail.iter().position(|byte| *byte == b'\n')?;
        return Some(8 * words.len() + lf);
    }
    memchr(b'\n', rest).map(|lf| SHORT_BYTES + lf)
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

    #[test]
    fn lines_are_what_stands_before_each_lf() {
        let got: Vec<&[u8]> = split_lines(b"one\n\ntwo\r\n").collect();
        assert_eq!(got, [&b"one"[..], b"", b"two\r"]);
        assert_eq!(split_lines(b"").count(), 0);
    }

    #[test]
    fn the_first_lf_is_found_at_any_length() {
        // Those nearest to an LF, in bits and in value, and the extremes.
        for other in [0, 1, 9, 11, b'\n' | 0x80, 0x7f, 0x80, 0xff] {
            for length in 0..100 {
                let mut bytes = vec![other; length];
                assert_eq!(find_lf(&bytes), None);
                for lf in (0..length).rev() {
                    bytes[lf] = b'\n';
                    assert_eq!(find_lf(&bytes), Some(lf));
                }
            }
        }
    }
}
