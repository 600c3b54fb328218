//! Whom to connect to, and when: enough neighbors, fresh addresses, now and then another neighbor in place of
//! one, and the dead tried again, which is what joins the parts of a mesh that was cut.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{
    Mesh, Output, PeerKey, Side, code,
    control::{Control, NUMBER_MAX, Role, URLS_MAX},
    distance,
    neighbors::{Reach, Stage},
    overlay::{self, DIAL_PATIENCE, Purpose, Rest},
};
use crate::config::PeerUrl;

/// Time between two random walks, two rotations and two attempts to revive; each moved by up to a quarter.
const SHUFFLE_INTERVAL: Duration = Duration::from_secs(30);
const ROTATE_INTERVAL: Duration = Duration::from_secs(80);
const REVIVE_INTERVAL: Duration = Duration::from_secs(60);
/// Until the next random walk when a neighbor has come or gone and there are too few, then twice that, and so
/// on: those who are left should know of one another before the next one goes.
const SHUFFLE_INTERVAL_FEW: Duration = Duration::from_secs(1);
/// Between two attempts to revive, without any neighbor.
const REVIVE_INTERVAL_ALONE: Duration = Duration::from_secs(5);
/// Until the next look at the connections when something is wanted that cannot be had yet.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Between two dials that are only to see how far somebody is, and how many of them a node makes in its life.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);
const MEASURED_MAX: usize = 16;
/// Steps of a random walk.
const WALK_STEPS: u8 = 4;
/// Neighbors that a node wants which others cannot dial, or which relays for nobody.
const DEGREE_UNDIALABLE: usize = 3;
/// Neighbors whose address a node wants to know for certain, to tell it to others.
const VERIFIED_MIN: usize = 4;
/// With so few places left, a node wants to know who can be dialed and who takes another kind of place.
const PLACES_MIN: usize = 4;
/// Addresses that a node is told when there is no room for it.
const REDIRECT_MAX: usize = 6;

impl Mesh {
    /// These are the configured peers from now on, which the network dials by itself. Who was one and is not any more
    /// stays as any other neighbor.
    pub(crate) fn set_configured(&mut self, urls: &[PeerUrl], now: Instant) {
        self.overlay.set_configured(urls);
        for (url, purpose) in self.neighbors.purposes_mut() {
            match purpose {
                Some(Purpose::Configured) if !urls.contains(url) => *purpose = None,
                None | Some(Purpose::Fill) if urls.contains(url) => {
                    *purpose = Some(Purpose::Configured);
                }
                _ => {}
            }
        }
        self.wake_upkeep(now);
    }

    pub(super) fn wake_upkeep(&mut self, at: Instant) {
        let upkeep = &mut self.timers.upkeep;
        *upkeep = Some(upkeep.map_or(at, |current| current.min(at)));
    }

    /// A neighbor has come or gone.
    pub(super) fn on_change(&mut self, now: Instant) {
        self.walk_interval = SHUFFLE_INTERVAL_FEW;
        if self.neighbors.has_members() && self.has_few_neighbors() && self.withdrawal.is_none() {
            let soon = self.in_about(SHUFFLE_INTERVAL_FEW, now);
            let shuffle = self.timers.shuffle.get_or_insert(soon);
            *shuffle = soon.min(*shuffle);
        }
        self.wake_upkeep(now);
    }

    pub(super) fn look_after_connections(&mut self, now: Instant) {
        let is_due = |timer: Option<Instant>| timer.is_some_and(|at| at <= now);
        if is_due(self.timers.shuffle) {
            self.timers.shuffle = None;
            self.start_walk();
            self.wake_upkeep(now);
        }
        if is_due(self.timers.rotate) {
            self.timers.rotate = None;
            self.rotate(now);
            self.wake_upkeep(now);
        }
        if is_due(self.timers.measure) {
            self.timers.measure = None;
            self.measure(now);
            self.wake_upkeep(now);
        }
        if is_due(self.timers.revive) {
            self.timers.revive = None;
            self.revive(now);
            self.wake_upkeep(now);
        }
        if is_due(self.timers.upkeep) {
            self.timers.upkeep = None;
            self.upkeep(now);
        }
    }

    fn upkeep(&mut self, now: Instant) {
        self.overlay.expire(now);
        self.close_late(now);
        self.settle_all_doubles(now);
        if self.withdrawal.is_some() {
            let timers = &mut self.timers;
            (timers.shuffle, timers.rotate) = (None, None);
            (timers.revive, timers.measure) = (None, None);
            return;
        }
        self.wake_resting(|rest| matches!(rest, Rest::Until(until) if until <= now));
        if let Some(end) = self.overlay.next_rest_end() {
            self.wake_upkeep(end);
        }
        self.fill(now);
        self.verify(now);
        let is_search_over = self
            .begun_at
            .is_some_and(|at| now.saturating_duration_since(at) >= distance::SEARCH);
        self.tree.set_distance(self.distance.millis(is_search_over));
        self.set_timers(now);
    }

    /// Closes the connections on which something was to be said and was not.
    fn close_late(&mut self, now: Instant) {
        let mut late = Vec::new();
        let mut next: Option<Instant> = None;
        for (peer, neighbor) in self.neighbors.iter() {
            let (Stage::Greeting { until } | Stage::Probed { until }) = neighbor.stage else {
                continue;
            };
            if until <= now {
                late.push(peer);
            } else {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        for peer in late {
            self.release(peer, code::TRY_AGAIN, "no hello in time", now);
        }
        if let Some(next) = next {
            self.wake_upkeep(next);
        }
    }

    fn set_timers(&mut self, now: Instant) {
        if !self.neighbors.has_members() {
            self.timers.shuffle = None;
            self.timers.rotate = None;
        }
        if !self.overlay.has_dead() {
            self.timers.revive = None;
        }
        let is_alone = self.alone_since.is_some();
        if !is_alone && self.timers.shuffle.is_none() {
            let interval = if self.has_few_neighbors() {
                self.walk_interval = (2 * self.walk_interval).min(SHUFFLE_INTERVAL);
                self.walk_interval
            } else {
                SHUFFLE_INTERVAL
            };
            self.timers.shuffle = Some(self.in_about(interval, now));
        }
        if !is_alone && self.timers.rotate.is_none() {
            self.timers.rotate = Some(self.in_about(ROTATE_INTERVAL, now));
        }
        if self.timers.measure.is_none() && self.next_to_measure().is_some() {
            self.timers.measure = Some(self.in_about(MEASURE_INTERVAL, now));
        }
        if self.overlay.has_dead() {
            let interval = if is_alone {
                REVIVE_INTERVAL_ALONE
            } else {
                REVIVE_INTERVAL
            };
            let at = self.in_about(interval, now);
            let revive = self.timers.revive.get_or_insert(at);
            *revive = (*revive).min(now + interval * 5 / 4);
        }
    }

    /// Moved by up to a quarter, so that nodes which began together do not go on together.
    fn in_about(&mut self, interval: Duration, now: Instant) -> Instant {
        let percent = self.rng.random_range(75..125u32);
        now + interval * percent / 100
    }

    /// Neighbors that this node wants.
    pub(super) fn degree_wanted(&self) -> usize {
        if self.config.is_leaf || self.overlay.is_out_of_reach() {
            self.config.degree.min(DEGREE_UNDIALABLE)
        } else {
            self.config.degree
        }
    }

    fn has_few_neighbors(&self) -> bool {
        self.neighbors.degrees().0 < self.degree_wanted()
    }

    /// Dials until there are neighbors enough.
    fn fill(&mut self, now: Instant) {
        let (dialable, _) = self.neighbors.degrees();
        let is_fill = |purpose: &Purpose| *purpose == Purpose::Fill;
        let dialed = self.overlay.hopeful_dials(is_fill, now);
        let greeting = self.neighbors.iter().filter(|(_, neighbor)| {
            let is_greeting = matches!(neighbor.stage, Stage::Greeting { .. });
            is_greeting && neighbor.purpose == Some(Purpose::Fill)
        });
        let mut expected = dialable + dialed + greeting.count();
        while expected < self.degree_wanted() {
            let fits = |url: &PeerUrl| !self.neighbors.knows(url);
            let candidate = self.overlay.candidate(&mut self.rng, fits);
            let Some(url) = candidate else { break };
            if !self.dial(&url, Purpose::Fill, now) {
                self.wake_upkeep(now + UPKEEP_INTERVAL);
                break;
            }
            expected += 1;
        }
        if self.has_few_neighbors() && expected > dialable {
            // Those who have not answered by then are not expected any more.
            self.wake_upkeep(now + DIAL_PATIENCE);
        }
    }

    fn dial(&mut self, url: &PeerUrl, purpose: Purpose, now: Instant) -> bool {
        // Of a dial to where it is connected already the network would tell nothing, ever.
        let may = !self.neighbors.has_dialed(url) && self.overlay.try_dial(url, purpose, now);
        if may {
            self.outputs.push_back(Output::Dial(url.clone()));
        }
        may
    }

    /// Finds out whether a neighbor that has dialed us can be dialed: only then its address is told to others,
    /// and only then it takes one of the places of those.
    fn verify(&mut self, now: Instant) {
        let is_verify = |purpose: &Purpose| matches!(purpose, Purpose::Verify(..));
        if self.overlay.is_dialing_for(is_verify) || self.neighbors.has_purpose(is_verify) {
            return;
        }
        let verified = self
            .neighbors
            .members()
            .filter(|(_, m)| m.reach == Reach::Verified);
        let (dialable, _) = self.neighbors.degrees();
        let has_places = dialable + PLACES_MIN < self.config.degree_max();
        if verified.count() >= VERIFIED_MIN && has_places {
            return;
        }
        // Configured peers are dialed anyway, and one of two connections to the same node will be closed.
        let claim = self.neighbors.members().find_map(|(peer, member)| {
            let url = member.urls.first().filter(|url| {
                !self.overlay.is_configured(url) && !self.neighbors.has_dialed(url)
            })?;
            let is_claimed = member.reach == Reach::Claimed && !member.is_leaving;
            is_claimed.then(|| (peer, member.id, url.clone()))
        });
        let Some((peer, id, url)) = claim else {
            return;
        };
        if self.overlay.has_failed(&url, now) {
            self.on_verified(peer, &url, false, now);
        } else if !self.dial(&url, Purpose::Verify(peer, id), now) {
            self.wake_upkeep(now + UPKEEP_INTERVAL);
        }
    }

    /// Whether a neighbor is where it says, or may be.
    pub(super) fn on_verified(
        &mut self,
        target: PeerKey,
        url: &PeerUrl,
        is_right: bool,
        now: Instant,
    ) {
        if !is_right {
            self.overlay.on_failed(url, now);
        }
        let Some(member) = self.neighbors.member_mut(target) else {
            return;
        };
        if is_right {
            member.reach = Reach::Verified;
            member.urls.retain(|other| other != url);
            member.urls.insert(0, url.clone());
        } else if member.reach == Reach::Claimed {
            member.urls.retain(|other| other != url);
            if member.urls.is_empty() {
                member.reach = Reach::Refuted;
            }
        }
        let reached = Control::Reached {
            url: url.to_string(),
            ok: is_right,
        };
        self.send_control(target, &reached);
        self.wake_upkeep(now);
    }

    /// Dials another neighbor in place of one that carries no messages.
    fn rotate(&mut self, now: Instant) {
        if self.has_few_neighbors() {
            return;
        }
        let mut replaceable: Vec<_> = self
            .neighbors
            .iter()
            .filter(|(_, neighbor)| neighbor.side != Side::Accepted && !neighbor.is_configured())
            .map(|(peer, _)| peer)
            .filter(|peer| self.is_spare(*peer))
            .collect();
        overlay::shuffle(&mut replaceable, &mut self.rng);
        let fits = |url: &PeerUrl| !self.neighbors.knows(url);
        let candidate = self.overlay.candidate(&mut self.rng, fits);
        if let (Some(old), Some(url)) = (replaceable.first(), candidate) {
            self.dial(&url, Purpose::Rotate(*old), now);
        }
    }

    /// No messages come or go by it.
    pub(super) fn is_spare(&self, peer: PeerKey) -> bool {
        let member = self.neighbors.member(peer);
        member.is_some_and(|member| !member.is_eager) && self.tree.parent() != Some(peer)
    }

    /// The other one is there.
    pub(super) fn rotate_out(&mut self, old: PeerKey, now: Instant) {
        if self.is_spare(old) {
            self.release(old, code::NORMAL, "replaced by another neighbor", now);
        }
    }

    /// Dials one only to see how far it is: a node that knows no more than its neighbors cannot say how near it is
    /// to the middle of a large mesh.
    fn measure(&mut self, now: Instant) {
        if let Some(url) = self.next_to_measure()
            && self.dial(&url, Purpose::Measure, now)
        {
            self.measured.push(url);
        }
    }

    /// The root, which a leaf will never be, is to be near to all.
    fn next_to_measure(&mut self) -> Option<PeerUrl> {
        if self.config.is_leaf || self.measured.len() == MEASURED_MAX || !self.distance.is_vague() {
            return None;
        }
        let fits = |url: &PeerUrl| !self.neighbors.knows(url) && !self.measured.contains(url);
        self.overlay.candidate(&mut self.rng, fits)
    }

    fn revive(&mut self, now: Instant) {
        let fits = |url: &PeerUrl| !self.neighbors.knows(url);
        if let Some(url) = self.overlay.next_dead(fits) {
            self.dial(&url, Purpose::Revive, now);
        }
    }

    /// Tells some addresses to a node a few steps away, and learns some from it.
    fn start_walk(&mut self) {
        let Some(to) = self.next_step(None) else {
            return;
        };
        let id = self.rng.random_range(0..=NUMBER_MAX);
        self.overlay.remember(id, None);
        let urls = self.urls_for_walk(to);
        self.send_control(
            to,
            &Control::Shuffle {
                id,
                ttl: WALK_STEPS,
                urls,
            },
        );
    }

    fn next_step(&mut self, from: Option<PeerKey>) -> Option<PeerKey> {
        let members = self.neighbors.members();
        let mut relays: Vec<_> = members
            .filter(|(peer, member)| member.role == Role::Peer && Some(*peer) != from)
            .map(|(peer, _)| peer)
            .collect();
        overlay::shuffle(&mut relays, &mut self.rng);
        relays.first().copied()
    }

    pub(super) fn on_shuffle(
        &mut self,
        from: PeerKey,
        id: u64,
        ttl: u8,
        urls: Vec<String>,
        now: Instant,
    ) {
        let ttl = ttl.min(WALK_STEPS);
        let next = self
            .next_step(Some(from))
            .filter(|_| ttl > 1 && !self.config.is_leaf)
            .filter(|_| self.overlay.walks.take(now));
        if let Some(next) = next {
            self.overlay.remember(id, Some(from));
            let urls = self.admitted(from, next, urls);
            return self.send_control(
                next,
                &Control::Shuffle {
                    id,
                    ttl: ttl - 1,
                    urls,
                },
            );
        }
        let answer = self.urls_for_walk(from);
        self.send_control(from, &Control::Shuffled { id, urls: answer });
        self.learn_urls(from, &urls, now);
    }

    pub(super) fn on_shuffled(&mut self, from: PeerKey, id: u64, urls: Vec<String>, now: Instant) {
        match self.overlay.way_back(id) {
            None => self.standing.ignored += 1,
            Some(None) => self.learn_urls(from, &urls, now),
            Some(Some(back)) => {
                let urls = self.admitted(from, back, urls);
                self.send_control(back, &Control::Shuffled { id, urls });
            }
        }
    }

    /// Of what one neighbor tells, what may be told to another.
    fn admitted(&self, from: PeerKey, to: PeerKey, mut urls: Vec<String>) -> Vec<String> {
        urls.retain(|url| {
            let may = |peer| self.checked_url(peer, url).is_some();
            may(from) && may(to)
        });
        urls
    }

    pub(super) fn learn_urls(&mut self, from: PeerKey, urls: &[String], now: Instant) {
        for url in urls {
            match self.checked_url(from, url) {
                Some(url) if !self.neighbors.knows(&url) => {
                    self.overlay.learn(url, now, &mut self.rng);
                }
                Some(_) => {}
                None => self.standing.ignored += 1,
            }
        }
        self.wake_upkeep(now);
    }

    /// Where this node is, and neighbors that it has reached itself.
    fn urls_for_walk(&mut self, to: PeerKey) -> Vec<String> {
        let own = self.config.advertise.iter().chain(self.overlay.reached());
        let own = own.filter(|_| self.withdrawal.is_none());
        let own: Vec<_> = own.cloned().collect();
        let others = self.verified_urls(to);
        self.told(to, own.into_iter().chain(others), URLS_MAX)
    }

    /// Others for a node that we have no room for.
    pub(super) fn urls_for_joining(&mut self, to: PeerKey, its: &[PeerUrl]) -> Vec<String> {
        let passive = self.overlay.passive_sample(&mut self.rng).into_iter();
        let passive: Vec<_> = passive.take(REDIRECT_MAX / 2).cloned().collect();
        let urls = passive.into_iter().chain(self.verified_urls(to));
        self.told(to, urls.filter(|url| !its.contains(url)), REDIRECT_MAX)
    }

    /// Addresses at which this node has reached neighbors other than `to`, in random order.
    fn verified_urls(&mut self, to: PeerKey) -> Vec<PeerUrl> {
        let others = self.neighbors.members().filter(|(peer, _)| *peer != to);
        let staying = others.filter(|(_, member)| !member.is_leaving);
        let mut urls: Vec<_> = staying
            .filter_map(|(_, m)| m.verified_url())
            .cloned()
            .collect();
        overlay::shuffle(&mut urls, &mut self.rng);
        urls
    }

    fn told(
        &self,
        to: PeerKey,
        urls: impl Iterator<Item = PeerUrl>,
        urls_max: usize,
    ) -> Vec<String> {
        let scope = self.neighbors.get(to).map(|neighbor| neighbor.scope());
        let admitted = urls.filter(|url| scope.is_some_and(|scope| scope.admits(url)));
        admitted.map(|url| url.to_string()).take(urls_max).collect()
    }
}
