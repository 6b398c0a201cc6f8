//! What came when: answers, refusals and latencies in slices of a run.
//!
//! Knows times since the start and durations; not what was asked.
//!
//! Rule: a slice is 100 ms; when there are too many, two become one, so memory stays bounded.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::figures::heat::Buckets;
use crate::figures::latencies::LONGEST;

/// How long a slice is at first.
const FIRST_SLICE: Duration = Duration::from_millis(100);
/// More slices than this are merged; even, so that they can be.
const MOST_SLICES: usize = 240;

/// The slices of a run, in order.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    slice: Duration,
    slices: Vec<Slice>,
}

/// What came in one slice.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Verified answers.
    pub(crate) answers: u64,
    /// `ERR server busy`.
    pub(crate) busy: u64,
    /// The longest latency of the answers, exactly.
    pub(crate) longest: Duration,
    /// The longest latency of what was due in it and got its answer, whenever that came. A stop of
    /// the server is a tooth of a saw: what was due at its beginning waited for all of it.
    pub(crate) longest_of_due: Option<Duration>,
    /// How long each of these took.
    pub(crate) due: Buckets,
    latencies: Histogram<u32>,
}

impl Slice {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            answers: 0,
            busy: 0,
            longest: Duration::ZERO,
            longest_of_due: None,
            due: Buckets::default(),
            latencies: Histogram::new(2).expect("a histogram can have 2 digits"),
        }
    }

    /// `count` right answers came `latency` after they were due.
    pub(crate) fn answered(&mut self, latency: Duration, count: u32) {
        self.answers += u64::from(count);
        self.longest = self.longest.max(latency);
        self.latencies
            .record_n(latency.min(LONGEST).as_micros() as u64, count)
            .expect("a histogram that resizes itself takes every value");
    }

    /// Adds what came in `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.busy += other.busy;
        self.longest = self.longest.max(other.longest);
        self.longest_of_due = self.longest_of_due.max(other.longest_of_due);
        self.due.add(&other.due);
        self.latencies
            .add(&other.latencies)
            .expect("a histogram that resizes itself takes every other one");
    }

    /// The latency that `percent` of its answers do not exceed, if there are any.
    pub(crate) fn percentile(&self, percent: f64) -> Option<Duration> {
        let value = Duration::from_micros(self.latencies.value_at_percentile(percent));
        (self.answers > 0).then(|| value.min(self.longest))
    }
}

impl Timeline {
    /// A run that begins at `start`.
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            slice: FIRST_SLICE,
            slices: Vec::new(),
        }
    }

    /// `count` right answers came `latency` after they were due.
    pub(crate) fn answered(&mut self, now: Instant, latency: Duration, count: u32) {
        let since_start = self.since_start(now);
        self.slice_at(since_start).answered(latency, count);
        let slice = self.slice_at(since_start.saturating_sub(nanos(latency)));
        slice.longest_of_due = slice.longest_of_due.max(Some(latency));
        slice.due.record(latency, count);
    }

    /// A request was refused as busy.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.slice_at(self.since_start(now)).busy += 1;
    }

    /// Adds what came in `other`, which began at the same time.
    pub(crate) fn merge(&mut self, mut other: Self) {
        while self.slice < other.slice {
            self.merge_slices();
        }
        while other.slice < self.slice {
            other.merge_slices();
        }
        for (place, slice) in other.slices.into_iter().enumerate() {
            match self.slices.get_mut(place) {
                Some(own) => own.add(&slice),
                None => self.slices.push(slice),
            }
        }
    }

    /// How long each slice is.
    pub(crate) fn slice_length(&self) -> Duration {
        self.slice
    }

    /// The slices, the first one from the start on.
    pub(crate) fn slices(&self) -> &[Slice] {
        &self.slices
    }

    fn since_start(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start))
    }

    /// The slice at so many nanoseconds since the start.
    fn slice_at(&mut self, since_start: u64) -> &mut Slice {
        let mut place = since_start / nanos(self.slice);
        while place >= MOST_SLICES as u64 {
            self.merge_slices();
            place /= 2;
        }
        let place = place as usize;
        while self.slices.len() <= place {
            self.slices.push(Slice::new());
        }
        &mut self.slices[place]
    }

    fn merge_slices(&mut self) {
        self.slice *= 2;
        let slices = std::mem::take(&mut self.slices);
        let mut slices = slices.into_iter();
        while let Some(mut first) = slices.next() {
            if let Some(second) = slices.next() {
                first.add(&second);
            }
            self.slices.push(first);
        }
    }
}

/// 64 bits are nanoseconds of 584 years, and faster than more of them.
fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fall_into_their_slices() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        for ms in [0, 99, 100, 350] {
            timeline.answered(
                start + Duration::from_millis(ms),
                Duration::from_millis(ms),
                1,
            );
        }
        timeline.refused(start + Duration::from_millis(120));
        let answers: Vec<u64> = timeline
            .slices()
            .iter()
            .map(|slice| slice.answers)
            .collect();
        assert_eq!(answers, [2, 1, 0, 1]);
        assert_eq!(timeline.slices()[1].busy, 1);
        assert_eq!(timeline.slices()[2].percentile(50.0), None);
        let longest = timeline.slices()[3].percentile(99.0);
        assert_eq!(longest, Some(Duration::from_millis(350)));
    }

    #[test]
    fn a_stop_is_a_tooth_by_when_requests_were_due() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        // All that was due in half a second is answered at its end.
        let end = Duration::from_millis(500);
        for due in (0..500).step_by(10) {
            timeline.answered(start + end, end - Duration::from_millis(due), 1);
        }
        let answers = timeline.slices().iter().map(|slice| slice.answers);
        assert_eq!(answers.collect::<Vec<_>>(), [0, 0, 0, 0, 0, 50]);
        let tooth = timeline.slices().iter().map(|slice| slice.longest_of_due);
        let expected = [500, 400, 300, 200, 100].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(tooth.take(5).collect::<Vec<_>>(), expected);
        assert_eq!(timeline.slices()[5].longest_of_due, None);
        // Of the first slice 500 to 410 ms, of the last 100 to 10 ms.
        assert_eq!(
            timeline.slices()[0].due.pairs(),
            [(393_216, 5), (458_752, 5)]
        );
        assert_eq!(timeline.slices()[4].due.pairs().len(), 9);
    }

    #[test]
    fn two_timelines_of_one_run_are_one_whatever_the_length_of_their_slices() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let latency = Duration::from_millis(1);
        for is_first_long in [false, true] {
            let (mut long, mut short) = (Timeline::new(start), Timeline::new(start));
            for ms in [50, 47_950] {
                long.answered(at(ms), latency, 1);
            }
            for ms in [150, 350] {
                short.answered(at(ms), latency * 9, 1);
            }
            let (mut one, other) = match is_first_long {
                true => (long, short),
                false => (short, long),
            };
            one.merge(other);
            assert_eq!(one.slice_length(), FIRST_SLICE * 2);
            let answers = |place: usize| one.slices()[place].answers;
            assert_eq!((answers(0), answers(1), answers(239)), (2, 1, 1));
            assert_eq!(one.slices()[0].longest, latency * 9);
            assert_eq!(one.slices()[0].longest_of_due, Some(latency * 9));
        }
    }

    #[test]
    fn a_long_run_is_merged_and_loses_nothing() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        for second in 0..3600 {
            timeline.answered(
                start + Duration::from_secs(second),
                Duration::from_secs(1),
                3,
            );
        }
        assert!(timeline.slices().len() <= MOST_SLICES);
        assert_eq!(timeline.slice_length(), FIRST_SLICE * 256);
        let answers = timeline.slices().iter().map(|slice| slice.answers);
        assert_eq!(answers.sum::<u64>(), 10_800);
        let recorded = timeline.slices().iter().map(|slice| slice.latencies.len());
        assert_eq!(recorded.sum::<u64>(), 10_800);
        let due = timeline.slices().iter().flat_map(|slice| slice.due.pairs());
        assert_eq!(due.map(|(_, count)| count).sum::<u64>(), 10_800);
    }
}
