//! A node that is about to go says so, and is left out of the tree before it is gone.
//!
//! It tells its neighbors, and where they find one another. They look for another way to the root and for another
//! neighbor at once, and say that they know: all that they have sent before that has come by then. Whoever finds no
//! other way goes on by the node that leaves: that passes messages on to the last, and has what it publishes itself
//! spread as ever. It claims nothing, takes nobody's place and looks for nobody any more.

use std::{collections::BTreeSet, mem, time::Instant};

use super::{
    Mesh, PeerKey,
    control::{Control, Role},
};

/// This node is about to go.
#[derive(Debug)]
pub(super) struct Withdrawal {
    /// Those who have not said yet that they know.
    awaited: BTreeSet<PeerKey>,
}

impl Mesh {
    /// Tells all neighbors that this node is about to go, once.
    pub(crate) fn withdraw(&mut self, now: Instant) {
        if self.withdrawal.is_some() {
            return;
        }
        let members = self.neighbors.members();
        let members: Vec<_> = members.map(|(peer, member)| (peer, member.role)).collect();
        let relays = members.iter().filter(|(_, role)| *role == Role::Peer);
        self.withdrawal = Some(Withdrawal {
            awaited: relays.map(|(peer, _)| *peer).collect(),
        });
        self.tree.withdraw();
        for (peer, _) in members {
            let urls = self.urls_for_joining(peer, &[]);
            self.send_control(peer, &Control::Leaving { urls });
        }
        self.tell_eagerness(now);
        self.wake_upkeep(now);
    }

    /// Whether this node is about to go and all neighbors know it.
    pub(crate) fn is_withdrawn(&self) -> bool {
        let withdrawal = self.withdrawal.as_ref();
        withdrawal.is_some_and(|withdrawal| withdrawal.awaited.is_empty())
    }

    /// A neighbor knows that this node goes, or is gone itself.
    pub(super) fn on_noted(&mut self, peer: PeerKey) {
        if let Some(withdrawal) = &mut self.withdrawal {
            withdrawal.awaited.remove(&peer);
        }
    }

    /// A neighbor is about to go.
    pub(super) fn on_leaving(&mut self, peer: PeerKey, urls: &[String], now: Instant) {
        let was_spare = self.is_spare(peer);
        let Some(member) = self.neighbors.member_mut(peer) else {
            return;
        };
        if mem::replace(&mut member.is_leaving, true) {
            self.standing.ignored += 1;
            return;
        }
        if !was_spare {
            self.torn_at = Some(now);
        }
        self.tree.on_leaving(peer, now);
        self.send_control(peer, &Control::Noted);
        self.learn_urls(peer, urls, now);
        self.tell_eagerness(now);
        self.on_change(now);
    }
}
