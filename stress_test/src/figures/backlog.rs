//! Whether the answers of an open loop kept up with what was due.
//!
//! Knows how many requests were due and ended in the measured window; not why.
//!
//! Rule: a rate that is served has a backlog that comes and goes; one that is not has a backlog
//! that grows for as long as the load lasts. A latency says neither, as it depends on how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::ledger::Tally;
use crate::load::plan::OpenLoop;
use crate::load::stages::{Stage, requests_by};

/// Chance lets a backlog grow by up to so many times the square root of what was due, or of that
/// times the size of a burst. Of arrivals at random that is two standard deviations.
const DEVIATIONS: f64 = 2.0;
/// Nor does a growth by up to this share of what was due count. It is what a machine with other
/// things to do keeps waiting for a moment.
const HARMLESS_SHARE: f64 = 0.01;

/// What of an open loop waited for its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BacklogFigures {
    /// Requests that were due in the measured window.
    pub(crate) due: u64,
    /// Requests that came to an end in it, by an answer, a refusal or none.
    pub(crate) ended: u64,
    /// By how many more waited for their end at the end of it than at its beginning.
    pub(crate) growth: i64,
    /// The most that chance explains.
    pub(crate) by_chance: f64,
    /// Whether it grew by more than that: the server does not keep up with the rate.
    pub(crate) grows: bool,
}

impl BacklogFigures {
    /// What is wrong, if it grows.
    pub(crate) fn complaint(&self) -> Option<String> {
        let (growth, due) = (self.growth, self.due);
        let text = || format!("the backlog grew by {growth} while {due} were due");
        self.grows.then(text)
    }

    /// The backlog of `tally`, of the load `open`. Measured was the time from `warmup` to `end`.
    pub(crate) fn of(tally: &Tally, open: &OpenLoop, (warmup, end): (Duration, Duration)) -> Self {
        let (due, ended) = (tally.due, tally.ended_in_window);
        let growth = due.cast_signed() - ended.cast_signed();
        let quickest = tally.quickest.unwrap_or_default();
        let in_flight = |at| in_flight(&open.stages, at, quickest);
        let without_waits = in_flight(end) - in_flight(warmup);
        let by_chance = without_waits.max(0.0) + by_chance(due, open.burst);
        Self {
            due,
            ended,
            growth,
            by_chance,
            grows: growth as f64 > by_chance,
        }
    }
}

/// How many are in flight at the time `at` where none waits and each takes `service`: those that
/// were due so shortly before. A window may begin before there are any, or end at a higher rate.
fn in_flight(stages: &[Stage], at: Duration, service: Duration) -> f64 {
    requests_by(stages, at) - requests_by(stages, at.saturating_sub(service))
}

/// How far the backlog of a server that keeps up may grow by chance while `due` requests come in
/// bursts of so many.
fn by_chance(due: u64, burst: u32) -> f64 {
    let due = due as f64;
    // Of bursts, chance has fewer to choose from, and each is as many.
    let deviation = (due * f64::from(burst)).sqrt();
    (DEVIATIONS * deviation).max(HARMLESS_SHARE * due)
}

/// How many requests have to be due so that a rate that is a `share` too high shows.
///
/// The growth that it causes is then twice what [`DEVIATIONS`] allow for, so that chance hides it
/// one time in forty.
pub(crate) fn needed(share: f64) -> f64 {
    (2.0 * DEVIATIONS / share).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Arrivals;

    const SECOND: Duration = Duration::from_secs(1);

    fn backlog(due: u64, ended: u64) -> BacklogFigures {
        let tally = Tally {
            due,
            ended_in_window: ended,
            ..Tally::default()
        };
        let open = OpenLoop::steady(due as f64, Arrivals::Poisson, SECOND);
        BacklogFigures::of(&tally, &open, (Duration::ZERO, SECOND))
    }

    #[test]
    fn bursts_explain_more() {
        assert_eq!(
            [1, 4, 100].map(|burst| by_chance(400, burst)),
            [40.0, 80.0, 400.0]
        );
    }

    #[test]
    fn a_backlog_that_chance_explains_does_not_grow() {
        assert!(!backlog(400, 400).grows);
        assert!(!backlog(400, 361).grows, "39 of 400: 40 are by chance");
        assert!(backlog(400, 359).grows);
        assert!(!backlog(400, 500).grows, "it was worked off");
        assert!(!backlog(1_000_000, 990_000).grows);
        assert!(backlog(1_000_000, 989_000).grows);
    }

    /// What chance explains of 400 requests of 100 ms each that were due after a warmup of `ms`.
    fn by_chance_after(ms: u64, open: &OpenLoop) -> f64 {
        let tally = Tally {
            due: 400,
            quickest: Some(Duration::from_millis(100)),
            ..Tally::default()
        };
        let measured = (Duration::from_millis(ms), open.duration());
        BacklogFigures::of(&tally, open, measured).by_chance
    }

    #[test]
    fn what_is_in_flight_without_waiting_is_no_growth() {
        let open = OpenLoop::steady(400.0, Arrivals::Poisson, SECOND);
        assert_eq!(by_chance_after(0, &open).round(), 40.0 + 40.0);
        // By then, answers came in the warmup.
        assert_eq!(by_chance_after(500, &open).round(), 40.0);
    }

    #[test]
    fn what_more_is_in_flight_at_a_higher_rate_is_no_growth() {
        let mut open = OpenLoop::steady(400.0, Arrivals::Poisson, SECOND);
        let rate = 1000.0;
        open.stages.push(Stage {
            rate,
            ..open.stages[0]
        });
        assert_eq!(by_chance_after(500, &open).round(), 100.0 - 40.0 + 40.0);
        open.stages.reverse();
        assert_eq!(by_chance_after(500, &open).round(), 40.0, "it falls");
    }

    #[test]
    fn what_is_needed_shows_a_rate_that_is_too_high() {
        let due = needed(0.05);
        assert_eq!(due, 6400.0);
        let ended = due * (1.0 - 0.05) + due.sqrt() * DEVIATIONS;
        assert!(backlog(due as u64, ended as u64 - 1).grows);
    }
}
