//! When an event loop was away, and for how long of a given time.
//!
//! Knows times only.
//!
//! Rule: absences come in the order of time and do not overlap.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The absences of one loop.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    known: VecDeque<Absence>,
    total: Duration,
}

#[derive(Debug)]
struct Absence {
    begin: Instant,
    end: Instant,
    /// How long those before it were, all together.
    before: Duration,
}

impl Absences {
    /// The loop was away for `length`, until `end`.
    pub(crate) fn add(&mut self, length: Duration, end: Instant) {
        let before = self.total;
        let begin = end.checked_sub(length).unwrap_or(end);
        self.known.push_back(Absence { begin, end, before });
        self.total += length;
    }

    /// For how long of the time from `begin` to `end` the loop was away.
    pub(crate) fn between(&self, begin: Instant, end: Instant) -> Duration {
        self.by(end).saturating_sub(self.by(begin))
    }

    /// Nobody will ask for a time before `begin` any more.
    pub(crate) fn forget_before(&mut self, begin: Instant) {
        let ended = self.known.partition_point(|absence| absence.end <= begin);
        self.known.drain(..ended);
    }

    fn by(&self, time: Instant) -> Duration {
        let ended = self.known.partition_point(|absence| absence.end <= time);
        match self.known.get(ended) {
            Some(next) => next.before + time.saturating_duration_since(next.begin),
            None => self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_time_the_part_is_known_that_it_was_away() {
        let start = Instant::now() + Duration::from_secs(10);
        let ms = Duration::from_millis;
        let mut absences = Absences::default();
        absences.add(ms(100), start + ms(200));
        absences.add(ms(300), start + ms(900));
        let between = |absences: &Absences, from, to| {
            let away = absences.between(start + ms(from), start + ms(to));
            away.as_millis()
        };
        for (from, to, away) in [
            (0, 50, 0),
            (0, 150, 50),
            (150, 160, 10),
            (150, 700, 150),
            (0, 1000, 400),
            (950, 1000, 0),
        ] {
            assert_eq!(between(&absences, from, to), away, "{from} to {to}");
        }
        absences.forget_before(start + ms(200));
        assert_eq!(absences.known.len(), 1);
        assert_eq!(between(&absences, 250, 700), 100);
    }
}
