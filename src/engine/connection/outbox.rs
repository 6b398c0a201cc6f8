//! Response bytes of one connection that its socket has not taken yet.
//!
//! Knows no socket: it is told how many bytes were sent.
//!
//! Rule: bytes leave in the order in which they came, and the memory follows what is unsent.

use super::order::{Leaving, push_lean};
use crate::task::Span;
use std::collections::VecDeque;
use std::time::Instant;

/// What the note of an unsent response weighs: a thousand short ones cost more than their bytes.
const NOTE_BYTES: usize = size_of::<Note>();

/// One buffer for all, so that one write takes the responses of a whole tick.
#[derive(Debug, Default)]
pub(in crate::engine) struct Outbox {
    /// The unsent bytes are those from `sent` on.
    bytes: Vec<u8>,
    sent: usize,
    /// What has been pushed and has not gone out whole.
    notes: VecDeque<Note>,
    sent_in_all: u64,
}

/// Responses to requests that were framed at one time, and where the last of them ends in the
/// stream.
#[derive(Debug, Clone, Copy)]
struct Note {
    span: Span,
    framed_at: Instant,
    end: u64,
}

impl Outbox {
    pub(in crate::engine) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Memory in use for what is unsent.
    pub(super) fn kept_bytes(&self) -> usize {
        self.unsent().len() + self.notes.len() * NOTE_BYTES
    }

    pub(in crate::engine) fn sent_in_all(&self) -> u64 {
        self.sent_in_all
    }

    pub(super) fn push(&mut self, leaving: Leaving) {
        let Leaving {
            span,
            framed_at,
            responses,
        } = leaving;
        if self.is_empty() {
            self.bytes = responses;
            self.sent = 0;
        } else {
            self.bytes.extend_from_slice(&responses);
        }
        let end = self.sent_in_all + self.unsent().len() as u64;
        match self.notes.back_mut() {
            // It answers no request.
            _ if span.requests == 0 => {}
            Some(note) if note.framed_at == framed_at => {
                note.span.requests += span.requests;
                note.end = end;
            }
            _ => {
                let note = Note {
                    span,
                    framed_at,
                    end,
                };
                push_lean(&mut self.notes, note);
            }
        }
    }

    /// Takes note that the socket took the next `count` bytes, and tells which responses have
    /// gone, and when their requests were framed.
    pub(in crate::engine) fn sent(&mut self, count: usize, mut written: impl FnMut(Span, Instant)) {
        self.sent_in_all += count as u64;
        self.sent += count;
        while let Some(note) = self.notes.front()
            && note.end <= self.sent_in_all
        {
            written(note.span, note.framed_at);
            self.notes.pop_front();
        }
        if self.is_empty() {
            self.bytes = Vec::new();
            self.sent = 0;
            self.notes = VecDeque::new();
        } else if 4 * self.sent >= self.bytes.len() {
            // A quarter of dead bytes in front is worth moving the rest: each byte sent pays for
            // at most three moved, and the buffer stays near what is unsent. So does its memory.
            self.bytes.drain(..self.sent);
            self.sent = 0;
            if self.bytes.capacity() > 4 * self.bytes.len() {
                self.bytes.shrink_to(2 * self.bytes.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Sequence;
    use proptest::prelude::*;
    use std::time::Duration;

    fn push(outbox: &mut Outbox, first: u64, requests: usize, framed_at: Instant, bytes: &[u8]) {
        outbox.push(Leaving {
            span: Span {
                first: Sequence(first),
                requests,
            },
            framed_at,
            responses: bytes.to_vec(),
        });
    }

    /// Which responses go out whole with the next `count` bytes.
    fn sent(outbox: &mut Outbox, count: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        outbox.sent(count, |span, _| gone.extend(span.sequences().map(|n| n.0)));
        gone
    }

    #[test]
    fn responses_are_written_when_their_last_byte_is() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        push(&mut outbox, 1, 1, now, b"one");
        push(
            &mut outbox,
            2,
            3,
            now + Duration::from_millis(1),
            b"twothree",
        );
        assert_eq!(sent(&mut outbox, 2), [] as [u64; 0]);
        assert_eq!(sent(&mut outbox, 2), [1]);
        assert_eq!(outbox.unsent(), b"wothree");
        assert_eq!(sent(&mut outbox, 6), [] as [u64; 0]);
        assert_eq!(sent(&mut outbox, 1), [2, 3, 4]);
        assert_eq!(outbox.kept_bytes(), 0);
    }

    #[test]
    fn what_was_framed_together_is_noted_once() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for n in 1..=100 {
            push(&mut outbox, n, 1, now, b"x");
        }
        assert_eq!(outbox.kept_bytes(), 100 + NOTE_BYTES);
        assert_eq!(sent(&mut outbox, 100).len(), 100);
    }

    #[test]
    fn the_memory_of_what_was_sent_goes_before_the_last_byte_does() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        push(&mut outbox, 1, 1, now, &vec![b'x'; 1 << 20]);
        push(&mut outbox, 2, 1, now, &vec![b'y'; 1 << 20]);
        sent(&mut outbox, (2 << 20) - 10);
        assert_eq!(outbox.unsent(), [b'y'; 10]);
        let capacity = outbox.bytes.capacity();
        assert!(capacity <= 40, "{capacity} bytes for the last 10");
    }

    proptest! {
        #[test]
        fn all_bytes_leave_once_and_in_order_however_the_socket_takes_them(
            steps in prop::collection::vec((0..4usize, 1..40usize, 0..2u64), 1..200)
        ) {
            let (mut outbox, mut pushed, mut gone) = (Outbox::default(), Vec::new(), Vec::new());
            let (mut opened, mut written, mut now) = (0, Vec::new(), Instant::now());
            for (requests, length, later) in steps {
                now += Duration::from_millis(later);
                if requests > 0 {
                    let responses = vec![b'a' + (opened % 26) as u8; requests * length];
                    push(&mut outbox, opened + 1, requests, now, &responses);
                    opened += requests as u64;
                    pushed.extend(responses);
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
