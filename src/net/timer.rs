//! Deadlines of connections, soonest first. Pure: time is an argument.
//!
//! A connection has at most one deadline and keeps it beside its state, so a changed deadline replaces
//! the old entry and the set never holds more entries than there are connections.

use std::{collections::BTreeSet, time::Instant};

use super::token::Token;

/// The deadlines of all connections.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Instant, Token)>,
}

impl Deadlines {
    /// Replaces the deadline of `token`; `current` is the connection's own record of it.
    pub(crate) fn set(
        &mut self,
        token: Token,
        current: &mut Option<Instant>,
        new: Option<Instant>,
    ) {
        if *current == new {
            return;
        }
        if let Some(old) = *current {
            self.by_time.remove(&(old, token));
        }
        if let Some(new) = new {
            self.by_time.insert((new, token));
        }
        *current = new;
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(when, _)| *when)
    }

    /// Takes one deadline that is due. The caller clears the connection's record of it.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Token> {
        let (when, _) = *self.by_time.first()?;
        if when > now {
            return None;
        }
        self.by_time.pop_first().map(|(_, token)| token)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::token::Generation;

    #[test]
    fn a_new_deadline_replaces_the_old_one() {
        let start = Instant::now();
        let token = Token::new(7, Generation::FIRST);
        let mut deadlines = Deadlines::default();
        let mut current = None;
        deadlines.set(token, &mut current, Some(start + Duration::from_secs(1)));
        deadlines.set(token, &mut current, Some(start + Duration::from_secs(3)));
        assert_eq!(deadlines.pop_due(start + Duration::from_secs(2)), None);
        assert_eq!(
            deadlines.pop_due(start + Duration::from_secs(3)),
            Some(token)
        );
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn deadlines_come_in_order_of_time() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        let tokens: Vec<_> = (0..3)
            .map(|slot| Token::new(slot, Generation::FIRST))
            .collect();
        for (token, seconds) in tokens.iter().zip([3, 1, 2]) {
            deadlines.set(
                *token,
                &mut None,
                Some(start + Duration::from_secs(seconds)),
            );
        }
        let later = start + Duration::from_secs(9);
        let order: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(later)).collect();
        assert_eq!(order, [tokens[1], tokens[2], tokens[0]]);
    }
}
