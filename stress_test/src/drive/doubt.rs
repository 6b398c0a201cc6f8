//! A frame that did not get its right answer in its place, while it is open why.
//!
//! Whether an answer was dropped or only swapped, altered or preceded by a line too many, shows in
//! what follows. Knows the words for each case, not the connection.
//!
//! Rule: a doubt becomes exactly one failure, when its frame's own answer comes or none can come.

use std::time::{Duration, Instant};

use crate::check::failure::Kind;
use crate::drive::in_flight::Try;

/// One frame in doubt.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// The frame.
    pub(crate) what: Try,
    /// Why it is in doubt.
    pub(crate) cause: Cause,
}

/// Why a frame is in doubt.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The answer to a later frame of the same client came first.
    Overtaken {
        /// That frame.
        by: u32,
    },
    /// A line came in its place that is not its answer.
    Replaced {
        /// What failure that is.
        kind: Kind,
        /// What is said about it.
        text: String,
        /// The line, in quotes.
        line: String,
    },
    /// Nothing came in time.
    Overdue {
        /// Within so long.
        timeout: Duration,
        /// Of this moment.
        written: Instant,
    },
}

impl Doubt {
    /// What it was, now that the frame's own answer has come after all.
    pub(crate) fn answered(self, now: Instant) -> (Kind, String) {
        match self.cause {
            Cause::Overtaken { by } => {
                let text = format!("got the answer to frame {by}, its own came later");
                (Kind::Swapped, text)
            }
            Cause::Replaced {
                kind: Kind::Foreign,
                text,
                ..
            } => (Kind::Foreign, format!("{text}, its own came later")),
            Cause::Replaced { line, .. } => (
                Kind::Unexpected,
                format!("got {line} before its own answer"),
            ),
            Cause::Overdue { written, .. } => {
                let waited = now.saturating_duration_since(written).as_secs_f64();
                (
                    Kind::Missing,
                    format!("its answer came too late, after {waited:.1} s"),
                )
            }
        }
    }

    /// What it was, now that the frame's own answer cannot come any more.
    pub(crate) fn unanswered(self) -> (Kind, String) {
        match self.cause {
            Cause::Overtaken { by } => {
                let text = format!("no answer, the next one was the answer to frame {by}");
                (Kind::Missing, text)
            }
            Cause::Replaced { kind, text, .. } => (kind, text),
            Cause::Overdue { timeout, .. } => (
                Kind::Missing,
                format!("no answer within {} s", timeout.as_secs_f64()),
            ),
        }
    }
}
