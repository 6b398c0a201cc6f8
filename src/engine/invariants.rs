//! What always holds of the engine's state, for tests.
//!
//! Knows every field of the engine; no one calls it in a running server.
//!
//! Rule: each number that is kept up to date step by step is counted anew here.

use super::Engine;
use crate::codec::Codec;
use crate::trace::TaskEnd;
use std::time::Duration;

impl<C: Codec> Engine<C> {
    /// Recounts what the fields claim; more than linear in everything. For tests.
    ///
    /// # Panics
    /// When a field disagrees.
    pub fn check_invariants(&self) {
        let connections = || self.connections.iter();
        connections().for_each(|connection| connection.check_invariants(&self.rules));
        let waiting = connections().map(|connection| (connection.id, connection.order.waiting()));
        let waiting = waiting.filter(|(_, requests)| *requests > 0);
        self.admission.check_invariants(&waiting.collect());
        self.timers
            .check_invariants(connections().map(|connection| (connection.id, &connection.armed)));
        // One that others of its address have kept waiting is looked at within a timeout.
        for connection in connections().filter(|connection| connection.address.is_none()) {
            // In a century no clock counts that stands, and so begins anew as long as time passes.
            let century = connection.opened_at() + Duration::from_secs(100 * 365 * 86_400);
            let deadline = connection.deadline(&self.rules.config, century);
            let is_in_time = deadline.is_none_or(|at| connection.armed.is_due_by(at));
            assert!(is_in_time, "the timer of {:?} is late", connection.id);
        }
        self.ready
            .check_invariants(connections().map(|connection| (connection.id, &connection.listed)));
        self.read_gate.check_invariants(connections());
        let refused = connections().filter(|connection| connection.is_refused);
        assert_eq!(self.refused, refused.count());
        let stats = &self.ledger.stats;
        let gauges = [
            &stats.connections,
            &stats.waiting,
            &stats.submitted,
            &stats.buffered,
        ];
        let counts = [
            self.connections.len(),
            self.admission.waiting(),
            self.admission.submitted(),
            self.read_gate.buffered(),
        ];
        assert_eq!(gauges.map(|gauge| gauge.now as usize), counts);
        let is_traced = self.rules.config.trace_tasks > 0;
        self.ledger.check_invariants(is_traced);
        if let Some((tasks, _)) = self.traced() {
            let waiting = tasks
                .iter()
                .filter(|task| task.queued_at.or(task.end.map(TaskEnd::at)).is_none());
            let requests: usize = waiting.map(|task| task.requests).sum();
            let without_slot = connections().map(|connection| connection.order.without_slot());
            assert_eq!(requests, without_slot.sum::<usize>());
        }
    }
}
