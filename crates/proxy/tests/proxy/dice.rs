//! The dice of simulations: a seed always plays the same.

use std::ops::RangeInclusive;

/// The seeds to play: as many as usual; `TOMBOLO_SEEDS` says otherwise, for a long run.
pub(crate) fn seeds(usual: u64) -> RangeInclusive<u64> {
    1..=std::env::var("TOMBOLO_SEEDS").map_or(usual, |seeds| seeds.parse().expect("a number"))
}

/// Dice (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}
