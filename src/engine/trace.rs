//! The way of each request through the engine, for the log at trace.
//!
//! Knows no requests but by their numbers.
//!
//! Rule: where nobody reads it, it costs one look for a whole run.

use crate::log::trace;
use crate::task::{ConnectionId, Sequence};
use tracing::{Level, enabled};

/// What all of the engine's steps are logged under.
const TARGET: &str = "reactor_pool::engine";

/// Says of each of these requests what became of it.
#[inline(always)]
pub(super) fn trace_each(id: ConnectionId, first: Sequence, requests: usize, what: &'static str) {
    if enabled!(target: TARGET, Level::TRACE) {
        write_each(id, first, requests, what);
    }
}

#[cold]
fn write_each(id: ConnectionId, first: Sequence, requests: usize, what: &'static str) {
    for sequence in first.run(requests) {
        trace!(target: TARGET, conn = %id, seq = %sequence, "{what}");
    }
}
