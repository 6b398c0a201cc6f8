//! How many requests were in flight, counted in two ways that must agree.
//!
//! Knows when requests enter and leave; not which ones, and not what came of them.
//!
//! Rule: Little's law, `L = lambda * W`, is an identity for a system that begins and ends empty:
//! where it does not hold, a request was lost from the account or a clock was read wrongly.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The law holds if both sides agree to this share of the larger one.
const TOLERANCE: f64 = 0.01;
/// Or to so many requests in flight.
const TOLERATED_REQUESTS: f64 = 0.01;

/// The account of what is in flight.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    inside: u64,
    /// When `inside` last changed.
    changed: Option<Instant>,
    /// When the first request entered.
    began: Option<Instant>,
    /// The integral of `inside` over time, in request-seconds.
    area_s: f64,
    left: u64,
    /// The sum of the times that each request was inside.
    stays: Duration,
}

impl Occupancy {
    /// `count` requests enter.
    pub(crate) fn enter(&mut self, count: u32, now: Instant) {
        self.advance(now);
        self.began.get_or_insert(now);
        self.inside += u64::from(count);
    }

    /// `count` requests that were inside for a time of `stay` leave.
    pub(crate) fn leave(&mut self, count: u32, stay: Duration, now: Instant) {
        self.advance(now);
        self.inside = self.inside.saturating_sub(u64::from(count));
        self.left += u64::from(count);
        self.stays += stay * count;
    }

    /// Adds what was in flight in `other` at the same time.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.inside += other.inside;
        self.changed = self.changed.max(other.changed);
        self.began = match (self.began, other.began) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.area_s += other.area_s;
        self.left += other.left;
        self.stays += other.stays;
    }

    fn advance(&mut self, now: Instant) {
        let changed = self.changed.get_or_insert(now);
        if now > *changed {
            self.area_s += self.inside as f64 * (now - *changed).as_secs_f64();
            *changed = now;
        }
    }

    /// Both sides of the law.
    pub(crate) fn little(&self) -> Little {
        let seconds = match (self.began, self.changed) {
            (Some(began), Some(changed)) => (changed - began).as_secs_f64(),
            _ => 0.0,
        };
        let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let (in_flight, rate_per_s) = (per_second(self.area_s), per_second(self.left as f64));
        let stay_s = self.stays.as_secs_f64() / self.left.max(1) as f64;
        let product = rate_per_s * stay_s;
        let tolerated = TOLERATED_REQUESTS.max(TOLERANCE * in_flight.max(product));
        Little {
            in_flight,
            rate_per_s,
            stay_us: stay_s * 1e6,
            holds: (in_flight - product).abs() <= tolerated,
        }
    }
}

/// Little's law for the requests in flight of one run.
///
/// J. D. C. Little, "A Proof for the Queuing Formula: L = lambda W", Operations Research 9 (3),
/// 1961.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Little {
    /// `L`: in flight on average, by integrating over time.
    pub(crate) in_flight: f64,
    /// `lambda`: requests that left per second.
    pub(crate) rate_per_s: f64,
    /// `W`, by adding up each request's own time.
    pub(crate) stay_us: f64,
    /// Whether both sides agree.
    pub(crate) holds: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn both_sides_of_the_law_agree_when_all_have_left() {
        let start = Instant::now();
        let mut occupancy = Occupancy::default();
        for (enters, leaves) in [(0, 30), (30, 50), (50, 100)] {
            occupancy.enter(1, at(start, enters));
            occupancy.enter(1, at(start, enters));
            let stay = Duration::from_millis(leaves - enters);
            occupancy.leave(1, stay, at(start, leaves));
            occupancy.leave(1, stay, at(start, leaves));
        }
        let little = occupancy.little();
        assert!((little.in_flight - 2.0).abs() < 1e-9, "{little:?}");
        assert!((little.rate_per_s - 60.0).abs() < 1e-9, "{little:?}");
        assert!(little.holds, "{little:?}");
    }

    #[test]
    fn a_request_that_is_lost_from_the_account_shows() {
        let start = Instant::now();
        let mut occupancy = Occupancy::default();
        occupancy.enter(1, start);
        occupancy.enter(1, start);
        occupancy.leave(1, Duration::from_millis(10), at(start, 10));
        occupancy.enter(1, at(start, 1000));
        occupancy.leave(1, Duration::from_millis(10), at(start, 1010));
        assert!(!occupancy.little().holds, "{:?}", occupancy.little());
    }

    #[test]
    fn nothing_at_all_is_no_contradiction() {
        assert!(Occupancy::default().little().holds);
    }
}
