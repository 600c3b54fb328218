//! What happened when, in intervals that get wider as time goes on, so that there are never too many. Pure.

use std::ops::AddAssign;
use std::time::Duration;

/// Intervals at most; beyond it two become one.
pub(super) const INTERVALS_MAX: usize = 400;
const FIRST_WIDTH: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(super) struct Timeline<T> {
    width: Duration,
    intervals: Vec<T>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self {
            width: FIRST_WIDTH,
            intervals: Vec::new(),
        }
    }
}

impl<T: Copy + Default + AddAssign> Timeline<T> {
    /// The interval in which this time lies.
    pub(super) fn at(&mut self, time: Duration) -> &mut T {
        while self.index(time) >= INTERVALS_MAX {
            self.widen();
        }
        let index = self.index(time);
        if index >= self.intervals.len() {
            self.intervals.resize(index + 1, T::default());
        }
        &mut self.intervals[index]
    }

    pub(super) fn width(&self) -> Duration {
        self.width
    }

    pub(super) fn intervals(&self) -> &[T] {
        &self.intervals
    }

    fn index(&self, time: Duration) -> usize {
        let index = time.as_nanos() / self.width.as_nanos();
        usize::try_from(index).unwrap_or(usize::MAX)
    }

    fn widen(&mut self) {
        self.width *= 2;
        let pairs = self.intervals.chunks(2);
        self.intervals = pairs
            .map(|pair| {
                let mut sum = pair[0];
                pair[1..].iter().for_each(|other| sum += *other);
                sum
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_get_wider_and_lose_nothing() {
        let mut timeline = Timeline::<u64>::default();
        for step in 0..10_000 {
            *timeline.at(Duration::from_millis(7) * step) += 1;
        }
        assert!(timeline.intervals().len() <= INTERVALS_MAX);
        assert_eq!(timeline.intervals().iter().sum::<u64>(), 10_000);
        let per_interval = timeline.width().as_millis() as u64 / 7;
        let inner = &timeline.intervals()[..timeline.intervals().len() - 1];
        assert!(inner.iter().all(|count| count.abs_diff(per_interval) <= 1));
        *timeline.at(Duration::MAX) += 1;
        assert_eq!(timeline.intervals().iter().sum::<u64>(), 10_001);
    }
}
