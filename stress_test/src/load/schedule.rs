//! The timetable of an open loop: when each request is due, whatever the server does.
//!
//! Knows rates and how long they last; no clock, no clients. Times count from the start of the
//! run.
//!
//! Rule: it is never kept, only gone through: a server that falls behind costs no memory here.

use std::time::Duration;

use fastrand::Rng;

use crate::load::part::Part;
use crate::load::plan::{Arrivals, OpenLoop};
use crate::load::stages;
use crate::random;

/// A walk through the timetable.
#[derive(Debug)]
pub(crate) struct Schedule {
    open: OpenLoop,
    random: Rng,
    part: Part,
    /// The number of the next request among those of all parts.
    next: u64,
    /// How many requests come before it on average, which is where it stands in the timetable.
    place: f64,
    /// The stage that it is due in; behind the last one there is nothing more.
    stage: usize,
    /// When that stage begins.
    stage_begin: Duration,
    /// How many requests come before that stage on average.
    before_stage: f64,
    /// When the next request is due.
    due: Option<Duration>,
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
            next: 0,
            place: 0.0,
            stage: 0,
            stage_begin: Duration::ZERO,
            before_stage: 0.0,
            due: None,
            taken: 0,
        };
        if schedule.open.arrivals == Arrivals::Poisson {
            schedule.place = schedule.gap();
        }
        schedule.pass_over_others();
        schedule
    }

    /// When the next request is due, if there is one more.
    pub(crate) fn peek(&self) -> Option<Duration> {
        self.due
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
        if !self.next.is_multiple_of(u64::from(self.open.burst)) {
            return;
        }
        self.place = match self.open.arrivals {
            Arrivals::Uniform => self.next as f64,
            Arrivals::Poisson => self.place + self.gap(),
        };
    }

    /// Goes on to the next request that is its own.
    fn pass_over_others(&mut self) {
        while !self.part.has(self.next) {
            self.step();
        }
        self.due = self.time_of_place();
    }

    /// When what stands at [`Self::place`] is due. Each stage stretches the timetable by its rate.
    fn time_of_place(&mut self) -> Option<Duration> {
        loop {
            let stage = self.open.stages.get(self.stage)?;
            let (within, requests) = (self.place - self.before_stage, stage.requests());
            if within < requests {
                let since_begin = Duration::from_secs_f64(within / stage.rate);
                return Some(self.stage_begin + since_begin);
            }
            self.stage += 1;
            self.stage_begin += stage.duration;
            self.before_stage += requests;
        }
    }

    /// How many have been taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The number of the stage in which what is due at `time` is.
    pub(crate) fn stage_at(&self, time: Duration) -> usize {
        stages::at(&self.open.stages, time)
    }

    /// A gap of a Poisson process of bursts at one request per unit, by inversion: `-ln(u)`.
    fn gap(&mut self) -> f64 {
        // In (0, 1], so that the logarithm is finite.
        let uniform = 1.0 - self.random.f64();
        -uniform.ln() * f64::from(self.open.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::tests::plan;
    use crate::load::plan::{Mix, Plan};
    use crate::load::stages::Stage;

    /// All that is due in `open`, by each of `threads` parts.
    fn due(open: &OpenLoop, threads: u32) -> Vec<Vec<Duration>> {
        let plan = Plan {
            clients: 5,
            most_clients: 5,
            threads,
            ..plan(Mix::Echo)
        };
        let parts = Part::all_of(&plan).into_iter();
        let due = parts.map(|part| {
            let mut schedule = Schedule::new(open.clone(), 7, part);
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
            let open = OpenLoop::steady(1000.0, arrivals, Duration::from_secs(2));
            let whole = due(&open, 1).concat();
            for threads in [2, 3, 5] {
                let parts = due(&open, threads);
                assert!(parts.iter().all(|part| part.len() * 8 > whole.len()));
                let mut together = parts.concat();
                together.sort_unstable();
                assert_eq!(together, whole, "{threads} threads, {arrivals}");
            }
        }
    }

    fn gaps_s(rate: f64, arrivals: Arrivals, seconds: u64) -> Vec<f64> {
        let open = OpenLoop::steady(rate, arrivals, Duration::from_secs(seconds));
        let due = due(&open, 1).concat();
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
        let open = OpenLoop::steady(10.0, Arrivals::Uniform, Duration::from_millis(250));
        let expected = [0, 100, 200].map(Duration::from_millis);
        assert_eq!(due(&open, 1).concat(), expected);
    }

    /// Stages of so many milliseconds at a rate each.
    fn staged(arrivals: Arrivals, stages: &[(u64, f64)]) -> OpenLoop {
        let stages = stages.iter().map(|&(ms, rate)| Stage {
            duration: Duration::from_millis(ms),
            rate,
        });
        OpenLoop {
            stages: stages.collect(),
            arrivals,
            burst: 1,
        }
    }

    /// How many are due in each stage, by each of `threads` parts and then together.
    fn due_by_stage(open: &OpenLoop, threads: u32) -> Vec<usize> {
        let mut counts = vec![0; open.stages.len()];
        for time in due(open, threads).concat() {
            counts[stages::at(&open.stages, time)] += 1;
        }
        counts
    }

    #[test]
    fn each_stage_has_as_many_requests_as_its_rate_says() {
        let open = staged(Arrivals::Uniform, &[(1000, 100.0), (1000, 500.0)]);
        assert_eq!(due_by_stage(&open, 1), [100, 500]);
        assert_eq!(due_by_stage(&open, 3), [100, 500]);
        let times = due(&open, 1).concat();
        assert_eq!(times[99..102], [990, 1000, 1002].map(Duration::from_millis));
        let random = staged(Arrivals::Poisson, &[(50_000, 100.0), (50_000, 500.0)]);
        let counts = due_by_stage(&random, 1);
        // Of a Poisson process the variance is the mean; these are four deviations.
        for (count, mean) in counts.into_iter().zip([5000.0_f64, 25_000.0]) {
            assert!((count as f64 - mean).abs() < 4.0 * mean.sqrt(), "{count}");
        }
    }

    #[test]
    fn the_requests_of_a_burst_are_due_at_one_time_at_the_same_rate() {
        for arrivals in [Arrivals::Poisson, Arrivals::Uniform] {
            let seconds = Duration::from_secs(100);
            let open = OpenLoop {
                burst: 8,
                ..OpenLoop::steady(400.0, arrivals, seconds)
            };
            let times = due(&open, 1).concat();
            let bursts: Vec<_> = times.chunk_by(|one, next| one == next).collect();
            assert!(bursts.iter().all(|burst| burst.len() == 8), "{arrivals}");
            // 5000 bursts, and of a Poisson process four deviations.
            let missing = bursts.len().abs_diff(5000);
            assert!(
                missing
                    <= if arrivals == Arrivals::Uniform {
                        0
                    } else {
                        280
                    }
            );
            let mut parts = due(&open, 3).concat();
            parts.sort_unstable();
            assert_eq!(parts, times, "{arrivals}");
        }
    }

    #[test]
    fn a_burst_belongs_to_the_stage_in_which_it_begins() {
        let stages = [(1000, 100.0), (1000, 500.0)];
        let open = OpenLoop {
            burst: 8,
            ..staged(Arrivals::Uniform, &stages)
        };
        // The 13th burst is due before 100 requests are, the 75th before 600.
        assert_eq!(due_by_stage(&open, 1), [13 * 8, (75 - 13) * 8]);
    }

    #[test]
    fn nothing_is_due_in_a_pause() {
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
            let stages = [(100, 0.0), (1000, 50.0), (2000, 0.0), (500, 100.0)];
            let counts = due_by_stage(&staged(arrivals, &stages), 2);
            assert_eq!([counts[0], counts[2]], [0, 0], "{arrivals}");
            assert!(counts[1] > 20 && counts[3] > 20, "{counts:?}");
        }
    }

    #[test]
    fn two_stages_of_one_rate_are_one() {
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
            let two = due(&staged(arrivals, &[(700, 1000.0), (1300, 1000.0)]), 1).concat();
            let one = due(&staged(arrivals, &[(2000, 1000.0)]), 1).concat();
            assert_eq!(two.len(), one.len());
            // Nanoseconds are rounded at other places.
            let close = |(one, two): (&Duration, &Duration)| one.abs_diff(*two).as_nanos() <= 2;
            assert!(one.iter().zip(&two).all(close), "{arrivals}");
        }
    }
}
