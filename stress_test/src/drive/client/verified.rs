//! What a client does with the answer that is due.
//!
//! Knows the first frame in flight; everything that is not its answer is somebody else's business.
//!
//! Rule: nothing but the bytes decides, and each of them is compared.

use std::time::Instant;

use crate::drive::batch::Batch;
use crate::drive::client::Client;
use crate::drive::desk::Desk;
use crate::drive::in_flight::InFlight;
use crate::drive::outbox::Outbox;
use crate::figures::ledger::Ledger;
use crate::load::frame::Frame;

impl Client {
    /// The frame whose answer is due.
    #[inline]
    pub(super) fn due(&self) -> Option<Frame> {
        let front = self.in_flight.get(self.batch.count)?;
        Some(self.frame(front.what))
    }

    /// `line` is the right answer to the frame that is due.
    #[inline]
    pub(super) fn verify(&mut self, line: &[u8], now: Instant) {
        self.batch.count += 1;
        self.batch.errors += u32::from(line.starts_with(b"ERR"));
        self.batch.now = now;
    }

    /// Enters in the account the answers that have come together. Nothing may be looked up there,
    /// or in the list of frames in flight, before.
    pub(crate) fn book(&mut self, ledger: &mut Ledger) {
        let Batch { count, errors, now } = self.batch;
        let Some(last) = count.checked_sub(1) else {
            return;
        };
        self.batch = Batch::none(now);
        self.hear(now);
        self.verified += count as u32;
        ledger.tally(self.sender).expected_errors += u64::from(errors);
        self.last_answered = Some(self.in_flight[last].what.sequence);
        // One that was answered before it was sent has not entered.
        let mut written = count.min(self.written_frames);
        self.written_frames -= written;
        let mut times = self
            .in_flight
            .range(..count)
            .map(InFlight::times)
            .peekable();
        while let Some(one) = times.next() {
            let mut alike = 1;
            while times.next_if_eq(&one).is_some() {
                alike += 1;
            }
            let entered = written.min(alike);
            written -= entered;
            let one = one.answered(now);
            if entered > 0 {
                ledger.left(self.sender, entered as u32, one.service, now);
            }
            let alike = alike as u32;
            self.share.record(one, alike, ledger.window());
            ledger.verified(self.sender, one, alike);
        }
        self.in_flight.drain(..count);
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
        let due = self.in_flight.get(self.batch.count)?;
        let (frame, sent) = (self.frame(due.what), outbox.kept(&due.place));
        let expectations = &mut desk.expectations;
        let length = expectations.answer_at_the_front(frame, sent, bytes)?;
        let has_end = bytes.get(length) == Some(&b'\n');
        has_end.then(|| {
            self.verify(&bytes[..length], now);
            length + 1
        })
    }
}
