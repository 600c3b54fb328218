//! Who comes by a proxy that is believed counts as who it is; others are not believed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use crate::support::{Frame, Node, Program, Raw, Scratch, assert_answered, eventually, tools};

/// In these tests 127.0.0.1 is the proxy, and whoever connects from another address of this machine is not.
const TRUST: [&str; 4] = ["--interval", "off", "--trust-forwarded-for", "127.0.0.1"];

fn listening(options: &[&str]) -> Node {
    Node::listening(TRUST.iter().chain(options))
}

fn asking(mut peer: Raw, node: &Node, target: &str, fields: &str) -> Raw {
    let request = Raw::request(node.address(), target);
    peer.send(request.replacen("Upgrade:", &format!("{fields}Upgrade:"), 1));
    peer
}

/// The proxy asks for a client.
fn by_proxy(node: &Node, client: &str) -> Raw {
    let fields = format!("X-Forwarded-For: {client}\r\n");
    asking(Raw::connect(node.address()), node, "/", &fields)
}

/// Somebody asks who is no proxy.
fn from(node: &Node, source: [u8; 4], fields: &str) -> Raw {
    let peer = Raw::connect_by(node.address(), |socket| {
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    });
    asking(peer, node, "/", fields)
}

#[test]
fn output_and_logs_call_a_client_by_its_own_address() {
    let node = listening(&[]);
    let mut client = asking(
        Raw::connect(node.address()),
        &node,
        "/chat",
        "Forwarded: for=198.51.100.1, for=\"[2001:db8::7]:8\"\r\n",
    );
    client.expect_upgraded();
    client.send_frame(Frame::text("hello"));
    node.stdout.wait_for_line("[2001:db8::7]:8/chat hello");
    // Two clients of one address are told apart by the connections of the proxy.
    for text in ["one", "two"] {
        let mut client = by_proxy(&node, "nonsense, 203.0.113.7");
        client.expect_upgraded();
        client.send_frame(Frame::text(text));
        let name = format!("203.0.113.7:{}", client.local_address().port());
        node.stdout.wait_for_line(&format!("{name} {text}"));
        node.stderr.wait_for(&format!("peer {name} connected"));
        drop(client);
        node.stderr.wait_for(&format!("peer {name} closed"));
    }
}

#[test]
fn what_anybody_else_says_is_left_aside() {
    let node = listening(&[
        "--deny",
        "203.0.113.0/24",
        "--max-connections-per-address",
        "2",
    ]);
    for client in ["203.0.113.7", "nonsense", "\u{ff}"] {
        let fields = format!("X-Forwarded-For: {client}\r\nForwarded: for=198.51.100.1\r\n");
        let mut peer = from(&node, [127, 9, 8, 7], &fields);
        peer.expect_upgraded();
        let name = format!("{}", peer.local_address());
        peer.send_frame(Frame::text(client));
        node.stdout.wait_for(&name);
        drop(peer);
        node.stderr.wait_for(&format!("peer {name} closed"));
    }
    // Without the option nobody is believed, and all clients of a proxy are one.
    let node = Node::listening([
        "--deny",
        "203.0.113.0/24",
        "--max-connections-per-address",
        "2",
    ]);
    let mut clients = ["203.0.113.7", "203.0.114.7"].map(|client| by_proxy(&node, client));
    clients
        .iter_mut()
        .for_each(|client| drop(client.expect_upgraded()));
    assert_answered(by_proxy(&node, "203.0.115.7"), 429, "from this address");
}

#[test]
fn allow_and_deny_go_by_the_client() {
    let node = listening(&["--deny", "203.0.113.0/24,2001:db8::/32"]);
    for client in [
        "203.0.113.7",
        "2001:db8::7",
        "198.51.100.1, 203.0.113.7, 127.0.0.1",
    ] {
        assert_answered(
            by_proxy(&node, client),
            403,
            "no connections from this address",
        );
    }
    let said = node.stderr.wait_for("no upgrade with 203.0.113.7:");
    assert!(
        said.contains(" WARN ") && said.contains("403 Forbidden"),
        "{said}"
    );
    by_proxy(&node, "203.0.113.7, 198.51.100.1").expect_upgraded();

    // A proxy need not be allowed itself, if it asks for somebody who is.
    let node = listening(&["--allow", "203.0.113.0/24"]);
    by_proxy(&node, "203.0.113.7").expect_upgraded();
    for client in ["198.51.100.1", "unknown", "127.0.0.1", ""] {
        assert_answered(
            by_proxy(&node, client),
            403,
            "no connections from this address",
        );
    }
    let mut unnamed = Raw::connect(node.address());
    unnamed.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_answered(unnamed, 403, "no connections from this address");
}

#[test]
fn limits_by_address_go_by_the_client() {
    let limits = [
        "--max-connections-per-address",
        "2",
        "--max-connections-per-network",
        "3",
    ];
    let node = listening(&limits);
    // The proxy has more than two itself, and each is of a client with room.
    let mut clients: Vec<Raw> = (0..10)
        .map(|n| by_proxy(&node, &format!("203.0.{n}.7")))
        .collect();
    clients.extend([by_proxy(&node, "203.0.0.7"), by_proxy(&node, "203.0.0.8")]);
    clients
        .iter_mut()
        .for_each(|client| drop(client.expect_upgraded()));
    assert_answered(by_proxy(&node, "203.0.0.7"), 429, "from this address");
    assert_answered(by_proxy(&node, "203.0.0.9"), 429, "from this network");
    let said = node.stderr.wait_for("no upgrade with 203.0.0.");
    assert!(said.contains(" WARN ") && said.contains("429"), "{said}");
    // Those that were refused count no more, and those that go neither.
    drop(clients.remove(0));
    node.wait_closed(1);
    clients.push(by_proxy(&node, "203.0.0.9"));
    clients.last_mut().unwrap().expect_upgraded();
    assert_answered(by_proxy(&node, "203.0.0.7"), 429, "from this network");

    // In IPv6 a subnet is one, and who comes directly counts with who comes by a proxy.
    let mut subnet = ["2001:db8::1", "[2001:db8::2]:9"].map(|client| by_proxy(&node, client));
    subnet
        .iter_mut()
        .for_each(|client| drop(client.expect_upgraded()));
    assert_answered(by_proxy(&node, "2001:db8::3"), 429, "from this address");
    let mut both = [
        from(&node, [127, 9, 8, 7], ""),
        by_proxy(&node, "127.9.8.7"),
    ];
    both.iter_mut()
        .for_each(|client| drop(client.expect_upgraded()));
    assert_answered(by_proxy(&node, "127.9.8.7"), 429, "from this address");
    let (answer, _) = from(&node, [127, 9, 8, 7], "").read_answer();
    assert!(answer.contains(" 429 "), "{answer}");
    // Who names nobody is the proxy itself.
    let mut own = [by_proxy(&node, ""), by_proxy(&node, "_hidden")];
    own.iter_mut()
        .for_each(|client| drop(client.expect_upgraded()));
    assert_answered(by_proxy(&node, "unknown"), 429, "from this address");
    by_proxy(&node, "198.51.100.1").expect_upgraded();
}

#[test]
fn a_proxy_may_have_all_the_room_for_handshakes_and_no_more() {
    let node = listening(&["--max-handshakes", "4", "--handshake-timeout", "1h"]);
    let mut silent: Vec<Raw> = (0..4).map(|_| Raw::connect(node.address())).collect();
    let (answer, body) = Raw::connect(node.address()).read_answer();
    assert!(
        answer.contains(" 503 ") && body.contains("not upgraded yet"),
        "{answer}"
    );
    // One is upgraded, one is denied for what it says, and one goes without a word: nothing is left of them.
    silent[0].send(Raw::request(node.address(), "/"));
    silent[0].expect_upgraded();
    silent[1].send("nonsense\r\n\r\n");
    assert!(silent[1].read_head().starts_with("HTTP/1.1 400 "));
    drop(silent.pop());
    eventually("there is room again", || {
        let mut client = by_proxy(&node, "203.0.113.7");
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
    let mut clients: Vec<Raw> = (0..2).map(|_| Raw::connect(node.address())).collect();
    clients.push(by_proxy(&node, "203.0.113.8"));
    clients[2].expect_upgraded();
}

#[test]
fn a_proxy_that_is_not_set_up_well_hears_so() {
    let mut node = listening(&["-v"]);
    let refused = |fields: &str, reason: &str| {
        let peer = asking(Raw::connect(node.address()), &node, "/", fields);
        assert_answered(peer, 400, reason);
    };
    refused("X-Forwarded-For: nonsense\r\n", "no list of addresses");
    refused(
        "Forwarded: for=\"203.0.113.7\r\n",
        "not as RFC 7239 wants it",
    );
    refused(
        "X-Forwarded-For: 203.0.113.7\r\nForwarded: for=198.51.100.1\r\n",
        "the proxy must remove the field that it does not write",
    );
    // A list is as long as a head may be.
    let longest = "198.51.100.1, ".repeat(500);
    by_proxy(&node, &format!("{longest}203.0.113.7")).expect_upgraded();
    let too_long = "198.51.100.1, ".repeat(600);
    assert_answered(
        by_proxy(&node, &format!("{too_long}203.0.113.7")),
        431,
        "too large",
    );
    node.stop();
    node.assert_no_error_logged();
}

#[test]
fn nobody_is_told_to_believe_everybody() {
    for (option, range) in [
        ("--trust-forwarded-for", "0.0.0.0/0"),
        ("--trust-forwarded-for", "10.0.0.0/8,::/0"),
        ("--proxy-protocol", "::/0"),
    ] {
        let mut node = Node::with(["--bind", "127.0.0.1:0", option, range]);
        assert_eq!(node.wait_exit().code(), Some(2));
        node.stderr.wait_for("believes everybody");
    }
}

/// A host that a page comes from must be the one that it asks for, and which that is, a proxy says in Host alone.
#[test]
fn the_host_is_what_the_proxy_passes_on() {
    let node = listening(&[]);
    let page = |host: &str, fields: &str| {
        let mut peer = Raw::connect(node.address());
        let request = Raw::request(node.address(), "/");
        let host = format!("Host: {host}\r\nOrigin: https://app.example\r\n{fields}");
        peer.send(request.replacen(&format!("Host: {}\r\n", node.address()), &host, 1));
        peer
    };
    page("app.example", "").expect_upgraded();
    for fields in [
        "",
        "X-Forwarded-Host: app.example\r\n",
        "Forwarded: host=app.example\r\n",
    ] {
        assert_answered(page("127.0.0.1", fields), 403, "--allow-origin");
    }
}

#[test]
fn haproxy_names_its_clients() {
    let Some(mut haproxy) = tools::of_system("haproxy") else {
        return;
    };
    let scratch = Scratch::new("haproxy");
    let node = listening(&["--deny", "127.9.8.7"]);
    let file = scratch.join("config");
    let config = format!(
        "defaults\n mode http\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
         frontend all\n bind fd@1\n option forwardfor\n default_backend node\n\
         backend node\n server node {}\n",
        node.address()
    );
    fs::write(&file, config).unwrap();
    haproxy.arg("-db").arg("-f").arg(&file);
    // It takes no port 0, but it takes a socket.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Stdio::from(OwnedFd::from(listener));
    let _haproxy = Program::start_with_stdout("haproxy", haproxy, listener);
    let from = |source: [u8; 4]| {
        let mut peer = Raw::connect_by(address, |socket| {
            socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        });
        peer.send(Raw::request(address, "/"));
        peer
    };
    let mut client = from([127, 9, 8, 6]);
    client.expect_upgraded();
    client.send_frame(Frame::text("by haproxy"));
    let line = node.stdout.wait_for("by haproxy");
    assert!(line.starts_with("127.9.8.6:"), "{line}");
    let mut denied = from([127, 9, 8, 7]);
    assert!(denied.read_head().starts_with("HTTP/1.1 403 "));
}
