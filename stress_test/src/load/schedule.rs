//! The timetable of an open loop: when each request is due, whatever the server does.
//!
//! Knows a rate and a duration; no clock, no clients. Times count from the start of the run.
//!
//! Rule: it is never kept, only gone through: a server that falls behind costs no memory here.

use std::time::Duration;

use fastrand::Rng;

use crate::load::part::Part;
use crate::load::plan::{Arrivals, OpenLoop};
use crate::random;

/// A walk through the timetable.
#[derive(Debug)]
pub(crate) struct Schedule {
    open: OpenLoop,
    random: Rng,
    part: Part,
    /// When the next request is due, in seconds; one is due there even if it is past the end.
    next_s: f64,
    /// The number of that request among those of all parts.
    next: u64,
    /// How many have been taken.
    taken: u64,
}

impl Schedule {
    /// The requests of `part` in the timetable of `open` in the run `seed`.
    pub(crate) fn new(open: OpenLoop, seed: u64, part: Part) -> Self {
        let mut schedule = Self {
            open,
            random: random::of(seed, u32::MAX, u32::MAX - 2),
            part,
            next_s: 0.0,
            next: 0,
            taken: 0,
        };
        if open.arrivals == Arrivals::Poisson {
            schedule.next_s = schedule.gap_s();
        }
        schedule.pass_over_others();
        schedule
    }

    /// When the next request is due, if there is one more.
    pub(crate) fn peek(&self) -> Option<Duration> {
        (self.next_s < self.open.duration.as_secs_f64())
            .then(|| Duration::from_secs_f64(self.next_s))
    }

    /// Takes the next request.
    pub(crate) fn take(&mut self) -> Option<Duration> {
        let due = self.peek()?;
        self.taken += 1;
        self.step();
        self.pass_over_others();
        Some(due)
    }

    fn step(&mut self) {
        self.next += 1;
        self.next_s = match self.open.arrivals {
            Arrivals::Uniform => self.next as f64 / self.open.rate,
            Arrivals::Poisson => self.next_s + self.gap_s(),
        };
    }

    /// Goes on to the next request that is its own.
    fn pass_over_others(&mut self) {
        while !self.part.has(self.next) {
            self.step();
        }
    }

    /// How many have been taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// A gap of a Poisson process, by inversion: `-ln(u) / rate`.
    fn gap_s(&mut self) -> f64 {
        // In (0, 1], so that the logarithm is finite.
        let uniform = 1.0 - self.random.f64();
        -uniform.ln() / self.open.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::tests::plan;
    use crate::load::plan::{Mix, Plan};

    /// All that is due in `open`, by each of `threads` parts.
    fn due(open: OpenLoop, threads: u32) -> Vec<Vec<Duration>> {
        let plan = Plan {
            clients: 5,
            most_clients: 5,
            threads,
            ..plan(Mix::Echo)
        };
        let parts = Part::all_of(&plan).into_iter();
        let due = parts.map(|part| {
            let mut schedule = Schedule::new(open, 7, part);
            let due: Vec<_> = std::iter::from_fn(|| schedule.take()).collect();
            assert_eq!(schedule.taken(), due.len() as u64);
            assert_eq!(schedule.peek(), None);
            due
        });
        due.collect()
    }

    #[test]
    fn the_parts_of_several_threads_are_the_timetable_of_one() {
        for arrivals in [Arrivals::Poisson, Arrivals::Uniform] {
            let open = OpenLoop {
                rate: 1000.0,
                arrivals,
                duration: Duration::from_secs(2),
            };
            let whole = due(open, 1).concat();
            for threads in [2, 3, 5] {
                let parts = due(open, threads);
                assert!(parts.iter().all(|part| part.len() * 8 > whole.len()));
                let mut together = parts.concat();
                together.sort_unstable();
                assert_eq!(together, whole, "{threads} threads, {arrivals}");
            }
        }
    }

    fn gaps_s(rate: f64, arrivals: Arrivals, seconds: u64) -> Vec<f64> {
        let open = OpenLoop {
            rate,
            arrivals,
            duration: Duration::from_secs(seconds),
        };
        let due = due(open, 1).concat();
        let times: Vec<f64> = due.iter().map(Duration::as_secs_f64).collect();
        assert!(times.iter().all(|&time| time < seconds as f64));
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn uniform_arrivals_are_evenly_spaced_and_finer_than_a_millisecond() {
        let gaps = gaps_s(8000.0, Arrivals::Uniform, 2);
        assert_eq!(gaps.len() + 1, 16_000);
        assert!(gaps.iter().all(|gap| (gap - 125e-6).abs() < 2e-9));
    }

    #[test]
    fn poisson_arrivals_have_exponential_gaps() {
        let gaps = gaps_s(1000.0, Arrivals::Poisson, 100);
        let count = gaps.len() as f64;
        // Of an exponential distribution the deviation equals the mean.
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - 1e-3).abs() < 2e-5, "{mean}");
        assert!((variance.sqrt() - 1e-3).abs() < 3e-5, "{}", variance.sqrt());
        let short = gaps.iter().filter(|&&gap| gap < 1e-3).count() as f64 / count;
        assert!((short - 0.632).abs() < 0.01, "{short}");
    }

    #[test]
    fn the_same_seed_gives_the_same_timetable() {
        let gaps = || gaps_s(100.0, Arrivals::Poisson, 10);
        assert_eq!(gaps(), gaps());
    }

    #[test]
    fn after_the_end_nothing_is_due() {
        let open = OpenLoop {
            rate: 10.0,
            arrivals: Arrivals::Uniform,
            duration: Duration::from_millis(250),
        };
        let expected = [0, 100, 200].map(Duration::from_millis);
        assert_eq!(due(open, 1).concat(), expected);
    }
}
