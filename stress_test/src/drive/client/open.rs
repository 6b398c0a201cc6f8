//! What a client leaves open when its run is interrupted.
//!
//! Knows what is under way; not why the run ends.
//!
//! Rule: what has no answer yet is no failure, and no latency that was: it counts as at least its
//! age. Without that, a server that hangs until Ctrl-C would look as fast as before.

use std::time::Instant;

use crate::drive::client::Client;
use crate::figures::ledger::Ledger;

impl Client {
    /// The run is interrupted.
    pub(crate) fn leave_open(&mut self, now: Instant, ledger: &mut Ledger) {
        self.settle_doubts(now, ledger);
        while !self.in_flight.is_empty() {
            let what = self.pop_front(now, ledger).what;
            ledger.left_open(self.sender, what.operation, what.intended, now);
        }
        for retry in self.retries.drain(..) {
            let what = retry.what;
            ledger.left_open(self.sender, what.operation, what.intended, now);
        }
        for intended in self.offered.drain(..) {
            ledger.tally(self.sender).unsent += 1;
            ledger.left_open(self.sender, None, intended, now);
        }
    }
}
