//! Randomness with a seed: a tree of generators, so that what one part draws does not move another.

use rand::{Rng, SeedableRng, rngs::Xoshiro256PlusPlus};

/// One part's randomness. Whole numbers only, by arithmetic of our own: the same on every machine and with
/// every version of the library.
#[derive(Clone, Debug)]
pub(super) struct Chance(Xoshiro256PlusPlus);

/// The parts that draw by themselves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Geography = 1,
    Network,
    Dialing,
    Seeds,
    Load,
    Fate,
    Identity,
    Protocol,
}

impl Chance {
    /// The generator of a part; `number` tells apart many of a kind.
    pub(super) fn new(seed: u64, part: Part, number: u64) -> Self {
        let key = mixed(seed ^ mixed(part as u64)) ^ mixed(number);
        Self(Xoshiro256PlusPlus::seed_from_u64(key))
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly from 0 to `bound` - 1; 0 if `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        scaled(self.bits(), bound)
    }

    /// True in so many of a million cases.
    pub(super) fn happens(&mut self, share: Ppm) -> bool {
        self.below(1_000_000) < u64::from(share.0)
    }

    pub(super) fn id(&mut self) -> u128 {
        u128::from(self.bits()) << 64 | u128::from(self.bits())
    }

    /// `count` different numbers below `bound`, in the order drawn; all of them if there are not more.
    pub(super) fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        let count = count.min(bound);
        for place in 0..count {
            let other = place + self.below((bound - place) as u64) as usize;
            all.swap(place, other);
        }
        all.truncate(count);
        all
    }

    pub(super) fn into_inner(self) -> Xoshiro256PlusPlus {
        self.0
    }
}

/// A share in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ppm(pub(super) u32);

impl Ppm {
    /// So much of a whole, rounded.
    pub(super) fn of(self, whole: usize) -> usize {
        ((whole as u64 * u64::from(self.0) + 500_000) / 1_000_000) as usize
    }
}

/// Random bits as a number below `bound`.
pub(super) fn scaled(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// Spreads the bits of a number (the finalizer of SplitMix64).
pub(super) fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_numbers_draw_apart() {
        let mut firsts: Vec<u64> = (0..100)
            .flat_map(|number| [(Part::Load, number), (Part::Fate, number)])
            .map(|(part, number)| Chance::new(7, part, number).bits())
            .collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 200);
    }

    #[test]
    fn numbers_are_spread_over_the_whole_range() {
        let mut chance = Chance::new(1, Part::Load, 0);
        let mut counts = [0; 7];
        for _ in 0..7000 {
            counts[chance.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)));
        assert_eq!(chance.below(0), 0);
    }

    #[test]
    fn a_sample_has_no_number_twice() {
        let mut sample = Chance::new(1, Part::Load, 0).sample(50, 20);
        sample.sort_unstable();
        sample.dedup();
        assert_eq!(sample.len(), 20);
        assert_eq!(Chance::new(1, Part::Load, 0).sample(3, 9).len(), 3);
    }
}
