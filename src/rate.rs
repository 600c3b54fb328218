//! How much of something may come in a second, for each of many. Pure: time is an argument.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Time that somebody may save up: with the rate of a second, what may come at once after a pause.
const SAVED_MAX: Duration = Duration::from_secs(2);

/// So many accounts are kept before those are forgotten that have saved up all their time.
const KEPT_MIN: usize = 64;

/// So much a second, with twice as much at once after a pause, for each of those who are named by a key.
///
/// What comes takes up time. Who has taken up all that it had saved is overdrawn. Nothing is kept of those who rest, so that
/// there are no more accounts than twice those who are active, and some.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    per_second: u64,
    /// Until when what came has taken up the time.
    spent: HashMap<K, Instant>,
    /// With so many it is time to forget some.
    forget_at: usize,
}

impl<K: Copy + Eq + Hash> Rates<K> {
    pub(crate) fn new(per_second: usize) -> Self {
        Self {
            per_second: (per_second as u64).max(1),
            spent: HashMap::new(),
            forget_at: KEPT_MIN,
        }
    }

    /// Takes so much, unless it is more than there is time for; whether it did.
    pub(crate) fn try_take(&mut self, key: K, amount: usize, now: Instant) -> bool {
        let time = self.time_for(amount);
        let spent = self.spent_by(key, now);
        let until = (*spent).max(now) + time;
        let is_within = overdraft(until, now).is_none();
        if is_within {
            *spent = until;
        }
        is_within
    }

    /// Takes so much, which has come already. Returns until when that is more than there is time for.
    pub(crate) fn take(&mut self, key: K, amount: usize, now: Instant) -> Option<Instant> {
        let time = self.time_for(amount);
        let spent = self.spent_by(key, now);
        *spent = (*spent).max(now) + time;
        overdraft(*spent, now)
    }

    /// Gives back of what was taken.
    pub(crate) fn give_back(&mut self, key: K, amount: usize) {
        let time = self.time_for(amount);
        if let Some(spent) = self.spent.get_mut(&key) {
            *spent = spent.checked_sub(time).unwrap_or(*spent);
        }
    }

    /// From when on so much can be taken, unless it can be now.
    pub(crate) fn wait_for(&self, key: K, amount: usize, now: Instant) -> Option<Instant> {
        let spent = self.spent.get(&key).copied().unwrap_or(now);
        overdraft(spent.max(now) + self.time_for(amount), now)
    }

    /// Until when somebody has taken more than there was time for.
    pub(crate) fn overdrawn_until(&self, key: K, now: Instant) -> Option<Instant> {
        overdraft(*self.spent.get(&key)?, now)
    }

    fn time_for(&self, amount: usize) -> Duration {
        let nanoseconds = amount as u128 * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_nanos(nanoseconds.try_into().unwrap_or(u64::MAX))
    }

    fn spent_by(&mut self, key: K, now: Instant) -> &mut Instant {
        if self.spent.len() >= self.forget_at {
            self.spent.retain(|_, until| *until > now);
            self.forget_at = KEPT_MIN.max(2 * self.spent.len());
            self.spent.shrink_to(self.forget_at);
        }
        self.spent.entry(key).or_insert(now)
    }
}

/// Until when it is more than anybody may save up that is spent until then.
fn overdraft(spent_until: Instant, now: Instant) -> Option<Instant> {
    let debt = spent_until.checked_duration_since(now + SAVED_MAX)?;
    (!debt.is_zero()).then(|| now + debt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How much goes through at one moment, one by one.
    fn burst(rates: &mut Rates<u32>, key: u32, now: Instant) -> usize {
        (0..100_000)
            .take_while(|_| rates.try_take(key, 1, now))
            .count()
    }

    #[test]
    fn twice_the_rate_at_once_and_then_the_rate() {
        let now = Instant::now();
        for rate in [1, 3, 7, 5000] {
            let mut rates = Rates::new(rate);
            assert_eq!(burst(&mut rates, 1, now), 2 * rate);
            assert_eq!(burst(&mut rates, 2, now), 2 * rate, "another one");
            assert_eq!(burst(&mut rates, 1, now + SECOND), rate);
            assert_eq!(burst(&mut rates, 1, now + 1000 * SECOND), 2 * rate);
        }
    }

    #[test]
    fn the_rate_may_be_kept_up_for_ever() {
        let mut now = Instant::now();
        let mut rates = Rates::new(50);
        for _ in 0..1000 {
            assert!((0..50).all(|_| rates.take(1, 1, now).is_none()));
            now += SECOND;
        }
    }

    #[test]
    fn what_has_come_already_is_made_up_for() {
        let now = Instant::now();
        let mut rates = Rates::new(1000);
        assert_eq!(rates.take(1, 2000, now), None);
        assert_eq!(rates.take(1, 500, now), Some(now + SECOND / 2));
        assert_eq!(rates.take(1, 2500, now), Some(now + 3 * SECOND));
        assert_eq!(
            rates.overdrawn_until(1, now + SECOND),
            Some(now + 3 * SECOND)
        );
        assert_eq!(rates.overdrawn_until(2, now), None);
        let until = now + 3 * SECOND;
        assert_eq!(rates.overdrawn_until(1, until), None);
        assert_eq!(rates.take(1, 1, until), Some(until + SECOND / 1000));
        // What was not let through takes up nothing.
        assert!(!rates.try_take(1, 1000, until));
        assert_eq!(rates.overdrawn_until(1, until), Some(until + SECOND / 1000));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let now = Instant::now();
        let mut rates = Rates::new(10);
        assert_eq!(rates.wait_for(1, 20, now), None);
        assert_eq!(burst(&mut rates, 1, now), 20);
        assert_eq!(rates.wait_for(1, 3, now), Some(now + 3 * SECOND / 10));
        for _ in 0..2 {
            rates.give_back(1, 2);
            assert_eq!(rates.wait_for(1, 2, now), None);
            assert_eq!(burst(&mut rates, 1, now), 2);
        }
        // Who has rested has no more than others.
        rates.give_back(1, 20);
        rates.give_back(2, 20);
        for key in [1, 2] {
            assert_eq!(burst(&mut rates, key, now + 9 * SECOND), 20);
        }
    }

    #[test]
    fn large_amounts_and_rates_are_exact_enough() {
        let now = Instant::now();
        let mut rates = Rates::new(1 << 30);
        for _ in 0..64 * 1024 {
            assert_eq!(rates.take(1, 32 << 10, now), None);
        }
        // What is less than a nanosecond is not counted.
        assert!((0..10).any(|_| rates.take(1, 32 << 10, now).is_some()));
        assert!(rates.take(2, usize::MAX, now).is_some());
    }

    #[test]
    fn those_who_rest_are_forgotten_and_the_others_are_not() {
        let mut now = Instant::now();
        let mut rates = Rates::new(1000);
        for key in 0..10_000 {
            assert!(rates.try_take(key, 1, now));
            now += Duration::from_micros(100);
        }
        // One takes up the time of ten steps.
        assert!(rates.spent.len() <= KEPT_MIN, "{rates:?}");
        // None of a crowd that comes at the same time is forgotten too early.
        now += SECOND;
        assert!((0..1000).all(|key| rates.try_take(key, 1, now)));
        assert_eq!(burst(&mut rates, 1, now), 2000 - 1);
    }
}
