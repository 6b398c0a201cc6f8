//! What is compared after each step, and how a run ends.
//!
//! Knows both sides: the engine's answers and the oracles.
//!
//! Rule: what the reactor would sleep over has been lost; so at each sleep everything is looked for
//! that somebody still waits for.

use super::{Oracle, Run, TRACE_STEPS, Worker, World};
use reactor_pool::engine::{Action, SocketQueues};
use reactor_pool::stats::Times;
use reactor_pool::task::{ConnectionId, Outcomes};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// More rounds than any run needs to come to its end.
const ENDING_ROUNDS: usize = 20_000;
/// Promise 7: no queued request waits for longer while a worker is idle.
const OVERDUE: Duration = Duration::from_millis(1);

impl World {
    /// Everything that must hold between any two steps.
    pub(super) fn check(&mut self) {
        self.engine.check_invariants();
        self.check_connections();
        self.check_numbers();
        if !self.is_turn_due() {
            self.check_asleep();
        }
    }

    pub(super) fn check_connections(&self) {
        for at in 0..self.peers.len() {
            self.check_connection(at);
        }
    }

    /// Promises 1, 2 and 6, byte for byte.
    pub(super) fn check_connection(&self, at: usize) {
        if let Some((id, oracle)) = &self.peers[at].accepted {
            let (unsent, expected) = (self.engine.unsent(*id), oracle.unsent());
            if unsent != expected {
                let end = |bytes: &[u8]| {
                    bytes[bytes.len().saturating_sub(200)..]
                        .escape_ascii()
                        .to_string()
                };
                panic!(
                    "promises 1, 2, 6: {id:?} has {} bytes unsent that end with {:?}, not {} that end with {:?}",
                    unsent.len(),
                    end(unsent),
                    expected.len(),
                    end(expected)
                );
            }
        }
    }

    fn check_numbers(&self) {
        let mut all = self.gone;
        self.oracles().for_each(|oracle| all.add(&oracle.counts));
        let stats = self.engine.stats();
        let framed = (stats.framed, stats.too_long, stats.incomplete);
        assert_eq!(
            framed,
            (all.framed, all.too_long, all.incomplete),
            "promise 5: framed, or not"
        );
        assert_eq!(stats.refused_busy, all.busy, "promise 4: refused, or not");
        assert_eq!(stats.idle_closed, all.idle, "promise 8: idle, or not");
        assert_eq!(stats.too_many, all.too_many, "connections refused");
        assert_eq!(
            (stats.discarded, stats.dropped),
            (all.discarded, all.dropped)
        );
        assert_eq!(stats.connections.now as usize, self.oracles().count());
        assert_eq!(stats.waiting.now as usize, self.waiting());
        let running: usize = self.workers.iter().map(Worker::running).sum();
        let undrained: usize = self.undrained.iter().map(Vec::len).sum();
        assert_eq!(
            stats.submitted.now as usize,
            self.queued_requests() + running + undrained
        );
        let queued = self.queue.stats().queued;
        assert_eq!(
            (queued.now as usize, queued.peak as usize),
            (self.queued_requests(), self.queued_peak),
            "slots are taken by requests, and free again"
        );
        let Outcomes {
            ok,
            error,
            internal,
        } = self.outcomes;
        assert_eq!(
            [
                stats.answered_ok,
                stats.answered_error,
                stats.answered_internal
            ],
            [ok, error, internal].map(|count| count as u64)
        );
        let times = [
            &stats.waiting_time,
            &stats.queued_time,
            &stats.working_time,
            &stats.written_time,
        ];
        let Outcomes {
            ok,
            error,
            internal,
        } = self.outcomes;
        let completed = (ok + error + internal) as u64;
        assert_eq!(
            times.map(Times::count),
            [
                self.slots_given,
                completed - all.dropped,
                completed,
                all.written
            ],
            "each request has its times"
        );
        let owed = self.engine.unfinished(|_| SocketQueues::default());
        assert_eq!(
            owed.requests,
            self.oracles().map(Oracle::unanswered).sum::<usize>()
        );
        assert_eq!(
            owed.bytes,
            self.oracles()
                .map(|oracle| oracle.unsent().len())
                .sum::<usize>()
        );

        let buffered = stats.buffered.now as usize;
        let least: usize = self.oracles().map(Oracle::least_bytes).sum();
        assert!(
            least <= buffered,
            "promise 5: {least} bytes are kept, {buffered} counted"
        );
        let most: Option<usize> = self.oracles().map(Oracle::most_bytes).sum();
        assert!(
            most.is_none_or(|most| buffered <= most),
            "promise 5: {buffered} bytes are counted, {most:?} needed"
        );
        let bound = Oracle::memory_bound(&self.settings.config, self.settings.chunk);
        assert!(
            buffered <= bound * self.oracles().count(),
            "promise 5: {buffered} bytes are buffered"
        );
    }

    /// Nothing that has happened is left lying: the reactor would sleep until something new does.
    fn check_asleep(&mut self) {
        self.gone.sleeps += 1;
        let budget_spent = self.is_budget_spent();
        for peer in &mut self.peers {
            let Some((id, oracle)) = &mut peer.accepted else {
                continue;
            };
            let mut counts = oracle.counts;
            let step = oracle.step(peer.socket.readable, budget_spent);
            std::mem::swap(&mut oracle.counts, &mut counts);
            assert_eq!(step, Action::Wait, "{id:?} is forgotten");
            let can_write = peer.socket.writable && !oracle.unsent().is_empty();
            assert!(
                !can_write,
                "{id:?} has something to write, and is forgotten"
            );
        }
        let announcing = self.workers.iter().filter(|worker| worker.is_announcing());
        let announcing = announcing.count();
        assert!(
            self.undrained.len() <= announcing,
            "responses wait, and nobody was woken"
        );
        self.gone.unannounced += u64::from(!self.undrained.is_empty());
        assert!(
            !self.stop_asked,
            "promise 9: a stop was asked for, and nobody was woken"
        );
        let is_full = self.queued_requests() == self.settings.config.queue;
        assert!(
            is_full || self.waiting() == 0,
            "promise 4: a request waits beside a free slot"
        );
        let parking = self.queue.parking();
        let is_overdue = |(_, queued_at): &&(Run, Instant)| self.now - *queued_at > OVERDUE;
        let overdue = self.queued.iter().filter(is_overdue).count();
        assert!(
            parking.asleep() == 0 || overdue <= parking.called(),
            "promise 7: {overdue} tasks wait beside parked workers: {parking:?}"
        );
        let due = self.oracles().filter_map(Oracle::deadline).min();
        let armed = self.engine.next_deadline();
        assert!(
            due.is_none() || armed.is_some_and(|armed| Some(armed) <= due),
            "promises 4, 8: a deadline is missed: {armed:?}, not {due:?}"
        );
    }

    /// The clients behave, the workers work, time passes: everything is answered, and everybody goes.
    pub(super) fn end(&mut self) {
        self.ending = true;
        self.peers.iter_mut().for_each(|peer| peer.socket.widen());
        self.note(|| "the end begins".to_owned());
        if self.settings.ends_with_stop {
            self.ask_for_stop();
        }
        for _ in 0..ENDING_ROUNDS {
            if self.peers.is_empty() {
                break;
            }
            let before = self.steps;
            for at in 0..self.peers.len() {
                self.peer_acts(at);
            }
            for _ in 0..2 * self.workers.len() {
                self.worker_acts();
            }
            if self.is_turn_due() {
                self.turn();
            }
            self.check();
            let is_working = !self.queued.is_empty() || !self.workers.iter().all(Worker::is_parked);
            if self.steps == before && !is_working {
                let next = self.next_due();
                let next =
                    next.expect("promise 1: the reactor sleeps forever, and somebody is left");
                self.set_clock(next.max(self.now));
            }
        }
        assert!(self.peers.is_empty(), "it does not come to an end");
        assert!(self.engine.is_empty());
        assert_eq!(self.engine.stats().buffered.now, 0);
    }

    pub(super) fn ask_for_stop(&mut self) {
        self.gone.stops += 1;
        self.stop_asked = true;
        self.responses.announce();
        self.note(|| "stop asked".to_owned());
    }

    // Who is there.

    pub(super) fn find(&self, id: ConnectionId) -> Option<usize> {
        let is_it = |accepted: &(ConnectionId, Oracle)| accepted.0 == id;
        self.peers
            .iter()
            .position(|peer| peer.accepted.as_ref().is_some_and(is_it))
    }

    pub(super) fn oracle(&mut self, id: ConnectionId) -> Option<&mut Oracle> {
        let at = self.find(id)?;
        self.peers[at].accepted.as_mut().map(|(_, oracle)| oracle)
    }

    pub(super) fn oracles(&self) -> impl Iterator<Item = &Oracle> {
        let accepted = self.peers.iter().filter_map(|peer| peer.accepted.as_ref());
        accepted.map(|(_, oracle)| oracle)
    }

    pub(super) fn oracles_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Oracle)> {
        let accepted = self
            .peers
            .iter_mut()
            .filter_map(|peer| peer.accepted.as_mut());
        accepted.map(|(id, oracle)| (*id, oracle))
    }

    pub(super) fn waiting(&self) -> usize {
        self.oracles().map(Oracle::waiting).sum()
    }

    pub(super) fn queued_requests(&self) -> usize {
        self.queued.iter().map(|(run, _)| run.requests).sum()
    }

    pub(super) fn is_budget_spent(&self) -> bool {
        self.engine.stats().buffered.now as usize > self.settings.config.max_buffered
    }

    /// Writes down what happened, if anybody will read it.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        let Some(trace) = &self.trace else { return };
        let mut trace = trace.borrow_mut();
        if trace.len() > TRACE_STEPS {
            trace.pop_front();
        }
        let at = (self.now - self.base).as_secs_f64() * 1000.0;
        trace.push_back(format!("{at:10.1} ms  {}", text()));
    }

    pub(super) fn woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }
}
