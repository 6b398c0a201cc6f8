//! Decides who gets the next queue slot, and notes who has begun to wait.
//!
//! Knows no sockets and no queue; of requests only how many wait.
//!
//! Rule: one turn for each connection in a round, and whoever has gone longest without one is first.

use crate::task::ConnectionId;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

/// When a connection last had its turn: its place in the round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// A count of turns. No two connections have the same.
    turn: u64,
    last_slot_at: Instant,
}

impl Ticket {
    /// When its connection last got a queue slot, or opened.
    pub(super) fn last_slot_at(self) -> Instant {
        self.last_slot_at
    }
}

/// The connections that have a request waiting for a slot, in a fair queue.
///
/// Each has its turn where its last one belongs, not behind all others. Otherwise a connection that
/// was refused and asks again would start over each time, and those that happen to ask first after
/// each wave of refusals would get every slot. O(log n) for each operation on the round; most
/// connections never stand in it, for where there are slots for all, newcomers get theirs at once.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Each connection at most once, by its last turn; the next to get a slot first.
    round: BTreeMap<u64, ConnectionId>,
    turns: u64,
    /// Those that have begun to wait since slots were last given out, with their last turns; some
    /// may have gone.
    newcomers: Vec<(u64, ConnectionId)>,
    /// Requests that wait, of all connections.
    waiting: usize,
}

impl Admission {
    /// Requests that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether connections wait for their turn.
    pub(super) fn has_round(&self) -> bool {
        !self.round.is_empty()
    }

    /// A ticket behind all others: for a connection that has just got a slot, or just opened.
    pub(super) fn ticket(&mut self, now: Instant) -> Ticket {
        self.turns += 1;
        Ticket {
            turn: self.turns,
            last_slot_at: now,
        }
    }

    /// So many requests of a connection have begun to wait; `is_first` says that it had none waiting.
    pub(super) fn arrive(
        &mut self,
        requests: usize,
        is_first: bool,
        ticket: Ticket,
        id: ConnectionId,
    ) {
        self.waiting += requests;
        if is_first {
            self.newcomers.push((ticket.turn, id));
        }
    }

    /// So many requests wait no more.
    pub(super) fn settle(&mut self, requests: usize) {
        self.waiting -= requests;
    }

    /// Puts newcomers in the order of their turns.
    pub(super) fn sort_newcomers(&mut self) {
        self.newcomers
            .sort_unstable_by_key(|(turn, _)| Reverse(*turn));
    }

    /// The next newcomer: it gets all it wants, or joins the round.
    pub(super) fn newcomer(&mut self) -> Option<ConnectionId> {
        self.newcomers.pop().map(|(_, id)| id)
    }

    /// A connection stands in the round, or does so again.
    pub(super) fn join(&mut self, ticket: Ticket, id: ConnectionId) {
        self.round.insert(ticket.turn, id);
    }

    /// Whose turn it is. It has left the round, and comes back by [`Admission::join`].
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        self.round.pop_first().map(|(_, id)| id)
    }

    /// A connection has nothing waiting any more, without having had its turn.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.round.remove(&ticket.turn);
    }

    /// Recounts. `waiting` are the connections that have requests waiting, and how many.
    pub(super) fn check_invariants(&self, waiting: &BTreeMap<ConnectionId, usize>) {
        assert_eq!(self.waiting, waiting.values().sum::<usize>());
        let newcomers = self.newcomers.iter().map(|(_, id)| id);
        let known = self.round.values().chain(newcomers);
        let known = known.filter(|id| waiting.contains_key(id));
        let known: std::collections::BTreeSet<_> = known.collect();
        assert!(
            known.into_iter().eq(waiting.keys()),
            "whoever waits is known"
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
    /// their last turns.
    fn give(admission: &mut Admission, last: &mut [Ticket], slots: usize) -> Vec<u64> {
        let mut got = Vec::new();
        for _ in 0..slots {
            let next = admission.next().expect("somebody waits");
            got.push(next.serial());
            last[next.slot()] = admission.ticket(Instant::now());
            admission.join(last[next.slot()], next);
        }
        got
    }

    #[test]
    fn slots_go_round() {
        let mut admission = Admission::default();
        let mut last: Vec<Ticket> = (0..3).map(|_| admission.ticket(Instant::now())).collect();
        (0..3).for_each(|n| admission.join(last[n as usize], id(n)));
        assert_eq!(give(&mut admission, &mut last, 5), [0, 1, 2, 0, 1]);
        admission.leave(last[2]);
        assert_eq!(give(&mut admission, &mut last, 3), [0, 1, 0]);
    }

    #[test]
    fn a_connection_that_was_refused_and_asks_again_keeps_its_place() {
        let mut admission = Admission::default();
        let mut last: Vec<Ticket> = (0..4).map(|_| admission.ticket(Instant::now())).collect();
        for wave in 0..4 {
            // Everybody asks in the same order, one gets a slot, the others are refused.
            (0..4).for_each(|n| admission.join(last[n as usize], id(n)));
            assert_eq!(give(&mut admission, &mut last, 1), [wave]);
            last.iter().for_each(|last| admission.leave(*last));
            assert!(!admission.has_round());
        }
    }
}
