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
mod interface;
mod invariants;
mod ledger;
mod questions;
mod read_gate;
mod ready_list;
mod recorder;
mod table;
mod timers;
mod trace;
mod turns;
mod view;

use crate::codec::{Codec, Guarded, Refusal};
use crate::config::Config;
use crate::log::debug;
pub use crate::proxy::HeaderFault;
use crate::stats::Stats;
use crate::task::{Completion, ConnectionId, Task};
use admission::Admission;
pub use connection::UNSENT_LIMIT_BYTES;
use connection::{Connection, Counts, Due, Phase, Rules};
pub use interface::{Accepted, Action, Entry, Introduction, IsQuick, Kernel, Removed, Unfinished};
use ledger::Ledger;
use read_gate::ReadGate;
use ready_list::ReadyList;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use table::Table;
use timers::Timers;
use trace::trace_each;
pub use view::{ConnectionState, ConnectionView, PauseReason};

/// The state of all connections. Methods take O(1) or O(log n) in the connections, but for what
/// says otherwise; a budget that is free again marks all ready that it had paused.
///
/// Ids of connections that have gone are answered as "nothing there": a completion that comes late
/// is dropped, an event that comes late is ignored.
#[derive(Debug)]
pub struct Engine<C> {
    rules: Rules<C>,
    connections: Table,
    /// Connections that were refused on arrival and are still there.
    refused: usize,
    admission: Admission,
    timers: Timers,
    ready: ReadyList,
    read_gate: ReadGate,
    is_stopping: bool,
    ledger: Ledger,
}

impl<C: Codec> Engine<C> {
    /// An engine without connections.
    pub fn new(config: Config, codec: Arc<C>, is_quick: IsQuick) -> Engine<C> {
        Engine {
            connections: Table::new(&config),
            refused: 0,
            admission: Admission::default(),
            timers: Timers::default(),
            ready: ReadyList::default(),
            read_gate: ReadGate::new(&config),
            is_stopping: false,
            ledger: Ledger::new(config.trace_tasks),
            rules: Rules {
                config,
                codec: Guarded::new(codec),
                is_quick,
            },
        }
    }

    /// The numbers so far, for what only the reactor sees.
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.ledger.stats
    }

    // What happened.

    /// A connection was accepted.
    pub fn accept(&mut self, now: Instant) -> Accepted {
        let served = self.connections.len() - self.refused;
        let ticket = self.admission.ticket(now);
        let config = &self.rules.config;
        let make = |id| Connection::new(id, ticket, config.max_parallel, now);
        let id = self.connections.insert(make);
        let stats = &mut self.ledger.stats;
        stats.accepted += 1;
        stats.connections.up(1);
        let entry = if served >= config.max_connections {
            stats.too_many += 1;
            self.refuse(id, now);
            Entry::Refused
        } else if config.proxy_protocol {
            self.connections[id].await_header();
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
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        if let Ok(address) = self.read_gate.addresses.enter(client) {
            connection.address = address;
            return true;
        }
        self.ledger.stats.too_many_per_address += 1;
        self.refuse(id, now);
        false
    }

    /// A connection is one too many, is told so, and closes.
    fn refuse(&mut self, id: ConnectionId, now: Instant) {
        let connection = &mut self.connections[id];
        connection.is_refused = true;
        connection.farewell(Refusal::TooManyConnections, &self.rules, now);
        self.refused += 1;
        self.settle(id, Counts::default(), now);
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
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(None);
        };
        let found = connection.receive_header(chunk, &self.rules, now);
        let introduction =
            found.map(|whole| whole.map(|(client, bytes)| Introduction { client, bytes }));
        let read = match introduction {
            Ok(Some(Introduction { bytes, .. })) => bytes,
            Ok(None) | Err(_) => chunk.len(),
        };
        self.ledger.stats.bytes_in += read as u64;
        self.settle(id, Counts::default(), now);
        match introduction {
            // The deadline of an idle connection may come before that of the header.
            Ok(Some(_)) => self.arm(id, now),
            Ok(None) => {}
            Err(fault) => self.note_bad_header(id, fault),
        }
        introduction
    }

    /// Bytes came, after [`Action::Read`].
    pub fn received(&mut self, id: ConnectionId, chunk: &[u8], now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        self.ledger.stats.bytes_in += chunk.len() as u64;
        self.read_gate.allow(connection);
        if connection.pause.is_by_address() {
            self.read_gate.forget(connection);
            connection.end_wait(now);
        }
        let counts = connection.receive(chunk, &self.rules, now);
        self.settle(id, counts, now);
        if counts.foreign > 0 {
            debug!(conn = %id, "it speaks another protocol");
        }
    }

    /// There was nothing to read, after [`Action::Read`].
    pub fn received_nothing(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(id)
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
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        self.read_gate.allow(connection);
        let counts = connection.receive_end(&self.rules, now);
        self.settle(id, counts.unwrap_or_default(), now);
        if let Err(fault) = counts {
            self.note_bad_header(id, fault);
        }
    }

    /// A connection was told that it has no valid header.
    fn note_bad_header(&mut self, id: ConnectionId, fault: HeaderFault) {
        debug!(conn = %id, %fault, "no valid PROXY header");
        self.ledger.stats.bad_headers += 1;
    }

    /// Bytes came and were thrown away, after [`Action::Discard`].
    pub fn discarded(&mut self, id: ConnectionId, count: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        self.ledger.stats.bytes_in += count as u64;
        connection.discard(count);
    }

    /// A worker is done with a task.
    pub fn completed(&mut self, completion: Completion, now: Instant) {
        self.ledger.worked(&completion);
        let Completion {
            connection: id,
            span,
            responses,
            is_last,
            started_at,
            ..
        } = completion;
        self.admission.come_back(span.requests);
        let Some(connection) = self.connections.get_mut(id) else {
            self.ledger.dropped(id, span, now);
            trace_each(id, span, "dropped: its connection has gone");
            return;
        };
        let rules = &self.rules;
        self.read_gate.allow(connection);
        let (queued_at, counts) = connection.complete(span, responses, is_last, rules, now);
        match queued_at {
            Some(queued_at) => self.ledger.answered(span, queued_at, started_at),
            None => self.ledger.dropped(id, span, now),
        }
        self.settle(id, counts, now);
    }

    /// The queue gave back tasks of a removed connection.
    pub fn withdrawn(&mut self, tasks: &[Task], now: Instant) {
        let requests = tasks.iter().map(|task| task.run.span.requests).sum();
        self.admission.come_back(requests);
        self.ledger.withdrawn(tasks, requests, now);
    }

    /// The socket took the next `count` bytes of [`Engine::unsent`].
    pub fn sent(&mut self, id: ConnectionId, count: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let ledger = &mut self.ledger;
        ledger.stats.bytes_out += count as u64;
        self.read_gate.allow(connection);
        let counts = connection.sent(count, &self.rules, now, |span, framed_at| {
            ledger.written(id, span, framed_at, now);
        });
        self.settle(id, counts, now);
    }

    /// The sending side was shut, after [`Action::ShutDown`].
    pub fn shut_down(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.shut_down(now);
            self.arm(id, now);
        }
    }

    /// The socket was closed: the connection is forgotten, with everything it still waited for.
    pub fn remove(&mut self, id: ConnectionId, now: Instant, why: &str) -> Option<Removed> {
        let mut connection = self.connections.remove(id)?;
        let Connection { order, outbox, .. } = &connection;
        debug!(conn = %id, why, requests = order.opened(), bytes_in = connection.bytes_in(),
            bytes_out = outbox.sent_in_all(), unanswered = order.len(),
            unsent_bytes = outbox.unsent().len(),
            age_ms = connection.age(now).as_millis() as u64, "closed");
        let has_submitted = order.has_submitted();
        self.ledger.removed(id, order.without_slot(), now);
        let (waited, ticket) = (connection.counted_waiting, connection.ticket);
        self.admission.recount(waited, 0, ticket, id);
        self.note_waiting();
        self.timers.disarm(id, &mut connection.armed);
        self.read_gate.forget(&mut connection);
        if let Some(address) = connection.address {
            let addresses = &mut self.read_gate.addresses;
            addresses.recount(address, connection.counted_in_flight, 0);
            self.call(Some(address));
            self.read_gate.addresses.leave(address);
        }
        self.refused -= usize::from(connection.is_refused);
        self.recount(connection.counted_bytes, 0);
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

    /// This connection closes with what is unsent, for the server is about to stop.
    pub fn part(&mut self, id: ConnectionId, now: Instant) {
        self.ledger.stats.parted += 1;
        self.stop_one(id, now);
    }

    /// From now on nothing more of this connection is read or framed.
    fn stop_one(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.stop(&self.rules, now);
            self.settle(id, Counts::default(), now);
        }
    }

    // What to do.

    /// The next connection that needs something done. A tick serves as many as
    /// [`Engine::ready_len`] says at its beginning: those that come up meanwhile belong to the
    /// next.
    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        loop {
            let id = self.ready.next()?;
            if let Some(connection) = self.connections.get_mut(id) {
                connection.listed.clear();
                return Some(id);
            }
        }
    }

    /// Marks a connection ready, for what the reactor found out about its socket.
    pub fn mark_ready(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            self.ready.mark(id, &mut connection.listed);
        }
    }

    /// What is to be done with a connection whose unsent bytes have been offered to its socket.
    /// `readable` says whether the socket may have something to read.
    pub fn next_action(&mut self, id: ConnectionId, readable: bool) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        if let Some(action) = connection.action(readable) {
            return action;
        }
        if connection.pause.is_by_address() && connection.lacks_place() {
            // Nothing more is read before that has its place.
            return Action::Wait;
        }
        let address = connection.address;
        if !readable && !connection.is_read_before_idle() {
            if connection.pause.is_by_address() {
                self.read_gate.forget(connection);
                self.call(address);
            }
            return Action::Wait;
        }
        if connection.phase() == Phase::Header {
            return Action::ReadHeader;
        }
        let stats = &mut self.ledger.stats;
        match self.read_gate.pass(connection) {
            Ok(()) => return Action::Read,
            Err(PauseReason::Budget) => stats.budget_pauses += 1,
            Err(PauseReason::Address) => stats.address_pauses += 1,
            Err(_) => stats.read_pauses += 1,
        }
        // If it was called, it has given that back.
        self.call(address);
        Action::Wait
    }

    /// Gives `room` queue slots to requests that wait, as far as there are any, and appends these
    /// to `tasks`.
    ///
    /// Connections take turns: each time a connection gets slots for one run, or for the part of
    /// it that there is room for.
    pub fn submit(&mut self, mut room: usize, now: Instant, tasks: &mut Vec<Task>) {
        let others = tasks.len();
        if self.admission.has_queue() || room < self.admission.waiting() {
            self.queue_newcomers();
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
        self.ledger.queued(&tasks[others..], now);
    }

    /// Newcomers stand in the fair queue from now on, and their waiting is timed.
    fn queue_newcomers(&mut self) {
        while let Some(id) = self.newcomer() {
            let ticket = self.connections[id].ticket;
            self.admission.enqueue(ticket, id);
            self.arm_busy(id);
        }
    }

    /// The next newcomer that has not gone or been refused since.
    fn newcomer(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.admission.newcomer() {
            let connection = self.connections.get(id);
            if connection.is_some_and(|connection| connection.order.waiting() > 0) {
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
        let connection = &mut self.connections[id];
        let run = connection.order.submit(room, &self.rules.codec, now);
        let run = run.expect("a connection in the fair queue has a request waiting");
        let (requests, framed_at) = (run.span.requests, run.framed_at);
        trace_each(id, run.span, "queued");
        tasks.push(Task {
            connection: id,
            run,
        });
        let ticket = self.admission.submit(requests, now);
        let waiting = connection.order.waiting();
        connection.ticket = ticket;
        let before = std::mem::replace(&mut connection.counted_waiting, waiting);
        if waiting > 0 {
            self.admission.enqueue(ticket, id);
        } else if self.read_gate.resumes(connection) {
            self.ready.mark(id, &mut connection.listed);
        }
        self.ledger.submitted(requests, framed_at, now);
        self.admission.recount(before, waiting, ticket, id);
        self.note_waiting();
        requests
    }

    /// Another number of requests wait for slots than before.
    #[inline]
    fn note_waiting(&mut self) {
        self.ledger.stats.waiting.now = self.admission.waiting() as u64;
    }

    // What time does.

    /// Refuses and closes what is due; says how many requests it refused as busy. Asks `kernel`
    /// about the sockets of connections whose clock runs. O(log n) for each connection that is
    /// due.
    pub fn expire(&mut self, now: Instant, kernel: &mut impl Kernel) -> usize {
        self.ledger.stats.waiting.note_peak();
        // Requests that got their slots in the tick in which they were framed never get here: only
        // those left over are worth a timer.
        self.queue_newcomers();
        // Each connection once: what a refusal lets it frame is offered to the queue before it can
        // be refused, too.
        let mut due = Vec::new();
        let connections = &mut self.connections;
        while let Some(id) = self.timers.take_due(now, |id| &mut connections[id].armed) {
            due.push(id);
        }
        let is_budget_spent = self.read_gate.is_budget_spent();
        let mut refused = 0;
        for id in due {
            refused += self.expire_one(id, is_budget_spent, now, kernel);
            self.arm(id, now);
            self.arm_busy(id);
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
        let connection = &mut self.connections[id];
        self.read_gate.allow(connection);
        let (due, counts) = connection.expire(&self.rules, is_budget_spent, now, kernel);
        match due {
            Due::Nothing | Due::GiveUp => {}
            Due::ReadFirst => self.ready.mark(id, &mut connection.listed),
            Due::Idle => self.ledger.stats.idle_closed += 1,
            Due::Header => self.note_bad_header(id, HeaderFault::Late),
            Due::Rate => self.ledger.stats.slow_closed += 1,
            Due::Request => {
                self.ledger.stats.request_timeouts += 1;
                debug!(conn = %id, "request timeout");
            }
        }
        self.settle(id, counts, now);
        counts.busy
    }

    /// Sees to it that the connection is due no later than its next deadline.
    fn arm(&mut self, id: ConnectionId, now: Instant) {
        let connection = &mut self.connections[id];
        if let Some(deadline) = connection.deadline(&self.rules.config, now) {
            self.timers.arm(id, &mut connection.armed, deadline);
        }
    }

    /// Sees to it that the connection is due when a request has waited for a slot for too long.
    fn arm_busy(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id];
        if let Some(deadline) = connection.busy_deadline(&self.rules.config) {
            self.timers.arm(id, &mut connection.armed, deadline);
        }
    }

    // What follows from a change of one connection.

    /// After every change of a connection: its place in the fair queue, its reading, its timer, its
    /// share of the budget, and whether the reactor has something to do for it.
    fn settle(&mut self, id: ConnectionId, counts: Counts, now: Instant) {
        self.ledger.changed(&counts);
        let connection = &mut self.connections[id];
        let (waiting, ticket) = (connection.order.waiting(), connection.ticket);
        let waited = std::mem::replace(&mut connection.counted_waiting, waiting);
        if waited != waiting {
            self.admission.recount(waited, waiting, ticket, id);
            self.ledger.stats.waiting.now = self.admission.waiting() as u64;
        }
        let goes_on = self.read_gate.ends_lack(connection);
        let address = self.read_gate.recount_address(connection);
        // Those of its address that wait come before it.
        self.call(address);
        let connection = &mut self.connections[id];
        let is_kept_waiting = self.read_gate.note_lack(connection);
        self.ledger.stats.address_pauses += u64::from(is_kept_waiting);
        let needs_the_reactor = goes_on
            || self.read_gate.resumes(connection)
            || !connection.outbox.is_empty()
            || connection.is_finished()
            || matches!(connection.phase(), Phase::Over { .. });
        if needs_the_reactor {
            self.ready.mark(id, &mut connection.listed);
        }
        if let Some(at) = connection.deadline_after_change(&self.rules.config, now) {
            self.timers.arm(id, &mut connection.armed, at);
        }
        let after = connection.buffered_bytes();
        let before = std::mem::replace(&mut connection.counted_bytes, after);
        self.recount(before, after);
        self.call(address);
    }

    /// A connection holds another number of bytes than before.
    #[inline]
    fn recount(&mut self, before: usize, after: usize) {
        if before != after {
            let connections = &mut self.connections;
            self.read_gate
                .recount(before, after, connections, &mut self.ready);
            let buffered = &mut self.ledger.stats.buffered;
            buffered.down(before);
            buffered.up(after);
        }
    }
}
