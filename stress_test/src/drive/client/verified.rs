//! What a client does with the answer that is due.
//!
//! Knows the first frame in flight; everything that is not its answer is somebody else's business.
//!
//! Rule: nothing but the bytes decides, and each of them is compared.

use std::time::Instant;

use crate::drive::batch::Batch;
use crate::drive::client::Client;
use crate::drive::desk::Desk;
use crate::drive::outbox::Outbox;
use crate::figures::ledger::Ledger;
use crate::load::frame::Frame;

impl Client {
    /// The frame whose answer is due.
    #[inline]
    pub(super) fn due(&self) -> Option<Frame> {
        let front = self.in_flight.front()?;
        Some(self.frame(front.what))
    }

    /// `line` is the right answer to the frame that is due.
    #[inline]
    pub(super) fn verify(&mut self, line: &[u8], now: Instant, ledger: &mut Ledger) {
        self.batch.count += 1;
        self.batch.errors += u32::from(line.starts_with(b"ERR"));
        self.batch.now = now;
        if self.in_flight.advance() {
            self.book(ledger);
        }
    }

    /// Enters in the account the answers that have come together, all to frames of one run. No
    /// figure may be looked up there before.
    pub(crate) fn book(&mut self, ledger: &mut Ledger) {
        let Batch { count, errors, now } = self.batch;
        if count == 0 {
            return;
        }
        self.batch = Batch::none(now);
        self.hear(now);
        self.verified += count;
        ledger.tally(self.sender).expected_errors += u64::from(errors);
        let run = self.in_flight.front();
        let run = run.expect("a run is not dropped before its answers are in the account");
        self.last_answered = Some(run.what.sequence - 1);
        let answered = run.times().answered(now);
        // One that was answered before it was sent has not entered.
        if run.is_written {
            ledger.left(self.sender, count, answered.service, now);
        }
        self.share.record(answered, count, ledger.window());
        ledger.verified(self.sender, answered, count);
        self.in_flight.drop_run();
    }

    /// Takes the answer that is due, and the end of its line, off the beginning of `bytes`. The
    /// request may still be in `outbox`.
    /// Returns how many bytes that were, if it is there: then nobody has to look for that end.
    #[inline]
    pub(crate) fn take_due_line(
        &mut self,
        bytes: &[u8],
        outbox: &Outbox,
        now: Instant,
        desk: &mut Desk,
    ) -> Option<usize> {
        let (frame, sent) = (self.due()?, outbox.kept(&self.in_flight.first_place()?));
        let expectations = &mut desk.expectations;
        let length = expectations.answer_at_the_front(frame, sent, bytes)?;
        let has_end = bytes.get(length) == Some(&b'\n');
        has_end.then(|| {
            self.verify(&bytes[..length], now, &mut desk.ledger);
            length + 1
        })
    }
}
