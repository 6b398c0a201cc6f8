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
    fn neighbours_start_far_apart() {
        let first = |client, sequence| of(1, client, sequence).u64(..);
        assert_ne!(first(0, 0), first(0, 1));
        assert_ne!(first(0, 1), first(1, 0));
        assert_ne!(of(1, 0, 0).u64(..), of(2, 0, 0).u64(..));
    }
}
