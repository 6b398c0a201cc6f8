//! What the reactor has to do next with a connection, as PROTOCOL says it should.
//!
//! Knows of a connection what the oracle does.
//!
//! Rule: who may be read is read, and each reason for which one is not is counted.

use super::{Oracle, Phase};
use reactor_pool::engine::{Action, UNSENT_LIMIT_BYTES};

/// What the log says of a close is not looked at.
pub(crate) const CLOSE: Action = Action::Close { why: "" };

impl Oracle {
    /// What the reactor has to do next, once the unsent bytes have been offered to the socket.
    pub(crate) fn next_action(&mut self, readable: bool, budget_spent: bool) -> Action {
        match self.phase {
            Phase::Over => return CLOSE,
            Phase::Lingering { .. } if self.end_read => return CLOSE,
            Phase::Lingering {
                left_bytes: 1.., ..
            } if readable => return Action::Discard,
            Phase::Lingering { .. } => return Action::Wait,
            Phase::Header { .. } if self.end_read => return CLOSE,
            Phase::Header { .. } if readable || self.idle_unless.is_some() => {
                return Action::ReadHeader;
            }
            Phase::Header { .. } => return Action::Wait,
            Phase::Serving | Phase::Closing(_) => {}
        }
        let input_over = self.end_read || self.phase != Phase::Serving;
        if input_over && self.has_nothing_pending() && self.unframed.is_empty() {
            return if self.end_read {
                CLOSE
            } else {
                Action::ShutDown
            };
        }
        if input_over || !(readable || self.idle_unless.is_some()) {
            return Action::Wait;
        }
        if self.unsent_weight() > UNSENT_LIMIT_BYTES {
            self.counts.unsent_pauses += 1;
            return Action::Wait;
        }
        // Promises 4 and 5.
        if self.has_waiting() || !self.unframed.is_empty() || self.places.len() == self.max_inflight
        {
            self.counts.places_pauses += 1;
            return Action::Wait;
        }
        if budget_spent && !self.has_nothing_pending() {
            self.counts.budget_pauses += 1;
            return Action::Wait;
        }
        Action::Read
    }

    /// It is to be read before it is called idle, and nothing keeps it from being read.
    pub(crate) fn must_be_read(&mut self) -> bool {
        // A budget that is spent does not matter to who is owed nothing.
        let action = self.next_action(false, true);
        self.is_read_due && matches!(action, Action::Read | Action::ReadHeader)
    }
}
