//! What all clients of a loop share: the right answers, and the account of what came.
//!
//! Knows no client and no connection.
//!
//! Rule: each event loop has a desk of its own, so nobody waits for it.

use crate::check::expectations::Expectations;
use crate::check::sent::Sent;
use crate::figures::ledger::Ledger;
use crate::load::plan::Plan;

/// What one read takes at most.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// What all clients of a loop share.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Requests and right answers.
    pub(crate) expectations: Expectations,
    /// The account of the run.
    pub(crate) ledger: Ledger,
    /// [`READ_BYTES`] for whoever reads.
    pub(crate) read_buffer: Vec<u8>,
}

impl Desk {
    /// The desk of `plan`, in which so much has been `sent` by all loops.
    pub(crate) fn new(plan: &Plan, sent: Sent, ledger: Ledger) -> Self {
        Self {
            expectations: Expectations::new(plan, sent),
            ledger,
            read_buffer: vec![0; READ_BYTES],
        }
    }
}
