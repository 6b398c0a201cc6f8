//! How evenly the clients were served: what each got in the same time, and how soon.
//!
//! Knows counts and latencies of single clients; not why they differ.
//!
//! Rule: all clients are counted over one window, the measured one. A client that is starved early
//! and one that is served to the end would look alike if each had a window of its own.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::figures::distribution::{PERCENTILES, microseconds};
use crate::figures::latencies::{LONGEST, at_percentile, knows};
use crate::figures::ledger::{Answered, Window};

/// Of more clients than this, so many evenly chosen from the sorted list stand for all.
const SHOWN_SHARES: usize = 200;

/// What one client got. Its histogram grows to some 10 KiB when latencies reach minutes.
#[derive(Debug)]
pub(crate) struct Share {
    /// The latencies of its accepted requests that were due in the measured window.
    histogram: Histogram<u32>,
    longest: Duration,
    /// How many answers came in the measured window.
    accepted: u64,
}

impl Share {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            histogram: Histogram::new(2).expect("a histogram can have 2 digits"),
            longest: Duration::ZERO,
            accepted: 0,
        }
    }

    /// Adds `count` accepted requests that are alike, of a run that is measured in `window`.
    pub(crate) fn record(&mut self, answered: Answered, count: u32, window: Window) {
        if window.contains(answered.now) {
            self.accepted += u64::from(count);
        }
        if window.is_measured(answered.intended) {
            let latency = answered.latency;
            self.longest = self.longest.max(latency);
            self.histogram
                .record_n(latency.min(LONGEST).as_micros() as u64, count)
                .expect("a histogram that resizes itself takes every value");
        }
    }

    /// The latency that `percent` of its accepted requests do not exceed, if there are enough.
    fn percentile(&self, percent: f64) -> Option<Duration> {
        let latency = || at_percentile(&self.histogram, percent).min(self.longest);
        knows(self.histogram.len(), percent).then(latency)
    }
}

/// How evenly the clients were served.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FairnessFigures {
    /// How many clients there were from the beginning on.
    pub(crate) clients: usize,
    /// Jain's index of the answers that each got in the measured window: 1 when all got the same.
    pub(crate) jains_index: Option<f64>,
    /// Answers per second of each client in the measured window, sorted; of many clients, evenly
    /// chosen ones.
    pub(crate) rates_per_s: Vec<f64>,
    /// The highest of the usual percentiles that is known for at least half of the clients.
    pub(crate) percent: Option<f64>,
    /// That percentile of each client for which it is known, sorted and chosen likewise.
    pub(crate) times_us: Vec<f64>,
}

impl FairnessFigures {
    /// The figures of `shares` in a window of `window_s` seconds.
    pub(crate) fn of(shares: &[Share], window_s: f64) -> Self {
        let counts: Vec<f64> = shares.iter().map(|share| share.accepted as f64).collect();
        let known = |percent| -> Vec<f64> {
            let times = shares.iter().filter_map(|share| share.percentile(percent));
            times.map(microseconds).collect()
        };
        let is_usual = |&percent: &f64| 2 * known(percent).len() >= shares.len().max(1);
        let percent = PERCENTILES.into_iter().rev().find(is_usual);
        Self {
            clients: shares.len(),
            jains_index: jains_index(&counts),
            percent,
            times_us: chosen(percent.map(known).unwrap_or_default()),
            rates_per_s: chosen(
                counts
                    .iter()
                    .map(|count| count / window_s.max(1e-6))
                    .collect(),
            ),
        }
    }
}

/// `values` sorted; of too many, evenly chosen ones, the smallest and the largest among them.
fn chosen(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    if values.len() <= SHOWN_SHARES {
        return values;
    }
    let last = values.len() - 1;
    let places = (0..SHOWN_SHARES).map(|place| place * last / (SHOWN_SHARES - 1));
    places.map(|place| values[place]).collect()
}

/// Jain's fairness index of `shares`: `(sum x)^2 / (n * sum x^2)`; 1 when all are equal, 1/n when
/// one has everything. `None` of no shares, or when all of them are 0.
///
/// R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource
/// Allocation in Shared Computer Systems", DEC Research Report TR-301, 1984.
fn jains_index(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::figures::ledger::Times;

    /// A run that is measured from 1 s to 3 s.
    struct Run {
        start: Instant,
        window: Window,
    }

    impl Run {
        fn new() -> Self {
            let start = Instant::now();
            let at = |s| start + Duration::from_secs(s);
            let window = Window {
                from: at(1),
                until: Some(at(3)),
            };
            Self { start, window }
        }

        /// A client with answers at these times in milliseconds, each due 10 ms before.
        fn share(&self, answers: impl IntoIterator<Item = u64>) -> Share {
            let mut share = Share::new();
            for ms in answers {
                let now = self.start + Duration::from_millis(ms);
                let intended = now.checked_sub(Duration::from_millis(10));
                let intended = intended.expect("a clock has run for 10 ms");
                let times = Times {
                    operation: None,
                    intended,
                    written: intended,
                };
                share.record(times.answered(now), 1, self.window);
            }
            share
        }
    }

    #[test]
    fn jains_index_of_known_shares() {
        assert_eq!(jains_index(&[5.0, 5.0, 5.0]), Some(1.0));
        assert_eq!(jains_index(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
        // The example of the report: 20 of 100 users get 1, the others nothing.
        let mut shares = [0.0; 100];
        shares[..20].fill(1.0);
        assert!((jains_index(&shares).expect("not all are 0") - 0.2).abs() < 1e-12);
        assert_eq!(jains_index(&[]), None);
        assert_eq!(jains_index(&[0.0, 0.0]), None);
    }

    #[test]
    fn a_client_that_is_starved_early_counts_over_the_time_of_all() {
        let run = Run::new();
        let served = || run.share((1000..3000).step_by(10));
        let starved = || run.share((1000..1050).step_by(10));
        let shares = [served(), served(), starved(), starved()];
        let fairness = FairnessFigures::of(&shares, 2.0);
        assert_eq!(fairness.rates_per_s, [2.5, 2.5, 100.0, 100.0]);
        let index = 410.0_f64.powi(2) / (4.0 * (2.0 * 200.0_f64.powi(2) + 2.0 * 5.0_f64.powi(2)));
        assert!((fairness.jains_index.expect("answers") - index).abs() < 1e-12);
    }

    #[test]
    fn one_answer_each_is_even_whenever_it_came() {
        let run = Run::new();
        let shares = [1010, 1500, 2000, 2990].map(|ms| run.share([ms]));
        assert_eq!(FairnessFigures::of(&shares, 2.0).jains_index, Some(1.0));
    }

    #[test]
    fn what_came_in_the_warmup_counts_for_nobody() {
        let run = Run::new();
        let shares = [run.share(10..1000), run.share(1010..1020)];
        let fairness = FairnessFigures::of(&shares, 2.0);
        assert_eq!(fairness.jains_index, Some(0.5));
        assert!(fairness.times_us.is_empty(), "{fairness:?}");
    }

    #[test]
    fn a_percentile_of_a_client_takes_ten_above_it_and_is_no_longer_than_the_longest() {
        let run = Run::new();
        let shares = [
            run.share(1010..1110),
            run.share(1010..1110),
            run.share([1010]),
        ];
        let fairness = FairnessFigures::of(&shares, 2.0);
        assert_eq!(fairness.percent, Some(90.0), "each has 100 answers");
        assert_eq!(fairness.times_us, [10_000.0; 2]);
        let many = [run.share(1010..2010)];
        let fairness = FairnessFigures::of(&many, 2.0);
        assert_eq!(fairness.percent, Some(99.0), "1000 answers");
    }

    #[test]
    fn of_many_clients_the_extremes_are_shown() {
        let shown = chosen((0..1000).map(f64::from).collect());
        assert_eq!(shown.len(), SHOWN_SHARES);
        assert_eq!((shown[0], shown[SHOWN_SHARES - 1]), (0.0, 999.0));
    }
}
