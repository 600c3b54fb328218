//! How fast plain peers may publish. Pure: time is an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::net::Token;

/// Time that a peer may save up: with the rate of a second, what it may send at once after a pause.
const SAVED_MAX: Duration = Duration::from_secs(2);

/// So many publishers are known before those are forgotten that have saved up all their time.
const KNOWN_MIN: usize = 64;

/// What is to be done with a message of a plain peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    Publish,
    /// It is one too many: the peer is to be closed.
    Close,
    /// The peer was to be closed already.
    Ignore,
}

/// The plain peers that have published lately, or are being closed.
#[derive(Debug)]
pub(super) struct Publishers {
    /// Time that each publication takes up; `None`: there may be any number.
    share: Option<Duration>,
    known: HashMap<Token, Publisher>,
    /// With so many it is time to forget some.
    forget_at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Publisher {
    /// Until when its publications have taken up its time.
    Spent(Instant),
    Closed,
}

impl Publishers {
    pub(super) fn new(rate_max: Option<usize>) -> Self {
        let share = rate_max.map(|rate| {
            let rate = u32::try_from(rate).unwrap_or(u32::MAX).max(1);
            Duration::from_secs(1) / rate
        });
        Self {
            share,
            known: HashMap::new(),
            forget_at: KNOWN_MIN,
        }
    }

    pub(super) fn on_message(&mut self, peer: Token, now: Instant) -> Verdict {
        let Some(share) = self.share else {
            return match self.known.contains_key(&peer) {
                true => Verdict::Ignore,
                false => Verdict::Publish,
            };
        };
        if self.known.len() >= self.forget_at {
            self.forget_rested(now);
        }
        let publisher = self.known.entry(peer).or_insert(Publisher::Spent(now));
        let Publisher::Spent(until) = *publisher else {
            return Verdict::Ignore;
        };
        let until = until.max(now) + share;
        if until > now + SAVED_MAX {
            *publisher = Publisher::Closed;
            return Verdict::Close;
        }
        *publisher = Publisher::Spent(until);
        Verdict::Publish
    }

    /// The peer is being closed: what still comes from it is nobody's any more.
    pub(super) fn refuse(&mut self, peer: Token) {
        self.known.insert(peer, Publisher::Closed);
    }

    /// Forgets those who may send as much at once as somebody new.
    fn forget_rested(&mut self, now: Instant) {
        self.known.retain(|_, publisher| match publisher {
            Publisher::Spent(until) => *until > now,
            Publisher::Closed => true,
        });
        self.forget_at = KNOWN_MIN.max(2 * self.known.len());
        self.known.shrink_to(self.forget_at);
    }

    /// The peer is gone. Returns whether it was to be closed.
    pub(super) fn on_closed(&mut self, peer: Token) -> bool {
        matches!(self.known.remove(&peer), Some(Publisher::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64) -> Token {
        Token::from_bits(number)
    }

    /// How many messages a peer gets through at one moment.
    fn burst(publishers: &mut Publishers, peer: Token, now: Instant) -> usize {
        (0..100_000)
            .take_while(|_| publishers.on_message(peer, now) == Verdict::Publish)
            .count()
    }

    #[test]
    fn twice_the_rate_at_once_and_then_the_end() {
        let now = Instant::now();
        for rate in [1, 3, 7, 5000] {
            let mut publishers = Publishers::new(Some(rate));
            assert_eq!(burst(&mut publishers, peer(1), now), 2 * rate);
            assert_eq!(publishers.on_message(peer(1), now), Verdict::Ignore);
            let later = now + Duration::from_secs(60);
            assert_eq!(publishers.on_message(peer(1), later), Verdict::Ignore);
            assert_eq!(
                burst(&mut publishers, peer(2), now),
                2 * rate,
                "another peer"
            );
            assert!(publishers.on_closed(peer(1)));
            assert!(!publishers.on_closed(peer(1)), "it is forgotten");
        }
    }

    #[test]
    fn the_rate_may_be_kept_up_for_ever() {
        let mut now = Instant::now();
        let mut publishers = Publishers::new(Some(50));
        for _ in 0..1000 {
            for _ in 0..50 {
                assert_eq!(publishers.on_message(peer(1), now), Verdict::Publish);
            }
            now += Duration::from_secs(1);
        }
        // A long pause saves up no more than a short one.
        now += Duration::from_secs(1000);
        assert_eq!(burst(&mut publishers, peer(1), now), 100);
        assert!(publishers.on_closed(peer(1)));
    }

    #[test]
    fn those_who_rest_are_forgotten_and_those_who_are_closed_are_not() {
        let mut now = Instant::now();
        let mut publishers = Publishers::new(Some(1000));
        publishers.refuse(peer(0));
        for number in 1..10_000 {
            assert_eq!(publishers.on_message(peer(number), now), Verdict::Publish);
            now += Duration::from_micros(100);
        }
        // A message takes up the time of ten steps.
        assert!(publishers.known.len() <= KNOWN_MIN, "{publishers:?}");
        assert_eq!(publishers.on_message(peer(0), now), Verdict::Ignore);
        // None of a crowd that publishes at the same time is forgotten too early.
        now += Duration::from_secs(1);
        for number in 1..1000 {
            assert_eq!(publishers.on_message(peer(number), now), Verdict::Publish);
        }
        assert_eq!(burst(&mut publishers, peer(1), now), 2000 - 1);
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let now = Instant::now();
        let mut publishers = Publishers::new(None);
        assert_eq!(burst(&mut publishers, peer(1), now), 100_000);
        assert!(publishers.known.is_empty());
        publishers.refuse(peer(1));
        assert_eq!(publishers.on_message(peer(1), now), Verdict::Ignore);
        assert!(publishers.on_closed(peer(1)));
        assert_eq!(publishers.on_message(peer(1), now), Verdict::Publish);
    }
}
