//! The stages of an open loop: rates that follow each other.
//!
//! Knows how long each lasts and how much is due in it; no clock, and not how requests are spread.
//!
//! Rule: within a stage the rate is constant. How much is due by when follows from that alone.

use std::time::Duration;

/// A rate for some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stage {
    /// How long.
    pub(crate) duration: Duration,
    /// Requests per second, of all clients together; 0 is a pause.
    pub(crate) rate: f64,
}

impl Stage {
    /// How many requests are due in it, on average.
    pub(crate) fn requests(self) -> f64 {
        let requests = self.rate * self.duration.as_secs_f64();
        let whole = requests.round();
        // 0.14 s at 100 a second are 14 requests. A little more, by rounding, would be a
        // fifteenth.
        let is_whole = (requests - whole).abs() <= requests * 1e-12;
        if is_whole { whole } else { requests }
    }
}

/// How long `stages` last together.
pub(crate) fn duration(stages: &[Stage]) -> Duration {
    stages.iter().map(|stage| stage.duration).sum()
}

/// Each of `stages` with the time at which it begins.
pub(crate) fn with_begin(stages: &[Stage]) -> impl Iterator<Item = (Duration, Stage)> {
    stages.iter().scan(Duration::ZERO, |end, &stage| {
        let begin = *end;
        *end += stage.duration;
        Some((begin, stage))
    })
}

/// Which of `stages` what is due at `time` belongs to. What begins with a stage is its own.
pub(crate) fn at(stages: &[Stage], time: Duration) -> usize {
    let begun = with_begin(stages).take_while(|&(begin, _)| begin <= time);
    begun.count() - 1
}

/// How many requests are due before `time`, on average.
pub(crate) fn requests_by(stages: &[Stage], time: Duration) -> f64 {
    let due = with_begin(stages).map(|(begin, stage)| {
        let lasted = time.saturating_sub(begin).min(stage.duration);
        stage.rate * lasted.as_secs_f64()
    });
    due.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stage of `ms` at `rate`.
    fn stage(ms: u64, rate: f64) -> Stage {
        let duration = Duration::from_millis(ms);
        Stage { duration, rate }
    }

    #[test]
    fn a_product_that_is_whole_but_for_rounding_is_whole() {
        let peak = stage(140, 100.0);
        assert!(peak.rate * peak.duration.as_secs_f64() > 14.0);
        assert_eq!(peak.requests(), 14.0);
        assert_eq!(stage(250, 10.0).requests(), 2.5);
    }

    #[test]
    fn how_much_is_due_follows_the_rates() {
        let stages = [stage(1000, 100.0), stage(500, 0.0), stage(2000, 400.0)];
        let due = |ms| requests_by(&stages, Duration::from_millis(ms));
        let expected = [0.0, 50.0, 100.0, 100.0, 300.0, 900.0];
        assert_eq!([0, 500, 1000, 1500, 2000, 9000].map(due), expected);
        assert_eq!(duration(&stages), Duration::from_millis(3500));
    }

    #[test]
    fn what_is_due_where_a_stage_begins_belongs_to_it() {
        let stages = [stage(1000, 100.0), stage(500, 0.0), stage(2000, 400.0)];
        let place = |ms| at(&stages, Duration::from_millis(ms));
        assert_eq!(
            [0, 999, 1000, 1499, 1500, 9000].map(place),
            [0, 0, 1, 1, 2, 2]
        );
    }
}
