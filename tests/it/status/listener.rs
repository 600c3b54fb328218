//! Who may ask for what, what it says, and that it disturbs nobody.

use std::fs;
use std::time::Duration;

use super::{ask, ask_with, json, metric, node, page};
use crate::support::raw::header;
use crate::support::{End, Frame, Node, Raw, Scratch, eventually, need_descriptors};

#[track_caller]
fn assert_says(answer: &str, status: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{answer}"
    );
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

#[test]
fn pages_are_read_at_their_paths() {
    let (_node, at) = node(&[]);
    assert_eq!(page(at, "/healthz"), "ok\n");
    assert_eq!(page(at, "/readyz?because"), "ready\n");
    assert!(page(at, "/metrics").starts_with("# HELP wsmesh_"));
    let whole = ask(at, "GET /mesh");
    let len = header(&whole, "content-length").unwrap();
    let head = ask(at, "HEAD /mesh");
    assert!(head.ends_with("\r\n\r\n") && head.contains("Content-Type: application/json"));
    assert!(len.parse::<usize>().unwrap() > 100);
    assert_says(&ask(at, "GET /nothing"), "404 Not Found");
    let refused = ask(at, "POST /mesh");
    assert_says(&refused, "405 ");
    assert_eq!(header(&refused, "allow").as_deref(), Some("GET, HEAD"));
}

#[test]
fn a_page_with_the_name_of_another_host_is_refused() {
    let (_node, at) = node(&[]);
    let mut raw = Raw::connect(at);
    raw.send("GET /mesh HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    let answer = String::from_utf8(raw.read_to_end().0).unwrap();
    assert_says(&answer, "403 Forbidden");
    // Nor may its script connect under the right name.
    let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://evil.example\r\n";
    assert_says(&ask_with(at, "GET /", fields), "403 Forbidden");
}

#[test]
fn who_asks_is_no_peer_and_has_places_of_its_own() {
    let (node, at) = node(&["--max-connections", "1"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    node.wait_connected(1);
    let descriptors = node.descriptors();
    let mut refused = Raw::connect(node.address());
    refused.send(Raw::request(node.address(), "/"));
    assert!(refused.read_head().starts_with("HTTP/1.1 503 "));
    drop(refused);
    // The node is full, and can be looked at all the same.
    assert_eq!(
        metric(at, "connections{kind=\"plain\",phase=\"open\"}"),
        1.0
    );
    assert_eq!(metric(at, "refused_total{reason=\"full\"}"), 1.0);
    eventually("all who have asked are gone", || {
        node.descriptors() == descriptors
    });
    let idle: Vec<_> = (0..64).map(|_| Raw::connect(at)).collect();
    let mut further = Raw::connect(at);
    assert!(further.read_head().starts_with("HTTP/1.1 503 "));
    drop(idle);
    eventually("there are places again", || {
        ask(at, "GET /healthz").starts_with("HTTP/1.1 200 ")
    });
    assert_eq!(peer.sync(), []);
    assert!(!node.stderr.contain("neighbor "));
}

#[test]
fn who_asks_too_slowly_or_too_much_hears_it() {
    let (_node, at) = node(&["--handshake-timeout", "300ms", "--max-head", "1KiB"]);
    let mut slow = Raw::connect(at);
    slow.send("GET /mesh HTTP/1.1\r\n");
    let (said, end) = slow.read_to_end();
    assert!(said.starts_with(b"HTTP/1.1 408 ") && end == End::Closed);
    let filling = format!("X: {}\r\n", "x".repeat(1024));
    assert_says(&ask_with(at, "GET /mesh", &filling), "431 ");
}

#[test]
fn the_figures_are_those_of_the_node() {
    let (node, at) = node(&["--outbox", "2MiB", "--slow-peer", "drop-newest"]);
    let mut speaker = Raw::upgraded(node.address(), "/a");
    let stalled = Raw::upgraded_narrow(node.address(), "/a");
    let mut leaving = Raw::upgraded(node.address(), "/b");
    node.wait_connected(3);
    leaving.send_frame(Frame::close(1000, ""));
    node.wait_closed(1);
    for _ in 0..20 {
        speaker.send_frame(Frame::binary(vec![7; 500_000]));
    }
    assert_eq!(speaker.sync(), []);
    assert!(metric(at, "outbox_bytes") > 400_000.0);
    assert_eq!(metric(at, "peers_waiting"), 1.0);
    assert!(metric(at, "messages_dropped_total") > 0.0);
    assert_eq!(metric(at, "peers_closed_total{reason=\"by_peer\"}"), 1.0);
    assert_eq!(metric(at, "published_total"), 20.0);
    assert!(metric(at, "turn_duration_seconds_count") > 0.0);
    let peers = json(at, "/peers");
    let channels: Vec<_> = peers["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["channel"].as_str().unwrap())
        .collect();
    assert_eq!(
        (channels, peers["peers_more"].as_u64()),
        (vec!["/a", "/a"], Some(0))
    );
    drop(stalled);
    node.wait_closed(2);
    eventually("nothing waits any more", || {
        metric(at, "outbox_bytes") == 0.0 && metric(at, "peers_waiting") == 0.0
    });
    assert_eq!(json(at, "/mesh")["plain_peers"], 1);
}

#[test]
fn a_node_is_ready_with_its_neighbors() {
    let (a, at) = node(&["--ready-neighbors", "1"]);
    let answer = ask(at, "GET /readyz");
    assert_says(&answer, "503 ");
    assert!(
        answer.ends_with("not ready: 0 of 1 neighbors\n"),
        "{answer}"
    );
    let (_b, at_b) = node(&["--peers", &a.url("/")]);
    eventually("it is ready", || {
        ask(at, "GET /readyz").starts_with("HTTP/1.1 200 ")
    });
    let (mesh, other) = (json(at, "/mesh"), json(at_b, "/mesh"));
    assert_eq!(mesh["neighbors"][0]["id"], other["id"]);
    assert_eq!(other["neighbors"][0]["name"], a.url("/"));
    eventually("one of them is the root", || {
        let [a, b] = [at, at_b].map(|at| json(at, "/mesh"));
        let roots = [&a, &b].map(|mesh| mesh["is_root"] == true);
        a["root"] == b["root"] && roots[0] != roots[1]
    });
    eventually("the other has it as its parent", || {
        let ties = [at, at_b].map(|at| json(at, "/mesh")["neighbors"][0]["tie"].clone());
        ties.iter().filter(|tie| **tie == "parent").count() == 1
    });
}

#[test]
fn what_others_could_read_needs_a_token_with_the_right() {
    let open = Node::with(["--bind", "127.0.0.1:0", "--status", "0.0.0.0:0"]);
    let mut open = open;
    assert_eq!(open.wait_exit().code(), Some(2));
    open.stderr
        .wait_for("--status 0.0.0.0:0 is not this machine alone");

    let scratch = Scratch::new("status-tokens");
    let file = scratch.join("tokens");
    let [all, looks, listens] =
        ["all", "looks", "listens"].map(|name| format!("0123456789abcdef-{name}"));
    fs::write(
        &file,
        format!("{all}\n{looks} status\n{listens} subscribe /a\n"),
    )
    .unwrap();
    let options = [
        "--bind",
        "127.0.0.1:0",
        "--status",
        "0.0.0.0:0",
        "--token-file",
    ];
    let mut node = Node::with(options.iter().copied().chain([file.to_str().unwrap()]));
    node.wait_listening(1);
    let mut at = node.status_address();
    at.set_ip([127, 0, 0, 1].into());
    for open in ["/", "/status.js", "/healthz", "/readyz"] {
        assert_says(&ask(at, &format!("GET {open}")), "200 ");
    }
    for (token, status) in [
        (&all, "200 "),
        (&looks, "200 "),
        (&listens, "403 "),
        (&"x".repeat(20), "401 "),
    ] {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        for path in ["/metrics", "/peers", "/mesh"] {
            assert_says(&ask_with(at, &format!("GET {path}"), &bearer), status);
        }
    }
    assert_says(&ask(at, "GET /metrics"), "401 ");
    // A token that is for the status alone makes no peer.
    let request = Raw::request(at, "/a").replacen(
        "Upgrade:",
        &format!("Authorization: Bearer {looks}\r\nUpgrade:"),
        1,
    );
    let mut raw = Raw::connect(at);
    raw.send(request);
    assert!(raw.read_head().starts_with("HTTP/1.1 403 "));
}

#[test]
fn who_reads_the_page_publishes_and_hears_as_a_peer() {
    let (node, at) = node(&[]);
    let mut other = Raw::upgraded(node.address(), "/chat");
    let mut viewer = Raw::upgraded(at, "/chat");
    node.wait_connected(2);
    viewer.send_frame(Frame::text("from the page"));
    assert_eq!(other.read_frame(), Frame::text("from the page"));
    other.send_frame(Frame::text("to the page"));
    assert_eq!(viewer.read_frame(), Frame::text("to the page"));
    let mut node_at_the_wrong_door = Raw::connect(at);
    let offer = "Sec-WebSocket-Protocol: wsmesh.v1\r\nUpgrade:";
    node_at_the_wrong_door.send(Raw::request(at, "/").replacen("Upgrade:", offer, 1));
    assert!(
        node_at_the_wrong_door
            .read_head()
            .starts_with("HTTP/1.1 403 ")
    );
}

/// CPU time that a process has used (Linux).
fn cpu(node: &Node) -> Duration {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", node.id())).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A broadcast waits for one scrape at most, and that takes the time of one processor: a small part of what is allowed.
#[test]
fn a_scrape_among_ten_thousand_peers_delays_a_broadcast_by_less_than_5_ms() {
    const PEERS: usize = 10_000;
    need_descriptors(PEERS as u64 + 500);
    let many = [
        "--max-connections-per-address",
        "16000",
        "--max-connections-per-network",
        "16000",
    ];
    let (node, at) = node(&[&many[..], &["--ping-interval", "off"]].concat());
    let peers: Vec<_> = (0..PEERS)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    assert_eq!(json(at, "/mesh")["plain_peers"], PEERS);
    for path in ["/metrics", "/peers", "/mesh"] {
        const SCRAPES: u32 = 50;
        let before = cpu(&node);
        for _ in 0..SCRAPES {
            page(at, path);
        }
        let each = (cpu(&node) - before) / SCRAPES;
        assert!(each < Duration::from_millis(5), "{path}: {each:?}");
        println!("{path}: {each:?} of CPU time for a scrape among {PEERS} peers");
    }
    let shown = json(at, "/peers");
    assert_eq!(shown["peers"].as_array().unwrap().len(), 256);
    assert_eq!(shown["peers_more"], PEERS - 256);
    drop(peers);
}
