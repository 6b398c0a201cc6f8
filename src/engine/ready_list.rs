//! The connections that the reactor has to serve, each once.
//!
//! Knows nothing of why.
//!
//! Rule: a connection stands on the list exactly while its [`Listed`] says so.

use crate::task::ConnectionId;
use std::collections::VecDeque;

/// Whether a connection stands on the list.
#[derive(Debug, Default)]
pub(super) struct Listed(bool);

impl Listed {
    /// [`ReadyList::next`] has named its connection.
    pub(super) fn clear(&mut self) {
        self.0 = false;
    }
}

#[derive(Debug, Default)]
pub(super) struct ReadyList(VecDeque<ConnectionId>);

impl ReadyList {
    /// Puts a connection on the list, at its end.
    pub(super) fn mark(&mut self, id: ConnectionId, listed: &mut Listed) {
        if !std::mem::replace(&mut listed.0, true) {
            self.0.push_back(id);
        }
    }

    /// The first of the list, which leaves it: its mark is to be cleared, unless it has gone
    /// since.
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        self.0.pop_front()
    }

    /// How many stand on it; those that have gone since count, too.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn check_invariants<'a>(
        &self,
        connections: impl Iterator<Item = (ConnectionId, &'a Listed)>,
    ) {
        for (id, listed) in connections {
            let times = self.0.iter().filter(|other| **other == id).count();
            assert_eq!(times, usize::from(listed.0), "{id:?} is on the list once");
        }
    }
}
