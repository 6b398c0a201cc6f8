//! How long many requests took: percentiles, extremes, the mean.
//!
//! Knows durations and counts; not what was asked, nor what was right.
//!
//! Rule: memory does not grow with the length of the run. A request without an answer counts as at
//! least its age, and what depends on how much longer it would have taken is a lower bound.

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
    /// In nanoseconds, which no run brings to an end.
    sum: u128,
    /// The ages of those that are unanswered, if some are. They are in `histogram`, too.
    unanswered: Option<Box<Histogram<u64>>>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            histogram: empty(),
            longest: Duration::ZERO,
            shortest: Duration::MAX,
            sum: 0,
            unanswered: None,
        }
    }
}

fn empty() -> Histogram<u64> {
    let histogram = Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3);
    histogram.expect("3 digits and an hour are within what a histogram can do")
}

impl Latencies {
    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Adds `count` that are alike.
    pub(crate) fn record_many(&mut self, latency: Duration, count: u64) {
        self.add(latency, count);
        self.shortest = self.shortest.min(latency);
    }

    /// Adds a request that was given up at the age of `age`: its latency is at least that.
    pub(crate) fn record_unanswered(&mut self, age: Duration) {
        self.add(age, 1);
        let unanswered = self.unanswered.get_or_insert_with(|| Box::new(empty()));
        unanswered.saturating_record(age.as_micros() as u64);
    }

    fn add(&mut self, latency: Duration, count: u64) {
        let us = latency.as_micros() as u64;
        self.histogram.saturating_record_n(us, count);
        self.longest = self.longest.max(latency);
        self.sum += latency.as_nanos() * u128::from(count);
    }

    /// Adds those of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        let add = |own: &mut Histogram<u64>, others| {
            own.add(others).expect("both have the same bounds");
        };
        add(&mut self.histogram, &other.histogram);
        if let Some(unanswered) = &other.unanswered {
            let own = self.unanswered.get_or_insert_with(|| Box::new(empty()));
            add(own, unanswered);
        }
        self.longest = self.longest.max(other.longest);
        self.shortest = self.shortest.min(other.shortest);
        self.sum += other.sum;
    }

    /// How many there are, unanswered ones included.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many of them are ages of unanswered requests.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered.as_ref().map_or(0, |ages| ages.len())
    }

    /// Whether the percentile `percent` is only known to be at least what it is: it would be
    /// longer, as far as the histogram can tell, if the unanswered requests had taken for ever.
    pub(crate) fn is_lower_bound(&self, percent: f64) -> bool {
        let Some(unanswered) = &self.unanswered else {
            return false;
        };
        let mut answered = self.histogram.clone();
        answered
            .subtract(unanswered.as_ref())
            .expect("they are in both, which have the same bounds");
        // As many of these as of all; no rounding error may make it one more.
        let share = self.count() as f64 / answered.len() as f64;
        let of_answered = percent * share * (1.0 - 1e-12);
        let known = at_percentile(&self.histogram, percent);
        let told_apart = known.mul_f64(1.002).max(known + Duration::from_micros(1));
        answered.is_empty()
            || of_answered > 100.0
            || at_percentile(&answered, of_answered) > told_apart
    }

    /// The mean, to a nanosecond; of none, it is zero.
    pub(crate) fn mean(&self) -> Duration {
        let nanos = self.sum / u128::from(self.count().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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

    /// The shortest one that was answered, exactly.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        (self.shortest < Duration::MAX).then_some(self.shortest)
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
        assert_eq!(latencies.shortest(), Some(Duration::from_millis(1)));
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
        assert_eq!(Latencies::default().shortest(), None);
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

    /// 90 answers of 1 to 90 ms, and 10 unanswered requests of this age.
    fn with_unanswered(age_ms: u64) -> Latencies {
        let mut latencies = Latencies::default();
        for ms in 1..=90 {
            latencies.record(Duration::from_millis(ms));
        }
        for _ in 0..10 {
            latencies.record_unanswered(Duration::from_millis(age_ms));
        }
        latencies
    }

    #[test]
    fn what_unanswered_requests_would_move_is_a_lower_bound_and_nothing_else_is() {
        let old = with_unanswered(95);
        assert_eq!((old.count(), old.unanswered()), (100, 10));
        assert!(!old.is_lower_bound(90.0));
        assert!(old.is_lower_bound(91.0));
        // Younger ones stand before answers, each of which may be the percentile instead.
        let young = with_unanswered(1);
        assert!(young.is_lower_bound(50.0));
        let mut few = with_unanswered(1);
        few.record_many(Duration::from_millis(50), 1_000_000);
        assert!(!few.is_lower_bound(50.0), "all of its neighbours are alike");
        assert!(few.is_lower_bound(99.9999));
        let mut none = Latencies::default();
        none.record_unanswered(Duration::ZERO);
        assert!(none.is_lower_bound(50.0));
    }

    #[test]
    fn an_age_is_no_shortest_latency() {
        let mut latencies = Latencies::default();
        latencies.record_unanswered(Duration::from_micros(1));
        assert_eq!(latencies.shortest(), None);
        latencies.record(Duration::from_millis(5));
        assert_eq!(latencies.shortest(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn two_samples_are_one_with_what_is_unanswered_in_either() {
        let (mut one, other) = (Latencies::default(), with_unanswered(95));
        one.record(Duration::from_micros(500));
        one.merge(&other);
        assert_eq!((one.count(), one.unanswered()), (101, 10));
        assert_eq!(one.shortest(), Some(Duration::from_micros(500)));
        // (0.5 + 1 + ... + 90 + 10 x 95) / 101.
        assert_eq!(one.mean(), Duration::from_nanos(5_045_500_000 / 101));
        assert!(one.is_lower_bound(95.0) && !one.is_lower_bound(50.0));
    }
}
