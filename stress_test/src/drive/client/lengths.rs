//! Answers that neither line ends nor lengths in front tell apart: each has as many bytes as the
//! request's own answer has.
//!
//! Finds out where an answer ends, and hands it to the client as a line; judges nothing that is
//! known, and knows no socket.
//!
//! Rule: where the next answer begins is certain only behind one that is some request's answer, so
//! bytes that are nobody's end the connection.

use std::time::Instant;

use crate::check::expectations::Expectations;
use crate::check::failure::{Kind, difference};
use crate::drive::client::{Client, Next};
use crate::drive::desk::Desk;

/// Of a wrong answer so many bytes are shown, or as many as it should have.
const SHOWN_BYTES: usize = 64;

/// What became of bytes that have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Taken {
    /// So many, from the first on, were an answer.
    Answer(usize),
    /// None yet: an answer may begin like this.
    Nothing,
    /// They are nobody's answer; the connection is of no further use.
    Abandon,
}

/// How long the answer is that some bytes begin with.
enum Extent {
    Known(usize),
    /// It is not complete.
    Open,
    Unknown,
}

impl Client {
    /// Takes one answer off the beginning of `bytes`, which are not empty.
    #[inline]
    pub(crate) fn on_bytes(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) -> Taken {
        if let Some(due) = self.due() {
            let due = desk.expectations.answer(due);
            if bytes.starts_with(due) {
                let length = due.len();
                self.verify(&bytes[..length], now, &mut desk.ledger);
                return Taken::Answer(length);
            }
            if due.starts_with(bytes) {
                return Taken::Nothing;
            }
        }
        self.on_wrong_bytes(bytes, now, desk)
    }

    fn on_wrong_bytes(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) -> Taken {
        self.book(&mut desk.ledger);
        let length = match self.extent(bytes, &mut desk.expectations) {
            Extent::Known(length) => length,
            Extent::Open => return Taken::Nothing,
            Extent::Unknown if self.in_flight.is_empty() => bytes.len(),
            Extent::Unknown => {
                self.on_nobodys_bytes(bytes, now, desk);
                return Taken::Abandon;
            }
        };
        match self.on_line(&bytes[..length], now, desk) {
            Next::Continue => Taken::Answer(length),
            Next::Abandon => Taken::Abandon,
        }
    }

    /// The answer that `bytes`, which are not the one that is due, begin with.
    fn extent(&self, bytes: &[u8], expectations: &mut Expectations) -> Extent {
        let doubts = self.doubts.iter().map(|doubt| doubt.what.sequence);
        let behind = self.in_flight.iter().skip(1);
        let in_flight = behind.map(|what| what.sequence);
        let mut is_open = false;
        for sequence in doubts.chain(in_flight) {
            let answer = expectations.answer(self.frame_of(sequence));
            if bytes.starts_with(answer) {
                return Extent::Known(answer.len());
            }
            is_open |= answer.starts_with(bytes);
        }
        // One that was given before, or another client's: taken to be as long as the one due.
        if let Some(front) = self.in_flight.front() {
            let length = expectations.answer(self.frame(front.what)).len();
            let whole = bytes.get(..length);
            if whole.is_some_and(|line| expectations.whose(line, self.id).is_some()) {
                return Extent::Known(length);
            }
        }
        if is_open {
            Extent::Open
        } else {
            Extent::Unknown
        }
    }

    /// Bytes came for the answer that is due, and are no request's.
    fn on_nobodys_bytes(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) {
        let (expectations, ledger) = (&mut desk.expectations, &mut desk.ledger);
        let what = self.pop_front(now, ledger).what;
        let expected = expectations.answer(self.frame(what));
        let shown = &bytes[..bytes.len().min(expected.len().max(SHOWN_BYTES))];
        let text = difference(expected, shown);
        self.decide(what, (Kind::Altered, text), now, ledger);
        let cause = "connection given up, as the next answer may begin anywhere,";
        self.on_end(cause, b"", now, ledger);
    }
}
