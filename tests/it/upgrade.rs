//! The HTTP side: every answer, read completely; heads in pieces, heads that never end, and frames
//! that come along with a head.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::raw::header;
use crate::support::{Embedded, End, Frame, Node, Raw, RawListener, eventually, letters};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[track_caller]
fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{head}"))
}

/// Asserts that an answer is whole and says what every one of ours says.
#[track_caller]
fn assert_complete(what: &str, head: &str, body: &str) {
    let length: usize = header(head, "content-length").unwrap().parse().unwrap();
    assert_eq!(body.len(), length, "{what}: {head}{body}");
    assert!((1..200).contains(&length), "a short body: {what}: {body}");
    let connection = header(head, "connection").unwrap();
    assert!(connection.contains("close"), "{what}: {connection}");
    assert_eq!(
        header(head, "content-type").as_deref(),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn every_request_has_its_answer_whatever_else_the_client_sends() {
    let node = Node::listening(["--interval", "off", "--max-head", "4KiB"]);
    let upgrade = Raw::request(node.address(), "/");
    let with = |from: &str, to: &str| {
        assert!(upgrade.contains(from), "{from}");
        upgrade.replacen(from, to, 1)
    };
    let host = format!("Host: {}\r\n", node.address());
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let requests = [
        ("a page", 200, HEALTH.to_owned()),
        (
            "a page with a query of another kind",
            405,
            HEALTH.replace("GET", "DELETE"),
        ),
        (
            "binary garbage",
            400,
            "\u{0}\u{1}\u{2}\u{fffd}\r\n\r\n".to_owned(),
        ),
        (
            "a greeting of another protocol",
            400,
            "EHLO example.org\r\n\r\n".to_owned(),
        ),
        (
            "a TLS hello",
            400,
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}".to_owned(),
        ),
        (
            "the preface of HTTP/2",
            505,
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        ),
        ("no Host", 400, with(&host, "")),
        ("two Hosts", 400, with(&host, &format!("{host}{host}"))),
        (
            "a body",
            400,
            with("Upgrade:", "Content-Length: 5\r\nUpgrade:"),
        ),
        (
            "a body in chunks",
            400,
            with("Upgrade:", "Transfer-Encoding: chunked\r\nUpgrade:"),
        ),
        ("a key that is too short", 400, with(key, "c2hvcnQ=")),
        ("no key", 400, with("Sec-WebSocket-Key", "X-Key")),
        (
            "two keys",
            400,
            with("Upgrade:", &format!("Sec-WebSocket-Key: {key}\r\nUpgrade:")),
        ),
        ("a target that is no path", 400, with("GET / ", "GET * ")),
        ("a fragment", 400, with("GET / ", "GET /#top ")),
        (
            "a space in a field name",
            400,
            with("Upgrade: ", "Upgrade : "),
        ),
        (
            "a folded field",
            400,
            with("Upgrade: websocket", "Upgrade: websocket\r\n folded"),
        ),
        ("another method", 405, with("GET", "POST")),
        ("CONNECT", 405, with("GET / ", "CONNECT a:1 ")),
        ("a browser", 426, format!("GET / HTTP/1.1\r\n{host}\r\n")),
        (
            "another upgrade",
            426,
            with("Upgrade: websocket", "Upgrade: h2c"),
        ),
        (
            "no Connection",
            426,
            with("Connection: Upgrade", "Connection: close"),
        ),
        ("an old version", 426, with("Version: 13", "Version: 8")),
        (
            "a head that is too long",
            431,
            with("Upgrade:", &format!("X: {}\r\nUpgrade:", letters(4096))),
        ),
        (
            "too many fields",
            431,
            with("Upgrade:", &format!("{}Upgrade:", "a:b\r\n".repeat(100))),
        ),
        ("HTTP/1.0", 505, with("HTTP/1.1", "HTTP/1.0")),
    ];
    for (what, expected, request) in requests {
        let mut client = Raw::connect(node.address());
        // Unread input would make the kernel take the answer back if the node just closed.
        let mut bytes = request.clone().into_bytes();
        bytes.extend(letters(100_000).bytes());
        client.send(bytes);
        let (head, body) = client.read_answer();
        assert_eq!(status(&head), expected, "{what}: {head}{body}");
        assert_complete(what, &head, &body);
        match expected {
            405 => assert_eq!(header(&head, "allow").as_deref(), Some("GET")),
            426 => {
                assert_eq!(
                    header(&head, "upgrade").as_deref(),
                    Some("websocket"),
                    "{head}"
                );
                assert_eq!(
                    header(&head, "sec-websocket-version").as_deref(),
                    Some("13")
                );
            }
            _ => {}
        }
    }
    let mut client = Raw::connect(node.address());
    client.send(HEALTH.replace("GET", "HEAD"));
    let (head, body) = client.read_answer();
    assert_eq!((status(&head), body.as_str()), (200, ""));
    node.assert_no_error_logged();
    assert!(
        !node.stderr.contain(" WARN "),
        "a peer's rudeness is nothing to warn of"
    );
}

#[test]
fn a_client_that_writes_on_and_on_still_gets_its_answer() {
    let node = Node::listening(["--interval", "off"]);
    let head_of_a_mebibyte = format!("GET / HTTP/1.1\r\nX: {}", letters(1 << 20));
    let body = format!("POST / HTTP/1.1\r\nHost: x\r\n\r\n{}", letters(1 << 20));
    for (expected, request) in [(431, head_of_a_mebibyte), (405, body)] {
        let mut client = Raw::connect(node.address());
        let mut sender = client.sender();
        let sending = std::thread::spawn(move || {
            let sent = sender.write_all(request.as_bytes());
            // Only when everything is sent does the client start to read.
            (sent, sender)
        });
        let (sent, sender) = sending.join().unwrap();
        sent.expect("the node takes what it will not use");
        drop(sender);
        let (head, body) = client.read_answer();
        assert_eq!(status(&head), expected);
        assert_complete("a mebibyte", &head, &body);
    }
}

#[test]
fn a_node_that_is_full_says_so_over_http() {
    let node = Node::listening(["--interval", "off", "--max-connections", "2"]);
    let peers = [
        Raw::upgraded(node.address(), "/"),
        Raw::upgraded(node.address(), "/"),
    ];
    let mut third = Raw::connect(node.address());
    third.send(Raw::request(node.address(), "/"));
    third.send(letters(50_000));
    let (head, body) = third.read_answer();
    assert_eq!(status(&head), 503);
    assert_complete("full", &head, &body);
    assert!(header(&head, "retry-after").is_some(), "{head}");
    drop(peers);

    let options = ["--interval", "off", "--max-connections-per-address", "1"];
    let node = Node::listening(options);
    let mut peer = Raw::upgraded(node.address(), "/");
    let mut second = Raw::connect(node.address());
    second.send(Raw::request(node.address(), "/"));
    let (head, body) = second.read_answer();
    assert_eq!(status(&head), 429);
    assert_complete("too many", &head, &body);
    assert!(header(&head, "retry-after").is_some(), "{head}");
    assert_eq!(peer.sync(), [], "the one that was there first is served");
}

#[test]
fn a_request_that_does_not_end_has_an_absolute_deadline() {
    let options = ["--interval", "off", "--handshake-timeout", "400ms"];
    let node = Node::listening(options);
    let begun = Instant::now();
    let mut silent = Raw::connect(node.address());
    let mut slow = Raw::connect(node.address());
    let mut sender = slow.sender();
    let feeding = std::thread::spawn(move || {
        let mut count = 0;
        // A byte now and then, for ever.
        while sender
            .write_all(if count == 0 {
                b"GET / HTTP/1.1\r\nX: "
            } else {
                b"x"
            })
            .is_ok()
        {
            count += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        count
    });
    for client in [&mut silent, &mut slow] {
        let (head, body) = client.read_answer();
        assert_eq!(status(&head), 408);
        assert_complete("slow", &head, &body);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(400), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    // It goes on sending into a connection that nobody reads for ever: that ends too.
    drop((silent, slow));
    assert!(feeding.join().unwrap() > 1);
    eventually("both are gone", || node.descriptors() < 16);
    // One that upgraded in time is not touched by that deadline.
    let mut upgraded = Raw::upgraded(node.address(), "/");
    assert!(upgraded.is_silent_for(Duration::from_millis(600)));
    assert_eq!(upgraded.sync(), []);
}

#[test]
fn a_head_may_be_cut_anywhere() {
    let node = Node::listening(["--interval", "off", "--echo"]);
    let mut request = Raw::request(node.address(), "/").into_bytes();
    request.extend(Frame::text("tail").masked().encode());
    let mut clients: Vec<(usize, Raw)> = (1..request.len())
        .map(|cut| (cut, Raw::connect(node.address())))
        .collect();
    for (cut, client) in &mut clients {
        client.send(&request[..*cut]);
    }
    // The health page is answered after all that came before it.
    let mut later = Raw::connect(node.address());
    later.send(HEALTH);
    later.read_answer();
    for (cut, client) in &mut clients {
        client.send(&request[*cut..]);
    }
    for (cut, client) in &mut clients {
        client.expect_upgraded();
        assert_eq!(client.read_frame(), Frame::text("tail"), "cut at {cut}");
    }
    let mut bytewise = Raw::connect(node.address());
    for byte in &request {
        bytewise.send([*byte]);
    }
    bytewise.expect_upgraded();
    assert_eq!(bytewise.read_frame(), Frame::text("tail"));
}

#[test]
fn frames_that_come_with_the_head_are_not_lost() {
    let node = Node::listening(["--interval", "off", "--echo"]);
    let large = Frame::binary(vec![0xab; 900 << 10]);
    let mut client = Raw::connect(node.address());
    let mut bytes = Raw::request(node.address(), "/").into_bytes();
    for frame in [Frame::text("at once"), Frame::ping("p"), large.clone()] {
        bytes.extend(frame.masked().encode());
    }
    client.send(bytes);
    client.expect_upgraded();
    // A pong may overtake messages.
    let (pongs, messages): (Vec<_>, Vec<_>) = std::iter::repeat_with(|| client.read_frame())
        .take(3)
        .partition(|frame| frame.opcode == Frame::PONG);
    assert_eq!(pongs, [Frame::pong("p")]);
    assert!(messages == [Frame::text("at once"), large], "{messages:?}");
}

#[test]
fn a_whole_conversation_in_one_piece_is_had() {
    let node = Node::listening(["--interval", "off", "--echo"]);
    let mut client = Raw::connect(node.address());
    let mut bytes = Raw::request(node.address(), "/").into_bytes();
    bytes.extend(Frame::text("hello").masked().encode());
    bytes.extend(Frame::close(1000, "bye").masked().encode());
    client.send(bytes);
    client.expect_upgraded();
    let (before, close) = client.read_to_close();
    assert_eq!(before, [Frame::text("hello")]);
    assert_eq!(close.close_code(), Some(1000));
    assert_eq!(
        client.read_to_end(),
        (vec![], End::Closed),
        "the server drops first"
    );
}

#[test]
fn frames_that_come_with_the_answer_to_a_dial_are_not_lost() {
    let listener = RawListener::bind();
    let node = Node::listening(["--interval", "off", "--echo", "--peers", &listener.url("/")]);
    let mut peer = listener.accept();
    let answer = crate::support::raw::answer(&peer.read_head());
    // In one piece with the head; the head itself in two.
    let mut bytes = answer.into_bytes();
    bytes.extend(Frame::text("at once").encode());
    let (first, second) = bytes.split_at(40);
    peer.send(first);
    let mut later = Raw::connect(node.address());
    later.send(HEALTH);
    later.read_answer();
    peer.send(second);
    assert_eq!(peer.read_frame(), Frame::text("at once"));
    assert!(peer.was_masked());
}

#[test]
fn a_client_that_ends_its_half_still_gets_the_answer() {
    let mut node = Embedded::listening(|_| {});
    for (request, expected) in [(HEALTH, 200), ("nonsense\r\n\r\n", 400)] {
        let mut client = Raw::connect(node.address());
        client.send(request);
        client.finish();
        let (head, body) = client.read_answer();
        assert_eq!(status(&head), expected);
        assert_complete(request, &head, &body);
    }
    // One that ends in the middle of its head, or before it began, hears nothing and is gone.
    for part in ["", "GET / HTT"] {
        let mut client = Raw::connect(node.address());
        client.send(part);
        client.finish();
        assert_eq!(client.read_to_end(), (vec![], End::Closed));
    }
    let mut client = Raw::connect(node.address());
    client.send(Raw::request(node.address(), "/"));
    client.finish();
    client.read_to_end();
    node.wait_counters("all are gone", |c| c.connections == 0 && c.accepted == 5);
    node.stop();
}

#[test]
fn path_and_query_are_kept() {
    let node = Embedded::listening(|_| {});
    let address = node.address();
    let mut who = Vec::new();
    for (target, path) in [
        ("/", "/"),
        ("/?token=secret", "/"),
        ("/a/b%20c;d?x=1&y=/z?", "/a/b%20c;d"),
        (&format!("ws://{address}/whole?q"), "/whole"),
        (&format!("http://{address}"), "/"),
    ] {
        let mut peer = Raw::upgraded(address, target);
        peer.send_frame(Frame::text("hi"));
        node.received
            .wait_for_line(&format!("{} {path} hi", peer.local_address()));
        who.push(peer);
    }
    let listener = RawListener::bind();
    for (typed, target) in [
        (listener.url("/sensors?rate=5"), "/sensors?rate=5"),
        (format!("ws://{}?x=y", listener.address()), "/?x=y"),
        (format!("ws://{}", listener.address()), "/"),
    ] {
        let dialing = Node::with(["--interval", "off", "--peers", &typed]);
        let (_peer, head) = listener.accept_upgraded();
        assert!(
            head.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{head}"
        );
        let host = listener.address().to_string();
        assert_eq!(header(&head, "host"), Some(host), "{head}");
        dialing.wait_connected(1);
    }
}

#[test]
fn what_was_offered_and_is_not_spoken_is_not_accepted() {
    let node = Node::listening(["--interval", "off"]);
    let mut client = Raw::connect(node.address());
    let offers = "Sec-WebSocket-Protocol: chat, superchat\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:";
    client.send(Raw::request(node.address(), "/").replacen("Upgrade:", offers, 1));
    let head = client.expect_upgraded();
    assert_eq!(header(&head, "sec-websocket-protocol"), None, "{head}");
    assert_eq!(header(&head, "sec-websocket-extensions"), None, "{head}");
    // Names in any case, lists with more than what is asked for.
    let mut client = Raw::connect(node.address());
    let request = Raw::request(node.address(), "/")
        .replace("Upgrade: websocket", "uPGRADE: h2c , WebSocket")
        .replace("Connection: Upgrade", "CONNECTION: keep-alive,upgrade")
        .replace("Sec-WebSocket-Key:", "sec-websocket-key:  ");
    client.send(request);
    client.expect_upgraded();
    assert_eq!(client.sync(), []);
}

#[test]
fn a_request_in_the_name_of_the_node_itself_is_a_loop() {
    let listener = RawListener::bind();
    let node = Node::listening(["--interval", "off", "--peers", &listener.url("/")]);
    let head = listener.accept().read_head();
    let own = header(&head, "wsmesh-node").expect("a dial names the node");
    let mut client = Raw::connect(node.address());
    let request = Raw::request(node.address(), "/");
    client.send(request.replacen("Upgrade:", &format!("Wsmesh-Node: {own}\r\nUpgrade:"), 1));
    let (head, body) = client.read_answer();
    assert_eq!(status(&head), 508);
    assert_complete("loop", &head, &body);
    // That of another node is nothing special.
    let mut client = Raw::connect(node.address());
    client.send(request.replacen("Upgrade:", "Wsmesh-Node: 0123\r\nUpgrade:", 1));
    client.expect_upgraded();
}

#[test]
fn the_health_page_answers_while_others_are_connected_and_is_no_connection() {
    let node = Embedded::listening(|_| {});
    let _peer = Raw::upgraded(node.address(), "/");
    for _ in 0..3 {
        let mut client = Raw::connect(node.address());
        client.send(HEALTH);
        let (head, body) = client.read_answer();
        assert_eq!((status(&head), body.as_str()), (200, "ok\n"));
    }
    let counters = node.wait_counters("only the peer is left", |c| c.connections == 1);
    assert_eq!((counters.opened, counters.requests_answered), (1, 3));
    let address: SocketAddr = node.address();
    // An upgrade on that path is one like any other.
    let mut peer = Raw::upgraded(address, "/healthz");
    assert_eq!(peer.sync(), []);
}
