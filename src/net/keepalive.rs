//! Whether a peer is still there. Pure: time is an argument.
//!
//! Judged by bytes received only: what we send tells nothing about a peer that is gone.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct KeepAlive {
    received_at: Instant,
    /// When the ping was sent that is not answered yet.
    pinged_at: Option<Instant>,
    pings: u32,
    round_trip: Option<Duration>,
}

/// What to do when the deadline has passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing, until then.
    Wait(Instant),
    /// Send a ping with this payload, and check again then.
    Ping([u8; 4], Instant),
    /// Give the peer up: it was silent for so long.
    Dead(Duration),
}

impl KeepAlive {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            received_at: now,
            pinged_at: None,
            pings: 0,
            round_trip: None,
        }
    }

    /// How long the last answered ping took.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub(crate) fn on_received(&mut self, now: Instant) {
        self.received_at = now;
    }

    /// A peer that was silent for an interval is pinged, one that was for two is given up. But never
    /// without having been asked: after a while in which this process itself was stopped, the silence
    /// is ours.
    pub(crate) fn check(&mut self, now: Instant, interval: Duration) -> Check {
        let silence = now.saturating_duration_since(self.received_at);
        let was_asked = self.pinged_at.is_some_and(|at| at > self.received_at);
        if silence >= 2 * interval && was_asked {
            Check::Dead(silence)
        } else if silence >= interval {
            self.pings = self.pings.wrapping_add(1);
            self.pinged_at = Some(now);
            let next = self.received_at + 2 * interval;
            let next = if next > now { next } else { now + interval };
            Check::Ping(self.pings.to_be_bytes(), next)
        } else {
            Check::Wait(self.received_at + interval)
        }
    }

    /// A pong has arrived; one that does not answer the last ping is no measure of anything.
    pub(crate) fn on_pong(&mut self, payload: &[u8], now: Instant) {
        if payload == self.pings.to_be_bytes()
            && let Some(pinged_at) = self.pinged_at.take()
        {
            self.round_trip = Some(now.saturating_duration_since(pinged_at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn a_silent_peer_is_pinged_and_then_given_up() {
        let start = Instant::now();
        let mut peer = KeepAlive::new(start);
        let Check::Ping(_, next) = peer.check(start + INTERVAL, INTERVAL) else {
            panic!("not pinged");
        };
        assert_eq!(next, start + 2 * INTERVAL);
        assert_eq!(peer.check(next, INTERVAL), Check::Dead(2 * INTERVAL));
    }

    #[test]
    fn nobody_is_given_up_unasked() {
        let start = Instant::now();
        let mut peer = KeepAlive::new(start);
        let resumed = start + 10 * INTERVAL;
        let Check::Ping(_, next) = peer.check(resumed, INTERVAL) else {
            panic!("not asked");
        };
        assert_eq!(next, resumed + INTERVAL);
        assert_eq!(peer.check(next, INTERVAL), Check::Dead(11 * INTERVAL));
    }

    #[test]
    fn a_peer_that_is_heard_is_left_alone() {
        let start = Instant::now();
        let mut peer = KeepAlive::new(start);
        let heard = start + Duration::from_secs(20);
        peer.on_received(heard);
        assert_eq!(
            peer.check(start + INTERVAL, INTERVAL),
            Check::Wait(heard + INTERVAL)
        );
    }

    #[test]
    fn only_the_answer_to_the_last_ping_measures_the_round_trip() {
        let start = Instant::now();
        let mut peer = KeepAlive::new(start);
        let now = start + INTERVAL;
        let Check::Ping(payload, _) = peer.check(now, INTERVAL) else {
            panic!("not pinged");
        };
        peer.on_pong(b"else", now);
        assert_eq!(peer.round_trip(), None);
        let round_trip = Duration::from_millis(3);
        peer.on_pong(&payload, now + round_trip);
        peer.on_pong(&payload, now + 2 * round_trip);
        assert_eq!(peer.round_trip(), Some(round_trip));
    }
}
