//! How far this node stands from the others. Neighbors are a random sample of the mesh, so a node that is near
//! to its own is near to the middle of all. Pure.

use std::time::Duration;

use super::control::DISTANCE_UNKNOWN;

/// Round trips below which nothing can be said.
const SAMPLES_MIN: u32 = 3;
/// Of so many all count the same; beyond, the newer count more.
const SAMPLES_MAX: u32 = 16;

/// The mean of the round trips that were measured.
#[derive(Debug, Default)]
pub(super) struct Distance {
    mean: Duration,
    samples: u32,
}

impl Distance {
    /// A node that was dialed has answered the hello after so long: less than its time-out.
    pub(super) fn on_round_trip(&mut self, round_trip: Duration) {
        self.samples = (self.samples + 1).min(SAMPLES_MAX);
        self.mean = (self.mean * (self.samples - 1) + round_trip) / self.samples;
    }

    /// In milliseconds, as a beacon tells it.
    pub(super) fn millis(&self) -> u32 {
        let millis = u32::try_from(self.mean.as_millis()).ok();
        let known = millis.filter(|_| self.samples >= SAMPLES_MIN);
        known.unwrap_or(DISTANCE_UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mean_once_there_are_some() {
        let mut distance = Distance::default();
        for (millis, mean) in [(10, u32::MAX), (20, u32::MAX), (60, 30), (30, 30), (80, 40)] {
            distance.on_round_trip(Duration::from_millis(millis));
            assert_eq!(distance.millis(), mean);
        }
    }

    #[test]
    fn a_node_that_has_moved_is_found_elsewhere() {
        let mut distance = Distance::default();
        for millis in [10, 200] {
            for _ in 0..1000 {
                distance.on_round_trip(Duration::from_millis(millis));
            }
            assert!(distance.millis().abs_diff(millis as u32) <= 1);
        }
    }
}
