//! A frame on its way: which try of it, and since when.
//!
//! Knows times and places in the stream; not whose frame it is, nor what its answer is.
//!
//! Rule: a frame keeps the time that it was meant for, however often it is sent.

use std::ops::Range;
use std::time::Instant;

use crate::figures::ledger::Times;
use crate::load::mix::Operation;

/// A frame, and how often it has been sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Try {
    /// The frame's number.
    pub(crate) sequence: u32,
    /// What it asks for, where there is a choice.
    pub(crate) operation: Option<Operation>,
    /// When it was meant to be sent for the first time: in an open loop by the timetable, in a
    /// closed one as soon as there was room for it.
    pub(crate) intended: Instant,
    /// 0 for the first try.
    pub(crate) earlier_tries: u32,
}

/// A frame that was sent and whose answer is due.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// Which, and which try of it.
    pub(crate) what: Try,
    /// Where it is among the connection's outgoing bytes.
    pub(crate) place: Range<u64>,
    /// When it was queued for writing, and then when its last byte was handed to the kernel.
    pub(crate) sent: Instant,
    /// It shuts the sending side down, so it cannot be refused: it never becomes a request.
    pub(crate) ends_stream: bool,
}

impl InFlight {
    /// When it was meant to be sent, and when it was.
    pub(crate) fn times(&self) -> Times {
        Times {
            operation: self.what.operation,
            intended: self.what.intended,
            written: self.sent,
        }
    }
}

/// A frame that was refused and waits until it is sent again.
#[derive(Debug)]
pub(crate) struct Retry {
    /// The try to come.
    pub(crate) what: Try,
    /// When it is due.
    pub(crate) due: Instant,
}
