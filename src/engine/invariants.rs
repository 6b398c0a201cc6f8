//! What always holds of the engine's state, for tests.
//!
//! Knows every field of the engine; no one calls it in a running server.
//!
//! Rule: each number that is kept up to date step by step is counted anew here.

use super::Engine;
use super::connection::{Connection, ReadPause};
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
        assert_eq!(self.buffered_bytes, buffered);
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
        let mut round: Vec<_> = self.admission.members().collect();
        let mut wait: Vec<_> = connections()
            .filter(|c| c.order.waiting() > 0)
            .map(|connection| connection.id)
            .collect();
        round.sort_unstable();
        wait.sort_unstable();
        assert_eq!(round, wait, "whoever waits is in the round, once");
        let armed: BTreeSet<_> = connections()
            .filter_map(|c| c.armed.map(|at| (at, c.id)))
            .collect();
        assert_eq!(self.deadlines, armed);
        let paused = connections().filter(|c| c.read_pause == ReadPause::Budget);
        assert!(
            paused.map(|c| &c.id).collect::<BTreeSet<_>>() == self.budget_paused.iter().collect()
        );
        self.check_intake();
        let attended = connections()
            .filter(|connection| connection.attended)
            .count();
        assert!(attended <= self.attention.len());
    }
}
