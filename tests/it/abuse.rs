//! Peers that flood, stall, reset or come in crowds: what they cost is bounded, and the others are
//! served as if nothing were.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wsmesh::Message;
use wsmesh::config::SlowPeer;

use crate::support::{
    Embedded, End, Frame, LengthForm, Node, Raw, RawListener, eventually, letters, need_descriptors,
};

/// Sends the same bytes again and again until the connection ends, and never reads.
struct Flood {
    sent: Arc<AtomicUsize>,
    _peer: Raw,
}

impl Flood {
    fn start(mut peer: Raw, first: Vec<u8>, again: Vec<u8>) -> Flood {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let mut sender = peer.sender();
        peer.send(first);
        // Large writes, so that the flood costs the machine little on this side.
        let again = again.repeat((256 << 10) / again.len() + 1);
        std::thread::spawn(move || {
            loop {
                match sender.write(&again) {
                    Ok(len) => counter.fetch_add(len, Ordering::Relaxed),
                    // The node reads no more, and that is its right.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    Err(_) => return,
                };
            }
        });
        Flood { sent, _peer: peer }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn wait_sent(&self, bytes: usize) {
        eventually("the flood is under way", || self.sent() >= bytes);
    }
}

/// The next broadcast of `--message {seq}`.
#[track_caller]
fn next_seq(peer: &mut Raw) -> u64 {
    let frame = peer.read_frame();
    frame
        .payload_text()
        .parse()
        .unwrap_or_else(|_| panic!("a number, not {frame:?}"))
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// While one peer floods, another hears every broadcast in time and is answered, the memory stays,
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
    ]);
    let mut node = Node::start_with_stdout(command, std::process::Stdio::null());
    node.wait_listening(1);
    let mut peer = Raw::upgraded(node.address(), "/");
    let before = node.resident_bytes();
    let flood = Flood::start(Raw::upgraded(node.address(), "/"), first, again);
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
    ]);
    let mut node = Node::start_with_stdout(command, std::process::Stdio::null());
    node.wait_listening(1);
    let mut other = Raw::upgraded(node.address(), "/");
    other.sync();
    let before = node.resident_bytes();
    for frame in [Frame::text("x"), Frame::binary(vec![7; 300_000])] {
        let flood = Flood::start(
            Raw::upgraded(node.address(), "/"),
            Vec::new(),
            frame.masked().encode(),
        );
        flood.wait_sent(MIB as usize);
        // It comes to a halt.
        let mut sent = 0;
        let mut since = Instant::now();
        eventually("the node reads no more", || {
            if flood.sent() != sent {
                (sent, since) = (flood.sent(), Instant::now());
            }
            since.elapsed() > Duration::from_millis(300)
        });
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

#[test]
fn five_hundred_connections_that_open_and_close_at_once() {
    const CROWD: usize = 500;
    need_descriptors(2 * CROWD as u64 + 200);
    let mut node = Embedded::listening(|config| config.echo = true);
    let address = node.address();
    let mut other = Raw::upgraded(address, "/");
    for round in 0..2 {
        // All of them are there before the first says a word.
        let mut crowd: Vec<Raw> = (0..CROWD).map(|_| Raw::connect(address)).collect();
        for peer in &mut crowd {
            peer.send(Raw::request(address, "/"));
        }
        for peer in &mut crowd {
            peer.expect_upgraded();
        }
        node.wait_counters("all are there", |c| c.peers == CROWD as u64 + 1);
        other.send_frame(Frame::text("among many"));
        assert_eq!(other.read_frame(), Frame::text("among many"));
        for (index, mut peer) in crowd.into_iter().enumerate() {
            match (index + round) % 3 {
                0 => peer.reset(),
                1 => peer.send_frame(Frame::close(1000, "")),
                _ => drop(peer),
            }
        }
        let counters = node.wait_counters("all are gone", |c| c.connections == 1);
        assert_eq!(counters.opened, ((round + 1) * CROWD) as u64 + 1);
    }
    // Without a word, in both senses.
    for _ in 0..CROWD {
        drop(Raw::connect(address));
    }
    for _ in 0..CROWD {
        Raw::connect(address).reset();
    }
    let total = 4 * CROWD as u64 + 1;
    // A connection that was reset while it waited to be accepted may not count.
    node.wait_counters("all are gone", |c| {
        c.connections == 1 && c.accepted > total - CROWD as u64
    });
    assert_eq!(other.sync(), []);
    drop(other);
    node.stop();
}

#[track_caller]
fn status(address: SocketAddr) -> u16 {
    let mut client = Raw::connect(address);
    client.send(Raw::request(address, "/"));
    let head = client.read_head();
    head.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{head}"))
}

#[test]
fn a_full_node_admits_again_only_when_a_tenth_has_left() {
    let node = Node::listening(["--interval", "off", "--max-connections", "20", "-v"]);
    let mut peers: Vec<Raw> = (0..20)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    for _ in 0..5 {
        assert_eq!(status(node.address()), 503);
    }
    for gone in 1..=2 {
        drop(peers.pop());
        node.wait_closed(gone);
        assert_eq!(status(node.address()), 503, "{gone} of 20 have left");
    }
    drop(peers.pop());
    node.wait_closed(3);
    peers.push(Raw::upgraded(node.address(), "/"));
    assert_eq!(node.stderr.count("further ones hear 503"), 1, "said once");
    assert_eq!(node.stderr.count("accepting again"), 1, "said once");
}

#[test]
fn one_address_cannot_take_all_the_room() {
    let node = Node::listening(["--interval", "off", "--max-connections-per-address", "2"]);
    let from = |last: u8| {
        let mut raw = Raw::connect_by(node.address(), |socket| {
            let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 9, last)), 0);
            socket.bind(&source.into()).unwrap();
        });
        raw.send(Raw::request(node.address(), "/"));
        raw
    };
    let mut first = [from(1), from(1)];
    first.iter_mut().for_each(|raw| drop(raw.expect_upgraded()));
    assert!(from(1).read_head().starts_with("HTTP/1.1 429 "));
    from(2).expect_upgraded();
    let [one, mut two] = first;
    drop(one);
    node.stderr.wait_for("127.0.9.1");
    eventually("there is room again", || {
        from(1).read_head().starts_with("HTTP/1.1 101 ")
    });
    assert_eq!(two.sync(), []);
}

#[test]
fn connections_that_say_nothing_are_bounded() {
    let options = [
        "--interval",
        "off",
        "--max-handshakes",
        "3",
        "--handshake-timeout",
        "1h",
    ];
    let node = Node::listening(options);
    // Those that have upgraded do not count.
    let mut peers: Vec<Raw> = (0..5).map(|_| Raw::upgraded(node.address(), "/")).collect();
    let mut silent: Vec<Raw> = (0..3).map(|_| Raw::connect(node.address())).collect();
    assert_eq!(status(node.address()), 503);
    // One of them goes on, another goes: two more have room.
    silent[0].send(Raw::request(node.address(), "/"));
    silent[0].expect_upgraded();
    peers.push(Raw::upgraded(node.address(), "/"));
    silent.pop();
    eventually("there is room again", || status(node.address()) == 101);
    for peer in &mut peers {
        assert_eq!(peer.sync(), []);
    }
}

/// Starts a node that may have so many descriptors, hard limit included.
#[track_caller]
fn with_descriptors(count: usize, options: &[&str]) -> Node {
    let program = Node::command(options);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]);
    shell.arg(program.get_program()).args(program.get_args());
    let mut node = Node::start(shell);
    node.wait_listening(1);
    node
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on_by_itself() {
    let options = [
        "--bind",
        "127.0.0.1:0",
        "--interval",
        "50ms",
        "--message",
        "{seq}",
    ];
    let mut node = with_descriptors(80, &options);
    // What the limit allows is known at the start.
    node.stderr.wait_for("--max-connections 16384 lowered to ");
    let mut peers: Vec<Raw> = (0..16)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    // Refusals take descriptors too, as long as they are not read.
    let crowd: Vec<Raw> = (0..200).map(|_| Raw::connect(node.address())).collect();
    node.stderr.wait_for("cannot accept more connections");
    // Those who are in are served.
    for peer in &mut peers {
        let seq = next_seq(peer);
        assert_eq!(next_seq(peer), seq + 1);
    }
    drop(crowd);
    for peer in peers.drain(..) {
        drop(peer);
    }
    node.wait_closed(16);
    eventually("it accepts again", || status(node.address()) == 101);
    assert_eq!(
        node.stderr.count("cannot accept more connections"),
        1,
        "said once"
    );
    node.assert_no_error_logged();
    node.stop();
}

#[test]
fn the_descriptor_limit_is_raised_as_far_as_it_goes() {
    let program = Node::command(["--bind", "127.0.0.1:0"]);
    let mut shell = Command::new("sh");
    let script = "ulimit -H -n 400; ulimit -S -n 30; exec \"$0\" \"$@\"";
    shell
        .args(["-c", script])
        .arg(program.get_program())
        .args(program.get_args());
    let mut node = Node::start(shell);
    node.wait_listening(1);
    let mut peers: Vec<Raw> = (0..100)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    for peer in &mut peers {
        peer.sync();
    }
    assert!(!node.stderr.contain("cannot accept"));
}

#[test]
fn sigterm_in_the_middle_of_all_of_it() {
    let silent = RawListener::bind();
    let half = RawListener::bind();
    let open = RawListener::bind();
    let peers = format!(
        "{},{},{},ws://no-such-name.invalid,ws://192.0.2.1:9,ws://127.0.0.1:1",
        silent.url("/"),
        half.url("/"),
        open.url("/")
    );
    let message = format!("{{seq}}|{}", letters(8 << 10));
    let command = Node::command([
        "--bind",
        "127.0.0.1:0",
        "--interval",
        "5ms",
        "--message",
        &message,
        "--echo",
        "--peers",
        &peers,
        "--retry-min",
        "1ms",
        "--retry-max",
        "50ms",
        "--max-connections",
        "40",
        "--max-message",
        "64KiB",
        "--outbox",
        "512KiB",
        "--slow-peer",
        "drop-oldest",
        "--shutdown-timeout",
        "700ms",
    ]);
    let mut node = Node::start_with_stdout(command, std::process::Stdio::null());
    node.wait_listening(1);
    let address = node.address();

    let mut good = Raw::upgraded(address, "/");
    let _silent = silent.accept();
    let mut half = half.accept();
    let answer = crate::support::raw::answer(&half.read_head());
    half.send(&answer[..20]);
    let (mut dialed, _) = open.accept_upgraded();
    let encoded = |frame: Frame| frame.masked().encode();
    let flood = |first: Vec<u8>, again| Flood::start(Raw::upgraded(address, "/"), first, again);
    let floods = [
        flood(Vec::new(), encoded(Frame::ping(""))),
        flood(Vec::new(), encoded(Frame::binary(vec![1; 60_000]))),
        flood(
            encoded(Frame::text("").unfinished()),
            encoded(Frame::continuation("").unfinished()),
        ),
        flood(Frame::text("unmasked").encode(), vec![0; 1000]),
    ];
    floods.iter().for_each(|flood| flood.wait_sent(100 << 10));
    let _stalled: Vec<Raw> = (0..3).map(|_| Raw::upgraded_narrow(address, "/")).collect();
    let _heads: Vec<Raw> = (0..3).map(|_| Raw::connect(address)).collect();
    let mut claim = Raw::upgraded(address, "/");
    claim.send(
        Frame::binary("x")
            .masked()
            .encode_claiming(60_000, LengthForm::Sixteen),
    );
    // More than there is room for, and some that go again.
    let _crowd: Vec<Raw> = (0..60).map(|_| Raw::connect(address)).collect();
    for _ in 0..20 {
        Raw::connect(address).reset();
    }
    good.read_frame();

    let begun = Instant::now();
    node.signal("TERM");
    for peer in [&mut good, &mut dialed] {
        let (_, close) = peer.read_to_close();
        assert_eq!(close.close_code(), Some(1001));
        peer.send_frame(close);
    }
    assert_eq!(node.wait_exit().code(), Some(0));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    node.assert_no_error_logged();
}
