//! How many latencies were how long, in a few buckets: what a heat map is made of.
//!
//! Knows microseconds and counts; not when they were.
//!
//! Rule: a bucket is a quarter of an octave (4, 5, 6, 7, 8, 10, 12, ... microseconds), so they are
//! few, whatever the latencies.

use std::time::Duration;

use crate::figures::latencies::LONGEST;

/// Buckets of each doubling.
const PER_OCTAVE: usize = 4;

/// Counts of latencies.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    /// Of each bucket, up to the last that has any.
    counts: Vec<u64>,
}

impl Buckets {
    /// Adds `count` times `latency`; beyond [`LONGEST`] it counts as that.
    pub(crate) fn record(&mut self, latency: Duration, count: u32) {
        let bucket = bucket(latency.min(LONGEST).as_micros() as u64);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += u64::from(count);
    }

    /// Adds those of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Those that have any, in rising order: the microseconds that a bucket begins at, and how many
    /// there are in it.
    pub(crate) fn pairs(&self) -> Vec<(u64, u64)> {
        let counts = self.counts.iter().enumerate();
        let used = counts.filter(|(_, count)| **count > 0);
        used.map(|(bucket, &count)| (begin_us(bucket) as u64, count))
            .collect()
    }
}

/// The bucket of a latency. The first ones are a microsecond each.
pub(crate) fn bucket(us: u64) -> usize {
    if us < PER_OCTAVE as u64 {
        return us as usize;
    }
    let octave = us.ilog2() as usize;
    let quarter = (us >> (octave - 2)) as usize % PER_OCTAVE;
    PER_OCTAVE * (octave - 1) + quarter
}

/// The microseconds that a bucket begins at.
pub(crate) fn begin_us(bucket: usize) -> f64 {
    if bucket < PER_OCTAVE {
        return bucket as f64;
    }
    let (octave, quarter) = (bucket / PER_OCTAVE + 1, bucket % PER_OCTAVE);
    (PER_OCTAVE + quarter) as f64 * 2_f64.powi(octave as i32 - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_quarters_of_octaves_without_gaps() {
        let begins: Vec<f64> = (0..14).map(begin_us).collect();
        let expected = [
            0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0,
        ];
        assert_eq!(begins, expected);
        for us in (0..5000).chain([u64::MAX / 3, u64::MAX]) {
            let bucket = bucket(us);
            let (begin, end) = (begin_us(bucket), begin_us(bucket + 1));
            assert!(
                begin <= us as f64 && us as f64 <= end,
                "{us}: {begin} {end}"
            );
            assert!(us > 5000 || (us as f64) < end, "{us}: {end}");
        }
    }

    #[test]
    fn nothing_is_lost_and_little_is_kept() {
        let (mut one, mut other) = (Buckets::default(), Buckets::default());
        for us in 0..1000 {
            one.record(Duration::from_micros(us), 1);
            other.record(Duration::from_secs(us), 3);
        }
        one.record(LONGEST * 9, 1);
        one.add(&other);
        other.add(&one);
        let sum = |buckets: &Buckets| buckets.pairs().iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!((sum(&one), sum(&other)), (4001, 7001));
        assert!(one.counts.len() < 128, "{}", one.counts.len());
    }
}
