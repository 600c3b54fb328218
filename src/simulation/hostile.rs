//! Members that want to do harm: they join as everyone does, so that they have neighbors, and then say what
//! nobody should.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use bytes::BufMut;

use super::{chance::Chance, protocol::Protocol};
use crate::{
    config::PeerUrl,
    mesh::{DialFailure, Ending, Mesh, Output, PeerKey, Side, Standing},
    message::Message,
    node_id::NodeId,
};

/// Time between two attacks.
const TICK: Duration = Duration::from_millis(100);

/// Ids in an announcement or a request: as many as are taken.
const IDS: usize = 1024;

/// Ids of real messages that are remembered.
const HEARD_MAX: usize = 256;

/// How somebody does harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mischief {
    /// Announces messages that do not exist.
    Announce,
    /// Tells of addresses that lead to a victim.
    Forge,
    /// Claims the root, with jumps of term and sequence.
    Usurp,
    /// Asks for everything again and again.
    Demand,
    /// Says hello again and again.
    Greet,
    /// Takes nothing of what it is sent.
    Deaf,
}

impl Mischief {
    pub(super) const ALL: [Self; 6] = [
        Self::Announce,
        Self::Forge,
        Self::Usurp,
        Self::Demand,
        Self::Greet,
        Self::Deaf,
    ];
}

#[derive(Debug)]
pub(super) struct Hostile {
    mesh: Mesh,
    mischief: Mischief,
    victim: PeerUrl,
    chance: Chance,
    next: Instant,
    ticks: u64,
    /// Connections, whatever the mesh thinks of them.
    peers: Vec<PeerKey>,
    /// Origin and sequence of real messages.
    heard: VecDeque<[u8; 20]>,
    /// Greatest term heard of.
    term: u64,
    outputs: VecDeque<Output>,
}

impl Hostile {
    pub(super) fn new(
        mesh: Mesh,
        mischief: Mischief,
        victim: PeerUrl,
        chance: Chance,
        now: Instant,
    ) -> Self {
        Self {
            mesh,
            mischief,
            victim,
            chance,
            next: now + TICK,
            ticks: 0,
            peers: Vec::new(),
            heard: VecDeque::new(),
            term: 1,
            outputs: VecDeque::new(),
        }
    }

    /// What is sent to every neighbor now.
    fn attack(&mut self) -> Vec<Message> {
        self.ticks += 1;
        match self.mischief {
            Mischief::Announce => vec![self.bogus_announcement()],
            Mischief::Forge => self.forged_addresses(),
            Mischief::Usurp => self.false_beacons(),
            Mischief::Demand => self.demand().into_iter().collect(),
            Mischief::Greet if self.ticks.is_multiple_of(50) => vec![self.hello()],
            // Whoever says something now and then is not taken for dead.
            Mischief::Deaf if self.ticks.is_multiple_of(50) => {
                vec![Message::text(r#"{"type":"tree","eager":true}"#)]
            }
            Mischief::Greet | Mischief::Deaf => Vec::new(),
        }
    }

    /// Mostly one origin with many numbers, which is small on the wire; now and then many origins.
    fn bogus_announcement(&mut self) -> Message {
        let mut bytes = vec![2];
        if self.ticks.is_multiple_of(10) {
            for _ in 0..IDS {
                bytes.put_u128(self.chance.id());
                bytes.put_u16(1);
                bytes.put_u32(self.chance.below(1 << 32) as u32);
            }
        } else {
            bytes.put_u128(self.chance.id());
            bytes.put_u16(IDS as u16);
            (1..=IDS as u32).for_each(|sequence| bytes.put_u32(sequence));
        }
        Message::binary(bytes)
    }

    fn forged_addresses(&mut self) -> Vec<Message> {
        let mut url = || {
            let number = self.chance.bits();
            format!(r#""{}{number:x}""#, self.victim)
        };
        let urls: Vec<String> = (0..8).map(|_| url()).collect();
        let urls = urls.join(",");
        let id = self.ticks;
        vec![
            Message::text(format!(r#"{{"type":"redirect","urls":[{urls}]}}"#)),
            Message::text(format!(
                r#"{{"type":"shuffle","id":{id},"ttl":4,"urls":[{urls}]}}"#
            )),
            Message::text(format!(
                r#"{{"type":"shuffled","id":{id},"urls":[{urls}]}}"#
            )),
        ]
    }

    fn false_beacons(&mut self) -> Vec<Message> {
        let beacon = |term: u64, root: u128, sequence: u64| {
            let root = NodeId(root);
            Message::text(format!(
                r#"{{"type":"beacon","term":{term},"distance":0,"root":"{root}","sequence":{sequence},"hop":0}}"#
            ))
        };
        let root = self.chance.id();
        vec![
            beacon(self.term + 1, root, 1),
            beacon(self.term + (1 << 16), 0, self.ticks),
            beacon(self.term, 0, (1 << 32) - 1),
            beacon((1 << 53) - 1, root, 1),
        ]
    }

    fn demand(&self) -> Option<Message> {
        let mut bytes = vec![3];
        for id in &self.heard {
            bytes.put_slice(&id[..16]);
            bytes.put_u16(1);
            bytes.put_slice(&id[16..]);
        }
        (!self.heard.is_empty()).then(|| Message::binary(bytes))
    }

    fn hello(&mut self) -> Message {
        let id = NodeId(self.chance.id());
        Message::text(format!(
            r#"{{"type":"hello","min":1,"max":1,"id":"{id}","network":"default","urgent":true}}"#
        ))
    }

    fn listen(&mut self, frame: &Message) {
        match frame {
            Message::Binary(bytes) if bytes.first() == Some(&1) => {
                if let Some(id) = bytes.get(3..23).and_then(|id| id.first_chunk()) {
                    self.heard.push_back(*id);
                    if self.heard.len() > HEARD_MAX {
                        self.heard.pop_front();
                    }
                }
            }
            Message::Text(text) if text.contains("\"beacon\"") => {
                let beacon: Option<serde_json::Value> = serde_json::from_str(text).ok();
                let term = beacon.and_then(|beacon| beacon.get("term")?.as_u64());
                self.term = self.term.max(term.unwrap_or(0)).min(1 << 52);
            }
            _ => {}
        }
    }
}

impl Protocol for Hostile {
    fn on_opened(&mut self, peer: PeerKey, side: Side, remote: IpAddr, now: Instant) {
        self.peers.push(peer);
        self.mesh.on_opened(peer, side, remote, now);
    }

    fn on_frame(&mut self, peer: PeerKey, frame: Message, now: Instant) {
        self.listen(&frame);
        self.mesh.on_frame(peer, frame, now);
    }

    fn on_closed(&mut self, peer: PeerKey, ending: Ending, now: Instant) {
        self.peers.retain(|other| *other != peer);
        self.mesh.on_closed(peer, ending, now);
    }

    fn on_dial_failed(&mut self, url: &PeerUrl, failure: DialFailure, now: Instant) {
        self.mesh.on_dial_failed(url, failure, now);
    }

    fn publish(&mut self, _: &Message, _: Instant) {}

    fn expire(&mut self, now: Instant) {
        if self.mesh.next_deadline().is_some_and(|due| due <= now) {
            self.mesh.expire(now);
        }
        if self.next <= now {
            self.next = now + TICK;
            let to = match self.mischief {
                // It has read nobody's hello.
                Mischief::Deaf => self.peers.clone(),
                _ => Protocol::members(&self.mesh),
            };
            for frame in self.attack() {
                let to = to.clone();
                self.outputs.push_back(Output::Send { to, frame });
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let mesh = self.mesh.next_deadline();
        Some(mesh.map_or(self.next, |due| due.min(self.next)))
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            let output = self
                .mesh
                .poll_output()
                .or_else(|| self.outputs.pop_front())?;
            // Who takes nothing does not go by itself either.
            let stays = self.mischief == Mischief::Deaf && matches!(output, Output::Close { .. });
            if !stays {
                return Some(output);
            }
        }
    }

    fn standing(&self) -> Standing {
        self.mesh.standing()
    }

    fn members(&self) -> Vec<PeerKey> {
        Protocol::members(&self.mesh)
    }
}
