//! The way of each request through the engine, for the log at trace.
//!
//! Knows no requests but by their numbers.
//!
//! Rule: where nobody reads it, it costs one check for a whole run.

use crate::log::trace;
use crate::task::{ConnectionId, Span};
use tracing::{Level, enabled};

/// What all of the engine's events are logged under.
const TARGET: &str = "reactor_pool::engine";

/// Says of each of these requests what became of it.
#[inline(always)]
pub(super) fn trace_each(id: ConnectionId, span: Span, what: &'static str) {
    if enabled!(target: TARGET, Level::TRACE) {
        write_each(id, span, what);
    }
}

#[cold]
fn write_each(id: ConnectionId, span: Span, what: &'static str) {
    for sequence in span.sequences() {
        trace!(target: TARGET, conn = %id, seq = %sequence, "{what}");
    }
}
