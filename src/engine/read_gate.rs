//! Which connections may be read: the one place that decides it.
//!
//! Knows no sockets; of connections only what they hold and wait for.
//!
//! Rule: a connection that has bytes to read and is not read is noted with the reason, and is
//! marked ready when that is over. These are all the reasons:
//!
//! | reason | why it is not read | what ends it |
//! |---|---|---|
//! | `QueueFull` | a request waits for a queue slot | the last one gets a slot, or is refused |
//! | `InFlight` | it has as many requests in flight as it may | a response leaves to the outbox |
//! | `Blocked` | what was read last found no room | the same |
//! | `Unsent` | it does not take its responses | the socket takes some |
//! | `Budget` | too much is buffered for all, and some of it is pending here | either ends |

use super::connection::Connection;
use super::view::PauseReason;
use crate::config::Config;
use crate::task::ConnectionId;
use std::collections::BTreeSet;

/// The reason for which a connection that had bytes to read was not read.
#[derive(Debug, Default)]
pub(super) struct Pause(Option<PauseReason>);

impl Pause {
    pub(super) fn reason(&self) -> Option<PauseReason> {
        self.0
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
}

impl ReadGate {
    pub(super) fn new(config: &Config) -> ReadGate {
        ReadGate {
            max_inflight: config.max_inflight,
            max_buffered: config.max_buffered,
            buffered: 0,
            over_budget: BTreeSet::new(),
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
        self.forget(connection);
        let Some(reason) = reason else {
            return Ok(());
        };
        if reason == PauseReason::Budget {
            self.over_budget.insert(connection.id);
        }
        connection.pause = Pause(Some(reason));
        Err(reason)
    }

    fn reason(&self, connection: &Connection) -> Option<PauseReason> {
        if connection.order.waiting() > 0 {
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
            None
        }
    }

    /// Whether a connection was paused and need not be any more.
    #[inline]
    pub(super) fn resumes(&mut self, connection: &mut Connection) -> bool {
        connection.pause.0.is_some() && self.pass(connection).is_ok()
    }

    /// Forgets the pause of a connection.
    pub(super) fn forget(&mut self, connection: &mut Connection) {
        if connection.pause.0.take() == Some(PauseReason::Budget) {
            self.over_budget.remove(&connection.id);
        }
    }

    /// A connection holds another number of bytes than before.
    pub(super) fn recount(&mut self, before: usize, after: usize) {
        self.buffered = self.buffered - before + after;
    }

    /// The next connection that resumes reading: the budget was spent, and is not any more.
    pub(super) fn next_resumed(&mut self) -> Option<ConnectionId> {
        match self.is_budget_spent() {
            true => None,
            false => self.over_budget.pop_first(),
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
        let paused =
            connections.filter(|connection| connection.pause.0 == Some(PauseReason::Budget));
        assert_eq!(
            self.over_budget,
            paused.map(|connection| connection.id).collect()
        );
    }
}
