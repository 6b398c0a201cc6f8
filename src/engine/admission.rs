//! Decides who gets the next queue slot, and notes who has begun to wait.
//!
//! Knows no sockets and no queue; of requests only that a connection has some waiting.
//!
//! Rule: one slot per connection per round, and who has gone longest without a slot comes first.

use crate::task::ConnectionId;
use std::collections::BTreeMap;

/// When a connection last had its turn, as a count of turns. No two are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

/// The connections that have a request waiting for a slot.
///
/// A connection that joins is put where its last turn belongs, not behind all others: one that was
/// refused and asks again would otherwise start over each time, and those that happen to ask first
/// after each wave of refusals would get every slot. O(log n) for each operation.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Each connection once, by last turn; the next to get a slot first.
    round: BTreeMap<Turn, ConnectionId>,
    turns: u64,
    /// Those that joined the round since [`Admission::newcomer`] last said so; some may have left it.
    newcomers: Vec<ConnectionId>,
}

impl Admission {
    pub(super) fn is_empty(&self) -> bool {
        self.round.is_empty()
    }

    /// Connections in the round.
    pub(super) fn len(&self) -> usize {
        self.round.len()
    }

    /// A turn later than all before: for a connection that has just got a slot, or just arrived.
    pub(super) fn new_turn(&mut self) -> Turn {
        self.turns += 1;
        Turn(self.turns)
    }

    /// A connection has something waiting: it had nothing, or it has just had its turn.
    pub(super) fn join(&mut self, last: Turn, id: ConnectionId) {
        self.round.insert(last, id);
    }

    /// A connection that had nothing waiting now has: somebody will have to watch its deadline.
    pub(super) fn join_new(&mut self, last: Turn, id: ConnectionId) {
        self.join(last, id);
        self.newcomers.push(id);
    }

    /// Whose turn it is. It has left the round, and comes back by [`Admission::join`].
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        self.round.pop_first().map(|(_, id)| id)
    }

    /// A connection has nothing waiting any more, without having had its turn.
    pub(super) fn leave(&mut self, last: Turn) {
        self.round.remove(&last);
    }

    /// The next connection that began to wait: somebody has to watch its deadline, unless it has
    /// had its slots in the meantime.
    pub(super) fn newcomer(&mut self) -> Option<ConnectionId> {
        self.newcomers.pop()
    }

    /// Who is in the round, in its order.
    pub(super) fn members(&self) -> impl Iterator<Item = ConnectionId> {
        self.round.values().copied()
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
            assert!(admission.is_empty());
        }
    }
}
