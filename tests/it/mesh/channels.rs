//! One node: who hears whom, and what that is bounded by.

use wsmesh::{BroadcastError, Message, PublishError, config::Rate};

use super::QUIET;
use crate::support::{Embedded, Frame, Node, Raw, RawListener, letters};

/// Longest channel.
const CHANNEL_BYTES_MAX: usize = 255;

/// Frames of all kinds that a channel takes.
fn frames() -> Vec<Frame> {
    vec![
        Frame::text("hello"),
        Frame::binary([0, 0xff]),
        Frame::text(""),
        Frame::text(letters(100_000)),
    ]
}

#[track_caller]
fn assert_hears(peer: &mut Raw, frames: &[Frame]) {
    for frame in frames {
        assert!(peer.read_frame() == *frame, "{frame:?}");
    }
    assert_eq!(peer.sync(), [], "and nothing more");
}

#[test]
fn the_peers_of_a_channel_hear_one_another_and_nobody_else_does() {
    let node = Node::listening(QUIET);
    let paths = ["/a", "/a", "/a?key=1", "/", "/b", "/a/", "/a/b", "/A"];
    let mut peers = paths.map(|path| Raw::upgraded(node.address(), path));
    let frames = frames();
    for sender in 0..3 {
        peers[sender].send_frames(frames.clone());
        for hearer in (0..3).filter(|hearer| *hearer != sender) {
            assert_hears(&mut peers[hearer], &frames);
        }
        assert_eq!(peers[sender].sync(), [], "not itself");
    }
    for peer in &mut peers[3..] {
        assert_eq!(peer.sync(), [], "another channel");
    }
    for sender in &peers[..3] {
        let who = sender.local_address();
        node.stdout.wait_for_line(&format!("{who}/a hello"));
    }
    assert_eq!(node.stdout.count("/a hello"), 3);
}

#[test]
fn a_peer_that_we_dialed_has_its_channel_too() {
    let listener = RawListener::bind();
    let url = listener.url("/feed?key=1");
    let node = Node::listening([&QUIET[..], &["--peers", &url]].concat());
    let (mut feed, _) = listener.accept_upgraded();
    let mut peer = Raw::upgraded(node.address(), "/feed");
    let mut other = Raw::upgraded(node.address(), "/");
    node.wait_connected(3);
    feed.send_frame(Frame::text("down"));
    peer.send_frame(Frame::text("up"));
    assert_hears(&mut peer, &[Frame::text("down")]);
    assert_hears(&mut feed, &[Frame::text("up")]);
    assert_eq!(other.sync(), []);
}

#[test]
fn with_an_echo_the_sender_hears_it_once_too() {
    let node = Node::listening([&QUIET[..], &["--echo"]].concat());
    let mut peers = ["/", "/"].map(|path| Raw::upgraded(node.address(), path));
    let frames = frames();
    peers[0].send_frames(frames.clone());
    for peer in &mut peers {
        assert_hears(peer, &frames);
    }
}

#[test]
fn without_relaying_what_peers_send_goes_to_the_output_alone() {
    let node = Node::listening([&QUIET[..], &["--relay", "off", "--echo"]].concat());
    let mut peers = ["/", "/"].map(|path| Raw::upgraded(node.address(), path));
    peers[0].send_frame(Frame::text("for the node"));
    let who = peers[0].local_address();
    node.stdout.wait_for_line(&format!("{who} for the node"));
    assert_hears(&mut peers[0], &[Frame::text("for the node")]);
    assert_eq!(peers[1].sync(), []);
}

#[test]
fn a_burst_arrives_in_order_at_every_peer() {
    const COUNT: usize = 5000;
    let node = Embedded::listening(|_| {});
    let mut peers = ["/x", "/x", "/x"].map(|path| Raw::upgraded(node.address(), path));
    node.wait_counters("all are there", |c| c.peers == 3);
    let frames: Vec<_> = (0..COUNT).map(|n| Frame::text(n.to_string())).collect();
    peers[0].send_frames(frames.clone());
    for peer in &mut peers[1..] {
        assert_hears(peer, &frames);
    }
    let counters = node.wait_counters("all is sent", |c| c.messages_sent == 2 * COUNT as u64);
    assert_eq!(counters.published, COUNT as u64);
    assert_eq!((counters.delivered, counters.neighbors), (0, 0));
}

#[test]
fn who_publishes_too_fast_is_closed_and_told_why() {
    let node =
        Embedded::listening(|config| config.limits.publish_rate_max = Some(Rate::closing(5)));
    let mut hearer = Raw::upgraded(node.address(), "/");
    let mut flooder = Raw::upgraded(node.address(), "/");
    let frames: Vec<_> = (0..100).map(|n| Frame::text(n.to_string())).collect();
    flooder.send_frames(frames.clone());
    let (before, close) = flooder.read_to_close();
    assert_eq!(before, []);
    assert_eq!(close, Frame::close(1008, "more than 5 messages a second"));
    flooder.finish_close(&close);
    drop(flooder);
    // A pause has saved up for ten.
    assert_hears(&mut hearer, &frames[..10]);
    assert_eq!(node.received.count(" / "), 10);
    // Another one has time of its own.
    hearer.send_frame(Frame::text("slowly"));
    node.received.wait_for(" / slowly");
    let counters = node.wait_counters("it is gone", |c| c.peers == 1 && c.published == 11);
    assert_eq!(counters.closed_rate, 1);
}

#[test]
fn without_a_limit_anybody_publishes_as_fast_as_it_can() {
    let node = Embedded::listening(|config| config.limits.publish_rate_max = None);
    let mut peers = ["/", "/"].map(|path| Raw::upgraded(node.address(), path));
    let frames: Vec<_> = (0..20_000).map(|n| Frame::text(n.to_string())).collect();
    let sending = frames.clone();
    let [hearer, sender] = &mut peers;
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send_frames(sending));
        assert_hears(hearer, &frames);
    });
}

#[test]
fn a_program_publishes_for_the_peers_of_a_channel() {
    let node = Embedded::listening(|_| {});
    let mut peers = ["/x", "/x?key=1", "/"].map(|path| Raw::upgraded(node.address(), path));
    node.wait_counters("all are there", |c| c.peers == 3);
    let publish = |text: &'static str| node.handle().publish("/x", Message::text(text));
    publish("first").unwrap();
    node.broadcast("second");
    publish("third").unwrap();
    let texts = ["first", "second", "third"].map(Frame::text);
    for peer in &mut peers[..2] {
        assert_hears(peer, &texts);
    }
    assert_hears(&mut peers[2], &texts[1..2]);
    assert_eq!(
        node.received.all(),
        [""; 0],
        "the program knows what it says"
    );
    assert_eq!(node.counters().published, 2);
}

#[test]
fn what_cannot_be_published_is_an_error() {
    let node = Embedded::listening(|config| {
        config.limits.message_bytes_max = 1000;
        config.limits.outbox_bytes_max = 4 << 10;
    });
    let publish = |channel: &str, bytes: usize| {
        let message = Message::binary(vec![0; bytes]);
        node.handle().publish(channel, message).unwrap_err()
    };
    assert!(matches!(
        publish("/", 1001),
        PublishError::Refused(BroadcastError::TooBig {
            bytes: 1001,
            bytes_max: 1000
        })
    ));
    let long = format!("/{}", letters(CHANNEL_BYTES_MAX));
    for channel in ["", "x", "/x?y", "/x y", "/grün", &long] {
        let error = publish(channel, 0);
        assert!(matches!(error, PublishError::Channel(_)), "{error}");
    }
    let handle = node.handle();
    let longest = &long[..CHANNEL_BYTES_MAX];
    let mut peer = Raw::upgraded(node.address(), longest);
    node.wait_counters("it is there", |c| c.peers == 1);
    handle.publish(longest, Message::text("fits")).unwrap();
    assert_hears(&mut peer, &[Frame::text("fits")]);
}

#[test]
fn a_path_that_is_too_long_for_a_channel_is_refused() {
    let node = Node::listening(QUIET);
    let mut client = Raw::connect(node.address());
    let target = format!("/{}?query", letters(CHANNEL_BYTES_MAX));
    client.send(Raw::request(node.address(), &target));
    let (head, body) = client.read_answer();
    assert!(head.starts_with("HTTP/1.1 414 "), "{head}");
    assert!(body.contains("channel"), "{body}");
}

#[test]
fn a_broadcast_for_the_mesh_is_a_publication() {
    let options = ["--interval", "50ms", "--broadcast-scope", "mesh"];
    let message = ["--message", "{seq} from {bind}"];
    let node = Node::listening([&options[..], &message].concat());
    let mut peer = Raw::upgraded(node.address(), "/");
    let mut other = Raw::upgraded(node.address(), "/other");
    let text = peer.read_frame().payload_text();
    let (seq, from) = text.split_once(" from ").unwrap();
    assert_eq!(from, node.address().to_string());
    let seq: u32 = seq.parse().unwrap();
    let next = format!("{} from {from}", seq + 1);
    assert_eq!(peer.read_frame(), Frame::text(next));
    assert_eq!(other.sync(), []);
    assert!(!node.stdout.contain("from"), "the node knows what it says");
}
