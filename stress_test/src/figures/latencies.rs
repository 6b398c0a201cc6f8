//! How long answers took, how much work was accepted, and how evenly.
//!
//! Knows durations and counts only; does not know what was right.
//!
//! Rule: the memory of a figure does not grow with the length of the run.

use std::time::Duration;

use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use hdrhistogram::{Counter, Histogram};

/// Latencies beyond this are counted as this.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// A percentile is known when at least so many of the sample lie above it: p99 takes 1000, p99.99
/// takes 100,000. With fewer it is not a property of the server but of the luck of the run.
pub(crate) const SAMPLES_ABOVE: f64 = 10.0;

/// Latencies of many requests, to a microsecond or 0.1 %, whichever is more.
#[derive(Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    longest: Duration,
    shortest: Duration,
    sum: Duration,
    unanswered: u64,
    /// Of the unanswered ones; a percentile from here on is a lower bound.
    youngest_unanswered: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3);
        Self {
            histogram: histogram.expect("3 digits and an hour are within what a histogram can do"),
            longest: Duration::ZERO,
            shortest: Duration::MAX,
            sum: Duration::ZERO,
            unanswered: 0,
            youngest_unanswered: Duration::MAX,
        }
    }
}

impl Latencies {
    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Adds `count` that are alike.
    pub(crate) fn record_many(&mut self, latency: Duration, count: u32) {
        let us = latency.as_micros() as u64;
        self.histogram.saturating_record_n(us, u64::from(count));
        self.longest = self.longest.max(latency);
        self.shortest = self.shortest.min(latency);
        self.sum = self.sum.saturating_add(latency.saturating_mul(count));
    }

    /// Adds `times` of the same, at least one.
    pub(crate) fn record_often(&mut self, latency: Duration, times: u64) {
        self.histogram
            .saturating_record_n(latency.as_micros() as u64, times - 1);
        let others = Duration::from_secs_f64(latency.as_secs_f64() * (times - 1) as f64);
        self.sum = self.sum.saturating_add(others);
        self.record(latency);
    }

    /// Adds a request that was given up at the age of `age`: its latency is at least that.
    pub(crate) fn record_unanswered(&mut self, age: Duration) {
        self.record(age);
        self.unanswered += 1;
        self.youngest_unanswered = self.youngest_unanswered.min(age);
    }

    /// Adds those of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("both have the same bounds");
        self.longest = self.longest.max(other.longest);
        self.shortest = self.shortest.min(other.shortest);
        self.sum = self.sum.saturating_add(other.sum);
        self.unanswered += other.unanswered;
        self.youngest_unanswered = self.youngest_unanswered.min(other.youngest_unanswered);
    }

    /// How many there are, unanswered ones included.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many of them are ages of unanswered requests.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Whether `latency`, a percentile or the longest, is only known to be at least that.
    pub(crate) fn is_lower_bound(&self, latency: Duration) -> bool {
        // The histogram rounds, by less than two parts in a thousand.
        self.unanswered > 0 && latency.mul_f64(1.002) >= self.youngest_unanswered
    }

    /// The mean, exactly; of none, it is zero.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.sum.as_secs_f64() / self.count().max(1) as f64)
    }

    /// Percentiles in rising order with their latencies, finer towards the end: what a plot of the
    /// whole distribution needs. It ends at the last percentile that is known.
    pub(crate) fn curve(&self) -> Vec<(f64, Duration)> {
        let mut curve = Vec::new();
        let mut above = 100.0_f64;
        // Ten steps for each tenfold of rarity.
        while knows(self.count(), 100.0 - above) && above > 1e-6 {
            let percent = 100.0 - above;
            curve.push((percent, self.percentile(percent)));
            above /= 10_f64.powf(0.1);
        }
        curve
    }

    /// The latency that `percent` of them do not exceed, if the sample is large enough.
    pub(crate) fn known_percentile(&self, percent: f64) -> Option<Duration> {
        knows(self.count(), percent).then(|| self.percentile(percent))
    }

    /// The latency that `percent` of them do not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        at_percentile(&self.histogram, percent).min(self.longest)
    }

    /// The longest one, exactly.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// The shortest one, exactly; of none, it is zero.
    pub(crate) fn shortest(&self) -> Duration {
        self.shortest.min(self.longest)
    }

    /// All of them in microseconds, as the tools of HdrHistogram read it: version 2, compressed.
    pub(crate) fn serialized(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.histogram, &mut bytes)
            .expect("a Vec takes it all, and counts of a run fit into 63 bits");
        bytes
    }
}

/// Whether a sample of `count` is large enough for the percentile `percent`.
pub(crate) fn knows(count: u64, percent: f64) -> bool {
    // The sum of the parts may be off by a rounding error, 10 of 1000 must not be.
    count as f64 * (100.0 - percent) / 100.0 >= SAMPLES_ABOVE * (1.0 - 1e-9)
}

/// The value that `percent` of those in `histogram` do not exceed.
pub(crate) fn at_percentile<C: Counter>(histogram: &Histogram<C>, percent: f64) -> Duration {
    Duration::from_micros(histogram.value_at_percentile(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_minimum_and_maximum() {
        let mut latencies = Latencies::default();
        for ms in 1..=1000 {
            latencies.record(Duration::from_millis(ms));
        }
        let close = |percent: f64, ms: f64| {
            let found = latencies.percentile(percent).as_secs_f64() * 1000.0;
            assert!((found - ms).abs() <= ms * 0.002, "p{percent} is {found}");
        };
        close(50.0, 500.0);
        close(99.0, 990.0);
        close(100.0, 1000.0);
        assert_eq!(latencies.histogram.len(), 1000);
        assert_eq!(latencies.shortest(), Duration::from_millis(1));
        assert_eq!(latencies.longest(), Duration::from_millis(1000));
    }

    #[test]
    fn what_is_longer_than_an_hour_still_counts() {
        let mut latencies = Latencies::default();
        latencies.record(LONGEST * 5);
        assert_eq!(latencies.histogram.len(), 1);
        assert_eq!(latencies.longest(), LONGEST * 5);
    }

    #[test]
    fn no_latencies_have_no_shortest() {
        assert_eq!(Latencies::default().shortest(), Duration::ZERO);
        assert_eq!(Latencies::default().percentile(99.0), Duration::ZERO);
        assert_eq!(Latencies::default().mean(), Duration::ZERO);
        assert!(Latencies::default().curve().is_empty());
    }

    #[test]
    fn a_percentile_is_known_when_ten_samples_lie_above_it() {
        let mut latencies = Latencies::default();
        for _ in 0..999 {
            latencies.record(Duration::from_millis(1));
        }
        assert!(latencies.known_percentile(50.0).is_some());
        assert_eq!(latencies.known_percentile(99.0), None);
        latencies.record(Duration::from_millis(1));
        assert!(latencies.known_percentile(99.0).is_some());
        assert_eq!(latencies.known_percentile(99.9), None);
        let (last, _) = latencies.curve().pop().expect("a curve");
        assert!((98.0..=99.0).contains(&last), "{last}");
    }

    #[test]
    fn from_the_youngest_unanswered_request_on_percentiles_are_lower_bounds() {
        let mut latencies = Latencies::default();
        for ms in 1..=90 {
            latencies.record(Duration::from_millis(ms));
        }
        for _ in 0..10 {
            latencies.record_unanswered(Duration::from_millis(95));
        }
        assert_eq!((latencies.count(), latencies.unanswered()), (100, 10));
        assert!(!latencies.is_lower_bound(latencies.percentile(90.0)));
        assert!(latencies.is_lower_bound(latencies.percentile(91.0)));
        assert!(latencies.is_lower_bound(latencies.longest()));
    }
}
