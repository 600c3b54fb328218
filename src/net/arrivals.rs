//! Accepted connections that have not upgraded yet: whose turn it is to be read, and who is there longest. Pure.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use super::{admission, token::Token};
use crate::config::Subnet;

/// Those that have something to be read. Networks take turns, in each of them addresses, and in each address whoever
/// came first; who has not waited lately comes before who has. Who floods keeps others of its own waiting, and nobody
/// else for longer than what is done at once.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    networks: Turns<OfNetwork>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.networks.count
    }

    pub(super) fn push(&mut self, address: IpAddr, token: Token) {
        let of_network = self.networks.line(admission::network(address));
        of_network.push(address, token);
    }

    pub(super) fn pop(&mut self) -> Option<Token> {
        self.networks
            .next(OfNetwork::pop, |of_network| of_network.len() == 0)
    }
}

/// Those of one network, whose addresses take turns.
#[derive(Debug, Default)]
pub(super) struct OfNetwork {
    addresses: Turns<VecDeque<Token>>,
}

impl OfNetwork {
    pub(super) fn len(&self) -> usize {
        self.addresses.count
    }

    pub(super) fn push(&mut self, address: IpAddr, token: Token) {
        let line = self.addresses.line(admission::place(address));
        line.push_back(token);
    }

    pub(super) fn pop(&mut self) -> Option<Token> {
        self.addresses.next(VecDeque::pop_front, VecDeque::is_empty)
    }

    pub(super) fn retain(&mut self, keeps: impl Fn(Token) -> bool) {
        let lines = self.addresses.lines.values_mut();
        lines.for_each(|line| line.retain(|token| keeps(*token)));
        self.addresses.count = self.addresses.lines.values().map(VecDeque::len).sum();
    }
}

/// Lines of those who wait, and which one is next.
#[derive(Debug)]
struct Turns<L> {
    /// Lines that are new come first, once.
    fresh: VecDeque<Subnet>,
    order: VecDeque<Subnet>,
    lines: HashMap<Subnet, L>,
    /// Who waits, in all lines.
    count: usize,
}

impl<L> Default for Turns<L> {
    fn default() -> Self {
        Self {
            fresh: VecDeque::new(),
            order: VecDeque::new(),
            lines: HashMap::new(),
            count: 0,
        }
    }
}

impl<L: Default> Turns<L> {
    /// The line of those who came from there, for one more.
    fn line(&mut self, place: Subnet) -> &mut L {
        self.count += 1;
        self.lines.entry(place).or_insert_with(|| {
            self.fresh.push_back(place);
            L::default()
        })
    }

    /// Takes one of the line that is next.
    fn next(
        &mut self,
        take: impl Fn(&mut L) -> Option<Token>,
        is_empty: impl Fn(&L) -> bool,
    ) -> Option<Token> {
        loop {
            let (place, is_fresh) = match self.fresh.pop_front() {
                Some(place) => (place, true),
                None => (self.order.pop_front()?, false),
            };
            let line = self.lines.get_mut(&place)?;
            let token = take(line);
            // A line that came before others is not new again until these have had their turn.
            let stays = !is_empty(line) || is_fresh && !self.order.is_empty();
            match stays {
                true => self.order.push_back(place),
                false => _ = self.lines.remove(&place),
            }
            if token.is_some() {
                self.count -= 1;
                return token;
            }
        }
    }
}

/// All of them in the order in which they came, among some that are over by now.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    tokens: VecDeque<Token>,
}

/// So many may be over before they are looked for.
pub(super) const OVER_MAX: usize = 64;

/// Of so many that are kept, whether more may be over than the `count` that are not, at most.
pub(super) fn are_mostly_over(kept: usize, count: usize) -> bool {
    kept > 2 * count + OVER_MAX
}

impl Unfinished {
    /// Adds one; `count` of them are not over, and `is_over` tells which are.
    pub(super) fn push(&mut self, token: Token, count: usize, is_over: impl Fn(Token) -> bool) {
        if are_mostly_over(self.tokens.len(), count) {
            self.tokens.retain(|token| !is_over(*token));
        }
        self.tokens.push_back(token);
    }

    /// Those that are there longest, the first of them not over.
    pub(super) fn oldest(
        &mut self,
        is_over: impl Fn(Token) -> bool,
    ) -> impl Iterator<Item = Token> {
        while self.tokens.front().is_some_and(|token| is_over(*token)) {
            self.tokens.pop_front();
        }
        self.tokens.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::net::token::Generation;

    fn token(slot: usize) -> Token {
        Token::new(slot, Generation::FIRST)
    }

    fn order(waiting: &mut Waiting) -> Vec<usize> {
        iter::from_fn(|| waiting.pop()).map(Token::slot).collect()
    }

    fn of(network: u8, last: u8) -> IpAddr {
        IpAddr::from([203, 0, network, last])
    }

    #[test]
    fn networks_take_turns_and_in_each_of_them_addresses() {
        let mut waiting = Waiting::default();
        // A flood of one address, another address of its network, and somebody else.
        for slot in 0..5 {
            waiting.push(of(113, 1), token(slot));
        }
        waiting.push(of(113, 2), token(5));
        waiting.push(of(114, 1), token(6));
        waiting.push(of(114, 1), token(7));
        assert_eq!(waiting.len(), 8);
        assert_eq!(order(&mut waiting), [0, 6, 5, 7, 1, 2, 3, 4]);
        assert_eq!(waiting.len(), 0);
        assert!(waiting.networks.lines.is_empty(), "nothing is kept");
    }

    #[test]
    fn who_comes_again_waits_for_the_others() {
        let mut waiting = Waiting::default();
        for slot in 0..3 {
            waiting.push(of(113, 1), token(slot));
        }
        waiting.push(of(114, 1), token(9));
        let first = waiting.pop().unwrap();
        waiting.push(of(113, 1), first);
        assert_eq!(order(&mut waiting), [9, 1, 2, 0]);
    }

    #[test]
    fn who_has_not_waited_comes_first_but_not_again_and_again() {
        let mut waiting = Waiting::default();
        for slot in 0..4 {
            waiting.push(of(113, 1), token(slot));
        }
        assert_eq!(waiting.pop(), Some(token(0)));
        for (slot, next) in [(8, 8), (9, 1)] {
            waiting.push(of(114, 1), token(slot));
            assert_eq!(waiting.pop(), Some(token(next)));
        }
        assert_eq!(order(&mut waiting), [9, 2, 3]);
    }

    #[test]
    fn each_address_of_this_machine_has_a_turn() {
        let mut waiting = Waiting::default();
        let here = |last| IpAddr::from([127, 0, 0, last]);
        waiting.push(here(1), token(0));
        waiting.push(here(1), token(1));
        waiting.push(here(2), token(2));
        waiting.push(of(113, 1), token(3));
        assert_eq!(order(&mut waiting), [0, 2, 3, 1]);
    }

    #[test]
    fn those_that_are_over_are_forgotten() {
        let mut unfinished = Unfinished::default();
        let is_over = |token: Token| !token.slot().is_multiple_of(100);
        for slot in 0..10_000 {
            unfinished.push(token(slot), slot.div_ceil(100), is_over);
        }
        assert!(unfinished.tokens.len() <= 2 * 100 + OVER_MAX + 1);
        let oldest = unfinished.oldest(|token| is_over(token) || token.slot() < 500);
        let first: Vec<_> = oldest.map(Token::slot).take(2).collect();
        assert_eq!(first, [500, 600]);
    }
}
