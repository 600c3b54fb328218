//! How times are spread, in bounded memory: 32 steps in each doubling, an error of 3 % at most.

/// Steps in each doubling, as a power of two.
const STEP_BITS: u32 = 5;

#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, value: u64) {
        let place = place_of(value);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
    }

    /// The value that so many of a hundred lie at or below, `None` if there are none.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(value_at(place))
    }
}

fn place_of(value: u64) -> usize {
    let doublings = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    ((u64::from(doublings) << STEP_BITS) + (value >> doublings)) as usize
}

/// The least value of a place.
fn value_at(place: usize) -> u64 {
    let doublings = (place >> STEP_BITS).saturating_sub(1);
    ((place - (doublings << STEP_BITS)) as u64) << doublings
}

/// The value at this percentile of sorted values.
pub(super) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let wanted = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(wanted - 1).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_is_close_to_its_value(value in any::<u64>()) {
            for value in [value, value >> 32, value >> 55] {
                let least = value_at(place_of(value));
                prop_assert!(least <= value && value - least <= value / 32);
            }
        }
    }

    #[test]
    fn percentiles_are_found() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        for value in 1..=100 {
            histogram.add(value * 1000);
        }
        let median = histogram.percentile(50).unwrap();
        assert!((48_000..=50_000).contains(&median));
        assert_eq!(percentile(&[1, 2, 3], 50), Some(2));
        assert_eq!(percentile(&[1, 2, 3], 99), Some(3));
        assert_eq!(percentile(&[], 99), None);
    }
}
