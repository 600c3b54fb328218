//! What is counted while a load test runs. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::flights::{Delivery, Lost, Spread};
use super::timeline::Timeline;

/// Reasons that are told apart; further ones are counted together.
const REASONS_MAX: usize = 32;

/// Times, to three digits.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are possible"))
    }
}

impl Times {
    pub(super) fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // It grows with the longest time; 64 bits of nanoseconds fit.
        let _ = self.0.record(nanoseconds);
    }

    pub(super) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// How often something happened for which reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons(BTreeMap<String, u64>);

impl Reasons {
    pub(super) fn add(&mut self, reason: String) {
        let is_known = self.0.contains_key(&reason);
        let reason = match is_known || self.0.len() < REASONS_MAX {
            true => reason,
            false => "for other reasons".to_owned(),
        };
        *self.0.entry(reason).or_default() += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The most frequent first.
    pub(super) fn sorted(&self) -> Vec<(String, u64)> {
        let mut reasons: Vec<_> = self.0.clone().into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons
    }
}

/// Of the connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    pub(super) opened: u64,
    /// From the begin of the connection to the end of the upgrade.
    pub(super) handshakes: Times,
    pub(super) failures: Reasons,
    /// Ended by somebody else, or by an error, after they were open.
    pub(super) losses: Reasons,
    pub(super) ramp: Timeline<Opened>,
    /// From the first that was begun to the last that was opened.
    pub(super) ramp_time: Duration,
}

/// Of the messages that are measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages {
    /// Messages sent.
    pub(super) sent: u64,
    /// … of which so many were heard by all.
    pub(super) everywhere: u64,
    pub(super) heard: u64,
    pub(super) heard_bytes: u64,
    pub(super) lost: Lost,
    pub(super) again: u64,
    pub(super) late: u64,
    pub(super) corrupted: u64,
    /// Not of this load test.
    pub(super) foreign: u64,
    /// Heard after they had been given up.
    pub(super) overdue: u64,
    /// Heard by a connection that does not wait for them: their own sender, or with an echo any other.
    pub(super) unasked: u64,
    /// How much later than meant messages were sent.
    pub(super) sent_late: Times,
    pub(super) delivery: Times,
    pub(super) first: Times,
    pub(super) median: Times,
    pub(super) p99: Times,
    pub(super) last: Times,
    pub(super) course: Timeline<Heard>,
}

/// What one interval of connecting has brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opened {
    pub(super) opened: u64,
    pub(super) failed: u64,
}

/// What one interval of measuring has brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) deliveries: u64,
    /// Messages that were heard by all.
    pub(super) everywhere: u64,
    pub(super) last_sum: Duration,
    pub(super) last_max: Duration,
}

impl std::ops::AddAssign for Opened {
    fn add_assign(&mut self, other: Self) {
        self.opened += other.opened;
        self.failed += other.failed;
    }
}

impl std::ops::AddAssign for Heard {
    fn add_assign(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.everywhere += other.everywhere;
        self.last_sum += other.last_sum;
        self.last_max = self.last_max.max(other.last_max);
    }
}

impl Connections {
    pub(super) fn on_opened(&mut self, handshake: Duration, since_start: Duration) {
        self.opened += 1;
        self.handshakes.record(handshake);
        self.ramp_time = since_start;
        self.ramp.at(since_start).opened += 1;
    }

    pub(super) fn on_failed(&mut self, reason: String, since_start: Duration) {
        self.failures.add(reason);
        self.ramp.at(since_start).failed += 1;
    }
}

impl Messages {
    /// A measured message was heard, so long after the measurement had begun.
    pub(super) fn on_delivery(&mut self, delivery: &Delivery, since_start: Duration) {
        self.delivery.record(delivery.latency);
        if let Some(spread) = delivery.everywhere {
            let interval = self.course.at(since_start);
            interval.everywhere += 1;
            interval.last_sum += spread.last;
            interval.last_max = interval.last_max.max(spread.last);
            self.on_everywhere(&spread);
        }
    }

    fn on_everywhere(&mut self, spread: &Spread) {
        self.everywhere += 1;
        self.first.record(spread.first);
        self.median.record(spread.median);
        self.p99.record(spread.p99);
        self.last.record(spread.last);
    }
}

/// Since `start`; nothing if that is still to come.
pub(super) fn since(start: Option<Instant>, now: Instant) -> Duration {
    start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded_and_sorted() {
        let mut reasons = Reasons::default();
        for number in 0..100 {
            reasons.add(format!("reason {number}"));
        }
        reasons.add("reason 3".to_owned());
        let sorted = reasons.sorted();
        assert_eq!(sorted.len(), REASONS_MAX + 1);
        assert_eq!(sorted[0], ("for other reasons".to_owned(), 68));
        assert_eq!(sorted[1], ("reason 3".to_owned(), 2));
        assert_eq!(reasons.count(), 101);
    }
}
