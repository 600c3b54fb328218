//! Who of many is let go when, so that they do not come back all at once. Pure: time and chances are arguments.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, seq::SliceRandom};

use super::token::Token;
use crate::config::limits::DRAIN_PER_PEER;

/// Connections in the order in which they are let go.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    left: VecDeque<(Instant, Token)>,
}

impl Spread {
    /// The time that so many take: few need not all of it.
    pub(crate) fn time_for(count: usize, over: Duration) -> Duration {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        over.min(DRAIN_PER_PEER.saturating_mul(count))
    }

    /// Each has an equal part of the time for itself, in random order, and in it a random moment: no more than two
    /// are near each other, and nobody can tell when its time comes.
    pub(crate) fn new(
        mut who: Vec<Token>,
        over: Duration,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Self {
        who.shuffle(rng);
        let part = over.as_secs_f64() / who.len().max(1) as f64;
        let moments = who.into_iter().enumerate().map(|(place, token)| {
            let after = part * (place as f64 + rng.random::<f64>());
            (now + Duration::from_secs_f64(after), token)
        });
        Self {
            left: moments.collect(),
        }
    }

    /// When the next one goes.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.left.front().map(|(at, _)| *at)
    }

    /// One whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Token> {
        self.next_deadline().filter(|at| *at <= now)?;
        self.left.pop_front().map(|(_, token)| token)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::net::token::Generation;

    const OVER: Duration = Duration::from_secs(10);

    fn tokens(count: usize) -> Vec<Token> {
        let all = (0..count).map(|slot| Token::new(slot, Generation::FIRST));
        all.collect()
    }

    fn moments(count: usize, over: Duration, seed: u64) -> Vec<(Duration, Token)> {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let spread = Spread::new(tokens(count), over, now, &mut rng);
        let left = spread.left.into_iter();
        left.map(|(at, token)| (at - now, token)).collect()
    }

    #[test]
    fn all_go_within_the_time_and_never_many_at_once() {
        for count in [1, 2, 7, 100, 5000] {
            let moments = moments(count, OVER, count as u64);
            let who: BTreeSet<_> = moments.iter().map(|(_, token)| *token).collect();
            assert_eq!(who, tokens(count).into_iter().collect(), "each of them");
            assert!(moments.iter().all(|(at, _)| *at <= OVER));
            let window = OVER / 10;
            for begin in (0..10).map(|number| window * number) {
                let within = moments.iter();
                let within = within.filter(|(at, _)| *at >= begin && *at < begin + window);
                let fair = count / 10;
                let within = within.count();
                assert!(
                    within <= fair + 2 && within + 2 >= fair,
                    "{within} of {count}"
                );
            }
        }
        assert_eq!(moments(0, OVER, 1), []);
    }

    #[test]
    fn neither_the_order_nor_the_moments_can_be_guessed() {
        let (one, other) = (moments(100, OVER, 1), moments(100, OVER, 2));
        let order = |of: &[(Duration, Token)]| of.iter().map(|it| it.1).collect::<Vec<_>>();
        assert_ne!(order(&one), order(&other));
        let gaps = one.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let gaps: BTreeSet<_> = gaps.map(|gap| gap.as_millis() / 10).collect();
        assert!(gaps.len() > 5, "they do not go in step: {gaps:?}");
    }

    #[test]
    fn without_time_all_go_at_once_and_few_take_little() {
        assert!(
            moments(50, Duration::ZERO, 1)
                .iter()
                .all(|(at, _)| at.is_zero())
        );
        assert_eq!(Spread::time_for(0, OVER), Duration::ZERO);
        assert_eq!(Spread::time_for(3, OVER), 3 * DRAIN_PER_PEER);
        assert_eq!(Spread::time_for(100_000, OVER), OVER);
    }

    #[test]
    fn each_goes_when_its_time_has_come() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut spread = Spread::new(tokens(3), OVER, now, &mut rng);
        let mut gone = 0;
        while let Some(at) = spread.next_deadline() {
            assert_eq!(spread.pop_due(at - Duration::from_nanos(1)), None);
            assert!(spread.pop_due(at).is_some());
            gone += 1;
        }
        assert_eq!(gone, 3);
    }
}
