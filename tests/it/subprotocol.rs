//! Who is a neighbor and who is a plain peer: what the upgrade says, and servers that are strict, or
//! careless, about subprotocols they do not know.

use crate::support::raw::{answer, header};
use crate::support::{Embedded, End, Frame, Node, Raw, RawListener, eventually, eventually_some};

const OFFERED: &str = "sec-websocket-protocol";
/// The first words of a neighbor.
const HELLO: &str = r#"{"type":"hello","min":1,"max":1,"id":"0123456789abcdef0123456789abcdef","network":"default","role":"peer"}"#;
const NODE: &str = "Wsmesh-Node: 0123456789abcdef0123456789abcdef\r\n";

/// A node that dials quickly again, and logs every attempt.
#[track_caller]
fn dialing(listener: &RawListener, more: &[&str]) -> Node {
    let url = listener.url("/");
    let options = [
        "--interval",
        "off",
        "--retry-min",
        "1ms",
        "--retry-max",
        "20ms",
    ];
    Node::with([&options[..], &["-v", "--peers", &url], more].concat())
}

/// Waits for a dial and answers it with further header fields.
#[track_caller]
fn granted(listener: &RawListener, fields: &str) -> (Raw, String) {
    let mut peer = listener.accept();
    let head = peer.read_head();
    peer.send(answer(&head).replacen("Upgrade:", &format!("{fields}Upgrade:"), 1));
    (peer, head)
}

/// An upgrade request with further header fields, and the head of its answer.
#[track_caller]
fn upgraded(node: &Node, fields: &str) -> (Raw, String) {
    let mut client = Raw::connect(node.address());
    let request = Raw::request(node.address(), "/");
    client.send(request.replacen("Upgrade:", &format!("{fields}Upgrade:"), 1));
    let head = client.expect_upgraded();
    (client, head)
}

/// A text goes both ways, as plain frames.
#[track_caller]
fn assert_speaks(peer: &mut Raw, node: &Node) {
    peer.send_frame(Frame::text("as it is"));
    assert_eq!(peer.read_frame(), Frame::text("as it is"));
    node.stdout.wait_for("as it is");
}

#[test]
fn a_server_that_selects_nothing_is_a_plain_peer() {
    let listener = RawListener::bind();
    let node = dialing(&listener, &["--echo"]);
    let (mut peer, head) = granted(&listener, "");
    assert_eq!(
        header(&head, OFFERED).as_deref(),
        Some("wsmesh.v1"),
        "{head}"
    );
    assert!(header(&head, "wsmesh-node").is_some(), "{head}");
    assert_speaks(&mut peer, &node);
}

#[test]
fn a_server_that_selects_whatever_is_offered_is_a_plain_peer() {
    let listener = RawListener::bind();
    let node = dialing(&listener, &["--echo"]);
    let (mut peer, _) = granted(&listener, "Sec-WebSocket-Protocol: wsmesh.v1\r\n");
    assert_speaks(&mut peer, &node);
    assert_eq!(node.stderr.count("cannot reach"), 0);
}

#[test]
fn a_server_that_selects_something_else_is_refused() {
    let listener = RawListener::bind();
    let node = dialing(&listener, &[]);
    for fields in [
        "Sec-WebSocket-Protocol: mqtt\r\n".to_owned(),
        format!("Sec-WebSocket-Protocol: wsmesh.v2\r\n{NODE}"),
    ] {
        let (mut peer, _) = granted(&listener, &fields);
        peer.read_to_end();
        node.stderr.wait_for("a subprotocol that was not asked for");
        // Nothing to do with our offer: it stands.
        let (_, head) = granted(&listener, &fields);
        assert!(header(&head, OFFERED).is_some(), "{head}");
    }
}

/// Declines every request that offers a subprotocol; returns the first that does not.
#[track_caller]
fn strict(listener: &RawListener, decline: impl Fn(&mut Raw)) -> (Raw, usize) {
    let mut declined = 0;
    loop {
        let mut peer = listener.accept();
        let head = peer.read_head();
        if header(&head, OFFERED).is_none() {
            peer.send(answer(&head));
            return (peer, declined);
        }
        decline(&mut peer);
        declined += 1;
    }
}

const BAD_REQUEST: &str =
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn a_server_that_refuses_the_offer_is_reached_without() {
    for decline in [
        |peer: &mut Raw| peer.send(BAD_REQUEST),
        // Some just hang up.
        |peer: &mut Raw| peer.finish(),
    ] {
        let listener = RawListener::bind();
        let node = dialing(&listener, &["--echo"]);
        let mut offers = 0;
        // It is offered again now and then: the server may have become a node.
        for round in 1.. {
            let (mut peer, declined) = strict(&listener, decline);
            assert!(declined <= 1, "the fallback comes at once");
            offers += declined;
            assert_speaks(&mut peer, &node);
            node.wait_connected(round);
            peer.reset();
            node.wait_closed(round);
            if offers == 2 {
                assert!(round > 2, "it is remembered for some time");
                break;
            }
        }
        let told = node.stderr.wait_for_count(2, "without offering wsmesh.v1");
        assert!(
            told.iter().all(|line| line.contains(" DEBUG ")),
            "{told:#?}"
        );
        node.assert_no_error_logged();
        assert!(!node.stderr.contain(" WARN "), "it was reached each time");
    }
}

#[test]
fn a_node_that_was_taken_for_a_strict_server_is_found_out() {
    let listener = RawListener::bind();
    let node = dialing(&listener, &["--echo"]);
    // As a proxy does whose node is not there yet.
    let mut peer = listener.accept();
    peer.read_head();
    peer.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let (mut peer, head) = granted(&listener, NODE);
    assert_eq!(header(&head, OFFERED), None, "{head}");
    peer.read_to_end();
    node.stderr.wait_for("it is a node");
    let (mut peer, head) = granted(
        &listener,
        &format!("Sec-WebSocket-Protocol: wsmesh.v1\r\n{NODE}"),
    );
    assert_eq!(header(&head, OFFERED).as_deref(), Some("wsmesh.v1"));
    assert_eq!(peer.sync().len(), 1, "its hello");
    node.stderr.wait_for("is to say hello");
}

#[test]
fn the_answer_of_a_node_that_has_no_room_keeps_the_offer() {
    let listener = RawListener::bind();
    let node = dialing(&listener, &[]);
    for refusal in [
        "HTTP/1.1 429 Too Many Requests\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\n\r\n",
        "HTTP/1.1 408 Request Timeout\r\n\r\n",
    ] {
        let mut peer = listener.accept();
        let head = peer.read_head();
        assert!(header(&head, OFFERED).is_some(), "{head}");
        peer.send(refusal);
        drop(peer);
    }
    let (_peer, head) = granted(&listener, "");
    assert!(header(&head, OFFERED).is_some(), "{head}");
    node.wait_connected(1);
}

#[test]
fn a_client_that_offers_our_subprotocol_gets_it_and_others_get_none() {
    let node = Node::listening(["--interval", "off"]);
    for (fields, expected) in [
        ("", None),
        ("Sec-WebSocket-Protocol: mqtt\r\n", None),
        ("Sec-WebSocket-Protocol: wsmesh.v10, wsmesh.v\r\n", None),
        ("Sec-WebSocket-Protocol: wsmesh.v1\r\n", Some("wsmesh.v1")),
        (
            "Sec-WebSocket-Protocol: mqtt, wsmesh.v1\r\n",
            Some("wsmesh.v1"),
        ),
        (
            "Sec-WebSocket-Protocol:wsmesh.v1,mqtt\r\n",
            Some("wsmesh.v1"),
        ),
        (
            "Sec-WebSocket-Protocol: a,, b\r\nSec-WebSocket-Protocol: c ,\twsmesh.v1\r\n",
            Some("wsmesh.v1"),
        ),
    ] {
        let (mut client, head) = upgraded(&node, fields);
        assert_eq!(
            header(&head, OFFERED).as_deref(),
            expected,
            "{fields}: {head}"
        );
        let id = header(&head, "wsmesh-node");
        assert_eq!(id.is_some(), expected.is_some(), "{fields}: {head}");
        assert!(id.is_none_or(|id| id.len() == 32), "{head}");
        assert_eq!(client.sync(), []);
    }
    node.assert_no_error_logged();
}

#[test]
fn two_nodes_agree_and_hear_each_other() {
    let mut peer = Node::listening(["--interval", "50ms", "--message", "from the dialed"]);
    let url = peer.url("/");
    let options = [
        "--interval",
        "50ms",
        "--message",
        "from the dialing",
        "--peers",
        &url,
    ];
    let mut node = Node::with(options);
    node.stdout.wait_for_count(3, "from the dialed");
    peer.stdout.wait_for_count(3, "from the dialing");
    node.stop();
    peer.stop();
}

#[test]
fn a_path_that_is_too_long_for_a_channel_is_refused() {
    let node = Node::listening(["--interval", "off"]);
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    let mut peer = Raw::upgraded(node.address(), &format!("{}?{}", path(255), path(400)));
    assert_eq!(peer.sync(), []);
    let mut client = Raw::connect(node.address());
    client.send(Raw::request(node.address(), &path(256)));
    let (head, body) = client.read_answer();
    assert!(head.starts_with("HTTP/1.1 414 "), "{head}");
    assert!(body.contains("255 bytes"), "{body}");
    let url = format!("ws://a{}", path(256));
    let mut node = Node::with(["--peers", &url]);
    assert_eq!(node.wait_exit().code(), Some(2));
    node.stderr.wait_for("has a path of 256 bytes");
}

#[test]
fn a_neighbor_that_does_not_read_is_closed_where_plain_peers_lose_messages() {
    let node = Embedded::listening(|config| {
        config.slow_peer = wsmesh::config::SlowPeer::DropOldest;
        config.limits.outbox_bytes_max = 256 << 10;
        config.limits.message_bytes_max = 64 << 10;
    });
    let plain = Raw::upgraded_narrow(node.address(), "/");
    let mut neighbor = Raw::connect_by(node.address(), |socket| {
        socket.set_recv_buffer_size(64 << 10).expect("SO_RCVBUF");
    });
    let request = Raw::request(node.address(), "/");
    let offer = "Sec-WebSocket-Protocol: wsmesh.v1\r\nUpgrade:";
    neighbor.send(request.replacen("Upgrade:", offer, 1));
    neighbor.expect_upgraded();
    neighbor.send_frame(Frame::text(HELLO));
    node.wait_counters("both are there", |c| c.peers == 2 && c.neighbors == 1);
    let text = "x".repeat(60 << 10);
    eventually("messages are dropped", || {
        node.broadcast(&text);
        node.counters().messages_dropped > 20
    });
    let close = neighbor.read_to_close().1;
    assert_eq!(close.close_code(), Some(1013));
    assert_eq!(neighbor.finish_close(&close), End::Closed);
    drop(neighbor);
    let counters = node.wait_counters("the neighbor is gone", |c| c.closed == 1);
    assert_eq!((counters.closed_slow, counters.peers), (1, 1));
    drop(plain);
    eventually_some("the other goes too", || {
        (node.counters().peers == 0).then_some(())
    });
}
