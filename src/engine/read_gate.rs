//! Which connections may be read: the one place that decides it.
//!
//! Knows no sockets; of connections only what they hold and wait for.
//!
//! Rule: a connection that has bytes to read and is not read is noted with the reason, and is
//! marked ready when that is over. These are all the reasons, in the order in which they are tried:
//!
//! | reason | why it is not read | what ends it |
//! |---|---|---|
//! | `QueueFull` | a request waits for a queue slot | the last one gets a slot, or is refused |
//! | `Blocked` | what was read last found no room | a response leaves, or the socket takes some |
//! | `InFlight` | it has as many requests in flight as it may | a response leaves to the outbox |
//! | `Unsent` | it does not take its responses | the socket takes some |
//! | `Budget` | too much is buffered for all, and some of it is pending here | either ends |
//! | `Address` | the connections of its address have as many in flight as they may | it is called |
//!
//! One whose last read has found no place for the last reason waits for its turn at one, whatever
//! else there is.

use super::addresses::{AddressSlot, Addresses, Place, Standing};
use super::connection::Connection;
use super::ready_list::ReadyList;
use super::table::Table;
use super::view::PauseReason;
use crate::config::Config;
use crate::task::ConnectionId;
use std::collections::{BTreeSet, VecDeque};

/// The reason for which a connection that had bytes to read was not read.
#[derive(Debug, Default)]
pub(super) struct Pause {
    reason: Option<PauseReason>,
    /// Its place among those of its address, where that is the reason.
    place: Place,
    /// It waits there for what has been read.
    is_for_kept: bool,
    /// Its address has kept it waiting, and has room for it now: it is on the ready list.
    is_called: bool,
}

impl Pause {
    pub(super) fn reason(&self) -> Option<PauseReason> {
        self.reason
    }

    /// Whether it is, or was just now, kept waiting by others of its address.
    pub(super) fn is_by_address(&self) -> bool {
        self.is_called || self.reason == Some(PauseReason::Address)
    }
}

#[derive(Debug)]
pub(super) struct ReadGate {
    max_inflight: usize,
    max_buffered: usize,
    /// Bytes that all connections hold.
    buffered: usize,
    /// Connections that the budget has paused.
    over_budget: BTreeSet<ConnectionId>,
    pub(super) addresses: Addresses,
    /// Connections that were called for what has been read of them.
    called: VecDeque<ConnectionId>,
}

impl ReadGate {
    pub(super) fn new(config: &Config) -> ReadGate {
        ReadGate {
            max_inflight: config.max_inflight,
            max_buffered: config.max_buffered,
            buffered: 0,
            over_budget: BTreeSet::new(),
            addresses: Addresses::new(config),
            called: VecDeque::new(),
        }
    }

    /// Bytes that all connections hold.
    pub(super) fn buffered(&self) -> usize {
        self.buffered
    }

    pub(super) fn is_budget_spent(&self) -> bool {
        self.buffered > self.max_buffered
    }

    /// A connection that has bytes to read may be read, or is paused for the returned reason.
    pub(super) fn pass(&mut self, connection: &mut Connection) -> Result<(), PauseReason> {
        let reason = self.reason(connection);
        let before = connection.pause.reason;
        if reason == Some(PauseReason::Address) && before == reason {
            // It keeps its place.
            return Err(PauseReason::Address);
        }
        if reason.is_none() && connection.pause.is_called {
            return Ok(());
        }
        self.forget(connection);
        let Some(reason) = reason else {
            return Ok(());
        };
        match (reason, connection.address) {
            (PauseReason::Budget, _) => {
                self.over_budget.insert(connection.id);
            }
            (PauseReason::Address, Some(address)) => {
                connection.pause.place = self.addresses.enqueue(address, connection.id);
            }
            _ => {}
        }
        connection.pause.reason = Some(reason);
        Err(reason)
    }

    fn reason(&self, connection: &Connection) -> Option<PauseReason> {
        if connection.lacks_place() {
            Some(PauseReason::Address)
        } else if connection.order.waiting() > 0 {
            Some(PauseReason::QueueFull)
        } else if connection.is_input_blocked() {
            Some(PauseReason::Blocked)
        } else if connection.order.len() >= self.max_inflight {
            Some(PauseReason::InFlight)
        } else if connection.is_output_full() {
            Some(PauseReason::Unsent)
        } else if self.is_budget_spent() && !connection.has_nothing_pending() {
            // A connection on which nothing is pending is always read: its next request can come,
            // be answered and leave again, so the budget cannot lock the server up.
            Some(PauseReason::Budget)
        } else {
            let is_full = |address| self.addresses.is_full(address);
            let waits = !connection.pause.is_called && connection.address.is_some_and(is_full);
            waits.then_some(PauseReason::Address)
        }
    }

    /// Whether a connection was paused and need not be any more.
    #[inline]
    pub(super) fn resumes(&mut self, connection: &mut Connection) -> bool {
        connection.pause.reason.is_some() && self.pass(connection).is_ok()
    }

    /// Forgets the pause of a connection. If it was by its address, others may be called.
    pub(super) fn forget(&mut self, connection: &mut Connection) {
        let Pause {
            reason,
            place,
            is_called,
            ..
        } = std::mem::take(&mut connection.pause);
        match (reason, connection.address) {
            (Some(PauseReason::Budget), _) => {
                self.over_budget.remove(&connection.id);
            }
            (Some(PauseReason::Address), Some(address)) => self.addresses.dequeue(address, place),
            (_, Some(address)) if is_called => self.addresses.end_call(address),
            _ => {}
        }
    }

    /// A connection has changed. If what was read of it lacks a place, it waits for its turn at
    /// one. Says whether it has not waited before.
    #[inline]
    pub(super) fn note_lack(&mut self, connection: &mut Connection) -> bool {
        if connection.pause.is_called && connection.is_input_blocked() && !connection.lacks_place()
        {
            // Another bound holds it up by now.
            self.forget(connection);
        }
        let is_new = connection.lacks_place() && !connection.pause.is_by_address();
        connection.pause.is_for_kept |= is_new && self.pass(connection).is_err();
        is_new
    }

    /// A connection has changed. If what was read of it has waited for a place and does not any
    /// more, it goes on.
    #[inline]
    pub(super) fn ends_lack(&mut self, connection: &mut Connection) -> bool {
        let has_ended = connection.pause.is_for_kept && !connection.lacks_place();
        if has_ended {
            self.forget(connection);
        }
        has_ended
    }

    /// Marks those ready that others of their address have kept waiting, as far as there is room:
    /// each may be read until that is forgotten.
    pub(super) fn call(
        &mut self,
        address: AddressSlot,
        connections: &mut Table,
        ready: &mut ReadyList,
    ) {
        while let Some(id) = self.addresses.call(address) {
            let connection = &mut connections[id];
            connection.pause = Pause {
                is_called: true,
                ..Pause::default()
            };
            if connection.lacks_place() {
                self.called.push_back(id);
            }
            ready.mark(id, &mut connection.listed);
        }
    }

    /// The next connection that was called for what has been read of it, and still is.
    pub(super) fn next_called(&mut self, connections: &Table) -> Option<ConnectionId> {
        while let Some(id) = self.called.pop_front() {
            let connection = connections.get(id);
            if connection.is_some_and(|one| one.pause.is_called && one.lacks_place()) {
                return Some(id);
            }
        }
        None
    }

    /// A connection is about to frame: says how many requests it may have in flight, on account of
    /// the others of its address.
    #[inline]
    pub(super) fn allow(&self, connection: &mut Connection) {
        if let Some(address) = connection.address {
            // What was called gets its place in its turn, and others that wait come first.
            let pause = &connection.pause;
            let is_queued = pause.reason == Some(PauseReason::Address);
            let has_to_wait = match pause.is_called {
                true => connection.is_input_blocked(),
                false => self.addresses.queued(address) > usize::from(is_queued),
            };
            let most = match has_to_wait {
                true => 0,
                false => self.most_in_flight(connection, address),
            };
            // What is refused because the stream ends inside it needs no room.
            let least = usize::from(!connection.is_input_blocked());
            connection.most_in_flight = most.max(least);
        }
    }

    /// The same for what was read of a connection, and has been called. It is not called any more.
    pub(super) fn allow_called(&mut self, connection: &mut Connection) {
        if let Some(address) = connection.address {
            connection.most_in_flight = self.most_in_flight(connection, address);
        }
        self.forget(connection);
    }

    fn most_in_flight(&self, connection: &Connection, address: AddressSlot) -> usize {
        let own = connection.order.len() + usize::from(connection.pause.is_called);
        own.saturating_add(self.addresses.room(address))
    }

    /// A connection has settled: counts what it has in flight. Says whose turn may have come.
    #[inline]
    pub(super) fn recount_address(&mut self, connection: &mut Connection) -> Option<AddressSlot> {
        let address = connection.address?;
        let has_nothing_to_come = !connection.may_send() && !connection.lacks_place();
        if connection.pause.is_by_address() && has_nothing_to_come {
            self.forget(connection);
        }
        let after = connection.order.len();
        let before = std::mem::replace(&mut connection.counted_in_flight, after);
        self.addresses.recount(address, before, after);
        Some(address)
    }

    /// A connection holds another number of bytes than before. Marks those ready that the budget
    /// has paused, if it is not spent any more.
    #[inline]
    pub(super) fn recount(
        &mut self,
        before: usize,
        after: usize,
        connections: &mut Table,
        ready: &mut ReadyList,
    ) {
        self.buffered = self.buffered - before + after;
        while !self.is_budget_spent()
            && let Some(id) = self.over_budget.pop_first()
        {
            let connection = &mut connections[id];
            connection.pause = Pause::default();
            ready.mark(id, &mut connection.listed);
        }
    }

    pub(super) fn check_invariants<'a>(
        &self,
        connections: impl Iterator<Item = &'a Connection> + Clone,
    ) {
        let buffered = connections
            .clone()
            .map(|connection| connection.counted_bytes);
        assert_eq!(self.buffered, buffered.sum::<usize>());
        let paused = connections
            .clone()
            .filter(|connection| connection.pause.reason == Some(PauseReason::Budget));
        assert_eq!(
            self.over_budget,
            paused.map(|connection| connection.id).collect()
        );
        let standings = connections.filter_map(|connection| {
            let address = connection.address?;
            assert_eq!(connection.counted_in_flight, connection.order.len());
            assert!(!connection.lacks_place() || connection.pause.is_by_address());
            Some(Standing {
                id: connection.id,
                address,
                in_flight: connection.counted_in_flight,
                waits: connection.pause.reason == Some(PauseReason::Address),
                is_called: connection.pause.is_called,
            })
        });
        self.addresses
            .check_invariants(&standings.collect::<Vec<_>>());
    }
}
