//! One URL that is dialed: when, and what has come of it. Pure.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::Rng;

use super::{
    Action, DialFailure, DialId, Outcome, Retry,
    race::{End, Race},
};
use crate::{
    config::{
        Limits, PeerUrl, ProxyUrl,
        limits::{RESET_AFTER, UNOFFERED_DIALS},
    },
    net::{backoff::Backoff, upgrade::Offer},
};

/// For how long a URL is dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// For ever: it is configured.
    Kept,
    /// Configured, and left alone until the node wants it.
    Resting,
    /// Once.
    Once,
}

#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing under way before then; `None`: at once.
    Waiting(Option<Instant>),
    Resolving,
    Trying(Race),
    Connected {
        since: Instant,
    },
    /// Nothing until the node wants it.
    Idle,
    /// The URL leads to this node.
    Itself,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) url: PeerUrl,
    /// What it is dialed through.
    pub(super) proxy: Option<ProxyUrl>,
    pub(super) tenure: Tenure,
    pub(super) progress: Progress,
    backoff: Backoff,
    /// So many dials more leave our subprotocol out: it was only had without.
    unoffered_dials: u32,
    /// The failure that was logged last, so that a lasting one is not repeated for ever.
    reported: Option<String>,
}

impl Peer {
    pub(super) fn new(
        url: PeerUrl,
        proxy: Option<ProxyUrl>,
        tenure: Tenure,
        limits: &Limits,
    ) -> Self {
        Self {
            url,
            proxy,
            tenure,
            progress: Progress::Waiting(None),
            backoff: Backoff::new(limits.retry_min, limits.retry_max),
            unoffered_dials: 0,
            reported: None,
        }
    }

    /// Host and port to connect to.
    pub(super) fn place(&self) -> (&str, u16) {
        match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (self.url.host(), self.url.port()),
        }
    }

    /// A dial that is not over and holds no connection that is open.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(
            self.progress,
            Progress::Connected { .. } | Progress::Idle | Progress::Itself
        )
    }

    /// Nothing will come of it any more.
    pub(super) fn is_over(&self) -> bool {
        let is_done = matches!(self.progress, Progress::Idle | Progress::Itself);
        self.tenure == Tenure::Once && is_done
    }

    /// The node wants it now.
    pub(super) fn want(&mut self) -> Result<(), DialFailure> {
        if self.tenure == Tenure::Resting {
            self.tenure = Tenure::Kept;
        }
        match self.progress {
            Progress::Waiting(_) | Progress::Idle => self.progress = Progress::Waiting(None),
            Progress::Resolving | Progress::Trying(_) | Progress::Connected { .. } => {}
            Progress::Itself => return Err(DialFailure::Itself),
        }
        Ok(())
    }

    /// It is configured from now on.
    pub(super) fn keep(&mut self) {
        if self.tenure == Tenure::Once {
            self.tenure = Tenure::Kept;
        }
    }

    /// It is not configured any more. What is under way goes on.
    pub(super) fn release(&mut self) {
        self.tenure = Tenure::Once;
        if let Progress::Waiting(_) = self.progress {
            self.progress = Progress::Idle;
        }
    }

    /// Others hold from the next dial on.
    pub(super) fn reconfigure(&mut self, proxy: Option<ProxyUrl>, limits: &Limits) {
        self.proxy = proxy;
        self.backoff.set_bounds(limits.retry_min, limits.retry_max);
    }

    /// The node does not want it for now. What is under way goes on.
    pub(super) fn rest(&mut self) {
        if self.tenure == Tenure::Once {
            return;
        }
        self.tenure = Tenure::Resting;
        if let Progress::Waiting(_) = self.progress {
            self.progress = Progress::Idle;
        }
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match &self.progress {
            Progress::Waiting(until) => Some(until.unwrap_or(now)),
            Progress::Trying(race) => race.next_deadline(),
            _ => None,
        }
    }

    pub(super) fn poll(&mut self, id: DialId, now: Instant) -> Option<Action> {
        if self.next_deadline(now)? > now {
            return None;
        }
        if let Progress::Waiting(_) = self.progress {
            let (host, port) = self.place();
            let Ok(ip) = host.parse::<IpAddr>() else {
                self.progress = Progress::Resolving;
                return Some(Action::Resolve(id));
            };
            let address = SocketAddr::new(ip, port);
            self.race(vec![address], String::new(), now);
        }
        let Progress::Trying(race) = &mut self.progress else {
            return None;
        };
        let candidate = race.poll(now)?;
        Some(Action::Connect(id, candidate))
    }

    /// Starts to try addresses; `failure` is what to tell if there are none.
    pub(super) fn race(&mut self, addresses: Vec<SocketAddr>, failure: String, now: Instant) {
        let offer = match self.unoffered_dials {
            0 => Offer::Subprotocol,
            _ => Offer::Nothing,
        };
        self.unoffered_dials = self.unoffered_dials.saturating_sub(1);
        self.progress = Progress::Trying(Race::new(addresses, offer, failure, now));
    }

    /// Sees whether the race is over.
    pub(super) fn settle(&mut self, now: Instant, rng: &mut impl Rng) -> Outcome {
        let Progress::Trying(race) = &mut self.progress else {
            return Outcome::GoesOn;
        };
        let failure = match race.end() {
            None => return Outcome::GoesOn,
            Some(End::Itself) => {
                self.progress = Progress::Itself;
                return Outcome::Itself {
                    url: self.url.clone(),
                    tenure: self.tenure,
                };
            }
            Some(End::Failed(failure)) => failure,
        };
        self.unoffered_dials = 0;
        let is_new = self.reported.as_ref() != Some(&failure);
        self.reported = Some(failure.clone());
        let wait = self.wait(now, rng);
        Outcome::Failed {
            url: self.url.clone(),
            failure,
            retry: wait.map(|wait| Retry { wait, is_new }),
        }
    }

    pub(super) fn on_opened(&mut self, is_unoffered: bool, now: Instant) {
        if is_unoffered {
            self.unoffered_dials = UNOFFERED_DIALS;
        }
        self.progress = Progress::Connected { since: now };
        self.reported = None;
    }

    pub(super) fn on_lost(&mut self, now: Instant, rng: &mut impl Rng) {
        if let Progress::Connected { since } = self.progress {
            if now.saturating_duration_since(since) >= RESET_AFTER {
                self.backoff.reset();
            }
            self.wait(now, rng);
        }
    }

    /// Nothing is under way any more. Returns how long it waits for the next dial, if there is to be one.
    fn wait(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Duration> {
        let wait = self.backoff.next(rng);
        let is_kept = self.tenure == Tenure::Kept;
        self.progress = match is_kept {
            true => Progress::Waiting(Some(now + wait)),
            false => Progress::Idle,
        };
        is_kept.then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::net::dialer::tests::{FIRST, SECOND, Test, connect, connect_for, url};

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
                test.open(token);
                test.pass(held);
                test.lose();
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
    fn a_lasting_failure_is_told_once() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        let mut told = 0;
        for _ in 0..20 {
            assert_eq!(test.next_actions(), [connect("127.0.0.1:1")]);
            let token = test.attempt();
            let Outcome::Failed {
                retry: Some(retry), ..
            } = test.fail(token)
            else {
                panic!("goes on")
            };
            told += usize::from(retry.is_new);
            assert!(retry.wait <= Limits::default().retry_max);
        }
        assert_eq!(told, 1);
    }

    #[test]
    fn what_was_had_without_the_offer_is_offered_it_again_after_some_losses() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        let mut offers = 0;
        for _ in 0..3 {
            let (offer, token) = test.next_offer();
            assert_eq!(offer, Offer::Subprotocol);
            test.decline(token);
            offers += 1;
            for _ in 0..=UNOFFERED_DIALS {
                let (offer, token) = test.next_offer();
                assert_eq!(offer, Offer::Nothing, "after {offers} offers");
                test.open(token);
                test.lose();
            }
        }
        let (offer, token) = test.next_offer();
        assert_eq!(offer, Offer::Subprotocol);
        test.open(token);
        test.lose();
        assert_eq!(
            test.next_offer().0,
            Offer::Subprotocol,
            "nothing was declined"
        );
    }

    #[test]
    fn a_failure_without_the_offer_brings_it_back() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        let (_, token) = test.next_offer();
        test.decline(token);
        let (_, token) = test.next_offer();
        test.open(token);
        test.lose();
        let (offer, token) = test.next_offer();
        assert_eq!(offer, Offer::Nothing);
        assert!(matches!(test.decline(token), Outcome::Failed { .. }));
        assert_eq!(test.next_offer().0, Offer::Subprotocol);
    }

    #[test]
    fn a_configured_peer_rests_until_it_is_wanted() {
        let configured = url("ws://127.0.0.1:1");
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        test.dialer.rest(&configured);
        assert_eq!(test.dialer.next_deadline(test.now), None);
        test.dialer.dial(&configured).unwrap();
        let (_, token) = test.next_offer();
        // What is under way goes on, and is not repeated.
        test.dialer.rest(&configured);
        assert!(matches!(
            test.fail(token),
            Outcome::Failed { retry: None, .. }
        ));
        assert_eq!(test.dialer.next_deadline(test.now), None);
        // From now on again and again.
        test.dialer.dial(&configured).unwrap();
        for _ in 0..3 {
            let (_, token) = test.next_offer();
            assert!(matches!(
                test.fail(token),
                Outcome::Failed { retry: Some(_), .. }
            ));
        }
        let (_, token) = test.next_offer();
        test.open(token);
        test.dialer.rest(&configured);
        test.lose();
        assert_eq!(test.dialer.next_deadline(test.now), None);
        assert_eq!(test.dialer.url(FIRST), Some(&configured));
    }

    #[test]
    fn who_is_configured_while_it_runs_is_dialed_for_ever_and_who_is_no_more_is_not() {
        let (one, two) = (url("ws://127.0.0.1:1"), url("ws://127.0.0.1:2"));
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        let (_, token) = test.next_offer();
        test.open(token);
        test.dialer.keep(&[one.clone(), two.clone()]);
        let second = connect_for(SECOND, "127.0.0.1:2", Offer::Subprotocol);
        assert_eq!(test.actions(), [second], "the first is connected");
        let token = test.attempt();
        // It is being tried, goes on, and is forgotten then.
        test.dialer.keep(std::slice::from_ref(&one));
        let outcome = test.fail(token);
        assert!(
            matches!(outcome, Outcome::Failed { retry: None, .. }),
            "{outcome:?}"
        );
        assert_eq!(test.dialer.url(SECOND), None);
        assert_eq!(test.dialer.next_deadline(test.now), None);
        // A connection that is there stays, and is not made again.
        test.dialer.keep(&[]);
        assert_eq!(test.dialer.url(FIRST), Some(&one));
        let (now, mut rng) = (test.now, StdRng::seed_from_u64(1));
        test.dialer.on_lost(FIRST, now, &mut rng);
        assert_eq!(test.dialer.url(FIRST), None);
        assert_eq!(test.dialer.next_deadline(test.now), None);
        // One that waits is given up at once.
        test.dialer.keep(std::slice::from_ref(&two));
        let (_, token) = test.next_offer();
        test.fail(token);
        assert!(test.dialer.next_deadline(test.now).is_some());
        test.dialer.keep(&[]);
        assert_eq!(test.dialer.next_deadline(test.now), None);
    }

    #[test]
    fn what_is_dialed_once_is_kept_once_it_is_configured() {
        let mut test = Test::new(&[]);
        let peer = url("ws://127.0.0.1:1");
        test.dialer.dial(&peer).unwrap();
        let (_, token) = test.next_offer();
        test.open(token);
        test.dialer.keep(std::slice::from_ref(&peer));
        test.lose();
        assert!(test.dialer.next_deadline(test.now).is_some());
    }

    #[test]
    fn a_peer_that_waits_is_dialed_at_once_when_it_is_wanted() {
        let mut test = Test::new(&["ws://127.0.0.1:1"]);
        while test.dialer.next_deadline(test.now) <= Some(test.now) {
            let (_, token) = test.next_offer();
            test.fail(token);
        }
        test.dialer.dial(&url("ws://127.0.0.1:1")).unwrap();
        assert_eq!(test.actions(), [connect("127.0.0.1:1")]);
    }
}
