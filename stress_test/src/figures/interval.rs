//! By how much one series of rounds differs from another, and how sure that is.
//!
//! Knows numbers; not what they were measured of.
//!
//! Rule: a round counts as one observation, whatever number of requests it had, and rounds that
//! resemble their neighbours count as fewer.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// A side with fewer rounds has no spread to speak of.
pub(crate) const LEAST_ROUNDS: usize = 3;
/// From so many rounds on, the outermost can be spared.
const MANY_ROUNDS: usize = 10;
/// Then one in so many is left out at each end.
const TRIMMED: usize = 5;
/// Above this, one round says next to nothing that its neighbour has not said.
const STRONGEST: f64 = 0.9;

/// A change, and the interval that holds it with a certain confidence; each as the logarithm of a
/// ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// The best guess.
    pub(crate) change: f64,
    /// The lower end.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
}

/// The mean of a series without its outermost, and how well it is known.
struct Mean {
    mean: f64,
    /// The variance of the mean.
    variance: f64,
    degrees: f64,
}

/// The change from `base` to `new`, which were not measured in turns. Welch's interval: neither
/// their spread nor their number has to be equal. `confidence` is a share below 1.
///
/// B. L. Welch, "The Generalization of 'Student's' Problem when Several Different Population
/// Variances are Involved", Biometrika 34, 1947.
pub(crate) fn of_series(base: &[f64], new: &[f64], confidence: f64) -> Interval {
    let (base, new) = (Mean::of(&logarithms(base)), Mean::of(&logarithms(new)));
    let variance = base.variance + new.variance;
    let parts = base.variance.powi(2) / base.degrees + new.variance.powi(2) / new.degrees;
    let degrees = if parts > 0.0 {
        variance.powi(2) / parts
    } else {
        1.0
    };
    interval(new.mean - base.mean, variance, degrees, confidence)
}

/// The typical one of `values`: their geometric mean without the outermost.
pub(crate) fn typical(values: &[f64]) -> f64 {
    let (kept, _) = trimmed(&logarithms(values));
    (kept.iter().sum::<f64>() / kept.len() as f64).exp()
}

/// The change from `base` to `new`, where each of `new` was measured beside the one of `base` in
/// the same place. What slows both then cancels out.
pub(crate) fn of_pairs(base: &[f64], new: &[f64], confidence: f64) -> Interval {
    let (base, new) = (logarithms(base), logarithms(new));
    let changes: Vec<f64> = base
        .iter()
        .zip(&new)
        .map(|(base, new)| new - base)
        .collect();
    let mean = Mean::of(&changes);
    interval(mean.mean, mean.variance, mean.degrees, confidence)
}

fn logarithms(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.ln()).collect()
}

fn interval(change: f64, variance: f64, degrees: f64, confidence: f64) -> Interval {
    let student = StudentsT::new(0.0, 1.0, degrees).expect("degrees are above 0");
    let width = student.inverse_cdf(f64::midpoint(1.0, confidence)) * variance.sqrt();
    Interval {
        change,
        low: change - width,
        high: change + width,
    }
}

impl Mean {
    /// Of many values the outermost do not count: in a round of ten or so the machine did
    /// something else, and that is nobody's speed.
    ///
    /// K. K. Yuen, "The Two-Sample Trimmed t for Unequal Population Variances", Biometrika 61,
    /// 1974.
    fn of(values: &[f64]) -> Self {
        let (kept, cut) = trimmed(values);
        // The outermost in the place of those beyond them, in the order of time.
        let (least, most) = (kept[0], kept[kept.len() - 1]);
        let pulled_in: Vec<f64> = values
            .iter()
            .map(|value| value.clamp(least, most))
            .collect();
        let count = values.len() as f64;
        let middle = pulled_in.iter().sum::<f64>() / count;
        let squares: f64 = pulled_in.iter().map(|value| (value - middle).powi(2)).sum();
        let left = (values.len() - 2 * cut) as f64;
        let repeated = count / effective_count(&pulled_in, middle, squares);
        Self {
            mean: kept.iter().sum::<f64>() / left,
            variance: squares / (left * (left - 1.0)) * repeated,
            degrees: left - 1.0,
        }
    }
}

/// `values` in their order without the outermost, and how many are missing at each end.
fn trimmed(values: &[f64]) -> (Vec<f64>, usize) {
    let cut = if values.len() >= MANY_ROUNDS {
        values.len() / TRIMMED
    } else {
        0
    };
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (sorted[cut..values.len() - cut].to_vec(), cut)
}

/// How many independent observations `values` are worth, at least 2. Their correlation with their
/// neighbours is corrected for its bias, without which ten rounds would look independent however
/// much they drift. Rounds that alternate are not taken for more than they are.
///
/// F. H. C. Marriott, J. A. Pope, "Bias in the Estimation of Autocorrelations", Biometrika 41,
/// 1954.
fn effective_count(values: &[f64], mean: f64, squares: f64) -> f64 {
    let count = values.len() as f64;
    let neighbours = values.windows(2);
    let products: f64 = neighbours
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    let measured = if squares > 0.0 {
        products / squares
    } else {
        0.0
    };
    let correlation = (measured + (1.0 + 4.0 * measured) / count).clamp(0.0, STRONGEST);
    (count * (1.0 - correlation) / (1.0 + correlation)).max(2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normal;
    use fastrand::Rng;

    const CONFIDENCE: f64 = 0.95;

    /// Ten figures around 1000, each of which resembles the last by `correlation`.
    fn rounds(random: &mut Rng, correlation: f64) -> Vec<f64> {
        let mut place = normal(random);
        let mut next = || {
            let own = (1.0 - correlation.powi(2)).sqrt() * normal(random);
            place = correlation * place + own;
            1000.0 * (0.02 * place).exp()
        };
        (0..10).map(|_| next()).collect()
    }

    /// In how many of 2000 tries the interval misses a change of `factor`.
    fn missed(correlation: f64, factor: f64, of: fn(&[f64], &[f64], f64) -> Interval) -> usize {
        let mut random = Rng::with_seed(3);
        let mut misses = || {
            let base = rounds(&mut random, correlation);
            let new: Vec<f64> = rounds(&mut random, correlation)
                .iter()
                .map(|value| value * factor)
                .collect();
            let found = of(&base, &new, CONFIDENCE);
            found.low > factor.ln() || found.high < factor.ln()
        };
        (0..2000).filter(|_| misses()).count()
    }

    #[test]
    fn an_interval_misses_the_truth_as_rarely_as_it_says() {
        for of in [of_series, of_pairs] {
            for factor in [1.0, 0.8] {
                let missed = missed(0.0, factor, of);
                assert!((20..=115).contains(&missed), "{missed} of 2000");
            }
        }
    }

    #[test]
    fn rounds_that_resemble_their_neighbours_make_it_wider() {
        // Ten independent rounds would be claimed: some 700 of 2000 would miss.
        let missed = missed(0.5, 1.0, of_series);
        assert!(missed < 260, "{missed} of 2000");
    }

    #[test]
    fn a_known_case_has_the_interval_of_the_books() {
        // Alternating figures, so that all count: t(7, 0.975) = 2.3646.
        let base = [1.0; 8];
        let new = [1.0, 1.2, 1.0, 1.2, 1.0, 1.2, 1.0, 1.2];
        let found = of_pairs(&base, &new, CONFIDENCE);
        let (middle, step) = (1.2_f64.ln() / 2.0, 1.2_f64.ln() / 2.0);
        let width = 2.3646 * (step.powi(2) * 8.0 / 7.0 / 8.0).sqrt();
        assert!((found.change - middle).abs() < 1e-9, "{found:?}");
        assert!((found.high - middle - width).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn of_ten_rounds_the_two_outermost_at_each_end_are_spared() {
        let base = [
            100.0, 101.0, 99.0, 100.0, 101.0, 99.0, 100.0, 101.0, 99.0, 100.0,
        ];
        let mut new = base.map(|value| 0.95 * value);
        (new[3], new[7]) = (40.0, 20.0);
        let found = of_series(&base, &new, CONFIDENCE);
        assert!(found.high < -0.03 && found.low > -0.08, "{found:?}");
        assert!((typical(&new) - 95.0).abs() < 1.0, "{}", typical(&new));
        let found = of_series(&base[..9], &new[..9], CONFIDENCE);
        assert!(found.low < -0.5 && found.high > 0.0, "{found:?}");
    }

    #[test]
    fn equal_figures_leave_no_doubt() {
        let found = of_series(&[5.0; 3], &[5.0; 4], CONFIDENCE);
        assert_eq!((found.low, found.high), (0.0, 0.0));
    }

    #[test]
    fn what_slows_both_sides_cancels_out_in_pairs() {
        let drifting = |factor: f64| (0..10).map(move |n| factor * (100.0 + f64::from(n) * 20.0));
        let base: Vec<f64> = drifting(1.0).collect();
        // Half a percent of noise, so that there is something to be sure against.
        let noise = [1.0, 1.005, 0.995, 1.0, 1.005, 0.995, 1.0, 1.005, 0.995, 1.0];
        let new = drifting(0.95).zip(noise).map(|(new, noise)| new * noise);
        let new: Vec<f64> = new.collect();
        let found = of_pairs(&base, &new, CONFIDENCE);
        assert!(found.high < -0.04 && found.low > -0.06, "{found:?}");
        let found = of_series(&base, &new, CONFIDENCE);
        assert!(found.high > 0.0, "{found:?}");
    }
}
