//! What the status listener answers: a snapshot of the node in, bytes out. Pure.
//!
//! | module | what it owns |
//! |---|---|
//! | `metrics` | the text that Prometheus reads |
//! | `tables` | `/peers` and `/mesh` as JSON |
//! | `durations` | how long the turns of the loop took |
//! | `status.html`, `status.css`, `status.js` | the page |

mod durations;
mod metrics;
mod tables;

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

pub(crate) use self::durations::Durations;
use crate::{counters::Counters, node_id::NodeId};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Index,
    Style,
    Script,
    Metrics,
    Health,
    Ready,
    Peers,
    Mesh,
}

impl Page {
    pub(crate) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "/status.css" => Self::Style,
            "/status.js" => Self::Script,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/peers" => Self::Peers,
            "/mesh" => Self::Mesh,
            _ => return None,
        })
    }

    /// Whether it says something that only those who may look should know.
    pub(crate) fn tells_of_peers(self) -> bool {
        matches!(self, Self::Metrics | Self::Peers | Self::Mesh)
    }
}

/// What a connection to a neighbor is in the broadcast tree, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tie {
    /// By it messages come.
    Parent,
    /// It wants messages from us at once.
    Child,
    /// It hears what is there, and asks for it only if it does not come otherwise.
    Spare,
}

/// A neighbor that has said hello.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Neighbor {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tie: Tie,
    pub(crate) is_leaf: bool,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) outbox_bytes: usize,
}

/// A plain peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) channel: String,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) outbox_bytes: usize,
}

/// How a node stands now. What is long is there only for the pages that show it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) id: NodeId,
    pub(crate) network: &'a str,
    pub(crate) uptime: Duration,
    /// It accepts peers, or has none to accept, and goes on.
    pub(crate) is_listening: bool,
    pub(crate) ready_neighbors: usize,
    pub(crate) counters: Counters,
    pub(crate) handshaking: u64,
    /// So much may wait for each peer.
    pub(crate) outbox_bytes_max: usize,
    pub(crate) neighbors_wanted: u64,
    pub(crate) root: Option<NodeId>,
    /// Hops from the root.
    pub(crate) hop: u32,
    pub(crate) turns: &'a Durations,
    pub(crate) neighbors: Vec<Neighbor>,
    pub(crate) peers: Vec<Peer>,
}

impl Snapshot<'_> {
    fn is_ready(&self) -> bool {
        self.is_listening && self.counters.neighbors >= self.ready_neighbors as u64
    }

    fn is_root(&self) -> bool {
        self.root == Some(self.id)
    }

    fn plain_peers(&self) -> u64 {
        let Counters {
            peers,
            neighbor_connections,
            ..
        } = self.counters;
        peers.saturating_sub(neighbor_connections)
    }
}

/// Nothing of what a page shows may load, run or send anything but what this node itself serves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The HTTP response; without `with_body` only its head.
pub(crate) fn respond(page: Page, snapshot: &Snapshot<'_>, with_body: bool) -> Vec<u8> {
    let (kind, body) = match page {
        Page::Index => (
            "text/html; charset=utf-8",
            include_str!("status.html").to_owned(),
        ),
        Page::Style => (
            "text/css; charset=utf-8",
            include_str!("status.css").to_owned(),
        ),
        Page::Script => (
            "text/javascript; charset=utf-8",
            include_str!("status.js").to_owned(),
        ),
        Page::Metrics => (
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::text(snapshot),
        ),
        Page::Health => (TEXT, "ok\n".to_owned()),
        Page::Ready => (TEXT, readiness(snapshot)),
        Page::Peers => (JSON, tables::peers(snapshot)),
        Page::Mesh => (JSON, tables::mesh(snapshot)),
    };
    let status = match page {
        Page::Ready if !snapshot.is_ready() => "503 Service Unavailable",
        _ => "200 OK",
    };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n",
        body.len()
    );
    if page == Page::Index {
        let _ = write!(response, "Content-Security-Policy: {POLICY}\r\n");
    }
    response.push_str("\r\n");
    if with_body {
        response.push_str(&body);
    }
    response.into_bytes()
}

fn readiness(snapshot: &Snapshot<'_>) -> String {
    let (neighbors, wanted) = (snapshot.counters.neighbors, snapshot.ready_neighbors);
    match () {
        () if !snapshot.is_listening => "not ready: this node is stopping\n".to_owned(),
        () if snapshot.is_ready() => "ready\n".to_owned(),
        () => format!("not ready: {neighbors} of {wanted} neighbors\n"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) fn snapshot(turns: &Durations) -> Snapshot<'_> {
        Snapshot {
            id: NodeId(7),
            network: "default",
            uptime: Duration::from_millis(1500),
            is_listening: true,
            ready_neighbors: 0,
            counters: Counters {
                peers: 12,
                neighbor_connections: 3,
                neighbors: 2,
                connections: 15,
                closed: 9,
                closed_slow: 2,
                closed_lost: 3,
                ..Counters::default()
            },
            handshaking: 1,
            outbox_bytes_max: 1000,
            neighbors_wanted: 5,
            root: Some(NodeId(3)),
            hop: 2,
            turns,
            neighbors: vec![Neighbor {
                id: NodeId(9).to_string(),
                name: "ws://a/".to_owned(),
                tie: Tie::Parent,
                is_leaf: false,
                round_trip_seconds: Some(0.25),
                outbox_bytes: 100,
            }],
            peers: vec![Peer {
                name: "127.0.0.1:9".to_owned(),
                channel: "/<b>\"".to_owned(),
                round_trip_seconds: None,
                outbox_bytes: 0,
            }],
        }
    }

    fn text(page: Page, snapshot: &Snapshot<'_>, with_body: bool) -> String {
        String::from_utf8(respond(page, snapshot, with_body)).expect("it is text")
    }

    #[test]
    fn a_head_says_how_long_the_body_is_that_it_leaves_out() {
        let turns = Durations::default();
        let snapshot = snapshot(&turns);
        for path in [
            "/",
            "/status.css",
            "/status.js",
            "/metrics",
            "/healthz",
            "/readyz",
            "/peers",
            "/mesh",
        ] {
            let page = Page::at(path).expect("it is there");
            let whole = text(page, &snapshot, true);
            let (head, body) = whole.split_once("\r\n\r\n").expect("a head");
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{head}"
            );
            assert!(!body.is_empty());
            assert_eq!(text(page, &snapshot, false), format!("{head}\r\n\r\n"));
        }
        assert_eq!(Page::at("/mesh/"), None);
    }

    #[test]
    fn a_node_is_ready_when_it_listens_and_has_so_many_neighbors() {
        let turns = Durations::default();
        let mut snapshot = snapshot(&turns);
        for (is_listening, ready_neighbors, says) in [
            (true, 0, "200 OK"),
            (true, 2, "200 OK"),
            (true, 3, "not ready: 2 of 3 neighbors"),
            (false, 0, "not ready: this node is stopping"),
        ] {
            (snapshot.is_listening, snapshot.ready_neighbors) = (is_listening, ready_neighbors);
            let answer = text(Page::Ready, &snapshot, true);
            assert!(answer.contains(says), "{answer}");
            assert_eq!(answer.starts_with("HTTP/1.1 503 "), says.starts_with("not"));
        }
    }

    /// Whatever a peer calls itself, the page has neither a script of its own nor a way to make one of text.
    #[test]
    fn the_page_shows_what_peers_send_as_text() {
        let script = include_str!("status.js");
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "Function(",
            "javascript:",
        ] {
            assert!(!script.contains(way), "{way}");
        }
        let page = include_str!("status.html");
        for foreign in ["http:", "https:", "style=", "<style", "onclick", "<script>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
