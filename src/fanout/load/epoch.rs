//! When a load test began, by our clock and by that of everyone on this machine.

use std::time::{Duration, Instant};

/// The two clocks at the same moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::fanout) struct Epoch {
    pub(in crate::fanout) now: Instant,
    /// Since 1970.
    pub(in crate::fanout) wall: Duration,
}

impl Epoch {
    pub(super) fn nanoseconds_at(&self, now: Instant) -> u64 {
        let wall = self.wall + now.saturating_duration_since(self.now);
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)
    }
}
