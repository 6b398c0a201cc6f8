//! What time does to a connection, as PROTOCOL says it should: busy, idle, lingering.
//!
//! Knows of a connection what the oracle does.
//!
//! Rule: each deadline is foretold to the moment; none is missed, and none comes early.

use super::{Closing, Oracle, Phase, Place, State};
use crate::answers;
use crate::header::MAX_HEADER_BYTES;
use reactor_pool::engine::UNSENT_LIMIT_BYTES;
use std::time::{Duration, Instant};

/// Promise 3: how long a connection that is over is still read; also how long it may take its last
/// error line.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it looks what a client takes that has to take so much.
const RATE_CHECK: Duration = Duration::from_secs(1);
/// While a client has not taken everything, the engine looks so often within a timeout.
const CHECKS_PER_TIMEOUT: u32 = 8;

impl Oracle {
    /// Promise 8: a response that the client does take is progress. The engine asks, and hears
    /// that so many bytes are not acknowledged.
    pub(crate) fn looked(&mut self, unacknowledged: usize, now: Instant) {
        self.looked_at = Some(now);
        if !self.may_be_taking() && self.arrears.is_none() {
            return;
        }
        let is_shut = matches!(self.phase, Phase::Lingering { .. });
        let untaken = unacknowledged.saturating_sub(usize::from(is_shut));
        if self.sent - untaken > self.taken {
            self.last_progress = now;
            self.taken = self.sent - untaken;
            self.counts.progress_seen += 1;
        }
        self.check_due = None;
        self.expect_check(now);
    }

    fn has_rate(&self) -> bool {
        let is_draining = match self.phase {
            Phase::Header { .. } | Phase::Serving => false,
            Phase::Closing(closing) => closing == Closing::Drain,
            Phase::Lingering { is_draining, .. } => is_draining,
            Phase::Over => true,
        };
        self.min_read_rate > 0 && !is_draining && self.taken < self.output.len()
    }

    pub(super) fn begin_arrears(&mut self, now: Instant) {
        if self.has_rate() && self.arrears.is_none() {
            self.arrears = Some((0, now, self.taken));
        }
    }

    /// Promise 8: whoever takes less than so many bytes a second has to be that far behind.
    fn is_too_slow(&mut self, now: Instant) -> bool {
        let Some((bytes, at, taken)) = self.arrears.filter(|(_, at, _)| *at + RATE_CHECK <= now)
        else {
            return false;
        };
        if !self.has_rate() {
            self.arrears = None;
            return false;
        }
        assert_eq!(self.looked_at, Some(now), "nobody looked what it takes");
        let passed = (now - at).min(2 * RATE_CHECK).as_millis() as u64;
        let behind = bytes + self.min_read_rate * passed / 1000;
        let bytes = behind.saturating_sub((self.taken - taken) as u64);
        self.counts.caught_up += u64::from(behind > 0 && bytes == 0);
        self.arrears = Some((bytes, now, self.taken));
        bytes > 10 * self.min_read_rate + (256 << 10)
    }

    pub(super) fn expect_check(&mut self, now: Instant) {
        let timeout = match self.phase {
            Phase::Serving | Phase::Closing(Closing::Last) => self.idle_timeout,
            Phase::Lingering { .. } => LINGER_TIMEOUT,
            Phase::Header { .. } | Phase::Closing(_) | Phase::Over => Duration::ZERO,
        };
        let is_due = self.may_be_taking() && !timeout.is_zero();
        self.check_due = is_due.then(|| now + timeout / CHECKS_PER_TIMEOUT);
    }

    pub(super) fn may_be_taking(&self) -> bool {
        self.places.is_empty() && self.taken < self.output.len()
    }

    /// Time is looked at: refuses and closes what is due. So many bytes have come and were not
    /// read.
    pub(crate) fn expire(&mut self, unread: usize, budget_spent: bool, now: Instant) {
        assert!(
            self.check_due.is_none_or(|due| due > now),
            "promise 8: nobody looked whether it takes what it got"
        );
        if self.is_too_slow(now) {
            self.counts.slow += 1;
            self.phase = Phase::Over;
            self.cut_off = true;
            return;
        }
        match self.phase {
            Phase::Closing(Closing::Farewell { by }) if by <= now => {
                self.phase = Phase::Over;
                self.counts.farewell_timeouts += 1;
                return;
            }
            Phase::Lingering { .. } if self.linger_deadline().is_some_and(|by| by <= now) => {
                self.phase = Phase::Over;
                self.counts.linger_timeouts += 1;
                return;
            }
            Phase::Closing(Closing::Farewell { .. }) | Phase::Lingering { .. } => return,
            Phase::Header { by } => return self.expire_header(by, unread, now),
            Phase::Over => return,
            Phase::Serving | Phase::Closing(_) => {}
        }
        if self.busy_deadline().is_some_and(|deadline| deadline <= now) {
            let before = self.counts.busy;
            while self.busy_deadline().is_some_and(|deadline| deadline <= now) {
                let sequence = self.first(&State::Waiting).expect("it has a deadline");
                let refusal = self.refusal(answers::BUSY);
                self.place(sequence).state = State::Answered(refusal);
                self.counts.busy += 1;
            }
            self.counts.runs_refused += u64::from(self.counts.busy > before + 1);
            self.settle(now);
            self.expect_check(now);
        }
        let is_serving = self.phase == Phase::Serving;
        let has_clock = is_serving || self.phase == Phase::Closing(Closing::Last);
        let (idle, request) = (self.idle_deadline(), self.request_deadline());
        let first = idle.into_iter().chain(request).min();
        let due = first.filter(|by| has_clock && *by <= now);
        self.is_read_due = false;
        let most = self.framing.max_partial_bytes();
        if due.is_none() {
            self.idle_unless = None;
        } else if self.may_bring_a_request(budget_spent) && self.has_last_chance(unread, most) {
            // Promise 8: what has arrived is read before any deadline is judged.
            self.is_read_due = true;
        } else if due == request {
            self.counts.request_timeouts += 1;
            self.farewell(answers::REQUEST_TIMEOUT, now);
        } else {
            self.counts.idle += 1;
            if is_serving && self.unsent().is_empty() {
                self.farewell(answers::IDLE, now);
            } else {
                self.counts.idle_at_last += u64::from(!is_serving);
                self.phase = Phase::Over;
                self.cut_off = true;
            }
        }
    }

    /// What has come of a header is read before its time is over.
    fn expire_header(&mut self, by: Instant, unread: usize, now: Instant) {
        self.is_read_due = false;
        if by > now {
            return;
        }
        if !self.end_read && self.has_last_chance(unread, MAX_HEADER_BYTES) {
            self.is_read_due = true;
            return;
        }
        self.counts.headers_late += 1;
        self.farewell(answers::NO_HEADER, now);
    }

    /// Whether it is read once more: at first in any case, then as long as what has come is not
    /// read, with at most one request's worth of what comes meanwhile.
    fn has_last_chance(&mut self, unread: usize, more: usize) -> bool {
        let Some((left, more)) = &mut self.idle_unless else {
            self.counts.read_before_idle += u64::from(unread > 0);
            self.idle_unless = Some((unread, more));
            return true;
        };
        if *left == 0 {
            *left = unread.min(*more);
            *more -= *left;
            self.counts.read_on_before_idle += u64::from(*left > 0);
        }
        *left > 0
    }

    pub(super) fn may_bring_a_request(&self, budget_spent: bool) -> bool {
        let is_read = self.phase == Phase::Serving && !self.end_read;
        let is_within = self.unsent_weight() <= UNSENT_LIMIT_BYTES;
        is_read
            && self.unframed.is_empty()
            && is_within
            && (self.unsent().is_empty() || !budget_spent)
    }

    /// When time has something to say at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let rate = self.arrears.filter(|_| self.has_rate());
        let rate = rate.map(|(_, at, _)| at + RATE_CHECK);
        self.deadline_but_for_the_rate()
            .into_iter()
            .chain(rate)
            .min()
    }

    fn deadline_but_for_the_rate(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closing(Closing::Farewell { by }) => Some(by),
            Phase::Lingering { .. } => self
                .check_due
                .into_iter()
                .chain(self.linger_deadline())
                .min(),
            Phase::Serving | Phase::Closing(Closing::Last) => {
                let judged = self.busy_deadline().or_else(|| self.idle_deadline());
                let judged = judged.into_iter().chain(self.request_deadline());
                self.check_due.into_iter().chain(judged).min()
            }
            Phase::Closing(Closing::Drain) => self.busy_deadline(),
            Phase::Header { by } => Some(by),
            Phase::Over => None,
        }
    }

    /// While the server is_draining, what has not been taken is waited for.
    pub(super) fn linger_deadline(&self) -> Option<Instant> {
        let is_draining = matches!(
            self.phase,
            Phase::Lingering {
                is_draining: true,
                ..
            }
        );
        let waits = is_draining && self.taken < self.output.len();
        (!waits).then(|| self.last_progress + LINGER_TIMEOUT)
    }

    /// Promise 4: waited so long since it was framed, and no slot for its connection for so long
    /// either.
    pub(super) fn busy_deadline(&self) -> Option<Instant> {
        let waits = |place: &&Place| place.state == State::Waiting;
        let framed_at = self.places.iter().find(waits)?.framed_at;
        if self.is_held_back() {
            return None;
        }
        let since = framed_at.max(self.released_at.unwrap_or(framed_at));
        Some(since.max(self.last_slot_at) + self.busy_timeout)
    }

    /// Promise 8: never while something is pending, for the client may wait for that, and the
    /// server may not read.
    pub(super) fn request_deadline(&self) -> Option<Instant> {
        let is_on = !self.request_timeout.is_zero() && self.phase == Phase::Serving;
        let is_awaited = self.cutter.is_begun() && self.unframed.is_empty() && !self.end_read;
        let is_awaited = is_awaited && self.has_nothing_pending();
        (is_on && is_awaited).then(|| self.begun_at + self.request_timeout)
    }

    /// Promise 8: never while something is waiting, queued or running.
    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        let is_on = !self.idle_timeout.is_zero() && self.places.is_empty();
        is_on.then(|| self.last_progress + self.idle_timeout)
    }
}
