//! The account of a run: what was right, what was refused, what failed.
//!
//! Adds up what the clients report; judges nothing.
//!
//! Rule: ordinary clients and hogs are never added together, except in the list of failures.

use std::time::Instant;

use crate::failure::{Failures, Sender};
use crate::measure::Latencies;

/// The account of all clients.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Everything that was wrong.
    pub(crate) failures: Failures,
    /// What the ordinary clients got.
    pub(crate) clients: Tally,
    /// What the hogs got.
    pub(crate) hogs: Tally,
}

impl Ledger {
    /// Nothing yet.
    pub(crate) fn new(failures: Failures) -> Self {
        Self {
            failures,
            clients: Tally::new(),
            hogs: Tally::new(),
        }
    }

    /// The tally of the group that `sender` belongs to.
    pub(crate) fn tally(&mut self, sender: Sender) -> &mut Tally {
        match sender {
            Sender::Client(_) => &mut self.clients,
            Sender::Hog(_) => &mut self.hogs,
        }
    }
}

/// What one group of clients (the ordinary ones, or the hogs) got.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Frames whose right answer came in its place.
    pub(crate) verified: u64,
    /// Frames that ended in `ERR server busy` without being a failure.
    pub(crate) refused: u64,
    /// `ERR server busy` answers, retried or not.
    pub(crate) busy_answers: u64,
    /// Tries after a first one.
    pub(crate) retries: u64,
    /// From written to answered, of verified frames (of a retried one: its last try).
    pub(crate) latencies: Latencies,
    /// From written to `ERR server busy`.
    pub(crate) busy_latencies: Latencies,
    /// When the last answer came.
    pub(crate) last_answer: Option<Instant>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            verified: 0,
            refused: 0,
            busy_answers: 0,
            retries: 0,
            latencies: Latencies::new(),
            busy_latencies: Latencies::new(),
            last_answer: None,
        }
    }
}
