//! A stream of numbers that look random and depend on nothing but where they start.
//!
//! Knows nothing of what is drawn for.
//!
//! Rule: the same start gives the same numbers in every release, so that a seed stays worth noting.

/// SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
#[derive(Debug, Clone)]
pub(crate) struct Draws(u64);

impl Draws {
    /// The numbers of one frame of one client in the run `seed`.
    pub(crate) fn of(seed: u64, client: u32, sequence: u32) -> Self {
        let place = u64::from(client) << 32 | u64::from(sequence);
        Self(scramble(seed) ^ scramble(place.wrapping_add(1)))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `bound`, which is not 0. By multiplication, not remainder: its bias is below
    /// `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// One of `choices`, which is not empty.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_generator() {
        // The first outputs of SplitMix64 from state 1234567, as in Rosetta Code's test values.
        let mut draws = Draws(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| draws.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn neighbours_start_far_apart() {
        let first = |client, sequence| Draws::of(1, client, sequence).next();
        assert_ne!(first(0, 0), first(0, 1));
        assert_ne!(first(0, 1), first(1, 0));
        assert_ne!(Draws::of(1, 0, 0).next(), Draws::of(2, 0, 0).next());
    }

    #[test]
    fn below_reaches_every_number_and_no_other() {
        let mut draws = Draws::of(3, 1, 4);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[draws.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
