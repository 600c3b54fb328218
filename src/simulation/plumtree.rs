//! Plumtree as published: eager and lazy neighbors, IHAVE, GRAFT with timers, PRUNE on a duplicate (Leitão,
//! Pereira, Rodrigues: Epidemic Broadcast Trees, SRDS 2007), without its optional optimization. Announcements
//! are gathered for as long as those of the mesh, and wait as long before what they tell of is asked for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes};

use super::{
    layered::{Broadcast, Gossip, Id, Out, Recent},
    traffic::{BASELINE_ANNOUNCEMENT, BASELINE_PRUNE, BASELINE_REQUEST},
};
use crate::{mesh::PeerKey, message::Message};

/// IHAVEs are gathered for so long.
const LAZY_DELAY: Duration = Duration::from_millis(100);
/// The first timer of a missing message, and the next ones.
const TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT_AGAIN: Duration = Duration::from_millis(250);
/// Messages that are kept to be sent when a GRAFT asks for them, in each of two generations.
const KEPT_FOR: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Missing {
    announced_by: VecDeque<PeerKey>,
    ask_at: Instant,
}

#[derive(Debug)]
pub(super) struct Plumtree {
    eager: BTreeSet<PeerKey>,
    lazy: BTreeMap<PeerKey, Vec<Id>>,
    lazy_at: Option<Instant>,
    kept: Recent<Message>,
    missing: BTreeMap<Id, Missing>,
    /// The same by time.
    timers: BTreeSet<(Instant, Id)>,
}

impl Plumtree {
    pub(super) fn new() -> Self {
        Self {
            eager: BTreeSet::new(),
            lazy: BTreeMap::new(),
            lazy_at: None,
            kept: Recent::new(),
            missing: BTreeMap::new(),
            timers: BTreeSet::new(),
        }
    }

    fn make_eager(&mut self, peer: PeerKey) {
        if self.lazy.remove(&peer).is_some() {
            self.eager.insert(peer);
        }
    }

    fn make_lazy(&mut self, peer: PeerKey) {
        if self.eager.remove(&peer) {
            self.lazy.insert(peer, Vec::new());
        }
    }

    fn on_announcement(&mut self, from: PeerKey, ids: Vec<Id>, now: Instant) {
        for id in ids {
            if self.kept.get(id).is_some() {
                continue;
            }
            let missing = self.missing.entry(id).or_insert_with(|| {
                self.timers.insert((now + TIMEOUT, id));
                Missing {
                    announced_by: VecDeque::new(),
                    ask_at: now + TIMEOUT,
                }
            });
            missing.announced_by.push_back(from);
        }
    }

    fn forget_missing(&mut self, id: Id) {
        if let Some(missing) = self.missing.remove(&id) {
            self.timers.remove(&(missing.ask_at, id));
        }
    }

    fn announce(&mut self, out: &mut Out) {
        for (peer, ids) in &mut self.lazy {
            if !ids.is_empty() {
                let ids = mem::take(ids);
                out.send([*peer], encode(BASELINE_ANNOUNCEMENT, ids));
            }
        }
    }

    /// Asks who has announced a message, and has it send from now on.
    fn graft(&mut self, now: Instant, out: &mut Out) {
        while let Some((_, id)) = self.timers.first().filter(|(at, _)| *at <= now).copied() {
            self.timers.pop_first();
            let Some(missing) = self.missing.get_mut(&id) else {
                continue;
            };
            let Some(peer) = missing.announced_by.pop_front() else {
                self.missing.remove(&id);
                continue;
            };
            missing.ask_at = now + TIMEOUT_AGAIN;
            self.timers.insert((missing.ask_at, id));
            self.make_eager(peer);
            if self.eager.contains(&peer) {
                out.send([peer], encode(BASELINE_REQUEST, vec![id]));
            }
        }
    }
}

impl Broadcast for Plumtree {
    fn on_neighbor(&mut self, peer: PeerKey) {
        self.eager.insert(peer);
    }

    fn on_neighbor_gone(&mut self, peer: PeerKey) {
        self.eager.remove(&peer);
        self.lazy.remove(&peer);
        for missing in self.missing.values_mut() {
            missing.announced_by.retain(|other| *other != peer);
        }
    }

    fn on_frame(&mut self, from: PeerKey, frame: &Bytes, now: Instant, out: &mut Out) {
        match frame.first() {
            Some(&BASELINE_ANNOUNCEMENT) => self.on_announcement(from, decode(frame), now),
            Some(&BASELINE_REQUEST) => {
                self.make_eager(from);
                for id in decode(frame) {
                    if let Some(frame) = self.kept.get(id) {
                        out.send([from], frame.clone());
                    }
                }
            }
            Some(&BASELINE_PRUNE) => self.make_lazy(from),
            _ => {}
        }
    }

    fn on_new(&mut self, from: Option<PeerKey>, gossip: Gossip, now: Instant, out: &mut Out) {
        let frame = gossip.passed_on();
        self.kept.insert(gossip.id, frame.clone(), now, KEPT_FOR);
        self.forget_missing(gossip.id);
        let eager = self.eager.iter().copied();
        out.send(eager.filter(|peer| Some(*peer) != from), frame);
        for (peer, ids) in &mut self.lazy {
            if Some(*peer) != from {
                ids.push(gossip.id);
                self.lazy_at.get_or_insert(now + LAZY_DELAY);
            }
        }
        if let Some(from) = from {
            self.make_eager(from);
        }
    }

    fn on_duplicate(&mut self, from: PeerKey, out: &mut Out) {
        self.make_lazy(from);
        out.send([from], Message::binary(vec![BASELINE_PRUNE]));
    }

    fn expire(&mut self, now: Instant, out: &mut Out) {
        if self.lazy_at.is_some_and(|at| at <= now) {
            self.lazy_at = None;
            self.announce(out);
        }
        self.graft(now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let graft = self.timers.first().map(|(at, _)| *at);
        [self.lazy_at, graft].into_iter().flatten().min()
    }
}

/// Ids by origin, as in the frames of the mesh.
fn encode(kind: u8, mut ids: Vec<Id>) -> Message {
    ids.sort_unstable();
    let mut bytes = vec![kind];
    for group in ids.chunk_by(|a, b| a.0 == b.0) {
        bytes.put_u128(group[0].0);
        bytes.put_u16(group.len() as u16);
        group.iter().for_each(|id| bytes.put_u32(id.1));
    }
    Message::binary(bytes)
}

fn decode(frame: &[u8]) -> Vec<Id> {
    let mut ids = Vec::new();
    let mut rest = &frame[1..];
    while let Some((origin, after)) = rest.split_first_chunk() {
        let Some((count, after)) = after.split_first_chunk() else {
            break;
        };
        rest = after;
        for _ in 0..u16::from_be_bytes(*count) {
            let Some((sequence, after)) = rest.split_first_chunk() else {
                return ids;
            };
            rest = after;
            ids.push((u128::from_be_bytes(*origin), u32::from_be_bytes(*sequence)));
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_way() {
        let ids = vec![(1, 5), (1, 9), (7, 1)];
        let Message::Binary(frame) = encode(BASELINE_ANNOUNCEMENT, ids.clone()) else {
            panic!("not binary")
        };
        assert_eq!(decode(&frame), ids);
        assert_eq!(decode(&frame[..frame.len() - 1]), ids[..2]);
    }
}
