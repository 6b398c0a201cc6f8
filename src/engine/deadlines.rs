//! What time does to connections: busy refusals, idle goodbyes, the end of lingering.
//!
//! Knows no clock: it is handed `now`, and says when it wants to be called again.
//!
//! Rule: each connection has at most one entry in the deadlines. It may be early, since progress moves
//! deadlines back without touching it, and is then set anew; it is never late. And nobody is called
//! idle before what had come from it is read, and what it has taken is known.

use super::connection::{LOOKS_PER_TIMEOUT, Phase};
use super::{Engine, SocketQueues, find};
use crate::log::trace;
use crate::task::ConnectionId;
use crate::wire::ErrorLine;
use std::time::Instant;

impl Engine {
    /// When [`Engine::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Refuses and closes what is due; says how many requests it refused as busy. Asks `kernel` about
    /// the sockets of those whose clock runs. O(log n) for each connection that is looked at.
    pub fn expire(
        &mut self,
        now: Instant,
        mut kernel: impl FnMut(ConnectionId) -> SocketQueues,
    ) -> usize {
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
        let budget_spent = self.is_budget_spent();
        let mut refused = 0;
        for id in due {
            refused += self.look_at_deadlines(id, budget_spent, now, &mut kernel);
            self.arm(id, now);
        }
        refused
    }

    fn look_at_deadlines(
        &mut self,
        id: ConnectionId,
        budget_spent: bool,
        now: Instant,
        kernel: &mut impl FnMut(ConnectionId) -> SocketQueues,
    ) -> usize {
        let connection = &mut self.connections[id.slot()];
        if connection.may_be_taking() {
            connection.note_unacknowledged(kernel(id).unacknowledged, now);
        }
        let lingers_until = match connection.phase {
            Phase::Ending { by } => by,
            Phase::Lingering { .. } => connection.linger_deadline(),
            Phase::Serving | Phase::Over { .. } => None,
        };
        if lingers_until.is_some_and(|by| by <= now) {
            let why = "lingered for too long";
            connection.phase = Phase::Over { why };
            self.settled(id, false);
        } else if connection.order.waiting() > 0 {
            connection.idle_unless = None;
            return self.refuse_overdue(id, now);
        } else if connection.phase == Phase::Serving {
            self.close_if_idle(id, budget_spent, now, kernel);
        }
        0
    }

    /// Refuses the waiting requests whose time is over; says how many.
    fn refuse_overdue(&mut self, id: ConnectionId, now: Instant) -> usize {
        let connection = &mut self.connections[id.slot()];
        let mut refused = 0;
        while connection
            .busy_deadline(&self.rules.config)
            .is_some_and(|deadline| deadline <= now)
        {
            let Some((first, requests)) = connection.order.refuse(&ErrorLine::Busy.to_line(), now)
            else {
                break;
            };
            refused += requests;
            for sequence in first.run(requests) {
                trace!(conn = %id, seq = %sequence, "refused: busy");
            }
        }
        self.stats.refused_busy += refused as u64;
        self.stats.waiting.down(refused);
        if connection.order.waiting() == 0 {
            self.admission.leave(connection.last_turn);
        }
        self.advance(id, now);
        refused
    }

    fn close_if_idle(
        &mut self,
        id: ConnectionId,
        budget_spent: bool,
        now: Instant,
        kernel: &mut impl FnMut(ConnectionId) -> SocketQueues,
    ) {
        let config = &self.rules.config;
        let connection = &mut self.connections[id.slot()];
        let idle_by = connection.last_progress + config.idle_timeout;
        let is_idle = connection.order.is_empty() && idle_by <= now;
        if !is_idle || config.idle_timeout.is_zero() {
            connection.idle_unless = None;
            return;
        }
        if connection.may_read(config) && (connection.outbox.is_empty() || !budget_spent) {
            match connection.idle_unless {
                None => {
                    let unread = kernel(id).unread;
                    connection.idle_unless = Some(u32::try_from(unread).unwrap_or(u32::MAX));
                    return self.attend(id);
                }
                Some(1..) => return self.attend(id),
                Some(0) => {}
            }
        }
        self.stats.idle_closed += 1;
        if connection.outbox.is_empty() {
            self.farewell(id, ErrorLine::IdleTimeout, now);
        } else {
            // It does not take what it has been sent, so it will not take the error either.
            connection.phase = Phase::Over { why: "idle" };
            self.settled(id, false);
        }
    }

    /// There is something for the client to take: sees to it that somebody looks soon whether it does.
    #[inline]
    pub(super) fn watch_taking(&mut self, id: ConnectionId, now: Instant) {
        let look = now + self.rules.config.idle_timeout / LOOKS_PER_TIMEOUT;
        let connection = &self.connections[id.slot()];
        if connection.may_be_taking() && connection.armed.is_none_or(|at| at > look) {
            self.arm(id, now);
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
