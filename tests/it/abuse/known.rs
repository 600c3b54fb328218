//! What has brought other servers down, tried on this one: each is answered, and whoever is connected is served
//! meanwhile.

use std::fs;
use std::time::Duration;

use crate::support::{Frame, LengthForm, Node, Raw, Scratch};

/// A request with further header lines.
fn request(node: &Node, fields: &str) -> String {
    let request = Raw::request(node.address(), "/");
    request.replacen("Upgrade:", &format!("{fields}Upgrade:"), 1)
}

/// A node that takes heads as large as may be, and a peer that is connected to it.
fn generous() -> (Node, Raw) {
    let node = Node::listening(["--interval", "off", "--max-head", "1MiB"]);
    let bystander = Raw::upgraded(node.address(), "/");
    (node, bystander)
}

#[track_caller]
fn assert_answered(node: &Node, request: &str, status: u16) {
    let mut peer = Raw::connect(node.address());
    peer.send(request);
    let head = peer.read_head();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
}

/// CVE-2023-43669: a long head was parsed anew with each piece of it.
#[test]
fn a_long_head_in_small_pieces_keeps_nobody_waiting() {
    let (node, mut bystander) = generous();
    let request = request(&node, &format!("X-Long: {}\r\n", "x".repeat(900_000)));
    let before = node.cpu_time();
    let mut peer = Raw::connect(node.address());
    for piece in request.as_bytes().chunks(128) {
        peer.send(piece);
        // Or it would be read together with the next one.
        assert_eq!(bystander.sync(), []);
    }
    peer.expect_upgraded();
    assert_eq!(bystander.sync(), []);
    // To look at all that there is with each of 7,000 reads would be 3 GB.
    let took = node.cpu_time() - before;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// CVE-2024-37890: more header fields than a server keeps, with those that it needs among the rest.
#[test]
fn a_head_full_of_fields_is_refused() {
    let (generous, mut bystander) = generous();
    let usual = Node::listening(["--interval", "off"]);
    let fields: String = (0..2000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let name = format!("{}: x\r\n", "x".repeat(64 << 10));
    for node in [&generous, &usual] {
        assert_answered(node, &request(node, &fields), 431);
    }
    assert_answered(&usual, &request(&usual, &name), 431);
    assert_eq!(bystander.sync(), []);
    Raw::upgraded(usual.address(), "/");
}

/// CVE-2021-32640: a list of subprotocols that a regular expression took the square of its length to split.
#[test]
fn a_list_of_blanks_and_commas_keeps_nobody_waiting() {
    let (node, mut bystander) = generous();
    for filling in [" ", "\t", ",", " ,"] {
        let filling = filling.repeat(400_000);
        for name in [
            "Sec-WebSocket-Protocol",
            "Connection",
            "Authorization",
            "Origin-",
        ] {
            let fields = format!("{name}: a{filling}b\r\n");
            assert_answered(&node, &request(&node, &fields), 101);
        }
    }
    assert_eq!(bystander.sync(), []);
}

/// CVE-2020-27813: the lengths of fragments were added up beyond the largest number.
#[test]
fn fragments_that_claim_more_than_there_is_are_too_large() {
    let (node, mut bystander) = generous();
    for len in [(1 << 63) - 1, (1 << 63) - 10, u64::MAX, u64::MAX - 10] {
        let mut peer = Raw::upgraded(node.address(), "/");
        peer.send_frame(Frame::text("0123456789").unfinished());
        let claim = Frame::continuation("").masked();
        peer.send(claim.encode_claiming(len, LengthForm::SixtyFour));
        let (heard, close) = peer.read_to_close();
        assert_eq!((heard, close.close_code()), (vec![], Some(1009)), "{len}");
        assert_eq!(bystander.sync(), []);
    }
}

/// CVE-2026-27889: the length of a frame went beyond the largest number before anybody had shown who they are.
#[test]
fn nothing_is_read_of_who_may_not_come_in() {
    let scratch = Scratch::new("known");
    let tokens = scratch.join("tokens");
    fs::write(&tokens, "0123456789abcdef").unwrap();
    let tokens = tokens.display().to_string();
    let node = Node::listening(["--interval", "off", "--token-file", &tokens]);
    let shown = "Authorization: Bearer 0123456789abcdef\r\n";
    let mut bystander = Raw::connect(node.address());
    bystander.send(request(&node, shown));
    bystander.expect_upgraded();
    for len in [(1 << 63) - 1, 1 << 63, u64::MAX] {
        let claim = Frame::binary("").masked();
        let claim = claim.encode_claiming(len, LengthForm::SixtyFour);
        let with_claim = |fields: &str| {
            let mut peer = Raw::connect(node.address());
            peer.send([request(&node, fields).as_bytes(), &claim].concat());
            peer
        };
        let head = with_claim("").read_head();
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        let mut member = with_claim(shown);
        member.expect_upgraded();
        assert_eq!(member.read_to_close().1.close_code(), Some(1009), "{len}");
        assert_eq!(bystander.sync(), []);
    }
}
