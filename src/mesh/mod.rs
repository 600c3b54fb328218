//! The mesh protocol without I/O: what a node says to its neighbors and does with what they say.
//!
//! Input by `on_*`, [`Mesh::publish`] and [`Mesh::expire`], each with the time; after any of them take the
//! outputs with [`Mesh::poll_output`] until there are none, and call [`Mesh::expire`] again at
//! [`Mesh::next_deadline`]. Knows no sockets, no clock and no randomness of its own: the same inputs give
//! the same outputs, in a node and in a simulation.
//!
//! | module | what it owns |
//! |---|---|
//! | `codec`, `control` | the frames, binary and JSON |
//! | `neighbors` | the connections, and who is at their other ends |
//! | `joining`, `leaving` | the first words on a connection and the last; two connections to one node |
//! | `withdrawing` | what a node says and does that is about to go, and what the others do then |
//! | `overlay`, `upkeep` | whom else this node knows; whom it connects to, and when |
//! | `tree`, `distance` | the root, and by which neighbor messages come soonest; how near a node is to all |
//! | `gossip` | messages: taken in once, passed on, announced, asked for |
//! | `seen`, `window`, `missing`, `patience`, `history` | what is there, of all origins and of one; what is not and when to ask for it; what is kept for others |
//! | `scope` | to whom an address may be told |

mod codec;
mod control;
mod distance;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gossip;
mod history;
mod joining;
mod leaving;
mod missing;
mod neighbors;
mod news;
mod overlay;
mod patience;
mod scope;
mod seen;
#[cfg(test)]
mod tests;
mod tree;
mod upkeep;
mod window;
mod withdrawing;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rand::rngs::Xoshiro256PlusPlus;

pub(crate) use self::news::{News, Standing, Tied};
use self::{
    control::Control, distance::Distance, history::History, missing::Missing, neighbors::Neighbors,
    overlay::Overlay, patience::Patience, seen::Seen, tree::Tree, withdrawing::Withdrawal,
};
use crate::{
    budget::Budget,
    config::{MeshConfig, PeerUrl},
    message::Message,
    node_id::NodeId,
};

/// Close codes that the mesh sends (RFC 6455 §7.4.1).
mod code {
    /// Nothing is wrong: the connection is not needed.
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const PROTOCOL: u16 = 1002;
    pub(super) const POLICY: u16 = 1008;
    pub(super) const TRY_AGAIN: u16 = 1013;
}

/// Evictions in favour of those who have no neighbor at all: so many at once, then one in each interval.
const EVICTIONS_BURST: u32 = 3;
const EVICTIONS_INTERVAL: Duration = Duration::from_secs(10);
/// Gaps are told at this interval at most, and of so many origins at most. All are counted.
const GAPS_UNTOLD_MAX: usize = 16;
const GAP_NEWS_INTERVAL: Duration = Duration::from_secs(10);
/// A former parent goes on sending for so long.
const EAGER_AFTER: Duration = Duration::from_millis(300);
/// A gap is given up when histories have forgotten what it was, but not sooner than this.
const GAP_PATIENCE_MIN: Duration = Duration::from_secs(10);

/// Names one connection to a neighbor, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerKey(pub(crate) u64);

/// What the mesh has to know of its node beside the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: NodeId,
    /// Peers to dial and keep (`--peers`). The network dials them by itself, again and again, unless it is
    /// told to rest.
    pub(crate) configured: Vec<PeerUrl>,
    /// Ports that the node listens on, for those who dial it back.
    pub(crate) ports: Vec<u16>,
    /// Largest payload, in bytes.
    pub(crate) message_bytes_max: usize,
}

/// Who opened a connection to a neighbor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// We did, by this URL.
    Dialed(PeerUrl),
    Accepted,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The neighbor said with this code that it goes.
    ByPeer(Option<u16>),
    /// We closed it.
    ByUs,
    /// It broke, or was given up as silent.
    Lost,
}

/// Why a dial led to no neighbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialFailure {
    Unreachable,
    /// The URL leads to this node itself.
    Itself,
    /// A WebSocket endpoint that does not speak the subprotocol.
    Plain,
}

/// Where a message was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In the whole mesh.
    Mesh,
    /// By a neighbor, for its direct peers: its periodic broadcast.
    Neighbor(PeerKey),
}

/// A message for the people and programs at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) origin: NodeId,
    pub(crate) sequence: u32,
    /// Path, starts with `/`.
    pub(crate) channel: Box<str>,
    pub(crate) message: Message,
    pub(crate) reach: Reach,
}

/// What the node should do.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// Send the same frame to each of these.
    Send { to: Vec<PeerKey>, frame: Message },
    /// Hand it to the plain peers of the channel and to the node's own output. Never of what was published here.
    Deliver(Delivery),
    /// Dial this, once. A configured peer: now, and again and again from now on.
    Dial(PeerUrl),
    /// Do not dial this configured peer until told to: there is another connection to it, or it is full.
    Rest(PeerUrl),
    /// Close the connection with this code and reason. Nothing is sent on it afterwards; what still comes
    /// from it is taken.
    Close {
        peer: PeerKey,
        code: u16,
        reason: String,
    },
    /// Something that a person should hear of.
    Tell(News),
}

/// The state of one node in the mesh.
#[derive(Debug)]
pub(crate) struct Mesh {
    config: MeshConfig,
    place: Place,
    rng: Xoshiro256PlusPlus,
    /// What this node publishes as; another one when its sequences are used up.
    origin: NodeId,
    sequence: u32,
    neighbors: Neighbors,
    overlay: Overlay,
    tree: Tree,
    distance: Distance,
    /// Whom this node has dialed only to see how far it is.
    measured: Vec<PeerUrl>,
    seen: Seen,
    /// What this node has published, which nobody else may have yet, and what others have.
    own_history: History,
    history: History,
    missing: Missing,
    patience: Patience,
    outputs: VecDeque<Output>,
    timers: Timers,
    /// Between two random walks while there are few neighbors.
    walk_interval: Duration,
    /// Since when there is no neighbor.
    alone_since: Option<Instant>,
    /// When a connection was lost by which messages came or went.
    torn_at: Option<Instant>,
    /// When it had its first neighbor: what is published from then on is not to be missed.
    begun_at: Option<Instant>,
    /// Once this node is about to go.
    withdrawal: Option<Withdrawal>,
    evictions: Budget,
    gap_news: Budget,
    /// How many messages of whom were missed and are not told yet.
    untold_gaps: BTreeMap<NodeId, u32>,
    standing: Standing,
}

/// What is due when; `None` while there is no need.
#[derive(Debug, Default)]
struct Timers {
    announce: Option<Instant>,
    eagerness: Option<Instant>,
    gaps: Option<Instant>,
    shuffle: Option<Instant>,
    rotate: Option<Instant>,
    revive: Option<Instant>,
    measure: Option<Instant>,
    silence: Option<Instant>,
    /// Something about the connections is to be looked at.
    upkeep: Option<Instant>,
}

impl Mesh {
    pub(crate) fn new(
        config: MeshConfig,
        place: Place,
        mut rng: Xoshiro256PlusPlus,
        now: Instant,
    ) -> Self {
        let patience = config
            .history
            .age_max
            .unwrap_or_default()
            .max(GAP_PATIENCE_MIN);
        Self {
            origin: place.id,
            sequence: 0,
            neighbors: Neighbors::default(),
            overlay: Overlay::new(&place.configured, now),
            tree: Tree::new(place.id, config.is_leaf, now, &mut rng),
            distance: Distance::default(),
            measured: Vec::new(),
            seen: Seen::new(patience, now),
            own_history: History::new(config.history),
            history: History::new(config.history),
            missing: Missing::default(),
            patience: Patience::new(),
            outputs: VecDeque::new(),
            timers: Timers::default(),
            walk_interval: Duration::ZERO,
            alone_since: Some(now),
            torn_at: None,
            begun_at: None,
            withdrawal: None,
            evictions: Budget::new(EVICTIONS_BURST, EVICTIONS_INTERVAL, now),
            gap_news: Budget::new(1, GAP_NEWS_INTERVAL, now),
            untold_gaps: BTreeMap::new(),
            standing: Standing::default(),
            config,
            place,
            rng,
        }
    }

    /// Takes the next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.announce_if_due(now);
        self.ask_for_missing(now);
        self.own_history.expire(now);
        self.history.expire(now);
        for (origin, missed) in self.seen.expire(now) {
            self.standing.missed += u64::from(missed);
            let has_room = self.untold_gaps.len() < GAPS_UNTOLD_MAX;
            if has_room || self.untold_gaps.contains_key(&origin) {
                let untold = self.untold_gaps.entry(origin).or_default();
                *untold = untold.saturating_add(missed);
            }
        }
        self.tell_gaps(now);
        if self.tree.expire(now, &mut self.rng) {
            self.send_beacon();
            self.look_for_silent(now);
        }
        self.close_silent(now);
        self.look_after_connections(now);
        self.tell_eagerness(now);
    }

    /// What the messages that are kept for others take of memory.
    pub(crate) fn history_bytes(&self) -> usize {
        self.own_history.held_bytes() + self.history.held_bytes()
    }

    /// Gives up one of the messages that are kept for others: the oldest of those which take the most.
    pub(crate) fn forget_oldest(&mut self) {
        let (own, others) = (&mut self.own_history, &mut self.history);
        match own.held_bytes() > others.held_bytes() {
            true => own.drop_oldest(),
            false => others.drop_oldest(),
        }
    }

    /// When [`Self::expire`] is to be called; `None`: only after another input.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.timers.announce,
            self.timers.eagerness,
            self.timers.gaps,
            self.timers.shuffle,
            self.timers.rotate,
            self.timers.revive,
            self.timers.measure,
            self.timers.silence,
            self.timers.upkeep,
            self.tree.next_deadline(),
            self.missing.next_deadline(),
            self.seen.next_deadline(),
            self.own_history.next_deadline(),
            self.history.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// How the node stands in the mesh, and what it has counted.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            neighbors: self.neighbors.members().count(),
            neighbors_wanted: self.degree_wanted(),
            greeting: self.neighbors.greeting_count(),
            is_root: self.tree.is_root(),
            root: self.tree.root(),
            parent: self.tree.parent(),
            hop: self.tree.hop(),
            ..self.standing
        }
    }

    /// The neighbors that have said hello: who they are, and what they are in the tree.
    pub(crate) fn ties(&self) -> impl Iterator<Item = Tied> {
        let parent = self.tree.parent();
        self.neighbors.members().map(move |(peer, member)| Tied {
            peer,
            id: member.id,
            is_leaf: member.role == control::Role::Leaf,
            is_parent: parent == Some(peer),
            is_eager: member.is_eager,
            round_trip: member.round_trip,
        })
    }

    /// Neighbors that have said hello, as this node has to them: whom something can be told directly.
    pub(crate) fn members(&self) -> impl Iterator<Item = PeerKey> {
        self.neighbors.members().map(|(peer, _)| peer)
    }

    fn send(&mut self, to: impl IntoIterator<Item = PeerKey>, frame: Message) {
        let to: Vec<_> = to.into_iter().collect();
        if !to.is_empty() {
            self.outputs.push_back(Output::Send { to, frame });
        }
    }

    fn send_control(&mut self, to: PeerKey, control: &Control) {
        self.send([to], Message::text(control.encode()));
    }

    fn send_beacon(&mut self) {
        if let Some(beacon) = self.tree.beacon() {
            let to: Vec<_> = self.neighbors.members().map(|(peer, _)| peer).collect();
            self.send(to, Message::text(Control::Beacon(beacon).encode()));
        }
    }

    /// Tells neighbors whether we want messages from them at once, where that has changed: at once if we do,
    /// and after a while if we do not any more. What is on its way when the parent changes would come by neither
    /// way otherwise.
    fn tell_eagerness(&mut self, now: Instant) {
        let (parent, is_lost) = (self.tree.parent(), self.tree.is_lost());
        let mut to_tell: [Vec<PeerKey>; 2] = Default::default();
        self.timers.eagerness = None;
        for (peer, member) in self.neighbors.members_mut() {
            let is_wanted = is_lost || parent == Some(peer);
            if is_wanted {
                member.wanted_at = Some(now);
            }
            if member.has_been_told_eager == is_wanted {
                continue;
            }
            let until = member.wanted_at.map(|at| at + EAGER_AFTER);
            if let Some(until) = until.filter(|until| !is_wanted && now < *until) {
                let next = self.timers.eagerness.get_or_insert(until);
                *next = until.min(*next);
                continue;
            }
            member.has_been_told_eager = is_wanted;
            to_tell[usize::from(is_wanted)].push(peer);
        }
        for (eager, to) in [false, true].into_iter().zip(to_tell) {
            if !to.is_empty() {
                self.send(to, Message::text(Control::Tree { eager }.encode()));
            }
        }
    }

    /// Tells what was missed: together what was missed since the last time.
    fn tell_gaps(&mut self, now: Instant) {
        self.timers.gaps = None;
        if self.untold_gaps.is_empty() {
            return;
        }
        if !self.gap_news.take(now) {
            self.timers.gaps = Some(now + GAP_NEWS_INTERVAL);
            return;
        }
        for (origin, missed) in std::mem::take(&mut self.untold_gaps) {
            self.tell(News::Gap { origin, missed });
        }
    }

    fn tell(&mut self, news: News) {
        self.outputs.push_back(Output::Tell(news));
    }
}
