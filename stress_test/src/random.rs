//! Random numbers that depend on nothing but the seed of the run and what they are for.
//!
//! Knows where a stream of numbers begins; not what is drawn.
//!
//! Rule: the same seed gives the same numbers in every release, so that a seed stays worth noting.

use fastrand::Rng;

/// The numbers of one frame of one client in the run `seed`.
pub(crate) fn of(seed: u64, client: u32, sequence: u32) -> Rng {
    let place = u64::from(client) << 32 | u64::from(sequence);
    Rng::with_seed(scrambled(seed) ^ scrambled(place.wrapping_add(1)))
}

/// Normal, with mean 0 and variance 1.
///
/// G. E. P. Box, M. E. Muller, "A Note on the Generation of Random Normal Deviates", Annals of
/// Mathematical Statistics 29, 1958.
pub(crate) fn normal(random: &mut Rng) -> f64 {
    // In (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// A seed of a run that nobody chose.
pub(crate) fn seed() -> u32 {
    fastrand::u32(..)
}

/// Neighbouring seeds would begin at neighbouring places of one stream.
fn scrambled(number: u64) -> u64 {
    Rng::with_seed(number).u64(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_in_every_release() {
        let mut random = of(1_234_567, 3, 8);
        let first = [(); 3].map(|()| random.u64(..));
        let known = [
            7_849_376_891_630_549_209,
            9_486_147_630_587_537_191,
            17_411_282_275_742_933_715,
        ];
        assert_eq!(first, known);
        assert_eq!((random.usize(..1000), random.u8(0x21..=0x7e)), (769, 64));
    }

    #[test]
    fn normal_numbers_have_the_mean_the_variance_and_the_tail_of_their_kind() {
        let mut random = Rng::with_seed(5);
        let drawn: Vec<f64> = (0..100_000).map(|_| normal(&mut random)).collect();
        let mean = |of: fn(f64) -> f64| drawn.iter().map(|&x| of(x)).sum::<f64>() / 1e5;
        assert!(mean(|x| x).abs() < 0.02, "{}", mean(|x| x));
        assert!((mean(|x| x * x) - 1.0).abs() < 0.02);
        // 4.55 % lie beyond two deviations.
        let beyond = mean(|x| f64::from(u8::from(x.abs() > 2.0)));
        assert!((beyond - 0.0455).abs() < 0.003, "{beyond}");
    }

    #[test]
    fn neighbours_start_far_apart() {
        let first = |client, sequence| of(1, client, sequence).u64(..);
        assert_ne!(first(0, 0), first(0, 1));
        assert_ne!(first(0, 1), first(1, 0));
        assert_ne!(of(1, 0, 0).u64(..), of(2, 0, 0).u64(..));
    }
}
