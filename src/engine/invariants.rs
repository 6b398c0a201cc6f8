//! What always holds of the engine's state, for tests.
//!
//! Knows every field of the engine; no one calls it in a running server.
//!
//! Rule: each number that is kept up to date step by step is counted anew here.

use super::Engine;
use super::connection::{Connection, ReadPause};
use crate::task::ConnectionId;
use std::collections::BTreeSet;

impl Engine {
    /// Recounts what the fields claim; linear in everything. For tests.
    ///
    /// # Panics
    /// When a field disagrees.
    pub fn check_invariants(&self) {
        let connections = || self.connections.iter().map(|(_, connection)| connection);
        connections().for_each(|connection| connection.check_invariants(&self.rules.config));
        let buffered: usize = connections().map(Connection::buffered_bytes).sum();
        assert_eq!(self.stats.buffered.now, buffered as u64);
        let waiting: usize = connections()
            .map(|connection| connection.order.waiting())
            .sum();
        assert_eq!(self.stats.waiting.now, waiting as u64);
        assert_eq!(
            self.refused,
            connections()
                .filter(|connection| connection.refused)
                .count()
        );
        let waits = |id: &ConnectionId| {
            let connection = self.connections.get(id.slot());
            connection.is_some_and(|c| c.id == *id && c.order.waiting() > 0)
        };
        let known: BTreeSet<_> = self.admission.members().filter(waits).collect();
        let wait = connections().map(|c| c.id).filter(waits).collect();
        assert_eq!(known, wait, "whoever waits is in the round, or has arrived");
        let armed: BTreeSet<_> = connections()
            .filter_map(|c| c.armed.map(|at| (at, c.id)))
            .collect();
        assert_eq!(self.deadlines, armed);
        let paused = connections().filter(|c| c.read_pause == ReadPause::Budget);
        assert!(
            paused.map(|c| &c.id).collect::<BTreeSet<_>>() == self.budget_paused.iter().collect()
        );
        let attended = connections()
            .filter(|connection| connection.attended)
            .count();
        assert!(attended <= self.attention.len());
    }
}
