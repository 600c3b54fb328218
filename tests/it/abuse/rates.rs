//! Peers that send more than they may: they are closed, or have to wait, and nobody else does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wsmesh::config::Rate;

use super::assert_told_within_bounds;
use crate::support::{Embedded, Frame, Node, Raw};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Sends messages of 64 KiB while they are heard. Returns how long it took until all were.
#[track_caller]
fn time_to_hear(publisher: &mut Raw, hearer: &mut Raw, bytes: usize) -> Duration {
    let begun = Instant::now();
    let frames: Vec<_> = (0..bytes / (64 * KIB))
        .map(|number| Frame::binary(vec![number as u8; 64 * KIB]))
        .collect();
    let sending = frames.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| publisher.send_frames(sending));
        for frame in frames {
            assert!(hearer.read_frame() == frame, "all of them, in order");
        }
    });
    begun.elapsed()
}

#[test]
fn who_sends_too_many_bytes_has_to_wait_and_loses_nothing() {
    let node = Embedded::listening(|config| {
        config.limits.publish_rate_max = None;
        config.limits.publish_bytes_max = Some(Rate::delaying(MIB));
    });
    let mut pair = ["/a", "/a"].map(|path| Raw::upgraded(node.address(), path));
    let mut others = ["/b", "/b"].map(|path| Raw::upgraded(node.address(), path));
    let turns = node.counters().turns;
    let [publisher, hearer] = &mut pair;
    let took = time_to_hear(publisher, hearer, 4 * MIB);
    // Two at once, and then one a second; some of what is still on its way has been read already.
    assert!(took > Duration::from_millis(1800), "{took:?}");
    let counters = node.counters();
    assert!(counters.delayed > 10, "{counters:?}");
    assert_eq!((counters.closed, counters.closed_rate), (0, 0));
    // It sleeps in between.
    let turns = counters.turns - turns;
    assert!(turns < 20 * counters.delayed + 1000, "{turns} turns");
    // Others have time of their own.
    others[0].send_frame(Frame::text("undisturbed"));
    assert_eq!(others[1].read_frame(), Frame::text("undisturbed"));
}

#[test]
fn without_a_rate_all_bytes_come_at_once() {
    let node = Embedded::listening(|config| {
        config.limits.publish_rate_max = None;
        config.limits.publish_bytes_max = None;
    });
    let mut flooder = Raw::upgraded(node.address(), "/");
    // With a rate of a megabyte a second this would take longer than is waited for.
    flooder.send_frames(vec![Frame::binary(vec![7; 64 * KIB]); 1024]);
    let counters = node.wait_counters("all is there", |c| c.published == 1024);
    assert_eq!((counters.delayed, counters.closed), (0, 0));
}

#[test]
fn who_sends_too_many_bytes_is_closed_if_that_is_the_answer() {
    let node = Embedded::listening(|config| {
        config.limits.publish_bytes_max = Some(Rate::closing(MIB));
    });
    let mut other = Raw::upgraded(node.address(), "/other");
    let mut flooder = Raw::upgraded(node.address(), "/");
    flooder.send_frames(vec![Frame::binary(vec![7; 64 * KIB]); 256]);
    let (before, close) = flooder.read_to_close();
    assert_eq!(before, []);
    assert_eq!(close, Frame::close(1008, "more than 1MiB a second"));
    flooder.finish_close(&close);
    drop(flooder);
    let counters = node.wait_counters("it is gone", |c| c.peers == 1);
    assert_eq!((counters.closed_rate, counters.delayed), (1, 0));
    assert!((20..256).contains(&counters.published), "{counters:?}");
    assert_eq!(other.sync(), []);
}

#[test]
fn who_sends_too_many_messages_has_to_wait_if_that_is_the_answer() {
    let node = Embedded::listening(|config| {
        config.limits.publish_rate_max = Some(Rate::delaying(50));
    });
    let [mut publisher, mut hearer] = ["/", "/"].map(|path| Raw::upgraded(node.address(), path));
    let begun = Instant::now();
    let frames: Vec<_> = (0..150).map(|n| Frame::text(n.to_string())).collect();
    publisher.send_frames(frames.clone());
    for frame in frames {
        assert_eq!(hearer.read_frame(), frame);
    }
    // A hundred may come at once; for fifty more it waits a second.
    publisher.send_frame(Frame::text("late"));
    assert_eq!(hearer.read_frame(), Frame::text("late"));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(950), "{took:?}");
    assert_eq!(node.counters().closed, 0);
}

#[test]
fn a_peer_that_has_to_wait_is_not_taken_for_dead() {
    let node = Embedded::listening(|config| {
        config.limits.ping_interval = Some(Duration::from_millis(100));
        config.limits.publish_rate_max = None;
        config.limits.publish_bytes_max = Some(Rate::delaying(8 * KIB));
    });
    let mut peer = Raw::upgraded(node.address(), "/");
    // For some seconds it is not read, and what would prove that it is alive waits behind this.
    peer.send_frame(Frame::binary(vec![7; 30 * KIB]));
    node.wait_counters("it has to wait", |c| c.delayed == 1);
    let begun = Instant::now();
    let before = peer.sync();
    assert!(begun.elapsed() > Duration::from_secs(1));
    let is_ping = |frame: &Frame| frame.opcode == Frame::PING;
    assert!(before.iter().all(is_ping), "{before:?}");
    assert_eq!(node.counters().closed, 0);
}

/// A client that came from another address of this machine.
#[track_caller]
fn from(last: u8, node: SocketAddr) -> Raw {
    let mut raw = Raw::connect_by(node, |socket| {
        let source = SocketAddr::from(([127, 0, 9, last], 0));
        socket.bind(&source.into()).unwrap();
    });
    raw.send(Raw::request(node, "/"));
    raw
}

#[test]
fn all_of_one_address_share_what_it_may_publish() {
    let node = Embedded::listening(|config| {
        config.limits.publish_rate_per_address_max = Some(Rate::closing(10));
    });
    let mut peers = [1, 1, 2].map(|last| from(last, node.address()));
    peers
        .iter_mut()
        .for_each(|peer| drop(peer.expect_upgraded()));
    let [one, two, elsewhere] = &mut peers;
    for peer in [&mut *one, two] {
        peer.send_frames(vec![Frame::text("x"); 9]);
        peer.sync();
    }
    one.send_frames(vec![Frame::text("x"); 100]);
    let (_, close) = one.read_to_close();
    let words = "more than 10 messages a second from one address";
    assert_eq!(close, Frame::close(1008, words));
    elsewhere.send_frames(vec![Frame::text("x"); 20]);
    elsewhere.sync();
    node.wait_counters("it is gone", |c| c.published >= 20 + 20);
}

/// The first words of the answers to so many requests of one address.
fn statuses(node: &Node, last: u8, count: usize) -> Vec<String> {
    let status = |_| from(last, node.address()).read_head()[9..12].to_owned();
    (0..count).map(status).collect()
}

#[test]
fn an_address_that_connects_too_often_hears_429_and_others_do_not() {
    let options = ["--interval", "off", "--max-handshake-rate", "3"];
    let node = Node::listening(options);
    let mut friend = from(2, node.address());
    friend.expect_upgraded();
    let begun = Instant::now();
    let flood = statuses(&node, 1, 200);
    let admitted = flood.iter().filter(|status| *status == "101").count();
    let allowed = 6 + 3 * (begun.elapsed().as_secs() as usize + 1);
    assert!((6..=allowed).contains(&admitted), "{flood:?}");
    assert!(flood.contains(&"429".to_owned()), "{flood:?}");
    assert_eq!(statuses(&node, 2, 3), ["101"; 3]);
    assert_eq!(friend.sync(), []);
    assert_told_within_bounds(&node, "refusing 127.0.9.1");
}

#[test]
fn without_a_rate_an_address_connects_as_often_as_it_likes() {
    let node = Node::listening(["--interval", "off"]);
    assert_eq!(statuses(&node, 1, 200), ["101"; 200]);
}
