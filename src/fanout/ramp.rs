//! When the next connection is opened: as fast as the server takes them, or at a rate. Pure.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Ramp {
    /// Connections that are still to be opened.
    left: usize,
    opened: u32,
    /// Begun, and neither upgraded nor failed yet.
    in_flight: usize,
    in_flight_max: usize,
    /// Time from one to the next.
    interval: Duration,
    started: Instant,
}

impl Ramp {
    /// At most `rate` a second, and at most so many at the same time.
    pub(super) fn new(
        connections: usize,
        in_flight_max: usize,
        rate: Option<usize>,
        now: Instant,
    ) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate as u32);
        Self {
            left: connections,
            opened: 0,
            in_flight: 0,
            in_flight_max,
            interval,
            started: now,
        }
    }

    /// The number of a connection that is to be opened now; it is in flight then.
    pub(super) fn poll(&mut self, now: Instant) -> Option<usize> {
        if self.left == 0 || self.in_flight >= self.in_flight_max || now < self.next_at() {
            return None;
        }
        let number = self.opened as usize;
        self.left -= 1;
        self.opened += 1;
        self.in_flight += 1;
        Some(number)
    }

    /// One that was in flight is not any more.
    pub(super) fn on_settled(&mut self) {
        self.in_flight -= 1;
    }

    /// No more are opened.
    pub(super) fn stop(&mut self) {
        self.left = 0;
    }

    /// All have been opened, or have failed.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0 && self.in_flight == 0
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let is_waiting = self.left > 0 && self.in_flight < self.in_flight_max;
        is_waiting.then(|| self.next_at())
    }

    fn next_at(&self) -> Instant {
        self.started + self.interval * self.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_all(ramp: &mut Ramp, now: Instant) -> usize {
        std::iter::from_fn(|| ramp.poll(now)).count()
    }

    #[test]
    fn no_more_than_so_many_are_in_flight() {
        let now = Instant::now();
        let mut ramp = Ramp::new(10, 4, None, now);
        assert_eq!(poll_all(&mut ramp, now), 4);
        assert_eq!(ramp.next_deadline(), None, "it waits for answers");
        ramp.on_settled();
        ramp.on_settled();
        assert_eq!(poll_all(&mut ramp, now), 2);
        for _ in 0..4 {
            ramp.on_settled();
        }
        assert_eq!(poll_all(&mut ramp, now), 4);
        assert!(!ramp.is_over());
        for _ in 0..4 {
            ramp.on_settled();
        }
        assert!(ramp.is_over());
    }

    #[test]
    fn a_rate_is_kept_and_what_was_late_is_made_up_for() {
        let start = Instant::now();
        let mut ramp = Ramp::new(1000, 1000, Some(100), start);
        assert_eq!(poll_all(&mut ramp, start), 1);
        assert_eq!(
            ramp.next_deadline(),
            Some(start + Duration::from_millis(10))
        );
        assert_eq!(poll_all(&mut ramp, start + Duration::from_millis(9)), 0);
        assert_eq!(poll_all(&mut ramp, start + Duration::from_millis(55)), 5);
        ramp.stop();
        assert_eq!(poll_all(&mut ramp, start + Duration::from_secs(9)), 0);
    }
}
