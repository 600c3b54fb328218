//! Virtual time: whole microseconds, so that a run is the same on every machine.

use std::time::{Duration, Instant};

/// Microseconds since the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    /// Never reached.
    pub(super) const NEVER: Self = Self(u64::MAX);

    pub(super) fn after(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    pub(super) fn plus(self, duration: Duration) -> Self {
        self.after(micros(duration))
    }

    /// Microseconds since an earlier moment; 0 since a later one.
    pub(super) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A duration in microseconds, rounded up: what is due is never early.
pub(super) fn micros(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1000) as u64
}

/// Between virtual time and what the protocol takes for the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn new(start: Instant) -> Self {
        Self { start }
    }

    pub(super) fn instant(self, moment: Moment) -> Instant {
        self.start + Duration::from_micros(moment.0)
    }

    pub(super) fn moment(self, instant: Instant) -> Moment {
        Moment(micros(instant.saturating_duration_since(self.start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_never_early() {
        let clock = Clock::new(Instant::now());
        for nanos in [0, 1, 999, 1000, 1001] {
            let due = clock.start + Duration::from_nanos(nanos);
            let moment = clock.moment(due);
            assert!(clock.instant(moment) >= due);
            assert_eq!(moment.0, nanos.div_ceil(1000));
        }
    }
}
