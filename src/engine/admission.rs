//! Decides which connection gets the next queue slot.
//!
//! Knows no sockets and no queue; of requests only how many wait.
//!
//! Rule: the connection that has gone longest without a slot is first.

use crate::task::ConnectionId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The place of a connection in the fair queue: when it last got a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// Tickets are numbered as they are given; no two connections have the same.
    number: u64,
    last_slot_at: Instant,
}

impl Ticket {
    /// When its connection last got a queue slot, or opened.
    pub(super) fn last_slot_at(self) -> Instant {
        self.last_slot_at
    }
}

/// The connections that have a request waiting for a slot.
///
/// A connection keeps its ticket until it gets a slot, also while it has nothing waiting.
/// Otherwise one that was refused and asks again would start over each time, and those that happen
/// to ask first after each wave of refusals would get every slot. O(log n) for each operation on
/// the fair queue; most connections never stand in it, for where there are slots for all,
/// newcomers get theirs at once.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Each connection at most once, by the number of its ticket; the next to get a slot first.
    fair_queue: BTreeMap<u64, ConnectionId>,
    tickets: u64,
    /// Connections that have begun to wait since slots were last given out, with the numbers of
    /// their tickets; some may have gone.
    newcomers: Vec<(u64, ConnectionId)>,
    /// Requests that wait, of all connections.
    waiting: usize,
    /// Requests that have got their slots, and are queued, running, or on their way back.
    submitted: usize,
}

impl Admission {
    /// Requests that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Requests that are queued, running, or on their way back.
    pub(super) fn submitted(&self) -> usize {
        self.submitted
    }

    /// That many requests have come back, or were taken back.
    pub(super) fn come_back(&mut self, requests: usize) {
        self.submitted -= requests;
    }

    /// That many requests of a connection got their slots. Returns its next ticket: behind all
    /// others.
    pub(super) fn submit(&mut self, requests: usize, now: Instant) -> Ticket {
        self.submitted += requests;
        self.ticket(now)
    }

    /// Whether connections stand in the fair queue.
    pub(super) fn has_queue(&self) -> bool {
        !self.fair_queue.is_empty()
    }

    /// A ticket behind all others, for a connection that has just opened.
    pub(super) fn ticket(&mut self, now: Instant) -> Ticket {
        self.tickets += 1;
        Ticket {
            number: self.tickets,
            last_slot_at: now,
        }
    }

    /// A connection has another number of requests waiting than before.
    pub(super) fn recount(
        &mut self,
        before: usize,
        after: usize,
        ticket: Ticket,
        id: ConnectionId,
    ) {
        self.waiting = self.waiting - before + after;
        if before == 0 && after > 0 {
            self.newcomers.push((ticket.number, id));
        } else if before > 0 && after == 0 {
            self.fair_queue.remove(&ticket.number);
        }
    }

    /// Puts newcomers in the order of their tickets.
    pub(super) fn sort_newcomers(&mut self) {
        self.newcomers
            .sort_unstable_by_key(|(number, _)| Reverse(*number));
    }

    /// The next newcomer: it gets all it wants, or is queued.
    pub(super) fn newcomer(&mut self) -> Option<ConnectionId> {
        self.newcomers.pop().map(|(_, id)| id)
    }

    /// Puts a connection into the fair queue.
    pub(super) fn enqueue(&mut self, ticket: Ticket, id: ConnectionId) {
        self.fair_queue.insert(ticket.number, id);
    }

    /// Takes the next connection out of the fair queue.
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        self.fair_queue.pop_first().map(|(_, id)| id)
    }

    /// Recounts. `waiting` are the connections that have requests waiting, and how many.
    pub(super) fn check_invariants(&self, waiting: &BTreeMap<ConnectionId, usize>) {
        assert_eq!(self.waiting, waiting.values().sum::<usize>());
        let queued: BTreeSet<_> = self.fair_queue.values().collect();
        assert_eq!(
            queued.len(),
            self.fair_queue.len(),
            "each stands there once"
        );
        assert!(queued.iter().all(|id| waiting.contains_key(id)));
        // Some of these may have gone, or got what they waited for.
        let newcomers = self.newcomers.iter().map(|(_, id)| id);
        let newcomers: BTreeSet<_> = newcomers.filter(|id| waiting.contains_key(id)).collect();
        assert!(queued.is_disjoint(&newcomers), "none has come twice");
        assert!(
            queued.union(&newcomers).copied().eq(waiting.keys()),
            "all that wait are known"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u64) -> ConnectionId {
        ConnectionId::new(serial, serial as usize)
    }

    /// Gives `slots` slots; all that get one have more waiting. Returns who got them, and updates
    /// their tickets.
    fn give(admission: &mut Admission, last: &mut [Ticket], slots: usize) -> Vec<u64> {
        let mut got = Vec::new();
        for _ in 0..slots {
            let next = admission.next().expect("one of them waits");
            got.push(next.serial());
            last[next.slot()] = admission.ticket(Instant::now());
            admission.enqueue(last[next.slot()], next);
        }
        got
    }

    #[test]
    fn connections_get_slots_in_turn() {
        let mut admission = Admission {
            waiting: 100,
            ..Admission::default()
        };
        let mut last: Vec<Ticket> = (0..3).map(|_| admission.ticket(Instant::now())).collect();
        (0..3).for_each(|n| admission.enqueue(last[n as usize], id(n)));
        assert_eq!(give(&mut admission, &mut last, 5), [0, 1, 2, 0, 1]);
        admission.recount(1, 0, last[2], id(2));
        assert_eq!(give(&mut admission, &mut last, 3), [0, 1, 0]);
    }

    #[test]
    fn a_connection_that_was_refused_and_asks_again_keeps_its_place() {
        let mut admission = Admission {
            waiting: 100,
            ..Admission::default()
        };
        let mut last: Vec<Ticket> = (0..4).map(|_| admission.ticket(Instant::now())).collect();
        for wave in 0..4 {
            // Everybody asks in the same order, one gets a slot, the others are refused.
            (0..4).for_each(|n| admission.enqueue(last[n as usize], id(n)));
            assert_eq!(give(&mut admission, &mut last, 1), [wave]);
            (0..4).for_each(|n| admission.recount(1, 0, last[n as usize], id(n)));
            assert!(!admission.has_queue());
        }
    }
}
