//! A frame that did not get its right answer in its place, while it is open why.
//!
//! Whether an answer was dropped or only swapped, altered or preceded by a line too many, shows in
//! what follows. Knows the words for each case, not the connection.
//!
//! Rule: a doubt becomes exactly one failure, when its frame's own answer comes or none can come.

use std::time::{Duration, Instant};

use crate::check::failure::Kind;
use crate::drive::client::Try;

/// One frame in doubt.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// Which frame of its client.
    pub(crate) sequence: u32,
    /// When it was meant to be sent.
    pub(crate) intended: Instant,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// A later frame of the same client was answered first.
    Overtaken { by: u32 },
    /// A line came in its place that is not its answer.
    Replaced {
        kind: Kind,
        text: String,
        line: String,
    },
    /// Nothing came in time.
    Overdue { timeout: Duration, written: Instant },
}

impl Doubt {
    /// The answer to frame `by` came instead of the one to `what`.
    pub(crate) fn overtaken(what: Try, by: u32) -> Self {
        Self::new(what, Cause::Overtaken { by })
    }

    /// `line` (in quotes) came instead, a failure of `kind` that `text` tells.
    pub(crate) fn replaced(what: Try, kind: Kind, text: String, line: String) -> Self {
        Self::new(what, Cause::Replaced { kind, text, line })
    }

    /// Nothing came within `timeout` of `written`.
    pub(crate) fn overdue(what: Try, timeout: Duration, written: Instant) -> Self {
        Self::new(what, Cause::Overdue { timeout, written })
    }

    fn new(what: Try, cause: Cause) -> Self {
        Self {
            sequence: what.sequence,
            intended: what.intended,
            cause,
        }
    }

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
