//! Peers that do not read what is sent to them, under each policy.

use std::time::Duration;

use wsmesh::Message;
use wsmesh::config::SlowPeer;

use super::{KIB, MIB};
use crate::support::{Embedded, End, Frame, Node, Raw, letters};

/// A node with a small outbox, a peer that reads everything and one that reads nothing yet.
struct Stalled {
    node: Embedded,
    reader: Raw,
    stalled: Raw,
}

const STALLED_MESSAGE_BYTES: usize = 16 << 10;

/// Message number `seq` of the broadcasts below.
fn numbered(seq: u64) -> Message {
    let mut text = format!("{seq}|");
    text.push_str(&letters(STALLED_MESSAGE_BYTES - text.len()));
    Message::text(text)
}

#[track_caller]
fn number_of(frame: &Frame) -> u64 {
    let text = frame.payload_text();
    let (number, _) = text
        .split_once('|')
        .unwrap_or_else(|| panic!("a number in {frame:?}"));
    assert_eq!(text.len(), STALLED_MESSAGE_BYTES);
    number.parse().unwrap()
}

impl Stalled {
    #[track_caller]
    fn start(policy: SlowPeer) -> Stalled {
        let node = Embedded::listening(|config| {
            config.slow_peer = policy;
            config.limits.message_bytes_max = 64 << 10;
            config.limits.outbox_bytes_max = 256 << 10;
            config.limits.ping_interval = None;
            config.limits.close_timeout = Duration::from_secs(60);
        });
        let reader = Raw::upgraded(node.address(), "/");
        let stalled = Raw::upgraded_narrow(node.address(), "/");
        node.wait_counters("both are there", |c| c.peers == 2);
        Stalled {
            node,
            reader,
            stalled,
        }
    }

    /// Broadcasts these; each is read by the peer that reads before the next is sent, so that only
    /// the other one is slow. Asserts that the former misses nothing.
    #[track_caller]
    fn broadcast(&mut self, numbers: std::ops::Range<u64>) {
        for seq in numbers {
            self.node.try_broadcast(numbered(seq));
            assert_eq!(number_of(&self.reader.read_frame()), seq);
        }
        // What was dropped shows at the end of a turn.
        self.reader.sync();
        let before = self.node.counters().turns;
        self.reader.sync();
        self.node
            .wait_counters("a turn has ended", |c| c.turns > before);
    }
}

#[test]
fn a_slow_peer_is_told_1013_and_the_others_miss_nothing() {
    const COUNT: u64 = 200;
    let mut test = Stalled::start(SlowPeer::Disconnect);
    test.broadcast(0..COUNT);
    let Stalled {
        node,
        mut stalled,
        reader,
    } = test;
    let counters = node.counters();
    assert!(counters.messages_dropped > 0, "{counters:?}");

    // It reads after all: what was sent first, in order and without a gap, and then why.
    let (before, close) = stalled.read_to_close();
    assert_eq!(close.close_code(), Some(1013), "{close:?}");
    let heard: Vec<u64> = before.iter().map(number_of).collect();
    assert_eq!(
        heard,
        (0..heard.len() as u64).collect::<Vec<_>>(),
        "no silent gap"
    );
    assert!((heard.len() as u64) < COUNT);
    assert_eq!(stalled.finish_close(&close), End::Closed);
    drop(stalled);
    let counters = node.wait_counters("it is gone", |c| c.closed == 1);
    assert_eq!((counters.closed_slow, counters.peers), (1, 1));
    drop(reader);
}

#[test]
fn a_slow_peer_that_never_reads_is_dropped_after_the_close_timeout() {
    let message = format!("{{seq}}|{}", letters(16 << 10));
    let node = Node::listening([
        "--interval",
        "5ms",
        "--message",
        &message,
        "--max-message",
        "64KiB",
        "--outbox",
        "256KiB",
        "--close-timeout",
        "200ms",
    ]);
    let before = node.descriptors();
    let stalled = Raw::upgraded_narrow(node.address(), "/");
    let name = format!("peer {}", stalled.local_address());
    let closed = node.stderr.wait_for(&format!("{name} closed: "));
    assert!(
        closed.contains("reads too slowly") && closed.contains(" WARN "),
        "{closed}"
    );
    assert_eq!(node.descriptors(), before);
    assert_eq!(node.stderr.count("reads too slowly"), 1, "said once");
    node.assert_no_error_logged();
}

#[test]
fn drop_oldest_keeps_the_latest() {
    const COUNT: u64 = 150;
    let mut test = Stalled::start(SlowPeer::DropOldest);
    test.broadcast(0..COUNT);
    let Stalled { node, stalled, .. } = &mut test;
    let mut heard = Vec::new();
    while heard.last() != Some(&(COUNT - 1)) {
        heard.push(number_of(&stalled.read_frame()));
    }
    assert!(heard.is_sorted(), "{heard:?}");
    let counters = node.counters();
    assert_eq!(
        counters.messages_sent,
        2 * COUNT,
        "all were queued, some then dropped"
    );
    assert!(counters.messages_dropped > 0, "{counters:?}");
    assert_eq!(
        heard.len() as u64 + counters.messages_dropped,
        COUNT,
        "all are accounted for"
    );
    let latest: Vec<u64> = (COUNT - 10..COUNT).collect();
    assert!(heard.ends_with(&latest), "{heard:?}");
    assert_eq!((counters.peers, counters.closed), (2, 0));
    test.broadcast(COUNT..COUNT + 1);
    assert_eq!(
        number_of(&test.stalled.read_frame()),
        COUNT,
        "served as before"
    );
}

#[test]
fn drop_newest_keeps_what_waits() {
    const COUNT: u64 = 150;
    let mut test = Stalled::start(SlowPeer::DropNewest);
    test.broadcast(0..COUNT);
    let Stalled { node, stalled, .. } = &mut test;
    let counters = node.counters();
    let dropped = counters.messages_dropped;
    assert_eq!(counters.messages_sent, 2 * COUNT - dropped, "{counters:?}");
    let kept = COUNT - dropped;
    assert!(
        dropped > 0 && kept >= 10,
        "at least what the outbox holds: {kept}"
    );
    let heard: Vec<u64> = (0..kept)
        .map(|_| number_of(&stalled.read_frame()))
        .collect();
    let first = heard
        .iter()
        .zip(0..)
        .take_while(|(heard, seq)| **heard == *seq)
        .count();
    assert!(
        first >= 10 && heard.is_sorted(),
        "the first stay: {heard:?}"
    );
    stalled.sync();
    // There is room again.
    test.broadcast(COUNT..COUNT + 1);
    assert_eq!(number_of(&test.stalled.read_frame()), COUNT);
    let counters = test.node.counters();
    assert_eq!((counters.peers, counters.closed), (2, 0));
}

#[test]
fn a_peer_whose_outbox_is_full_is_still_heard() {
    let mut test = Stalled::start(SlowPeer::DropOldest);
    test.broadcast(0..150);
    let counters = test.node.counters();
    assert!(counters.messages_dropped > 0, "{counters:?}");
    // It does not read, but it speaks, and when it says goodbye that is heard too.
    test.stalled.send_frame(Frame::text("I am slow"));
    test.node.received.wait_for(" / I am slow");
    test.stalled.send_frame(Frame::close(1000, ""));
    let (_, close) = test.stalled.read_to_close();
    assert_eq!(close.close_code(), Some(1000));
}

#[test]
fn dropping_is_logged_once_and_memory_is_bounded() {
    let message = format!("{{seq}}|{}", letters(32 << 10));
    for policy in ["drop-oldest", "drop-newest"] {
        let node = Node::listening([
            "--interval",
            "4ms",
            "--message",
            &message,
            "--max-message",
            "64KiB",
            "--outbox",
            "512KiB",
            "--slow-peer",
            policy,
        ]);
        let mut reader = Raw::upgraded(node.address(), "/");
        reader.read_frame();
        let before = node.resident_bytes();
        let mut stalled = Raw::upgraded_narrow(node.address(), "/");
        let name = format!("peer {} reads too slowly", stalled.local_address());
        node.stderr.wait_for(&name);
        for _ in 0..100 {
            reader.read_frame();
        }
        let grown = node.resident_bytes().saturating_sub(before);
        assert!(grown < 4 * MIB, "{policy}: {} KiB", grown / KIB);
        assert_eq!(node.stderr.count(&name), 1, "{policy}: said once");
        // It is served again as soon as it reads.
        stalled.sync();
        assert!(!node.stderr.contain(" closed: "), "{policy}");
    }
}
