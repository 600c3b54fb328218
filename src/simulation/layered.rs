//! Other ways of broadcasting, over the same overlay: a mesh that publishes nothing keeps the neighbors, and
//! a broadcast of its own kind goes over their connections.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, mem,
    net::IpAddr,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes};

use super::{
    protocol::{CHANNEL, Protocol},
    traffic::BASELINE_PAYLOAD,
};
use crate::{
    config::PeerUrl,
    mesh::{Delivery, DialFailure, Ending, Output, PeerKey, Reach, Side, Standing},
    message::Message,
    node_id::NodeId,
};

/// Names a message: its origin and the number there.
pub(super) type Id = (u128, u32);

/// Bytes before the payload: as many as in a message of the mesh.
const HEAD_BYTES: usize = 1 + 1 + 1 + 16 + 4 + 1 + CHANNEL.len();

/// How a neighbor says that it does not want messages at once.
const NOT_EAGER: &str = r#"{"type":"tree","eager":false}"#;

/// How long a message is recognized, at least.
const SEEN_FOR: Duration = Duration::from_secs(120);

/// How a message becomes known to all neighbors of neighbors. Pure.
pub(super) trait Broadcast: fmt::Debug {
    fn on_neighbor(&mut self, peer: PeerKey);
    fn on_neighbor_gone(&mut self, peer: PeerKey);
    /// A frame that is no message: announcements and the like.
    fn on_frame(&mut self, from: PeerKey, frame: &Bytes, now: Instant, out: &mut Out);
    /// A message that is new here, of this node or of another.
    fn on_new(&mut self, from: Option<PeerKey>, gossip: Gossip, now: Instant, out: &mut Out);
    /// A message that was there already.
    fn on_duplicate(&mut self, from: PeerKey, out: &mut Out);
    fn expire(&mut self, now: Instant, out: &mut Out);
    fn next_deadline(&self) -> Option<Instant>;
}

/// A message as it travels.
#[derive(Clone, Debug)]
pub(super) struct Gossip {
    pub(super) id: Id,
    pub(super) round: u8,
    frame: Bytes,
}

impl Gossip {
    fn publish(id: Id, message: &Message) -> Self {
        let mut frame = Vec::with_capacity(HEAD_BYTES + message.len());
        frame.put_u8(BASELINE_PAYLOAD);
        frame.put_u8(0);
        frame.put_u8(1);
        frame.put_u128(id.0);
        frame.put_u32(id.1);
        frame.put_u8(CHANNEL.len() as u8);
        frame.put_slice(CHANNEL.as_bytes());
        frame.put_slice(message.as_bytes());
        Self {
            id,
            round: 0,
            frame: frame.into(),
        }
    }

    fn decode(frame: &Bytes) -> Option<Self> {
        let [kind, _, round, rest @ ..] = &frame[..] else {
            return None;
        };
        let (origin, rest) = rest.split_first_chunk()?;
        let (sequence, _) = rest.split_first_chunk()?;
        let is_whole = *kind == BASELINE_PAYLOAD && frame.len() >= HEAD_BYTES;
        is_whole.then(|| Self {
            id: (u128::from_be_bytes(*origin), u32::from_be_bytes(*sequence)),
            round: *round,
            frame: frame.clone(),
        })
    }

    /// As this node passes it on.
    pub(super) fn passed_on(&self) -> Message {
        if self.round == 0 {
            return Message::Binary(self.frame.clone());
        }
        let mut frame = self.frame.to_vec();
        frame[2] = frame[2].saturating_add(1);
        Message::Binary(frame.into())
    }

    fn payload(&self) -> Message {
        Message::Binary(self.frame.slice(HEAD_BYTES..))
    }
}

/// What a broadcast wants to be sent.
#[derive(Debug, Default)]
pub(super) struct Out(VecDeque<Output>);

impl Out {
    pub(super) fn send(&mut self, to: impl IntoIterator<Item = PeerKey>, frame: Message) {
        let to: Vec<_> = to.into_iter().collect();
        if !to.is_empty() {
            self.0.push_back(Output::Send { to, frame });
        }
    }
}

/// Things by message, in two generations: what is two generations old is forgotten.
#[derive(Debug)]
pub(super) struct Recent<T> {
    young: BTreeMap<Id, T>,
    old: BTreeMap<Id, T>,
    turned_at: Option<Instant>,
}

impl<T> Recent<T> {
    pub(super) fn new() -> Self {
        Self {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            turned_at: None,
        }
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    pub(super) fn insert(&mut self, id: Id, thing: T, now: Instant, age: Duration) {
        let turned_at = *self.turned_at.get_or_insert(now);
        if now.saturating_duration_since(turned_at) >= age {
            self.turned_at = Some(now);
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id, thing);
    }
}

#[derive(Debug)]
pub(super) struct Layered<O, B> {
    overlay: O,
    broadcast: B,
    neighbors: BTreeSet<PeerKey>,
    origin: NodeId,
    published: u32,
    seen: Recent<()>,
    duplicates: u64,
    out: Out,
}

impl<O: Protocol, B: Broadcast> Layered<O, B> {
    pub(super) fn new(overlay: O, broadcast: B, origin: NodeId) -> Self {
        Self {
            overlay,
            broadcast,
            neighbors: BTreeSet::new(),
            origin,
            published: 0,
            seen: Recent::new(),
            duplicates: 0,
            out: Out::default(),
        }
    }

    /// Sees whom the overlay has taken in and whom it has left.
    fn look_at_overlay(&mut self) {
        let members: BTreeSet<_> = self.overlay.members().into_iter().collect();
        if members == self.neighbors {
            return;
        }
        for gone in self.neighbors.difference(&members) {
            self.broadcast.on_neighbor_gone(*gone);
        }
        for new in members.difference(&self.neighbors) {
            self.broadcast.on_neighbor(*new);
        }
        self.neighbors = members;
    }

    fn on_gossip(&mut self, from: PeerKey, gossip: Gossip, now: Instant) {
        if self.seen.get(gossip.id).is_some() {
            self.duplicates += 1;
            return self.broadcast.on_duplicate(from, &mut self.out);
        }
        self.seen.insert(gossip.id, (), now, SEEN_FOR);
        self.out.0.push_back(Output::Deliver(Delivery {
            origin: NodeId(gossip.id.0),
            sequence: gossip.id.1,
            channel: CHANNEL.into(),
            message: gossip.payload(),
            reach: Reach::Mesh,
        }));
        self.broadcast
            .on_new(Some(from), gossip, now, &mut self.out);
    }
}

impl<O: Protocol, B: Broadcast> Protocol for Layered<O, B> {
    fn on_opened(&mut self, peer: PeerKey, side: Side, remote: IpAddr, now: Instant) {
        self.overlay.on_opened(peer, side, remote, now);
        self.look_at_overlay();
    }

    fn on_frame(&mut self, peer: PeerKey, frame: Message, now: Instant) {
        match &frame {
            Message::Binary(bytes) if bytes.first().is_some_and(|kind| *kind >= 0xf0) => {
                // What comes from elsewhere, or too late, is not looked at.
                if !self.neighbors.contains(&peer) {
                } else if let Some(gossip) = Gossip::decode(bytes) {
                    self.on_gossip(peer, gossip, now);
                } else {
                    self.broadcast.on_frame(peer, bytes, now, &mut self.out);
                }
            }
            // The tree of the overlay is not the one in use: none of the connections may be replaced as spare.
            Message::Text(text) if text.as_str() == NOT_EAGER => {}
            _ => {
                self.overlay.on_frame(peer, frame, now);
                self.look_at_overlay();
            }
        }
    }

    fn on_closed(&mut self, peer: PeerKey, ending: Ending, now: Instant) {
        self.overlay.on_closed(peer, ending, now);
        self.look_at_overlay();
    }

    fn on_dial_failed(&mut self, url: &PeerUrl, failure: DialFailure, now: Instant) {
        self.overlay.on_dial_failed(url, failure, now);
        self.look_at_overlay();
    }

    fn publish(&mut self, message: &Message, now: Instant) {
        self.published += 1;
        let gossip = Gossip::publish((self.origin.0, self.published), message);
        self.seen.insert(gossip.id, (), now, SEEN_FOR);
        self.broadcast.on_new(None, gossip, now, &mut self.out);
    }

    fn expire(&mut self, now: Instant) {
        if self.overlay.next_deadline().is_some_and(|due| due <= now) {
            self.overlay.expire(now);
            self.look_at_overlay();
        }
        self.broadcast.expire(now, &mut self.out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.overlay.next_deadline(), self.broadcast.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.overlay
            .poll_output()
            .or_else(|| self.out.0.pop_front())
    }

    fn standing(&self) -> Standing {
        Standing {
            duplicates: self.duplicates,
            ..self.overlay.standing()
        }
    }

    fn members(&self) -> Vec<PeerKey> {
        self.overlay.members()
    }
}

/// Every new message to all neighbors but the one that it came from.
#[derive(Debug, Default)]
pub(super) struct Flood {
    neighbors: BTreeSet<PeerKey>,
}

impl Broadcast for Flood {
    fn on_neighbor(&mut self, peer: PeerKey) {
        self.neighbors.insert(peer);
    }

    fn on_neighbor_gone(&mut self, peer: PeerKey) {
        self.neighbors.remove(&peer);
    }

    fn on_new(&mut self, from: Option<PeerKey>, gossip: Gossip, _: Instant, out: &mut Out) {
        let all = self.neighbors.iter().copied();
        out.send(all.filter(|peer| Some(*peer) != from), gossip.passed_on());
    }

    fn on_frame(&mut self, _: PeerKey, _: &Bytes, _: Instant, _: &mut Out) {}

    fn on_duplicate(&mut self, _: PeerKey, _: &mut Out) {}

    fn expire(&mut self, _: Instant, _: &mut Out) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}
