//! Peers that send without end.

use std::time::{Duration, Instant};

use super::{KIB, MIB, next_seq};
use crate::support::{Flood, Frame, Node, Raw};

/// While one peer floods its channel as fast as it can, one of another channel hears every broadcast in time and is answered, the memory stays,
/// and SIGTERM ends the node.
#[track_caller]
fn assert_flood_is_borne(first: Vec<u8>, again: Vec<u8>) {
    let command = Node::command([
        "--bind",
        "127.0.0.1:0",
        "--interval",
        "50ms",
        "--message",
        "{seq}",
        "--ping-interval",
        "off",
        "--shutdown-timeout",
        "300ms",
        "--outbox",
        "2MiB",
        "--max-publish-rate",
        "off",
        "--max-publish-bytes",
        "off",
    ]);
    let mut node = Node::start_with_stdout(command, std::process::Stdio::null());
    node.wait_listening(1);
    let mut peer = Raw::upgraded(node.address(), "/");
    let before = node.resident_bytes();
    // Narrow, or the kernel would take what the node should not keep.
    let flooder = Raw::upgraded_narrow(node.address(), "/flood");
    let flood = Flood::start(flooder, first, again);
    flood.wait_sent(MIB as usize);

    let begun = Instant::now();
    let mut seq = next_seq(&mut peer);
    for _ in 0..20 {
        let next = next_seq(&mut peer);
        assert_eq!(next, seq + 1, "none is missed");
        seq = next;
    }
    let took = begun.elapsed();
    // 20 beats, less what the first was late.
    assert!(took > Duration::from_millis(500), "bunched: {took:?}");
    assert!(took < Duration::from_secs(6), "delayed: {took:?}");

    let begun = Instant::now();
    for _ in 0..20 {
        peer.sync();
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "20 answers took {took:?}");

    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 12 * MIB, "memory has grown by {} KiB", grown / KIB);

    let begun = Instant::now();
    node.signal("TERM");
    let (_, close) = peer.read_to_close();
    assert_eq!(close.close_code(), Some(1001));
    assert_eq!(node.wait_exit().code(), Some(0));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "the end took {took:?}");
    node.assert_no_error_logged();
}

#[test]
fn a_flood_of_empty_fragments() {
    let first = Frame::text("").unfinished().masked().encode();
    let again = Frame::continuation("").unfinished().masked().encode();
    assert_flood_is_borne(first, again);
}

#[test]
fn a_flood_of_empty_messages() {
    assert_flood_is_borne(Vec::new(), Frame::text("").masked().encode());
}

#[test]
fn a_flood_of_small_messages_in_fragments() {
    let message = [
        Frame::binary("a").unfinished(),
        Frame::continuation("b").unfinished(),
        Frame::continuation("c"),
    ];
    assert_flood_is_borne(
        Vec::new(),
        message
            .iter()
            .flat_map(|f| f.clone().masked().encode())
            .collect(),
    );
}

#[test]
fn a_flood_of_large_messages() {
    assert_flood_is_borne(
        Vec::new(),
        Frame::binary(vec![7; 1 << 20]).masked().encode(),
    );
}

#[test]
fn a_flood_of_empty_pings_without_reading() {
    assert_flood_is_borne(Vec::new(), Frame::ping("").masked().encode());
}

#[test]
fn a_flood_of_pings_without_reading() {
    assert_flood_is_borne(Vec::new(), Frame::ping(vec![b'x'; 125]).masked().encode());
}

#[test]
fn a_flood_after_a_protocol_error() {
    assert_flood_is_borne(Frame::text("unmasked").encode(), vec![0x55; 4096]);
}

#[test]
fn a_flood_of_bytes_that_are_no_head() {
    let node = Node::listening(["--interval", "50ms", "--message", "{seq}"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    let flood = Flood::start(
        Raw::connect(node.address()),
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"x: y\r\n".to_vec(),
    );
    flood.wait_sent(MIB as usize);
    let seq = next_seq(&mut peer);
    assert_eq!(next_seq(&mut peer), seq + 1);
}

#[test]
fn tiny_fragments_count_towards_the_limit_of_a_message() {
    let node = Node::listening(["--interval", "off", "--max-message", "16KiB"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frame(Frame::text("x").unfinished());
    let fragment = Frame::continuation("x").unfinished().masked().encode();
    peer.send(fragment.repeat((16 << 10) - 1));
    peer.sync();
    peer.send(fragment);
    let (_, close) = peer.read_to_close();
    assert_eq!(close.close_code(), Some(1009));
}

/// An echo to a peer that does not read it is bounded: the node stops to read that peer.
#[test]
fn echoes_that_nobody_reads_are_bounded() {
    let command = Node::command([
        "--bind",
        "127.0.0.1:0",
        "--interval",
        "off",
        "--echo",
        "--ping-interval",
        "off",
        "--max-publish-rate",
        "off",
        "--max-publish-bytes",
        "off",
    ]);
    let mut node = Node::start_with_stdout(command, std::process::Stdio::null());
    node.wait_listening(1);
    let mut other = Raw::upgraded(node.address(), "/other");
    other.sync();
    let before = node.resident_bytes();
    for frame in [Frame::text("x"), Frame::binary(vec![7; 300_000])] {
        let flood = Flood::start(
            Raw::upgraded(node.address(), "/"),
            Vec::new(),
            frame.masked().encode(),
        );
        flood.wait_sent(MIB as usize);
        flood.wait_halt();
        other.send_frame(Frame::text("undisturbed"));
        assert_eq!(other.read_frame(), Frame::text("undisturbed"));
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(
        grown < 24 * MIB,
        "two outboxes of 4 MiB, but {} KiB",
        grown / KIB
    );
}

#[test]
fn pongs_that_nobody_reads_are_bounded() {
    let options = [
        "--interval",
        "off",
        "--ping-interval",
        "off",
        "--outbox",
        "2MiB",
    ];
    let node = Node::listening(options);
    let mut other = Raw::upgraded(node.address(), "/");
    for payload in [&[][..], &[b'x'; 125]] {
        let before = node.resident_bytes();
        let peer = Raw::upgraded_narrow(node.address(), "/");
        let ping = Frame::ping(payload);
        let mut flood = Flood::start(peer, Vec::new(), ping.masked().encode());
        flood.wait_sent(256 << 10);
        flood.wait_halt();
        let grown = node.resident_bytes().saturating_sub(before);
        assert!(grown < 4 * MIB, "memory has grown by {} KiB", grown / KIB);
        assert_eq!(other.sync(), []);
        // As soon as it reads, it is read again.
        let sent = flood.sent();
        while flood.sent() == sent {
            assert_eq!(flood.peer.read_frame(), Frame::pong(payload));
        }
    }
}
