//! The requests of a connection: bytes to send, and sent ones for as long as their answer is due.
//!
//! Knows bytes and places in the stream of all that was queued; not where a request ends.
//!
//! Rule: sent bytes are kept for speed alone, so that a request need not be written anew when its
//! answer comes, which is a third of what this program itself takes for it. Beyond
//! [`KEPT_BYTES`], and of an earlier connection, nobody has them.

use std::ops::Range;

/// No more sent bytes than this are kept, until as many have come together again.
const KEPT_BYTES: usize = 16 * 1024;

/// Bytes of requests, in the order in which they were queued.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How many of them, from the first one on, are sent.
    sent: usize,
    /// How many came before them.
    before: u64,
}

impl Outbox {
    /// Appends what `append` does, and returns its place among all bytes, and what `append` says.
    #[inline]
    pub(crate) fn queue<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> (Range<u64>, T) {
        let start = self.before + self.bytes.len() as u64;
        let said = append(&mut self.bytes);
        (start..self.before + self.bytes.len() as u64, said)
    }

    /// What is to be sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// `count` more bytes are sent. Returns how many that makes, of all there ever were.
    pub(crate) fn note_sent(&mut self, count: usize) -> u64 {
        self.sent += count;
        debug_assert!(self.sent <= self.bytes.len());
        self.sent_bytes()
    }

    fn sent_bytes(&self) -> u64 {
        self.before + self.sent as u64
    }

    /// The bytes at `place`, if they are still there.
    #[inline]
    pub(crate) fn kept(&self, place: &Range<u64>) -> Option<&[u8]> {
        let start = place.start.checked_sub(self.before)?;
        let end = place.end - self.before;
        self.bytes.get(start as usize..end as usize)
    }

    /// No answer is due to what stands before `due`, or to anything that was sent.
    pub(crate) fn forget_before(&mut self, due: Option<u64>) {
        let due = due.unwrap_or(self.sent_bytes());
        let answered = due.saturating_sub(self.before) as usize;
        let over = self.sent.saturating_sub(KEPT_BYTES);
        let unneeded = answered.clamp(over, self.sent);
        // What is moved is no more than what makes room.
        if unneeded >= self.bytes.len() - unneeded {
            self.bytes.drain(..unneeded);
            self.sent -= unneeded;
            self.before += unneeded as u64;
        }
    }

    /// Its connection is gone, and what was not sent with it.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            before: self.sent_bytes(),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(outbox: &mut Outbox, text: &[u8]) -> Range<u64> {
        let (place, ()) = outbox.queue(|bytes| bytes.extend_from_slice(text));
        place
    }

    #[test]
    fn what_is_sent_is_kept_until_its_answer_has_come() {
        let mut outbox = Outbox::default();
        let [one, two, three] =
            [&b"one"[..], b"two", b"three"].map(|text| queue(&mut outbox, text));
        assert_eq!(outbox.note_sent(4), 4);
        assert_eq!(outbox.unsent(), b"wothree");
        outbox.forget_before(Some(two.start));
        assert_eq!(outbox.note_sent(2), 6);
        assert_eq!(outbox.kept(&two), Some(&b"two"[..]));
        assert_eq!(outbox.kept(&three), Some(&b"three"[..]));
        outbox.forget_before(None);
        assert_eq!((outbox.kept(&one), outbox.kept(&two)), (None, None));
        assert_eq!(
            outbox.unsent(),
            b"three",
            "what is not sent is not forgotten"
        );
        outbox.clear();
        assert_eq!(outbox.kept(&three), None);
        assert_eq!(
            queue(&mut outbox, b"four"),
            6..10,
            "five bytes were never sent"
        );
    }

    #[test]
    fn no_more_is_kept_than_the_limit_however_much_is_due() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            queue(&mut outbox, &[b'x'; 1000]);
            outbox.note_sent(1000);
            outbox.forget_before(Some(0));
            assert!(outbox.bytes.len() <= 2 * KEPT_BYTES);
        }
        let last = queue(&mut outbox, b"last");
        assert_eq!(outbox.kept(&last), Some(&b"last"[..]));
    }
}
