//! Whom to dial, and when. Pure: the network does what [`Dialer::poll`] says and tells how it went.
//!
//! Each configured peer is dialed for ever, by itself: resolve its name, race its addresses (the next
//! one after 250 ms or a failure, RFC 8305 in spirit), upgrade the first that connects, and fall back to
//! the remaining addresses if the upgrade fails. After a failure or a loss it waits, longer each time.
//! What the node wants to be dialed beside them is dialed once, and forgotten when that has led to
//! nothing or the connection has ended.
//!
//! A dial offers our subprotocol. Some servers refuse a request with one that they do not know, so a
//! configured peer that does is dialed without at once, and so for some time.

mod peer;
mod race;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::Rng;

pub(crate) use self::{peer::Tenure, race::Candidate};
use self::{
    peer::{Peer, Progress},
    race::Lost,
};
use super::token::Token;
use crate::config::{Limits, PeerUrl, ProxyConfig, ProxyUrl, limits::DIALS_MAX};

/// Names one URL that is dialed. Never given to another one, so that a stale one leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DialId(u32);

/// What the network should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask for the addresses of this peer.
    Resolve(DialId),
    /// Start a connection for this peer.
    Connect(DialId, Candidate),
}

/// Why an attempt has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It led to this node itself.
    Itself,
    /// It may have been for the subprotocol that was offered.
    Declined(String),
    Other(String),
}

/// Why what was to be dialed could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialFailure {
    Unreachable,
    /// The URL leads to this node itself.
    Itself,
}

/// When a peer is dialed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) wait: Duration,
    /// It was another failure than the one before: worth to be told.
    pub(crate) is_new: bool,
}

/// What came of the end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Other addresses are still being tried, or it did not matter.
    GoesOn,
    /// It is tried again at once without the offer.
    Unoffered { url: PeerUrl, failure: String },
    /// Nothing more can be tried, or not before the time to retry.
    Failed {
        url: PeerUrl,
        failure: String,
        retry: Option<Retry>,
    },
    /// The URL leads to this node, and to nobody else that can be reached. It is left alone from now on.
    Itself { url: PeerUrl, tenure: Tenure },
}

#[derive(Debug)]
pub(crate) struct Dialer {
    peers: BTreeMap<DialId, Peer>,
    next_id: DialId,
    proxies: ProxyConfig,
    limits: Limits,
    is_stopped: bool,
}

impl Dialer {
    pub(crate) fn new(urls: &[PeerUrl], proxies: &ProxyConfig, limits: &Limits) -> Self {
        let mut dialer = Self {
            peers: BTreeMap::new(),
            next_id: DialId(0),
            proxies: proxies.clone(),
            limits: limits.clone(),
            is_stopped: false,
        };
        for url in urls {
            dialer.add(url, Tenure::Kept);
        }
        dialer
    }

    /// `None` once it is forgotten.
    pub(crate) fn url(&self, id: DialId) -> Option<&PeerUrl> {
        self.peers.get(&id).map(|peer| &peer.url)
    }

    /// The proxy that it is dialed through, if it is.
    pub(crate) fn proxy(&self, id: DialId) -> Option<&ProxyUrl> {
        self.peers.get(&id)?.proxy.as_ref()
    }

    /// Host and port to connect to: of a proxy, or of the peer itself.
    pub(crate) fn place(&self, id: DialId) -> Option<(&str, u16)> {
        self.peers.get(&id).map(Peer::place)
    }

    /// All proxies that there may be.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = &ProxyUrl> {
        self.proxies.all()
    }

    /// Whether a person has asked for this peer.
    pub(crate) fn is_configured(&self, id: DialId) -> bool {
        let tenure = self.peers.get(&id).map(|peer| peer.tenure);
        tenure.is_some_and(|tenure| tenure != Tenure::Once)
    }

    /// Dials a peer now, unless that is under way or has led to a connection: a configured one from now on
    /// again and again, another one once.
    ///
    /// # Errors
    /// It is known to lead to this node, or too much is being dialed.
    pub(crate) fn dial(&mut self, url: &PeerUrl) -> Result<(), DialFailure> {
        if self.is_stopped {
            return Ok(());
        }
        if let Some(peer) = self.peers.values_mut().find(|peer| peer.url == *url) {
            return peer.want();
        }
        let is_dial = |peer: &&Peer| peer.tenure == Tenure::Once && peer.is_under_way();
        if self.peers.values().filter(is_dial).count() >= DIALS_MAX {
            return Err(DialFailure::Unreachable);
        }
        self.add(url, Tenure::Once);
        Ok(())
    }

    /// Leaves a configured peer alone until [`Self::dial`]. What is under way goes on.
    pub(crate) fn rest(&mut self, url: &PeerUrl) {
        let peers = self.peers.values_mut();
        peers
            .filter(|peer| peer.url == *url)
            .for_each(|peer| peer.rest());
    }

    /// These are dialed again and again from now on, and no others. What is under way goes on, and who is connected is
    /// dialed no more when that has ended.
    pub(crate) fn keep(&mut self, urls: &[PeerUrl]) {
        for url in urls {
            match self.peers.values_mut().find(|peer| peer.url == *url) {
                Some(peer) => peer.keep(),
                None => self.add(url, Tenure::Kept),
            }
        }
        let is_gone = |peer: &&mut Peer| peer.tenure != Tenure::Once && !urls.contains(&peer.url);
        self.peers
            .values_mut()
            .filter(is_gone)
            .for_each(|peer| peer.release());
        self.peers.retain(|_, peer| !peer.is_over());
    }

    /// Others hold from the next dial on.
    pub(crate) fn reconfigure(&mut self, proxies: &ProxyConfig, limits: &Limits) {
        (self.proxies, self.limits) = (proxies.clone(), limits.clone());
        for peer in self.peers.values_mut() {
            let proxy = self.proxies.proxy_for(&peer.url).cloned();
            peer.reconfigure(proxy, limits);
        }
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
            .values()
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
            .find_map(|(id, peer)| peer.poll(*id, now))
    }

    /// The name was resolved, or could not be.
    pub(crate) fn on_resolved(
        &mut self,
        id: DialId,
        addresses: Result<Vec<SocketAddr>, String>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Outcome::GoesOn;
        };
        if self.is_stopped || !matches!(peer.progress, Progress::Resolving) {
            return Outcome::GoesOn;
        }
        let (addresses, failure) = match addresses {
            Ok(addresses) => (addresses, "its name has no address".to_owned()),
            Err(error) => (Vec::new(), error),
        };
        peer.race(addresses, failure, now);
        self.settle(id, now, rng)
    }

    /// The connection for an address that was handed out is under way.
    pub(crate) fn on_attempt(&mut self, id: DialId, token: Token, candidate: Candidate) {
        if let Some(Progress::Trying(race)) = self.progress(id) {
            race.on_attempt(token, candidate);
        }
    }

    /// TCP is connected. Returns the other attempts, to be ended; their addresses are tried again if
    /// the upgrade fails.
    pub(crate) fn on_connected(&mut self, id: DialId, token: Token) -> Vec<Token> {
        match self.progress(id) {
            Some(Progress::Trying(race)) => race.on_connected(token),
            _ => Vec::new(),
        }
    }

    /// The upgrade is done.
    pub(crate) fn on_opened(&mut self, id: DialId, token: Token, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            let is_unoffered = match &peer.progress {
                Progress::Trying(race) => race.is_unoffered(token),
                _ => false,
            };
            peer.on_opened(is_unoffered, now);
        }
    }

    /// A connection that was not opened has ended, or could not even be started (no token).
    pub(crate) fn on_attempt_failed(
        &mut self,
        id: DialId,
        token: Option<Token>,
        failure: Failure,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&id).filter(|_| !self.is_stopped) else {
            return Outcome::GoesOn;
        };
        // What is dialed once is wanted as a neighbor, and that knows our subprotocol.
        let may_decline = peer.tenure != Tenure::Once;
        let Progress::Trying(race) = &mut peer.progress else {
            return Outcome::GoesOn;
        };
        match race.on_failed(token, failure, may_decline, now) {
            Lost::Nothing => Outcome::GoesOn,
            Lost::Offer(failure) => Outcome::Unoffered {
                url: peer.url.clone(),
                failure,
            },
            Lost::Attempt => self.settle(id, now, rng),
        }
    }

    /// A connection that was open has ended.
    pub(crate) fn on_lost(&mut self, id: DialId, now: Instant, rng: &mut impl Rng) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.on_lost(now, rng);
            self.forget_if_over(id);
        }
    }

    fn progress(&mut self, id: DialId) -> Option<&mut Progress> {
        self.peers.get_mut(&id).map(|peer| &mut peer.progress)
    }

    fn settle(&mut self, id: DialId, now: Instant, rng: &mut impl Rng) -> Outcome {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Outcome::GoesOn;
        };
        let outcome = peer.settle(now, rng);
        self.forget_if_over(id);
        outcome
    }

    fn forget_if_over(&mut self, id: DialId) {
        if self.peers.get(&id).is_some_and(Peer::is_over) {
            self.peers.remove(&id);
        }
    }

    fn add(&mut self, url: &PeerUrl, tenure: Tenure) {
        // Ids start over after four thousand million dials; the configured peers keep theirs.
        while self.peers.contains_key(&self.next_id) {
            self.next_id.0 = self.next_id.0.wrapping_add(1);
        }
        let proxy = self.proxies.proxy_for(url).cloned();
        let peer = Peer::new(url.clone(), proxy, tenure, &self.limits);
        self.peers.insert(self.next_id, peer);
        self.next_id.0 = self.next_id.0.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::net::{token::Generation, upgrade::Offer};

    /// The peer that is configured first, and what is dialed first beside a single one.
    pub(super) const FIRST: DialId = DialId(0);
    pub(super) const SECOND: DialId = DialId(1);

    pub(super) fn url(text: &str) -> PeerUrl {
        text.parse().unwrap()
    }

    /// A dialer and what a network would know of it.
    pub(super) struct Test {
        pub(super) dialer: Dialer,
        pub(super) now: Instant,
        rng: StdRng,
        generation: Generation,
        /// The candidate handed out last.
        last: Option<(DialId, Candidate)>,
    }

    impl Test {
        pub(super) fn new(urls: &[&str]) -> Self {
            let urls: Vec<PeerUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
            Self {
                dialer: Dialer::new(&urls, &ProxyConfig::default(), &Limits::default()),
                now: Instant::now(),
                rng: StdRng::seed_from_u64(7),
                generation: Generation::FIRST,
                last: None,
            }
        }

        pub(super) fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        pub(super) fn actions(&mut self) -> Vec<Action> {
            let actions: Vec<_> = std::iter::from_fn(|| self.dialer.poll(self.now)).collect();
            for action in &actions {
                if let Action::Connect(id, candidate) = action {
                    self.last = Some((*id, *candidate));
                }
            }
            actions
        }

        pub(super) fn resolve(&mut self, addresses: &[&str]) -> Outcome {
            let addresses = addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            self.dialer
                .on_resolved(FIRST, Ok(addresses), self.now, &mut self.rng)
        }

        pub(super) fn attempt(&mut self) -> Token {
            self.generation = self.generation.next();
            let token = Token::new(0, self.generation);
            let (id, candidate) = self.last.expect("one was handed out");
            self.dialer.on_attempt(id, token, candidate);
            token
        }

        pub(super) fn end(&mut self, token: Token, failure: Failure) -> Outcome {
            let (now, rng) = (self.now, &mut self.rng);
            let (id, _) = self.last.expect("one was handed out");
            self.dialer
                .on_attempt_failed(id, Some(token), failure, now, rng)
        }

        pub(super) fn fail(&mut self, token: Token) -> Outcome {
            self.end(token, Failure::Other("refused".to_owned()))
        }

        pub(super) fn decline(&mut self, token: Token) -> Outcome {
            self.end(token, Failure::Declined("answered 400".to_owned()))
        }

        pub(super) fn meet_itself(&mut self, token: Token) -> Outcome {
            self.end(token, Failure::Itself)
        }

        pub(super) fn open(&mut self, token: Token) {
            let (id, _) = self.last.expect("one was handed out");
            assert_eq!(self.dialer.on_connected(id, token), []);
            self.dialer.on_opened(id, token, self.now);
        }

        pub(super) fn lose(&mut self) {
            let (id, _) = self.last.expect("one was handed out");
            self.dialer.on_lost(id, self.now, &mut self.rng);
        }

        /// Waits until something is dialed, and opens it. Returns what was offered.
        pub(super) fn next_offer(&mut self) -> (Offer, Token) {
            assert_eq!(self.next_actions().len(), 1);
            let (_, candidate) = self.last.expect("one was handed out");
            (candidate.offer, self.attempt())
        }

        /// Waits as long as the dialer says, then returns what it wants.
        pub(super) fn next_actions(&mut self) -> Vec<Action> {
            self.now = self
                .dialer
                .next_deadline(self.now)
                .expect("something is due some time");
            self.actions()
        }
    }

    pub(super) fn connect_for(id: DialId, address: &str, offer: Offer) -> Action {
        let address = address.parse().unwrap();
        Action::Connect(id, Candidate { address, offer })
    }

    pub(super) fn connect(address: &str) -> Action {
        connect_for(FIRST, address, Offer::Subprotocol)
    }

    #[test]
    fn an_address_is_dialed_without_the_resolver() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        assert_eq!(test.actions(), [connect("127.0.0.1:1")]);
        test.attempt();
        assert_eq!(test.dialer.next_deadline(test.now), None);
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
        test.dialer.on_connected(FIRST, token);
        let outcome = test.meet_itself(token);
        assert!(matches!(
            outcome,
            Outcome::Itself {
                tenure: Tenure::Kept,
                ..
            }
        ));
        assert_eq!(test.dialer.next_deadline(test.now), None);
        let wanted = test.dialer.dial(&url("ws://127.0.0.1:1"));
        assert_eq!(wanted, Err(DialFailure::Itself));
        assert_eq!(test.actions(), []);
    }

    #[test]
    fn peers_do_not_wait_for_one_another() {
        let mut test = Test::new(&["ws://name:1", "ws://127.0.0.1:2"]);
        let second = connect_for(SECOND, "127.0.0.1:2", Offer::Subprotocol);
        assert_eq!(test.actions(), [Action::Resolve(FIRST), second]);
    }

    #[test]
    fn what_is_dialed_once_is_forgotten_after_a_failure() {
        let mut test = Test::new(&[]);
        let other = url("ws://127.0.0.1:1");
        assert_eq!(test.dialer.dial(&other), Ok(()));
        assert_eq!(test.dialer.dial(&other), Ok(()), "it is being dialed");
        assert_eq!(test.actions(), [connect("127.0.0.1:1")]);
        assert_eq!(test.dialer.dial(&other), Ok(()), "it is being dialed");
        assert_eq!(test.actions(), []);
        let token = test.attempt();
        let Outcome::Failed { url, retry, .. } = test.decline(token) else {
            panic!("a server that declines the offer is no neighbor");
        };
        assert_eq!((&url, retry), (&other, None));
        assert_eq!(test.dialer.url(FIRST), None);
        assert_eq!(test.dialer.next_deadline(test.now), None);
        // The next one is not taken for it.
        assert_eq!(test.dialer.dial(&other), Ok(()));
        assert_eq!(test.fail(token), Outcome::GoesOn);
        let again = connect_for(SECOND, "127.0.0.1:1", Offer::Subprotocol);
        assert_eq!(test.actions(), [again]);
    }

    #[test]
    fn what_is_dialed_once_is_forgotten_after_a_loss() {
        let mut test = Test::new(&[]);
        let other = url("ws://127.0.0.1:1");
        test.dialer.dial(&other).unwrap();
        test.actions();
        let token = test.attempt();
        test.open(token);
        assert_eq!(test.dialer.dial(&other), Ok(()), "it is connected");
        assert_eq!(test.actions(), []);
        test.dialer.rest(&other);
        assert_eq!(test.dialer.url(FIRST), Some(&other));
        test.lose();
        assert_eq!(test.dialer.url(FIRST), None);
        assert_eq!(test.dialer.next_deadline(test.now), None);
    }

    #[test]
    fn dials_under_way_are_bounded_and_connections_are_not() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        let other = |port| url(&format!("ws://127.0.0.2:{port}"));
        for port in 1..=DIALS_MAX {
            assert_eq!(test.dialer.dial(&other(port)), Ok(()));
        }
        let refused = test.dialer.dial(&other(99));
        assert_eq!(refused, Err(DialFailure::Unreachable));
        assert_eq!(
            test.dialer.dial(&url("ws://127.0.0.1:1")),
            Ok(()),
            "configured"
        );
        assert_eq!(test.actions().len(), DIALS_MAX + 1);
        let token = test.attempt();
        test.open(token);
        assert_eq!(test.dialer.dial(&other(99)), Ok(()));
    }

    #[test]
    fn who_has_stopped_dials_nobody() {
        let mut test = Test::new(&[]);
        test.dialer.stop();
        assert_eq!(test.dialer.dial(&url("ws://127.0.0.1:1")), Ok(()));
        assert_eq!(test.actions(), []);
    }
}
