//! Connections and addresses that claim to be nodes.

use super::QUIET;
use crate::support::{Frame, Node, Raw, RawListener};

/// A client that negotiates the subprotocol of neighbors.
#[track_caller]
fn stranger(node: &Node) -> Raw {
    let mut client = Raw::connect(node.address());
    let request = Raw::request(node.address(), "/");
    let offer = "Sec-WebSocket-Protocol: wsmesh.v1\r\nUpgrade:";
    client.send(request.replacen("Upgrade:", offer, 1));
    client.expect_upgraded();
    client
}

/// The first words of a node that can be reached at these URLs.
fn hello(urls: &[String]) -> Frame {
    let id = "0123456789abcdef0123456789abcdef";
    Frame::text(format!(
        r#"{{"type":"hello","min":1,"max":1,"id":"{id}","network":"default","urls":{urls:?}}}"#
    ))
}

#[test]
fn who_has_not_said_hello_is_told_nothing() {
    let node = Node::listening(["--interval", "20ms", "--message", "{index}"]);
    let mut plain = Raw::upgraded(node.address(), "/");
    let mut stranger = stranger(&node);
    for _ in 0..3 {
        assert_eq!(plain.read_frame(), Frame::text("0"));
    }
    plain.send_frame(Frame::text("published"));
    plain.sync();
    assert_eq!(stranger.sync(), []);
    assert!(!node.stderr.contain("neighbor"));

    stranger.send_frame(hello(&[]));
    let first = stranger.read_frame().payload_text();
    assert!(first.contains(r#""type":"hello""#), "{first}");
    node.stderr
        .wait_for(&format!("neighbor {} connected", stranger.local_address()));
    // From now on it hears the broadcast, as the second peer.
    let is_broadcast =
        |frame: &Frame| frame.opcode == Frame::BINARY && frame.payload.ends_with(b"1");
    while !is_broadcast(&stranger.read_frame()) {}
    // Frames of neighbors are nobody's messages.
    assert!(!node.stdout.contain("hello"));
}

#[test]
fn an_address_that_leads_to_no_node_is_left_alone() {
    let listener = RawListener::bind();
    let node = Node::listening(QUIET);
    let mut stranger = stranger(&node);
    stranger.send_frame(hello(&[listener.url("/feed")]));
    // It is tried before it is handed on.
    let (mut dialed, _) = listener.accept_upgraded();
    dialed.send_frame(Frame::text("of no interest"));
    let (before, close) = dialed.read_to_close();
    assert_eq!(before, []);
    assert_eq!(close, Frame::close(1000, "not a wsmesh node"));
    dialed.finish_close(&close);
    stranger.sync();
    assert_eq!(node.stdout.all(), [""; 0]);
    assert!(!node.stderr.contain("/feed"), "nobody asked for it");
}

#[test]
fn words_that_no_node_says_end_the_connection() {
    let node = Node::listening(QUIET);
    for frame in [
        Frame::text("hello"),
        Frame::text(r#"{"type":"beacon"}"#),
        Frame::binary([1, 2, 3]),
    ] {
        let mut stranger = stranger(&node);
        stranger.send_frame(frame);
        let (before, close) = stranger.read_to_close();
        assert_eq!((before, close.close_code()), (Vec::new(), Some(1002)));
        stranger.finish_close(&close);
    }
    node.wait_closed(3);
    assert_eq!(node.stdout.all(), [""; 0]);
    node.assert_no_error_logged();
}
