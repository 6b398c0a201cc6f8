//! What a client does with the answer that is due.
//!
//! Knows the first frame in flight; everything that is not its answer is somebody else's business.
//!
//! Rule: nothing but the bytes decides, and each of them is compared.

use std::time::Instant;

use crate::drive::batch::Batch;
use crate::drive::client::Client;
use crate::drive::desk::Desk;
use crate::figures::ledger::{Answers, Ledger};

impl Client {
    /// `line` is the right answer to the first frame in flight.
    pub(super) fn verify(&mut self, line: &[u8], now: Instant, ledger: &mut Ledger) {
        let front = self.take_front();
        self.verified += 1;
        self.last_answered = Some(front.what.sequence);
        let (is_error, is_written) = (line.starts_with(b"ERR"), front.written.is_some());
        if let Some(batch) = &mut self.batch
            && batch.takes(front.times(), is_written, now)
        {
            batch.answers.count += 1;
            batch.answers.errors += u32::from(is_error);
            return;
        }
        self.book(ledger);
        self.batch = Some(Batch {
            answers: Answers::one(front.times(), is_error),
            is_written,
            now,
        });
    }

    /// Enters in the account the answers that have come together. Nothing may be looked up there
    /// before.
    pub(crate) fn book(&mut self, ledger: &mut Ledger) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        let Answers { times, count, .. } = batch.answers;
        if batch.is_written {
            ledger.left(self.sender, count, times.written, batch.now);
        }
        self.share.record(times, count, batch.now, ledger.window());
        ledger.verified(self.sender, batch.answers, batch.now);
    }

    /// Takes the answer that is due, and the end of its line, off the beginning of `bytes`.
    /// Returns how many bytes that were, if it is there: then nobody has to look for that end.
    #[inline]
    pub(crate) fn take_due_line(
        &mut self,
        bytes: &[u8],
        now: Instant,
        desk: &mut Desk,
    ) -> Option<usize> {
        let due = self.frame(self.in_flight.front()?.what);
        let length = desk.expectations.answer_at_the_front(due, bytes)?;
        let has_end = bytes.get(length) == Some(&b'\n');
        has_end.then(|| {
            self.hear(now);
            self.verify(&bytes[..length], now, &mut desk.ledger);
            length + 1
        })
    }
}
