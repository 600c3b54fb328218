//! How long to wait before a peer is dialed again. Pure: randomness is an argument.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Exponential backoff with full jitter: the ceiling doubles with each failure, the wait is drawn evenly
/// below it. Full jitter spreads the peers of a restarted node best
/// ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first ceiling is `min`, the last is `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        debug_assert!(min <= max);
        Self {
            min,
            max,
            failures: 0,
        }
    }

    /// Other ceilings hold from now on.
    pub(crate) fn set_bounds(&mut self, min: Duration, max: Duration) {
        (self.min, self.max) = (min, max);
    }

    /// Counts a failure and draws the wait that follows it.
    pub(crate) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let ceiling = self
            .min
            .saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let ceiling = ceiling.min(self.max);
        if ceiling < self.max {
            self.failures += 1;
        }
        ceiling.mul_f64(rng.random::<f64>())
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);

    /// The longest of many waits at each number of failures is close to the ceiling.
    fn longest_waits(failures: usize) -> Vec<Duration> {
        let mut rng = StdRng::seed_from_u64(7);
        let mut longest = vec![Duration::ZERO; failures];
        for _ in 0..500 {
            let mut backoff = Backoff::new(MIN, MAX);
            for slot in &mut longest {
                *slot = (*slot).max(backoff.next(&mut rng));
            }
        }
        longest
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let longest = longest_waits(80);
        for (longest, ceiling) in longest.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
            let ceiling = Duration::from_secs(ceiling);
            assert!(
                *longest <= ceiling && *longest > ceiling.mul_f64(0.9),
                "{longest:?}"
            );
        }
        assert!(longest.iter().all(|wait| *wait <= MAX));
    }

    #[test]
    fn the_wait_is_spread_over_the_whole_range() {
        let mut rng = StdRng::seed_from_u64(1);
        let waits: Vec<_> = (0..1000)
            .map(|_| Backoff::new(MIN, MAX).next(&mut rng).as_secs_f64())
            .collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        assert!((0.45..0.55).contains(&mean), "mean {mean}");
    }

    #[test]
    fn a_reset_starts_over() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..10 {
            backoff.next(&mut rng);
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= MIN);
    }
}
