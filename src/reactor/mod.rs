//! The event loop: one thread that owns every socket and never waits for work.
//!
//! Knows neither requests nor order nor what a deadline means: the engine decides, the reactor
//! does.
//!
//! Rule: a [`Reactor::tick`] never blocks, and gives each connection a bounded share.

mod backlog;
mod introductions;
mod monitor;
mod overload;
mod serve;
mod shutdown;
mod slow;
mod sockets;
mod warn_limit;

use crate::address::Peer;
use crate::codec::Codec;
use crate::config::Config;
use crate::engine::{Accepted, Engine, Entry, IsQuick, Kernel};
use crate::log::{debug, warn};
use crate::net::{Event, Net, Signal, Wait};
use crate::pool::{ResponseQueue, WorkQueue};
use crate::stats::Reports;
use crate::task::{Completion, ConnectionId, Span, Task};
use crate::trace::{TaskTimes, Ticks, Trace, Work};
use backlog::Backlog;
use introductions::Introductions;
pub use monitor::{
    Monitor, Monitored, NotAnswering, RunningView, ServerState, Snapshot, TOP_CONNECTIONS,
    WorkerView,
};
use overload::Overload;
use shutdown::Stage;
pub use shutdown::{StopReason, Stopper};
use slow::SlowRequests;
use sockets::Sockets;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use warn_limit::WarnLimit;

/// Connections accepted in one tick, before those that are there have their share.
const ACCEPTS_PER_TICK: usize = 64;
/// Requests that go to the workers before the tick is over: so that they start, and the queue need
/// not hold all that one tick reads.
const SUBMIT_REQUESTS: usize = 32;
/// What one read takes at most, from one buffer that all connections share.
const READ_CHUNK_BYTES: usize = 65_536;

/// Is told of connections.
pub trait Sessions: Send {
    /// A connection was accepted, and its client is known; `false` closes it.
    fn opened(&self, id: ConnectionId, peer: Peer) -> bool;

    /// A connection has gone.
    fn closed(&self, id: ConnectionId);

    /// The server has ended, with whatever connections there are.
    fn ended(&self);

    /// The other side of a connection, while it is open.
    fn peer(&self, id: ConnectionId) -> Option<Peer> {
        let _ = id;
        None
    }
}

/// What a server serves.
pub struct Protocol<C> {
    /// How requests and responses are told apart.
    pub codec: Arc<C>,
    /// Which requests may share a run.
    pub is_quick: IsQuick,
    /// What is told of connections.
    pub sessions: Box<dyn Sessions>,
}

impl<C: fmt::Debug> fmt::Debug for Protocol<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Protocol");
        shown.field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// Sockets, poll and timers around an [`Engine`].
pub struct Reactor<N: Net, C> {
    net: N,
    /// What the last poll said; empty between two ticks.
    events: Vec<Event>,
    signals: Vec<Signal>,
    /// None before [`Reactor::start_accepting`], and once the server drains.
    backlogs: Vec<Backlog>,
    limit_warnings: WarnLimit,
    address_warnings: WarnLimit,
    unserved_warnings: WarnLimit,
    /// Of tasks that are called quick and are not.
    overrun_warnings: WarnLimit,
    overload: Overload,
    slow: SlowRequests,
    sockets: Sockets<N::Stream>,
    buffer: Box<[u8]>,
    engine: Engine<C>,
    sessions: Box<dyn Sessions>,
    introductions: Introductions,
    queue: Arc<WorkQueue<Task>>,
    /// Tasks on their way to the queue; empty between two submits.
    tasks: Vec<Task>,
    /// Slots that were free after the last push, at least.
    room: usize,
    /// Since when requests wait for a slot and none gets one.
    stalled_since: Option<Instant>,
    /// When to check whether queued tasks wait beside parked workers.
    check_queue_at: Option<Instant>,
    completions: Arc<ResponseQueue<Completion>>,
    stage: Stage,
    stop_delay: Duration,
    drain_timeout: Duration,
    reports: Reports,
    /// None if nobody wants to know the times of single ones.
    ticks: Option<Ticks>,
    monitored: Monitored,
}

impl<N: Net, C> fmt::Debug for Reactor<N, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl<N: Net, C: Codec> Reactor<N, C> {
    /// A reactor without connections.
    pub fn new(
        config: &Config,
        net: N,
        protocol: Protocol<C>,
        queue: Arc<WorkQueue<Task>>,
        completions: Arc<ResponseQueue<Completion>>,
        monitored: Monitored,
    ) -> Reactor<N, C> {
        let now = net.now();
        let Protocol {
            codec,
            is_quick,
            sessions,
        } = protocol;
        Reactor {
            net,
            events: Vec::new(),
            signals: Vec::new(),
            backlogs: Vec::new(),
            limit_warnings: WarnLimit::default(),
            address_warnings: WarnLimit::default(),
            unserved_warnings: WarnLimit::default(),
            overrun_warnings: WarnLimit::default(),
            overload: Overload::default(),
            slow: SlowRequests::new(config.slow_request, Arc::clone(monitored.board())),
            sockets: Sockets::new(),
            buffer: vec![0; READ_CHUNK_BYTES].into(),
            engine: Engine::new(config.clone(), codec, is_quick),
            sessions,
            introductions: Introductions::default(),
            queue,
            tasks: Vec::new(),
            room: config.queue,
            stalled_since: None,
            check_queue_at: None,
            completions,
            stage: Stage::Running,
            stop_delay: config.stop_delay,
            drain_timeout: config.drain_timeout,
            reports: Reports::new(config, now),
            ticks: Ticks::new(config.trace_tasks),
            monitored,
        }
    }

    /// Accepts from here on what comes to the listeners of the net, which are numbered from 0.
    /// Each item says whether that socket outlives the server.
    pub fn start_accepting(&mut self, are_shared: impl IntoIterator<Item = bool>) {
        self.backlogs = are_shared.into_iter().map(Backlog::new).collect();
    }

    /// The sockets that it works on.
    pub fn net_mut(&mut self) -> &mut N {
        &mut self.net
    }

    /// What it knows of all connections.
    pub fn engine(&self) -> &Engine<C> {
        &self.engine
    }

    /// A handle that stops it from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(&self.completions)
    }

    /// Writes the counters to the log: those of the time since the last report, and all.
    pub(crate) fn report(&mut self, now: Instant) {
        let queue = self.queue.start_interval();
        self.reports.write(self.engine.stats_mut(), queue, now);
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// When polling fails, or a worker has died outside a handler.
    pub fn run(&mut self) -> io::Result<StopReason> {
        self.monitored.open();
        let ended = self.tick_to_end();
        let now = self.net.now();
        let snapshot = Snapshot {
            state: ServerState::Ended,
            ..self.snapshot(now)
        };
        self.monitored.close(snapshot, self.trace());
        ended
    }

    fn tick_to_end(&mut self) -> io::Result<StopReason> {
        loop {
            let wait = self.park();
            self.tick(wait)?;
            if let Some(reason) = self.stop_reason() {
                self.sessions.ended();
                return Ok(reason);
            }
        }
    }

    /// How long the next poll may sleep. From here on an announcement of a completion wakes it.
    pub fn park(&mut self) -> Wait {
        if self.engine.ready_len() > 0 || !self.completions.park() {
            return Wait::Not;
        }
        self.next_due().map_or(Wait::Forever, Wait::Until)
    }

    /// When something has to be done though nothing happens.
    fn next_due(&self) -> Option<Instant> {
        let backlogs = self.backlogs.iter().filter(|_| self.engine.may_accept());
        let now = self.net.now();
        let due = [
            self.engine.next_deadline(),
            self.check_queue_at,
            backlogs.filter_map(|backlog| backlog.next_try(now)).min(),
            self.stage.next_due(),
            self.overload.next_due(),
            self.slow.next_due(),
            self.reports.next_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// One pass of the loop: waits for events, and does all that follows from them.
    ///
    /// # Errors
    /// As [`Reactor::run`].
    pub fn tick(&mut self, wait: Wait) -> io::Result<()> {
        self.net.poll(wait, &mut self.events)?;
        let now = self.net.now();
        // Clients that have been answered are served before those that have asked: they go on
        // meanwhile.
        self.collect(now)?;
        self.note_events();
        self.leave_shared_listeners(now);
        self.accept(now, ACCEPTS_PER_TICK);
        self.note_stop(now);
        // Requests that wait come before what is read now.
        self.submit(now);
        self.serve_ready(now);
        self.submit(now);
        self.check_queue();
        self.check_slow(now);
        self.expire(now);
        self.report_if_due(now);
        self.check_drained(now);
        self.answer_monitors(now);
        self.note_tick(now);
        Ok(())
    }

    fn collect(&mut self, now: Instant) -> io::Result<()> {
        if self.completions.has_death() {
            let error = "a worker has died outside a handler: the server ends, for what it had in hand is lost";
            return Err(io::Error::other(error));
        }
        let (engine, warnings) = (&mut self.engine, &mut self.overrun_warnings);
        let (slow, sessions) = (&mut self.slow, &self.sessions);
        self.completions.drain(|completion| {
            if completion.is_overrun && warnings.allows(now) {
                let took = completion.finished_at.duration_since(completion.started_at);
                let Span { first, requests } = completion.span;
                warn!(conn = %completion.connection, seq = %first, requests, took_ms = took.as_millis() as u64,
                    "slow, although the handler calls it quick: it blocks, or the workers lack processor time");
            }
            slow.note_end(&completion, |id| sessions.peer(id), now);
            engine.completed(completion, now);
        });
        Ok(())
    }

    fn note_events(&mut self) {
        for event in self.events.drain(..) {
            match event {
                Event::Signal(signal) => self.signals.push(signal),
                Event::Connect(listener) => {
                    if let Some(backlog) = self.backlogs.get_mut(listener) {
                        backlog.set_ready();
                    }
                }
                Event::Stream(id, readiness) => {
                    // An event may outlive its connection within one poll; ids are never reused.
                    if let Some(socket) = self.sockets.get(id) {
                        socket.note(readiness);
                        self.engine.mark_ready(id);
                    }
                }
            }
        }
    }

    /// Accepts at most `most` connections of each listener.
    fn accept(&mut self, now: Instant, most: usize) {
        for listener in 0..self.backlogs.len() {
            for _ in 0..most {
                if !self.engine.may_accept() {
                    return;
                }
                if !self.backlogs[listener].may_try(now) {
                    break;
                }
                match self.net.accept(listener) {
                    Ok(Some((stream, peer))) => self.open(stream, peer, now),
                    Ok(None) => self.backlogs[listener].set_empty(),
                    Err(cause) => {
                        self.engine.stats_mut().accept_pauses += 1;
                        self.backlogs[listener].pause(&cause, now);
                    }
                }
            }
        }
    }

    fn open(&mut self, mut stream: N::Stream, peer: Peer, now: Instant) {
        let Accepted { id, entry } = self.engine.accept(now);
        if entry == Entry::Refused && self.limit_warnings.allows(now) {
            let too_many = self.engine.stats().too_many;
            warn!(
                too_many,
                "the connection limit is reached; new connections are refused"
            );
        }
        let is_known = entry == Entry::Served;
        let is_served = is_known && self.engine.introduce(id, peer.ip(), now);
        if is_known && !is_served {
            self.warn_of_address(peer, now);
        }
        if is_served && !self.sessions.opened(id, peer) {
            debug!(conn = %id, %peer, "turned away");
            self.engine.remove(id, now, "turned away");
            return self.net.close(stream);
        }
        if let Err(cause) = self.net.register(&mut stream, id) {
            if self.unserved_warnings.allows(now) {
                warn!(%peer, %cause, "connection not served");
            }
            self.engine.remove(id, now, "not registered");
            self.sessions.closed(id);
            return self.net.close(stream);
        }
        debug!(conn = %id, %peer, "opened");
        if entry == Entry::AwaitsHeader {
            self.introductions.begin(id, peer);
        }
        let short_reads_mislead = self.net.short_reads_mislead(&stream);
        self.sockets.insert(id, stream, short_reads_mislead);
    }

    /// A connection was refused because its address has enough of them.
    fn warn_of_address(&mut self, peer: Peer, now: Instant) {
        if self.address_warnings.allows(now) {
            let too_many = self.engine.stats().too_many_per_address;
            warn!(%peer, too_many, "the connection limit of an address is reached; its new connections are refused");
        }
    }

    /// Gives the queue what it has room for. Of this only the push happens under the queue's lock.
    fn submit(&mut self, now: Instant) {
        self.engine.frame_called(now);
        while self.engine.has_waiting() {
            if self.room < self.engine.waiting() {
                // Workers may have made room since.
                self.push();
                if self.room == 0 {
                    self.stalled_since.get_or_insert(now);
                    return;
                }
            }
            self.stalled_since = None;
            self.engine.submit(self.room, now, &mut self.tasks);
            self.net.note_tasks(&self.tasks);
            self.push();
        }
        self.stalled_since = None;
    }

    fn push(&mut self) {
        let pushed = self.queue.push(self.net.now(), self.tasks.drain(..));
        self.room = pushed.room;
        self.check_queue_at = pushed.check_at;
    }

    fn check_slow(&mut self, now: Instant) {
        let (sessions, has_submitted) = (&self.sessions, self.engine.has_submitted());
        self.slow.check(has_submitted, |id| sessions.peer(id), now);
    }

    /// Sees to it that no task waits for long beside a parked worker.
    fn check_queue(&mut self) {
        if let Some(at) = self.check_queue_at
            && let now = self.net.now()
            && at <= now
        {
            self.check_queue_at = self.queue.check(now);
        }
    }

    fn expire(&mut self, now: Instant) {
        let refused = self.engine.expire(
            now,
            &mut SocketKernel {
                net: &mut self.net,
                sockets: &mut self.sockets,
            },
        );
        self.overload.note(refused, now);
    }

    fn report_if_due(&mut self, now: Instant) {
        if self.reports.next_due().is_some_and(|at| at <= now) {
            self.report(now);
        }
    }

    /// Whoever asked before the drain in `collect` gets an answer now, and whoever asked since
    /// keeps the loop from parking.
    fn answer_monitors(&mut self, now: Instant) {
        self.monitored.note(self.stage.state());
        let views = self.engine.views(now);
        let views = || {
            views
                .map(|view| self.introductions.complete(view))
                .collect()
        };
        self.monitored
            .answer(|| self.snapshot(now), views, || self.trace());
    }

    fn note_tick(&mut self, began_at: Instant) {
        if let Some(ticks) = &mut self.ticks {
            ticks.note(began_at, self.net.now());
        }
    }

    /// All that is known of single tasks and ticks, if somebody wants to know it.
    fn trace(&self) -> Option<Trace> {
        let (mut tasks, dropped_requests) = self.engine.traced()?;
        let (ticks, dropped_ticks) = self.ticks.as_ref()?.kept();
        // What a worker has in hand, only its line on the board tells.
        let lines = self.monitored.board().lines().into_iter().enumerate();
        let running = lines.filter_map(|(worker, line)| {
            let running = line.running?;
            let work = Work {
                worker,
                started_at: running.started_at,
                finished_at: None,
            };
            Some(((running.connection, running.span.first.0), work))
        });
        let running: HashMap<_, _> = running.collect();
        let is_open = |task: &&mut TaskTimes| task.work.is_none() && task.end.is_none();
        for task in tasks.iter_mut().filter(is_open) {
            task.work = running.get(&(task.connection, task.first)).copied();
        }
        Some(Trace {
            started_at: self.reports.started_at(),
            // After the look at the board: a worker may have begun just before that.
            taken_at: self.net.now(),
            tasks,
            ticks,
            dropped_requests,
            dropped_ticks,
        })
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let workers = self.monitored.board().lines();
        Snapshot {
            state: self.stage.state(),
            uptime: self.reports.uptime(now),
            stats: self.engine.stats().clone(),
            queue: self.queue.stats(),
            stalled_for: self
                .stalled_since
                .map(|since| now.saturating_duration_since(since)),
            workers: workers.len(),
            workers_busy: workers.iter().filter(|line| line.running.is_some()).count(),
        }
    }
}

/// Asks the sockets what the engine wants to know.
struct SocketKernel<'a, N: Net> {
    net: &'a mut N,
    sockets: &'a mut Sockets<N::Stream>,
}

impl<N: Net> Kernel for SocketKernel<'_, N> {
    fn unread(&mut self, id: ConnectionId) -> usize {
        let socket = self.sockets.get(id);
        socket.map_or(0, |socket| self.net.unread(socket.stream()))
    }

    fn unacknowledged(&mut self, id: ConnectionId) -> usize {
        let Some(socket) = self.sockets.get(id) else {
            return 0;
        };
        self.net.unacknowledged(socket.stream()).unwrap_or_else(|| {
            // Nobody tells what its client takes, and an event says so only once there is much
            // room. So the next write tries, for which the engine marks it ready.
            socket.set_writable();
            0
        })
    }
}

#[cfg(test)]
mod tests;
