//! The connections to neighbors, and what is known of who is at their other ends. Pure.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{PeerKey, Side, codec::MessageId, control::Role, overlay::Purpose, scope::Scope};
use crate::{budget::Budget, config::PeerUrl, node_id::NodeId};

/// Time for the hello of the other side, and for the end of a connection that is not needed.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Without any neighbor for so long, a node may ask a full one to make room.
pub(super) const ALONE_FOR: Duration = Duration::from_secs(10);
/// Addresses of one node that are tried and remembered.
pub(super) const CLAIMS_MAX: usize = 4;
/// Control frames of one neighbor that are looked at: so many at once, then one in each interval.
const CONTROL_BURST: u32 = 64;
const CONTROL_INTERVAL: Duration = Duration::from_millis(125);
/// KiB of messages that are sent to one neighbor because it asks for them: so many at once, then one in
/// each interval.
pub(super) const SERVED_BURST_KIB: u32 = 4096;
const SERVED_INTERVAL: Duration = Duration::from_millis(1);

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// The hello of the other side is awaited until then.
    Greeting {
        until: Instant,
    },
    Member(Box<Member>),
    /// We have sent a Close.
    Leaving,
    /// It only wants to know who is here, and will close by then.
    Probed {
        until: Instant,
    },
    /// It has broken the protocol: nothing of it is looked at any more.
    Banned,
}

/// Whether others can dial a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It says so.
    Claimed,
    /// We have.
    Verified,
    /// It cannot, or does not want to.
    Refuted,
}

/// A neighbor that has said hello and was taken in.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: NodeId,
    pub(super) role: Role,
    pub(super) reach: Reach,
    /// Where it was reached, or else may be: the first is the one that is passed on once verified.
    pub(super) urls: Vec<PeerUrl>,
    pub(super) message_bytes_max: usize,
    /// As the first words on the connection have shown; [`Duration::MAX`] if they have not.
    pub(super) round_trip: Duration,
    /// It was told to people that a message was too large for it.
    pub(super) is_known_to_be_small: bool,
    /// It wants messages at once.
    pub(super) is_eager: bool,
    /// It is about to go: it relays to the last, but is not counted on.
    pub(super) is_leaving: bool,
    /// What we have told it that we want.
    pub(super) has_been_told_eager: bool,
    /// When we last wanted messages from it at once.
    pub(super) wanted_at: Option<Instant>,
    /// For the next announcement.
    pub(super) to_announce: Vec<MessageId>,
    /// When it had its first neighbor, if that is known.
    pub(super) begun_at: Option<Instant>,
    pub(super) joined_at: Instant,
    pub(super) heard_at: Instant,
    pub(super) served: Budget,
}

impl Member {
    pub(super) fn new(id: NodeId, role: Role, now: Instant) -> Self {
        Self {
            id,
            role,
            reach: Reach::Refuted,
            urls: Vec::new(),
            message_bytes_max: usize::MAX,
            round_trip: Duration::MAX,
            is_known_to_be_small: false,
            is_eager: true,
            is_leaving: false,
            has_been_told_eager: true,
            wanted_at: None,
            to_announce: Vec::new(),
            begun_at: None,
            joined_at: now,
            heard_at: now,
            served: Budget::new(SERVED_BURST_KIB, SERVED_INTERVAL, now),
        }
    }

    /// Whether it can have a use for a message that was published then. A leaf keeps nothing for others.
    pub(super) fn has_use_for(&self, born: Instant) -> bool {
        self.role != Role::Leaf || self.begun_at.is_none_or(|at| at <= born)
    }

    /// More addresses of its own, after those that are known.
    pub(super) fn add_urls(&mut self, urls: Vec<PeerUrl>) {
        for url in urls {
            if !self.urls.contains(&url) && self.urls.len() < 2 * CLAIMS_MAX {
                self.urls.push(url);
            }
        }
    }

    /// The address at which we have reached it.
    pub(super) fn verified_url(&self) -> Option<&PeerUrl> {
        self.urls.first().filter(|_| self.reach == Reach::Verified)
    }

    /// Whether it counts to the degree; those who cannot be dialed have places of their own.
    pub(super) fn is_dialable(&self) -> bool {
        self.reach != Reach::Refuted
    }
}

#[derive(Debug)]
pub(super) struct Neighbor {
    pub(super) side: Side,
    /// Not known behind a proxy.
    pub(super) remote: Option<IpAddr>,
    /// Why we have dialed it; nothing of accepted ones, and when it has served its purpose.
    pub(super) purpose: Option<Purpose>,
    pub(super) stage: Stage,
    /// It is full and has told us whom else to try.
    pub(super) has_redirected: bool,
    /// It was taken in, here or on another connection.
    pub(super) has_met: bool,
    /// Whose it is, once that is known.
    pub(super) id: Option<NodeId>,
    pub(super) control: Budget,
}

impl Neighbor {
    pub(super) fn new(
        side: Side,
        remote: Option<IpAddr>,
        purpose: Option<Purpose>,
        until: Instant,
        now: Instant,
    ) -> Self {
        Self {
            side,
            remote,
            purpose,
            stage: Stage::Greeting { until },
            has_redirected: false,
            has_met: false,
            id: None,
            control: Budget::new(CONTROL_BURST, CONTROL_INTERVAL, now),
        }
    }

    pub(super) fn member(&self) -> Option<&Member> {
        match &self.stage {
            Stage::Member(member) => Some(member),
            _ => None,
        }
    }

    /// We have opened it.
    pub(super) fn is_dialed(&self) -> bool {
        self.side != Side::Accepted
    }

    /// Within which addresses may be told over this connection.
    pub(super) fn scope(&self) -> Scope {
        self.remote.map_or(Scope::Global, Scope::of_address)
    }

    /// A person has asked for it.
    pub(super) fn is_configured(&self) -> bool {
        self.purpose == Some(Purpose::Configured)
    }
}

/// All connections to neighbors, in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Neighbors {
    all: BTreeMap<PeerKey, Neighbor>,
}

impl Neighbors {
    pub(super) fn insert(&mut self, peer: PeerKey, neighbor: Neighbor) {
        self.all.insert(peer, neighbor);
    }

    pub(super) fn remove(&mut self, peer: PeerKey) -> Option<Neighbor> {
        self.all.remove(&peer)
    }

    pub(super) fn get(&self, peer: PeerKey) -> Option<&Neighbor> {
        self.all.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: PeerKey) -> Option<&mut Neighbor> {
        self.all.get_mut(&peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerKey, &Neighbor)> {
        self.all.iter().map(|(peer, neighbor)| (*peer, neighbor))
    }

    pub(super) fn member(&self, peer: PeerKey) -> Option<&Member> {
        self.get(peer)?.member()
    }

    pub(super) fn member_mut(&mut self, peer: PeerKey) -> Option<&mut Member> {
        match &mut self.get_mut(peer)?.stage {
            Stage::Member(member) => Some(member),
            _ => None,
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (PeerKey, &Member)> {
        self.iter()
            .filter_map(|(peer, neighbor)| Some((peer, neighbor.member()?)))
    }

    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = (PeerKey, &mut Member)> {
        self.all
            .iter_mut()
            .filter_map(|(peer, neighbor)| match &mut neighbor.stage {
                Stage::Member(member) => Some((*peer, &mut **member)),
                _ => None,
            })
    }

    pub(super) fn has_members(&self) -> bool {
        self.members().next().is_some()
    }

    pub(super) fn greeting_count(&self) -> usize {
        let greeting = self
            .all
            .values()
            .filter(|n| matches!(n.stage, Stage::Greeting { .. }));
        greeting.count()
    }

    /// Neighbors that can be dialed, and those that cannot; one with two connections counts once, and one that is
    /// about to go no more.
    pub(super) fn degrees(&self) -> (usize, usize) {
        let staying = self.members().filter(|(_, member)| !member.is_leaving);
        let mut ids: Vec<_> = staying.map(|(_, m)| (m.id, m.is_dialable())).collect();
        ids.sort_unstable();
        ids.dedup_by_key(|(id, _)| *id);
        let dialable = ids.iter().filter(|(_, is_dialable)| *is_dialable).count();
        (dialable, ids.len() - dialable)
    }

    /// Whether somebody else whom we have dialed has not said yet who it is.
    pub(super) fn awaits_hello_but(&self, peer: PeerKey) -> bool {
        let mut others = self.iter().filter(|(other, _)| *other != peer);
        others.any(|(_, it)| it.is_dialed() && matches!(it.stage, Stage::Greeting { .. }))
    }

    /// Connections to this node that we have dialed, or that it has.
    pub(super) fn connections_by(&self, id: NodeId, is_us: bool) -> impl Iterator<Item = &Member> {
        let dialed = self.all.values().filter(move |it| it.is_dialed() == is_us);
        let members = dialed.filter_map(Neighbor::member);
        members.filter(move |member| member.id == id)
    }

    /// Connections to this node.
    pub(super) fn connections_to(&self, id: NodeId) -> impl Iterator<Item = (PeerKey, &Member)> {
        self.members().filter(move |(_, member)| member.id == id)
    }

    /// Looks at all that we have dialed, and at what for.
    pub(super) fn purposes_mut(
        &mut self,
    ) -> impl Iterator<Item = (&PeerUrl, &mut Option<Purpose>)> {
        let all = self.all.values_mut();
        all.filter_map(|neighbor| match &neighbor.side {
            Side::Dialed(url) => Some((url, &mut neighbor.purpose)),
            Side::Accepted => None,
        })
    }

    /// Whether there is a connection, in whatever state, that we have dialed by this URL.
    pub(super) fn has_dialed(&self, url: &PeerUrl) -> bool {
        let mut sides = self.all.values().map(|neighbor| &neighbor.side);
        sides.any(|side| matches!(side, Side::Dialed(dialed) if dialed == url))
    }

    /// Whether some connection was made for such a purpose, and has not served it yet.
    pub(super) fn has_purpose(&self, is_such: impl Fn(&Purpose) -> bool) -> bool {
        let mut purposes = self.all.values().filter_map(|n| n.purpose.as_ref());
        purposes.any(is_such)
    }

    /// Whether some neighbor is known by this URL.
    pub(super) fn knows(&self, url: &PeerUrl) -> bool {
        let mut members = self.members();
        self.has_dialed(url) || members.any(|(_, member)| member.urls.contains(url))
    }
}
