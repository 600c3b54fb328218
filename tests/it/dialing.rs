//! Peers that we dial: silent, wrong, absent, late, killed, or ourselves. None delays another.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::raw::answer;
use crate::support::{
    End, Frame, Node, Raw, RawListener, Scratch, eventually, eventually_some, letters, tools,
};

/// Dials quickly again; logs every attempt.
const QUICK: [&str; 7] = [
    "--interval",
    "off",
    "--retry-min",
    "1ms",
    "--retry-max",
    "20ms",
    "-v",
];

#[track_caller]
fn dialing(urls: &[&str], more: &[&str]) -> Node {
    let urls = urls.join(",");
    Node::with([&QUICK[..], &["--peers", &urls], more].concat())
}

/// A port that nothing listens on and nothing else can take: bound, and not listening until told to.
struct Reserved {
    socket: Socket,
}

impl Reserved {
    fn new() -> Reserved {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        Reserved { socket }
    }

    fn url(&self) -> String {
        let address = self.socket.local_addr().unwrap().as_socket().unwrap();
        format!("ws://{address}/")
    }

    fn listen(self) -> RawListener {
        self.socket.listen(16).unwrap();
        RawListener::of(TcpListener::from(self.socket))
    }
}

#[test]
fn a_peer_that_accepts_and_says_nothing_is_given_up_and_dialed_again() {
    let (silent, good) = (RawListener::bind(), RawListener::bind());
    let urls = [silent.url("/"), good.url("/")];
    let begun = Instant::now();
    let mut node = dialing(&[&urls[0], &urls[1]], &["--handshake-timeout", "300ms"]);
    let mut first = silent.accept();
    // Meanwhile the other one is served.
    let (mut peer, _) = good.accept_upgraded();
    assert_eq!(peer.sync(), []);
    first.read_head();
    let end = first.read_to_end();
    assert!(matches!(end, (rest, End::Closed | End::Reset) if rest.is_empty()));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    node.stderr
        .wait_for(&format!("cannot reach peer {}", urls[0]));

    // An answer byte by byte does not stretch the deadline.
    let mut second = silent.accept();
    let text = answer(&second.read_head());
    let begun = Instant::now();
    let mut bytes = text.bytes().cycle();
    eventually("it is given up", || {
        second.try_send([bytes.next().unwrap()]).is_err()
    });
    assert!(begun.elapsed() < Duration::from_secs(10));
    let (mut third, _) = silent.accept_upgraded();
    assert_eq!(third.sync(), []);
    assert_eq!(peer.sync(), []);
    drop((peer, third, good, silent));
    node.stop();
}

#[test]
fn answers_that_are_no_upgrade_are_told_and_the_peer_is_dialed_again() {
    let listener = RawListener::bind();
    let url = listener.url("/");
    let mut node = dialing(&[&url], &["--max-head", "1KiB"]);
    type Change = fn(String) -> String;
    let wrong: [(&str, Change); 12] = [
        ("answered 200 OK", |_| {
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()
        }),
        ("dial ws://elsewhere.example/ instead", |_| {
            "HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere.example/\r\n\r\n".into()
        }),
        ("answered 404", |_| {
            "HTTP/1.1 404 Not Found\r\n\r\n<h1>no</h1>".into()
        }),
        ("answered 503", |_| "HTTP/1.1 503 \r\n\r\n".into()),
        ("not HTTP", |_| "220 mail.example ESMTP\r\n\r\n".into()),
        ("not HTTP", |_| "\u{0}\u{1}\u{2}\r\n\r\n".into()),
        ("head is too large", |answer| {
            answer.replacen("\r\n", &format!("\r\nX: {}\r\n", letters(2000)), 1)
        }),
        ("head is too large", |_| {
            format!("HTTP/1.1 101 X\r\nX: {}", letters(2000))
        }),
        ("wrong Sec-WebSocket-Accept", |answer| {
            let (start, _) = answer.split_once("Sec-WebSocket-Accept: ").unwrap();
            format!("{start}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        }),
        ("Connection: Upgrade", |answer| {
            answer.replace("Connection: Upgrade", "Connection: close")
        }),
        ("an extension", |answer| {
            answer.replacen(
                "\r\n",
                "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
                1,
            )
        }),
        ("a subprotocol", |answer| {
            answer.replacen("\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n", 1)
        }),
    ];
    for (said, change) in &wrong {
        let mut peer = listener.accept();
        let text = change(answer(&peer.read_head()));
        peer.send(&text);
        peer.read_to_end();
        let line = node.stderr.wait_for(said);
        assert!(line.contains(&format!("cannot reach peer {url}")), "{line}");
    }
    // The end instead of an answer.
    drop(listener.accept());
    let (mut peer, _) = listener.accept_upgraded();
    assert_eq!(peer.sync(), []);
    node.stderr.wait_for(&format!("peer {url} connected"));
    node.assert_no_error_logged();
    drop((peer, listener));
    node.stop();
}

#[test]
fn a_name_that_does_not_resolve_is_told_once_and_tried_for_ever() {
    let listener = RawListener::bind();
    let node = dialing(&["ws://no-such-name.invalid:8080", &listener.url("/")], &[]);
    let (mut peer, _) = listener.accept_upgraded();
    node.stderr.wait_for_count(4, "its name does not resolve");
    assert_eq!(peer.sync(), []);
    let lines = node.stderr.all();
    let warned = |line: &&String| line.contains("does not resolve") && line.contains(" WARN ");
    assert_eq!(lines.iter().filter(warned).count(), 1, "{lines:#?}");
    assert!(node.stderr.contain("no-such-name.invalid:8080"));
}

#[test]
fn a_peer_that_comes_later_is_found() {
    let reserved = Reserved::new();
    let url = reserved.url();
    let node = dialing(&[&url], &[]);
    node.stderr.wait_for_count(3, "refused");
    let lines = node.stderr.all();
    let warned = lines.iter().filter(|line| line.contains(" WARN ")).count();
    assert_eq!(warned, 1, "the same failure is told once: {lines:#?}");
    let listener = reserved.listen();
    let (mut peer, _) = listener.accept_upgraded();
    assert_eq!(peer.sync(), []);
    node.wait_connected(1);
}

#[test]
fn a_peer_that_is_killed_and_started_again_is_back() {
    // An address that no other test uses, so that the port stays free meanwhile.
    let mut peer = Node::with(["--bind", "127.7.1.1:0", "--interval", "20ms"]);
    let address = peer.wait_listening(1)[0].to_string();
    let node = dialing(&[&format!("ws://{address}")], &[]);
    for round in 1..=2 {
        node.wait_connected(round);
        node.stdout
            .wait_for_count(round, &format!("from {address}"));
        peer.kill();
        node.wait_closed(round);
        peer = Node::with(["--bind", &address, "--interval", "20ms"]);
        peer.wait_listening(1);
    }
    node.wait_connected(3);
    peer.stop();
    node.wait_closed(3);
    node.assert_no_error_logged();
}

#[test]
fn a_node_that_dials_itself_notices_and_leaves_it_alone() {
    // The names lead to the node only once it listens, by way of these.
    let (way, other_way) = (RawListener::bind(), RawListener::bind());
    let urls = [way.url("/"), other_way.url("/x?y")];
    let mut node = dialing(&[&urls[0], &urls[1]], &["--bind", "127.0.0.1:0"]);
    node.wait_listening(1);
    for (way, url) in [&way, &other_way].into_iter().zip(&urls) {
        let forwarding = forward(way.accept(), node.address());
        node.stderr
            .wait_for(&format!("peer {url} is this node itself"));
        forwarding.join().unwrap();
    }
    // It would have dialed again long ago.
    let begun = Instant::now();
    eventually("some time has passed", || {
        begun.elapsed() > Duration::from_millis(300)
    });
    assert!(way.try_accept().is_none() && other_way.try_accept().is_none());
    assert_eq!(
        node.stderr.count("is this node itself"),
        2,
        "said once each"
    );
    assert_eq!(node.stderr.count(" connected"), 0);
    assert_eq!(Raw::upgraded(node.address(), "/").sync(), []);
    node.stop();
}

#[test]
fn a_node_recognises_its_own_address() {
    // A port of an address of this test's own, given back and taken by the node.
    let address = RawListener::bind_to(([127, 7, 2, 1], 0).into()).address();
    let urls = [format!("ws://{address}"), format!("ws://{address}/other")];
    let mut node = dialing(&[&urls[0], &urls[1]], &["--bind", &address.to_string()]);
    node.wait_listening(1);
    node.stderr.wait_for_count(2, "is this node itself");
    let mut peer = Raw::upgraded(address, "/");
    assert_eq!(peer.sync(), []);
    node.wait_connected(1);
    assert_eq!(node.stderr.count(" connected"), 1, "nobody else");
    drop(peer);
    node.stop();
}

/// Carries bytes between a connection and an address until both directions have ended.
fn forward(from: Raw, to: SocketAddr) -> std::thread::JoinHandle<()> {
    let from = from.sender();
    let to = std::net::TcpStream::connect(to).unwrap();
    std::thread::spawn(move || {
        let copy = |mut from: &std::net::TcpStream, mut to: &std::net::TcpStream| {
            // A reset ends it as well.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| copy(&from, &to));
            copy(&to, &from);
        });
    })
}

#[test]
fn two_nodes_that_dial_each_other_are_no_loop() {
    // Ports of addresses of this test's own, given back and taken by the nodes.
    let free = |ip| RawListener::bind_to((ip, 0).into()).address().to_string();
    let (one, two) = (free([127, 7, 3, 1]), free([127, 7, 3, 2]));
    let mut first = dialing(&[&format!("ws://{two}")], &["--bind", &one]);
    first.wait_listening(1);
    let mut second = dialing(&[&format!("ws://{one}")], &["--bind", &two]);
    for node in [&first, &second] {
        node.wait_connected(2);
        assert!(!node.stderr.contain("itself"));
    }
    first.stop();
    second.stop();
}

#[test]
fn the_wait_between_dials_is_bounded() {
    let reserved = Reserved::new();
    let limits = ["--retry-min", "4ms", "--retry-max", "32ms"];
    let url = reserved.url();
    let node = Node::with([&["--interval", "off", "-v", "--peers", &url], &limits[..]].concat());
    let lines = node.stderr.wait_for_count(20, "trying again in ");
    for line in lines {
        let (_, wait) = line.split_once("trying again in ").unwrap();
        let (seconds, _) = wait.split_once(" s").unwrap();
        let seconds: f64 = seconds.parse().unwrap();
        assert!(seconds < 0.1, "{line}");
    }
    // A peer that closes at once is not dialed in a tight loop either.
    let listener = RawListener::bind();
    let node = Node::with([
        "--interval",
        "off",
        "-v",
        "--retry-min",
        "1h",
        "--retry-max",
        "2h",
        "--peers",
        &listener.url("/"),
    ]);
    let (peer, _) = listener.accept_upgraded();
    drop(peer);
    node.wait_closed(1);
    let begun = Instant::now();
    eventually("some time has passed", || {
        begun.elapsed() > Duration::from_millis(200)
    });
    // Full jitter may draw a short wait, but hardly one of a fifth of a second out of an hour.
    assert!(listener.try_accept().is_none());
}

#[test]
fn an_unreachable_peer_delays_nobody() {
    let good = RawListener::bind();
    let reserved = Reserved::new();
    let silent = RawListener::bind();
    let urls = [
        "ws://192.0.2.1:9",
        "ws://[2001:db8::1]:9",
        "ws://no-such-name.invalid",
        &reserved.url(),
        &silent.url("/"),
        &good.url("/"),
    ];
    let mut node = dialing(&urls, &["--bind", "127.0.0.1:0"]);
    let (mut dialed, _) = good.accept_upgraded();
    node.wait_listening(1);
    let mut accepted = Raw::upgraded(node.address(), "/");
    for _ in 0..50 {
        assert_eq!(dialed.sync(), []);
        assert_eq!(accepted.sync(), []);
    }
    node.signal("TERM");
    for peer in [&mut dialed, &mut accepted] {
        let close = peer.read_to_close().1;
        assert_eq!(close.close_code(), Some(1001));
        peer.send_frame(close);
        peer.finish();
    }
    drop((dialed, accepted));
    assert_eq!(node.wait_exit().code(), Some(0));
}

/// Starts a node that sees this `/etc/hosts`; `None` where a test may not change that.
#[track_caller]
pub(crate) fn with_hosts(hosts: &std::path::Path, options: &[&str]) -> Option<Node> {
    let is_allowed =
        |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    // As root, or in a user namespace of its own.
    let flags = ["-m", "-rm"].into_iter().find(|flags| {
        is_allowed(Command::new("unshare").args([
            flags,
            "mount",
            "--bind",
            "/dev/null",
            "/etc/hosts",
        ]))
    });
    let Some(flags) = flags else {
        tools::skipped("no mount namespace for a hosts file of its own (unshare -m)");
        return None;
    };
    let program = Node::command(options);
    let mut unshare = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    unshare.args([flags, "sh", "-c", script]).arg(hosts);
    unshare.arg(program.get_program()).args(program.get_args());
    Some(Node::start(unshare))
}

#[test]
fn a_name_with_an_unreachable_address_is_reached_by_the_other() {
    let scratch = Scratch::new("hosts");
    let hosts = scratch.join("hosts");
    // Nobody listens on the first two at the port of the third.
    fs::write(
        &hosts,
        "127.7.4.1 many.test\n127.7.4.2 many.test\n127.0.0.1 many.test\n",
    )
    .unwrap();
    let listener = RawListener::bind();
    let url = format!("ws://many.test:{}/", listener.address().port());
    let options = [
        "--interval",
        "off",
        "--retry-min",
        "1h",
        "--retry-max",
        "1h",
        "--peers",
        &url,
    ];
    let Some(node) = with_hosts(&hosts, &options) else {
        return;
    };
    let (mut peer, head) = listener.accept_upgraded();
    assert!(head.contains(&format!(
        "Host: many.test:{}\r\n",
        listener.address().port()
    )));
    node.stderr.wait_for(&format!("peer {url} connected"));
    assert_eq!(peer.sync(), []);
    assert!(
        !node.stderr.contain("cannot reach"),
        "{}",
        node.stderr.tail(5)
    );
}

#[test]
fn a_silent_address_gives_way_to_the_next_after_a_moment() {
    let scratch = Scratch::new("hosts");
    let hosts = scratch.join("hosts");
    // Its queue of connections is full, so that the kernel leaves further ones without an answer.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 7, 5, 1], 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let silent = full.local_addr().unwrap().as_socket().unwrap();
    let waiting: Vec<Socket> = (0..4)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&silent.into());
            socket
        })
        .collect();
    let listener = RawListener::bind_to(([127, 7, 5, 2], silent.port()).into());
    fs::write(&hosts, "127.7.5.1 many.test\n127.7.5.2 many.test\n").unwrap();
    let url = format!("ws://many.test:{}/", silent.port());
    let options = [
        "--interval",
        "off",
        "--handshake-timeout",
        "20s",
        "--peers",
        &url,
    ];
    let begun = Instant::now();
    let Some(_node) = with_hosts(&hosts, &options) else {
        return;
    };
    let (mut peer, _) = listener.accept_upgraded();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(peer.sync(), []);
    drop(waiting);
}

#[test]
fn an_address_that_refuses_the_upgrade_gives_way_to_the_next() {
    let scratch = Scratch::new("hosts");
    let hosts = scratch.join("hosts");
    fs::write(&hosts, "127.7.8.1 many.test\n127.7.8.2 many.test\n").unwrap();
    let refusing = RawListener::bind_to(([127, 7, 8, 1], 0).into());
    let port = refusing.address().port();
    let granting = RawListener::bind_to(([127, 7, 8, 2], port).into());
    let url = format!("ws://many.test:{port}/");
    let options = [
        "--interval",
        "off",
        "--retry-min",
        "1h",
        "--retry-max",
        "1h",
        "--peers",
        &url,
    ];
    let Some(node) = with_hosts(&hosts, &options) else {
        return;
    };
    let mut peer = refusing.accept();
    peer.read_head();
    peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let (mut peer, _) = granting.accept_upgraded();
    assert_eq!(peer.sync(), []);
    node.stderr.wait_for(&format!("peer {url} connected"));
}

#[test]
fn a_name_of_both_families_is_listened_on_and_dialed_in_both() {
    if TcpListener::bind("[::1]:0").is_err() {
        tools::skipped("this machine has no IPv6");
        return;
    }
    let scratch = Scratch::new("hosts");
    let hosts = scratch.join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n::1 localhost\n").unwrap();
    let Some(mut node) = with_hosts(&hosts, &["--bind", "localhost:0", "--interval", "20ms"])
    else {
        return;
    };
    let addresses = node.wait_listening(2).to_vec();
    assert_eq!(
        addresses[0].port(),
        addresses[1].port(),
        "one port for the name"
    );
    assert_ne!(addresses[0].is_ipv4(), addresses[1].is_ipv4());
    let from = format!(" from localhost:{}", addresses[0].port());
    for address in &addresses {
        let text = Raw::upgraded(*address, "/").read_frame().payload_text();
        assert!(text.ends_with(&from), "{text}");
    }
    // Whichever family the system prefers, the one that listens is found.
    for listens in ["127.0.0.1:0", "[::1]:0"] {
        let listener = RawListener::bind_to(listens.parse().unwrap());
        let url = format!("ws://localhost:{}/", listener.address().port());
        let options = ["--interval", "off", "--retry-max", "1s", "--peers", &url];
        let Some(_dialing) = with_hosts(&hosts, &options) else {
            return;
        };
        let (mut peer, _) = listener.accept_upgraded();
        assert_eq!(peer.sync(), []);
    }
    let listener = RawListener::bind_to("[::1]:0".parse().unwrap());
    let _dialing = dialing(&[&listener.url("/x")], &[]);
    let (_, head) = listener.accept_upgraded();
    let host = format!("Host: [::1]:{}\r\n", listener.address().port());
    assert!(head.contains(&host), "{head}");
}

#[test]
fn a_name_that_moves_is_followed() {
    let scratch = Scratch::new("hosts");
    let hosts = scratch.join("hosts");
    let (old, new) = (
        RawListener::bind_to(([127, 7, 6, 1], 0).into()),
        "127.7.6.2",
    );
    let port = old.address().port();
    let new = RawListener::bind_to(SocketAddr::new(new.parse().unwrap(), port));
    fs::write(&hosts, "127.7.6.1 moving.test\n").unwrap();
    let url = format!("ws://moving.test:{port}/");
    let options = [&QUICK[..], &["--peers", &url]].concat();
    let Some(_node) = with_hosts(&hosts, &options) else {
        return;
    };
    let (mut peer, _) = old.accept_upgraded();
    assert_eq!(peer.sync(), []);
    // Written in place: the file is mounted, another one of that name would not be seen.
    fs::write(&hosts, "127.7.6.2 moving.test\n").unwrap();
    drop((peer, old));
    let (mut peer, _) = new.accept_upgraded();
    assert_eq!(peer.sync(), []);
}

#[test]
fn what_was_queued_for_a_lost_peer_does_not_reach_the_next_connection() {
    let listener = RawListener::bind();
    let _node = dialing(&[&listener.url("/")], &["--echo"]);
    let (mut peer, _) = listener.accept_upgraded();
    peer.send_frame(Frame::text("for the first"));
    peer.reset();
    let (mut peer, _) = eventually_some("it dials again", || Some(listener.accept_upgraded()));
    assert_eq!(peer.sync(), []);
}
