//! More peers than there is room for, and everything at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{assert_told_within_bounds, next_seq};
use crate::support::{
    Embedded, Flood, Frame, LengthForm, Node, Raw, RawListener, eventually, letters,
    need_descriptors,
};

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

/// All addresses of this machine are one owner's who must not be limited, so the flood comes by a proxy.
#[test]
fn a_flood_from_one_network_leaves_room_for_others() {
    let by_proxy = |node: &Node, client: &str| {
        let mut peer = Raw::connect(node.address());
        let request = Raw::request(node.address(), "/");
        let field = format!("X-Forwarded-For: {client}\r\nUpgrade:");
        peer.send(request.replacen("Upgrade:", &field, 1));
        let head = peer.read_head();
        let status: u16 = head[9..12].parse().unwrap();
        (status, Some(peer).filter(|_| status == 101))
    };
    // A limit, the addresses of a flood by number, and another one.
    let cases = [
        (
            "--max-connections-per-network",
            "203.0.113.N",
            "203.0.114.1",
        ),
        (
            "--max-connections-per-address",
            "2001:db8::N",
            "2001:db8:0:1::1",
        ),
        (
            "--max-connections-per-network",
            "2001:db8:0:N::1",
            "2001:db8:1::1",
        ),
    ];
    for (limit, flood, other) in cases {
        // With as many for one as for all, there is no room left for anybody else.
        for (max, refusal, to_others) in [(30, 503, 503), (4, 429, 101)] {
            let max_text = max.to_string();
            let options = ["--interval", "off", "--trust-forwarded-for", "127.0.0.1"];
            let limits = ["--max-connections", "30", limit, &max_text];
            let node = Node::listening(options.iter().chain(&limits));
            let answers: Vec<_> = (0..40)
                .map(|n| by_proxy(&node, &flood.replace('N', &n.to_string())))
                .collect();
            let count = |status| answers.iter().filter(|(it, _)| *it == status).count();
            assert_eq!(
                (count(101), count(refusal)),
                (max, 40 - max),
                "{limit} {max}"
            );
            assert_eq!(by_proxy(&node, other).0, to_others, "{limit} {max}");
        }
    }
}

#[test]
fn connections_that_say_nothing_are_bounded() {
    let options = [
        "--interval",
        "off",
        "--max-handshakes",
        "4",
        "--handshake-timeout",
        "1h",
    ];
    let node = Node::listening(options);
    // Those that have upgraded do not count.
    let mut peers: Vec<Raw> = (0..5).map(|_| Raw::upgraded(node.address(), "/")).collect();
    let mut silent: Vec<Raw> = (0..2).map(|_| Raw::connect(node.address())).collect();
    // One address may have half of the places, so that it cannot keep the others out.
    assert_eq!(status(node.address()), 429);
    let another = |last| {
        let source = SocketAddr::from(([127, 0, 0, last], 0));
        Raw::connect_by(node.address(), |socket| {
            socket.bind(&source.into()).unwrap()
        })
    };
    let others = [another(2), another(3)];
    // All are taken. Who has most of them gives one up to who has none, the oldest first …
    let mut newcomer = another(4);
    newcomer.send(Raw::request(node.address(), "/"));
    newcomer.expect_upgraded();
    let (answer, _) = silent.remove(0).read_answer();
    assert!(answer.contains(" 503 "), "{answer}");
    // … and not to who has as many.
    let fourth = another(4);
    let (answer, _) = another(2).read_answer();
    assert!(answer.contains(" 503 "), "{answer}");
    drop((others, fourth));
    // One of them goes on, another goes: two more have room.
    silent[0].send(Raw::request(node.address(), "/"));
    silent[0].expect_upgraded();
    peers.push(Raw::upgraded(node.address(), "/"));
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
fn what_the_descriptor_limit_allows_is_kept_to() {
    let options = ["--bind", "127.0.0.1:0", "--interval", "off"];
    let node = with_descriptors(120, &options);
    node.stderr.wait_for("--max-connections 16384 lowered to ");
    // Those who say nothing neither take all the places nor use the descriptors up.
    let _crowd: Vec<Raw> = (0..200).map(|_| Raw::connect(node.address())).collect();
    let refused = node.stderr.wait_for("refusing ");
    assert!(refused.contains("429"), "{refused}");
    let source = SocketAddr::from(([127, 0, 0, 2], 0));
    let mut other = Raw::connect_by(node.address(), |socket| {
        socket.bind(&source.into()).unwrap();
    });
    other.send(Raw::request(node.address(), "/"));
    other.expect_upgraded();
    assert!(!node.stderr.contain("cannot accept"));
    assert_told_within_bounds(&node, "refusing ");
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on_by_itself() {
    let mut node = Node::listening(["--interval", "50ms", "--message", "{seq}"]);
    let mut peers: Vec<Raw> = (0..16)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    node.limit_descriptors(node.descriptors() + 10);
    let crowd: Vec<Raw> = (0..50).map(|_| Raw::connect(node.address())).collect();
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
    assert_told_within_bounds(&node, "cannot accept more connections");
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
