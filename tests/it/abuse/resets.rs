//! Peers that reset their connection, whatever it is at.

use std::time::Duration;

use crate::support::{Embedded, Frame, Node, Raw, RawListener, letters};

#[test]
fn a_reset_in_every_phase_leaves_nothing_behind() {
    let mut node = Embedded::listening(|config| {
        config.echo = true;
        config.limits.message_bytes_max = 64 << 10;
        config.limits.close_timeout = Duration::from_secs(60);
    });
    let address = node.address();
    let upgraded = || Raw::upgraded(address, "/");
    let mut peers = vec![
        // Before a byte, within the head, right behind the head.
        Raw::connect(address),
        Raw::connect(address),
        Raw::connect(address),
    ];
    peers[1].send("GET / HT");
    peers[2].send(Raw::request(address, "/"));
    // Open; within a header, a payload, a message.
    peers.push(upgraded());
    for part in [
        Frame::text("hello").masked().encode()[..3].to_vec(),
        Frame::text("hello").masked().encode()[..8].to_vec(),
        Frame::text("hello").unfinished().masked().encode(),
    ] {
        let mut peer = upgraded();
        peer.send(part);
        peer.sync_after_part();
        peers.push(peer);
    }
    // With much waiting for it.
    let mut peer = Raw::upgraded_narrow(address, "/");
    peer.send_frames((0..10).map(|_| Frame::binary(vec![0; 60_000])));
    node.received.wait_for_count(10, "[60000]");
    peers.push(peer);
    // After its Close, after an error and the answer to it, after a refusal.
    let mut peer = upgraded();
    peer.send_frame(Frame::close(1000, ""));
    peer.read_to_close();
    peers.push(peer);
    let mut peer = upgraded();
    peer.send(Frame::text("unmasked").encode());
    peer.read_to_close();
    peers.push(peer);
    let mut peer = Raw::connect(address);
    peer.send("nonsense\r\n\r\n");
    peer.read_head();
    peers.push(peer);

    for peer in peers {
        peer.reset();
    }
    let counters = node.wait_counters("all are gone", |c| c.connections == 0);
    assert_eq!(counters.peers, 0);
    let mut peer = upgraded();
    peer.send_frame(Frame::text("served"));
    assert_eq!(peer.read_frame(), Frame::text("served"));
    // While it is closing.
    node.handle().stop();
    peer.read_to_close();
    peer.reset();
    node.stop();
}

impl Raw {
    /// Nothing can be sent behind a part of a frame, so the node is asked by another connection
    /// whether it has come this far.
    #[track_caller]
    fn sync_after_part(&mut self) {
        let node = self.stream().peer_addr().expect("it is connected");
        Raw::upgraded(node, "/").sync();
    }
}

#[test]
fn a_reset_in_every_phase_of_a_dial_leads_to_another_dial() {
    let listener = RawListener::bind();
    let mut node = Embedded::listening(|config| {
        config.peers = vec![listener.url("/").parse().unwrap()];
        config.limits.retry_min = Duration::from_millis(1);
        config.limits.retry_max = Duration::from_millis(5);
    });
    listener.accept().reset();
    let mut peer = listener.accept();
    let answer = crate::support::raw::answer(&peer.read_head());
    peer.send(&answer[..50]);
    peer.reset();
    let mut peer = listener.accept();
    let answer = crate::support::raw::answer(&peer.read_head());
    peer.send(answer);
    peer.reset();
    let (mut peer, _) = listener.accept_upgraded();
    peer.send(&Frame::text("hello").encode()[..4]);
    peer.reset();
    let (mut peer, _) = listener.accept_upgraded();
    peer.send_frame(Frame::close(1000, ""));
    peer.read_to_close();
    peer.reset();
    let (mut peer, _) = listener.accept_upgraded();
    assert_eq!(peer.sync(), []);
    let counters = node.wait_counters("only this one is left", |c| {
        c.connections == 1 && c.peers == 1
    });
    assert_eq!(counters.closed + 1, counters.opened);
    node.handle().stop();
    peer.read_to_close();
    peer.reset();
    node.stop();
}

/// While the node stands still, more arrives than it reads in one turn (but no more than the kernel takes
/// for it), and then the reset: something is still to be read when the first write fails.
#[track_caller]
fn receives_all_before_a_reset(options: &[&str]) {
    let node = Node::listening(options);
    let mut peer = Raw::upgraded(node.address(), "/");
    node.wait_connected(1);
    node.signal("STOP");
    let item = |n| Frame::text(format!("item {n}; {}", letters(1000)));
    let bytes: Vec<u8> = (0..45).flat_map(|n| item(n).masked().encode()).collect();
    peer.send(bytes);
    peer.reset();
    node.signal("CONT");
    for n in [0, 20, 44] {
        node.stdout.wait_for(&format!(" item {n}; "));
    }
    node.wait_closed(1);
}

#[test]
fn what_was_received_before_a_reset_is_not_lost_to_a_failed_write() {
    receives_all_before_a_reset(&["--interval", "1ms", "--message", "unread"]);
}

#[test]
fn answers_that_cannot_be_sent_do_not_keep_a_connection_that_was_reset() {
    let silent = ["--interval", "off", "--ping-interval", "off", "--echo"];
    let small = ["--max-message", "16KiB", "--outbox", "32KiB"];
    receives_all_before_a_reset(&[&silent[..], &small[..]].concat());
}
