//! Decides who gets the next queue slot, and notes who has begun to wait.
//!
//! Knows no sockets and no queue; of requests only that a connection has some waiting.
//!
//! Rule: one slot per connection per round.

use crate::task::ConnectionId;
use std::collections::VecDeque;

/// The connections that have a request waiting for a slot.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Each once, the next to get a slot first.
    round: VecDeque<ConnectionId>,
    /// Those that joined the round since [`Admission::newcomer`] last said so; some may have left it.
    newcomers: Vec<ConnectionId>,
}

impl Admission {
    pub(super) fn is_empty(&self) -> bool {
        self.round.is_empty()
    }

    /// A connection that had nothing waiting now has.
    pub(super) fn join(&mut self, id: ConnectionId) {
        self.round.push_back(id);
        self.newcomers.push(id);
    }

    /// Whose turn it is. It has left the round, and comes back by [`Admission::stay`].
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        self.round.pop_front()
    }

    /// A connection that had its turn has more waiting: it goes behind all others.
    pub(super) fn stay(&mut self, id: ConnectionId) {
        self.round.push_back(id);
    }

    /// A connection has nothing waiting any more, without having had its turn. Linear in the
    /// connections that wait; it takes a refusal or a reset to get here.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        self.round.retain(|other| *other != id);
    }

    /// The next connection that began to wait: somebody has to watch its deadline, unless it has
    /// had its slots in the meantime.
    pub(super) fn newcomer(&mut self) -> Option<ConnectionId> {
        self.newcomers.pop()
    }

    /// Who is in the round, in its order.
    pub(super) fn members(&self) -> impl Iterator<Item = ConnectionId> {
        self.round.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u64) -> ConnectionId {
        ConnectionId::new(serial, serial as usize)
    }

    #[test]
    fn slots_go_round() {
        let mut admission = Admission::default();
        (1..=3).for_each(|n| admission.join(id(n)));
        let mut got = Vec::new();
        for _ in 0..5 {
            let next = admission.next().expect("three wait");
            got.push(next.serial());
            admission.stay(next);
        }
        assert_eq!(got, [1, 2, 3, 1, 2]);
        admission.leave(id(3));
        assert_eq!(admission.next(), Some(id(1)));
        assert_eq!(admission.next(), Some(id(2)));
        assert!(admission.is_empty());
    }
}
