//! Several nodes: what is published at one is heard at all of them, once.

use super::QUIET;
use crate::support::{Frame, Lines, Node, Raw};

/// A node that dials these, and has joined them.
#[track_caller]
fn joined(options: &[&str], peers: &[String]) -> Node {
    let peers = peers.join(",");
    let node = Node::listening([&QUIET[..], options, &["--peers", &peers]].concat());
    node.stderr.wait_for("joined the mesh");
    node
}

/// The first node of a mesh.
fn first() -> Node {
    Node::listening(QUIET)
}

/// Asserts that a line with this text was printed once, at a node at which it was not published.
#[track_caller]
fn assert_heard_once(stdout: &Lines, channel: &str, text: &str) {
    let line = stdout.wait_for(text);
    let (who, rest) = line.split_at(8);
    let is_id = who.chars().all(|c| c.is_ascii_hexdigit());
    assert!(is_id && rest == format!("{channel} {text}"), "{line}");
    assert_eq!(stdout.count(text), 1);
}

#[test]
fn a_line_of_nodes_carries_messages_from_end_to_end() {
    let a = first();
    let b = joined(&[], &[a.url("/")]);
    let c = joined(&[], &[b.url("/")]);
    let nodes = [&a, &b, &c];
    let mut peers = nodes.map(|node| Raw::upgraded(node.address(), "/chat"));
    let mut others = nodes.map(|node| Raw::upgraded(node.address(), "/"));
    for sender in 0..3 {
        let text = format!("message of {sender}");
        peers[sender].send_frame(Frame::text(text.clone()));
        for hearer in (0..3).filter(|hearer| *hearer != sender) {
            assert_eq!(peers[hearer].read_frame(), Frame::text(text.clone()));
            assert_heard_once(&nodes[hearer].stdout, "/chat", &text);
        }
        let who = peers[sender].local_address();
        nodes[sender]
            .stdout
            .wait_for_line(&format!("{who}/chat {text}"));
    }
    for peer in peers.iter_mut().chain(&mut others) {
        assert_eq!(peer.sync(), []);
    }
    for node in nodes {
        node.assert_no_error_logged();
    }
}

#[test]
fn in_a_loop_everything_arrives_once() {
    const COUNT: usize = 200;
    let a = first();
    let b = joined(&[], &[a.url("/")]);
    let c = joined(&[], &[a.url("/"), b.url("/")]);
    let mut nodes = [a, b, c];
    let mut peers = nodes
        .each_ref()
        .map(|node| Raw::upgraded(node.address(), "/"));
    for (sender, peer) in peers.iter_mut().enumerate() {
        peer.send_frames((0..COUNT).map(|n| Frame::text(format!("[{sender}.{n}]"))));
    }
    for (hearer, peer) in peers.iter_mut().enumerate() {
        let mut heard: Vec<_> = (0..2 * COUNT)
            .map(|_| peer.read_frame().payload_text())
            .collect();
        assert_eq!(peer.sync(), []);
        heard.sort();
        let senders = (0..3).filter(|sender| *sender != hearer);
        let mut expected: Vec<_> = senders
            .flat_map(|sender| (0..COUNT).map(move |n| format!("[{sender}.{n}]")))
            .collect();
        expected.sort();
        assert_eq!(heard, expected);
    }
    drop(peers);
    for node in &mut nodes {
        node.stop();
        let lines = node.stdout.wait_end();
        assert_eq!(lines.len(), 3 * COUNT);
    }
}

#[test]
fn one_node_with_every_way_to_the_other_has_one_connection_to_it() {
    let a = first();
    let port = a.address().port();
    // Two URLs of one node.
    let urls = [a.url("/"), format!("ws://127.0.0.1:{port}/other")];
    let b = joined(&[], &urls);
    let mut peer = Raw::upgraded(a.address(), "/");
    peer.send_frame(Frame::text("once"));
    assert_heard_once(&b.stdout, "", "once");
    a.stderr.wait_for("another connection to this node is kept");
    // The first was not touched, and the second was never one.
    assert_eq!(b.stderr.count(" connected"), 1);
    assert!(!b.stderr.contain(" closed: "));
}

#[test]
fn meshes_of_different_names_stay_apart_and_say_so() {
    let a = Node::listening([&QUIET[..], &["--network", "blue"]].concat());
    let url = a.url("/");
    let b = Node::listening([&QUIET[..], &["--network", "green", "--peers", &url]].concat());
    for node in [&a, &b] {
        let line = node.stderr.wait_for("network");
        assert!(
            line.contains("neighbor ") && line.contains(" closed: "),
            "{line}"
        );
        assert!(!node.stderr.contain("joined the mesh"));
    }
    let mut peers = [&a, &b].map(|node| Raw::upgraded(node.address(), "/"));
    peers[0].send_frame(Frame::text("for the blue"));
    peers[0].sync();
    assert_eq!(peers[1].sync(), []);
    assert_eq!(b.stdout.all(), [""; 0]);
}

#[test]
fn a_node_that_comes_back_hears_what_follows() {
    let a = first();
    let b = joined(&[], &[a.url("/")]);
    let address = b.address().to_string();
    let mut peer = Raw::upgraded(a.address(), "/");
    peer.send_frame(Frame::text("before"));
    assert_heard_once(&b.stdout, "", "before");
    drop(b);
    a.stderr.wait_for("no neighbor left");
    peer.send_frame(Frame::text("between"));

    let url = a.url("/");
    let mut again = Node::with(
        [
            &QUIET[..],
            &["--bind", &address, "--peers", &url, "--retry-max", "1s"],
        ]
        .concat(),
    );
    again.wait_listening(1);
    again.stderr.wait_for("joined the mesh");
    a.stderr.wait_for_count(2, "joined the mesh");
    peer.send_frame(Frame::text("after"));
    assert_heard_once(&again.stdout, "", "after");
    let mut back = Raw::upgraded(again.address(), "/");
    back.send_frame(Frame::text("and back"));
    assert_heard_once(&a.stdout, "", "and back");
}

#[test]
fn the_mesh_goes_on_without_the_node_that_joined_the_others() {
    let a = first();
    let b = joined(&[], &[a.url("/")]);
    let c = joined(&[], &[a.url("/"), b.url("/")]);
    drop(a);
    let mut peer = Raw::upgraded(b.address(), "/");
    peer.send_frame(Frame::text("without the first"));
    assert_heard_once(&c.stdout, "", "without the first");
}

#[test]
fn a_leaf_publishes_and_hears() {
    let a = first();
    let b = joined(&[], &[a.url("/")]);
    let leaf = joined(&["--leaf"], &[a.url("/")]);
    let mut at_b = Raw::upgraded(b.address(), "/");
    let mut at_leaf = Raw::upgraded(leaf.address(), "/");
    at_leaf.send_frame(Frame::text("from the leaf"));
    assert_eq!(at_b.read_frame(), Frame::text("from the leaf"));
    assert_heard_once(&b.stdout, "", "from the leaf");
    at_b.send_frame(Frame::text("to the leaf"));
    assert_eq!(at_leaf.read_frame(), Frame::text("to the leaf"));
    assert_heard_once(&leaf.stdout, "", "to the leaf");
}

#[test]
fn what_is_told_to_direct_peers_is_shown_under_the_name_of_the_neighbor() {
    let a = Node::listening(["--interval", "100ms", "--message", "{index} of {bind}"]);
    let b = joined(&[], &[a.url("/")]);
    let line = format!("{} 0 of {}", a.url("/"), a.address());
    b.stdout.wait_for_line(&line);
    // It goes no further than the node.
    let mut peer = Raw::upgraded(b.address(), "/");
    b.stdout.wait_for_count(5, " of ");
    assert_eq!(peer.sync(), []);
}

#[test]
fn what_is_broadcast_in_the_mesh_is_heard_everywhere() {
    let options = ["--interval", "100ms", "--broadcast-scope", "mesh"];
    let message = ["--message", "number {seq}"];
    let a = Node::listening([&options[..], &message].concat());
    let b = joined(&[], &[a.url("/")]);
    let mut peer = Raw::upgraded(b.address(), "/");
    let text = peer.read_frame().payload_text();
    assert!(text.starts_with("number "), "{text}");
    assert_heard_once(&b.stdout, "", &text);
}

#[test]
fn a_stopped_node_says_so_to_its_neighbors() {
    let mut a = first();
    let b = joined(&[], &[a.url("/")]);
    a.stop();
    let line = b.stderr.wait_for("neighbor ws://");
    assert!(line.contains(" connected"), "{line}");
    b.stderr.wait_for("closed by peer with code 1001");
}
