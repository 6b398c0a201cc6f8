//! The stages of an open loop: what was due in each, and what became of it.
//!
//! Knows when each stage is; not how its requests were spread.
//!
//! Rule: a request belongs to the stage in which it was due, whenever its answer comes. Answers
//! alone are also counted by when they came, which is how fast the server was meanwhile.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::figures::distribution::Distribution;
use crate::figures::latencies::Latencies;
use crate::load::stages::{Stage, with_begin};

/// The account of all stages; of a load that has one or none, it is empty.
#[derive(Debug)]
pub(crate) struct StageTallies {
    measured_from: Instant,
    tallies: Vec<StageTally>,
}

/// The account of one stage, without what was due in the warmup.
#[derive(Debug)]
pub(crate) struct StageTally {
    /// When it ends.
    until: Instant,
    /// Requests that were due in it and have come to an end.
    pub(crate) due: u64,
    /// Those of them that got their right answer.
    pub(crate) answers: u64,
    /// Right answers that came while it lasted, to whichever requests.
    pub(crate) came: u64,
    /// `ERR server busy` answers to its requests.
    pub(crate) busy: u64,
    /// From due to answered, of its requests.
    pub(crate) latencies: Latencies,
}

impl StageTallies {
    /// The `stages` of a load that begins at `start` and is measured from `measured_from` on.
    pub(crate) fn new(start: Instant, measured_from: Instant, stages: &[Stage]) -> Self {
        // The figures of one stage are those of the run.
        let stages = if stages.len() > 1 { stages } else { &[] };
        let tallies = with_begin(stages).map(|(begin, stage)| StageTally {
            until: start + begin + stage.duration,
            due: 0,
            answers: 0,
            came: 0,
            busy: 0,
            latencies: Latencies::default(),
        });
        Self {
            measured_from,
            tallies: tallies.collect(),
        }
    }

    /// The stage at `time`, if that is measured.
    pub(crate) fn at(&mut self, time: Instant) -> Option<&mut StageTally> {
        if self.tallies.is_empty() || time < self.measured_from {
            return None;
        }
        let place = self.tallies.partition_point(|tally| tally.until <= time);
        self.tallies.get_mut(place)
    }

    /// Adds what another loop of the same run did.
    pub(crate) fn merge(&mut self, other: Self) {
        for (own, others) in self.tallies.iter_mut().zip(other.tallies) {
            // All fields are named, so that none is forgotten.
            let StageTally {
                until: _,
                due,
                answers,
                came,
                busy,
                latencies,
            } = others;
            own.due += due;
            own.answers += answers;
            own.came += came;
            own.busy += busy;
            own.latencies.merge(&latencies);
        }
    }
}

/// One stage. Requests count where they were due, but not those of the warmup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StageFigures {
    /// When it began, in seconds from the start of the load.
    pub(crate) begin_s: f64,
    /// When it ended.
    pub(crate) end_s: f64,
    /// The rate that was asked for.
    pub(crate) offered_per_s: f64,
    /// Requests that were due in it and have come to an end.
    pub(crate) due: u64,
    /// Those of them that got their right answer.
    pub(crate) answers: u64,
    /// Right answers per second that came while it lasted; `None` if nothing of it was measured.
    pub(crate) throughput_per_s: Option<f64>,
    /// `ERR server busy` answers to its requests.
    pub(crate) busy: u64,
    /// How many of its requests waited for a client that had room.
    pub(crate) waited: u64,
    /// From due to answered.
    pub(crate) latency: Distribution,
}

impl StageFigures {
    /// The figures of `stages`, of which the time from `warmup` to `end` was measured. In each, so
    /// many requests `waited` for a client.
    pub(crate) fn of(
        tallies: &StageTallies,
        stages: &[Stage],
        waited: &[u64],
        (warmup, end): (Duration, Duration),
    ) -> Vec<Self> {
        let figures = with_begin(stages).zip(&tallies.tallies).zip(waited);
        let figures = figures.map(|(((begin, stage), tally), &waited)| {
            let until = begin + stage.duration;
            let measured_s = until
                .min(end)
                .saturating_sub(begin.max(warmup))
                .as_secs_f64();
            Self {
                begin_s: begin.as_secs_f64(),
                end_s: until.as_secs_f64(),
                offered_per_s: stage.rate,
                due: tally.due,
                answers: tally.answers,
                throughput_per_s: (measured_s > 0.0).then(|| tally.came as f64 / measured_s),
                busy: tally.busy,
                waited,
                latency: Distribution::of(&tally.latencies),
            }
        });
        figures.collect()
    }

    /// How many of its requests waited for a client, in percent.
    pub(crate) fn waited_percent(&self) -> f64 {
        100.0 * self.waited as f64 / self.due.max(1) as f64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A second at 1000 requests, all of `latencies`.
    pub(crate) fn stage(latencies: &Latencies) -> StageFigures {
        StageFigures {
            begin_s: 0.0,
            end_s: 1.0,
            offered_per_s: 1000.0,
            due: latencies.count(),
            answers: latencies.count(),
            throughput_per_s: Some(latencies.count() as f64),
            busy: 0,
            waited: 0,
            latency: Distribution::of(latencies),
        }
    }

    /// Two seconds at 10 a second, then one at 50.
    fn stages() -> [Stage; 2] {
        [(2, 10.0), (1, 50.0)].map(|(seconds, rate)| Stage {
            duration: Duration::from_secs(seconds),
            rate,
        })
    }

    #[test]
    fn a_request_belongs_to_the_stage_in_which_it_was_due() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut tallies = StageTallies::new(start, at(500), &stages());
        for ms in [499, 500, 1999, 2000, 2999] {
            if let Some(stage) = tallies.at(at(ms)) {
                stage.due += 1;
            }
        }
        assert!(tallies.at(at(3000)).is_none(), "the load is over");
        let mut other = StageTallies::new(start, at(500), &stages());
        other.at(at(2500)).expect("the second stage").came = 30;
        tallies.merge(other);
        let measured = (Duration::from_millis(500), Duration::from_millis(2750));
        let figures = StageFigures::of(&tallies, &stages(), &[0, 1], measured);
        assert_eq!([figures[0].due, figures[1].due], [2, 2]);
        assert_eq!(figures[0].throughput_per_s, Some(0.0));
        // It was interrupted after three quarters of the second stage.
        assert_eq!(figures[1].throughput_per_s, Some(40.0));
        assert_eq!(figures[1].waited_percent(), 50.0);
    }

    #[test]
    fn a_stage_that_is_all_warmup_has_no_rate() {
        let start = Instant::now();
        let (warmup, end) = (Duration::from_secs(2), Duration::from_secs(3));
        let tallies = StageTallies::new(start, start + warmup, &stages());
        let figures = StageFigures::of(&tallies, &stages(), &[0, 0], (warmup, end));
        assert_eq!(figures[0].throughput_per_s, None);
        assert_eq!(figures[1].throughput_per_s, Some(0.0));
    }

    #[test]
    fn one_rate_needs_no_account_of_its_own() {
        let start = Instant::now();
        let mut tallies = StageTallies::new(start, start, &stages()[..1]);
        assert!(tallies.at(start).is_none());
    }
}
