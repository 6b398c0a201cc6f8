//! How long a request stays in a queue with several workers, as theory has it.
//!
//! Knows rates and service times, and the mean that was measured; not how it was measured.
//!
//! Rule: nothing is said where the theory does not apply: requests that do more than sleep, do not
//! come by chance at one rate or were refused, or a rate that the workers cannot serve.

use serde::{Deserialize, Serialize};

use crate::figures::distribution::Distribution;
use crate::load::plan::{Arrivals, Load, Mix, Plan, Requests};
use crate::load::sizes::Sizes;

/// A root is found when a step moves it by no more than this.
const PRECISION: f64 = 1e-13;

/// What theory says of the mean latency of one run, and how far from that it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QueueingFigures {
    /// The queue in Kendall's notation with its number of workers, such as `M/D/4`.
    pub(crate) model: String,
    /// The share of the time for which each worker sleeps.
    pub(crate) load_percent: f64,
    /// The mean latency in theory, in microseconds.
    pub(crate) predicted_mean_us: f64,
    /// By how much what was measured is above it.
    pub(crate) deviation_percent: f64,
}

impl QueueingFigures {
    /// What theory says of a run of `plan` against so many `workers`, which measured `latency`, and
    /// where so many requests were `refused`, if only for now.
    pub(crate) fn of(
        plan: &Plan,
        workers: u32,
        latency: &Distribution,
        refused: u64,
    ) -> Option<Self> {
        let Load::Rate(open) = &plan.load else {
            return None;
        };
        let comes_by_chance = open.arrivals == Arrivals::Poisson && open.burst == 1;
        let [stage] = open.stages.as_slice() else {
            return None;
        };
        let only_sleeps = match plan.requests {
            Requests::Mixes { clients, .. } => clients == Mix::Sleep && plan.hogs == 0,
            Requests::Template(_) | Requests::Http(_) => false,
        };
        // A refused request has left the queue, and the latency of a lost one is not known.
        let all_were_served = refused == 0 && latency.unanswered == 0;
        if !only_sleeps || !comes_by_chance || !all_were_served {
            return None;
        }
        let queue = Queue::new(stage.rate, workers, plan.sleep_ms)?;
        let (predicted, measured) = (1e6 * queue.stay_s(), latency.mean_us?);
        let round = |value: f64, parts: f64| (value * parts).round() / parts;
        Some(Self {
            model: queue.name(),
            load_percent: round(100.0 * queue.load / queue.workers, 10.0),
            predicted_mean_us: round(predicted, 10.0),
            deviation_percent: round(100.0 * (measured / predicted - 1.0), 10.0),
        })
    }
}

/// A queue that is served by several workers in the order of arrival, with arrivals by chance
/// (Poisson).
#[derive(Debug, Clone, Copy)]
struct Queue {
    workers: f64,
    /// How many workers would be busy without a break: below their number.
    load: f64,
    service_s: f64,
    /// The variance of the service times as a share of their squared mean.
    variation: f64,
    times: Sizes,
}

impl Queue {
    fn new(rate_per_s: f64, workers: u32, service_ms: Sizes) -> Option<Self> {
        let service_s = service_ms.mean() / 1000.0;
        let (load, workers) = (rate_per_s * service_s, f64::from(workers));
        let is_stable = load > 0.0 && load < workers;
        is_stable.then(|| Self {
            workers,
            load,
            service_s,
            variation: service_ms.variance() / service_ms.mean().powi(2),
            times: service_ms,
        })
    }

    /// Kendall's notation: M is exponential, D is fixed, G is any other distribution.
    fn name(&self) -> String {
        let service = match self.times {
            Sizes::Exponential(_) => "M",
            _ if self.variation == 0.0 => "D",
            _ => "G",
        };
        format!("M/{service}/{}", self.workers)
    }

    /// The mean time from a request's arrival to its answer.
    ///
    /// For exponential times and for fixed ones it is exact. Others lie on the line through the
    /// two, by their squared coefficient of variation: 0 is fixed, 1 is exponential, and more lies
    /// beyond. That is exact for one worker (Pollaczek and Khinchin), and near for several: H. C.
    /// Tijms, "A First Course in Stochastic Models", 2003, section 9.6.
    fn stay_s(&self) -> f64 {
        let wait = match self.variation {
            1.0 => self.wait_of_exponential(),
            0.0 => self.wait_of_fixed(),
            share => share * self.wait_of_exponential() + (1.0 - share) * self.wait_of_fixed(),
        };
        self.service_s * (1.0 + wait)
    }

    /// The mean wait in M/M/c, in service times, by Erlang's formula C.
    ///
    /// A. K. Erlang, "Solution of some Problems in the Theory of Probabilities of Significance in
    /// Automatic Telephone Exchanges", 1917.
    fn wait_of_exponential(&self) -> f64 {
        self.share_that_waits() / (self.workers - self.load)
    }

    /// Erlang's formula C, by way of his formula B, which a recursion over the workers gives.
    fn share_that_waits(&self) -> f64 {
        let (workers, load) = (self.workers, self.load);
        let mut lost = 1.0;
        let mut count = 0.0;
        while count < workers {
            count += 1.0;
            lost = load * lost / (count + load * lost);
        }
        lost / (1.0 - load / workers * (1.0 - lost))
    }

    /// The mean wait in M/D/c, in service times, exactly.
    ///
    /// What is in the queue one service time later is what waits now and what came meanwhile: a
    /// Poisson number A. So the generating function of the number in the queue has the denominator
    /// z^c - E[z^A]. Its mean follows from the c - 1 roots of that inside the unit circle.
    ///
    /// C. D. Crommelin, "Delay Probability Formulae when the Holding Times are Constant", Post
    /// Office Electrical Engineers' Journal 25, 1932; N. T. J. Bailey, "On Queueing Processes with
    /// Bulk Service", Journal of the Royal Statistical Society B 16, 1954.
    fn wait_of_fixed(&self) -> f64 {
        let (workers, load) = (self.workers, self.load);
        let mut waiting = (load * load - workers * (workers - 1.0)) / (2.0 * (workers - load));
        let mut number = 1.0;
        while number < workers {
            waiting += self.share_of_root(std::f64::consts::TAU * number / workers);
            number += 1.0;
        }
        // Little's law. What is left of a sum of large numbers may be a little below nothing.
        waiting.max(0.0) / load
    }

    /// The real part of 1 / (1 - z), where z = e^(i angle) e^(load / c (z - 1)) is a root.
    fn share_of_root(&self, angle: f64) -> f64 {
        let share = self.load / self.workers;
        let (mut real, mut imaginary) = (0.0_f64, 0.0_f64);
        // It converges: |z| < 1, and each step leaves at most load / c of the distance.
        loop {
            let radius = (share * (real - 1.0)).exp();
            let (sine, cosine) = (angle + share * imaginary).sin_cos();
            let next = (radius * cosine, radius * sine);
            let moved = (next.0 - real).abs() + (next.1 - imaginary).abs();
            (real, imaginary) = next;
            if moved <= PRECISION {
                break;
            }
        }
        (1.0 - real) / ((1.0 - real).powi(2) + imaginary.powi(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    fn queue(rate: f64, workers: u32, sizes: &str) -> Option<Queue> {
        Queue::new(rate, workers, Sizes::parse(sizes).expect(sizes))
    }

    fn stay_ms(rate: f64, workers: u32, sizes: &str) -> f64 {
        let queue = queue(rate, workers, sizes).expect("it is stable");
        (1e5 * queue.stay_s()).round() / 100.0
    }

    #[test]
    fn one_worker_is_the_textbook() {
        // M/M/1: 1 / (100 - 50) s. M/D/1: 10 ms, and half of that M/M/1's wait of 10 ms.
        assert_eq!(stay_ms(50.0, 1, "exp:10"), 20.0);
        assert_eq!(stay_ms(50.0, 1, "10"), 15.0);
        // Pollaczek and Khinchin: 50/s x E[S^2] 117.5 ms^2 / 2 / (1 - 0.5) + the mean.
        assert_eq!(stay_ms(50.0, 1, "5..15"), 10.0 + 5.5);
    }

    #[test]
    fn several_workers_wait_as_erlang_says() {
        // C(2, 1) = 1/3, and C(4, 3) = 0.5094.
        assert_eq!(stay_ms(100.0, 2, "exp:10"), 13.33);
        assert_eq!(stay_ms(300.0, 4, "exp:10"), 15.09);
    }

    /// Crommelin's mean wait in M/D/c as the sum over n = 1, 2, ... of what a Poisson number with
    /// the mean n load is above n c, divided by n load. It converges slowly where load nears c.
    fn sum_of_crommelin(load: f64, workers: f64) -> f64 {
        let above = |mean: f64, limit: f64| {
            let (mut chance, mut sum, mut count) = ((-mean).exp(), 0.0, 0.0);
            while count < limit + 12.0 * mean.sqrt() + 40.0 {
                sum += chance * (count - limit).max(0.0);
                count += 1.0;
                chance *= mean / count;
            }
            sum
        };
        // e^-700 is the smallest that has all its digits.
        let parts = (1..).map(f64::from).take_while(|n| n * load < 700.0);
        parts
            .map(|n| above(n * load, n * workers) / (n * load))
            .sum()
    }

    #[test]
    fn fixed_times_wait_as_crommelin_says() {
        for (load, workers) in [(0.5, 1), (1.0, 2), (1.6, 2), (3.0, 4), (6.0, 8), (12.0, 16)] {
            let queue = queue(100.0 * load, workers, "10").expect("it is stable");
            let (found, sum) = (
                queue.wait_of_fixed(),
                sum_of_crommelin(load, workers.into()),
            );
            assert!(
                (found - sum).abs() < 1e-6,
                "M/D/{workers} {load}: {found} {sum}"
            );
        }
    }

    /// The mean stay in service times of so many requests, served in the order of their arrival.
    fn simulated(queue: &Queue, requests: u32) -> f64 {
        let mut random = Rng::with_seed(11);
        let mut free_at = vec![0.0_f64; queue.workers as usize];
        let (mut now, mut sum) = (0.0, 0.0);
        for _ in 0..requests {
            now -= (1.0 - random.f64()).ln() / queue.load;
            let first = free_at.iter_mut().min_by(|one, other| one.total_cmp(other));
            let first = first.expect("there are workers");
            let service = f64::from(queue.times.pick(&mut random)) / queue.times.mean();
            *first = first.max(now) + service;
            sum += *first - now;
        }
        sum / f64::from(requests)
    }

    #[test]
    fn a_simulated_queue_stays_as_long_as_it_should() {
        for (rate, workers, sizes, name) in [
            (300.0, 4, "10", "M/D/4"),
            (85.0, 1, "10", "M/D/1"),
            (720.0, 8, "10", "M/D/8"),
            (3.2, 4, "exp:1000", "M/M/4"),
            (3.2, 4, "500..1500", "M/G/4"),
            (250.0, 4, "bimodal:5,50@10%", "M/G/4"),
        ] {
            let queue = queue(rate, workers, sizes).expect("it is stable");
            let expected = queue.stay_s() / queue.service_s;
            let found = simulated(&queue, 400_000);
            let deviation = 100.0 * (found / expected - 1.0);
            assert!(deviation.abs() < 2.0, "{name}: {found} {expected}");
            assert_eq!(queue.name(), name);
        }
    }

    #[test]
    fn many_workers_and_a_full_load_have_a_mean() {
        for (rate, workers) in [(99.999, 1), (99_000.0, 1000), (9_999_000.0, 100_000)] {
            let queue = queue(rate, workers, "10").expect("it is stable");
            let (fixed, exponential) = (queue.wait_of_fixed(), queue.wait_of_exponential());
            let share = fixed / exponential;
            assert!((0.49..0.8).contains(&share), "{fixed} {exponential}");
        }
    }

    #[test]
    fn a_run_is_told_how_far_from_theory_it_was_and_nothing_where_there_is_none() {
        use crate::figures::latencies::Latencies;
        use crate::load::plan::{OpenLoop, tests};
        use std::time::Duration;

        let mut latencies = Latencies::default();
        latencies.record(Duration::from_micros(16_500));
        let latency = Distribution::of(&latencies);
        let open = OpenLoop::steady(50.0, Arrivals::Poisson, Duration::from_secs(1));
        let mut plan = tests::plan(Mix::Sleep);
        plan.hogs = 0;
        plan.load = Load::Rate(open.clone());
        plan.sleep_ms = Sizes::parse("10").expect("a number");
        let of = |plan: &Plan, refused| QueueingFigures::of(plan, 1, &latency, refused);
        let found = of(&plan, 0).expect("M/D/1");
        assert_eq!((found.model.as_str(), found.load_percent), ("M/D/1", 50.0));
        assert_eq!(found.predicted_mean_us, 15_000.0);
        assert_eq!(found.deviation_percent, 10.0);
        assert!(of(&plan, 1).is_none(), "one was refused");
        let with = |change: &dyn Fn(&mut Plan)| {
            let mut plan = plan.clone();
            change(&mut plan);
            of(&plan, 0).is_some()
        };
        assert!(with(&|_| {}));
        assert!(!with(&|plan| plan.hogs = 1));
        assert!(!with(&|plan| plan.load = Load::Frames(10)));
        assert!(!with(
            &|plan| plan.requests = Requests::all_of(Mix::Balanced)
        ));
        let with_load = |change: &dyn Fn(&mut OpenLoop)| {
            let mut open = open.clone();
            change(&mut open);
            with(&|plan| plan.load = Load::Rate(open.clone()))
        };
        assert!(with_load(&|_| {}));
        assert!(!with_load(&|open| open.arrivals = Arrivals::Uniform));
        assert!(!with_load(&|open| open.burst = 2));
        assert!(!with_load(&|open| open.stages.extend_from_within(..)));
        latencies.record_unanswered(Duration::from_secs(1));
        let latency = Distribution::of(&latencies);
        assert!(QueueingFigures::of(&plan, 1, &latency, 0).is_none());
    }

    #[test]
    fn what_cannot_be_served_is_not_predicted() {
        for (rate, sizes) in [(400.0, "10"), (500.0, "10"), (100.0, "0")] {
            assert!(queue(rate, 4, sizes).is_none(), "{rate} {sizes}");
        }
    }
}
