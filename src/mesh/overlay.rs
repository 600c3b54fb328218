//! Whom this node knows without being connected: after HyParView (Leitão, Pereira, Rodrigues 2007) a small
//! passive view, kept fresh by random walks, and beside it the dead, which are tried again now and then.
//! Pure; whom to connect to is decided in `upkeep`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};

use super::PeerKey;
use crate::{budget::Budget, config::PeerUrl, node_id::NodeId};

/// Addresses that are known beside those of the neighbors.
const PASSIVE_MAX: usize = 48;
const PASSIVE_AGE: Duration = Duration::from_secs(30 * 60);
/// Former neighbors that are gone.
const DEAD_MAX: usize = 32;
const DEAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Hosts that did not answer: not dialed again on the word of others for a while.
const FAILED_MAX: usize = 64;
const FAILED_AGE: Duration = Duration::from_secs(10 * 60);
/// Addresses by which this node has met itself, or others have met it.
const OWN_MAX: usize = 8;
const OWN_AGE: Duration = Duration::from_secs(60 * 60);
/// Attempts in vain after which nobody is asked to try again, for as long as they are remembered.
const UNREACHED_MAX: usize = 2;
/// Random walks of which the way back is remembered.
const ROUTES_MAX: usize = 256;
/// Random walks that are passed on at once, and then one in each interval: those of many neighbors together
/// must not take from one of them what it looks at of ours. Further ones end here.
const WALKS_BURST: u32 = 32;
const WALKS_INTERVAL: Duration = Duration::from_millis(250);
/// Dials at the same time, those left out of which nothing has been heard for a while: hosts that are silent
/// must not keep a node from those that are not.
pub(super) const DIALS_MAX: usize = 4;
/// After so long a dial is not counted on any more; it goes on.
pub(super) const DIAL_PATIENCE: Duration = Duration::from_secs(1);
/// Dials at the same time, all of them.
const DIALS_IN_ALL_MAX: usize = 12;
/// Dials in a row, as many as there are addresses; then one in each interval.
const DIALS_BURST: u32 = PASSIVE_MAX as u32;
const DIALS_INTERVAL: Duration = Duration::from_secs(10);

/// Why a node is dialed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A person has asked for it.
    Configured,
    /// To have enough neighbors.
    Fill,
    /// To have another neighbor in place of this one.
    Rotate(PeerKey),
    /// It was dead.
    Revive,
    /// To see whether this neighbor can be reached there.
    Verify(PeerKey, NodeId),
    /// To see how far it is.
    Measure,
}

/// A configured peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The network sees to it.
    No,
    /// There is another connection to this node.
    While(NodeId),
    /// It is full.
    Until(Instant),
}

#[derive(Debug)]
struct DialUnderWay {
    url: PeerUrl,
    purpose: Purpose,
    since: Instant,
}

impl DialUnderWay {
    fn is_hopeful(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < DIAL_PATIENCE
    }
}

#[derive(Debug)]
pub(super) struct Overlay {
    passive: Vec<(PeerUrl, Instant)>,
    dead: VecDeque<(PeerUrl, Instant)>,
    failed: BTreeMap<(String, u16), Instant>,
    /// Addresses of this node itself.
    selves: VecDeque<PeerUrl>,
    /// Addresses at which others say that they have reached this node.
    reached: VecDeque<(PeerUrl, Instant)>,
    /// When others have said that they have not.
    unreached: VecDeque<Instant>,
    dials: Vec<DialUnderWay>,
    dial_budget: Budget,
    /// To whom each walk goes back; ours end here.
    routes: VecDeque<(u64, Option<PeerKey>)>,
    pub(super) walks: Budget,
    configured: Vec<(PeerUrl, Rest)>,
}

impl Overlay {
    pub(super) fn new(configured: &[PeerUrl], now: Instant) -> Self {
        Self {
            passive: Vec::new(),
            dead: VecDeque::new(),
            failed: BTreeMap::new(),
            selves: VecDeque::new(),
            reached: VecDeque::new(),
            unreached: VecDeque::new(),
            dials: Vec::new(),
            dial_budget: Budget::new(DIALS_BURST, DIALS_INTERVAL, now),
            routes: VecDeque::new(),
            walks: Budget::new(WALKS_BURST, WALKS_INTERVAL, now),
            configured: configured
                .iter()
                .map(|url| (url.clone(), Rest::No))
                .collect(),
        }
    }

    pub(super) fn is_configured(&self, url: &PeerUrl) -> bool {
        self.configured
            .iter()
            .any(|(configured, _)| configured == url)
    }

    /// These are the configured peers from now on.
    pub(super) fn set_configured(&mut self, urls: &[PeerUrl]) {
        self.configured.retain(|(known, _)| urls.contains(known));
        for url in urls {
            if !self.is_configured(url) {
                self.forget(url);
                self.forget_dead(url);
                self.configured.push((url.clone(), Rest::No));
            }
        }
    }

    pub(super) fn is_own(&self, url: &PeerUrl) -> bool {
        self.selves.contains(url) || self.reached.iter().any(|(own, _)| own == url)
    }

    pub(super) fn set_rest(&mut self, url: &PeerUrl, rest: Rest) {
        let mut all = self.configured.iter_mut();
        if let Some((_, current)) = all.find(|(configured, _)| configured == url) {
            *current = rest;
        }
    }

    /// Ends the rest of configured peers where it is over, and returns them.
    pub(super) fn wake_resting(&mut self, is_over: impl Fn(Rest) -> bool) -> Vec<PeerUrl> {
        let resting = self
            .configured
            .iter_mut()
            .filter(|(_, rest)| *rest != Rest::No);
        let over = resting.filter(|(_, rest)| is_over(*rest));
        over.map(|(url, rest)| {
            *rest = Rest::No;
            url.clone()
        })
        .collect()
    }

    /// When the first rest ends.
    pub(super) fn next_rest_end(&self) -> Option<Instant> {
        let ends = self.configured.iter().filter_map(|(_, rest)| match rest {
            Rest::Until(until) => Some(*until),
            Rest::No | Rest::While(_) => None,
        });
        ends.min()
    }

    /// Takes an address in that others have told.
    pub(super) fn learn(&mut self, url: PeerUrl, now: Instant, rng: &mut impl Rng) {
        if self.has_failed(&url, now) || self.is_own(&url) || self.is_configured(&url) {
            return;
        }
        self.dead.retain(|(dead, _)| *dead != url);
        if let Some(known) = self.passive.iter_mut().find(|(known, _)| *known == url) {
            known.1 = now;
        } else if self.passive.len() < PASSIVE_MAX {
            self.passive.push((url, now));
        } else {
            let place = rng.random_range(0..self.passive.len() as u64) as usize;
            self.passive[place] = (url, now);
        }
    }

    /// A former neighbor is gone.
    pub(super) fn bury(&mut self, url: PeerUrl, now: Instant) {
        self.forget(&url);
        if self.is_configured(&url) || self.is_own(&url) {
            return;
        }
        self.dead.retain(|(dead, _)| *dead != url);
        self.dead.push_back((url, now));
        if self.dead.len() > DEAD_MAX {
            self.dead.pop_front();
        }
    }

    pub(super) fn forget(&mut self, url: &PeerUrl) {
        self.passive.retain(|(known, _)| known != url);
    }

    /// A dead one has come back as something else.
    pub(super) fn forget_dead(&mut self, url: &PeerUrl) {
        self.dead.retain(|(dead, _)| dead != url);
    }

    /// Forgets what has aged.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_fresh = |at: Instant, age| now.saturating_duration_since(at) < age;
        self.passive.retain(|(_, at)| is_fresh(*at, PASSIVE_AGE));
        self.dead.retain(|(_, at)| is_fresh(*at, DEAD_AGE));
        self.reached.retain(|(_, at)| is_fresh(*at, OWN_AGE));
        self.unreached.retain(|at| is_fresh(*at, OWN_AGE));
        self.failed.retain(|_, until| *until > now);
    }

    pub(super) fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// Addresses to tell somebody who looks for neighbors, in random order.
    pub(super) fn passive_sample(&self, rng: &mut impl Rng) -> Vec<&PeerUrl> {
        let mut sample: Vec<_> = self.passive.iter().map(|(url, _)| url).collect();
        shuffle(&mut sample, rng);
        sample
    }

    /// A random address that fits and is not being dialed.
    pub(super) fn candidate(
        &self,
        rng: &mut impl Rng,
        fits: impl Fn(&PeerUrl) -> bool,
    ) -> Option<PeerUrl> {
        let sample = self.passive_sample(rng).into_iter();
        let mut fitting = sample.filter(|url| !self.is_dialing(url) && fits(url));
        fitting.next().cloned()
    }

    /// The dead one that has waited longest.
    pub(super) fn next_dead(&mut self, fits: impl Fn(&PeerUrl) -> bool) -> Option<PeerUrl> {
        let place = self
            .dead
            .iter()
            .position(|(url, _)| !self.is_dialing(url) && fits(url))?;
        let (url, at) = self.dead.remove(place)?;
        self.dead.push_back((url.clone(), at));
        Some(url)
    }

    pub(super) fn is_dialing(&self, url: &PeerUrl) -> bool {
        self.dials.iter().any(|dial| dial.url == *url)
    }

    pub(super) fn is_dialing_for(&self, purpose: impl Fn(&Purpose) -> bool) -> bool {
        self.dials.iter().any(|dial| purpose(&dial.purpose))
    }

    /// Dials from which something is to be expected.
    pub(super) fn hopeful_dials(&self, purpose: impl Fn(&Purpose) -> bool, now: Instant) -> usize {
        let hopeful = self.dials.iter().filter(|dial| dial.is_hopeful(now));
        hopeful.filter(|dial| purpose(&dial.purpose)).count()
    }

    /// Notes a dial if there may be one more.
    pub(super) fn try_dial(&mut self, url: &PeerUrl, purpose: Purpose, now: Instant) -> bool {
        let may = self.hopeful_dials(|_| true, now) < DIALS_MAX
            && self.dials.len() < DIALS_IN_ALL_MAX
            && !self.is_dialing(url)
            && self.dial_budget.take(now);
        if may {
            self.dials.push(DialUnderWay {
                url: url.clone(),
                purpose,
                since: now,
            });
        }
        may
    }

    /// A dial is over, well or not. Returns what it was for.
    pub(super) fn end_dial(&mut self, url: &PeerUrl) -> Option<Purpose> {
        let place = self.dials.iter().position(|dial| dial.url == *url);
        if let Some(place) = place {
            return Some(self.dials.swap_remove(place).purpose);
        }
        self.is_configured(url).then_some(Purpose::Configured)
    }

    /// Whether nobody has answered there a while ago.
    pub(super) fn has_failed(&self, url: &PeerUrl, now: Instant) -> bool {
        let host = (url.host().to_owned(), url.port());
        self.failed.get(&host).is_some_and(|until| *until > now)
    }

    /// Nobody answers there, whatever the path.
    pub(super) fn on_failed(&mut self, url: &PeerUrl, now: Instant) {
        let is_there = |known: &PeerUrl| (known.host(), known.port()) == (url.host(), url.port());
        self.passive.retain(|(known, _)| !is_there(known));
        while self.failed.len() >= FAILED_MAX {
            let oldest = self.failed.iter().min_by_key(|(_, until)| **until);
            let oldest = oldest.map(|(host, _)| host.clone());
            oldest.and_then(|host| self.failed.remove(&host));
        }
        let host = (url.host().to_owned(), url.port());
        self.failed.insert(host, now + FAILED_AGE);
    }

    pub(super) fn on_itself(&mut self, url: &PeerUrl) {
        self.forget(url);
        self.forget_dead(url);
        self.selves.retain(|own| own != url);
        self.selves.push_back(url.clone());
        if self.selves.len() > OWN_MAX {
            self.selves.pop_front();
        }
    }

    /// Somebody has tried to reach this node at an address.
    pub(super) fn on_reached(&mut self, url: PeerUrl, is_reached: bool, now: Instant) {
        if !is_reached {
            self.unreached.push_back(now);
            if self.unreached.len() > UNREACHED_MAX {
                self.unreached.pop_front();
            }
            return;
        }
        self.unreached.clear();
        self.forget(&url);
        self.reached.retain(|(own, _)| *own != url);
        self.reached.push_back((url, now));
        if self.reached.len() > OWN_MAX {
            self.reached.pop_front();
        }
    }

    /// Whether nobody who has tried could reach this node.
    pub(super) fn is_out_of_reach(&self) -> bool {
        self.reached.is_empty() && self.unreached.len() >= UNREACHED_MAX
    }

    /// Addresses at which others have reached this node.
    pub(super) fn reached(&self) -> impl Iterator<Item = &PeerUrl> {
        self.reached.iter().map(|(url, _)| url)
    }

    /// Remembers the way back of a random walk.
    pub(super) fn remember(&mut self, walk: u64, from: Option<PeerKey>) {
        self.routes.push_back((walk, from));
        if self.routes.len() > ROUTES_MAX {
            self.routes.pop_front();
        }
    }

    /// Takes the way back of a random walk, if it is one of those remembered.
    pub(super) fn way_back(&mut self, walk: u64) -> Option<Option<PeerKey>> {
        let place = self.routes.iter().position(|(id, _)| *id == walk)?;
        self.routes.remove(place).map(|(_, from)| from)
    }

    pub(super) fn forget_routes(&mut self, peer: PeerKey) {
        self.routes.retain(|(_, from)| *from != Some(peer));
    }
}

/// Fisher and Yates; the same for the same generator on any machine.
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        let other = rng.random_range(0..=last as u64) as usize;
        items.swap(last, other);
    }
}
