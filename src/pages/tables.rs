//! What a program reads, as JSON: names end in their unit.

use serde::Serialize;

use super::{Neighbor, Peer, Snapshot};

#[derive(Serialize)]
struct Peers<'a> {
    neighbors: &'a [Neighbor],
    peers: &'a [Peer],
    /// Plain peers that are not among them.
    peers_more: u64,
}

#[derive(Serialize)]
struct Mesh<'a> {
    id: String,
    version: &'static str,
    network: &'a str,
    uptime_seconds: f64,
    is_root: bool,
    root: Option<String>,
    hops_from_root: u32,
    neighbors: &'a [Neighbor],
    neighbors_wanted: u64,
    plain_peers: u64,
    peers_waiting: u64,
    outbox_bytes: u64,
    /// For each peer.
    outbox_bytes_max: usize,
    messages_received: u64,
    messages_sent: u64,
    bytes_received: u64,
    bytes_sent: u64,
    published: u64,
    delivered: u64,
    duplicates: u64,
    missed: u64,
}

pub(super) fn peers(snapshot: &Snapshot<'_>) -> String {
    let shown = snapshot.peers.len() as u64;
    text(&Peers {
        neighbors: &snapshot.neighbors,
        peers: &snapshot.peers,
        peers_more: snapshot.plain_peers().saturating_sub(shown),
    })
}

pub(super) fn mesh(snapshot: &Snapshot<'_>) -> String {
    let counters = &snapshot.counters;
    text(&Mesh {
        id: snapshot.id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        network: snapshot.network,
        uptime_seconds: snapshot.uptime.as_secs_f64(),
        is_root: snapshot.is_root(),
        root: snapshot.root.map(|root| root.to_string()),
        hops_from_root: snapshot.hop,
        neighbors: &snapshot.neighbors,
        neighbors_wanted: snapshot.neighbors_wanted,
        plain_peers: snapshot.plain_peers(),
        peers_waiting: counters.peers_waiting,
        outbox_bytes: counters.outbox_bytes,
        outbox_bytes_max: snapshot.outbox_bytes_max,
        messages_received: counters.messages_received,
        messages_sent: counters.messages_sent,
        bytes_received: counters.bytes_received,
        bytes_sent: counters.bytes_sent,
        published: counters.published,
        delivered: counters.delivered,
        duplicates: counters.duplicates,
        missed: counters.missed,
    })
}

/// Numbers, texts and lists of them always have a form in JSON.
fn text(table: &impl Serialize) -> String {
    serde_json::to_string(table).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{Durations, tests::snapshot};

    #[test]
    fn the_tables_can_be_read() {
        let turns = Durations::default();
        let snapshot = snapshot(&turns);
        let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        let peers = read(peers(&snapshot));
        assert_eq!(peers["peers"][0]["channel"], "/<b>\"");
        assert_eq!(peers["peers_more"], 8);
        assert_eq!(peers["neighbors"][0]["tie"], "parent");
        let mesh = read(mesh(&snapshot));
        assert_eq!(
            (&mesh["plain_peers"], &mesh["hops_from_root"]),
            (&9.into(), &2.into())
        );
        assert_eq!(mesh["root"], format!("{:032x}", 3));
        assert_eq!(mesh["is_root"], false);
    }
}
