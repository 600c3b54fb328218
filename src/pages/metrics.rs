//! What a node counts, as Prometheus reads it (text format 0.0.4).

use std::fmt::{Display, Write as _};

use super::{Snapshot, Tie, durations::BOUNDS_SECONDS};
use crate::counters::Counters;

pub(super) fn text(snapshot: &Snapshot<'_>) -> String {
    let mut text = Text::default();
    connections(&mut text, snapshot);
    messages(&mut text, &snapshot.counters);
    mesh(&mut text, snapshot);
    the_loop(&mut text, snapshot);
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP wsmesh_{name} {help}\n# TYPE wsmesh_{name} {kind}"
        );
    }

    /// Labels come with their braces.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "wsmesh_{name}{labels} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn by(&mut self, name: &str, kind: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, kind, help);
        for (what, value) in values {
            self.sample(name, &format!("{{{label}=\"{what}\"}}"), value);
        }
    }
}

fn connections(text: &mut Text, snapshot: &Snapshot<'_>) {
    let counters = &snapshot.counters;
    let plain = snapshot.plain_peers();
    let greeting = counters
        .neighbor_connections
        .saturating_sub(counters.neighbors);
    let unopened = counters.connections.saturating_sub(counters.peers);
    let name = "connections";
    text.family(
        name,
        "gauge",
        "Sockets held now, by what is at the other end and how far they have come.",
    );
    for (kind, phase, value) in [
        ("plain", "open", plain),
        ("neighbor", "open", counters.neighbors),
        ("neighbor", "hello", greeting),
        ("unknown", "handshake", snapshot.handshaking),
        (
            "unknown",
            "other",
            unopened.saturating_sub(snapshot.handshaking),
        ),
    ] {
        text.sample(
            name,
            &format!("{{kind=\"{kind}\",phase=\"{phase}\"}}"),
            value,
        );
    }
    text.counter(
        "accepted_total",
        "Connections accepted, those refused at once included.",
        counters.accepted,
    );
    text.by(
        "refused_total",
        "counter",
        "Connections and requests refused.",
        "reason",
        &[
            ("full", counters.refused_full),
            ("address", counters.refused_per_address),
            ("access", counters.refused_access),
        ],
    );
    text.counter(
        "accept_pauses_total",
        "How often accepting paused because descriptors were used up.",
        counters.accept_pauses,
    );
    text.counter(
        "requests_answered_total",
        "Requests answered with no upgrade.",
        counters.requests_answered,
    );
    text.counter(
        "dials_total",
        "Connections started to dial a peer.",
        counters.dials,
    );
    text.counter(
        "dials_failed_total",
        "Dials of a peer that led to nothing.",
        counters.dials_failed,
    );
    text.counter(
        "peers_opened_total",
        "Peers connected so far.",
        counters.opened,
    );
    let reasons = [
        ("by_peer", counters.closed_by_peer),
        ("lost", counters.closed_lost),
        ("slow", counters.closed_slow),
        ("memory", counters.closed_memory),
        ("silent", counters.closed_silent),
        ("protocol", counters.closed_protocol),
        ("rate", counters.closed_rate),
        ("rights", counters.closed_rights),
    ];
    let known: u64 = reasons.iter().map(|(_, count)| count).sum();
    let other = [("other", counters.closed.saturating_sub(known))];
    text.by(
        "peers_closed_total",
        "counter",
        "Peers gone so far, by why.",
        "reason",
        &[&reasons[..], &other].concat(),
    );
    text.counter(
        "delays_total",
        "How often a plain peer had to wait because it sent too fast.",
        counters.delayed,
    );
    text.counter(
        "handshake_delays_total",
        "TLS handshakes that had to wait because too many of their network did not come to an upgrade.",
        counters.handshakes_delayed,
    );
    text.counter("pings_sent_total", "Pings sent.", counters.pings_sent);
    text.gauge(
        "held_bytes",
        "Bytes of --memory that are taken now.",
        counters.held_bytes,
    );
    text.gauge(
        "history_bytes",
        "Bytes of them that are messages kept for others.",
        counters.history_bytes,
    );
    text.counter(
        "history_forgotten_total",
        "Messages kept for others that were forgotten before their time because of --memory.",
        counters.forgotten,
    );
    text.gauge(
        "outbox_bytes",
        "Bytes that wait to be sent to all peers together.",
        counters.outbox_bytes,
    );
    text.gauge(
        "peers_waiting",
        "Connections that something waits for: their sockets take no more now.",
        counters.peers_waiting,
    );
}

fn messages(text: &mut Text, counters: &Counters) {
    text.by(
        "messages_total",
        "counter",
        "Data messages on all connections.",
        "direction",
        &[
            ("received", counters.messages_received),
            ("sent", counters.messages_sent),
        ],
    );
    text.by(
        "bytes_total",
        "counter",
        "Bytes on all connections, HTTP and frames.",
        "direction",
        &[
            ("received", counters.bytes_received),
            ("sent", counters.bytes_sent),
        ],
    );
    text.counter(
        "messages_dropped_total",
        "Messages dropped for peers that read too slowly.",
        counters.messages_dropped,
    );
    text.counter(
        "published_total",
        "Messages published at this node.",
        counters.published,
    );
    text.counter(
        "delivered_total",
        "Messages of other nodes, each counted once.",
        counters.delivered,
    );
    text.counter(
        "duplicates_total",
        "Messages of other nodes that came once more.",
        counters.duplicates,
    );
    text.counter(
        "missed_total",
        "Messages of other nodes that were missed for good: gaps.",
        counters.missed,
    );
    text.counter(
        "requested_total",
        "Messages asked for because they did not come by themselves.",
        counters.requested,
    );
    text.counter(
        "withheld_total",
        "Messages too large for a neighbor.",
        counters.withheld,
    );
    text.counter(
        "ignored_total",
        "Frames of neighbors that were left aside.",
        counters.ignored,
    );
    text.counter(
        "broadcasts_total",
        "Periodic broadcasts.",
        counters.broadcasts,
    );
}

fn mesh(text: &mut Text, snapshot: &Snapshot<'_>) {
    let info = format!(
        "{{id=\"{}\",version=\"{}\"}}",
        snapshot.id,
        env!("CARGO_PKG_VERSION")
    );
    text.family("info", "gauge", "This node.");
    text.sample("info", &info, 1);
    text.gauge(
        "neighbors",
        "Neighbors that have said hello: the degree in the mesh.",
        snapshot.counters.neighbors,
    );
    text.gauge(
        "neighbors_wanted",
        "As many neighbors as the node looks for.",
        snapshot.neighbors_wanted,
    );
    text.gauge(
        "tree_is_root",
        "Whether this node is the root of the broadcast tree.",
        u8::from(snapshot.is_root()),
    );
    text.gauge(
        "tree_hops_from_root",
        "Hops from the root of the broadcast tree to here.",
        snapshot.hop,
    );
    if let Some(root) = snapshot.root {
        text.family("tree_root", "gauge", "The root of the broadcast tree.");
        text.sample("tree_root", &format!("{{id=\"{root}\"}}"), 1);
    }
    if let Some(parent) = snapshot.neighbors.iter().find(|one| one.tie == Tie::Parent) {
        text.family(
            "tree_parent",
            "gauge",
            "The neighbor by which messages come.",
        );
        text.sample("tree_parent", &format!("{{id=\"{}\"}}", parent.id), 1);
    }
    text.family(
        "neighbor_outbox_bytes",
        "gauge",
        "Bytes that wait for a neighbor.",
    );
    for one in &snapshot.neighbors {
        text.sample(
            "neighbor_outbox_bytes",
            &format!("{{id=\"{}\"}}", one.id),
            one.outbox_bytes,
        );
    }
    text.family(
        "neighbor_round_trip_seconds",
        "gauge",
        "Time that a neighbor took to answer.",
    );
    for one in &snapshot.neighbors {
        if let Some(seconds) = one.round_trip_seconds {
            text.sample(
                "neighbor_round_trip_seconds",
                &format!("{{id=\"{}\"}}", one.id),
                seconds,
            );
        }
    }
}

fn the_loop(text: &mut Text, snapshot: &Snapshot<'_>) {
    text.gauge(
        "uptime_seconds",
        "Time since the node was made.",
        snapshot.uptime.as_secs_f64(),
    );
    text.counter(
        "wakeups_total",
        "Turns of the loop: how often the node woke up.",
        snapshot.counters.turns,
    );
    let name = "turn_duration_seconds";
    text.family(
        name,
        "histogram",
        "Time that a turn of the loop took, without sleeping.",
    );
    let counts = snapshot.turns.cumulative();
    for (bound, count) in BOUNDS_SECONDS.iter().zip(counts) {
        text.sample(
            "turn_duration_seconds_bucket",
            &format!("{{le=\"{bound}\"}}"),
            count,
        );
    }
    let all = counts.last().copied().unwrap_or_default();
    text.sample("turn_duration_seconds_bucket", "{le=\"+Inf\"}", all);
    text.sample(
        "turn_duration_seconds_sum",
        "",
        snapshot.turns.sum().as_secs_f64(),
    );
    text.sample("turn_duration_seconds_count", "", all);
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::pages::{Durations, tests::snapshot};

    /// Each name has its help and its type once, before its samples; no series stands there twice.
    #[test]
    fn the_text_keeps_to_the_format() {
        let mut turns = Durations::default();
        turns.add(Duration::from_micros(70));
        let text = text(&snapshot(&turns));
        let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().expect("a name").to_owned();
                assert!(families.insert(name), "{line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').expect("name and value");
                assert!(series.insert(name), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = name.split('{').next().expect("a name");
                let parts = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|part| name.strip_suffix(part));
                assert!(
                    families.contains(name) || families.contains(parts.unwrap_or("")),
                    "{line}"
                );
            }
        }
        for line in [
            "wsmesh_connections{kind=\"plain\",phase=\"open\"} 9",
            "wsmesh_connections{kind=\"neighbor\",phase=\"hello\"} 1",
            "wsmesh_peers_closed_total{reason=\"slow\"} 2",
            "wsmesh_peers_closed_total{reason=\"other\"} 4",
            "wsmesh_turn_duration_seconds_bucket{le=\"0.00005\"} 0",
            "wsmesh_turn_duration_seconds_bucket{le=\"0.0001\"} 1",
            "wsmesh_turn_duration_seconds_bucket{le=\"+Inf\"} 1",
            "wsmesh_neighbor_round_trip_seconds{id=\"00000000000000000000000000000009\"} 0.25",
            "wsmesh_tree_parent{id=\"00000000000000000000000000000009\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
    }
}
