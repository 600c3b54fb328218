//! The addresses of one dial, and the connections started for them. Pure.

use std::{collections::VecDeque, mem, net::SocketAddr, time::Instant};

use super::Failure;
use crate::{
    config::limits::{ADDRESSES_PER_NAME_MAX, ATTEMPT_DELAY},
    net::{token::Token, upgrade::Offer},
};

/// An address to try, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) address: SocketAddr,
    pub(crate) offer: Offer,
}

/// One dial: the next address is tried after a moment or a failure, the first that connects is upgraded,
/// and the rest is there for when its upgrade fails.
#[derive(Debug)]
pub(super) struct Race {
    candidates: VecDeque<Candidate>,
    attempts: Vec<(Token, Candidate)>,
    /// What the first attempt at each address offers.
    offer: Offer,
    /// When the next address is tried.
    next_at: Instant,
    /// One attempt has connected; the other addresses wait for how its upgrade goes.
    is_upgrading: bool,
    /// Why the last attempt failed.
    failure: String,
    /// One of the addresses has led to this node itself.
    is_itself: bool,
}

/// How a race has ended.
pub(super) enum End {
    Itself,
    Failed(String),
}

impl Race {
    /// `failure` is what to tell if there is no address.
    pub(super) fn new(
        addresses: Vec<SocketAddr>,
        offer: Offer,
        failure: String,
        now: Instant,
    ) -> Self {
        let addresses = interleaved(addresses).into_iter();
        Self {
            candidates: addresses
                .map(|address| Candidate { address, offer })
                .collect(),
            attempts: Vec::new(),
            offer,
            next_at: now,
            is_upgrading: false,
            failure,
            is_itself: false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.is_upgrading && !self.candidates.is_empty()).then_some(self.next_at)
    }

    /// The next address to be tried, if it is time.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Candidate> {
        self.next_deadline().filter(|next_at| *next_at <= now)?;
        self.next_at = now + ATTEMPT_DELAY;
        self.candidates.pop_front()
    }

    pub(super) fn on_attempt(&mut self, token: Token, candidate: Candidate) {
        self.attempts.push((token, candidate));
    }

    /// Returns the other attempts; their addresses are tried again if the upgrade fails.
    pub(super) fn on_connected(&mut self, token: Token) -> Vec<Token> {
        self.is_upgrading = true;
        let mut others = Vec::new();
        self.attempts.retain(|(attempt, candidate)| {
            if *attempt != token {
                others.push(*attempt);
                self.candidates.push_front(*candidate);
            }
            *attempt == token
        });
        others
    }

    /// Whether an attempt that has come about offers less than the dial began with.
    pub(super) fn is_unoffered(&self, token: Token) -> bool {
        let offers = |(_, candidate): &(Token, Candidate)| candidate.offer;
        let attempt = self.attempts.iter().find(|(attempt, _)| *attempt == token);
        attempt.is_some_and(|attempt| offers(attempt) != self.offer)
    }

    /// An attempt has failed; one without a token could not even be started. Returns whether it mattered,
    /// and with `may_decline` whether its address is tried again without the offer.
    pub(super) fn on_failed(
        &mut self,
        token: Option<Token>,
        failure: Failure,
        may_decline: bool,
        now: Instant,
    ) -> Lost {
        let mut candidate = None;
        if let Some(token) = token {
            let place = self
                .attempts
                .iter()
                .position(|(attempt, _)| *attempt == token);
            let Some(place) = place else {
                // It was given up for a faster one.
                return Lost::Nothing;
            };
            candidate = Some(self.attempts.swap_remove(place).1);
        }
        self.is_upgrading = false;
        self.next_at = now;
        match (failure, candidate) {
            (Failure::Itself, _) => self.is_itself = true,
            (
                Failure::Declined(failure),
                Some(Candidate {
                    address,
                    offer: Offer::Subprotocol,
                }),
            ) if may_decline => {
                let offer = Offer::Nothing;
                self.candidates.push_front(Candidate { address, offer });
                return Lost::Offer(failure);
            }
            (Failure::Declined(failure) | Failure::Other(failure), _) => self.failure = failure,
        }
        Lost::Attempt
    }

    /// How it has ended, once nothing is left to be tried.
    pub(super) fn end(&mut self) -> Option<End> {
        if !self.attempts.is_empty() || !self.candidates.is_empty() {
            return None;
        }
        Some(match self.is_itself {
            true => End::Itself,
            false => End::Failed(mem::take(&mut self.failure)),
        })
    }
}

/// What the end of an attempt has cost.
pub(super) enum Lost {
    Nothing,
    /// The address is tried once more, without the offer that was declined so.
    Offer(String),
    Attempt,
}

/// Alternates the families, starting with the one the system prefers (RFC 8305 §4).
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == prefers_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut result = VecDeque::new();
    while result.len() < ADDRESSES_PER_NAME_MAX {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        result.extend(pair.into_iter().flatten());
    }
    result.truncate(ADDRESSES_PER_NAME_MAX);
    result
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::dialer::{
        Action, Outcome, Retry,
        tests::{FIRST, Test, connect, connect_for},
    };

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let many = (0..100)
            .map(|last| SocketAddr::from(([127, 0, 0, last], 1)))
            .collect();
        assert_eq!(interleaved(many).len(), ADDRESSES_PER_NAME_MAX);
    }

    #[test]
    fn families_alternate_a_quarter_second_apart() {
        let mut test = Test::new(&["ws://name:1"]);
        assert_eq!(test.actions(), [Action::Resolve(FIRST)]);
        test.resolve(&["[::1]:1", "[::2]:1", "127.0.0.1:1"]);
        for address in ["[::1]:1", "127.0.0.1:1", "[::2]:1"] {
            assert_eq!(test.actions(), [connect(address)]);
            test.attempt();
            test.pass(ATTEMPT_DELAY - Duration::from_millis(1));
            assert_eq!(test.actions(), []);
            test.pass(Duration::from_millis(1));
        }
        assert_eq!(test.actions(), []);
    }

    #[test]
    fn a_failed_address_gives_way_at_once_and_the_last_one_ends_the_dial() {
        let mut test = Test::new(&["ws://name:1"]);
        test.actions();
        test.resolve(&["[::1]:1", "127.0.0.1:1"]);
        test.actions();
        let first = test.attempt();
        assert_eq!(test.fail(first), Outcome::GoesOn);
        assert_eq!(test.actions(), [connect("127.0.0.1:1")]);
        let second = test.attempt();
        assert!(matches!(
            test.fail(second),
            Outcome::Failed {
                retry: Some(Retry { is_new: true, .. }),
                ..
            }
        ));
        assert_eq!(
            test.next_actions(),
            [Action::Resolve(FIRST)],
            "names are resolved afresh"
        );
    }

    #[test]
    fn the_first_that_connects_wins_and_the_rest_is_kept_for_a_failed_upgrade() {
        let mut test = Test::new(&["ws://name:1"]);
        test.actions();
        test.resolve(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        test.actions();
        let first = test.attempt();
        test.pass(ATTEMPT_DELAY);
        test.actions();
        let second = test.attempt();
        assert_eq!(test.dialer.on_connected(FIRST, second), [first]);
        assert_eq!(test.fail(first), Outcome::GoesOn, "it was given up");
        test.pass(ATTEMPT_DELAY);
        assert_eq!(test.actions(), [], "the upgrade is awaited");
        assert_eq!(test.fail(second), Outcome::GoesOn);
        assert_eq!(
            test.actions(),
            [connect("[::1]:1")],
            "it may only have been slow"
        );
        test.pass(ATTEMPT_DELAY);
        assert_eq!(test.actions(), [connect("127.0.0.2:1")]);
    }

    #[test]
    fn the_other_addresses_of_a_name_that_includes_oneself_are_tried() {
        let mut test = Test::new(&["ws://name:1"]);
        test.actions();
        test.resolve(&["127.0.0.1:1", "127.0.0.2:1"]);
        test.actions();
        let token = test.attempt();
        assert_eq!(test.meet_itself(token), Outcome::GoesOn);
        assert_eq!(test.actions(), [connect("127.0.0.2:1")]);
        let token = test.attempt();
        assert!(matches!(test.fail(token), Outcome::Itself { .. }));
    }

    #[test]
    fn who_declines_the_offer_is_dialed_without_it_at_once() {
        let mut test = Test::new(&["ws://name:1"]);
        test.actions();
        test.resolve(&["127.0.0.1:1", "127.0.0.2:1"]);
        assert_eq!(test.actions(), [connect("127.0.0.1:1")]);
        let token = test.attempt();
        test.dialer.on_connected(FIRST, token);
        let outcome = test.decline(token);
        assert!(matches!(outcome, Outcome::Unoffered { .. }), "{outcome:?}");
        let unoffered = connect_for(FIRST, "127.0.0.1:1", Offer::Nothing);
        assert_eq!(test.actions(), [unoffered]);
        let token = test.attempt();
        assert_eq!(
            test.decline(token),
            Outcome::GoesOn,
            "it was not for the offer"
        );
        assert_eq!(
            test.actions(),
            [connect("127.0.0.2:1")],
            "each gets the offer"
        );
    }
}
