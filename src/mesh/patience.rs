//! How long to wait for a message that a neighbor has announced, before asking for it: about as long as such
//! messages have taken lately to come by themselves. Estimated as TCP estimates a round trip (Jacobson 1988,
//! RFC 6298 §2). Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::codec::MessageId;

const PATIENCE_MIN: Duration = Duration::from_millis(150);
const PATIENCE_MAX: Duration = Duration::from_millis(500);
/// Before anything has come.
const PATIENCE_FIRST: Duration = Duration::from_millis(400);
/// Messages asked for of which it is still to be seen whether they would have come.
const ASKED_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Patience {
    /// From the announcement to the message, and how much that varies.
    mean: Duration,
    deviation: Duration,
    /// What was asked for lately, and when it had been announced.
    asked: VecDeque<(MessageId, Instant)>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            mean: Duration::ZERO,
            deviation: PATIENCE_FIRST / 4,
            asked: VecDeque::new(),
        }
    }

    pub(super) fn duration(&self) -> Duration {
        (self.mean + 4 * self.deviation).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// A message has come by itself, so long after it had been announced; zero if it came first.
    pub(super) fn on_came(&mut self, after: Duration) {
        let after = after.min(PATIENCE_MAX);
        let error = after.abs_diff(self.mean);
        self.deviation = (3 * self.deviation + error) / 4;
        self.mean = (7 * self.mean + after) / 8;
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
            self.on_came(now.saturating_duration_since(announced_at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_id::NodeId;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn it_follows_what_messages_take() {
        let mut patience = Patience::new();
        assert_eq!(patience.duration(), PATIENCE_FIRST);
        (0..50).for_each(|_| patience.on_came(Duration::ZERO));
        assert_eq!(patience.duration(), PATIENCE_MIN);
        (0..50).for_each(|_| patience.on_came(300 * MILLISECOND));
        let wait = patience.duration();
        assert!((300..400).contains(&wait.as_millis()), "{wait:?}");
        (0..50).for_each(|n| patience.on_came(600 * MILLISECOND * (n % 2)));
        assert_eq!(patience.duration(), PATIENCE_MAX, "it varies much");
    }

    #[test]
    fn what_would_have_come_teaches_to_wait_longer() {
        let mut patience = Patience::new();
        (0..50).for_each(|_| patience.on_came(Duration::ZERO));
        let start = Instant::now();
        let id = MessageId {
            origin: NodeId(1),
            sequence: 1,
        };
        patience.on_asked(id, start);
        patience.on_copy(id, start + 400 * MILLISECOND);
        patience.on_copy(id, start + 900 * MILLISECOND);
        assert!(patience.duration() > 400 * MILLISECOND);
        assert!(
            patience.duration() < 500 * MILLISECOND,
            "a copy counts once"
        );
        (0..200u32).for_each(|sequence| patience.on_asked(MessageId { sequence, ..id }, start));
        assert_eq!(patience.asked.len(), ASKED_MAX);
    }
}
