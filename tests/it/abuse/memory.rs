//! Peers that together make a node hold more than there is memory for.

use std::process::Stdio;

use wsmesh::Message;

use super::{KIB, MIB};
use crate::support::{Embedded, End, Frame, LengthForm, Node, Raw, eventually_some, letters};

const PART: usize = 64 << 10;

/// How much memory a node takes for many peers that read nothing, each on a channel of its own, while two others talk; so
/// many of them are closed at least.
#[track_caller]
fn grown_for_slow_peers(memory: &str, closed_min: usize) -> u64 {
    const SLOW: usize = 20;
    let options = ["--bind", "127.0.0.1:0", "--interval", "off"];
    let more = ["--outbox", "16MiB", "--max-publish-rate", "off"];
    let last = ["--close-timeout", "100ms", "--memory", memory];
    let command = Node::command([&options[..], &more, &last].concat());
    let mut node = Node::start_with_stdout(command, Stdio::null());
    node.wait_listening(1);
    let mut good = ["/good", "/good"].map(|path| Raw::upgraded(node.address(), path));
    let paths = (0..SLOW).map(|number| format!("/{number}"));
    let mut pairs: Vec<_> = paths
        .map(|path| {
            let slow = Raw::upgraded_narrow(node.address(), &path);
            (slow, Raw::upgraded(node.address(), &path))
        })
        .collect();
    let before = node.resident_bytes();
    let mut most = before;
    for (number, (_, publisher)) in pairs.iter_mut().enumerate() {
        publisher.send_frames(vec![Frame::binary(vec![7; PART]); 8 * MIB as usize / PART]);
        publisher.sync();
        // Who behaves well notices nothing.
        let text = Frame::text(number.to_string());
        good[0].send_frame(text.clone());
        assert_eq!(good[1].read_frame(), text);
        most = most.max(node.resident_bytes());
    }
    for raw in good
        .iter_mut()
        .chain(pairs.iter_mut().map(|pair| &mut pair.1))
    {
        assert_eq!(raw.sync(), [], "it is still there");
    }
    node.assert_no_error_logged();
    if closed_min > 0 {
        node.stderr
            .wait_for_count(closed_min, "closed: this node is short of memory");
    }
    assert_eq!(
        node.stderr.contain("more than --memory"),
        closed_min > 0,
        "said, or not at all"
    );
    assert_eq!(node.stderr.contain(" closed: "), closed_min > 0);
    most - before
}

#[test]
fn many_slow_peers_take_no_more_than_they_may_together() {
    let grown = grown_for_slow_peers("16MiB", 11);
    assert!(grown < 40 * MIB, "{} KiB", grown / KIB);
}

#[test]
fn without_a_bound_for_all_many_slow_peers_take_what_each_of_them_may() {
    let grown = grown_for_slow_peers("off", 0);
    assert!(grown > 100 * MIB, "{} KiB", grown / KIB);
}

const MEMORY: u64 = 4 * MIB;

fn embedded(memory: Option<u64>) -> Embedded {
    Embedded::listening(|config| {
        config.limits.memory_bytes_max = memory.map(|bytes| bytes as usize);
        config.limits.outbox_bytes_max = MEMORY as usize;
        config.limits.head_bytes_max = MIB as usize;
        config.mesh.history.bytes_max = 3 * MIB as usize;
    })
}

/// Publishes a part in a channel.
#[track_caller]
fn publish(node: &Embedded, channel: &str) {
    let message = Message::binary(vec![7; PART]);
    eventually_some("the loop takes a publication", || {
        node.handle().publish(channel, message.clone()).ok()
    });
}

/// Publishes in a channel until the counters are as wanted.
#[track_caller]
fn publish_until(node: &Embedded, channel: &str, is_enough: impl Fn(&wsmesh::Counters) -> bool) {
    let mut published = node.counters().published;
    while !is_enough(&node.counters()) {
        publish(node, channel);
        published += 1;
        node.wait_counters("it is published", |c| c.published == published);
        assert!(
            node.counters().held_bytes <= MEMORY,
            "{:?}",
            node.counters()
        );
    }
}

#[test]
fn who_holds_most_goes_first() {
    let node = Embedded::listening(|config| {
        config.limits.memory_bytes_max = Some(MEMORY as usize);
        config.mesh.history.age_max = None;
    });
    let [mut most, mut less] = ["/a", "/b"].map(|path| Raw::upgraded_narrow(node.address(), path));
    publish_until(&node, "/a", |c| c.held_bytes > MEMORY * 5 / 8);
    publish_until(&node, "/b", |c| {
        c.closed_memory > 0 || c.messages_dropped > 0
    });
    let (before, close) = most.read_to_close();
    assert!(
        before.iter().all(|frame| frame.payload.len() == PART),
        "none is torn"
    );
    assert_eq!(close.close_code(), Some(1013));
    assert!(
        format!("{close:?}").contains("short of memory"),
        "{close:?}"
    );
    assert_eq!(most.finish_close(&close), End::Closed);
    let counters = node.wait_counters("it is gone", |c| c.closed_memory == 1);
    assert_eq!(counters.peers, 1);
    assert!(counters.held_bytes < MEMORY, "{counters:?}");
    // The other one has missed nothing.
    let heard = less.sync();
    assert!(heard.len() > 10 && heard.iter().all(|frame| frame.payload.len() == PART));
    node.wait_counters("nothing is held", |c| c.held_bytes == 0);
}

#[test]
fn what_several_wait_for_counts_once() {
    let node = Embedded::listening(|config| {
        config.limits.memory_bytes_max = Some(MEMORY as usize);
        config.mesh.history.age_max = None;
    });
    let mut peers: Vec<_> = (0..10)
        .map(|_| Raw::upgraded_narrow(node.address(), "/a"))
        .collect();
    publish_until(&node, "/a", |c| c.held_bytes > MIB);
    assert_eq!(node.counters().closed_memory, 0);
    let heard = peers[0].sync();
    assert!(peers.iter_mut().skip(1).all(|peer| peer.sync() == heard));
    node.wait_counters("nothing is held", |c| c.held_bytes == 0);
}

#[test]
fn a_history_that_takes_more_than_any_peer_gives_way_first() {
    let node = embedded(Some(MEMORY));
    publish_until(&node, "/nobody", |c| c.held_bytes > 3 * MIB - PART as u64);
    let mut slow = Raw::upgraded_narrow(node.address(), "/a");
    publish_until(&node, "/a", |c| c.forgotten > 5);
    assert_eq!(node.counters().closed_memory, 0);
    assert!(slow.sync().len() > 10);
    // And by itself it is no offence.
    assert!(node.counters().held_bytes > MIB, "{:?}", node.counters());
}

/// A peer that begins with a message of so many bytes and says no more.
#[track_caller]
fn claiming(node: &Embedded, bytes: u64) -> Raw {
    let mut raw = Raw::upgraded(node.address(), "/");
    let claim = Frame::binary("x").masked();
    raw.send(claim.encode_claiming(bytes, LengthForm::SixtyFour));
    raw
}

#[test]
fn messages_that_never_come_whole_are_bounded_in_all() {
    let node = embedded(Some(MEMORY));
    let mut good = Raw::upgraded(node.address(), "/good");
    let _begun: Vec<_> = (0..4).map(|_| claiming(&node, MIB - 1000)).collect();
    node.wait_counters("all have begun", |c| c.held_bytes > MEMORY - 5000);
    let mut worst = claiming(&node, MIB);
    let (_, close) = worst.read_to_close();
    assert_eq!(close.close_code(), Some(1013));
    let counters = node.wait_counters("it is given up", |c| c.held_bytes < MEMORY);
    assert_eq!(counters.closed_protocol, 0);
    assert_eq!(good.sync(), []);
    drop(worst);
    node.wait_counters("it is gone", |c| c.closed_memory == 1 && c.peers == 5);
}

#[test]
fn without_a_bound_messages_that_never_come_whole_take_what_they_claim() {
    let node = embedded(None);
    let _begun: Vec<_> = (0..30).map(|_| claiming(&node, MIB)).collect();
    let counters = node.wait_counters("all have begun", |c| c.held_bytes >= 30 * MIB);
    assert_eq!((counters.peers, counters.closed), (30, 0));
}

#[test]
fn a_head_that_takes_most_hears_503() {
    let node = embedded(Some(MEMORY));
    let _begun: Vec<_> = (0..3).map(|_| claiming(&node, 900 * KIB)).collect();
    let mut heads: Vec<_> = (0..2).map(|_| Raw::connect(node.address())).collect();
    node.wait_counters("all have begun", |c| c.held_bytes > 2700 * KIB - 1000);
    let head = format!("GET / HTTP/1.1\r\nx: {}", letters(1000 << 10));
    heads[0].send(&head);
    node.wait_counters("it is there", |c| c.held_bytes > 3700 * KIB - 1000);
    heads[1].send(&head[..500 << 10]);
    let (answer, body) = heads[0].read_answer();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(body.contains("short of memory"), "{body}");
}
