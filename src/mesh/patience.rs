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

const PATIENCE_MIN: Duration = Duration::from_millis(100);
const PATIENCE_MAX: Duration = Duration::from_millis(500);
/// With an origin of which nothing is known yet: if it is too short, one message comes twice.
const PATIENCE_FIRST: Duration = Duration::from_millis(250);
/// From the first message on it is better to begin with too much.
const DEVIATION_FIRST: Duration = Duration::from_millis(100);
/// At least so long where messages follow one another this closely: there TCP repairs a loss within two round
/// trips (RFC 8985 §7.2), else only after a time-out.
const PATIENCE_BUSY: Duration = Duration::from_millis(250);
const GAP_BUSY: Duration = Duration::from_millis(40);
/// The time between two messages is averaged over about so many; one that is longer than this counts as this.
const GAP_WEIGHT: u32 = 8;
const GAP_MAX: Duration = Duration::from_secs(1);
/// How much a message counts in the averages: the first ones more, so that they are learnt from soon.
const WEIGHT_FIRST: u32 = 3;
const WEIGHT_LAST: u32 = 16;
/// What comes later than was waited for was lost on its way, mostly, and says little of the next one: it counts
/// as little later than that, so that only many in a row change much. A first few milliseconds always count.
const LAG_STEP_MIN: Duration = Duration::from_millis(20);
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
        deviation: DEVIATION_FIRST,
        weight: WEIGHT_FIRST,
    };

    fn patience(self) -> Duration {
        (self.mean + 4 * self.deviation).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    fn take(&mut self, sample: Duration) {
        let step = (4 * self.deviation).max(LAG_STEP_MIN);
        let sample = sample.min(self.mean + step);
        let (weight, error) = (self.weight, sample.abs_diff(self.mean));
        self.deviation = ((weight - 1) * self.deviation + error) / weight;
        self.mean = ((weight - 1) * self.mean + sample) / weight;
        self.weight = (weight + 1).min(WEIGHT_LAST);
    }
}

#[derive(Debug)]
pub(super) struct Patience {
    lags: BTreeMap<NodeId, Lag>,
    /// Those of which nothing has come since there were too many.
    former: BTreeMap<NodeId, Lag>,
    /// What was asked for lately, and when it had been announced.
    asked: VecDeque<(MessageId, Instant)>,
    /// Between two messages of any origin.
    gap: Duration,
    last_at: Option<Instant>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            lags: BTreeMap::new(),
            former: BTreeMap::new(),
            asked: VecDeque::new(),
            gap: GAP_MAX,
            last_at: None,
        }
    }

    /// How long to wait for a message of this origin.
    pub(super) fn duration(&self, origin: NodeId) -> Duration {
        let patience = self.known(origin).map_or(PATIENCE_FIRST, Lag::patience);
        if self.gap < GAP_BUSY {
            patience.max(PATIENCE_BUSY)
        } else {
            patience
        }
    }

    /// A message has come, of whatever origin: nearly all come by the same connection.
    pub(super) fn on_message(&mut self, now: Instant) {
        let last_at = self.last_at.replace(now);
        let gap = last_at.map_or(GAP_MAX, |last_at| now.saturating_duration_since(last_at));
        self.gap = ((GAP_WEIGHT - 1) * self.gap + gap.min(GAP_MAX)) / GAP_WEIGHT;
    }

    /// A message has come by itself, so long after it had been announced; zero if it came first.
    pub(super) fn on_came(&mut self, origin: NodeId, after: Duration) {
        let mut lag = self.known(origin).unwrap_or(Lag::FIRST);
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

    fn known(&self, origin: NodeId) -> Option<Lag> {
        let lag = self.lags.get(&origin).or_else(|| self.former.get(&origin));
        lag.copied()
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
        let mut patience = Patience::new();
        assert_eq!(patience.duration(NEAR), PATIENCE_FIRST);
        for _ in 0..50 {
            patience.on_came(NEAR, Duration::ZERO);
            patience.on_came(FAR, 300 * MILLISECOND);
        }
        assert_eq!(patience.duration(NEAR), PATIENCE_MIN);
        let wait = patience.duration(FAR);
        assert!((300..400).contains(&wait.as_millis()), "{wait:?}");
        (0..50).for_each(|n| patience.on_came(FAR, 600 * MILLISECOND * (n % 2)));
        assert_eq!(patience.duration(FAR), PATIENCE_MAX, "it varies much");
    }

    #[test]
    fn one_that_was_late_counts_little() {
        let mut patience = Patience::new();
        (0..50).for_each(|_| patience.on_came(NEAR, 20 * MILLISECOND));
        let before = patience.duration(NEAR);
        patience.on_came(NEAR, 400 * MILLISECOND);
        let after = patience.duration(NEAR);
        assert!(after < before + 125 * MILLISECOND, "{before:?} {after:?}");
        // But if it stays so the way has changed.
        (0..50).for_each(|_| patience.on_came(NEAR, 400 * MILLISECOND));
        assert!(patience.duration(NEAR) >= 400 * MILLISECOND);
    }

    #[test]
    fn where_messages_follow_closely_a_loss_is_left_to_tcp() {
        let mut patience = Patience::new();
        let mut now = Instant::now();
        for (gap, wait) in [(100, PATIENCE_MIN), (10, PATIENCE_BUSY), (60, PATIENCE_MIN)] {
            for _ in 0..50 {
                now += gap * MILLISECOND;
                patience.on_message(now);
                patience.on_came(NEAR, Duration::ZERO);
            }
            assert_eq!(patience.duration(NEAR), wait, "every {gap} ms");
        }
        assert_eq!(patience.duration(FAR), PATIENCE_FIRST);
    }

    #[test]
    fn what_would_have_come_teaches_to_wait_longer() {
        let mut patience = Patience::new();
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
        let wait = patience.duration(NEAR);
        assert!((250..400).contains(&wait.as_millis()), "{wait:?}");
        (0..200).for_each(|sequence| patience.on_asked(MessageId { sequence, ..first }, start));
        assert_eq!(patience.asked.len(), ASKED_MAX);
    }

    #[test]
    fn origins_are_bounded_and_those_in_use_are_kept() {
        let mut patience = Patience::new();
        for n in 0..10 * ORIGINS_MAX as u128 {
            patience.on_came(NodeId(1000 + n), Duration::ZERO);
            patience.on_came(NEAR, Duration::ZERO);
        }
        assert!(patience.lags.len() <= ORIGINS_MAX && patience.former.len() <= ORIGINS_MAX);
        assert_eq!(patience.duration(NEAR), PATIENCE_MIN);
        assert_eq!(patience.duration(NodeId(1000)), PATIENCE_FIRST);
    }
}
