//! Chance that can be repeated: the same seed rolls the same numbers on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood, 2014), written out because the numbers of a library's generator
//! may change with its version, and a seed in a bug report must not.

/// A row of numbers.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Starts the row that belongs to a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts another row, so that two who roll in turn do not depend on who comes first.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.roll())
    }

    /// Rolls any number.
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Rolls a number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.roll() % end.max(1) as u64) as usize
    }

    /// Rolls a number of a range, both ends included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    /// Says yes so many times in a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_rolls_the_same_numbers_for_ever() {
        let mut dice = Dice::new(7);
        assert_eq!(dice.roll(), 0x63cb_e1e4_5932_0dd7);
        let mut other = dice.fork();
        assert_ne!(dice.roll(), other.roll());
        assert!((0..1000).all(|_| (3..=5).contains(&dice.between(3, 5))));
    }
}
