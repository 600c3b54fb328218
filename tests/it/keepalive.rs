//! Peers that fall silent: asked, and given up when nothing comes back, whatever we send meanwhile.

use std::time::{Duration, Instant};

use crate::support::{Embedded, Frame, Node, Raw, RawListener, eventually, letters};

/// Reads as a peer that is alive: answers pings and counts them, until `time` has passed.
#[track_caller]
fn answer_pings(peer: &mut Raw, time: Duration) -> usize {
    let begun = Instant::now();
    let mut pings = 0;
    while begun.elapsed() < time {
        let frame = peer.read_frame();
        match frame.opcode {
            Frame::PING => {
                pings += 1;
                peer.send_frame(Frame::pong(frame.payload));
            }
            Frame::TEXT => {}
            _ => panic!("{frame:?}"),
        }
    }
    pings
}

#[test]
fn a_silent_peer_is_dropped_though_we_keep_sending() {
    let node = Node::listening([
        "--interval",
        "20ms",
        "--message",
        "still here",
        "--ping-interval",
        "300ms",
        "--close-timeout",
        "300ms",
    ]);
    let begun = Instant::now();
    let mut peer = Raw::upgraded(node.address(), "/");
    let (before, close) = peer.read_to_close();
    let took = begun.elapsed();
    assert_eq!(close.close_code(), Some(1008), "{close:?}");
    assert!(
        took >= Duration::from_millis(600),
        "not before two intervals: {took:?}"
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    let (pings, messages): (Vec<Frame>, Vec<Frame>) = before
        .into_iter()
        .partition(|frame| frame.opcode == Frame::PING);
    assert_eq!(pings.len(), 1, "asked once");
    assert!(messages.len() >= 5, "{messages:?}");
    // A dead peer does not answer the Close either.
    let closed = node.wait_closed(1);
    assert!(closed[0].contains("nothing received"), "{closed:?}");
    node.assert_no_error_logged();
}

#[test]
fn a_peer_that_answers_or_speaks_stays() {
    let interval = Duration::from_millis(200);
    let node = Node::listening(["--interval", "20ms", "--ping-interval", "200ms"]);
    let mut answering = Raw::upgraded(node.address(), "/");
    let pings = answer_pings(&mut answering, 6 * interval);
    assert!((3..=6).contains(&pings), "{pings} pings");
    // One that speaks by itself needs not be asked. Any bytes will do.
    let mut speaking = Raw::upgraded(node.address(), "/");
    let begun = Instant::now();
    while begun.elapsed() < 5 * interval {
        speaking.send_frame(Frame::pong("unasked"));
        speaking.read_frame();
    }
    speaking.sync();
    assert!(
        !node
            .stderr
            .contain(&format!("{} closed", speaking.local_address()))
    );
}

#[test]
fn a_dialed_peer_that_falls_silent_is_dialed_again() {
    let listener = RawListener::bind();
    let node = Node::with([
        "--interval",
        "off",
        "--ping-interval",
        "100ms",
        "--close-timeout",
        "100ms",
        "--retry-min",
        "1ms",
        "--retry-max",
        "10ms",
        "--peers",
        &listener.url("/"),
    ]);
    let (mut peer, _) = listener.accept_upgraded();
    let (before, close) = peer.read_to_close();
    assert_eq!(close.close_code(), Some(1008));
    assert!(before.iter().all(|frame| frame.opcode == Frame::PING));
    let (mut peer, _) = listener.accept_upgraded();
    assert!(answer_pings(&mut peer, Duration::from_millis(300)) > 0);
    node.wait_connected(2);
}

#[test]
fn a_peer_whose_process_hangs_is_given_up_and_welcomed_back() {
    let peer = Node::listening(["--interval", "20ms", "--message", "I am back"]);
    let node = Node::with([
        "--interval",
        "20ms",
        "--ping-interval",
        "150ms",
        "--close-timeout",
        "100ms",
        "--handshake-timeout",
        "200ms",
        "--retry-min",
        "1ms",
        "--retry-max",
        "50ms",
        "--peers",
        &peer.url("/"),
    ]);
    node.stdout.wait_for("I am back");
    peer.signal("STOP");
    let closed = node.wait_closed(1);
    assert!(closed[0].contains("nothing received"), "{closed:?}");
    let heard = node.stdout.all().len();
    peer.signal("CONT");
    node.wait_connected(2);
    eventually("it is heard again", || node.stdout.all().len() > heard);
}

#[test]
fn a_node_that_was_stopped_itself_asks_before_it_gives_anyone_up() {
    let node = Node::listening(["--interval", "off", "--ping-interval", "300ms"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    node.signal("STOP");
    let begun = Instant::now();
    eventually("more than two intervals have passed", || {
        begun.elapsed() > Duration::from_millis(700)
    });
    node.signal("CONT");
    assert!(answer_pings(&mut peer, Duration::from_millis(500)) > 0);
    assert_eq!(node.stderr.count(" closed: "), 0);
}

#[test]
fn the_counters_tell_of_pings_and_of_the_silent() {
    let node = Embedded::listening(|config| {
        config.limits.ping_interval = Some(Duration::from_millis(100));
        config.limits.close_timeout = Duration::from_millis(100);
    });
    let _silent = Raw::upgraded(node.address(), "/");
    let counters = node.wait_counters("it is gone", |c| c.closed_silent == 1);
    assert_eq!((counters.pings_sent, counters.peers), (1, 0));
    assert_eq!(counters.closed, 1);
}

#[test]
fn without_a_ping_interval_nobody_is_asked() {
    let node = Node::listening(["--interval", "off", "--ping-interval", "off"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    assert!(peer.is_silent_for(Duration::from_millis(300)));
    assert_eq!(peer.sync(), []);
}

#[test]
fn a_slow_peer_that_may_stay_is_still_heard() {
    let message = letters(4000);
    let node = Node::listening([
        "--slow-peer",
        "drop-oldest",
        "--max-message",
        "8KiB",
        "--outbox",
        "16KiB",
        "--interval",
        "1ms",
        "--message",
        &message,
        "--ping-interval",
        "150ms",
    ]);
    let mut peer = Raw::upgraded_narrow(node.address(), "/");
    // It takes far less than is sent for many ping intervals, but it speaks.
    let mut slow_since = None;
    for count in 0.. {
        peer.send_frame(Frame::text(format!("word {count}")));
        node.stdout.wait_for(&format!("word {count}"));
        if count % 20 == 0 {
            peer.read_frame();
        }
        if slow_since.is_none() && node.stderr.contain("reads too slowly") {
            slow_since = Some(Instant::now());
        }
        if slow_since.is_some_and(|since| since.elapsed() > Duration::from_millis(900)) {
            break;
        }
    }
    assert!(!node.stderr.contain(" closed: "), "{}", node.stderr.tail(5));
}
