//! The least that can be driven: keeps its connections and floods. For tests of what is around a protocol.

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::simulation::protocol::{CHANNEL, Protocol};
use crate::{
    config::PeerUrl,
    mesh::{Delivery, DialFailure, Ending, Output, PeerKey, Reach, Side, Standing},
    message::Message,
    node_id::NodeId,
};

#[derive(Debug, Default)]
pub(super) struct Bare {
    pub(super) peers: BTreeSet<PeerKey>,
    seen: BTreeSet<Vec<u8>>,
    outputs: VecDeque<Output>,
    duplicates: u64,
    beats: Option<Instant>,
}

impl Bare {
    /// One that sends something every second.
    pub(super) fn beating(start: Instant) -> Self {
        Self {
            beats: Some(start),
            ..Self::default()
        }
    }

    fn send(&mut self, frame: &Message, but: Option<PeerKey>) {
        let to = self.peers.iter().copied().filter(|peer| Some(*peer) != but);
        let (to, frame) = (to.collect(), frame.clone());
        self.outputs.push_back(Output::Send { to, frame });
    }
}

impl Protocol for Bare {
    fn on_opened(&mut self, peer: PeerKey, _: Side, _: IpAddr, _: Instant) {
        assert!(self.peers.insert(peer), "opened twice");
    }

    fn on_frame(&mut self, peer: PeerKey, frame: Message, _: Instant) {
        let Message::Binary(bytes) = &frame else {
            return;
        };
        if !self.seen.insert(bytes.to_vec()) {
            self.duplicates += 1;
            return;
        }
        self.send(&frame, Some(peer));
        self.outputs.push_back(Output::Deliver(Delivery {
            origin: NodeId(0),
            sequence: 0,
            channel: CHANNEL.into(),
            message: frame,
            reach: Reach::Mesh,
        }));
    }

    fn on_closed(&mut self, peer: PeerKey, _: Ending, _: Instant) {
        assert!(self.peers.remove(&peer), "closed without being open");
    }

    fn on_dial_failed(&mut self, _: &PeerUrl, _: DialFailure, _: Instant) {}

    fn publish(&mut self, message: &Message, _: Instant) {
        self.seen.insert(message.as_bytes().to_vec());
        self.send(message, None);
    }

    fn expire(&mut self, now: Instant) {
        if let Some(beats) = &mut self.beats
            && *beats <= now
        {
            *beats = now + Duration::from_secs(1);
            self.send(&Message::text("beat"), None);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.beats
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn members(&self) -> Vec<PeerKey> {
        self.peers.iter().copied().collect()
    }

    fn standing(&self) -> Standing {
        Standing {
            neighbors: self.peers.len(),
            duplicates: self.duplicates,
            ..Standing::default()
        }
    }
}
