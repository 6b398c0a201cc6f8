//! Response bytes of one connection that its socket has not taken yet.
//!
//! Knows no socket: it is told how many bytes were sent.
//!
//! Rule: bytes leave in the order in which they came, and the memory follows what is unsent.

use super::order::Leaving;
use super::short_deque::ShortDeque;
use crate::task::{Lines, Sequence};
use memchr::memchr_iter;
use std::time::Instant;

/// What the note of one unsent response weighs: a thousand short lines cost more than their bytes.
const NOTE_BYTES: usize = size_of::<Note>();

/// One buffer for all, so that one write takes the responses of a whole turn.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The unsent bytes are those from `sent` on.
    bytes: Lines,
    sent: usize,
    /// What has been pushed and has not gone out whole.
    notes: ShortDeque<Note>,
    /// Responses in `notes`.
    unwritten: usize,
    sent_in_all: u64,
}

/// Responses that came together, to requests that were framed together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    pub(super) first: Sequence,
    pub(super) requests: usize,
    pub(super) framed_at: Instant,
}

impl Outbox {
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Memory in use for what is unsent, with a note for each response: as if none shared one.
    pub(super) fn kept_bytes(&self) -> usize {
        self.unsent().len() + self.unwritten * NOTE_BYTES
    }

    pub(super) fn sent_in_all(&self) -> u64 {
        self.sent_in_all
    }

    pub(super) fn push(&mut self, responses: Leaving) {
        let Leaving {
            first,
            requests,
            framed_at,
            lines,
        } = responses;
        if self.is_empty() {
            self.bytes = lines;
            self.sent = 0;
        } else {
            self.bytes.extend_from_slice(&lines);
        }
        self.unwritten += requests;
        self.notes.push_back(Note {
            first,
            requests,
            framed_at,
        });
    }

    /// Takes note that the socket took the next `count` bytes, and tells which responses have gone.
    pub(super) fn sent(&mut self, count: usize, mut written: impl FnMut(Note)) {
        self.sent_in_all += count as u64;
        if count == self.unsent().len() {
            while let Some(note) = self.notes.pop_front() {
                written(note);
            }
            self.unwritten = 0;
            self.bytes = Lines::new();
            self.sent = 0;
            return;
        }
        // Each response is a line: the LFs say how many went out whole.
        let mut gone = memchr_iter(b'\n', &self.unsent()[..count]).count();
        self.unwritten -= gone;
        while gone > 0 {
            let note = self.notes.front_mut().expect("a note for each response");
            let requests = note.requests.min(gone);
            written(Note { requests, ..*note });
            gone -= requests;
            note.first.0 += requests as u64;
            note.requests -= requests;
            if note.requests == 0 {
                self.notes.pop_front();
            }
        }
        self.sent += count;
        if 4 * self.sent >= self.bytes.len() {
            // A quarter of dead bytes in front is worth moving the rest: each byte sent pays for
            // at most three moved, and the buffer stays near what is unsent.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(outbox: &mut Outbox, first: u64, requests: usize, lines: &[u8]) {
        outbox.push(Leaving {
            first: Sequence(first),
            requests,
            framed_at: Instant::now(),
            lines: lines.into(),
        });
    }

    /// Which responses go out whole with the next `count` bytes.
    fn sent(outbox: &mut Outbox, count: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        outbox.sent(count, |written| {
            gone.extend(written.first.run(written.requests).map(|n| n.0));
        });
        gone
    }

    #[test]
    fn a_response_is_written_when_its_last_byte_is() {
        let mut outbox = Outbox::default();
        push(&mut outbox, 1, 1, b"one\n");
        push(&mut outbox, 2, 3, b"two\n3\n4\n");
        assert_eq!(sent(&mut outbox, 3), [] as [u64; 0]);
        assert_eq!(sent(&mut outbox, 2), [1]);
        assert_eq!(outbox.unsent(), &b"wo\n3\n4\n"[..]);
        assert_eq!(sent(&mut outbox, 5), [2, 3]);
        assert_eq!(sent(&mut outbox, 2), [4]);
        assert_eq!(outbox.kept_bytes(), 0);
    }

    proptest! {
        #[test]
        fn all_bytes_leave_once_and_in_order_however_the_socket_takes_them(
            steps in prop::collection::vec((0..4usize, 1..40usize), 1..200)
        ) {
            let (mut outbox, mut pushed, mut gone) = (Outbox::default(), Vec::new(), Vec::new());
            let (mut opened, mut written) = (0, Vec::new());
            for (requests, length) in steps {
                if requests > 0 {
                    let lines = [vec![b'x'; length], vec![b'\n']].concat().repeat(requests);
                    push(&mut outbox, opened + 1, requests, &lines);
                    opened += requests as u64;
                    pushed.extend(lines);
                } else {
                    let count = length.min(outbox.unsent().len());
                    gone.extend_from_slice(&outbox.unsent()[..count]);
                    written.extend(sent(&mut outbox, count));
                }
                prop_assert!(outbox.bytes.len() <= outbox.unsent().len() * 4 / 3);
            }
            gone.extend_from_slice(outbox.unsent());
            let rest = outbox.unsent().len();
            written.extend(sent(&mut outbox, rest));
            prop_assert_eq!(gone, pushed);
            prop_assert_eq!(written, (1..=opened).collect::<Vec<_>>());
            prop_assert!(outbox.notes.is_empty() && outbox.kept_bytes() == 0);
        }
    }
}
