//! The broadcast tree: who is the root, and by which neighbor messages come soonest. Pure.
//!
//! A spanning tree with an elected root, as bridges build one (Perlman 1985, IEEE 802.1D). The root's
//! beacon goes over all connections at regular times; who brings one first becomes the parent. The old
//! parent is kept for as long as it is nearer to the root than this node for the same beacon, and brings it
//! hardly later. So along the parents the hops decrease, and there is no cycle once a beacon has gone
//! through. When the beacons stay away, somebody claims the root for itself, in the next term. A higher term
//! wins, then who is nearer to the middle, which makes all ways shorter, then the lesser id. Who finds itself
//! clearly nearer to the middle than the root takes its place, in the same term.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};

use super::{
    PeerKey,
    control::{Beacon, DISTANCE_UNKNOWN, NUMBER_MAX},
};
use crate::{budget::Budget, node_id::NodeId};

/// Time between two beacons.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// Periods of silence, in halves, after which a node claims the root: 3.5, and 1.5 for those who have lost it
/// from beside them or have never heard of one.
const PATIENCE_HALVES: u32 = 7;
const PATIENCE_HALVES_NEAR: u32 = 3;
/// … and none, once the root has said that it goes.
const PATIENCE_HALVES_TOLD: u32 = 0;
/// Claims are spread over this time, so that mostly there is one.
const CLAIM_SPREAD: Duration = Duration::from_secs(2);
/// Who is nearer to the middle than the root, by an eighth and this, takes its place: not for less, since each new
/// root costs some copies.
const TAKE_OVER_MARGIN: u32 = 5;
/// How long it waits for each millisecond that it stands from the others, and at most: the nearest is the first, and
/// mostly the last.
const TAKE_OVER_DELAY: Duration = Duration::from_millis(500);
const TAKE_OVER_DELAY_MAX: Duration = Duration::from_secs(60);
/// How long the old parent may take to bring what another neighbor has brought.
const SETTLE: Duration = Duration::from_secs(1);
/// It stays the parent unless it is later by more than the margin so often in a row: else chance, or a segment
/// that was lost, would decide for all below, and each change costs some copies.
const MARGIN: Duration = Duration::from_millis(12);
const LATE_MAX: u32 = 3;
/// How far a term may jump: nobody can use the terms up.
const TERM_JUMP_MAX: u64 = 1 << 16;
/// Beacons that are passed on at once, and then one in half a period: what a neighbor makes up costs the mesh no
/// more than that.
const BEACONS_BURST: u32 = 16;

#[derive(Debug)]
pub(super) struct Tree {
    id: NodeId,
    /// It neither claims the root nor passes beacons on.
    is_leaf: bool,
    /// The newest beacon, with the hops that it took to here: what this node tells its neighbors.
    newest: Option<Beacon>,
    parent: Option<PeerKey>,
    /// Who has brought the newest beacon while the parent has not, and when.
    rival: Option<(PeerKey, Instant)>,
    /// How often in a row the parent has been later than that by more than the margin.
    late: u32,
    /// The newest beacon of each neighbor.
    beacons: BTreeMap<PeerKey, Beacon>,
    /// When the newest beacon came; of the root itself, when it was sent. Not known without neighbors.
    heard_at: Option<Instant>,
    /// This node's part of [`CLAIM_SPREAD`].
    claim_delay: Duration,
    /// For how long this node waits for a beacon, in halves of a period: less when the root has gone from beside it.
    patience_halves: u32,
    /// Since when this node has known the root as such.
    root_since: Instant,
    /// How far this node stands from the others.
    distance: u32,
    budget: Budget,
}

/// Whether a beacon is worth anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pass our own on to all neighbors.
    PassOn,
    /// It tells nothing new to others.
    Known,
    /// It cannot be true, or there are too many.
    Refused,
}

impl Tree {
    pub(super) fn new(id: NodeId, is_leaf: bool, now: Instant, rng: &mut impl Rng) -> Self {
        Self {
            id,
            is_leaf,
            newest: None,
            parent: None,
            rival: None,
            late: 0,
            beacons: BTreeMap::new(),
            heard_at: None,
            claim_delay: rng.random_range(Duration::ZERO..CLAIM_SPREAD),
            patience_halves: PATIENCE_HALVES,
            root_since: now,
            distance: DISTANCE_UNKNOWN,
            budget: Budget::new(BEACONS_BURST, PERIOD / 2, now),
        }
    }

    pub(super) fn parent(&self) -> Option<PeerKey> {
        self.parent
    }

    pub(super) fn is_root(&self) -> bool {
        self.root() == Some(self.id)
    }

    pub(super) fn root(&self) -> Option<NodeId> {
        self.newest.map(|beacon| beacon.root)
    }

    /// Hops from the root to here.
    pub(super) fn hop(&self) -> u32 {
        self.newest.map_or(0, |beacon| beacon.hop)
    }

    /// Neither the root nor below a parent: it cannot tell by which neighbor messages come. A root that goes has nobody
    /// below it for long.
    pub(super) fn is_lost(&self) -> bool {
        self.parent.is_none() && (self.is_leaf || !self.is_root())
    }

    /// What this node tells its neighbors; nothing before it knows a root, and of a leaf never.
    pub(super) fn beacon(&self) -> Option<Beacon> {
        self.newest.filter(|_| !self.is_leaf)
    }

    /// A connection to a neighbor is there.
    pub(super) fn on_joined(&mut self, now: Instant) {
        if self.heard_at.is_none() {
            self.heard_at = Some(now);
        }
    }

    pub(super) fn on_beacon(&mut self, from: PeerKey, beacon: Beacon, now: Instant) -> Verdict {
        match self.compare(&beacon) {
            Order::Worse => {
                self.beacons.insert(from, beacon);
                Verdict::Known
            }
            Order::Better if !self.is_plausible(&beacon, now) => Verdict::Refused,
            Order::Better => {
                self.beacons.insert(from, beacon);
                self.adopt(from, &beacon, now)
            }
            Order::Same => {
                self.beacons.insert(from, beacon);
                self.on_copy(from, &beacon, now);
                Verdict::Known
            }
        }
    }

    /// A connection is gone.
    pub(super) fn on_left(&mut self, peer: PeerKey, has_neighbors: bool) {
        if self.turn_from(peer) {
            self.patience_halves = PATIENCE_HALVES_NEAR;
        }
        if !has_neighbors {
            self.heard_at = None;
        }
    }

    /// A neighbor is about to go: messages are to come by another one. If it is the root, there is to be a new one soon.
    pub(super) fn on_leaving(&mut self, peer: PeerKey, now: Instant) {
        if self.turn_from(peer) {
            self.patience_halves = PATIENCE_HALVES_TOLD;
            // From here on claims are spread as ever.
            self.heard_at = Some(now);
        }
    }

    /// This node is about to go: it takes part as a leaf does.
    pub(super) fn withdraw(&mut self) {
        self.is_leaf = true;
    }

    /// Counts on a neighbor no more. Returns whether the root was lost with it.
    fn turn_from(&mut self, peer: PeerKey) -> bool {
        let beacon = self.beacons.remove(&peer);
        if self.rival.is_some_and(|(rival, _)| rival == peer) {
            self.rival = None;
        }
        if self.parent != Some(peer) {
            return false;
        }
        let rival = self.rival.map(|(rival, _)| rival);
        self.follow(rival.or_else(|| self.nearer()));
        beacon.is_some_and(|beacon| beacon.hop == 0)
    }

    /// How far this node stands from the others, in milliseconds of a round trip.
    pub(super) fn set_distance(&mut self, distance: u32) {
        self.distance = distance;
    }

    /// Does what is due. Returns whether our beacon is to be sent to all neighbors.
    pub(super) fn expire(&mut self, now: Instant, rng: &mut impl Rng) -> bool {
        if let Some((rival, _)) = self.rival.filter(|(_, at)| *at + SETTLE <= now) {
            self.follow(Some(rival));
        }
        if self.beat_at().is_none_or(|at| at > now) {
            return false;
        }
        let own = match self.newest {
            Some(own) if own.root == self.id => Beacon {
                sequence: own.sequence.wrapping_add(1).max(1),
                ..own
            },
            newest => {
                let takes_over = self.take_over_at().is_some_and(|at| at <= now);
                let term = newest.map_or(0, |newest| newest.term) + u64::from(!takes_over);
                self.claim_delay = rng.random_range(Duration::ZERO..CLAIM_SPREAD);
                self.root_since = now;
                Beacon {
                    // A mesh in which somebody has used the terms up begins anew.
                    term: if term > NUMBER_MAX { 1 } else { term },
                    distance: self.distance,
                    root: self.id,
                    sequence: 1,
                    hop: 0,
                }
            }
        };
        self.newest = Some(own);
        self.follow(None);
        self.patience_halves = PATIENCE_HALVES;
        self.heard_at = Some(now);
        true
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let settle = self.rival.map(|(_, at)| at + SETTLE);
        [settle, self.beat_at()].into_iter().flatten().min()
    }

    /// When this node has to send a beacon of its own: as the root, or because there is none.
    fn beat_at(&self) -> Option<Instant> {
        let heard_at = self.heard_at.filter(|_| !self.is_leaf)?;
        if self.is_root() {
            return Some(heard_at + PERIOD);
        }
        let halves = match self.newest {
            None => PATIENCE_HALVES_NEAR,
            Some(_) => self.patience_halves,
        };
        let silent_at = heard_at + PERIOD / 2 * halves + self.claim_delay;
        Some(
            self.take_over_at()
                .map_or(silent_at, |at| at.min(silent_at)),
        )
    }

    /// When this node takes the place of the root, if it is clearly nearer to the middle.
    fn take_over_at(&self) -> Option<Instant> {
        let root = self.newest?.distance;
        let enough = self.distance / 8 + TAKE_OVER_MARGIN;
        let is_nearer = self
            .distance
            .checked_add(enough)
            .is_some_and(|least| least <= root);
        let delay = (TAKE_OVER_DELAY * self.distance).min(TAKE_OVER_DELAY_MAX);
        is_nearer.then(|| self.root_since + delay + self.claim_delay)
    }

    fn compare(&self, beacon: &Beacon) -> Order {
        let Some(newest) = self.newest else {
            return Order::Better;
        };
        let order = |beacon: &Beacon| (rank(beacon), beacon.sequence);
        match order(beacon).cmp(&order(&newest)) {
            Ordering::Greater => Order::Better,
            Ordering::Equal => Order::Same,
            Ordering::Less => Order::Worse,
        }
    }

    /// Terms and sequences do not jump further than time explains.
    fn is_plausible(&mut self, beacon: &Beacon, now: Instant) -> bool {
        if beacon.root == self.id || beacon.hop >= u32::from(u8::MAX) {
            // Nobody else sends our beacons anew.
            return false;
        }
        if let Some(newest) = self.newest {
            if beacon.term > newest.term.saturating_add(TERM_JUMP_MAX) {
                return false;
            }
            let silence = self
                .heard_at
                .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            let beats = silence.as_nanos() / (PERIOD / 2).as_nanos() + 2;
            let is_same = rank(&newest) == rank(beacon);
            if is_same && u128::from(beacon.sequence - newest.sequence) > beats {
                return false;
            }
        }
        self.budget.take(now)
    }

    fn adopt(&mut self, from: PeerKey, beacon: &Beacon, now: Instant) -> Verdict {
        let before = self.newest.replace(Beacon {
            hop: beacon.hop + 1,
            ..*beacon
        });
        let is_same = before.is_some_and(|before| rank(&before) == rank(beacon));
        if !is_same {
            self.root_since = now;
        }
        self.heard_at = Some(now);
        self.patience_halves = PATIENCE_HALVES;
        match self.parent {
            Some(parent) if is_same && parent != from => self.rival = Some((from, now)),
            _ => self.follow(Some(from)),
        }
        Verdict::PassOn
    }

    /// Another copy of the newest beacon.
    fn on_copy(&mut self, from: PeerKey, beacon: &Beacon, now: Instant) {
        let is_nearer = beacon.hop < self.hop();
        match self.rival {
            Some((rival, at)) if self.parent == Some(from) => {
                self.rival = None;
                let is_late = now.saturating_duration_since(at) > MARGIN;
                self.late = if is_late { self.late + 1 } else { 0 };
                if !is_nearer || self.late == LATE_MAX {
                    self.follow(Some(rival));
                }
            }
            None if self.is_lost() && is_nearer => self.follow(Some(from)),
            _ => {}
        }
    }

    fn follow(&mut self, parent: Option<PeerKey>) {
        self.parent = parent;
        self.rival = None;
        self.late = 0;
    }

    /// A neighbor that is nearer to the root for the newest beacon.
    fn nearer(&self) -> Option<PeerKey> {
        let newest = self.newest?;
        let same = self.beacons.iter().filter(|(_, beacon)| {
            (rank(beacon), beacon.sequence) == (rank(&newest), newest.sequence)
        });
        let nearest = same.min_by_key(|(_, beacon)| beacon.hop)?;
        (nearest.1.hop < newest.hop).then_some(*nearest.0)
    }
}

/// By which of two roots is the root: the greater.
fn rank(beacon: &Beacon) -> (u64, Reverse<u32>, Reverse<NodeId>) {
    (beacon.term, Reverse(beacon.distance), Reverse(beacon.root))
}

enum Order {
    Better,
    Same,
    Worse,
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};

    use super::*;

    #[test]
    fn the_old_parent_stays_unless_it_is_clearly_later_again_and_again() {
        let (old, other) = (PeerKey(1), PeerKey(2));
        let mut now = Instant::now();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut tree = Tree::new(NodeId(9), false, now, &mut rng);
        let beacon = |sequence| Beacon {
            term: 1,
            distance: 0,
            root: NodeId(1),
            sequence,
            hop: 1,
        };
        tree.on_beacon(old, beacon(1), now);
        let (in_time, late) = (MARGIN, 2 * MARGIN);
        let lags = [in_time, late, late, in_time, late, late, late];
        for (sequence, lag) in (2..).zip(lags) {
            now += PERIOD;
            tree.on_beacon(other, beacon(sequence), now);
            assert_eq!(tree.parent(), Some(old), "it may still bring it");
            tree.on_beacon(old, beacon(sequence), now + lag);
            let parent = if sequence == 8 { other } else { old };
            assert_eq!(tree.parent(), Some(parent), "beacon {sequence}");
        }
    }

    #[test]
    fn of_those_who_claim_at_once_the_one_nearest_to_all_is_the_root() {
        let now = Instant::now();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut tree = Tree::new(NodeId(5), false, now, &mut rng);
        tree.on_joined(now);
        tree.set_distance(40);
        assert!(tree.expire(now + PERIOD * 2, &mut rng));
        assert_eq!(tree.beacon().map(|own| own.distance), Some(40));
        let claims = [
            (41, 1, Verdict::Known),
            (40, 6, Verdict::Known),
            (40, 4, Verdict::PassOn),
            (39, 9, Verdict::PassOn),
            (u32::MAX, 2, Verdict::Known),
        ];
        for (distance, id, verdict) in claims {
            let claim = Beacon {
                term: 1,
                distance,
                root: NodeId(id),
                sequence: 1,
                hop: 0,
            };
            let peer = PeerKey(distance.into());
            assert_eq!(tree.on_beacon(peer, claim, now), verdict, "{distance} {id}");
        }
        assert_eq!(tree.root(), Some(NodeId(9)));
    }

    /// After how long a node at this distance is the root in place of one at that, whose beacons go on.
    fn takes_over(own: u32, root: u32) -> Option<Duration> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let start = Instant::now();
        let mut tree = Tree::new(NodeId(9), false, start, &mut rng);
        tree.set_distance(own);
        tree.on_joined(start);
        for sequence in 1..60 {
            let now = start + PERIOD * (sequence - 1);
            let beacon = Beacon {
                term: 7,
                distance: root,
                root: NodeId(1),
                sequence,
                hop: 3,
            };
            tree.on_beacon(PeerKey(1), beacon, now);
            let due = tree.next_deadline().filter(|at| *at < now + PERIOD);
            if due.is_some_and(|at| tree.expire(at, &mut rng)) {
                let told = tree.beacon().map(|own| (own.term, own.distance, own.root));
                assert_eq!(told, Some((7, own, NodeId(9))));
                return due.map(|at| at - start);
            }
        }
        None
    }

    #[test]
    fn who_is_clearly_nearer_than_the_root_takes_its_place_the_nearest_first() {
        let within = |own, root, millis| {
            let after = takes_over(own, root).expect("it is nearer");
            let least = Duration::from_millis(millis);
            assert!((least..least + CLAIM_SPREAD).contains(&after), "{after:?}");
        };
        within(40, 80, 20_000);
        within(67, 80, 33_500);
        within(64, DISTANCE_UNKNOWN, 32_000);
        within(800, 1000, 60_000);
        for (own, root) in [(68, 80), (80, 80), (0, 4), (DISTANCE_UNKNOWN, u32::MAX)] {
            assert_eq!(takes_over(own, root), None, "{own} {root}");
        }
    }
}
