//! All connections as pure state: bytes and `now` in; tasks, bytes and the next deadline out.
//!
//! Knows no sockets, no threads, no queue and no clock. The reactor brings what happened and does
//! what [`Engine::next_action`] says; a test does the same with a clock of its own.
//!
//! Rule: every request gets a place in its connection's order, every answer fills one, and nothing
//! that a client sends makes the engine keep more than the bounds of [`Config`].

mod addresses;
mod admission;
mod connection;
mod invariants;
mod read_gate;
mod ready_list;
mod recorder;
mod timers;
mod trace;
mod view;

use crate::codec::{Codec, Guarded, Refusal};
use crate::config::{Config, REFUSAL_RESERVE};
use crate::log::debug;
pub use crate::proxy::HeaderFault;
use crate::stats::Stats;
use crate::task::{Completion, ConnectionId, Task};
use crate::trace::{TaskTimes, Work};
use addresses::AddressSlot;
use admission::{Admission, Ticket};
pub use connection::UNSENT_LIMIT_BYTES;
use connection::{Connection, Expired, Framed, Phase, Rules};
use read_gate::ReadGate;
use ready_list::ReadyList;
use recorder::Recorder;
use slab::Slab;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use timers::Timers;
use trace::trace_each;
pub use view::{ConnectionState, ConnectionView, PauseReason};

/// Tells of a request whether the handler calls it quick.
pub type IsQuick = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What the reactor is to do next with one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing now: the connection is marked ready again when there is something.
    Wait,
    /// Read, and hand over what came.
    Read,
    /// Read, and hand over what came to [`Engine::received_header`].
    ReadHeader,
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

const FINISHED: Action = Action::Close { why: "finished" };

/// What [`Engine::accept`] made of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: ConnectionId,
    /// What is to become of it.
    pub entry: Entry,
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is served.
    Served,
    /// It is once the header of its proxy has come.
    AwaitsHeader,
    /// It is one too many, and is only told so.
    Refused,
}

/// What a proxy has said of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    /// The client's address, if it says one.
    pub client: Option<SocketAddr>,
    /// How many of the bytes belong to that; the others may be requests.
    pub bytes: usize,
}

/// What a connection left behind when it was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Requests of it are queued or running: the queue can be rid of those not started.
    pub has_submitted: bool,
}

/// What is framed and not answered, or answered and not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Requests without an answer.
    pub requests: usize,
    /// Bytes of answers that no socket has taken, or that its client has not acknowledged.
    pub bytes: usize,
}

/// What the kernel holds of the sockets, which nobody announces.
pub trait Kernel {
    /// Bytes that have come and have not been read.
    fn unread(&mut self, id: ConnectionId) -> usize;

    /// Bytes that were written and that the other side has not acknowledged, a shut sending side
    /// counted as one; zero where the system does not tell.
    fn unacknowledged(&mut self, id: ConnectionId) -> usize;
}

/// The state of all connections. Methods take O(1) or O(log n) in the connections, but for what
/// says otherwise; a budget that is free again marks all ready that it had paused.
///
/// Ids of connections that have gone are answered as "nothing there": a completion that comes late
/// is dropped, an event that comes late is ignored.
#[derive(Debug)]
pub struct Engine<C> {
    rules: Rules<C>,
    connections: Slab<Connection>,
    /// Connections accepted so far.
    accepted: u64,
    /// Connections that were refused on arrival and are still there.
    refused: usize,
    admission: Admission,
    timers: Timers,
    ready: ReadyList,
    read_gate: ReadGate,
    /// Requests queued, running, or on their way back.
    submitted: usize,
    is_stopping: bool,
    stats: Stats,
    /// None if nobody wants to know the times of single tasks.
    recorder: Option<Box<Recorder>>,
}

impl<C: Codec> Engine<C> {
    /// An engine without connections.
    pub fn new(config: Config, codec: Arc<C>, is_quick: IsQuick) -> Engine<C> {
        // Allocated once, the table leaves no smaller ones behind when it grows; the memory of a
        // slot is not touched before it is used.
        let slots = most_connections(&config);
        let traced = config.trace_tasks;
        Engine {
            connections: Slab::with_capacity(slots),
            accepted: 0,
            refused: 0,
            admission: Admission::default(),
            timers: Timers::default(),
            ready: ReadyList::default(),
            read_gate: ReadGate::new(&config),
            submitted: 0,
            is_stopping: false,
            stats: Stats::default(),
            recorder: (traced > 0).then(|| Box::new(Recorder::new(traced))),
            rules: Rules {
                config,
                codec: Guarded::new(codec),
                is_quick,
            },
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
        !self.is_stopping && self.connections.len() < most_connections(&self.rules.config)
    }

    /// A connection was accepted.
    pub fn accept(&mut self, now: Instant) -> Accepted {
        self.accepted += 1;
        let ticket = self.admission.ticket(now);
        let entry = self.connections.vacant_entry();
        let id = ConnectionId::new(self.accepted, entry.key());
        let max_parallel = self.rules.config.max_parallel;
        entry.insert(Connection::new(id, ticket, max_parallel, now));
        self.stats.accepted += 1;
        self.stats.connections.up(1);
        let served = self.connections.len() - 1 - self.refused;
        let config = &self.rules.config;
        let connection = &mut self.connections[id.slot()];
        let entry = if served >= config.max_connections {
            connection.is_refused = true;
            connection.farewell(Refusal::TooManyConnections, &self.rules, now);
            self.refused += 1;
            self.stats.too_many += 1;
            self.settle(id, Framed::default());
            Entry::Refused
        } else if config.proxy_protocol {
            connection.await_header(now + config.proxy_header_timeout);
            Entry::AwaitsHeader
        } else {
            Entry::Served
        };
        self.arm(id, now);
        Accepted { id, entry }
    }

    /// The client of a connection that is to be served is known. Says whether it is served: if its
    /// address has too many connections, it is told so, and closes.
    pub fn introduce(&mut self, id: ConnectionId, client: Option<IpAddr>, now: Instant) -> bool {
        let Some(connection) = find(&mut self.connections, id) else {
            return false;
        };
        if let Ok(address) = self.read_gate.addresses.enter(client) {
            connection.address = address;
            return true;
        }
        connection.is_refused = true;
        connection.farewell(Refusal::TooManyConnections, &self.rules, now);
        self.refused += 1;
        self.stats.too_many_per_address += 1;
        self.settle(id, Framed::default());
        self.arm(id, now);
        false
    }

    /// Bytes came, after [`Action::ReadHeader`]. Says what the header says once it is whole; what
    /// comes behind it in the same bytes is to be handed to [`Engine::received`].
    ///
    /// # Errors
    /// No valid header can come of them: the connection is told so, and closes.
    pub fn received_header(
        &mut self,
        id: ConnectionId,
        chunk: &[u8],
        now: Instant,
    ) -> Result<Option<Introduction>, HeaderFault> {
        let Some(connection) = find(&mut self.connections, id) else {
            return Ok(None);
        };
        let found = connection.receive_header(chunk, &self.rules, now);
        let introduction =
            found.map(|whole| whole.map(|(client, bytes)| Introduction { client, bytes }));
        let read = match introduction {
            Ok(Some(Introduction { bytes, .. })) => bytes,
            Ok(None) | Err(_) => chunk.len(),
        };
        self.stats.bytes_in += read as u64;
        self.settle(id, Framed::default());
        match introduction {
            // The deadline of an idle connection may come before that of the header.
            Ok(Some(_)) => self.arm(id, now),
            Ok(None) => {}
            Err(fault) => self.note_bad_header(id, fault, now),
        }
        introduction
    }

    /// Bytes came, after [`Action::Read`].
    pub fn received(&mut self, id: ConnectionId, chunk: &[u8], now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        self.stats.bytes_in += chunk.len() as u64;
        if connection.pause.is_by_address() {
            self.read_gate.forget(connection);
            connection.end_wait(now);
        }
        self.read_gate.allow(connection);
        let framed = connection.receive(chunk, &self.rules, now);
        self.settle(id, framed);
        if framed.foreign > 0 {
            debug!(conn = %id, "it speaks another protocol");
            self.arm(id, now);
        }
        if !self.rules.config.request_timeout.is_zero() {
            self.watch(id, now);
        }
    }

    /// There was nothing to read, after [`Action::Read`].
    pub fn received_nothing(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = find(&mut self.connections, id)
            && connection.pause.is_by_address()
        {
            self.read_gate.forget(connection);
            connection.end_wait(now);
            let address = connection.address;
            self.call(address);
            self.arm(id, now);
        }
    }

    /// The client's stream ended, after [`Action::Read`] or [`Action::Discard`].
    pub fn received_end(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        self.read_gate.allow(connection);
        let framed = connection.receive_end(&self.rules, now);
        self.settle(id, framed.unwrap_or_default());
        if let Err(fault) = framed {
            self.note_bad_header(id, fault, now);
        }
    }

    /// A connection was told that it has no valid header.
    fn note_bad_header(&mut self, id: ConnectionId, fault: HeaderFault, now: Instant) {
        debug!(conn = %id, %fault, "no valid PROXY header");
        self.stats.bad_headers += 1;
        self.arm(id, now);
    }

    /// Bytes came and were thrown away, after [`Action::Discard`].
    pub fn discarded(&mut self, id: ConnectionId, count: usize) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        self.stats.bytes_in += count as u64;
        connection.discard(count);
    }

    /// A worker is done with a task.
    pub fn completed(&mut self, completion: Completion, now: Instant) {
        let Completion {
            connection: id,
            span,
            responses,
            outcomes,
            is_last,
            started_at,
            finished_at,
            overrun,
            worker,
        } = completion;
        let requests = span.requests;
        if let Some(recorder) = &mut self.recorder {
            let work = Work {
                worker,
                started_at,
                finished_at: Some(finished_at),
            };
            recorder.worked(id, span.first, work);
        }
        let stats = &mut self.stats;
        stats.answered_ok += outcomes.ok as u64;
        stats.answered_error += outcomes.error as u64;
        stats.answered_internal += outcomes.internal as u64;
        stats.quick_overruns += u64::from(overrun.is_some());
        let answered = outcomes.ok + outcomes.error + outcomes.internal;
        stats.discarded += (requests - answered) as u64;
        stats.submitted.down(requests);
        let working_time = &mut stats.working_time;
        working_time.record_shared(started_at, finished_at, requests);
        self.submitted -= requests;
        let Some(connection) = find(&mut self.connections, id) else {
            stats.dropped += requests as u64;
            if let Some(recorder) = &mut self.recorder {
                recorder.dropped(id, span.first, now);
            }
            trace_each(id, span, "dropped: its connection has gone");
            return;
        };
        let rules = &self.rules;
        self.read_gate.allow(connection);
        let (queued_at, framed) = connection.complete(span, responses, is_last, rules, now);
        if let Some(queued_at) = queued_at {
            stats.queued_time.record(queued_at, started_at, requests);
        } else {
            stats.dropped += requests as u64;
            if let Some(recorder) = &mut self.recorder {
                recorder.dropped(id, span.first, now);
            }
        }
        self.settle(id, framed);
        self.watch(id, now);
    }

    /// The queue gave back tasks of a removed connection.
    pub fn withdrawn(&mut self, tasks: &[Task], now: Instant) {
        let requests = tasks.iter().map(|task| task.run.span.requests).sum();
        if let Some(recorder) = &mut self.recorder {
            let dropped = |task: &Task| recorder.dropped(task.connection, task.run.span.first, now);
            tasks.iter().for_each(dropped);
        }
        self.submitted -= requests;
        self.stats.discarded += requests as u64;
        self.stats.submitted.down(requests);
    }

    /// The socket took the next `count` bytes of [`Engine::unsent`].
    pub fn sent(&mut self, id: ConnectionId, count: usize, now: Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let (stats, recorder) = (&mut self.stats, &mut self.recorder);
        stats.bytes_out += count as u64;
        self.read_gate.allow(connection);
        let framed = connection.sent(count, &self.rules, now, |span, framed_at| {
            stats.written_time.record(framed_at, now, span.requests);
            if let Some(recorder) = recorder {
                recorder.written(id, span, framed_at, now);
            }
            trace_each(id, span, "written");
        });
        self.settle(id, framed);
        self.watch(id, now);
    }

    /// The sending side was shut, after [`Action::ShutDown`].
    pub fn shut_down(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = find(&mut self.connections, id) {
            connection.shut_down(now);
            self.arm(id, now);
        }
    }

    /// The socket was closed: the connection is forgotten, with everything it still waited for.
    pub fn remove(&mut self, id: ConnectionId, now: Instant, why: &str) -> Option<Removed> {
        find(&mut self.connections, id)?;
        let mut connection = self.connections.remove(id.slot());
        let Connection { order, outbox, .. } = &connection;
        debug!(conn = %id, why, requests = order.opened(), bytes_in = connection.bytes_in(),
            bytes_out = outbox.sent_in_all(), unanswered = order.len(),
            unsent_bytes = outbox.unsent().len(),
            age_ms = connection.age(now).as_millis() as u64, "closed");
        let has_submitted = order.has_submitted();
        self.stats.discarded += order.without_slot() as u64;
        self.recount_waiting(connection.counted_waiting, 0, connection.ticket, id);
        self.timers.disarm(id, &mut connection.armed);
        self.read_gate.forget(&mut connection);
        if let Some(address) = connection.address {
            let addresses = &mut self.read_gate.addresses;
            addresses.recount(address, connection.counted_in_flight, 0);
            self.call(Some(address));
            self.read_gate.addresses.leave(address);
        }
        self.refused -= usize::from(connection.is_refused);
        self.stats.connections.down(1);
        self.recount(connection.counted_bytes, 0);
        if let Some(recorder) = &mut self.recorder {
            recorder.removed(id, now);
        }
        Some(Removed { has_submitted })
    }

    /// From now on nothing is accepted, read or framed; what has been framed is answered. Linear
    /// in the connections.
    pub fn stop(&mut self, now: Instant) {
        self.is_stopping = true;
        for id in self.ids() {
            self.stop_one(id, now);
        }
    }

    /// From now on nothing more of this connection is read or framed.
    pub fn stop_one(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = find(&mut self.connections, id) {
            connection.stop(&self.rules, now);
            self.settle(id, Framed::default());
        }
    }

    // What to do.

    /// The next connection that needs something done. A tick serves as many as
    /// [`Engine::ready_len`] says at its beginning: those that come up meanwhile belong to the
    /// next.
    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        let connections = &mut self.connections;
        loop {
            let id = self.ready.next()?;
            if let Some(connection) = find(connections, id) {
                connection.listed.clear();
                return Some(id);
            }
        }
    }

    /// How many connections need something done.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Marks a connection ready, for what the reactor found out about its socket.
    pub fn mark_ready(&mut self, id: ConnectionId) {
        if let Some(connection) = find(&mut self.connections, id) {
            self.ready.mark(id, &mut connection.listed);
        }
    }

    /// What is to be written to a connection's socket, before anything else.
    pub fn unsent(&self, id: ConnectionId) -> &[u8] {
        self.get(id)
            .map_or(&[], |connection| connection.outbox.unsent())
    }

    /// Whether the sending side is to be shut, or the socket closed, as soon as all that is unsent
    /// has been taken.
    pub fn is_unsent_last(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(Connection::is_answered)
    }

    /// Whether a client has all its answers once what is unsent has been taken, has begun no other
    /// request, and could still do so. Never that of a connection that was opened later.
    pub fn is_quiet(&self, id: ConnectionId, opened_until: Instant) -> bool {
        self.get(id).is_some_and(|connection| {
            connection.is_quiet() && connection.opened_at() <= opened_until
        })
    }

    fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.connections.get(id.slot())?;
        (connection.id == id).then_some(connection)
    }

    /// What is to be done with a connection whose unsent bytes have been offered to its socket.
    /// `readable` says whether the socket may have something to read.
    pub fn next_action(&mut self, id: ConnectionId, readable: bool) -> Action {
        let Some(connection) = find(&mut self.connections, id) else {
            return Action::Wait;
        };
        let is_input_finished = connection.is_input_finished();
        match connection.phase() {
            Phase::Header { .. } | Phase::Serving if !is_input_finished => {}
            Phase::Header { .. } | Phase::Serving | Phase::Closing { .. }
                if !connection.is_finished() =>
            {
                return Action::Wait;
            }
            Phase::Closing { .. } if !is_input_finished => return Action::ShutDown,
            Phase::Header { .. } | Phase::Serving | Phase::Closing { .. } => return FINISHED,
            Phase::Lingering { .. } if is_input_finished => return FINISHED,
            Phase::Lingering {
                left_bytes: 1.., ..
            } if readable => return Action::Discard,
            Phase::Lingering { .. } => return Action::Wait,
            Phase::Over { why } => return Action::Close { why },
        }
        let address = connection.address;
        if !readable && !connection.is_read_before_idle() {
            if connection.pause.is_by_address() {
                self.read_gate.forget(connection);
                self.call(address);
            }
            return Action::Wait;
        }
        if matches!(connection.phase(), Phase::Header { .. }) {
            return Action::ReadHeader;
        }
        match self.read_gate.pass(connection) {
            Ok(()) => return Action::Read,
            Err(PauseReason::Budget) => self.stats.budget_pauses += 1,
            Err(PauseReason::Address) => self.stats.address_pauses += 1,
            Err(_) => self.stats.read_pauses += 1,
        }
        // If it was called, it has given that back.
        self.call(address);
        Action::Wait
    }

    /// Whether a request waits for a queue slot.
    pub fn has_waiting(&self) -> bool {
        self.admission.waiting() > 0
    }

    /// How many requests wait for a queue slot.
    pub fn waiting(&self) -> usize {
        self.admission.waiting()
    }

    /// Whether a request is queued, running, or on its way back.
    pub fn has_submitted(&self) -> bool {
        self.submitted > 0
    }

    /// Gives `room` queue slots to requests that wait, as far as there are any, and appends these
    /// to `tasks`.
    ///
    /// Connections take turns: each time a connection gets slots for one run, or for the part of
    /// it that there is room for.
    pub fn submit(&mut self, mut room: usize, now: Instant, tasks: &mut Vec<Task>) {
        let others = tasks.len();
        if self.admission.has_queue() || room < self.admission.waiting() {
            self.queue_newcomers(now);
        }
        self.admission.sort_newcomers();
        while let Some(id) = self.newcomer() {
            room -= self.submit_run(id, room, now, tasks);
        }
        while room > 0
            && let Some(id) = self.admission.next()
        {
            room -= self.submit_run(id, room, now, tasks);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.queued(&tasks[others..], now);
        }
    }

    /// Newcomers stand in the fair queue from now on, and their waiting is timed.
    fn queue_newcomers(&mut self, now: Instant) {
        while let Some(id) = self.newcomer() {
            let ticket = self.connections[id.slot()].ticket;
            self.admission.enqueue(ticket, id);
            self.arm(id, now);
        }
    }

    /// The next newcomer that has not gone or been refused since.
    fn newcomer(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.admission.newcomer() {
            if find(&mut self.connections, id).is_some_and(|c| c.order.waiting() > 0) {
                return Some(id);
            }
        }
        None
    }

    /// Gives slots to the next waiting run of a connection, `room` at most; says how many it took.
    fn submit_run(
        &mut self,
        id: ConnectionId,
        room: usize,
        now: Instant,
        tasks: &mut Vec<Task>,
    ) -> usize {
        let connection = &mut self.connections[id.slot()];
        debug_assert_eq!(connection.id, id, "a connection that goes leaves the queue");
        let run = connection.order.submit(room, &self.rules.codec, now);
        let run = run.expect("a connection in the fair queue has a request waiting");
        let (requests, framed_at) = (run.span.requests, run.framed_at);
        trace_each(id, run.span, "queued");
        tasks.push(Task {
            connection: id,
            run,
        });
        let ticket = self.admission.ticket(now);
        let waiting = connection.order.waiting();
        connection.ticket = ticket;
        let before = std::mem::replace(&mut connection.counted_waiting, waiting);
        if waiting > 0 {
            self.admission.enqueue(ticket, id);
        } else if self.read_gate.resumes(connection) {
            self.ready.mark(id, &mut connection.listed);
        }
        self.submitted += requests;
        self.stats.waiting_time.record(framed_at, now, requests);
        self.stats.submitted.up(requests);
        self.recount_waiting(before, waiting, ticket, id);
        requests
    }

    /// A connection has another number of requests waiting than before.
    fn recount_waiting(&mut self, before: usize, after: usize, ticket: Ticket, id: ConnectionId) {
        self.admission.recount(before, after, ticket, id);
        self.stats.waiting.now = self.admission.waiting() as u64;
    }

    // What time does.

    /// When [`Engine::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Refuses and closes what is due; says how many requests it refused as busy. Asks `kernel`
    /// about the sockets of connections whose clock runs. O(log n) for each connection that is
    /// due.
    pub fn expire(&mut self, now: Instant, kernel: &mut impl Kernel) -> usize {
        self.stats.waiting.note_peak();
        // Requests that got their slots in the tick in which they were framed never get here: only
        // those left over are worth a timer.
        self.queue_newcomers(now);
        // Each connection once: what a refusal lets it frame is offered to the queue before it can
        // be refused, too.
        let mut due = Vec::new();
        let connections = &mut self.connections;
        while let Some(id) = self
            .timers
            .take_due(now, |id| &mut connections[id.slot()].armed)
        {
            due.push(id);
        }
        let is_budget_spent = self.read_gate.is_budget_spent();
        let mut refused = 0;
        for id in due {
            refused += self.expire_one(id, is_budget_spent, now, kernel);
            self.arm(id, now);
        }
        refused
    }

    fn expire_one(
        &mut self,
        id: ConnectionId,
        is_budget_spent: bool,
        now: Instant,
        kernel: &mut impl Kernel,
    ) -> usize {
        let connection = &mut self.connections[id.slot()];
        self.read_gate.allow(connection);
        let (expired, framed) = connection.expire(&self.rules, is_budget_spent, now, kernel);
        let mut refused = 0;
        match expired {
            Expired::Nothing | Expired::GivenUp => {}
            Expired::ReadFirst => self.ready.mark(id, &mut connection.listed),
            Expired::Idle => self.stats.idle_closed += 1,
            Expired::HeaderLate => self.note_bad_header(id, HeaderFault::Late, now),
            Expired::TooSlow => self.stats.slow_closed += 1,
            Expired::RequestTimeout => {
                self.stats.request_timeouts += 1;
                debug!(conn = %id, "request timeout");
            }
            Expired::Refused(requests) => {
                refused = requests;
                self.stats.refused_busy += refused as u64;
            }
        }
        self.settle(id, framed);
        refused
    }

    /// The server waits for something that nobody may announce: sees to it that this is checked
    /// soon.
    #[inline]
    fn watch(&mut self, id: ConnectionId, now: Instant) {
        let config = &self.rules.config;
        let connection = &mut self.connections[id.slot()];
        if let Some(check) = connection.watch_deadline(config, now)
            && !connection.armed.is_due_by(check)
        {
            self.arm(id, now);
        }
    }

    /// Sees to it that the connection is due no later than its next deadline.
    fn arm(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = find(&mut self.connections, id)
            && let Some(deadline) = connection.deadline(&self.rules.config, now)
        {
            self.timers.arm(id, &mut connection.armed, deadline);
        }
    }

    // Which connections there are.

    /// Whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Connections that are there.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether all that was framed has been answered and written. Linear in the connections, until
    /// something is pending on one.
    pub fn is_written(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.all(|(_, connection)| connection.has_nothing_pending())
    }

    /// The ids of all.
    pub fn ids(&self) -> Vec<ConnectionId> {
        let ids = self.connections.iter().map(|(_, connection)| connection.id);
        ids.collect()
    }

    /// What each connection is about. Linear in the connections.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = ConnectionView> {
        let connections = self.connections.iter();
        connections.map(move |(_, connection)| connection.view(now))
    }

    /// The last tasks that have ended, then all that are under way, and how many requests ended
    /// before those; none unless [`Config::trace_tasks`] asks for it. Linear in the connections.
    pub fn traced(&self) -> Option<(Vec<TaskTimes>, u64)> {
        let recorder = self.recorder.as_deref()?;
        let connections = self.connections.iter();
        let waiting = connections.flat_map(|(_, connection)| {
            let runs = connection.order.waiting_runs();
            runs.map(|(span, framed_at)| recorder::framed(connection.id, span, framed_at))
        });
        let tasks = recorder.tasks().chain(waiting).collect();
        Some((tasks, recorder.dropped_requests()))
    }

    /// What would be lost if the server ended now. Linear in the connections.
    pub fn unfinished(&self, kernel: &mut impl Kernel) -> Unfinished {
        let mut unfinished = Unfinished::default();
        for (_, connection) in &self.connections {
            unfinished.requests += connection.order.len();
            unfinished.bytes += connection.outbox.unsent().len();
            if !connection.is_taken() {
                let unacknowledged = kernel.unacknowledged(connection.id);
                unfinished.bytes += connection.without_end(unacknowledged);
            }
        }
        unfinished
    }

    // What follows from a change of one connection.

    /// After every change of a connection: its place in the fair queue, its reading, its share of
    /// the budget, and whether the reactor has something to do for it.
    fn settle(&mut self, id: ConnectionId, framed: Framed) {
        let connection = &mut self.connections[id.slot()];
        let (waiting, ticket) = (connection.order.waiting(), connection.ticket);
        let waited = std::mem::replace(&mut connection.counted_waiting, waiting);
        if waited != waiting {
            self.recount_waiting(waited, waiting, ticket, id);
        }
        let connection = &mut self.connections[id.slot()];
        self.stats.framed += framed.requests as u64;
        self.stats.discarded += framed.abandoned as u64;
        self.stats.too_long += framed.too_long as u64;
        self.stats.incomplete += framed.incomplete as u64;
        self.stats.foreign += framed.foreign as u64;
        let address = self.read_gate.recount_address(connection);
        self.call(address);
        let connection = &mut self.connections[id.slot()];
        let needs_the_reactor = self.read_gate.resumes(connection)
            || !connection.outbox.is_empty()
            || connection.is_finished()
            || matches!(connection.phase(), Phase::Over { .. });
        if needs_the_reactor {
            self.ready.mark(id, &mut connection.listed);
        }
        let after = connection.buffered_bytes();
        let before = std::mem::replace(&mut connection.counted_bytes, after);
        self.recount(before, after);
        self.call(address);
    }

    /// Marks those ready that others of their address have kept waiting, as far as there is room.
    #[inline]
    fn call(&mut self, address: Option<AddressSlot>) {
        let Some(address) = address else { return };
        while let Some(id) = self.read_gate.next_called(address) {
            let connection = &mut self.connections[id.slot()];
            self.read_gate.note_call(connection);
            self.ready.mark(id, &mut connection.listed);
        }
    }

    #[inline]
    fn recount(&mut self, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.read_gate.recount(before, after);
        self.stats.buffered.down(before);
        self.stats.buffered.up(after);
        while let Some(id) = self.read_gate.next_resumed() {
            let connection = &mut self.connections[id.slot()];
            self.read_gate.forget(connection);
            self.ready.mark(id, &mut connection.listed);
        }
    }
}

/// Connections that may be there at a time, those included that are only refused.
fn most_connections(config: &Config) -> usize {
    (config.max_connections + REFUSAL_RESERVE).min(ConnectionId::SLOTS)
}

fn find(connections: &mut Slab<Connection>, id: ConnectionId) -> Option<&mut Connection> {
    connections
        .get_mut(id.slot())
        .filter(|connection| connection.id == id)
}
