//! A proxy that says with the PROXY protocol whose connection it passes on; from others it is no word.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use crate::support::{End, Frame, Node, Program, Raw, Scratch, assert_answered, eventually, tools};

/// In these tests 127.0.0.1 is the proxy, and whoever connects from another address of this machine is not.
const PROXY: [&str; 4] = ["--interval", "off", "--proxy-protocol", "127.0.0.1"];

fn listening(options: &[&str]) -> Node {
    Node::listening(PROXY.iter().chain(options))
}

const LOCAL: [u8; 2] = [0x20, 0];

/// What the proxy says of a client.
fn introduction(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [client.port().to_be_bytes(), [0, 80]].concat();
    written([0x21, family], &[&ip[..], &ip, &ports].concat())
}

fn written(command: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &command, &len, rest].concat()
}

/// The proxy passes on a connection of this client, which asks at once.
fn by_proxy(node: &Node, client: &str) -> Raw {
    let mut peer = Raw::connect(node.address());
    let request = Raw::request(node.address(), "/");
    peer.send([&introduction(client)[..], request.as_bytes()].concat());
    peer
}

#[test]
fn output_and_logs_call_a_client_by_its_own_address() {
    let node = listening(&[]);
    for client in [
        "203.0.113.7:4711",
        "[2001:db8::7]:8",
        "[::ffff:203.0.113.8]:9",
    ] {
        let mut peer = by_proxy(&node, client);
        peer.expect_upgraded();
        peer.send_frame(Frame::text(client));
        let name = match client.strip_prefix("[::ffff:") {
            None => client.to_owned(),
            Some(mapped) => mapped.replace(']', ""),
        };
        node.stdout.wait_for_line(&format!("{name} {client}"));
        node.stderr.wait_for(&format!("peer {name} connected"));
        drop(peer);
        node.stderr.wait_for(&format!("peer {name} closed"));
    }
}

#[test]
fn it_may_come_in_pieces_and_with_more_than_is_read_of_it() {
    let node = listening(&[]);
    let mut more = introduction("203.0.113.7:1");
    more[15] += 8;
    more.extend([4, 0, 5, 1, 2, 3, 4, 5]);
    let mut peer = Raw::connect(node.address());
    for byte in [&more[..], Raw::request(node.address(), "/").as_bytes()].concat() {
        peer.send([byte]);
    }
    peer.expect_upgraded();
    node.stderr.wait_for("peer 203.0.113.7:1 connected");
}

#[test]
fn who_is_asked_for_nobody_is_the_proxy_itself() {
    let node = listening(&["--max-connections-per-address", "2"]);
    let own = || {
        let mut peer = Raw::connect(node.address());
        let request = Raw::request(node.address(), "/");
        peer.send([&written(LOCAL, b"")[..], request.as_bytes()].concat());
        peer
    };
    let mut peers = [own(), own()];
    for peer in &mut peers {
        peer.expect_upgraded();
        let name = peer.local_address();
        node.stderr.wait_for(&format!("peer {name} connected"));
    }
    assert_answered(own(), 429, "from this address");
    by_proxy(&node, "203.0.113.7:1").expect_upgraded();
}

#[test]
fn everything_by_address_goes_by_the_client() {
    let node = listening(&[
        "--deny",
        "203.0.113.0/24",
        "--max-connections-per-address",
        "2",
    ]);
    assert_answered(
        by_proxy(&node, "203.0.113.7:1"),
        403,
        "no connections from this address",
    );
    let said = node.stderr.wait_for("no upgrade with 203.0.113.7:1:");
    assert!(said.contains(" WARN "), "{said}");
    let mut clients: Vec<Raw> = (1..=6)
        .map(|n| by_proxy(&node, &format!("198.51.100.{}:{n}", n / 2)))
        .collect();
    clients
        .iter_mut()
        .for_each(|client| drop(client.expect_upgraded()));
    assert_answered(by_proxy(&node, "198.51.100.1:9"), 429, "from this address");
    // Who goes makes room.
    drop(clients.remove(1));
    eventually("there is room again", || {
        let mut client = by_proxy(&node, "198.51.100.1:9");
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn a_client_that_is_a_proxy_too_names_its_own() {
    let node = listening(&["--trust-forwarded-for", "10.0.0.1"]);
    let mut peer = Raw::connect(node.address());
    let request = Raw::request(node.address(), "/");
    let request = request.replacen("Upgrade:", "X-Forwarded-For: 203.0.113.7\r\nUpgrade:", 1);
    peer.send([&introduction("10.0.0.1:5")[..], request.as_bytes()].concat());
    peer.expect_upgraded();
    node.stderr.wait_for("peer 203.0.113.7:5 connected");
    // The proxy itself is believed in one way only.
    let mut peer = Raw::connect(node.address());
    peer.send([&introduction("10.0.0.2:5")[..], request.as_bytes()].concat());
    peer.expect_upgraded();
    node.stderr.wait_for("peer 10.0.0.2:5 connected");
}

#[test]
fn who_must_introduce_and_does_not_is_ended() {
    let mut node = listening(&["-v", "--handshake-timeout", "400ms"]);
    let request = Raw::request(node.address(), "/").into_bytes();
    for (words, reason) in [
        (request, "it does not begin with a header"),
        (
            b"PROXY TCP4 203.0.113.7 10.0.0.1 80 443\r\n".to_vec(),
            "only version 2",
        ),
        (written([0x21, 0x12], &[0; 12]), "says nothing known"),
        (written([0x21, 0x11], &[0; 11]), "without room"),
        (written([0x21, 0x11], &[0; 3000]), "too long"),
    ] {
        let mut peer = Raw::connect(node.address());
        // The node may have had enough before the end.
        let _ = peer.try_send(&words);
        let (said, end) = peer.read_to_end();
        assert!(said.is_empty() && matches!(end, End::Closed | End::Reset));
        node.stderr.wait_for(reason);
    }
    // Half of one, and nothing at all.
    let mut half = Raw::connect(node.address());
    half.send(&introduction("203.0.113.7:1")[..20]);
    let mut silent = Raw::connect(node.address());
    for peer in [&mut half, &mut silent] {
        assert!(peer.read_to_end().0.is_empty());
    }
    node.stderr
        .wait_for_count(2, "no header of the PROXY protocol within 400ms");
    Raw::connect(node.address()).finish();
    let line = node
        .stderr
        .wait_for("ended before the header of the PROXY protocol");
    assert!(line.contains(" DEBUG "), "{line}");
    node.stop();
    node.assert_no_error_logged();
}

#[test]
fn from_others_it_is_no_word() {
    let node = listening(&["--deny", "203.0.113.0/24"]);
    let from_elsewhere = || {
        Raw::connect_by(node.address(), |socket| {
            let source = SocketAddr::from(([127, 9, 8, 7], 0));
            socket.bind(&source.into()).unwrap();
        })
    };
    let mut peer = from_elsewhere();
    peer.send(Raw::request(node.address(), "/"));
    peer.expect_upgraded();
    let mut peer = from_elsewhere();
    let request = Raw::request(node.address(), "/");
    peer.send([&introduction("198.51.100.1:1")[..], request.as_bytes()].concat());
    assert!(peer.read_head().starts_with("HTTP/1.1 400 "));
}

#[test]
fn haproxy_introduces_its_clients_with_tls_and_without() {
    let Some(haproxy) = tools::of_system("haproxy") else {
        return;
    };
    let scratch = Scratch::new("haproxy-introduces");
    let (cert, key) = (scratch.join("cert.pem"), scratch.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let program = haproxy.get_program().to_owned();
    for scheme in ["", "wss://"] {
        let mut options = vec!["--deny".to_owned(), "127.9.8.7".to_owned()];
        let mut command = Node::command(PROXY);
        command.args(["--bind", &format!("{scheme}127.0.0.1:0")]);
        if !scheme.is_empty() {
            let files = [("--tls-cert", &cert), ("--tls-key", &key)];
            options.extend(files.map(|(flag, file)| format!("{flag}={}", file.display())));
        }
        command.args(options);
        let mut node = Node::start(command);
        node.wait_listening(1);
        let file = scratch.join("config");
        let config = format!(
            "defaults\n mode tcp\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
             frontend all\n bind fd@1\n default_backend node\n\
             backend node\n server node {} send-proxy-v2\n",
            node.address()
        );
        fs::write(&file, config).unwrap();
        let mut haproxy = std::process::Command::new(&program);
        haproxy.arg("-db").arg("-f").arg(&file);
        // It takes no port 0, but it takes a socket.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Stdio::from(OwnedFd::from(listener));
        let _haproxy = Program::start_with_stdout("haproxy", haproxy, listener);
        let from = |source: [u8; 4]| {
            Raw::connect_by(address, |socket| {
                socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
            })
        };
        let mut denied = from([127, 9, 8, 7]);
        let client = from([127, 9, 8, 6]);
        let name = client.local_address();
        if scheme.is_empty() {
            let mut client = client;
            client.send(Raw::request(address, "/"));
            client.expect_upgraded();
            client.send_frame(Frame::text("by haproxy"));
            node.stdout.wait_for_line(&format!("{name} by haproxy"));
            denied.send(Raw::request(address, "/"));
            assert!(denied.read_head().starts_with("HTTP/1.1 403 "));
            continue;
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = "localhost".try_into().unwrap();
        let tls = rustls::ClientConnection::new(std::sync::Arc::new(config), server).unwrap();
        let stream = rustls::StreamOwned::new(tls, client.stream().try_clone().unwrap());
        let (mut socket, _) = tungstenite::client("ws://localhost/", stream).unwrap();
        socket.send("by haproxy".into()).unwrap();
        node.stdout.wait_for_line(&format!("{name} by haproxy"));
        // internal_error, before TLS could begin.
        assert_eq!(denied.read_exact(7), [0x15, 3, 3, 0, 2, 2, 80]);
    }
}
