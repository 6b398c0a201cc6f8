//! The clocks of one connection: what is due when, unless something happens before.
//!
//! Knows no socket and no request. It is told what happens, and asked with what its connection is
//! in the middle of, a [`Standing`].
//!
//! Rule: what has come before a clock runs out is read before that is judged.
//!
//! | due | its clock runs | from |
//! |---|---|---|
//! | `Header` | in `Header` | the connect |
//! | `Idle` | in `Serving`, and behind a last request; not while one is in flight | progress |
//! | `Request` | in `Serving`, inside a request; not while anything is pending | its first byte |
//! | `Rate` | while there is something to take; not while the server drains | the last count |
//! | `GiveUp` | behind an error that is the last word | that |
//! | `GiveUp` | in `Lingering`; not while a drain waits for the client | progress |
//!
//! Requests that wait for a slot have a clock in their order. While it runs none of these does,
//! except for `Rate`.
//!
//! That a client takes bytes is progress, and nobody announces it. So [`Deadlines::next`] is
//! sometimes only the time to ask the kernel again.

use super::LINGER_TIMEOUT;
use super::phase::{Closing, Phase};
use super::read_rate::Arrears;
use crate::config::Config;
use std::time::{Duration, Instant};

/// How often within a timeout the engine checks whether a client goes on taking what was written.
/// So the clock of the timeout is wrong by at most one such part of it.
const CHECKS_PER_TIMEOUT: u32 = 8;

#[derive(Debug)]
pub(super) struct Deadlines {
    /// When response bytes were last written or seen to be taken, the last request was answered,
    /// the sending side was shut, the client became known, or the connection opened.
    progress_at: Instant,
    /// Inside a request: when its first byte came, or something was written since.
    begun_at: Option<Instant>,
    /// Written bytes that the client is known to have taken.
    taken: u64,
    /// How far it is behind the least rate.
    arrears: Option<Box<Arrears>>,
    /// Its time is over, unless what has come brings something.
    last_chance: Option<Box<LastChance>>,
}

/// What a connection is in the middle of: that decides which clocks run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) phase: Phase,
    /// Requests have no answer yet.
    pub(super) is_in_flight: bool,
    /// Not all responses have been written.
    pub(super) is_unsent: bool,
    /// Response bytes that were written in all.
    pub(super) written: u64,
    /// Others of its address keep it from being read.
    pub(super) is_kept_waiting: bool,
}

/// What time has done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Due {
    /// Nothing.
    Nothing,
    /// Its time is over, unless what has come brings something: it is to be read.
    ReadFirst,
    /// The header of its proxy was not whole in time.
    Header,
    /// A request took too long to come whole.
    Request,
    /// It is idle.
    Idle,
    /// Its client takes too little of what it is sent.
    Rate,
    /// It has lingered for too long.
    GiveUp,
}

/// What is read of a connection whose time is over: it has come before, so it counts.
#[derive(Debug)]
struct LastChance {
    /// Bytes that lie in the socket and are to be read.
    left: usize,
    /// Bytes that may count when they come while those are read: the rest of a long request. No
    /// more, for the rest of one that is too long may never end.
    more: usize,
}

impl LastChance {
    /// Counts what has come meanwhile, when nothing is left. Says whether there is something to
    /// read.
    fn look_again(&mut self, unread: impl FnOnce() -> usize) -> bool {
        if self.left == 0 && self.more > 0 {
            self.left = self.more.min(unread());
            self.more -= self.left;
        }
        self.left > 0
    }
}

impl Deadlines {
    pub(super) fn new(now: Instant) -> Deadlines {
        Deadlines {
            progress_at: now,
            begun_at: None,
            taken: 0,
            arrears: None,
            last_chance: None,
        }
    }

    // What happened.

    /// A response, or a part of it, is on its way; or no clock has run until now.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.progress_at = now;
        self.begun_at = self.begun_at.map(|_| now);
    }

    /// Its client has become known, or its sending side was shut.
    pub(super) fn moved_on(&mut self, now: Instant) {
        self.progress_at = now;
        self.last_chance = None;
    }

    /// Bytes were read.
    #[inline]
    pub(super) fn read(&mut self, count: usize) {
        if let Some(chance) = &mut self.last_chance {
            chance.left = chance.left.saturating_sub(count);
        }
    }

    /// Requests were cut. `is_inside` says that the first bytes of another one have come, and the
    /// last may still come.
    #[inline]
    pub(super) fn framed(&mut self, is_inside: bool, now: Instant) {
        self.begun_at = is_inside.then(|| self.begun_at.unwrap_or(now));
    }

    /// Of what was written, that many bytes have not been acknowledged. A client that has taken
    /// some since the last check makes progress.
    pub(super) fn note_unacknowledged(&mut self, bytes: usize, standing: &Standing, now: Instant) {
        let taken = standing.written.saturating_sub(bytes as u64);
        if taken > self.taken {
            self.progress_at = now;
            self.taken = taken;
        }
    }

    /// There may be something to take: from now on that is counted, if it is not yet.
    #[inline]
    pub(super) fn watch_rate(&mut self, standing: &Standing, config: &Config, now: Instant) {
        if self.has_rate(standing, config) {
            let taken = self.taken;
            self.arrears
                .get_or_insert_with(|| Box::new(Arrears::new(taken, now)));
        }
    }

    // What is so.

    /// Whether a client has taken all that was written, as far as is known.
    pub(super) fn is_all_taken(&self, standing: &Standing) -> bool {
        !standing.is_unsent && self.taken == standing.written
    }

    /// Whether it counts what the client has taken since that was last noted: only the kernel
    /// knows.
    pub(super) fn depends_on_taken(&self, standing: &Standing) -> bool {
        self.may_be_taking(standing) || self.arrears.is_some()
    }

    /// Whether the connection is to be read before it is judged.
    pub(super) fn has_last_chance(&self) -> bool {
        self.last_chance.is_some()
    }

    /// When something is due, or is to be looked at again, if nothing happens before.
    #[inline(never)]
    pub(super) fn next(
        &self,
        standing: &Standing,
        config: &Config,
        now: Instant,
    ) -> Option<Instant> {
        let timeout = match standing.phase {
            Phase::Serving | Phase::Closing(Closing::Last) => config.idle_timeout,
            Phase::Lingering { .. } => LINGER_TIMEOUT,
            Phase::Header | Phase::Closing(_) | Phase::Over { .. } => Duration::ZERO,
        };
        let end = self.first(standing, config, now).map(|(at, _)| at);
        let check = self.check(standing, timeout, now);
        [end, check, self.rate()].into_iter().flatten().min()
    }

    /// The same after a change, where a timer was set for what was due before: none if it is in
    /// time.
    ///
    /// It looks at less than [`Deadlines::next`], so that a request need not pay for all clocks:
    /// while a connection is served its idle clock only goes back, and what a client has to take
    /// was unsent before.
    #[inline]
    pub(super) fn next_after_change(
        &self,
        standing: &Standing,
        config: &Config,
        now: Instant,
    ) -> Option<Instant> {
        let has_other_clocks = !config.request_timeout.is_zero() || config.min_read_rate > 0;
        if standing.phase != Phase::Serving || has_other_clocks {
            return self.next(standing, config, now);
        }
        match standing.is_unsent {
            true => self.check(standing, config.idle_timeout, now),
            false => None,
        }
    }

    /// What is due. `may_read` is how many more bytes count that come while the connection is read
    /// before it is judged, if that could bring anything.
    pub(super) fn due(
        &mut self,
        standing: &Standing,
        may_read: Option<usize>,
        config: &Config,
        now: Instant,
        unread: impl FnOnce() -> usize,
    ) -> Due {
        let is_too_slow = self.is_too_slow(standing, config, now);
        let due = match self.first(standing, config, now) {
            _ if is_too_slow => Due::Rate,
            Some((at, due)) if at <= now => due,
            Some(_) | None => Due::Nothing,
        };
        if !matches!(due, Due::Header | Due::Request | Due::Idle) {
            self.last_chance = None;
        } else if may_read.is_some_and(|more| self.is_read_first(more, unread)) {
            return Due::ReadFirst;
        }
        due
    }

    /// The first of the clocks to run out, but for `Rate`.
    fn first(&self, standing: &Standing, config: &Config, now: Instant) -> Option<(Instant, Due)> {
        match standing.phase {
            Phase::Header => {
                let by = self.progress_at + config.proxy_header_timeout;
                Some((by, Due::Header))
            }
            Phase::Serving | Phase::Closing(Closing::Last) => {
                let idle = self.idle(standing, config, now);
                match self.request(standing, config) {
                    Some(at) if idle.is_none_or(|idle| at <= idle) => Some((at, Due::Request)),
                    Some(_) | None => idle.map(|at| (at, Due::Idle)),
                }
            }
            Phase::Closing(Closing::Farewell { by }) => Some((by, Due::GiveUp)),
            Phase::Lingering { is_draining, .. } => {
                let waits = is_draining && !self.is_all_taken(standing);
                let by = self.progress_at + LINGER_TIMEOUT;
                (!waits).then_some((by, Due::GiveUp))
            }
            Phase::Closing(Closing::Drain) | Phase::Over { .. } => None,
        }
    }

    /// When the request that is begun has to have come whole. While something is pending, the
    /// client may wait for that, and the server may not read; so then no time passes.
    #[inline]
    fn request(&self, standing: &Standing, config: &Config) -> Option<Instant> {
        let is_awaited = !config.request_timeout.is_zero()
            && standing.phase == Phase::Serving
            && !(standing.is_in_flight || standing.is_unsent || standing.is_kept_waiting);
        let begun_at = self.begun_at.filter(|_| is_awaited);
        begun_at.map(|at| at + config.request_timeout)
    }

    /// When it has been idle for too long.
    fn idle(&self, standing: &Standing, config: &Config, now: Instant) -> Option<Instant> {
        let timeout = config.idle_timeout;
        if timeout.is_zero() {
            return None;
        }
        // Progress starts the clock anew, so while a response is pending there is time.
        let stands = standing.is_in_flight || standing.is_kept_waiting;
        Some(if stands { now } else { self.progress_at } + timeout)
    }

    /// When to look whether its client has taken something, where its clock has that timeout.
    #[inline]
    fn check(&self, standing: &Standing, timeout: Duration, now: Instant) -> Option<Instant> {
        let has_checks = self.may_be_taking(standing) && !timeout.is_zero();
        has_checks.then(|| now + timeout / CHECKS_PER_TIMEOUT)
    }

    /// Whether its clock runs although its client may just be taking bytes.
    #[inline]
    fn may_be_taking(&self, standing: &Standing) -> bool {
        !standing.is_in_flight && !self.is_all_taken(standing)
    }

    /// Whether it is closed for reading too slowly. The drain timeout alone sees to that while the
    /// server stops.
    #[inline]
    fn has_rate(&self, standing: &Standing, config: &Config) -> bool {
        config.min_read_rate > 0
            && !standing.phase.is_draining()
            && !matches!(standing.phase, Phase::Over { .. })
            && !self.is_all_taken(standing)
    }

    /// When to count what its client has taken.
    fn rate(&self) -> Option<Instant> {
        self.arrears.as_ref().map(|arrears| arrears.due_at())
    }

    fn is_too_slow(&mut self, standing: &Standing, config: &Config, now: Instant) -> bool {
        let has_rate = self.has_rate(standing, config);
        let Some(arrears) = self.arrears.as_mut().filter(|a| a.due_at() <= now) else {
            return false;
        };
        if !has_rate {
            self.arrears = None;
            return false;
        }
        arrears.is_too_slow(self.taken, config.min_read_rate as u64, now)
    }

    /// Whether a connection whose time is over is read before: at first in any case, for the end
    /// of its stream may have come. Of what comes while that is read, at most `more` bytes count.
    fn is_read_first(&mut self, more: usize, unread: impl FnOnce() -> usize) -> bool {
        if let Some(chance) = &mut self.last_chance {
            return chance.look_again(unread);
        }
        self.last_chance = Some(Box::new(LastChance {
            left: unread(),
            more,
        }));
        true
    }

    pub(super) fn check_invariants(&self, standing: &Standing) {
        assert!(self.taken <= standing.written);
    }
}

#[cfg(test)]
mod tests;
