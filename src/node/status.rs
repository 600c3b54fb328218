//! The status snapshot: how the node stands, for who asks at the status listener.

use std::time::{Duration, Instant};

use super::relay::Relay;
use crate::{
    config::{Config, limits::PEERS_SHOWN_MAX},
    net::{Entrance, Form, Network},
    node_id::NodeId,
    pages::{self, Durations, Page, Peer, Snapshot},
};

/// What is to be known for it beside connections and mesh.
#[derive(Debug)]
pub(super) struct Status {
    id: NodeId,
    network_name: String,
    made_at: Instant,
    turns: Durations,
    ready_neighbors: usize,
    outbox_bytes_max: usize,
    accepts: bool,
    /// The node is about to go.
    pub(super) goes: bool,
}

impl Status {
    pub(super) fn new(config: &Config, id: NodeId, now: Instant) -> Self {
        Self {
            id,
            network_name: config.mesh.network.to_string(),
            made_at: now,
            turns: Durations::default(),
            ready_neighbors: config.status.ready_neighbors,
            outbox_bytes_max: config.limits.outbox_bytes_max,
            accepts: !config.binds.is_empty(),
            goes: false,
        }
    }

    /// Takes over what may have changed.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.ready_neighbors = config.status.ready_neighbors;
        self.outbox_bytes_max = config.limits.outbox_bytes_max;
    }

    /// A turn of the loop is done.
    pub(super) fn on_turn(&mut self, took: Duration) {
        self.turns.add(took);
    }

    /// The answer to who asks for a page. What it costs is bounded, however many peers there are.
    pub(super) fn answer(
        &self,
        page: Page,
        form: Form,
        network: &mut Network,
        relay: &Relay,
        now: Instant,
    ) -> Vec<u8> {
        relay.count(network.counters());
        let counters = *network.counters();
        let standing = relay.standing();
        let neighbors = match page.tells_of_peers() {
            true => relay.neighbors(network),
            false => Vec::new(),
        };
        let peers = match page {
            Page::Peers => plain_peers(network, PEERS_SHOWN_MAX.saturating_sub(neighbors.len())),
            _ => Vec::new(),
        };
        let listens = !network.listening_addresses(Entrance::Peers).is_empty();
        let snapshot = Snapshot {
            id: self.id,
            network: &self.network_name,
            uptime: now.saturating_duration_since(self.made_at),
            is_listening: !self.goes && (listens || !self.accepts),
            ready_neighbors: self.ready_neighbors,
            counters,
            handshaking: network.handshaking() as u64,
            outbox_bytes_max: self.outbox_bytes_max,
            neighbors_wanted: standing.neighbors_wanted as u64,
            root: standing.root,
            hop: standing.hop,
            turns: &self.turns,
            neighbors,
            peers,
        };
        pages::respond(page, &snapshot, form == Form::Whole)
    }
}

fn plain_peers(network: &Network, count_max: usize) -> Vec<Peer> {
    let tokens = network.some_plain_peers().take(count_max);
    let peers = tokens.filter_map(|peer| {
        let (name, channel) = network.describe(peer)?;
        Some(Peer {
            name: name.to_string(),
            channel: channel.to_owned(),
            round_trip_seconds: network.round_trip(peer).map(|time| time.as_secs_f64()),
            outbox_bytes: network.pending_bytes(peer),
        })
    });
    peers.collect()
}
