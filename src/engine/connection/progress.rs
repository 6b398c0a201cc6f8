//! How a client gets on with what it is sent, and when it is idle.
//!
//! Knows no socket: it is told what was written, taken and read.
//!
//! Rule: what has come before a connection is called idle is read first.

use std::time::Instant;

/// How a client gets on with what it is sent.
#[derive(Debug)]
pub(super) struct Progress {
    /// When response bytes were last written or seen to be taken, the last request was answered,
    /// the sending side was shut, or the connection opened.
    pub(super) last: Instant,
    /// When the first byte of the request that is begun came, or something was written since.
    pub(super) begun_at: Instant,
    /// Written bytes that the client is known to have taken.
    pub(super) taken: u64,
    /// It is idle, unless what has come brings a request.
    pub(super) last_chance: Option<LastChance>,
}

/// What is read of a connection that is idle otherwise: it has come, so it counts.
#[derive(Debug)]
pub(super) struct LastChance {
    /// Bytes that lie in the socket and are to be read.
    pub(super) left: usize,
    /// Bytes that may count when they come while those are read: the rest of a long request. No
    /// more, for the rest of one that is too long may never end.
    pub(super) more: usize,
}

impl LastChance {
    /// Counts what has come meanwhile, when nothing is left. Says whether there is something to
    /// read.
    pub(super) fn look_again(&mut self, unread: impl FnOnce() -> usize) -> bool {
        if self.left == 0 && self.more > 0 {
            self.left = self.more.min(unread());
            self.more -= self.left;
        }
        self.left > 0
    }
}

impl Progress {
    pub(super) fn new(now: Instant) -> Progress {
        Progress {
            last: now,
            begun_at: now,
            taken: 0,
            last_chance: None,
        }
    }

    /// A response, or a part of it, is on its way.
    pub(super) fn wrote(&mut self, now: Instant) {
        (self.last, self.begun_at) = (now, now);
    }

    /// Bytes of a last chance were read.
    pub(super) fn read(&mut self, count: usize) {
        if let Some(chance) = &mut self.last_chance {
            chance.left = chance.left.saturating_sub(count);
        }
    }

    /// Whether an idle connection is read before it is called idle: at first in any case, for the
    /// end of its stream may have come. Of what comes while that is read, at most `more` bytes
    /// count.
    pub(super) fn is_read_first(&mut self, more: usize, unread: impl FnOnce() -> usize) -> bool {
        if let Some(chance) = &mut self.last_chance {
            return chance.look_again(unread);
        }
        self.last_chance = Some(LastChance {
            left: unread(),
            more,
        });
        true
    }

    /// Its client has taken that many bytes of all that were written.
    pub(super) fn note_taken(&mut self, taken: u64, now: Instant) {
        if taken > self.taken {
            self.last = now;
            self.taken = taken;
        }
    }
}
