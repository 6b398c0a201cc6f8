//! How long a request stays in a queue with several workers, as theory has it.
//!
//! Knows rates and service times; not what was measured.
//!
//! Rule: there is no prediction for a rate that the workers cannot serve.

use crate::load::sizes::Sizes;

/// The mean time from a request's arrival to its answer, in microseconds, where requests of
/// `service_ms` arrive by chance at `rate_per_s` for so many `workers`.
///
/// For exponential times this is the queue M/M/c by Erlang's formula C. For others the wait is
/// multiplied by (1 + the squared coefficient of variation) / 2, as Lee and Longton (1959) do.
/// That is exact for one worker, and near for several.
pub(crate) fn mean_stay_us(rate_per_s: f64, workers: u32, service_ms: Sizes) -> Option<f64> {
    let service_s = service_ms.mean() / 1000.0;
    // How many workers would be busy without a break.
    let load = rate_per_s * service_s;
    let workers = f64::from(workers);
    if load <= 0.0 || load >= workers {
        return None;
    }
    let variation = service_ms.variance() / service_ms.mean().powi(2);
    let wait_s = share_that_waits(load, workers) * service_s / (workers - load);
    Some(1e6 * (service_s + wait_s * f64::midpoint(1.0, variation)))
}

/// Erlang's formula C, by way of his formula B, which a recursion over the workers gives.
fn share_that_waits(load: f64, workers: f64) -> f64 {
    let mut lost = 1.0;
    let mut count = 0.0;
    while count < workers {
        count += 1.0;
        lost = load * lost / (count + load * lost);
    }
    lost / (1.0 - load / workers * (1.0 - lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay_ms(rate: f64, workers: u32, sizes: &str) -> Option<f64> {
        let sizes = Sizes::parse(sizes).expect(sizes);
        mean_stay_us(rate, workers, sizes).map(|us| (us / 10.0).round() / 100.0)
    }

    #[test]
    fn one_worker_is_the_textbook() {
        // M/M/1: 1 / (100 - 50) s. M/D/1: 10 ms, and half of that M/M/1's wait of 10 ms.
        assert_eq!(stay_ms(50.0, 1, "exp:10"), Some(20.0));
        assert_eq!(stay_ms(50.0, 1, "10"), Some(15.0));
        // Pollaczek and Khinchin: 50/s x E[S^2] 117.5 ms^2 / 2 / (1 - 0.5) + the mean.
        assert_eq!(stay_ms(50.0, 1, "5..15"), Some(10.0 + 5.5));
    }

    #[test]
    fn several_workers_wait_as_erlang_says() {
        // C(2, 1) = 1/3, and C(4, 3) = 0.5094.
        assert_eq!(stay_ms(100.0, 2, "exp:10"), Some(13.33));
        assert_eq!(stay_ms(300.0, 4, "exp:10"), Some(15.09));
    }

    #[test]
    fn what_cannot_be_served_is_not_predicted() {
        for (rate, sizes) in [(400.0, "10"), (500.0, "10"), (100.0, "0")] {
            assert_eq!(stay_ms(rate, 4, sizes), None, "{rate} {sizes}");
        }
    }
}
