//! Messages that neighbors have announced and that have not come: whom to ask for them, and when. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{PeerKey, codec::MessageId};

/// Announced messages that may be awaited from one neighbor. What it announces beyond is left aside:
/// others will announce it too, unless it was made up.
const AWAITED_PER_NEIGHBOR_MAX: usize = 1024;
/// Neighbors that are remembered for a message.
const ANNOUNCERS_MAX: usize = 8;
/// How often one message is asked for.
const TRIES_MAX: u32 = 8;

/// Who has asked for a message that is missing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nobody,
    /// A neighbor in the tree, or one that told it: it will pass the message on to here.
    Nearby,
    Here,
}

/// Who has a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announcer {
    pub(super) peer: PeerKey,
    /// When the message was published, as it says.
    pub(super) born: Instant,
    /// To it and back: how soon it can answer.
    pub(super) round_trip: Duration,
    /// How often it was asked.
    pub(super) asked: u32,
}

/// A message that was announced and has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) announced_at: Instant,
    pub(super) asked: Asked,
    pub(super) announcers: Vec<Announcer>,
}

/// What to ask for now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) by_peer: BTreeMap<PeerKey, Vec<MessageId>>,
    /// Those of them that are asked for the first time.
    pub(super) new: Vec<MessageId>,
}

#[derive(Debug)]
struct Awaited {
    announcers: Vec<Announcer>,
    /// Whose share it counts to.
    owner: PeerKey,
    announced_at: Instant,
    ask_at: Instant,
    tries: u32,
    asked: Asked,
}

#[derive(Debug, Default)]
pub(super) struct Missing {
    awaited: BTreeMap<MessageId, Awaited>,
    by_time: BTreeSet<(Instant, MessageId)>,
    shares: BTreeMap<PeerKey, usize>,
}

impl Missing {
    /// A neighbor has a message that this node lacks. Unless it comes by itself it is asked for after `patience`.
    /// Returns false if too much is awaited from the neighbor already.
    pub(super) fn on_announced(
        &mut self,
        id: MessageId,
        by: Announcer,
        patience: Duration,
        now: Instant,
    ) -> bool {
        let ask_at = now + patience;
        if let Some(awaited) = self.awaited.get_mut(&id) {
            let is_known = awaited.announcers.iter().any(|it| it.peer == by.peer);
            if awaited.announcers.len() < ANNOUNCERS_MAX && !is_known {
                awaited.announcers.push(by);
            }
            if ask_at < awaited.ask_at && awaited.asked == Asked::Nobody {
                self.by_time.remove(&(awaited.ask_at, id));
                awaited.ask_at = ask_at;
                self.by_time.insert((ask_at, id));
            }
            return true;
        }
        let share = self.shares.entry(by.peer).or_default();
        if *share >= AWAITED_PER_NEIGHBOR_MAX {
            return false;
        }
        *share += 1;
        self.by_time.insert((ask_at, id));
        self.awaited.insert(
            id,
            Awaited {
                announcers: vec![by],
                owner: by.peer,
                announced_at: now,
                ask_at,
                tries: 0,
                asked: Asked::Nobody,
            },
        );
        true
    }

    /// Somebody near has asked for it: there is no need to do so here before then. Returns whether that is news;
    /// nobody can put off the same message twice.
    pub(super) fn put_off(&mut self, id: MessageId, until: Instant) -> bool {
        let awaited = self.awaited.get_mut(&id);
        let Some(awaited) = awaited.filter(|awaited| awaited.asked == Asked::Nobody) else {
            return false;
        };
        awaited.asked = Asked::Nearby;
        if until > awaited.ask_at {
            self.by_time.remove(&(awaited.ask_at, id));
            awaited.ask_at = until;
            self.by_time.insert((until, id));
        }
        true
    }

    /// It has come, or is not wanted any more.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Came> {
        let awaited = self.awaited.remove(&id)?;
        self.by_time.remove(&(awaited.ask_at, id));
        if let Some(share) = self.shares.get_mut(&awaited.owner) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&awaited.owner);
            }
        }
        Some(Came {
            announced_at: awaited.announced_at,
            asked: awaited.asked,
            announcers: awaited.announcers,
        })
    }

    /// A neighbor is gone; what only it had is not awaited any more.
    pub(super) fn on_left(&mut self, peer: PeerKey) {
        self.shares.remove(&peer);
        let mut orphans = Vec::new();
        for (id, awaited) in &mut self.awaited {
            awaited.announcers.retain(|it| it.peer != peer);
            if awaited.owner != peer {
                continue;
            }
            // It counts to the share of another one from now on, or nothing would bound what those leave behind
            // who come and go.
            let shares = &mut self.shares;
            let mut others = awaited.announcers.iter().map(|it| it.peer);
            let heir = others.find(|heir| {
                let share = shares.get(heir).copied().unwrap_or_default();
                share < AWAITED_PER_NEIGHBOR_MAX
            });
            match heir {
                Some(heir) => {
                    *shares.entry(heir).or_default() += 1;
                    awaited.owner = heir;
                }
                None => orphans.push(*id),
            }
        }
        for id in orphans {
            self.remove(id);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// What to ask of whom now. What does not come is asked of the next one after `patience`, then after
    /// twice that, and so on.
    pub(super) fn due(&mut self, now: Instant, patience: Duration) -> Requests {
        let mut requests = Requests::default();
        while let Some((at, id)) = self.by_time.first().copied().filter(|(at, _)| *at <= now) {
            let awaited = self
                .awaited
                .get_mut(&id)
                .expect("both sets hold the same ids");
            if awaited.tries >= TRIES_MAX {
                self.remove(id);
                continue;
            }
            let announcers = awaited.announcers.iter_mut();
            let nearest = announcers.min_by_key(|it| (it.asked, it.round_trip));
            let nearest = nearest.expect("what nobody has is not awaited");
            nearest.asked += 1;
            requests.by_peer.entry(nearest.peer).or_default().push(id);
            if awaited.tries == 0 {
                requests.new.push(id);
            }
            awaited.asked = Asked::Here;
            awaited.ask_at = now + patience * (1 << awaited.tries);
            awaited.tries += 1;
            self.by_time.remove(&(at, id));
            self.by_time.insert((awaited.ask_at, id));
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_id::NodeId;

    const SECOND: Duration = Duration::from_secs(1);
    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(2);

    fn by(peer: PeerKey) -> Announcer {
        let born = Instant::now();
        Announcer {
            peer,
            born,
            round_trip: SECOND,
            asked: 0,
        }
    }

    fn id(sequence: u32) -> MessageId {
        MessageId {
            origin: NodeId(1),
            sequence,
        }
    }

    #[test]
    fn each_announcer_is_asked_in_turn_and_not_for_ever() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.on_announced(id(1), by(A), SECOND, start);
        missing.on_announced(id(1), by(B), SECOND, start);
        assert!(missing.due(start, SECOND).by_peer.is_empty());
        let mut asked = Vec::new();
        while let Some(at) = missing.next_deadline() {
            asked.extend(missing.due(at, SECOND).by_peer.into_keys());
        }
        assert_eq!(asked, [A, B, A, B, A, B, A, B]);
        assert!(missing.shares.is_empty());
    }

    #[test]
    fn the_nearest_is_asked_first() {
        let start = Instant::now();
        let mut missing = Missing::default();
        let mut far = by(A);
        far.round_trip = 2 * SECOND;
        missing.on_announced(id(1), far, SECOND, start);
        missing.on_announced(id(1), by(B), SECOND, start);
        let mut asked = Vec::new();
        for _ in 0..4 {
            let at = missing.next_deadline().expect("it has not come");
            asked.extend(missing.due(at, SECOND).by_peer.into_keys());
        }
        assert_eq!(asked, [B, A, B, A]);
    }

    #[test]
    fn what_somebody_near_has_asked_for_is_put_off_once() {
        let start = Instant::now();
        let mut missing = Missing::default();
        assert!(!missing.put_off(id(1), start + SECOND), "not announced");
        missing.on_announced(id(1), by(A), SECOND / 2, start);
        assert!(missing.put_off(id(1), start + SECOND));
        assert!(!missing.put_off(id(1), start + 9 * SECOND));
        missing.on_announced(id(1), by(B), Duration::ZERO, start);
        assert_eq!(missing.next_deadline(), Some(start + SECOND));
        assert_eq!(missing.due(start + SECOND, SECOND).new, [id(1)]);
        assert!(!missing.put_off(id(1), start + 9 * SECOND), "asked for");
        assert!(missing.due(start + 2 * SECOND, SECOND).new.is_empty());
        let came = missing.remove(id(1)).map(|came| came.asked);
        assert_eq!(came, Some(Asked::Here));
        // It is never asked for sooner than by itself.
        missing.on_announced(id(2), by(A), SECOND, start);
        assert!(missing.put_off(id(2), start));
        assert_eq!(missing.next_deadline(), Some(start + SECOND));
    }

    #[test]
    fn what_has_come_is_not_asked_for() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.on_announced(id(1), by(A), Duration::ZERO, start);
        missing.on_announced(id(2), by(A), Duration::ZERO, start);
        missing.remove(id(1));
        assert_eq!(
            missing.due(start, SECOND).by_peer,
            BTreeMap::from([(A, vec![id(2)])])
        );
    }

    #[test]
    fn a_neighbor_that_left_is_not_asked() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.on_announced(id(1), by(A), Duration::ZERO, start);
        missing.on_announced(id(2), by(A), Duration::ZERO, start);
        missing.on_announced(id(2), by(B), Duration::ZERO, start);
        missing.on_left(A);
        assert_eq!(
            missing.due(start, SECOND).by_peer,
            BTreeMap::from([(B, vec![id(2)])])
        );
    }

    #[test]
    fn what_one_that_left_has_announced_counts_to_another() {
        let start = Instant::now();
        let mut missing = Missing::default();
        for round in 0..9 {
            let ids = (0..1000).map(|n| id(round * 1000 + n));
            let comes_and_goes = PeerKey(100 + u64::from(round));
            for id in ids {
                missing.on_announced(id, by(comes_and_goes), Duration::ZERO, start);
                missing.on_announced(id, by(B), Duration::ZERO, start);
            }
            missing.on_left(comes_and_goes);
        }
        assert_eq!(missing.awaited.len(), AWAITED_PER_NEIGHBOR_MAX);
        assert_eq!(missing.by_time.len(), AWAITED_PER_NEIGHBOR_MAX);
        let shares = BTreeMap::from([(B, AWAITED_PER_NEIGHBOR_MAX)]);
        assert_eq!(missing.shares, shares);
        missing.on_left(B);
        assert!(missing.awaited.is_empty() && missing.shares.is_empty());
    }

    #[test]
    fn of_many_who_have_a_message_some_are_remembered() {
        let start = Instant::now();
        let mut missing = Missing::default();
        let all: Vec<_> = (0..20).map(PeerKey).collect();
        for peer in &all {
            assert!(missing.on_announced(id(1), by(*peer), Duration::ZERO, start));
        }
        let announcers = missing.remove(id(1)).expect("awaited").announcers;
        let remembered: Vec<_> = announcers.iter().map(|it| it.peer).collect();
        assert_eq!(remembered, all[..ANNOUNCERS_MAX]);
    }

    #[test]
    fn one_neighbor_cannot_take_the_room_of_others() {
        let start = Instant::now();
        let mut missing = Missing::default();
        let taken = (0..5000)
            .filter(|n| missing.on_announced(id(*n), by(A), Duration::ZERO, start))
            .count();
        assert_eq!(taken, AWAITED_PER_NEIGHBOR_MAX);
        assert!(missing.on_announced(id(9999), by(B), Duration::ZERO, start));
    }
}
