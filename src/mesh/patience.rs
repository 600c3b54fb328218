//! How long to wait for a message that a neighbor has announced, before asking for it: about as long as messages
//! of the same origin have taken lately to come by themselves. That depends on where in the tree the origin is,
//! and hardly changes. Estimated as TCP estimates a round trip (Jacobson 1988, RFC 6298 §2). Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    time::{Duration, Instant},
};

use super::codec::MessageId;
use crate::node_id::NodeId;

const PATIENCE_MIN: Duration = Duration::from_millis(80);
const PATIENCE_MAX: Duration = Duration::from_millis(500);
/// With an origin of which nothing is known yet.
const PATIENCE_FIRST: Duration = Duration::from_millis(400);
/// While so many others are missing, at least so long: they wait behind one that was lost and will come together.
/// Where many follow closely, TCP repairs a loss within two round trips (RFC 8985 §7.2), else only after a time-out.
const ROW: usize = 2;
const PATIENCE_IN_ROW: Duration = Duration::from_millis(250);
/// How much a message counts in the averages: the first ones more, so that they are learnt from soon.
const WEIGHT_FIRST: u32 = 4;
const WEIGHT_LAST: u32 = 16;
/// Origins in each of two generations.
const ORIGINS_MAX: usize = 1024;
/// Messages asked for of which it is still to be seen whether they would have come.
const ASKED_MAX: usize = 64;

/// From the announcement to the message, and how much that varies.
#[derive(Clone, Copy, Debug)]
struct Lag {
    mean: Duration,
    deviation: Duration,
    /// The next message is one part in so many.
    weight: u32,
}

impl Lag {
    const FIRST: Self = Self {
        mean: Duration::ZERO,
        deviation: PATIENCE_FIRST.checked_div(4).expect("four is not zero"),
        weight: WEIGHT_FIRST,
    };

    fn patience(self) -> Duration {
        (self.mean + 4 * self.deviation).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    fn take(&mut self, sample: Duration) {
        let (weight, error) = (self.weight, sample.abs_diff(self.mean));
        self.deviation = ((weight - 1) * self.deviation + error) / weight;
        self.mean = ((weight - 1) * self.mean + sample) / weight;
        self.weight = (weight + 1).min(WEIGHT_LAST);
    }
}

#[derive(Debug, Default)]
pub(super) struct Patience {
    lags: BTreeMap<NodeId, Lag>,
    /// Those of which nothing has come since there were too many.
    former: BTreeMap<NodeId, Lag>,
    /// What was asked for lately, and when it had been announced.
    asked: VecDeque<(MessageId, Instant)>,
}

impl Patience {
    /// How long to wait for a message of this origin, while so many others are missing.
    pub(super) fn duration(&self, origin: NodeId, missing: usize) -> Duration {
        let patience = self.lag(origin).patience();
        if missing < ROW {
            patience
        } else {
            patience.max(PATIENCE_IN_ROW)
        }
    }

    /// A message has come by itself, so long after it had been announced; zero if it came first.
    pub(super) fn on_came(&mut self, origin: NodeId, after: Duration) {
        let mut lag = self.lag(origin);
        lag.take(after.min(PATIENCE_MAX));
        if self.lags.len() >= ORIGINS_MAX && !self.lags.contains_key(&origin) {
            self.former = mem::take(&mut self.lags);
        }
        self.lags.insert(origin, lag);
    }

    /// A message was asked for.
    pub(super) fn on_asked(&mut self, id: MessageId, announced_at: Instant) {
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((id, announced_at));
    }

    /// Another copy of a message has come: if it was asked for, that was too early.
    pub(super) fn on_copy(&mut self, id: MessageId, now: Instant) {
        let place = self.asked.iter().position(|(asked, _)| *asked == id);
        if let Some((_, announced_at)) = place.and_then(|place| self.asked.remove(place)) {
            self.on_came(id.origin, now.saturating_duration_since(announced_at));
        }
    }

    fn lag(&self, origin: NodeId) -> Lag {
        let lag = self.lags.get(&origin).or_else(|| self.former.get(&origin));
        lag.copied().unwrap_or(Lag::FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const NEAR: NodeId = NodeId(1);
    const FAR: NodeId = NodeId(2);

    #[test]
    fn it_follows_what_messages_of_each_origin_take() {
        let mut patience = Patience::default();
        assert_eq!(patience.duration(NEAR, 0), PATIENCE_FIRST);
        for _ in 0..50 {
            patience.on_came(NEAR, Duration::ZERO);
            patience.on_came(FAR, 300 * MILLISECOND);
        }
        assert_eq!(patience.duration(NEAR, 0), PATIENCE_MIN);
        let wait = patience.duration(FAR, 0);
        assert!((300..400).contains(&wait.as_millis()), "{wait:?}");
        (0..50).for_each(|n| patience.on_came(FAR, 600 * MILLISECOND * (n % 2)));
        assert_eq!(patience.duration(FAR, 0), PATIENCE_MAX, "it varies much");
    }

    #[test]
    fn one_that_was_late_counts_little() {
        let mut patience = Patience::default();
        (0..50).for_each(|_| patience.on_came(NEAR, 20 * MILLISECOND));
        let before = patience.duration(NEAR, 0);
        patience.on_came(NEAR, 400 * MILLISECOND);
        let after = patience.duration(NEAR, 0);
        assert!(after < before + 125 * MILLISECOND, "{before:?} {after:?}");
        // But if it stays so the way has changed.
        (0..50).for_each(|_| patience.on_came(NEAR, 400 * MILLISECOND));
        assert!(patience.duration(NEAR, 0) >= 400 * MILLISECOND);
    }

    #[test]
    fn several_that_are_missing_may_take_longer() {
        let mut patience = Patience::default();
        (0..50).for_each(|_| patience.on_came(NEAR, Duration::ZERO));
        assert_eq!(patience.duration(NEAR, ROW), PATIENCE_IN_ROW);
        assert_eq!(patience.duration(FAR, ROW), PATIENCE_FIRST);
    }

    #[test]
    fn what_would_have_come_teaches_to_wait_longer() {
        let mut patience = Patience::default();
        (0..50).for_each(|_| patience.on_came(NEAR, Duration::ZERO));
        let start = Instant::now();
        let first = MessageId {
            origin: NEAR,
            sequence: 1,
        };
        for sequence in 1..100 {
            let id = MessageId { sequence, ..first };
            patience.on_asked(id, start);
            patience.on_copy(id, start + 250 * MILLISECOND);
            patience.on_copy(id, start + 900 * MILLISECOND);
        }
        let wait = patience.duration(NEAR, 0);
        assert!((250..400).contains(&wait.as_millis()), "{wait:?}");
        (0..200).for_each(|sequence| patience.on_asked(MessageId { sequence, ..first }, start));
        assert_eq!(patience.asked.len(), ASKED_MAX);
    }

    #[test]
    fn origins_are_bounded_and_those_in_use_are_kept() {
        let mut patience = Patience::default();
        for n in 0..10 * ORIGINS_MAX as u128 {
            patience.on_came(NodeId(1000 + n), Duration::ZERO);
            patience.on_came(NEAR, Duration::ZERO);
        }
        assert!(patience.lags.len() <= ORIGINS_MAX && patience.former.len() <= ORIGINS_MAX);
        assert_eq!(patience.duration(NEAR, 0), PATIENCE_MIN);
        assert_eq!(patience.duration(NodeId(1000), 0), PATIENCE_FIRST);
    }
}
