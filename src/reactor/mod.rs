//! The event loop: one thread that owns every socket and never waits for work.
//!
//! Knows neither lines nor order nor what a deadline means: the engine decides, the reactor does.
//!
//! Rule: a [`Reactor::turn`] never blocks outside its poll, and gives each connection a bounded share.

mod alarm;
mod listener;
mod sockets;
mod warn_limit;

use crate::config::Config;
use crate::engine::{Engine, IsQuick, Owed, Step};
use crate::pool::{LOOK_EVERY, LoopCore, ResponseQueue, WorkQueue};
use crate::task::{Batch, ConnectionId, Task};
use alarm::Alarm;
pub(crate) use listener::bind;
use listener::{Accepted, Listener};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;
use sockets::{ReadOutcome, Socket, Sockets};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};
use warn_limit::WarnLimit;

// Below every token of a connection, whose serial number starts at 1.
const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const SIGNALS: Token = Token(2);
const ALARM: Token = Token(3);

/// One read takes at most so much, from one buffer that all connections share.
const READ_CHUNK_BYTES: usize = 65_536;
/// Reads of one connection in one turn, before the others have theirs.
const READS_PER_TURN: usize = 4;
/// Connections accepted in one turn, before those that are there have theirs.
const ACCEPTS_PER_TURN: usize = 64;
/// Requests that go to the workers before the turn is over: so that they start, and the queue need not hold
/// all that one turn reads.
const SUBMIT_REQUESTS: u64 = 32;
/// Events that one turn takes from the poll; more wait there. A socket that is looked at by the poll, read and then
/// written has to be in the caches still: with thousands ready at a time it is not.
const EVENTS_PER_TURN: usize = 64;
/// The same, when more than that many connections have not been finished with, and all of them have their share of every turn:
/// who waits for its event must not wait for several such turns.
const EVENTS_BESIDE_MANY: usize = 1024;

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
pub struct Stopper {
    asked: Arc<AtomicBool>,
    responses: Arc<ResponseQueue<Batch>>,
}

impl Stopper {
    /// Does what SIGTERM does: the server answers what it has framed, then ends.
    pub fn stop(&self) {
        // Release, with the acquire in `Reactor::note_stop`; the announcement makes it look.
        self.asked.store(true, Ordering::Release);
        self.responses.announce();
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything framed was answered and written.
    Drained,
    /// The drain timeout passed first; so much was abandoned.
    TimedOut(Owed),
    /// A second signal came; so much was abandoned.
    Forced(Owed),
}

/// Sockets, poll and timers around an [`Engine`].
pub(crate) struct Reactor {
    poll: Poll,
    /// Of these two, one is in use for a turn, and the other is empty.
    events: Events,
    events_beside_many: Events,
    alarm: Alarm,
    /// None once the server is stopping.
    listener: Option<Listener>,
    limit_warnings: WarnLimit,
    unserved_warnings: WarnLimit,
    signals: Option<Signals>,
    signalled: bool,
    sockets: Sockets,
    buffer: Box<[u8]>,
    engine: Engine,
    queue: Arc<WorkQueue<Task>>,
    responses: Arc<ResponseQueue<Batch>>,
    loop_core: Arc<LoopCore>,
    note_core_at: Instant,
    stop_asked: Arc<AtomicBool>,
    drain_timeout: Duration,
    drain_by: Option<Instant>,
    ending: Option<Ending>,
    /// The loop and the workers.
    threads: usize,
    started_at: Instant,
    /// Zero for never.
    stats_interval: Duration,
    next_stats: Option<Instant>,
}

impl Reactor {
    pub(crate) fn new(
        config: &Config,
        is_quick: IsQuick,
        listener: std::net::TcpListener,
        queue: Arc<WorkQueue<Task>>,
    ) -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let listener = Listener::register(listener, poll.registry(), LISTENER)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let alarm = Alarm::register(poll.registry(), ALARM)?;
        let now = Instant::now();
        let stats_interval = config.stats_interval;
        let wake = move || waker.wake().expect("an eventfd takes every wake");
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            events_beside_many: Events::with_capacity(EVENTS_BESIDE_MANY),
            alarm,
            listener: Some(listener),
            limit_warnings: WarnLimit::default(),
            unserved_warnings: WarnLimit::default(),
            signals: None,
            signalled: false,
            sockets: Sockets::default(),
            buffer: vec![0; READ_CHUNK_BYTES].into(),
            engine: Engine::new(config.clone(), is_quick),
            queue,
            responses: Arc::new(ResponseQueue::new(wake)),
            loop_core: Arc::default(),
            note_core_at: now,
            stop_asked: Arc::new(AtomicBool::new(false)),
            drain_timeout: config.drain_timeout,
            drain_by: None,
            ending: None,
            threads: 1 + config.workers,
            started_at: now,
            stats_interval,
            next_stats: (!stats_interval.is_zero()).then(|| now + stats_interval),
        })
    }

    pub(crate) fn responses(&self) -> &Arc<ResponseQueue<Batch>> {
        &self.responses
    }

    pub(crate) fn loop_core(&self) -> &Arc<LoopCore> {
        &self.loop_core
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper {
            asked: Arc::clone(&self.stop_asked),
            responses: Arc::clone(&self.responses),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn log_stats(&self) {
        let stats = self.engine.stats();
        stats.log(&self.queue.stats(), self.threads, self.started_at.elapsed());
    }

    /// From here on SIGTERM and SIGINT stop this server, and SIGUSR1 makes it report.
    pub(crate) fn handle_signals(&mut self) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }

    pub(crate) fn run(&mut self) -> io::Result<Ending> {
        loop {
            self.turn()?;
            if let Some(ending) = self.ending {
                return Ok(ending);
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        let now = Instant::now();
        // Who has been answered is attended before who has asked: its client goes on meanwhile.
        self.collect(now);
        self.note_events();
        self.accept(now);
        self.note_stop(now);
        // Those that wait come before what is read now.
        self.submit(now);
        self.attend(now);
        self.submit(now);
        self.engine.expire(now);
        self.note_core(now);
        self.report(now);
        self.see_whether_drained(now);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let has_more_to_do = self.engine.attention_len() > 0 || !self.responses.fall_asleep();
        let timeout = if has_more_to_do {
            Some(Duration::ZERO)
        } else {
            self.alarm.set(self.next_due())?
        };
        self.events.clear();
        self.events_beside_many.clear();
        let events = if self.engine.attention_len() > EVENTS_PER_TURN {
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
        let listener = self.listener.as_ref().filter(|_| self.engine.may_accept());
        let due = [
            self.engine.next_deadline(),
            listener.and_then(Listener::next_try),
            self.drain_by,
            self.next_stats,
        ];
        due.into_iter().flatten().min()
    }

    fn note_events(&mut self) {
        for event in self.events.iter().chain(&self.events_beside_many) {
            match event.token() {
                LISTENER => {
                    if let Some(listener) = &mut self.listener {
                        listener.set_ready();
                    }
                }
                // What it announces is looked for in every turn.
                WAKER => {}
                SIGNALS => self.signalled = true,
                ALARM => self.alarm.note_ring(),
                Token(bits) => {
                    let id = ConnectionId::from_bits(bits as u64);
                    // An event may outlive its connection within one batch; ids are never reused.
                    if let Some(socket) = self.sockets.get(id) {
                        socket.note(event);
                        self.engine.attend(id);
                    }
                }
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &mut self.listener else {
                return;
            };
            if !self.engine.may_accept() {
                return;
            }
            match listener.accept(now) {
                Accepted::Connection(stream, peer) => self.open(stream, peer, now),
                Accepted::Nothing => return,
                Accepted::Exhausted => {
                    self.engine.stats_mut().accept_pauses += 1;
                    return;
                }
            }
        }
    }

    fn open(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Instant) {
        if let Err(cause) = set_options(&stream) {
            // The peer may have gone already; the first read will tell.
            debug!(%peer, %cause, "socket options not set");
        }
        let too_many_before = self.engine.stats().too_many;
        let id = self.engine.accept(now);
        let too_many = self.engine.stats().too_many;
        if too_many > too_many_before && self.limit_warnings.allows(now) {
            warn!(
                too_many,
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

    fn collect(&mut self, now: Instant) {
        let engine = &mut self.engine;
        self.responses.drain(|batch| engine.completed(batch, now));
    }

    /// After the drain in `collect`, which ends the announcement that a [`Stopper`] relies on: looked
    /// at before, a stop asked for in between would be seen by nobody.
    fn note_stop(&mut self, now: Instant) {
        if self.stop_asked.swap(false, Ordering::Acquire) {
            self.stop("asked", now);
        }
        if !std::mem::take(&mut self.signalled) {
            return;
        }
        let Some(signals) = &mut self.signals else {
            return;
        };
        let pending: Vec<i32> = signals.pending().collect();
        for signal in pending {
            if signal == SIGUSR1 {
                self.log_stats();
            } else if self.drain_by.is_some() {
                warn!(signal, "second signal: ending at once");
                self.ending = Some(Ending::Forced(self.engine.owed()));
            } else {
                self.stop(
                    if signal == SIGINT {
                        "SIGINT"
                    } else {
                        "SIGTERM"
                    },
                    now,
                );
            }
        }
    }

    fn stop(&mut self, why: &str, now: Instant) {
        if self.drain_by.is_some() {
            return;
        }
        // Closing the listener here makes later connects fail instead of hanging in the backlog.
        self.listener = None;
        self.engine.stop(now);
        self.drain_by = Some(now + self.drain_timeout);
        let Owed { requests, bytes } = self.engine.owed();
        info!(why, unanswered = requests, unsent_bytes = bytes, "stopping");
    }

    /// Looks after each connection that needs it once; what comes up meanwhile waits for the next turn.
    /// What they ask goes to the workers as soon as [`SUBMIT_REQUESTS`] wait.
    fn attend(&mut self, now: Instant) {
        for _ in 0..self.engine.attention_len() {
            let Some(id) = self.engine.next_attention() else {
                return;
            };
            if let Err(cause) = self.serve(id, now) {
                self.lose(id, &cause, now);
            }
            if self.engine.stats().waiting.now >= SUBMIT_REQUESTS {
                self.submit(now);
            }
        }
    }

    /// Writes, reads and closes as the engine says, until there is nothing to do or the
    /// connection has had its share of the turn.
    fn serve(&mut self, id: ConnectionId, now: Instant) -> io::Result<()> {
        let Some(socket) = self.sockets.get(id) else {
            return Ok(());
        };
        socket.check()?;
        for _ in 0..READS_PER_TURN {
            flush(socket, &mut self.engine, id, now)?;
            match self.engine.step(id, socket.is_readable(), now) {
                Step::Wait => return Ok(()),
                Step::Read => match socket.read(&mut self.buffer)? {
                    ReadOutcome::Bytes(count) => {
                        self.engine.received(id, &self.buffer[..count], now);
                        if !socket.is_readable() {
                            // What follows from it is on the attention list.
                            return Ok(());
                        }
                    }
                    ReadOutcome::End => self.engine.received_end(id, now),
                    ReadOutcome::Blocked => return Ok(()),
                },
                Step::Discard => match socket.read(&mut self.buffer)? {
                    ReadOutcome::Bytes(count) => self.engine.discarded(id, count),
                    ReadOutcome::End => self.engine.received_end(id, now),
                    ReadOutcome::Blocked => return Ok(()),
                },
                Step::ShutDown => {
                    socket.shut_down_writing()?;
                    self.engine.shut_down(id, now);
                }
                Step::Close { why } => {
                    self.close(id, why, now);
                    return Ok(());
                }
            }
        }
        self.engine.attend(id);
        Ok(())
    }

    /// Gives the queue what it has room for, whoever's turn it is.
    fn submit(&mut self, now: Instant) {
        if self.engine.has_waiting() {
            let engine = &mut self.engine;
            self.queue.push_while_room(|room| {
                engine.submit(room.slots(), now, |flow, task| {
                    room.push(flow, task.requests, task.is_quick, task);
                });
            });
        }
    }

    fn note_core(&mut self, now: Instant) {
        if now >= self.note_core_at {
            self.loop_core.note();
            self.note_core_at = now + LOOK_EVERY;
        }
    }

    fn report(&mut self, now: Instant) {
        if self.next_stats.is_some_and(|at| at <= now) {
            self.log_stats();
            self.next_stats = Some(now + self.stats_interval);
        }
    }

    fn see_whether_drained(&mut self, now: Instant) {
        let Some(by) = self.drain_by else { return };
        if self.ending.is_some() {
            return;
        }
        // A request may still run for a client that has gone: time for it, while signals are heard.
        let is_running = self.engine.stats().submitted.now > 0;
        if self.engine.is_empty() && !is_running {
            self.ending = Some(Ending::Drained);
        } else if now >= by {
            let owed = self.engine.owed();
            let nothing = Owed {
                requests: 0,
                bytes: 0,
            };
            self.ending = Some(if owed == nothing {
                Ending::Drained
            } else {
                Ending::TimedOut(owed)
            });
        }
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
            let requests = withdrawn.iter().map(|task| task.requests).sum();
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

/// A response goes out when it is there, not when the last one has been acknowledged; a peer that
/// has vanished is found out in the end.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_keepalive(true)
}
