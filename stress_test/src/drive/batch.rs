//! Right answers on their way into the account.
//!
//! Knows when they came and to what; not what they say.
//!
//! Rule: it exists for speed alone. Answers that have come in one read, to requests that were sent
//! at one time, differ in no figure and are entered as one: with 16 requests in flight that is a
//! third of what this program itself takes for a request.

use std::time::Instant;

use crate::figures::ledger::{Answers, Times};

/// Answers that are alike and not in the account yet.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The answers.
    pub(crate) answers: Answers,
    /// Whether the requests had been handed to the kernel.
    pub(crate) is_written: bool,
    /// When the answers came.
    pub(crate) now: Instant,
}

impl Batch {
    /// Whether one more answer, to a request of these times, is like the others.
    pub(crate) fn takes(&self, times: Times, is_written: bool, now: Instant) -> bool {
        self.answers.times == times && self.is_written == is_written && self.now == now
    }
}
