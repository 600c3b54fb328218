//! What a person can do: start nodes, choose addresses and texts, mistype options.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::support::{Frame, Node, Program, Raw, RawListener, letters};

const QUIET: [&str; 2] = ["--interval", "off"];

/// A node started with options that are right.
#[track_caller]
fn started(options: &[&str], listeners: usize) -> Node {
    let mut node = Node::with(options);
    node.wait_listening(listeners);
    node
}

#[test]
fn three_nodes_on_three_terminals_hear_one_another() {
    const BASE: [&str; 4] = ["--interval", "100ms", "--bind", "localhost:0"];
    let mut first = started(&BASE, 1);
    let to_first = format!("ws://localhost:{}", first.address().port());
    let mut second = started(&[&BASE[..], &["--peers", &to_first]].concat(), 1);
    let text = |from: &Node, index: usize| {
        let port = from.address().port();
        format!("Message to client {index} from localhost:{port}")
    };
    // The index counts in the order in which they came.
    second
        .stdout
        .wait_for_line(&format!("{to_first} {}", text(&first, 0)));
    let to_second = format!("ws://localhost:{}", second.address().port());
    let both = format!("{to_first},{to_second}");
    let mut third = started(&[&BASE[..], &["--peers", &both]].concat(), 1);

    // A dialed peer is called by its URL, one that was accepted by its address.
    third
        .stdout
        .wait_for_line(&format!("{to_first} {}", text(&first, 1)));
    third
        .stdout
        .wait_for_line(&format!("{to_second} {}", text(&second, 1)));
    for (hears, says) in [(&first, &second), (&first, &third), (&second, &third)] {
        let from = format!(" from localhost:{}", says.address().port());
        let line = hears.stdout.wait_for(&from);
        let (who, text) = line.split_once(' ').unwrap();
        let who: SocketAddr = who.parse().expect("the address it came from");
        assert!(who.ip().is_loopback(), "{line}");
        assert!(text.starts_with("Message to client "), "{line}");
    }
    // The index counts those who are there: when one goes, another moves up.
    second.stop();
    third
        .stdout
        .wait_for_line(&format!("{to_first} {}", text(&first, 0)));
    third.stop();
    first.stop();
    for node in [&first, &second, &third] {
        node.assert_no_error_logged();
    }
}

#[test]
fn the_broadcast_says_what_the_template_says() {
    let message = "{seq}|{bind}|{time}|{index}|{{as is}} ✓";
    let node = Node::listening(["--interval", "20ms", "--message", message]);
    let mut peer = Raw::upgraded(node.address(), "/");
    let bind = node.address().to_string();
    let mut next = None;
    for _ in 0..5 {
        let frame = peer.read_frame();
        assert_eq!((frame.opcode, frame.fin), (Frame::TEXT, true));
        let text = frame.payload_text();
        let [seq, from, time, index, rest] = text.split('|').collect::<Vec<_>>()[..] else {
            panic!("five parts in {text}");
        };
        let seq: u64 = seq.parse().unwrap();
        assert!(next.is_none_or(|next| next == seq), "{next:?}, then {text}");
        next = Some(seq + 1);
        assert_eq!((from, index, rest), (bind.as_str(), "0", "{as is} ✓"));
        let time: jiff::Timestamp = time.parse().expect("the time is RFC 3339");
        let age = jiff::Timestamp::now().duration_since(time);
        assert!(age.as_secs().abs() < 60, "{text}");
    }
}

#[test]
fn without_an_interval_nothing_is_broadcast() {
    let node = Node::listening(QUIET);
    let mut peer = Raw::upgraded(node.address(), "/");
    assert_eq!(peer.sync(), []);
    assert!(peer.is_silent_for(Duration::from_millis(200)));
}

#[test]
fn the_echo_is_byte_for_byte_and_in_order() {
    let node = Node::listening(["--interval", "off", "--echo"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    let mut expected = Vec::new();
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        expected.push(Frame::text(letters(len)));
        expected.push(Frame::binary(
            (0..len).map(|at| (at * 7 % 256) as u8).collect::<Vec<_>>(),
        ));
    }
    // The largest message that is allowed.
    expected.push(Frame::binary(vec![0xff; 1 << 20]));
    let mut sender = peer.sender();
    let bytes: Vec<u8> = expected
        .iter()
        .flat_map(|f| f.clone().masked().encode())
        .collect();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &bytes));
    for frame in expected {
        assert!(peer.read_frame() == frame, "{frame:?}");
        assert!(!peer.was_masked(), "a server does not mask");
    }
    sending.join().unwrap().unwrap();

    // Fragments come back as one message; a ping between them is answered first.
    peer.send_frames([
        Frame::text("gr\u{fc}".as_bytes()[..3].to_vec()).unfinished(),
        Frame::ping("between"),
        Frame::continuation("").unfinished(),
        Frame::continuation("\u{fc}\u{df}e".as_bytes()[1..].to_vec()),
        Frame::binary([0, 1]).unfinished(),
        Frame::continuation([2]),
    ]);
    assert_eq!(peer.read_frame(), Frame::pong("between"));
    assert_eq!(peer.read_frame(), Frame::text("grüße"));
    assert_eq!(peer.read_frame(), Frame::binary([0, 1, 2]));
}

#[test]
fn a_message_is_a_line_with_who_sent_it() {
    let listener = RawListener::bind();
    let url = listener.url("/room?key=1");
    let node = Node::listening(["--interval", "off", "--peers", &url]);
    let (mut dialed, _) = listener.accept_upgraded();
    dialed.send_frame(Frame::text("from the dialed"));
    node.stdout.wait_for_line(&format!("{url} from the dialed"));

    let mut plain = Raw::upgraded(node.address(), "/");
    plain.send_frames([
        Frame::text("grüße"),
        Frame::binary([0, 0x1b, 0xff]),
        Frame::text(""),
    ]);
    let who = plain.local_address();
    node.stdout.wait_for_line(&format!("{who} grüße"));
    node.stdout
        .wait_for_line(&format!("{who} [binary, 3 bytes] 001bff"));
    node.stdout.wait_for_line(&format!("{who} "));

    let mut channel = Raw::upgraded(node.address(), "/sensors?rate=5");
    channel.send_frame(Frame::text("21.5"));
    let who = channel.local_address();
    node.stdout.wait_for_line(&format!("{who}/sensors 21.5"));
}

#[test]
fn peers_come_as_a_list_or_one_by_one() {
    let listeners = [
        RawListener::bind(),
        RawListener::bind(),
        RawListener::bind(),
    ];
    let urls: Vec<_> = listeners
        .iter()
        .map(|listener| listener.url("/x"))
        .collect();
    let list = format!("{},{}", urls[0], urls[1]);
    // The first one twice: it is one peer.
    let options = [
        "--interval",
        "off",
        "--peers",
        &list,
        "-p",
        &urls[2],
        "-p",
        &urls[0],
    ];
    let node = Node::with(options);
    let _peers: Vec<_> = listeners.iter().map(RawListener::accept_upgraded).collect();
    node.wait_connected(3);
    assert!(listeners[0].try_accept().is_none(), "dialed twice");
    assert_eq!(node.stderr.count(" connected"), 3);
}

#[test]
fn several_addresses_are_listened_on() {
    let mut options = vec!["-b", "127.0.0.1:0", "-b", "127.0.0.2:0"];
    if TcpListener::bind("[::1]:0").is_ok() {
        options.extend(["-b", "[::1]:0"]);
    }
    let count = options.len() / 2;
    options.extend(["--interval", "50ms"]);
    let mut node = Node::with(&options);
    let addresses = node.wait_listening(count).to_vec();
    // In its texts a node has one name, its first address.
    let from = format!(" from {}", addresses[0]);
    for address in addresses {
        assert_ne!(address.port(), 0);
        let text = Raw::upgraded(address, "/").read_frame().payload_text();
        assert!(text.ends_with(&from), "{text}");
    }
}

#[test]
fn every_option_may_come_from_the_environment() {
    let listeners = [RawListener::bind(), RawListener::bind()];
    let mut command = Node::command(["--max-message", "128KiB"]);
    command
        .env("WSMESH_BIND", "127.0.0.1:0,127.0.0.2:0")
        .env(
            "WSMESH_PEERS",
            format!("{},{}", listeners[0].url("/"), listeners[1].url("/")),
        )
        .env("WSMESH_INTERVAL", "off")
        .env("WSMESH_ECHO", "true")
        .env("WSMESH_VERBOSE", "1")
        .env("WSMESH_MAX_HEAD", "512B")
        .env("WSMESH_MAX_MESSAGE", "1KiB");
    let mut node = Node::start(command);
    node.wait_listening(2);
    for listener in &listeners {
        listener.accept();
    }
    let long = Frame::binary(vec![7; 2000]);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frame(long.clone());
    assert_eq!(
        peer.read_frame(),
        long,
        "echoed, and the command line goes first"
    );
    let mut long_head = Raw::connect(node.address());
    long_head.send(Raw::request(node.address(), &format!("/{}", letters(600))));
    assert!(long_head.read_answer().0.starts_with("HTTP/1.1 431 "));
    drop(long_head);
    node.stderr.wait_for(" DEBUG ");
}

/// Runs to its end, which must have this status; returns what it said on standard error.
#[track_caller]
fn ended(mut node: Node, status: i32) -> String {
    let exit = node.wait_exit();
    let said = node.stderr.all().join("\n");
    assert_eq!(exit.code(), Some(status), "{said}");
    assert_eq!(
        node.stdout.wait_end(),
        [""; 0],
        "standard output is for messages"
    );
    said
}

#[test]
fn wrong_usage_names_what_was_typed_and_opens_nothing() {
    let bind = ["--bind", "127.0.0.1:0"];
    for (options, said) in [
        (&[][..], &["--bind", "--peers", "nothing to do"][..]),
        (&["--bind", "8080"], &["`8080`", "localhost:PORT"]),
        (&["--bind", "localhost"], &["`localhost`", "port"]),
        (
            &["--bind", "localhost:99999"],
            &["`localhost:99999`", "port"],
        ),
        (
            &["--bind", "http://localhost:80"],
            &["`http://localhost:80`", "host:port"],
        ),
        (&["--bind", ":8080"], &["`:8080`", "0.0.0.0:PORT"]),
        (&["--bind", ""], &["empty", "host:port"]),
        (
            &["--peers", "localhost:8080"],
            &["`localhost:8080`", "ws://localhost:8080"],
        ),
        (
            &["--peers", "https://a.example/x"],
            &["`https://a.example/x`", "write wss://a.example/x"],
        ),
        (
            &["--peers", "http://a.example"],
            &["`http://a.example`", "ws://a.example"],
        ),
        (
            &["--peers", "ftp://a.example"],
            &["`ftp://a.example`", "ftp"],
        ),
        (&["--peers", "ws://"], &["`ws://`", "host"]),
        (&["--peers", "ws://a:0"], &["`ws://a:0`", "port"]),
        (&["--peers", "ws://a,,ws://b"], &["empty", "ws://host"]),
        (&["--peers", "ws://a/#x"], &["`ws://a/#x`", "#"]),
        (&["--peers", "ws://a\u{1b}[2J"], &["`ws://a\\u{1b}[2J`"]),
        (&["--interval", "10"], &["--interval", "`10`", "unit"]),
        (&["--interval=-5s"], &["--interval", "`-5s`", "negative"]),
        (&["--interval", "soon"], &["--interval", "`soon`", "10s"]),
        (&["--interval", "0s"], &["--interval", "`0s`", "short"]),
        (
            &["--message", "{name}"],
            &["--message", "{name}", "{index}, {bind}, {seq} and {time}"],
        ),
        (&["--message", "{index"], &["--message", "{{"]),
        (&["--slow-peer", "wait"], &["wait", "drop-oldest"]),
        (&["--leaf"], &["--leaf", "--peers"]),
        (
            &["--advertise", "ws://[::]:8080"],
            &["--advertise", "`ws://[::]:8080`", "no host"],
        ),
        (&["--relay", ""], &["--relay", "``", "on nor off"]),
        (
            &["--broadcast-scope", "mesh", "--message", "{index}"],
            &["--message", "{index}", "--broadcast-scope"],
        ),
        (&["--degree", "65"], &["--degree 65", "64"]),
        (
            &["--degree", "-1"],
            &["--degree: `-1` is negative; write for example 8"],
        ),
        (
            &["--max-publish-rate", "-1"],
            &["--max-publish-rate: `-1` is negative", "or write off"],
        ),
        (&["--hops", "-1"], &["--hops: `-1`", "from 1 to 255"]),
        (&["--outbox", "-1KiB"], &["--outbox: `-1KiB`", "64KiB"]),
        (&["--interval", "-5s"], &["--interval: `-5s` is negative"]),
        (&["--hops", "0"], &["--hops", "`0`", "255"]),
        (&["--max-message", "1XB"], &["--max-message", "`1XB`"]),
        (
            &["--max-message", "3MiB"],
            &["--outbox", "--max-message", "3MiB", "4MiB"],
        ),
        (&["--max-head", "1B"], &["--max-head", "1B", "512B"]),
        (
            &["--max-connections", "0"],
            &["--max-connections", "0", "1"],
        ),
        (
            &["--max-connections", "many"],
            &["--max-connections", "`many`"],
        ),
        (
            &["--retry-min", "2m", "--retry-max", "1m"],
            &["--retry-min", "2m", "--retry-max", "1m"],
        ),
        (&["--ping-interval", "1"], &["--ping-interval", "`1`"]),
        (&["--intervall", "1s"], &["--intervall", "--interval"]),
        (&["ws://localhost"], &["ws://localhost"]),
    ] {
        let is_about_addresses = options
            .first()
            .is_none_or(|o| matches!(*o, "--bind" | "--peers"));
        let more = if is_about_addresses {
            &[][..]
        } else {
            &bind[..]
        };
        let text = ended(Node::with([options, more].concat()), 2);
        for part in said {
            assert!(text.contains(part), "{options:?}: no {part:?} in {text}");
        }
        assert!(!text.contains("listening on"), "{options:?}: {text}");
        assert!(!text.contains('\u{1b}'), "{options:?}: {text}");
    }
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [
        ("WSMESH_INTERVAL", "10"),
        ("WSMESH_PEERS", "https://a.example"),
        ("WSMESH_MAX_HANDSHAKES", "-1"),
        ("RUST_LOG", "wsmesh=loud"),
    ] {
        let mut command = Node::command(["--bind", "127.0.0.1:0"]);
        command.env(name, value);
        let text = ended(Node::start(command), 2);
        let typed = value.trim_start_matches("wsmesh=");
        assert!(
            text.contains(name) && text.contains(typed),
            "{name}: {text}"
        );
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let mut lines = Vec::new();
    for (option, status) in [("-h", 0), ("--help", 0), ("--version", 0)] {
        let mut node = Node::with([option]);
        assert_eq!(node.wait_exit().code(), Some(status));
        assert_eq!(node.stderr.wait_end(), [""; 0]);
        lines.push(node.stdout.wait_end());
    }
    let options: Vec<&String> = lines[0].iter().filter(|l| l.contains("--")).collect();
    for option in [
        "bind",
        "peers",
        "interval",
        "message",
        "echo",
        "slow-peer",
        "broadcast-scope",
        "relay",
        "network",
        "advertise",
        "degree",
        "hops",
        "history",
        "history-messages",
        "history-bytes",
        "leaf",
        "max-publish-rate",
        "max-connections",
        "max-connections-per-address",
        "max-handshakes",
        "handshake-timeout",
        "max-head",
        "max-message",
        "outbox",
        "ping-interval",
        "close-timeout",
        "shutdown-timeout",
        "retry-min",
        "retry-max",
        "verbose",
        "quiet",
    ] {
        let flag = format!("--{option}");
        assert!(
            options.iter().any(|line| line.contains(&flag)),
            "{flag} in -h"
        );
        assert!(
            lines[1].iter().any(|line| line.contains(&flag)),
            "{flag} in --help"
        );
    }
    assert!(
        lines[1].len() > 2 * lines[0].len(),
        "--help says more than -h"
    );
    assert!(lines[2][0].starts_with("wsmesh "));
}

#[test]
fn a_port_in_use_ends_the_program_with_1() {
    let taken = RawListener::bind();
    let address = taken.address().to_string();
    let text = ended(Node::with(["--bind", "127.0.0.1:0", "--bind", &address]), 1);
    assert!(text.contains(&address) && text.contains("in use"), "{text}");

    let text = ended(Node::with(["--bind", "no-such-name.invalid:80"]), 1);
    assert!(text.contains("no-such-name.invalid:80"), "{text}");
    let text = ended(Node::with(["--bind", "192.0.2.1:0"]), 1);
    assert!(text.contains("192.0.2.1:0"), "{text}");
    // However little is logged, why it ended is said.
    let text = ended(Node::with(["--bind", &address, "-qqq"]), 1);
    assert!(text.contains(&address), "{text}");
}

#[test]
fn a_node_that_only_dials_needs_no_address() {
    let listener = RawListener::bind();
    let mut node = Node::with(["--interval", "30ms", "--peers", &listener.url("/")]);
    let (mut peer, _) = listener.accept_upgraded();
    let text = peer.read_frame().payload_text();
    assert!(text.starts_with("Message to client 0 from "), "{text}");
    assert!(peer.was_masked());
    assert!(!node.stderr.contain("listening on"));
    drop(peer);
    node.stop();
}

#[test]
fn a_quiet_node_says_only_what_is_wrong() {
    let mut command = Node::command(["--bind", "127.0.0.1:0", "-q"]);
    command.args(QUIET);
    let mut node = Program::start("wsmesh", command);
    let address = SocketAddr::from(([127, 0, 0, 1], node.wait_listening_port()));
    let mut peer = Raw::upgraded(address, "/");
    assert_eq!(peer.sync(), []);
    // A peer's rudeness is not a failure of ours.
    peer.send_frame(Frame::text([0xff]));
    peer.read_to_end();
    peer = Raw::upgraded(address, "/");
    peer.sync();
    drop(peer);
    node.signal("TERM");
    assert_eq!(node.wait_exit().code(), Some(0));
    assert_eq!(node.stderr.all(), [""; 0]);
}
