//! Response bytes of one connection that its socket has not taken yet.
//!
//! Knows no socket: it is told how many bytes were sent.
//!
//! Rule: bytes leave in the order in which they came, and the memory follows what is unsent.

use super::order::Leaving;
use crate::task::Sequence;
use std::collections::VecDeque;
use std::time::Instant;

/// One buffer for all, so that one write takes the responses of a whole turn.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The unsent bytes are those from `sent` on.
    bytes: Vec<u8>,
    sent: usize,
    /// Where each unsent response ends, counted over the life of the connection.
    ends: VecDeque<End>,
    sent_in_all: u64,
}

#[derive(Debug)]
struct End {
    at: u64,
    sequence: Sequence,
    framed_at: Instant,
}

/// A response whose last byte the socket has taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) sequence: Sequence,
    pub(super) framed_at: Instant,
}

impl Outbox {
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Memory in use for what is unsent, the notes on where responses end included: a thousand
    /// short lines cost more than their bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.unsent().len() + self.ends.len() * size_of::<End>()
    }

    pub(super) fn sent_in_all(&self) -> u64 {
        self.sent_in_all
    }

    pub(super) fn push(&mut self, response: Leaving) {
        if self.is_empty() {
            self.bytes = response.line;
            self.sent = 0;
        } else {
            self.bytes.extend_from_slice(&response.line);
        }
        let at = self.sent_in_all + self.unsent().len() as u64;
        let Leaving {
            sequence,
            framed_at,
            ..
        } = response;
        self.ends.push_back(End {
            at,
            sequence,
            framed_at,
        });
    }

    /// Takes note that the socket took the next `count` bytes.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
        self.sent_in_all += count as u64;
        debug_assert!(
            self.sent <= self.bytes.len(),
            "no more is sent than was there"
        );
        if self.is_empty() {
            self.bytes = Vec::new();
            self.sent = 0;
        } else if 4 * self.sent >= self.bytes.len() {
            // A quarter of dead bytes in front is worth moving the rest: each byte sent pays for
            // at most three moved, and the buffer stays near what is unsent.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// The next response that has gone out whole.
    pub(super) fn written(&mut self) -> Option<Written> {
        let End { at, .. } = self.ends.front()?;
        if *at > self.sent_in_all {
            return None;
        }
        let End {
            sequence,
            framed_at,
            ..
        } = self.ends.pop_front().expect("it was seen just now");
        if self.ends.is_empty() {
            self.ends = VecDeque::new();
        }
        Some(Written {
            sequence,
            framed_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(outbox: &mut Outbox, number: u64, line: &[u8]) {
        let line = line.to_vec();
        outbox.push(Leaving {
            sequence: Sequence(number),
            framed_at: Instant::now(),
            line,
        });
    }

    #[test]
    fn a_response_is_written_when_its_last_byte_is() {
        let mut outbox = Outbox::default();
        push(&mut outbox, 1, b"one\n");
        push(&mut outbox, 2, b"two\n");
        outbox.sent(3);
        assert_eq!(outbox.written(), None);
        outbox.sent(2);
        assert_eq!(outbox.written().map(|w| w.sequence), Some(Sequence(1)));
        assert_eq!((outbox.written(), outbox.unsent()), (None, &b"wo\n"[..]));
    }

    proptest! {
        #[test]
        fn all_bytes_leave_once_and_in_order_however_the_socket_takes_them(
            steps in prop::collection::vec((any::<bool>(), 1..40usize), 1..200)
        ) {
            let (mut outbox, mut pushed, mut sent) = (Outbox::default(), Vec::new(), Vec::new());
            let mut written = 0;
            for (number, (is_push, length)) in steps.into_iter().enumerate() {
                if is_push {
                    let line = vec![number as u8; length];
                    push(&mut outbox, number as u64, &line);
                    pushed.extend(line);
                } else {
                    let count = length.min(outbox.unsent().len());
                    sent.extend_from_slice(&outbox.unsent()[..count]);
                    outbox.sent(count);
                    written += std::iter::from_fn(|| outbox.written()).count();
                }
                prop_assert!(outbox.bytes.len() <= outbox.unsent().len() * 4 / 3);
            }
            sent.extend_from_slice(outbox.unsent());
            prop_assert_eq!(sent, pushed);
            prop_assert_eq!(outbox.ends.is_empty(), outbox.is_empty());
            prop_assert!(written as u64 <= outbox.sent_in_all());
        }
    }
}
