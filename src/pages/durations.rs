//! How long the turns of the loop took, by size.

use std::time::Duration;

/// Upper bounds of the buckets, in seconds: what is too short to be felt, up to what everybody notices.
pub(super) const BOUNDS_SECONDS: [f64; 10] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.025, 0.1, 1.0,
];

/// A histogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    /// One for each bound, and one for what is longer than all.
    counts: [u64; BOUNDS_SECONDS.len() + 1],
    sum: Duration,
}

impl Durations {
    pub(crate) fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS_SECONDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    pub(super) fn sum(&self) -> Duration {
        self.sum
    }

    /// How many were no longer than each bound, and last how many there were.
    pub(super) fn cumulative(&self) -> [u64; BOUNDS_SECONDS.len() + 1] {
        let mut sum = 0;
        self.counts.map(|count| {
            sum += count;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_all_buckets_that_are_wide_enough() {
        let mut durations = Durations::default();
        for micros in [50, 51, 3_000_000] {
            durations.add(Duration::from_micros(micros));
        }
        let counts = durations.cumulative();
        assert_eq!((counts[0], counts[1], counts[9], counts[10]), (1, 2, 2, 3));
        assert_eq!(durations.sum(), Duration::from_micros(3_000_101));
    }
}
