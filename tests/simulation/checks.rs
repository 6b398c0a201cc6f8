//! What is compared after each step, and how a run ends.
//!
//! Knows both sides: the engine's answers and the oracles.
//!
//! Rule: what the reactor would sleep over has been lost; so at each sleep everything is looked
//! for that somebody still waits for.

use super::life::Life;
use super::net::compare;
use super::{Oracle, Run, TRACE_STEPS, Worker, World};
use reactor_pool::codec::Codec;
use reactor_pool::engine::{Action, Engine, Kernel};
use reactor_pool::reactor::ServerState;
use reactor_pool::stats::Times;
use reactor_pool::task::{ConnectionId, Outcomes};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// More rounds than any run needs to come to its end.
const ENDING_ROUNDS: usize = 20_000;
/// Promise 7: no queued request waits for longer while a worker is idle.
const OVERDUE: Duration = Duration::from_millis(1);

/// A kernel whose clients have taken all that was written.
struct TakesAll;

impl Kernel for TakesAll {
    fn unread(&mut self, _: ConnectionId) -> usize {
        0
    }

    fn unacknowledged(&mut self, _: ConnectionId) -> usize {
        0
    }
}

impl Life {
    /// Everything that must hold between any two steps.
    pub(super) fn check(&mut self) {
        let (is_tick_due, next_due) = (self.is_tick_due(), self.next_due());
        let (engine, mut world) = (self.reactor.engine(), self.world());
        engine.check_invariants();
        world.check_connections(engine);
        world.check_numbers(engine);
        let known = world.peers.iter().filter_map(|peer| peer.accepted.as_ref());
        let served = known.filter_map(|(id, oracle)| Some((*id, oracle.peer?)));
        let served: BTreeMap<_, _> = served.collect();
        let open = self.open.lock().expect("no panic");
        assert_eq!(*open, served, "what is told of connections");
        if !is_tick_due && self.reactor.stop_reason().is_none() {
            let deadline = engine.next_deadline();
            world.check_asleep(next_due, deadline);
        }
    }

    /// The clients behave, the workers work, time passes: everything is answered, and everybody
    /// goes.
    pub(super) fn end(&mut self) {
        self.world().begin_the_end();
        for _ in 0..ENDING_ROUNDS {
            let is_over = self.world().peers.is_empty() && !self.world().is_working();
            if is_over && !self.is_tick_due() && !self.world().is_lame_duck() {
                break;
            }
            let before = self.world().steps;
            self.world().everybody_acts();
            if self.is_tick_due() {
                self.tick();
            }
            self.check();
            let is_stuck = self.world().steps == before && !self.world().is_working();
            let is_lame_duck = self.world().is_lame_duck();
            if is_stuck && (is_lame_duck || !self.world().peers.is_empty()) {
                let next = self.next_due();
                let next =
                    next.expect("promise 1: the reactor sleeps forever, and somebody is left");
                let mut world = self.world();
                let at = next.max(world.now);
                world.set_clock(at);
            }
        }
        assert!(self.world().peers.is_empty(), "it does not come to an end");
        assert!(self.reactor.engine().is_empty());
        assert!(
            !self.reactor.engine().has_submitted(),
            "promise 9: a request still runs"
        );
        assert_eq!(self.reactor.engine().stats().buffered.now, 0);
        self.check_stop_reason();
    }
}

impl World {
    /// Promises 1, 2 and 6, byte for byte.
    fn check_connections(&self, engine: &Engine<impl Codec>) {
        for (id, oracle) in self.peers.iter().filter_map(|peer| peer.accepted.as_ref()) {
            compare(*id, engine.unsent(*id), oracle.unsent());
        }
    }

    /// What the engine counts is what the oracles do.
    fn check_numbers(&self, engine: &Engine<impl Codec>) {
        let mut all = self.gone;
        self.oracles().for_each(|oracle| all.add(&oracle.counts));
        let stats = engine.stats();
        let framed = (stats.framed, stats.too_long, stats.incomplete);
        assert_eq!(
            framed,
            (all.framed, all.too_long, all.incomplete),
            "promise 5: framed, or not"
        );
        assert_eq!(stats.refused_busy, all.busy, "promise 4: refused, or not");
        assert_eq!(
            (stats.idle_closed, stats.request_timeouts, stats.slow_closed),
            (all.idle, all.request_timeouts, all.slow),
            "promise 8: idle, or not"
        );
        assert_eq!(stats.too_many, all.too_many, "connections refused");
        assert_eq!(stats.too_many_per_address, all.too_many_per_address);
        assert_eq!(
            stats.parted, all.parted,
            "promise 9: connections that parted"
        );
        let bad_headers = all.headers_broken + all.headers_ended + all.headers_late;
        assert_eq!(
            stats.bad_headers, bad_headers,
            "connections without a header"
        );
        assert_eq!(
            (stats.discarded, stats.dropped),
            (all.discarded, all.dropped)
        );
        assert_eq!(stats.connections.now as usize, self.oracles().count());
        assert_eq!(stats.waiting.now as usize, self.waiting());
        let running: usize = self.workers.iter().map(Worker::running).sum();
        let undrained: usize = self.undrained.iter().map(|one| one.panicked.len()).sum();
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
        let unfinished = engine.unfinished(&mut TakesAll);
        assert_eq!(
            (unfinished.requests, unfinished.bytes),
            (
                self.oracles().map(Oracle::unanswered).sum(),
                self.oracles().map(|oracle| oracle.unsent().len()).sum(),
            )
        );
        let kept = self.kept_bytes();
        assert_eq!(stats.buffered.now as usize, kept, "promise 5: what is kept");
        let bound = Oracle::memory_bound(&self.settings);
        assert!(
            kept <= bound * self.oracles().count(),
            "promise 5: {kept} bytes are buffered"
        );
    }

    /// Nothing that has happened is left lying: the reactor would sleep until `next_due`, or until
    /// something new happens; the next deadline of a connection is `armed`.
    fn check_asleep(&mut self, next_due: Option<Instant>, armed: Option<Instant>) {
        self.gone.sleeps += 1;
        let held_back: usize = self.oracles().map(Oracle::held_back).sum();
        self.gone.held_back += held_back as u64;
        let budget_spent = self.is_budget_spent();
        for peer in &mut self.peers {
            let Some((id, oracle)) = &mut peer.accepted else {
                continue;
            };
            let action = oracle.next_action(peer.socket.readable, budget_spent);
            assert_eq!(action, Action::Wait, "{id:?} is forgotten");
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
        let is_awaited = self.stop_at.is_some() && next_due <= self.stop_at;
        assert!(
            !self.stop_asked || self.stopping || is_awaited,
            "promise 9: a stop was asked for, and nobody was woken"
        );
        let is_full = self.queued_requests() == self.settings.config.queue;
        assert!(
            is_full || self.waiting() == 0,
            "promise 4: a request waits beside a free slot"
        );
        self.check_overdue(self.now);
        let due = self.oracles().filter_map(Oracle::deadline).min();
        assert!(
            due.is_none() || armed.is_some_and(|armed| Some(armed) <= due),
            "promises 4, 8: a deadline is missed: {armed:?}, not {due:?}"
        );
        let mut backlog = self.peers.iter().filter(|peer| peer.accepted.is_none());
        let is_served = !self.stopping && !self.has_left_listener();
        if self.listener_ready && is_served && backlog.next().is_some() {
            if !self.may_accept() {
                self.gone.refusals_exhausted += 1;
            } else {
                let pause = self.accept_paused_until;
                assert!(
                    pause.is_some() && next_due <= pause,
                    "a connection waits in the backlog, and is forgotten"
                );
            }
        }
    }

    /// Promise 7: at that time no task has waited for too long beside a worker that sleeps.
    pub(super) fn check_overdue(&self, at: Instant) {
        let parking = self.queue.parking();
        let is_overdue =
            |(_, queued_at): &&(Run, Instant)| at.saturating_duration_since(*queued_at) > OVERDUE;
        let overdue = self.queued.iter().filter(is_overdue).count();
        assert!(
            parking.parked() == 0 || overdue <= parking.woken(),
            "promise 7: {overdue} tasks wait beside parked workers: {parking:?}"
        );
    }

    /// The stop has been heard of, and its time has not come.
    pub(super) fn is_lame_duck(&self) -> bool {
        self.stop_at.is_some() && !self.stopping
    }

    /// A tick is over, and the reactor says how far it is.
    pub(super) fn check_state(&mut self, state: ServerState) {
        let (now, delay) = (self.tick_at(), self.settings.config.stop_delay);
        if state == ServerState::LameDuck && self.stop_at.is_none() {
            assert!(self.stop_asked, "promise 9: nobody asked for a stop");
            self.stop_at = Some(now + delay);
            self.gone.lame_ducks += 1;
        }
        let is_due = match self.stop_at {
            Some(at) => at <= now,
            None => self.stop_asked_before_tick && delay.is_zero(),
        };
        assert!(
            !is_due || self.stopping,
            "promise 9: the time of the stop is missed"
        );
        let expected = match (self.stopping, self.is_lame_duck()) {
            (true, _) => [ServerState::Draining, ServerState::Ended],
            (false, true) => [ServerState::LameDuck; 2],
            (false, false) => [ServerState::Serving; 2],
        };
        assert!(expected.contains(&state), "promise 9: it says {state:?}");
        let is_heard = self.stopping || self.stop_at.is_some();
        assert!(
            is_heard || !self.stop_asked_before_tick,
            "promise 9: a stop that was asked for is not heard of"
        );
    }

    fn begin_the_end(&mut self) {
        self.ending = true;
        self.peers.iter_mut().for_each(|peer| peer.socket.widen());
        self.note(|| "the end begins".to_owned());
        if self.settings.ends_with_stop && !self.stop_asked {
            self.ask_for_stop();
        }
    }

    fn everybody_acts(&mut self) {
        for at in 0..self.peers.len() {
            self.peer_acts(at);
        }
        for _ in 0..2 * self.workers.len() {
            self.worker_acts();
        }
    }

    fn is_working(&self) -> bool {
        !self.queued.is_empty() || !self.workers.iter().all(Worker::is_parked)
    }

    pub(super) fn ask_for_stop(&mut self) {
        self.gone.stops += 1;
        self.stop_asked = true;
        self.completions.ask_to_stop();
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

    fn kept_bytes(&self) -> usize {
        self.oracles().map(Oracle::kept_bytes).sum()
    }

    pub(super) fn is_budget_spent(&self) -> bool {
        self.kept_bytes() > self.settings.config.max_buffered
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

    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }
}
