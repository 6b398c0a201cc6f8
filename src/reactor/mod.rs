//! The event loop: one thread that owns every socket and never waits for work.
//!
//! Knows neither lines nor order nor what a deadline means: the engine decides, the reactor does.
//!
//! Rule: a [`Reactor::turn`] never blocks outside its poll, and gives each connection a bounded
//! share.

mod alarm;
mod listener;
mod overload;
mod signals;
mod socket_diag;
mod sockets;
mod warn_limit;

use crate::codec::Codec;
use crate::config::{Config, StopSignals};
use crate::engine::{self, Action, Engine, IsQuick, SocketQueues, Unfinished};
use crate::log::{debug, info, warn};
use crate::pool::{ResponseQueue, WorkQueue};
use crate::stats::Reports;
use crate::task::{Completion, ConnectionId, Task};
use alarm::Alarm;
pub(crate) use listener::Bound;
use listener::{Accepted, BACKLOG, Listener};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use overload::Overload;
use signals::{Signal, SignalSource};
use socket_diag::SocketDiag;
use sockets::{ReadOutcome, Socket, Sockets};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use warn_limit::WarnLimit;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const ALARM: Token = Token(2);
/// The first listener; the others follow.
const LISTENERS: Token = Token(3);
/// Of the connection with the serial number 1: all tokens of connections are above it.
const FIRST_CONNECTION: usize = ConnectionId::SLOTS;

/// One read takes at most so much, from one buffer that all connections share.
const READ_CHUNK_BYTES: usize = 65_536;
/// Reads of one connection in one turn, before the others have theirs.
const READS_PER_TURN: usize = 4;
/// Connections accepted in one turn, before those that are there have theirs.
const ACCEPTS_PER_TURN: usize = 64;
/// Requests that go to the workers before the turn is over: so that they start, and the queue need
/// not hold all that one turn reads.
const SUBMIT_REQUESTS: usize = 32;
/// Events that one turn takes from the poll; more wait there. A socket that is looked at by the
/// poll, read and then written has to be in the caches still: with thousands ready at a time it is
/// not.
const EVENTS_PER_TURN: usize = 64;
/// The same, when more than that many connections have not been finished with, and all of them have
/// their share of every turn: who waits for its event must not wait for several such turns.
const EVENTS_BESIDE_MANY: usize = 1024;

/// A loop that wakes so long after the drain timeout has not just slept; then the timeout is moved,
/// once, by so much.
const LATE: Duration = Duration::from_millis(100);
const CATCH_UP: Duration = Duration::from_millis(500);

/// Urgent data too, for what it does to reads ([`Socket::note`]).
#[cfg(any(target_os = "linux", target_os = "android"))]
const INTERESTS: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INTERESTS: Interest = Interest::READABLE.add(Interest::WRITABLE);

// A token holds a whole connection id.
const _: () = assert!(usize::BITS >= 64, "64-bit targets only");

/// Asks a running server to stop, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<ResponseQueue<Completion>>);

impl Stopper {
    /// Does what SIGTERM does: the server answers what has arrived, then ends.
    pub fn stop(&self) {
        self.0.ask_to_stop();
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Nothing was owed to anybody: all that was framed has been answered, and each answer was
    /// taken or its client has gone.
    Drained,
    /// The drain timeout passed first; so much was abandoned.
    TimedOut(Unfinished),
    /// A second signal came first; so much was abandoned.
    Forced(Unfinished),
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Running,
    /// Nothing is accepted or read any more; what is owed is answered.
    Draining {
        by: Instant,
        /// `by` has been moved, because the loop came late to it.
        was_late: bool,
        /// Nothing is owed: clients are waited for that have not closed.
        is_idle: bool,
    },
    Ended(StopReason),
}

/// Sockets, poll and timers around an [`Engine`].
pub(crate) struct Reactor {
    poll: Poll,
    /// Of these two, one is in use for a turn, and the other is empty.
    events: Events,
    events_beside_many: Events,
    alarm: Alarm,
    /// None before [`Reactor::listen`], and once the server drains.
    listeners: Vec<Listener>,
    limit_warnings: WarnLimit,
    unserved_warnings: WarnLimit,
    /// Of tasks that are called quick and are not.
    overrun_warnings: WarnLimit,
    overload: Overload,
    signals: Option<SignalSource>,
    signalled: bool,
    sockets: Sockets,
    diag: Option<SocketDiag>,
    buffer: Box<[u8]>,
    engine: Engine,
    queue: Arc<WorkQueue<Task>>,
    /// Tasks on their way to the queue; empty between two submits.
    tasks: Vec<Task>,
    /// Slots that were free after the last push, at least.
    room: usize,
    /// When to check whether queued tasks wait beside parked workers.
    check_queue_at: Option<Instant>,
    completions: Arc<ResponseQueue<Completion>>,
    stage: Stage,
    drain_timeout: Duration,
    reports: Reports,
}

impl Reactor {
    pub(crate) fn new(
        config: &Config,
        codec: Arc<dyn Codec>,
        is_quick: IsQuick,
        queue: Arc<WorkQueue<Task>>,
    ) -> io::Result<Reactor> {
        let poll = Poll::new().map_err(cannot("create the event loop's poll"))?;
        let registry = poll.registry();
        let signals = match config.stop_signals {
            StopSignals::None => None,
            wanted => {
                let source = SignalSource::take_over(wanted, registry, SIGNALS);
                Some(source.map_err(cannot("take over the signals"))?)
            }
        };
        let waker = Waker::new(registry, WAKER).map_err(cannot("create the event loop's waker"))?;
        let alarm = Alarm::register(registry, ALARM);
        let alarm = alarm.map_err(cannot("create the event loop's timer"))?;
        let now = Instant::now();
        let wake = move || waker.wake().expect("an eventfd takes every wake");
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            events_beside_many: Events::with_capacity(EVENTS_BESIDE_MANY),
            alarm,
            listeners: Vec::new(),
            limit_warnings: WarnLimit::default(),
            unserved_warnings: WarnLimit::default(),
            overrun_warnings: WarnLimit::default(),
            overload: Overload::default(),
            signals,
            signalled: false,
            sockets: Sockets::default(),
            diag: None,
            buffer: vec![0; READ_CHUNK_BYTES].into(),
            engine: Engine::new(config.clone(), codec, is_quick),
            queue,
            tasks: Vec::new(),
            room: config.queue,
            check_queue_at: None,
            completions: Arc::new(ResponseQueue::new(wake)),
            stage: Stage::Running,
            drain_timeout: config.drain_timeout,
            reports: Reports::new(config, now),
        })
    }

    /// From here on clients can connect: the last thing of a start.
    pub(crate) fn listen(&mut self, bound: Bound) -> io::Result<()> {
        let first = bound.addresses()[0];
        self.listeners = bound.listen(self.poll.registry(), LISTENERS)?;
        self.diag = SocketDiag::open(first);
        if self.diag.is_none() {
            info!(
                "the system does not tell what clients have acknowledged: what their sockets take counts as taken"
            );
        }
        Ok(())
    }

    pub(crate) fn completions(&self) -> &Arc<ResponseQueue<Completion>> {
        &self.completions
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.completions))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Writes the counters to the log: those of the time since the last report, and all.
    pub(crate) fn report(&mut self, now: Instant) {
        let queue = self.queue.start_interval();
        self.reports.write(self.engine.stats_mut(), queue, now);
    }

    pub(crate) fn run(&mut self) -> io::Result<StopReason> {
        loop {
            self.turn()?;
            if let Stage::Ended(ending) = self.stage {
                return Ok(ending);
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        let now = Instant::now();
        // Who has been answered is attended before who has asked: its client goes on meanwhile.
        self.collect(now)?;
        self.note_events();
        self.accept(now, ACCEPTS_PER_TURN);
        self.note_stop(now);
        // Those that wait come before what is read now.
        self.submit(now);
        self.attend(now);
        self.submit(now);
        self.check_queue();
        self.expire(now);
        self.report_if_due(now);
        self.check_drained(now);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let has_more_to_do = self.engine.ready_len() > 0 || !self.completions.fall_asleep();
        let timeout = if has_more_to_do {
            Some(Duration::ZERO)
        } else {
            self.alarm.set(self.next_due())?
        };
        self.events.clear();
        self.events_beside_many.clear();
        let events = if self.engine.ready_len() > EVENTS_PER_TURN {
            &mut self.events_beside_many
        } else {
            &mut self.events
        };
        match self.poll.poll(events, timeout) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// When something has to be done though nothing happens.
    fn next_due(&self) -> Option<Instant> {
        let listeners = self.listeners.iter().filter(|_| self.engine.may_accept());
        let drain_by = match self.stage {
            Stage::Draining { by, .. } => Some(by),
            Stage::Running | Stage::Ended(_) => None,
        };
        let due = [
            self.engine.next_deadline(),
            self.check_queue_at,
            listeners.filter_map(Listener::next_try).min(),
            drain_by,
            self.overload.next_due(),
            self.reports.next_due(),
        ];
        due.into_iter().flatten().min()
    }

    fn note_events(&mut self) {
        for event in self.events.iter().chain(&self.events_beside_many) {
            match event.token() {
                // What it announces is looked for in every turn.
                WAKER => {}
                SIGNALS => self.signalled = true,
                ALARM => self.alarm.note_ring(),
                Token(below @ ..FIRST_CONNECTION) => {
                    if let Some(listener) = self.listeners.get_mut(below - LISTENERS.0) {
                        listener.set_ready();
                    }
                }
                Token(bits) => {
                    let id = ConnectionId::from_bits(bits as u64);
                    // An event may outlive its connection within one batch; ids are never reused.
                    if let Some(socket) = self.sockets.get(id) {
                        socket.note(event);
                        self.engine.mark_ready(id);
                    }
                }
            }
        }
    }

    /// Accepts at most `most` connections of each listener.
    fn accept(&mut self, now: Instant, most: usize) {
        for number in 0..self.listeners.len() {
            for _ in 0..most {
                if !self.engine.may_accept() {
                    return;
                }
                match self.listeners[number].accept(now) {
                    Accepted::Connection((stream, peer)) => self.open(stream, peer, now),
                    Accepted::Nothing => break,
                    Accepted::Exhausted => {
                        self.engine.stats_mut().accept_pauses += 1;
                        break;
                    }
                }
            }
        }
    }

    fn open(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Instant) {
        if let Err(cause) = set_options(&stream) {
            // The peer may have gone already; the first read will tell.
            debug!(%peer, %cause, "socket options not set");
        }
        let engine::Accepted { id, is_refused } = self.engine.accept(now);
        if is_refused && self.limit_warnings.allows(now) {
            warn!(
                too_many = self.engine.stats().too_many,
                "the connection limit is reached; new connections are refused"
            );
        }
        let token = Token(id.bits() as usize);
        if let Err(cause) = self.poll.registry().register(&mut stream, token, INTERESTS) {
            if self.unserved_warnings.allows(now) {
                warn!(%peer, %cause, "connection not served");
            }
            self.engine.remove(id, now, "not registered");
            return;
        }
        debug!(conn = %id, %peer, "opened");
        self.sockets.insert(id, stream);
    }

    fn collect(&mut self, now: Instant) -> io::Result<()> {
        if self.completions.has_death() {
            let error = "a worker has died outside a handler: the server ends, for what it had in hand is lost";
            return Err(io::Error::other(error));
        }
        let (engine, warnings) = (&mut self.engine, &mut self.overrun_warnings);
        self.completions.drain(|completion| {
            if let Some(operation) = &completion.overrun
                && warnings.allows(now)
            {
                let took = completion.finished_at.duration_since(completion.started_at);
                warn!(%operation, requests = completion.span.requests, took_ms = took.as_millis() as u64,
                    "slow, although the handler calls it quick: it blocks, or the workers lack processor time");
            }
            engine.completed(completion, now);
        });
        Ok(())
    }

    /// After the drain in `collect`, see [`ResponseQueue::is_stop_asked`].
    fn note_stop(&mut self, now: Instant) {
        if self.completions.is_stop_asked() && matches!(self.stage, Stage::Running) {
            self.stop("asked", now);
        }
        if !std::mem::take(&mut self.signalled) {
            return;
        }
        let pending = self.signals.as_mut().map(SignalSource::pending);
        for signal in pending.unwrap_or_default() {
            match (signal, self.stage) {
                (Signal::Report, _) => self.report(now),
                (Signal::Stop(why), Stage::Running) => self.stop(why, now),
                (Signal::Stop(why), _) => {
                    warn!(signal = why, "second signal: ending at once");
                    self.end(StopReason::Forced);
                }
            }
        }
    }

    fn stop(&mut self, why: &str, now: Instant) {
        self.read_what_has_arrived(now);
        // Closing the listeners here makes later connects fail instead of hanging in the backlog.
        self.listeners.clear();
        self.engine.stop(now);
        self.stage = Stage::Draining {
            by: now + self.drain_timeout,
            was_late: false,
            is_idle: false,
        };
        let Unfinished { requests, bytes } = self.unfinished();
        info!(why, unanswered = requests, unsent_bytes = bytes, "stopping");
    }

    /// Accepts and reads once what lies in the sockets at a stop, as far as the bounds allow.
    /// Linear in the connections.
    fn read_what_has_arrived(&mut self, now: Instant) {
        self.listeners.iter_mut().for_each(Listener::set_ready);
        self.accept(now, BACKLOG as usize);
        for id in self.engine.ids() {
            let Some(socket) = self.sockets.get(id) else {
                continue;
            };
            let mut unread = socket.unread_bytes();
            if unread > 0 {
                socket.set_readable();
            }
            while unread > 0 {
                let read = match self.serve(id, now) {
                    Ok(read) => read,
                    Err(cause) => {
                        self.lose(id, &cause, now);
                        break;
                    }
                };
                unread = unread.saturating_sub(read);
                if read == 0 {
                    break;
                }
                // What waits for slots keeps its connection from being read.
                self.submit(now);
            }
        }
    }

    /// Looks after each connection that needs it once; what comes up meanwhile waits for the next
    /// turn. What they ask goes to the workers as soon as [`SUBMIT_REQUESTS`] wait.
    fn attend(&mut self, now: Instant) {
        for _ in 0..self.engine.ready_len() {
            let Some(id) = self.engine.next_ready() else {
                return;
            };
            if let Err(cause) = self.serve(id, now) {
                self.lose(id, &cause, now);
            }
            if self.engine.waiting() >= SUBMIT_REQUESTS {
                self.submit(now);
            }
        }
    }

    /// Writes, reads and closes as the engine says, until there is nothing to do or the
    /// connection has had its share of the turn. Says how many bytes it read to be served.
    fn serve(&mut self, id: ConnectionId, now: Instant) -> io::Result<usize> {
        let mut read = 0;
        let Some(socket) = self.sockets.get(id) else {
            return Ok(read);
        };
        socket.check()?;
        for _ in 0..READS_PER_TURN {
            flush(socket, &mut self.engine, id, now)?;
            match self.engine.next_action(id, socket.is_readable()) {
                Action::Wait => return Ok(read),
                Action::Read => match socket.read(&mut self.buffer)? {
                    ReadOutcome::Bytes(count) => {
                        read += count;
                        self.engine.received(id, &self.buffer[..count], now);
                        if !socket.is_readable() {
                            // What follows from it is on the attention list.
                            return Ok(read);
                        }
                    }
                    ReadOutcome::End => self.engine.received_end(id, now),
                    ReadOutcome::Blocked => return Ok(read),
                },
                Action::Discard => match socket.read(&mut self.buffer)? {
                    ReadOutcome::Bytes(count) => self.engine.discarded(id, count),
                    ReadOutcome::End => self.engine.received_end(id, now),
                    ReadOutcome::Blocked => return Ok(read),
                },
                Action::ShutDown => {
                    socket.shut_down_writing()?;
                    self.engine.shut_down(id, now);
                }
                Action::Close { why } => {
                    self.close(id, why, now);
                    return Ok(read);
                }
            }
        }
        self.engine.mark_ready(id);
        Ok(read)
    }

    /// Gives the queue what it has room for, whoever's turn it is. What happens under the queue's
    /// lock is the push alone.
    fn submit(&mut self, now: Instant) {
        while self.engine.has_waiting() {
            if self.room < self.engine.waiting() {
                // Workers may have made room since.
                self.push();
                if self.room == 0 {
                    return;
                }
            }
            self.engine.submit(self.room, now, &mut self.tasks);
            self.push();
        }
    }

    fn push(&mut self) {
        let pushed = self.queue.push(Instant::now(), self.tasks.drain(..));
        self.room = pushed.room;
        self.check_queue_at = pushed.check_at;
    }

    /// Sees to it that no task waits for long beside a parked worker.
    fn check_queue(&mut self) {
        if let Some(at) = self.check_queue_at
            && let now = Instant::now()
            && at <= now
        {
            self.check_queue_at = self.queue.check(now);
        }
    }

    fn expire(&mut self, now: Instant) {
        let (sockets, diag) = (&mut self.sockets, &mut self.diag);
        let refused = self.engine.expire(now, |id| queues(sockets, diag, id));
        self.overload.note(refused, now);
    }

    fn report_if_due(&mut self, now: Instant) {
        if self.reports.next_due().is_some_and(|at| at <= now) {
            self.report(now);
        }
    }

    fn unfinished(&mut self) -> Unfinished {
        let (sockets, diag) = (&mut self.sockets, &mut self.diag);
        self.engine.unfinished(|id| queues(sockets, diag, id))
    }

    fn check_drained(&mut self, now: Instant) {
        let Stage::Draining {
            by,
            was_late,
            is_idle,
        } = self.stage
        else {
            return;
        };
        // A request may still run for a client that has gone: time for it, while signals are heard.
        let is_running = self.engine.has_submitted();
        let connections = self.engine.len();
        if connections == 0 && !is_running {
            self.stage = Stage::Ended(StopReason::Drained);
        } else if now >= by + LATE && !was_late {
            // The process was stopped, or had no processor: what has happened meanwhile comes
            // first.
            self.stage = Stage::Draining {
                by: now + CATCH_UP,
                was_late: true,
                is_idle,
            };
        } else if now >= by {
            self.end(StopReason::TimedOut);
        } else if !is_idle && connections > 0 && self.engine.is_written() {
            info!(
                connections,
                "all is answered; waiting for clients to take it and close"
            );
            self.stage = Stage::Draining {
                by,
                was_late,
                is_idle: true,
            };
        }
    }

    /// Ends the server, as `abandoned` if that loses something.
    fn end(&mut self, abandoned: fn(Unfinished) -> StopReason) {
        let unfinished = self.unfinished();
        self.stage = Stage::Ended(match unfinished == Unfinished::default() {
            true => StopReason::Drained,
            false => abandoned(unfinished),
        });
    }

    /// The socket reported an error: a reset, mostly.
    fn lose(&mut self, id: ConnectionId, cause: &io::Error, now: Instant) {
        self.engine.stats_mut().lost += 1;
        self.close(id, &cause.to_string(), now);
    }

    fn close(&mut self, id: ConnectionId, why: &str, now: Instant) {
        self.sockets.remove(id);
        let removed = self.engine.remove(id, now, why);
        if removed.is_some_and(|removed| removed.has_submitted) {
            let withdrawn = self.queue.discard(id.slot(), |task| task.connection == id);
            let requests = withdrawn.iter().map(|task| task.run.span.requests).sum();
            self.engine.withdrawn(requests);
        }
    }
}

fn flush(
    socket: &mut Socket,
    engine: &mut Engine,
    id: ConnectionId,
    now: Instant,
) -> io::Result<()> {
    loop {
        let unsent = engine.unsent(id);
        if unsent.is_empty() {
            return Ok(());
        }
        match socket.write(unsent)? {
            0 => return Ok(()),
            count => engine.sent(id, count, now),
        }
    }
}

/// What the kernel holds of a connection's socket.
fn queues(sockets: &mut Sockets, diag: &mut Option<SocketDiag>, id: ConnectionId) -> SocketQueues {
    let Some(socket) = sockets.get(id) else {
        return SocketQueues::default();
    };
    let unacknowledged = diag
        .as_mut()
        .and_then(|diag| diag.unacknowledged(socket.stream()));
    SocketQueues {
        unread: socket.unread_bytes(),
        unacknowledged: unacknowledged.unwrap_or_default(),
    }
}

/// Names what could not be done.
fn cannot(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |cause| io::Error::new(cause.kind(), format!("cannot {what}: {cause}"))
}

/// A response goes out when it is there, not when the last one has been acknowledged; a peer that
/// has vanished is found out in the end.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_keepalive(true)
}

#[cfg(test)]
mod tests;
