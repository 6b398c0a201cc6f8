//! Decides who gets the next queue slot, and notes who has begun to wait.
//!
//! Knows no sockets and no queue; of requests only that a connection has some waiting.
//!
//! Rule: one turn per connection per round, and who has gone longest without one comes first.

use crate::task::ConnectionId;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// When a connection last had its turn, as a count of turns. No two are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

/// The connections that have a request waiting for a slot.
///
/// Each has its turn where its last one belongs, not behind all others: one that was
/// refused and asks again would otherwise start over each time, and those that happen to ask first
/// after each wave of refusals would get every slot. O(log n) for each operation on the round; most connections never
/// stand in it, for where there are slots for all, those that have arrived get theirs at once.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Each connection at most once, by last turn; the next to get a slot first.
    round: BTreeMap<Turn, ConnectionId>,
    turns: u64,
    /// Those that have begun to wait since slots were last given out, with their last turns; some may have ended.
    newcomers: Vec<(Turn, ConnectionId)>,
}

impl Admission {
    /// Connections in the round.
    pub(super) fn len(&self) -> usize {
        self.round.len()
    }

    /// A turn later than all before: for a connection that has just got a slot, or just arrived.
    pub(super) fn new_turn(&mut self) -> Turn {
        self.turns += 1;
        Turn(self.turns)
    }

    /// A connection that had nothing waiting now has.
    pub(super) fn arrive(&mut self, last: Turn, id: ConnectionId) {
        self.newcomers.push((last, id));
    }

    /// Puts those that have arrived in the order of their turns.
    pub(super) fn sort_newcomers(&mut self) {
        self.newcomers
            .sort_unstable_by_key(|(last, _)| Reverse(*last));
    }

    /// The next of those that have arrived: it gets all it wants, or joins the round.
    pub(super) fn newcomer(&mut self) -> Option<ConnectionId> {
        self.newcomers.pop().map(|(_, id)| id)
    }

    /// A connection stands in the round, or does so again.
    pub(super) fn join(&mut self, last: Turn, id: ConnectionId) {
        self.round.insert(last, id);
    }

    /// Whose turn it is. It has left the round, and comes back by [`Admission::join`].
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        self.round.pop_first().map(|(_, id)| id)
    }

    /// A connection has nothing waiting any more, without having had its turn.
    pub(super) fn leave(&mut self, last: Turn) {
        self.round.remove(&last);
    }

    /// Who is in the round, in its order, and who has arrived.
    pub(super) fn members(&self) -> impl Iterator<Item = ConnectionId> {
        let newcomers = self.newcomers.iter().map(|(_, id)| id);
        self.round.values().chain(newcomers).copied()
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
    fn give(admission: &mut Admission, last: &mut [Turn], slots: usize) -> Vec<u64> {
        let mut got = Vec::new();
        for _ in 0..slots {
            let next = admission.next().expect("somebody waits");
            got.push(next.serial());
            last[next.slot()] = admission.new_turn();
            admission.join(last[next.slot()], next);
        }
        got
    }

    #[test]
    fn slots_go_round() {
        let mut admission = Admission::default();
        let mut last: Vec<Turn> = (0..3).map(|_| admission.new_turn()).collect();
        (0..3).for_each(|n| admission.join(last[n as usize], id(n)));
        assert_eq!(give(&mut admission, &mut last, 5), [0, 1, 2, 0, 1]);
        admission.leave(last[2]);
        assert_eq!(give(&mut admission, &mut last, 3), [0, 1, 0]);
    }

    #[test]
    fn who_was_refused_and_asks_again_keeps_its_place() {
        let mut admission = Admission::default();
        let mut last: Vec<Turn> = (0..4).map(|_| admission.new_turn()).collect();
        for wave in 0..4 {
            // Everybody asks in the same order, one gets a slot, the others are refused.
            (0..4).for_each(|n| admission.join(last[n as usize], id(n)));
            assert_eq!(give(&mut admission, &mut last, 1), [wave]);
            last.iter().for_each(|last| admission.leave(*last));
            assert_eq!(admission.len(), 0);
        }
    }
}
