//! Whom to dial, and when. Pure: the network does what [`Dialer::poll`] says and tells how it went.
//!
//! Each configured peer is dialed for ever, by itself: resolve its name, race its addresses (the next
//! one after 250 ms or a failure, RFC 8305 in spirit), upgrade the first that connects, and fall back to
//! the remaining addresses if the upgrade fails. After a failure or a loss it waits, longer each time.

use std::{
    collections::VecDeque,
    mem,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::Rng;

use super::{backoff::Backoff, token::Token};
use crate::config::{
    Limits, PeerUrl,
    limits::{ADDRESSES_PER_NAME_MAX, ATTEMPT_DELAY, RESET_AFTER},
};

/// What the network should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask for the addresses of this peer.
    Resolve(usize),
    /// Start a connection for this peer.
    Connect(usize, SocketAddr),
}

#[derive(Debug)]
enum Progress {
    /// Nothing under way before then; `None`: at once.
    Waiting(Option<Instant>),
    Resolving,
    Trying(Race),
    Connected {
        since: Instant,
    },
    /// The URL leads to this node.
    Itself,
}

/// The addresses of a peer, and the connections started for it.
#[derive(Debug, Default)]
struct Race {
    addresses: VecDeque<SocketAddr>,
    attempts: Vec<(Token, SocketAddr)>,
    /// When the next address is tried.
    next_at: Option<Instant>,
    /// One attempt has connected; the other addresses wait for how its upgrade goes.
    is_upgrading: bool,
    /// Why the last attempt failed.
    failure: String,
    /// One of the addresses has led to this node itself.
    is_itself: bool,
}

#[derive(Debug)]
struct Peer {
    url: PeerUrl,
    backoff: Backoff,
    progress: Progress,
    /// The failure that was logged last, so that a lasting one is not repeated for ever.
    reported: Option<String>,
}

/// What came of the end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Other addresses are still being tried, or it did not matter.
    GoesOn,
    /// Nothing more can be tried until `wait` is over.
    Failed {
        failure: String,
        wait: Duration,
        /// It is another failure than the one before: worth to be told.
        is_new: bool,
    },
    /// The URL leads to this node, and to nobody else that can be reached. It is left alone from now on.
    Itself,
}

#[derive(Debug)]
pub(crate) struct Dialer {
    peers: Vec<Peer>,
    is_stopped: bool,
}

impl Dialer {
    pub(crate) fn new(urls: &[PeerUrl], limits: &Limits) -> Self {
        let peers = urls.iter().map(|url| Peer {
            url: url.clone(),
            backoff: Backoff::new(limits.retry_min, limits.retry_max),
            progress: Progress::Waiting(None),
            reported: None,
        });
        Self {
            peers: peers.collect(),
            is_stopped: false,
        }
    }

    pub(crate) fn url(&self, peer: usize) -> &PeerUrl {
        &self.peers[peer].url
    }

    /// Dials nobody any more.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// When [`Self::poll`] should be called again.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if self.is_stopped {
            return None;
        }
        self.peers
            .iter()
            .filter_map(|peer| peer.next_deadline(now))
            .min()
    }

    /// What is to be done now; call until there is nothing left.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.is_stopped {
            return None;
        }
        self.peers
            .iter_mut()
            .enumerate()
            .find_map(|(index, peer)| peer.poll(index, now))
    }

    /// The name was resolved, or could not be.
    pub(crate) fn on_resolved(
        &mut self,
        peer: usize,
        addresses: Result<Vec<SocketAddr>, String>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Outcome {
        if self.is_stopped {
            return Outcome::GoesOn;
        }
        let peer = &mut self.peers[peer];
        let (addresses, failure) = match addresses {
            Ok(addresses) => (addresses, "its name has no address".to_owned()),
            Err(error) => (Vec::new(), error),
        };
        peer.progress = Progress::Trying(Race {
            addresses: interleaved(addresses),
            failure,
            next_at: Some(now),
            ..Race::default()
        });
        peer.settle(now, rng)
    }

    /// The connection for an address that was handed out is under way.
    pub(crate) fn on_attempt(&mut self, peer: usize, token: Token, address: SocketAddr) {
        if let Progress::Trying(race) = &mut self.peers[peer].progress {
            race.attempts.push((token, address));
        }
    }

    /// TCP is connected. Returns the other attempts, to be ended; their addresses are tried again if
    /// the upgrade fails.
    pub(crate) fn on_connected(&mut self, peer: usize, token: Token) -> Vec<Token> {
        let Progress::Trying(race) = &mut self.peers[peer].progress else {
            return Vec::new();
        };
        race.is_upgrading = true;
        let mut others = Vec::new();
        race.attempts.retain(|(attempt, address)| {
            if *attempt != token {
                others.push(*attempt);
                race.addresses.push_front(*address);
            }
            *attempt == token
        });
        others
    }

    /// The upgrade is done.
    pub(crate) fn on_opened(&mut self, peer: usize, now: Instant) {
        let peer = &mut self.peers[peer];
        peer.progress = Progress::Connected { since: now };
        peer.reported = None;
    }

    /// A connection that was not opened has ended, or could not even be started (no token). Why is
    /// `None` if it led to this node itself.
    pub(crate) fn on_attempt_failed(
        &mut self,
        peer: usize,
        token: Option<Token>,
        failure: Option<String>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Outcome {
        if self.is_stopped {
            return Outcome::GoesOn;
        }
        let peer = &mut self.peers[peer];
        let Progress::Trying(race) = &mut peer.progress else {
            return Outcome::GoesOn;
        };
        if let Some(token) = token {
            let Some(index) = race
                .attempts
                .iter()
                .position(|(attempt, _)| *attempt == token)
            else {
                // It was given up for a faster one.
                return Outcome::GoesOn;
            };
            race.attempts.swap_remove(index);
        }
        match failure {
            Some(failure) => race.failure = failure,
            None => race.is_itself = true,
        }
        race.is_upgrading = false;
        race.next_at = Some(now);
        peer.settle(now, rng)
    }

    /// A connection that was open has ended.
    pub(crate) fn on_lost(&mut self, peer: usize, now: Instant, rng: &mut impl Rng) {
        let peer = &mut self.peers[peer];
        if let Progress::Connected { since } = peer.progress {
            if now.saturating_duration_since(since) >= RESET_AFTER {
                peer.backoff.reset();
            }
            peer.wait(now, rng);
        }
    }
}

impl Peer {
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match &self.progress {
            Progress::Waiting(until) => Some(until.unwrap_or(now)),
            Progress::Trying(race) if !race.is_upgrading && !race.addresses.is_empty() => {
                race.next_at
            }
            _ => None,
        }
    }

    fn poll(&mut self, index: usize, now: Instant) -> Option<Action> {
        if self.next_deadline(now)? > now {
            return None;
        }
        if let Progress::Waiting(_) = self.progress {
            let Ok(ip) = self.url.host().parse::<IpAddr>() else {
                self.progress = Progress::Resolving;
                return Some(Action::Resolve(index));
            };
            let addresses = VecDeque::from([SocketAddr::new(ip, self.url.port())]);
            self.progress = Progress::Trying(Race {
                addresses,
                ..Race::default()
            });
        }
        let Progress::Trying(race) = &mut self.progress else {
            return None;
        };
        race.next_at = Some(now + ATTEMPT_DELAY);
        race.addresses
            .pop_front()
            .map(|address| Action::Connect(index, address))
    }

    /// Sees whether the race is over.
    fn settle(&mut self, now: Instant, rng: &mut impl Rng) -> Outcome {
        let Progress::Trying(race) = &mut self.progress else {
            return Outcome::GoesOn;
        };
        if !race.attempts.is_empty() || !race.addresses.is_empty() {
            return Outcome::GoesOn;
        }
        if race.is_itself {
            self.progress = Progress::Itself;
            return Outcome::Itself;
        }
        let failure = mem::take(&mut race.failure);
        let is_new = self.reported.as_ref() != Some(&failure);
        self.reported = Some(failure.clone());
        Outcome::Failed {
            failure,
            wait: self.wait(now, rng),
            is_new,
        }
    }

    fn wait(&mut self, now: Instant, rng: &mut impl Rng) -> Duration {
        let wait = self.backoff.next(rng);
        self.progress = Progress::Waiting(Some(now + wait));
        wait
    }
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
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::net::token::Generation;

    struct Test {
        dialer: Dialer,
        now: Instant,
        rng: StdRng,
        generation: Generation,
        /// The address handed out last.
        last: SocketAddr,
    }

    impl Test {
        fn new(urls: &[&str]) -> Self {
            let urls: Vec<PeerUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
            Self {
                dialer: Dialer::new(&urls, &Limits::default()),
                now: Instant::now(),
                rng: StdRng::seed_from_u64(7),
                generation: Generation::FIRST,
                last: SocketAddr::from(([0, 0, 0, 0], 0)),
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        fn actions(&mut self) -> Vec<Action> {
            let actions: Vec<_> = std::iter::from_fn(|| self.dialer.poll(self.now)).collect();
            for action in &actions {
                if let Action::Connect(_, address) = action {
                    self.last = *address;
                }
            }
            actions
        }

        fn resolve(&mut self, addresses: &[&str]) -> Outcome {
            let addresses = addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            self.dialer
                .on_resolved(0, Ok(addresses), self.now, &mut self.rng)
        }

        fn attempt(&mut self) -> Token {
            self.generation = self.generation.next();
            let token = Token::new(0, self.generation);
            self.dialer.on_attempt(0, token, self.last);
            token
        }

        fn fail(&mut self, token: Token) -> Outcome {
            let failure = Some("refused".to_owned());
            self.dialer
                .on_attempt_failed(0, Some(token), failure, self.now, &mut self.rng)
        }

        fn meet_itself(&mut self, token: Token) -> Outcome {
            let (now, rng) = (self.now, &mut self.rng);
            self.dialer
                .on_attempt_failed(0, Some(token), None, now, rng)
        }

        /// Waits as long as the dialer says, then returns what it wants.
        fn next_actions(&mut self) -> Vec<Action> {
            self.now = self
                .dialer
                .next_deadline(self.now)
                .expect("something is due some time");
            self.actions()
        }
    }

    fn connect(address: &str) -> Action {
        Action::Connect(0, address.parse().unwrap())
    }

    #[test]
    fn an_address_is_dialed_without_the_resolver() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        assert_eq!(test.actions(), [connect("127.0.0.1:1")]);
        test.attempt();
        assert_eq!(test.dialer.next_deadline(test.now), None);
    }

    #[test]
    fn families_alternate_a_quarter_second_apart() {
        let mut test = Test::new(&["ws://name:1"]);
        assert_eq!(test.actions(), [Action::Resolve(0)]);
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
            Outcome::Failed { is_new: true, .. }
        ));
        assert_eq!(
            test.next_actions(),
            [Action::Resolve(0)],
            "names are resolved afresh"
        );
    }

    #[test]
    fn a_lasting_failure_is_told_once() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        let mut told = 0;
        for _ in 0..20 {
            assert_eq!(test.next_actions(), [connect("127.0.0.1:1")]);
            let token = test.attempt();
            let Outcome::Failed { is_new, wait, .. } = test.fail(token) else {
                panic!("goes on")
            };
            told += usize::from(is_new);
            assert!(wait <= Limits::default().retry_max);
        }
        assert_eq!(told, 1);
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
        assert_eq!(test.dialer.on_connected(0, second), [first]);
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
    fn only_a_connection_that_held_resets_the_backoff() {
        for (held, longest_wait) in [
            (Duration::ZERO, Duration::from_secs(60)),
            (RESET_AFTER, Duration::from_secs(1)),
        ] {
            let mut test = Test::new(&["ws://127.0.0.1:1"]);
            let mut waits = Vec::new();
            for _ in 0..50 {
                test.next_actions();
                let token = test.attempt();
                test.dialer.on_connected(0, token);
                test.dialer.on_opened(0, test.now);
                test.pass(held);
                test.dialer.on_lost(0, test.now, &mut test.rng);
                let next = test
                    .dialer
                    .next_deadline(test.now)
                    .expect("it is dialed again");
                waits.push(next - test.now);
            }
            let longest = waits.into_iter().max().unwrap();
            assert!(
                longest <= longest_wait && longest > longest_wait.mul_f64(0.8),
                "{longest:?}"
            );
        }
    }

    #[test]
    fn a_name_without_address_is_a_failure() {
        let mut test = Test::new(&["ws://name:1"]);
        test.actions();
        let Outcome::Failed { failure, .. } = test.resolve(&[]) else {
            panic!("goes on")
        };
        assert_eq!(failure, "its name has no address");
    }

    #[test]
    fn oneself_is_left_alone() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        test.actions();
        let token = test.attempt();
        test.dialer.on_connected(0, token);
        assert_eq!(test.meet_itself(token), Outcome::Itself);
        assert_eq!(test.dialer.next_deadline(test.now), None);
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
        assert_eq!(test.fail(token), Outcome::Itself);
    }

    #[test]
    fn peers_do_not_wait_for_one_another() {
        let mut test = Test::new(&["ws://name:1", "ws://127.0.0.1:2"]);
        let second = Action::Connect(1, "127.0.0.1:2".parse().unwrap());
        assert_eq!(test.actions(), [Action::Resolve(0), second]);
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let many = (0..100)
            .map(|last| SocketAddr::from(([127, 0, 0, last], 1)))
            .collect();
        assert_eq!(interleaved(many).len(), ADDRESSES_PER_NAME_MAX);
    }
}
