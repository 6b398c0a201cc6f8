//! Right answers on their way into the account.
//!
//! Knows how many there are and when they came; not to what.
//!
//! Rule: it exists for speed alone. Answers that have come in one read to requests that were sent
//! together differ in no figure and are entered as one: with 16 requests in flight that is a third
//! of what this program itself takes for a request.

use std::time::Instant;

/// Answers that are not in the account yet, to requests of the first run in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// How many.
    pub(crate) count: u32,
    /// How many of them are errors.
    pub(crate) errors: u32,
    /// When the last one came.
    pub(crate) now: Instant,
}

impl Batch {
    /// None yet.
    pub(crate) fn none(now: Instant) -> Self {
        Self {
            count: 0,
            errors: 0,
            now,
        }
    }
}
