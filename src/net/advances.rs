//! TLS handshakes that were begun and have not come to an upgrade: how many of them a network may cause. Pure: time is an
//! argument.
//!
//! To answer a ClientHello takes the node a quarter of a millisecond, in which everybody else waits; to send one takes
//! nothing. So what is computed for a handshake is an advance, which the upgrade gives back. A network that has had too
//! many of them waits, until time has made up for one or somebody has upgraded: crowds that come back after an outage are
//! let in as fast as they go on, and who never goes on takes little of the node.

use std::{
    collections::{BTreeSet, HashMap},
    iter,
    net::IpAddr,
    time::Instant,
};

use super::{
    admission,
    arrivals::{self, OfNetwork},
    token::Token,
};
use crate::{
    config::{Subnet, limits::TLS_ADVANCES_PER_SECOND},
    rate::Rates,
};

#[derive(Debug)]
pub(super) struct Advances {
    rates: Rates<Subnet>,
    /// Networks of which somebody waits.
    lines: HashMap<Subnet, Line>,
    /// When the next of each of them may have one.
    due: BTreeSet<(Instant, Subnet)>,
}

#[derive(Debug)]
struct Line {
    waiting: OfNetwork,
    due: Instant,
}

impl Advances {
    pub(super) fn new() -> Self {
        Self {
            rates: Rates::new(TLS_ADVANCES_PER_SECOND),
            lines: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// An advance for a connection from this address, if there is one now. Otherwise the connection is to wait until
    /// [`Self::next`] names it.
    pub(super) fn take(&mut self, address: IpAddr, token: Token, now: Instant) -> bool {
        let network = admission::network(address);
        let line = match self.lines.get_mut(&network) {
            Some(line) => line,
            None if self.rates.try_take(network, 1, now) => return true,
            None => {
                let due = self.rates.wait_for(network, 1, now).unwrap_or(now);
                self.due.insert((due, network));
                let waiting = OfNetwork::default();
                self.lines.entry(network).or_insert(Line { waiting, due })
            }
        };
        line.waiting.push(address, token);
        false
    }

    /// An upgrade has followed.
    pub(super) fn give_back(&mut self, address: IpAddr, now: Instant) {
        let network = admission::network(address);
        self.rates.give_back(network, 1);
        self.put_off(network, now);
    }

    /// When there may be one for somebody who waits.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Somebody who has waited and has an advance now; `is_over` tells who does not want it any more.
    pub(super) fn next(&mut self, now: Instant, is_over: impl Fn(Token) -> bool) -> Option<Token> {
        loop {
            let (_, network) = *self.due.first().filter(|(due, _)| *due <= now)?;
            if let Some(later) = self.rates.wait_for(network, 1, now) {
                self.put_off(network, later);
                continue;
            }
            let line = self.lines.get_mut(&network)?;
            let mut waiting = iter::from_fn(|| line.waiting.pop());
            let Some(token) = waiting.find(|token| !is_over(*token)) else {
                self.lines.remove(&network);
                self.due.pop_first();
                continue;
            };
            self.rates.take(network, 1, now);
            self.put_off(network, now);
            return Some(token);
        }
    }

    /// The next of a network may have one then and not before, if anybody waits.
    fn put_off(&mut self, network: Subnet, due: Instant) {
        if let Some(line) = self.lines.get_mut(&network) {
            self.due.remove(&(line.due, network));
            line.due = due;
            self.due.insert((due, network));
        }
    }

    /// Forgets those who do not want one any more, if they may be most; of those who wait `count` do at most.
    pub(super) fn tidy(&mut self, count: usize, is_over: impl Fn(Token) -> bool) {
        let waiting: usize = self.lines.values().map(|line| line.waiting.len()).sum();
        if arrivals::are_mostly_over(waiting, count) {
            for line in self.lines.values_mut() {
                line.waiting.retain(|token| !is_over(token));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::token::Generation;

    const AT_ONCE: usize = 2 * TLS_ADVANCES_PER_SECOND;
    const EACH: Duration = Duration::from_nanos(1_000_000_000 / TLS_ADVANCES_PER_SECOND as u64);

    fn token(slot: usize) -> Token {
        Token::new(slot, Generation::FIRST)
    }

    fn of(network: u8, last: u8) -> IpAddr {
        IpAddr::from([203, 0, network, last])
    }

    /// So many connections of one address, from this slot on.
    fn crowd(advances: &mut Advances, address: IpAddr, from: usize, count: usize, now: Instant) {
        for slot in from..from + count {
            _ = advances.take(address, token(slot), now);
        }
    }

    fn all(advances: &mut Advances, now: Instant) -> Vec<usize> {
        let next = || advances.next(now, |_| false);
        iter::from_fn(next).map(Token::slot).collect()
    }

    #[test]
    fn who_never_goes_on_waits_and_nobody_of_another_network_does() {
        let now = Instant::now();
        let mut advances = Advances::new();
        for slot in 0..AT_ONCE {
            assert!(advances.take(of(113, 1), token(slot), now));
        }
        crowd(&mut advances, of(113, 1), AT_ONCE, 10, now);
        assert!(advances.take(of(114, 1), token(0), now));
        assert_eq!(advances.next_deadline(), Some(now + EACH));
        assert!(all(&mut advances, now).is_empty());
        assert_eq!(all(&mut advances, now + EACH), [AT_ONCE]);
        // Another address of the network has the next turn.
        assert!(!advances.take(of(113, 2), token(1000), now + EACH));
        assert_eq!(all(&mut advances, now + 3 * EACH), [1000, AT_ONCE + 1]);
        // Long afterwards there is no more than what may come at once, and nobody is forgotten.
        let later = now + Duration::from_secs(100);
        assert_eq!(all(&mut advances, later).len(), 8);
        assert!(advances.lines.is_empty() && advances.due.is_empty());
    }

    #[test]
    fn an_upgrade_lets_the_next_one_on() {
        let now = Instant::now();
        let mut advances = Advances::new();
        crowd(&mut advances, of(113, 1), 0, AT_ONCE + 500, now);
        for slot in AT_ONCE..AT_ONCE + 500 {
            assert!(all(&mut advances, now).is_empty());
            advances.give_back(of(113, 1), now);
            assert_eq!(all(&mut advances, now), [slot]);
        }
    }

    #[test]
    fn those_who_are_gone_are_passed_over_and_forgotten() {
        let now = Instant::now();
        let mut advances = Advances::new();
        crowd(&mut advances, of(113, 1), 0, AT_ONCE, now);
        let is_over = |token: Token| !token.slot().is_multiple_of(100);
        for slot in 1..10_000 {
            assert!(!advances.take(of(113, 1), token(slot), now));
            advances.tidy(slot / 100, is_over);
        }
        let count: usize = advances.lines.values().map(|line| line.waiting.len()).sum();
        assert!(count <= 2 * 99 + arrivals::OVER_MAX, "{count}");
        for slot in [100, 200] {
            advances.give_back(of(113, 1), now);
            assert_eq!(advances.next(now, is_over), Some(token(slot)));
        }
        // Who is gone costs the others nothing.
        advances.give_back(of(113, 1), now);
        assert_eq!(advances.next(now, |_| true), None);
        assert!(advances.take(of(113, 1), token(1), now));
    }
}
