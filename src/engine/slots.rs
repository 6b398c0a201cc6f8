//! Gives queue slots to requests that wait, and says whether any do.
//!
//! Knows no queue: how many slots are free it is told, and what gets one it hands over.
//!
//! Rule: no slot stays free while a request waits, and whose turn it is, [`Admission`](super::admission::Admission) says.

use super::connection::ReadPause;
use super::trace::trace_each;
use super::{Engine, find};
use crate::task::{ConnectionId, Task};
use std::time::Instant;

impl Engine {
    /// Whether a request waits for a queue slot.
    pub fn has_waiting(&self) -> bool {
        self.stats.waiting.now > 0
    }

    /// Gives `room` queue slots to requests that wait, as far as there are any: passes them to `push` as
    /// tasks, with the flow that takes turns for each.
    ///
    /// Turns go round: at its turn a connection gets slots for one run, or for the part of it that
    /// there is room for.
    pub fn submit(&mut self, mut room: usize, now: Instant, mut push: impl FnMut(usize, Task)) {
        if self.admission.len() > 0 || (room as u64) < self.stats.waiting.now {
            self.line_up(now);
        }
        self.admission.sort_newcomers();
        while let Some(id) = self.newcomer() {
            room -= self.give_turn(id, room, now, &mut push);
        }
        while room > 0
            && let Some(id) = self.admission.next()
        {
            room -= self.give_turn(id, room, now, &mut push);
        }
    }

    /// Those that have arrived stand in the round from now on, and somebody watches how long.
    pub(super) fn line_up(&mut self, now: Instant) {
        while let Some(id) = self.newcomer() {
            let last_turn = self.connections[id.slot()].last_turn;
            self.admission.join(last_turn, id);
            self.arm(id, now);
        }
    }

    /// The next that has arrived, if it has not gone or been refused since.
    fn newcomer(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.admission.newcomer() {
            if find(&mut self.connections, id).is_some_and(|c| c.order.waiting() > 0) {
                return Some(id);
            }
        }
        None
    }

    /// Gives slots to the next waiting run of a connection, `room` at most; says how many it took.
    fn give_turn(
        &mut self,
        id: ConnectionId,
        room: usize,
        now: Instant,
        push: &mut impl FnMut(usize, Task),
    ) -> usize {
        let connection = &mut self.connections[id.slot()];
        debug_assert_eq!(
            connection.id, id,
            "a connection leaves the round when it is removed"
        );
        let run = connection.order.submit(room, now);
        let run = run.expect("who has a turn has a request that waits");
        let requests = run.requests;
        self.stats.waiting_time.record(run.framed_at, now, requests);
        self.stats.waiting.down(requests);
        self.stats.submitted.up(requests);
        trace_each(id, run.first, requests, "queued");
        let task = Task {
            connection: id,
            first: run.first,
            requests,
            lines: run.lines,
            is_quick: run.is_quick,
        };
        push(id.slot(), task);
        connection.last_slot_at = now;
        connection.last_turn = self.admission.new_turn();
        if connection.order.waiting() > 0 {
            self.admission.join(connection.last_turn, id);
        } else if connection.read_pause != ReadPause::None {
            self.settled(id, true);
        }
        requests
    }
}
