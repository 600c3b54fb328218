//! The last words on a connection: which of two to the same node is closed, and what becomes of a neighbor
//! that was one.

use std::{
    mem,
    time::{Duration, Instant},
};

use rand::RngExt;

use super::{
    DialFailure, Ending, Mesh, News, Output, PeerKey, Side, code,
    neighbors::{ALONE_FOR, GREETING_TIMEOUT, Neighbor, Reach, Stage},
    overlay::{Purpose, Rest},
};
use crate::{config::PeerUrl, node_id::NodeId};

/// A configured peer that is full is dialed again after this time, and up to twice that; without any neighbor
/// as soon as it may be asked to make room.
const FULL_FOR: Duration = Duration::from_secs(5 * 60);
const FULL_FOR_ALONE: Duration = ALONE_FOR;

/// Of two connections to one node.
pub(super) const ANOTHER_IS_KEPT: &str = "another connection to this node is kept";

/// What becomes of a neighbor that was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is still there: it may be dialed again.
    Released,
    /// It is down, or cannot be reached.
    Gone,
    /// One of us does not want to see the other again.
    Banned,
}

impl Mesh {
    /// Of two connections between the same two nodes one is closed, the same on both sides: if each has
    /// dialed the other the one stays that the greater id has dialed, else the newer one, unless
    /// [the older is good](Self::wants_another). The lesser id closes, or who has dialed both, and only when both
    /// have said hello on both: so both know the one that stays.
    pub(super) fn settle_doubles(&mut self, id: NodeId, now: Instant) {
        let mut connections: Vec<_> = self.neighbors.connections_to(id).collect();
        connections.sort_by_key(|(peer, member)| (member.joined_at, *peer));
        let [.., (older, older_member), (newer, newer_member)] = connections[..] else {
            return;
        };
        let has_dialed = |peer| {
            let neighbor = self.neighbors.get(peer);
            neighbor.is_some_and(Neighbor::is_dialed)
        };
        let are_we_greater = self.place.id > id;
        let (loser, is_ours_to_close) = match (has_dialed(older), has_dialed(newer)) {
            (true, true) => (older, true),
            (false, false) => (older, false),
            (has_dialed_older, _) if has_dialed_older == are_we_greater => (newer, !are_we_greater),
            _ => (older, !are_we_greater),
        };
        if is_ours_to_close {
            return self.release(loser, code::NORMAL, ANOTHER_IS_KEPT, now);
        }
        let joined_at = newer_member.joined_at;
        if now < joined_at + GREETING_TIMEOUT {
            return self.wake_upkeep(joined_at + GREETING_TIMEOUT);
        }
        // The other side has not closed: perhaps it knows of one of them only.
        let is_older_dead = older_member.heard_at <= joined_at;
        let loser = if is_older_dead { older } else { loser };
        self.release(loser, code::NORMAL, ANOTHER_IS_KEPT, now);
    }

    /// Settles all that is not settled yet.
    pub(super) fn settle_all_doubles(&mut self, now: Instant) {
        let mut ids: Vec<_> = self
            .neighbors
            .members()
            .map(|(_, member)| member.id)
            .collect();
        ids.sort_unstable();
        let doubles: Vec<_> = ids.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        let doubles: Vec<_> = doubles.into_iter().map(|pair| pair[0]).collect();
        doubles
            .into_iter()
            .for_each(|id| self.settle_doubles(id, now));
    }

    /// Closes a connection that is not needed; the node itself stays known.
    pub(super) fn release(&mut self, peer: PeerKey, code: u16, reason: &str, now: Instant) {
        self.close(peer, code, reason.to_owned());
        self.leave(peer, Stage::Leaving, Fate::Released, now);
    }

    pub(super) fn close(&mut self, peer: PeerKey, code: u16, reason: String) {
        self.outputs.push_back(Output::Close { peer, code, reason });
    }

    /// Nothing of this neighbor is looked at any more.
    pub(super) fn ban(&mut self, peer: PeerKey, fault: &str, now: Instant) {
        self.standing.ignored += 1;
        let neighbor = self.neighbors.get(peer);
        if neighbor.is_some_and(|neighbor| !matches!(neighbor.stage, Stage::Leaving)) {
            self.close(peer, code::PROTOCOL, fault.to_owned());
        }
        self.leave(peer, Stage::Banned, Fate::Banned, now);
    }

    /// A connection is gone, whoever has closed it.
    pub(crate) fn on_closed(&mut self, peer: PeerKey, ending: Ending, now: Instant) {
        let fate = match ending {
            Ending::ByPeer(Some(code::NORMAL | code::TRY_AGAIN)) => Fate::Released,
            Ending::ByPeer(Some(code::PROTOCOL | code::POLICY)) => Fate::Banned,
            Ending::ByPeer(_) | Ending::ByUs | Ending::Lost => Fate::Gone,
        };
        self.leave(peer, Stage::Leaving, fate, now);
        let Some(Neighbor {
            side: Side::Dialed(url),
            purpose: Some(purpose),
            id,
            has_redirected,
            has_met,
            ..
        }) = self.neighbors.remove(peer)
        else {
            return;
        };
        match purpose {
            Purpose::Configured => {
                let other = id.filter(|id| self.neighbors.connections_to(*id).next().is_some());
                let full_for = match self.alone_since {
                    Some(_) => FULL_FOR_ALONE,
                    None => FULL_FOR,
                };
                let full_for = full_for + full_for * self.rng.random_range(0..100) / 100;
                match other {
                    Some(id) => self.rest(&url, Rest::While(id)),
                    None if has_redirected => self.rest(&url, Rest::Until(now + full_for)),
                    // The network dials it again.
                    None => {}
                }
            }
            // Who is there has not said so, or is somebody whom we do not want.
            Purpose::Verify(target, _) => self.on_verified(target, &url, false, now),
            Purpose::Fill | Purpose::Rotate(_) if has_met => {}
            Purpose::Fill | Purpose::Rotate(_) if has_redirected => self.overlay.forget(&url),
            Purpose::Fill | Purpose::Rotate(_) => self.overlay.on_failed(&url, now),
            Purpose::Revive | Purpose::Measure => {}
        }
        self.wake_upkeep(now);
    }

    /// What a connection was to this node it is no longer.
    pub(super) fn leave(&mut self, peer: PeerKey, stage: Stage, fate: Fate, now: Instant) {
        let was_spare = self.is_spare(peer);
        let Some(neighbor) = self.neighbors.get_mut(peer) else {
            return;
        };
        let Stage::Member(member) = mem::replace(&mut neighbor.stage, stage) else {
            return;
        };
        let has_members = self.neighbors.has_members();
        if !was_spare {
            self.torn_at = Some(now);
        }
        self.tree.on_left(peer, has_members);
        self.missing.on_left(peer);
        self.on_noted(peer);
        self.overlay.forget_routes(peer);
        let other = self
            .neighbors
            .connections_to(member.id)
            .next()
            .map(|(other, _)| other);
        if let Some(other) = other.and_then(|other| self.neighbors.member_mut(other)) {
            // The addresses of both are its own.
            if member.reach == Reach::Verified {
                other.reach = Reach::Verified;
            }
            let others = mem::replace(&mut other.urls, member.urls);
            other.add_urls(others);
        } else {
            match (member.verified_url(), fate) {
                (Some(url), Fate::Gone) => self.overlay.bury(url.clone(), now),
                (Some(url), Fate::Released) => self.overlay.learn(url.clone(), now, &mut self.rng),
                _ => {}
            }
            self.wake_resting(|rest| rest == Rest::While(member.id));
        }
        if !has_members {
            self.alone_since = Some(now);
            self.tell(News::Alone);
            self.wake_resting(|_| true);
        }
        self.tell_eagerness(now);
        self.on_change(now);
    }

    fn rest(&mut self, url: &PeerUrl, rest: Rest) {
        self.overlay.set_rest(url, rest);
        self.outputs.push_back(Output::Rest(url.clone()));
        if let Rest::Until(until) = rest {
            self.wake_upkeep(until);
        }
    }

    /// Has configured peers dialed again.
    pub(super) fn wake_resting(&mut self, is_over: impl Fn(Rest) -> bool) {
        for url in self.overlay.wake_resting(is_over) {
            self.outputs.push_back(Output::Dial(url));
        }
    }

    /// What was to be dialed, or a configured peer, could not be had as a neighbor.
    pub(crate) fn on_dial_failed(&mut self, url: &PeerUrl, failure: DialFailure, now: Instant) {
        if failure == DialFailure::Itself {
            self.overlay.on_itself(url);
        }
        match (self.overlay.end_dial(url), failure) {
            (Some(Purpose::Verify(target, _)), _) => self.on_verified(target, url, false, now),
            (_, DialFailure::Itself) | (Some(Purpose::Configured), _) => {}
            // It stays among the dead, and is tried again when its turn comes.
            (Some(Purpose::Revive), DialFailure::Unreachable) => {}
            (Some(Purpose::Revive), DialFailure::Plain) => self.overlay.forget_dead(url),
            _ => self.overlay.on_failed(url, now),
        }
        self.wake_upkeep(now);
    }
}
