//! All connections as pure state: bytes and `now` in; tasks, bytes and the next deadline out.
//!
//! Knows no sockets, no threads, no queue and no clock. The reactor brings what happened and does
//! what [`Engine::step`] says; a test does the same with a clock of its own.
//!
//! Rule: every request line gets a place in its connection's order, every answer fills one, and
//! nothing that a client sends makes the engine keep more than the bounds of [`Config`].

mod admission;
mod connection;
mod deadlines;
mod framing;
mod invariants;
mod order;
mod outbox;
mod short_deque;
mod slots;
mod trace;

use crate::config::Config;
use crate::log::debug;
use crate::stats::Stats;
use crate::task::{ConnectionId, Response};
use crate::wire::ErrorLine;
use admission::Admission;
pub use connection::UNSENT_LIMIT_BYTES;
use connection::{Connection, LINGER_LIMIT_BYTES, LINGER_TIMEOUT, Phase, ReadPause};
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Instant;
use trace::trace_each;

/// Connections beyond the limit that may be told so at a time; more wait in the listen backlog.
pub const REFUSAL_RESERVE: usize = 64;

/// Tells of a request line whether the handler calls it quick.
pub type IsQuick = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What holds for every connection.
struct Rules {
    config: Config,
    is_quick: IsQuick,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// What the reactor is to do next with one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing now: the connection is attended again when there is something.
    Wait,
    /// Read, and hand over what came.
    Read,
    /// Read, throw it away, and say how much it was.
    Discard,
    /// Shut the sending side.
    ShutDown,
    /// Close the socket and [`Engine::remove`] the connection.
    Close {
        /// What the log says of it.
        why: &'static str,
    },
}

const FINISHED: Step = Step::Close { why: "finished" };

/// What a connection left behind when it was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Requests of it are queued or running: the queue can be rid of those not started.
    pub has_submitted: bool,
}

/// What is framed and not answered, or answered and not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owed {
    /// Requests without an answer.
    pub requests: usize,
    /// Bytes of answers that no socket has taken, or that its client has not acknowledged.
    pub bytes: usize,
}

/// What the kernel holds of one socket, which nobody announces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketQueues {
    /// Bytes that have come and have not been read.
    pub unread: usize,
    /// Bytes that were written and that the other side has not acknowledged, a shut sending side
    /// counted as one; zero where the system does not tell.
    pub unacknowledged: usize,
}

// The table of 16,384 connections stays below the block of 8 MiB that glibc maps by itself, as the server arranges it. A table that
// has grown beyond leaves its old memory in the heap: 10,000 idle connections took 1082 bytes each in place of 612.
const _: () = assert!(size_of::<Connection>() < 512);

/// The state of all connections. Methods take O(1) or O(log n) in the connections, but for what says
/// otherwise; a budget that is free again attends all that it had paused.
///
/// Ids of connections that have gone are answered as "nothing there": a response that comes late
/// is dropped, an event that comes late is ignored.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    connections: Slab<Connection>,
    /// Connections accepted so far.
    serial: u64,
    /// Connections that were refused on arrival and are still there.
    refused: usize,
    admission: Admission,
    /// At most one entry a connection: a time at which to look whether a deadline has passed. It may
    /// be early, since deadlines move back with progress; it is never late.
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    /// Connections that the reactor has to look after, each once.
    attention: VecDeque<ConnectionId>,
    /// Connections whose reading the budget of all has paused.
    budget_paused: BTreeSet<ConnectionId>,
    stopping: bool,
    stats: Stats,
}

impl Engine {
    /// An engine without connections.
    pub fn new(config: Config, is_quick: IsQuick) -> Engine {
        Engine {
            rules: Rules { config, is_quick },
            connections: Slab::new(),
            serial: 0,
            refused: 0,
            admission: Admission::default(),
            deadlines: BTreeSet::new(),
            attention: VecDeque::new(),
            budget_paused: BTreeSet::new(),
            stopping: false,
            stats: Stats::default(),
        }
    }

    /// The numbers so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The same, for what only the reactor sees.
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    // What happened.

    /// Whether one more connection may be accepted, be it only to be refused.
    pub fn may_accept(&self) -> bool {
        let room = (self.rules.config.max_connections + REFUSAL_RESERVE).min(ConnectionId::SLOTS);
        !self.stopping && self.connections.len() < room
    }

    /// A connection was accepted.
    pub fn accept(&mut self, now: Instant) -> ConnectionId {
        self.serial += 1;
        let turn = self.admission.new_turn();
        let entry = self.connections.vacant_entry();
        let id = ConnectionId::new(self.serial, entry.key());
        entry.insert(Connection::new(id, turn, self.rules.config.max_line, now));
        self.stats.accepted += 1;
        self.stats.connections.up(1);
        let served = self.connections.len() - 1 - self.refused;
        if served >= self.rules.config.max_connections {
            self.refused += 1;
            self.stats.too_many += 1;
            self.connections[id.slot()].refused = true;
            self.farewell(id, ErrorLine::TooManyConnections, now);
        }
        self.arm(id, now);
        id
    }

    /// Bytes came, after [`Step::Read`].
    pub fn received(&mut self, id: ConnectionId, chunk: &[u8], now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        self.stats.bytes_in += chunk.len() as u64;
        let had_waiting = connection.order.waiting() > 0;
        connection.receive(chunk, &self.rules, now, &mut self.stats);
        self.settled(id, had_waiting);
    }

    /// The client's stream ended, after [`Step::Read`] or [`Step::Discard`].
    pub fn received_end(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        connection.peer_finished = true;
        self.advance(id, now);
    }

    /// So many bytes came and were thrown away, after [`Step::Discard`].
    pub fn discarded(&mut self, id: ConnectionId, count: usize) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        self.stats.bytes_in += count as u64;
        connection.bytes_in += count as u64;
        if let Phase::Lingering { left_bytes, .. } = &mut connection.phase {
            *left_bytes = left_bytes.saturating_sub(count);
        }
    }

    /// A worker is done with a task.
    pub fn completed(&mut self, response: Response, now: Instant) {
        let Response {
            connection: id,
            first,
            requests,
            lines,
            outcomes,
            started_at,
            finished_at,
            overrun,
        } = response;
        self.stats.answered_ok += outcomes.ok as u64;
        self.stats.answered_error += outcomes.error as u64;
        self.stats.answered_internal += outcomes.internal as u64;
        self.stats.quick_overruns += u64::from(overrun.is_some());
        self.stats.submitted.down(requests);
        self.stats
            .working_time
            .record_shared(started_at, finished_at, requests);
        let Some(connection) = find(&mut self.connections, id) else {
            self.stats.dropped += requests as u64;
            trace_each(id, first, requests, "dropped: its connection has gone");
            return;
        };
        let queued_at = connection.order.fill(first, lines);
        self.stats
            .queued_time
            .record(queued_at, started_at, requests);
        self.advance(id, now);
        self.watch_taking(id, now);
    }

    /// The queue gave back so many requests of a removed connection.
    pub fn withdrawn(&mut self, requests: usize) {
        self.stats.discarded += requests as u64;
        self.stats.submitted.down(requests);
    }

    /// The socket took the next `count` bytes of [`Engine::unsent`].
    pub fn sent(&mut self, id: ConnectionId, count: usize, now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let stats = &mut self.stats;
        stats.bytes_out += count as u64;
        connection.last_progress = now;
        connection.outbox.sent(count, |written| {
            stats
                .written_time
                .record(written.framed_at, now, written.requests);
            trace_each(id, written.first, written.requests, "written");
        });
        self.advance(id, now);
        self.watch_taking(id, now);
    }

    /// The sending side was shut, after [`Step::ShutDown`].
    pub fn shut_down(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        connection.last_progress = now;
        connection.phase = Phase::Lingering {
            drains: connection.phase.drains(),
            left_bytes: LINGER_LIMIT_BYTES,
        };
        self.arm(id, now);
    }

    /// The socket was closed: the connection is forgotten, with everything it still waited for.
    pub fn remove(&mut self, id: ConnectionId, now: Instant, why: &str) -> Option<Removed> {
        let connection = find(&mut self.connections, id)?;
        let waiting = connection.order.waiting();
        let has_submitted = connection.order.has_submitted();
        debug!(conn = %id, why, requests = connection.order.opened(), bytes_in = connection.bytes_in,
            bytes_out = connection.outbox.sent_in_all(), unanswered = connection.order.len(),
            unsent_bytes = connection.outbox.unsent().len(),
            age_ms = now.saturating_duration_since(connection.opened_at).as_millis() as u64, "closed");
        if waiting > 0 {
            self.admission.leave(connection.last_turn);
            self.stats.discarded += waiting as u64;
            self.stats.waiting.down(waiting);
        }
        if let Some(at) = connection.armed {
            self.deadlines.remove(&(at, id));
        }
        self.budget_paused.remove(&id);
        self.refused -= usize::from(connection.refused);
        let counted_bytes = connection.counted_bytes;
        self.connections.remove(id.slot());
        self.stats.connections.down(1);
        self.recount(counted_bytes, 0);
        Some(Removed { has_submitted })
    }

    /// From now on nothing is accepted, read or framed; what has been framed is answered. Linear in the
    /// connections.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        for id in self.ids() {
            let connection = &mut self.connections[id.slot()];
            if connection.phase == Phase::Serving {
                connection.end_input(None, &self.rules.config);
            }
            self.advance(id, now);
        }
    }

    // What to do.

    /// The next connection that needs something done. One round of them is as many as
    /// [`Engine::attention_len`] says: those that come up meanwhile belong to the next.
    pub fn next_attention(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.attention.pop_front() {
            if let Some(connection) = find(&mut self.connections, id) {
                connection.attended = false;
                return Some(id);
            }
        }
        None
    }

    /// How many connections need something done.
    pub fn attention_len(&self) -> usize {
        self.attention.len()
    }

    /// Puts a connection on the attention list, for what the reactor found out about its socket.
    pub fn attend(&mut self, id: ConnectionId) {
        if let Some(connection) = find(&mut self.connections, id)
            && !connection.attended
        {
            connection.attended = true;
            self.attention.push_back(id);
        }
    }

    /// What is to be written to a connection's socket, before anything else.
    pub fn unsent(&self, id: ConnectionId) -> &[u8] {
        match self.connections.get(id.slot()) {
            Some(connection) if connection.id == id => connection.outbox.unsent(),
            _ => &[],
        }
    }

    /// What is to be done with a connection whose unsent bytes have been offered to its socket.
    /// `readable` says whether the socket may have something to read.
    pub fn step(&mut self, id: ConnectionId, readable: bool) -> Step {
        let budget_spent = self.is_budget_spent();
        let Some(connection) = find(&mut self.connections, id) else {
            return Step::Wait;
        };
        match connection.phase {
            Phase::Serving if !connection.peer_finished => {}
            Phase::Serving | Phase::Ending { .. } if !connection.is_finished() => {
                return Step::Wait;
            }
            Phase::Ending { .. } if !connection.peer_finished => return Step::ShutDown,
            Phase::Serving | Phase::Ending { .. } => return FINISHED,
            Phase::Lingering { .. } if connection.peer_finished => return FINISHED,
            Phase::Lingering {
                left_bytes: 1.., ..
            } if readable => return Step::Discard,
            Phase::Lingering { .. } => return Step::Wait,
            Phase::Over { why } => return Step::Close { why },
        }
        if !readable && connection.idle_unless.is_none() {
            return Step::Wait;
        }
        if !connection.may_read(&self.rules.config) {
            connection.read_pause = ReadPause::OwnBounds;
            self.budget_paused.remove(&id);
            self.stats.read_pauses += 1;
            return Step::Wait;
        }
        if budget_spent && !connection.owes_nothing() {
            connection.read_pause = ReadPause::Budget;
            self.budget_paused.insert(id);
            self.stats.budget_pauses += 1;
            return Step::Wait;
        }
        Step::Read
    }

    /// Whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether all that was framed has been answered and written. Linear in the connections, until one owes
    /// something.
    pub fn is_written(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.all(|(_, connection)| connection.owes_nothing())
    }

    /// Who is there.
    pub fn ids(&self) -> Vec<ConnectionId> {
        let ids = self.connections.iter().map(|(_, connection)| connection.id);
        ids.collect()
    }

    /// What would be lost if the server ended now. Linear in the connections.
    pub fn owed(&self, mut kernel: impl FnMut(ConnectionId) -> SocketQueues) -> Owed {
        let mut owed = Owed::default();
        for (_, connection) in &self.connections {
            owed.requests += connection.order.len();
            owed.bytes += connection.outbox.unsent().len();
            if !connection.is_taken() {
                let unacknowledged = kernel(connection.id).unacknowledged;
                owed.bytes += connection.without_end(unacknowledged);
            }
        }
        owed
    }

    // What follows from a change of one connection.

    /// Moves on what can move after a change, and sees what follows.
    #[inline]
    fn advance(&mut self, id: ConnectionId, now: Instant) {
        let connection = &mut self.connections[id.slot()];
        let had_waiting = connection.order.waiting() > 0;
        connection.advance(&self.rules, now, &mut self.stats);
        self.settled(id, had_waiting);
    }

    /// Says goodbye with an error line, and gives it a limited time to be taken.
    fn farewell(&mut self, id: ConnectionId, error: ErrorLine<'_>, now: Instant) {
        let connection = &mut self.connections[id.slot()];
        connection.end_input(Some(now + LINGER_TIMEOUT), &self.rules.config);
        connection.order.open_answered(error.to_line().into(), now);
        self.advance(id, now);
    }

    /// After every change of a connection: its turn for slots, its share of the budget, and
    /// whether the reactor has something to do for it.
    fn settled(&mut self, id: ConnectionId, had_waiting: bool) {
        let connection = &mut self.connections[id.slot()];
        if !had_waiting && connection.order.waiting() > 0 {
            self.admission.arrive(connection.last_turn, id);
        }
        let pause_is_over = connection.pause_is_over(&self.rules.config);
        if pause_is_over {
            connection.read_pause = ReadPause::None;
            self.budget_paused.remove(&id);
        }
        let has_something = !connection.outbox.is_empty()
            || connection.is_finished()
            || matches!(connection.phase, Phase::Over { .. });
        if (pause_is_over || has_something) && !connection.attended {
            connection.attended = true;
            self.attention.push_back(id);
        }
        let after = connection.buffered_bytes();
        let before = std::mem::replace(&mut connection.counted_bytes, after);
        self.recount(before, after);
    }

    fn is_budget_spent(&self) -> bool {
        self.stats.buffered.now > self.rules.config.max_buffered as u64
    }

    #[inline]
    fn recount(&mut self, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.stats.buffered.down(before);
        self.stats.buffered.up(after);
        if !self.budget_paused.is_empty() && !self.is_budget_spent() {
            self.end_budget_pauses();
        }
    }

    #[cold]
    fn end_budget_pauses(&mut self) {
        for id in std::mem::take(&mut self.budget_paused) {
            self.connections[id.slot()].read_pause = ReadPause::None;
            self.attend(id);
        }
    }
}

fn find(connections: &mut Slab<Connection>, id: ConnectionId) -> Option<&mut Connection> {
    connections
        .get_mut(id.slot())
        .filter(|connection| connection.id == id)
}
