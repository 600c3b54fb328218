//! How often something may happen. Pure: time is an argument.

use std::time::{Duration, Instant};

/// A bucket of tokens: so many at once, and one more after each interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    capacity: u32,
    interval: Duration,
    left: u32,
    /// Up to when tokens have been added.
    filled_at: Instant,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(capacity: u32, interval: Duration, now: Instant) -> Self {
        Self {
            capacity,
            interval,
            left: capacity,
            filled_at: now,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_many(1, now)
    }

    /// Takes so many tokens, or none.
    pub(crate) fn take_many(&mut self, count: u32, now: Instant) -> bool {
        self.fill(now);
        let is_enough = self.left >= count;
        if is_enough {
            self.left -= count;
        }
        is_enough
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at);
        let tokens = passed.as_nanos() / self.interval.as_nanos().max(1);
        let missing = self.capacity - self.left;
        if tokens >= u128::from(missing) {
            self.left = self.capacity;
            self.filled_at = now;
        } else if tokens > 0 {
            // Fewer than the capacity, which is a u32.
            self.left += tokens as u32;
            self.filled_at += self.interval * tokens as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_one_after_each_interval() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut budget = Budget::new(3, second, start);
        assert!((0..3).all(|_| budget.take(start)) && !budget.take(start));
        assert!(!budget.take(start + second / 2));
        assert!(budget.take(start + second) && !budget.take(start + second));
        assert!(budget.take_many(3, start + 9 * second), "it fills up");
        assert!(!budget.take(start + 9 * second), "and no further");
    }
}
