//! What is known of one listener: whether connections wait there, and when to try again.
//!
//! Knows no sockets and no limit on connections.
//!
//! Rule: readiness is state, as that of a stream is. Want of descriptors or memory pauses, for
//! nobody announces that there are some again. A listener that has been left is never ready.

use super::warn_limit::WarnLimit;
use crate::log::warn;
use std::io;
use std::time::{Duration, Instant};

/// How long accepting pauses when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Backlog {
    /// The socket outlives this server.
    is_shared: bool,
    /// What connects from here on is the next server's.
    is_left: bool,
    /// There may be connections to accept: set by an event, cleared by "would block".
    is_ready: bool,
    paused_until: Option<Instant>,
    warnings: WarnLimit,
}

impl Backlog {
    pub(super) fn new(is_shared: bool) -> Backlog {
        Backlog {
            is_shared,
            is_left: false,
            is_ready: false,
            paused_until: None,
            warnings: WarnLimit::default(),
        }
    }

    /// Leaves what connects from here on to the next server, if there can be one.
    pub(super) fn leave(&mut self) {
        self.is_left = self.is_shared;
    }

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Nothing waits there.
    pub(super) fn set_empty(&mut self) {
        self.is_ready = false;
    }

    /// When to try again, though nothing happens; `now`, if that may be at once.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        let may_accept = self.is_ready && !self.is_left;
        may_accept.then(|| self.paused_until.unwrap_or(now))
    }

    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.next_try(now).is_some_and(|at| at <= now)
    }

    /// The system has no descriptors or no memory.
    pub(super) fn pause(&mut self, cause: &io::Error, now: Instant) {
        self.paused_until = Some(now + PAUSE);
        if self.warnings.allows(now) {
            warn!(%cause, "accepting pauses; new connections wait in the backlog");
        }
    }
}
