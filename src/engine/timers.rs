//! When each connection is due, though nothing happens to it.
//!
//! Knows no clock and no meaning of a deadline.
//!
//! Rule: each connection has at most one timer. It may be early, since progress moves deadlines
//! back without touching it, and is then set anew; it is never late.

use crate::task::ConnectionId;
use std::collections::BTreeSet;
use std::time::Instant;

/// The timer of a connection, if it has one.
#[derive(Debug, Default)]
pub(super) struct Armed(Option<Instant>);

impl Armed {
    /// Whether there is one that is due at that time, or before.
    pub(super) fn is_due_by(&self, at: Instant) -> bool {
        self.0.is_some_and(|due| due <= at)
    }
}

/// All of them, the next one first; O(log n) for each change.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, ConnectionId)>);

impl Timers {
    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out the next one, if it is due. Its connection has none then.
    pub(super) fn take_due<'a>(
        &mut self,
        now: Instant,
        armed: impl FnOnce(ConnectionId) -> &'a mut Armed,
    ) -> Option<ConnectionId> {
        let (at, id) = self.0.first().copied().filter(|(at, _)| *at <= now)?;
        self.0.remove(&(at, id));
        *armed(id) = Armed(None);
        Some(id)
    }

    /// Sees to it that the timer of a connection is due `at` that time, at the latest.
    #[inline]
    pub(super) fn arm(&mut self, id: ConnectionId, armed: &mut Armed, at: Instant) {
        if !armed.is_due_by(at) {
            self.set(id, armed, at);
        }
    }

    #[cold]
    fn set(&mut self, id: ConnectionId, armed: &mut Armed, at: Instant) {
        self.disarm(id, armed);
        armed.0 = Some(at);
        self.0.insert((at, id));
    }

    pub(super) fn disarm(&mut self, id: ConnectionId, armed: &mut Armed) {
        if let Some(at) = armed.0.take() {
            self.0.remove(&(at, id));
        }
    }

    pub(super) fn check_invariants<'a>(
        &self,
        connections: impl Iterator<Item = (ConnectionId, &'a Armed)>,
    ) {
        let armed = connections.filter_map(|(id, armed)| armed.0.map(|at| (at, id)));
        assert_eq!(self.0, armed.collect());
    }
}
