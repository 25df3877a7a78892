//! A small deterministic generator: the same seed gives the same run on every machine.

/// SplitMix64, see Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// A generator that depends on `seed` only.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one purpose, told by `keys`: what it draws does not depend on what was drawn for others, so that
    /// leaving something out of a run changes nothing else.
    #[must_use]
    pub fn at(seed: u64, keys: &[u64]) -> Self {
        let mut chance = Self(seed);
        for key in keys {
            chance.0 = chance.draw() ^ key.wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        chance
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { (self.draw() >> 8) % bound }
    }

    /// True in this many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let at = self.below(items.len() as u64);
        items[usize::try_from(at).expect("an index of a slice")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_generator() {
        // The first outputs for the seed 1234567, as published with the reference implementation.
        let mut chance = Chance::new(1_234_567);
        assert_eq!(chance.draw(), 6_457_827_717_110_365_317);
        assert_eq!(chance.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn what_is_drawn_for_one_purpose_does_not_depend_on_others() {
        let one = Chance::at(1, &[2, 3]).draw();
        Chance::at(1, &[4]).draw();
        assert_eq!(Chance::at(1, &[2, 3]).draw(), one);
        assert_ne!(Chance::at(1, &[3, 2]).draw(), one);
    }
}
