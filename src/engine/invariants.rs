//! What always holds of the engine's state, for tests.
//!
//! Knows every field of the engine; no one calls it in a running server.
//!
//! Rule: each number that is kept up to date step by step is counted anew here.

use super::Engine;
use crate::codec::Codec;
use crate::trace::TaskEnd;

impl<C: Codec> Engine<C> {
    /// Recounts what the fields claim; more than linear in everything. For tests.
    ///
    /// # Panics
    /// When a field disagrees.
    pub fn check_invariants(&self) {
        let connections = || self.connections.iter().map(|(_, connection)| connection);
        connections().for_each(|connection| connection.check_invariants(&self.rules));
        let waiting = connections().map(|connection| (connection.id, connection.order.waiting()));
        let waiting = waiting.filter(|(_, requests)| *requests > 0);
        self.admission.check_invariants(&waiting.collect());
        self.timers
            .check_invariants(connections().map(|connection| (connection.id, &connection.armed)));
        self.ready
            .check_invariants(connections().map(|connection| (connection.id, &connection.listed)));
        self.read_gate.check_invariants(connections());
        let refused = connections().filter(|connection| connection.is_refused);
        assert_eq!(self.refused, refused.count());
        let stats = &self.stats;
        let gauges = [
            &stats.connections,
            &stats.waiting,
            &stats.submitted,
            &stats.buffered,
        ];
        let counts = [
            self.connections.len(),
            self.admission.waiting(),
            self.submitted,
            self.read_gate.buffered(),
        ];
        assert_eq!(gauges.map(|gauge| gauge.now as usize), counts);
        let is_traced = self.rules.config.trace_tasks > 0;
        assert_eq!(self.recorder.is_some(), is_traced, "off costs nothing");
        if let Some((recorder, (tasks, _))) = self.recorder.as_ref().zip(self.traced()) {
            recorder.check_invariants(stats);
            let waiting = tasks
                .iter()
                .filter(|task| task.queued_at.or(task.end.map(TaskEnd::at)).is_none());
            let requests: usize = waiting.map(|task| task.requests).sum();
            let without_slot = connections().map(|connection| connection.order.without_slot());
            assert_eq!(requests, without_slot.sum::<usize>());
        }
    }
}
