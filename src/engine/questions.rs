//! What the reactor may ask of the engine: one connection, all of them, and what is next.
//!
//! Knows every part of the engine, and changes none.
//!
//! Rule: an id whose connection has gone is answered as "nothing there".

use super::connection::Connection;
use super::recorder;
use super::view::ConnectionView;
use super::{Engine, Kernel, Unfinished};
use crate::codec::Codec;
use crate::stats::Stats;
use crate::task::ConnectionId;
use crate::trace::TaskTimes;
use std::time::Instant;

impl<C: Codec> Engine<C> {
    // Of one connection.

    /// What is to be written to a connection's socket, before anything else.
    pub fn unsent(&self, id: ConnectionId) -> &[u8] {
        let connection = self.connections.get(id);
        connection.map_or(&[], |connection| connection.outbox.unsent())
    }

    /// Whether the sending side is to be shut, or the socket closed, as soon as all that is unsent
    /// has been taken.
    pub fn is_unsent_last(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(Connection::is_answered)
    }

    /// Whether a client has all its answers once what is unsent has been taken, has begun no other
    /// request, and could still do so. Never that of a connection that was opened later.
    pub fn is_quiet(&self, id: ConnectionId, opened_until: Instant) -> bool {
        self.connections.get(id).is_some_and(|connection| {
            connection.is_quiet() && connection.opened_at() <= opened_until
        })
    }

    // What is next.

    /// Whether one more connection may be accepted, be it only to be refused.
    pub fn may_accept(&self) -> bool {
        !self.is_stopping && self.connections.has_room()
    }

    /// How many connections need something done.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
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
        self.admission.submitted() > 0
    }

    /// When [`Engine::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    // Of all.

    /// Whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.connections.len() == 0
    }

    /// Connections that are there.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// The ids of all.
    pub fn ids(&self) -> Vec<ConnectionId> {
        let ids = self.connections.iter().map(|connection| connection.id);
        ids.collect()
    }

    /// The numbers so far.
    pub fn stats(&self) -> &Stats {
        &self.ledger.stats
    }

    /// Whether all that was framed has been answered and written. Linear in the connections, until
    /// something is pending on one.
    pub fn is_written(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.all(Connection::has_nothing_pending)
    }

    /// What each connection is about. Linear in the connections.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = ConnectionView> {
        let connections = self.connections.iter();
        connections.map(move |connection| connection.view(now))
    }

    /// The last tasks that have ended, then all that are under way, and how many requests ended
    /// before those; none unless [`Config::trace_tasks`](crate::Config::trace_tasks) asks for it.
    /// Linear in the connections.
    pub fn traced(&self) -> Option<(Vec<TaskTimes>, u64)> {
        self.ledger
            .traced(self.connections.iter().flat_map(|connection| {
                let runs = connection.order.waiting_runs();
                runs.map(|(span, framed_at)| recorder::framed(connection.id, span, framed_at))
            }))
    }

    /// What would be lost if the server ended now. Linear in the connections.
    pub fn unfinished(&self, kernel: &mut impl Kernel) -> Unfinished {
        let mut unfinished = Unfinished::default();
        for connection in self.connections.iter() {
            unfinished.requests += connection.order.len();
            unfinished.bytes += connection.outbox.unsent().len();
            if !connection.is_taken() {
                let unacknowledged = kernel.unacknowledged(connection.id);
                unfinished.bytes += connection.without_end(unacknowledged);
            }
        }
        unfinished
    }
}
