//! What time does to connections: busy refusals, idle goodbyes, the end of lingering.
//!
//! Knows no clock: it is handed `now`, and says when it wants to be called again.
//!
//! Rule: each connection has at most one entry in the deadlines. It may be early, since progress moves
//! deadlines back without touching it, and is then set anew; it is never late.

use super::connection::Phase;
use super::{Engine, find};
use crate::task::ConnectionId;
use crate::wire::ErrorLine;
use std::time::Instant;
use tracing::trace;

impl Engine {
    /// When [`Engine::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let first = [self.deadlines.first(), self.put_off.first()];
        first.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Refuses and closes what is due. O(log n) for each connection that is looked at.
    pub fn expire(&mut self, now: Instant) {
        self.stats.waiting.note_peak();
        // Requests that got their slots in the turn in which they were framed never get here: only those left over are
        // worth a deadline.
        self.line_up(now);
        // Each connection once: what a refusal lets it frame is offered to the queue before it can be
        // refused in its turn.
        let mut due = Vec::new();
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            self.connections[id.slot()].armed = None;
            due.push(id);
        }
        for id in due {
            self.look_at_deadlines(id, now);
            self.arm(id, now);
        }
        self.review_intake(now);
    }

    fn look_at_deadlines(&mut self, id: ConnectionId, now: Instant) {
        let connection = &mut self.connections[id.slot()];
        if let Phase::Ending { by: Some(by) } | Phase::Lingering { by, .. } = connection.phase {
            if by <= now {
                let why = "lingered for too long";
                connection.phase = Phase::Over { why };
            }
            return self.settled(id, false);
        }
        let had_waiting = connection.order.waiting() > 0;
        while connection
            .busy_deadline(&self.rules.config)
            .is_some_and(|deadline| deadline <= now)
        {
            let Some((first, requests)) = connection.order.refuse(&ErrorLine::Busy.to_line(), now)
            else {
                break;
            };
            self.stats.refused_busy += requests as u64;
            self.stats.waiting.down(requests);
            for sequence in first.run(requests) {
                trace!(conn = %id, seq = %sequence, "refused: busy");
            }
        }
        if had_waiting {
            if connection.order.waiting() == 0 {
                self.admission.leave(connection.last_turn);
            }
            return self.advance(id, now);
        }
        let idle_by = connection.last_progress + self.rules.config.idle_timeout;
        let is_idle = connection.order.is_empty() && idle_by <= now;
        if is_idle && !self.rules.config.idle_timeout.is_zero() {
            self.stats.idle_closed += 1;
            if connection.outbox.is_empty() && connection.phase == Phase::Serving {
                self.farewell(id, ErrorLine::IdleTimeout, now);
            } else {
                // It does not take what it has been sent, so it will not take the error either.
                connection.phase = Phase::Over { why: "idle" };
                self.settled(id, false);
            }
        }
    }

    /// Sees to it that the connection is looked at no later than its next deadline.
    pub(super) fn arm(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let Some(deadline) = connection.deadline(&self.rules.config, now) else {
            return;
        };
        match connection.armed {
            Some(at) if at <= deadline => return,
            Some(at) => self.deadlines.remove(&(at, id)),
            None => false,
        };
        connection.armed = Some(deadline);
        self.deadlines.insert((deadline, id));
    }
}
