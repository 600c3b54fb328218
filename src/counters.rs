//! What a node counts. Plain numbers; the loop copies them out once a turn.

/// Counts since the node started, and what is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Turns of the loop: how often the node woke up.
    pub turns: u64,
    /// Peers connected now, dialed and accepted.
    pub peers: u64,
    /// Of the peers, the nodes of the mesh that have said hello: neighbors.
    pub neighbors: u64,
    /// Of the connections of peers, those of nodes, which may not have said hello yet.
    pub neighbor_connections: u64,
    /// Sockets held now, those that have not upgraded or are closing included.
    pub connections: u64,
    /// Sockets accepted, those refused at once included.
    pub accepted: u64,
    /// Refused with 503 because of `--max-connections` or `--max-handshakes`, or given up for others because of it.
    pub refused_full: u64,
    /// Refused with 429 because of `--max-connections-per-address` or `--max-connections-per-network`, or because one
    /// address would have more than half of `--max-handshakes`, or one network more than three quarters, or because of
    /// `--max-handshake-rate`.
    pub refused_per_address: u64,
    /// Refused with 401 or 403: from an address that `--allow` and `--deny` keep out, without a token of `--token-file`, without the right, or for a page that
    /// `--allow-origin` does not name.
    pub refused_access: u64,
    /// Of the refused, those dropped right after their answer because too many refusals were under way.
    pub refused_abruptly: u64,
    /// How often accepting paused because descriptors were used up.
    pub accept_pauses: u64,
    /// Requests that were answered with no upgrade: pages, refusals, those not done in time or by the stop.
    pub requests_answered: u64,
    /// TCP connections started to dial a peer.
    pub dials: u64,
    /// Dials of a peer, all its addresses tried, that led to nothing.
    pub dials_failed: u64,
    /// Peers connected so far.
    pub opened: u64,
    /// Peers gone so far.
    pub closed: u64,
    /// Peers that have said that they go.
    pub closed_by_peer: u64,
    /// Peers whose connection ended or failed without a word.
    pub closed_lost: u64,
    /// Peers closed because they read too slowly.
    pub closed_slow: u64,
    /// Peers closed because all together held more than `--memory`, and each of these more than the others.
    pub closed_memory: u64,
    /// Peers closed because nothing came from them.
    pub closed_silent: u64,
    /// Peers closed because of what they sent: 1002, 1007, 1009.
    pub closed_protocol: u64,
    /// Plain peers closed because they sent more than `--max-publish-rate`, `--max-publish-bytes`, or those of their address.
    pub closed_rate: u64,
    /// How often a plain peer had to wait because of one of these.
    pub delayed: u64,
    /// TLS handshakes that had to wait because too many of their network had begun and not come to an upgrade.
    pub handshakes_delayed: u64,
    /// Plain peers closed because they published with a token that does not allow it.
    pub closed_rights: u64,
    /// Data messages received, those between neighbors included.
    pub messages_received: u64,
    /// Bytes received, HTTP and frames.
    pub bytes_received: u64,
    /// Data messages queued, one for each peer that is to get it.
    pub messages_sent: u64,
    /// Bytes sent, HTTP and frames.
    pub bytes_sent: u64,
    /// Data messages dropped for peers that read too slowly.
    pub messages_dropped: u64,
    /// Bytes that wait to be sent now, to all peers together.
    pub outbox_bytes: u64,
    /// Peers that something waits for now: their sockets take no more.
    pub peers_waiting: u64,
    /// Messages published at this node.
    pub published: u64,
    /// Messages published at other nodes that arrived here, each counted once.
    pub delivered: u64,
    /// Messages of other nodes that arrived once more, and were dropped.
    pub duplicates: u64,
    /// Messages of other nodes that were missed for good.
    pub missed: u64,
    /// Messages that were asked for because they were announced and did not come by themselves.
    pub requested: u64,
    /// Messages that were not passed on to a neighbor because its `--max-message` is less.
    pub withheld: u64,
    /// Frames of neighbors that were left aside: unknown, wrong, or too many.
    pub ignored: u64,
    /// Bytes of `--memory` that are taken now: what waits for peers, what has come in part, what is kept for others.
    pub held_bytes: u64,
    /// Of them, those of messages that are kept for others.
    pub history_bytes: u64,
    /// Messages kept for others that were forgotten before their time because of `--memory`.
    pub forgotten: u64,
    /// Pings sent.
    pub pings_sent: u64,
    /// Periodic broadcasts.
    pub broadcasts: u64,
}
