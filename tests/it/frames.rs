//! Frames that break the rules of RFC 6455, in both roles: what was received before is delivered, the
//! Close with the right code really arrives, and nobody else notices.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::support::{
    DEADLINE, End, Frame, LengthForm, Node, Raw, RawListener, eventually, letters,
};

/// The limit of these tests: `--max-message 64KiB`.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
const OPTIONS: [&str; 7] = [
    "--interval",
    "off",
    "--echo",
    "--max-message",
    "64KiB",
    "--log-repeats",
    "off",
];

/// A name, what is sent, and the close code that answers it.
type Case = (String, Vec<Frame>, u16);

/// Frames that are wrong whoever sends them.
fn wrong_in_both_roles() -> Vec<Case> {
    let mut cases: Vec<(String, Vec<Frame>, u16)> = Vec::new();
    let mut case =
        |what: &str, frames: Vec<Frame>, code| cases.push((what.to_owned(), frames, code));
    for rsv in [0b100, 0b010, 0b001, 0b111] {
        case(
            "reserved bits of text",
            vec![Frame::text("x").with_rsv(rsv)],
            1002,
        );
    }
    case(
        "a reserved bit of a ping",
        vec![Frame::ping("x").with_rsv(0b100)],
        1002,
    );
    case(
        "a reserved bit of a Close",
        vec![Frame::close(1000, "").with_rsv(0b010)],
        1002,
    );
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        case(
            &format!("opcode {opcode:#x}"),
            vec![Frame::new(opcode, "x")],
            1002,
        );
        case(
            &format!("empty opcode {opcode:#x}"),
            vec![Frame::new(opcode, "")],
            1002,
        );
    }
    case(
        "a ping in fragments",
        vec![Frame::ping("x").unfinished()],
        1002,
    );
    case(
        "a pong in fragments",
        vec![Frame::pong("x").unfinished()],
        1002,
    );
    case(
        "a Close in fragments",
        vec![Frame::close(1000, "x").unfinished()],
        1002,
    );
    case(
        "a ping of 126 bytes",
        vec![Frame::ping(vec![b'x'; 126])],
        1002,
    );
    case(
        "a ping of 64 KiB",
        vec![Frame::ping(vec![b'x'; 65_536])],
        1002,
    );
    case(
        "a Close of 126 bytes",
        vec![Frame::close(1000, &"x".repeat(124))],
        1002,
    );
    case(
        "a continuation of nothing",
        vec![Frame::continuation("x")],
        1002,
    );
    case(
        "an empty continuation of nothing",
        vec![Frame::continuation("")],
        1002,
    );
    case(
        "a continuation of nothing that goes on",
        vec![Frame::continuation("x").unfinished()],
        1002,
    );
    let start = || Frame::text("x").unfinished();
    case("text within text", vec![start(), Frame::text("y")], 1002);
    case("bytes within text", vec![start(), Frame::binary("y")], 1002);
    let finished = vec![start(), Frame::continuation("y"), Frame::continuation("z")];
    case("a continuation after the end", finished, 1002);
    case(
        "a Close of one byte",
        vec![Frame::new(Frame::CLOSE, [3])],
        1002,
    );
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        case(
            &format!("close code {code}"),
            vec![Frame::close(code, "")],
            1002,
        );
    }

    for (what, bytes) in [
        ("a lone byte", &[0xff][..]),
        ("a broken sequence", b"caf\xc3("),
        ("an unfinished sequence", b"caf\xc3"),
        ("an overlong slash", b"\xc0\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("beyond Unicode", b"\xf4\x90\x80\x80"),
    ] {
        case(what, vec![Frame::text(bytes)], 1007);
        let (first, second) = bytes.split_at(bytes.len() - 1);
        let split = vec![Frame::text(first).unfinished(), Frame::continuation(second)];
        case(&format!("{what}, split"), split, 1007);
    }
    let late = vec![
        Frame::text("good").unfinished(),
        Frame::continuation("\u{20ac}".as_bytes()[..2].to_vec()).unfinished(),
        Frame::continuation("").unfinished(),
        Frame::continuation("x"),
    ];
    case("a sequence broken by a fragment", late, 1007);
    let mut reason = Frame::close(1000, "");
    reason.payload.extend([0xc3, 0x28]);
    case("a reason that is not UTF-8", vec![reason], 1007);

    let limit = MESSAGE_BYTES_MAX;
    case(
        "a text over the limit",
        vec![Frame::text(letters(limit + 1))],
        1009,
    );
    case(
        "bytes over the limit",
        vec![Frame::binary(vec![0; limit + 1])],
        1009,
    );
    let two = vec![
        Frame::binary(vec![0; limit]).unfinished(),
        Frame::continuation([0]),
    ];
    case("fragments over the limit", two, 1009);
    let never_final = vec![
        Frame::text(letters(limit / 2)).unfinished(),
        Frame::continuation(letters(limit / 2)).unfinished(),
        Frame::continuation("x").unfinished(),
    ];
    case("fragments over the limit, unfinished", never_final, 1009);
    cases
}

/// What only a header says: the payload never comes.
fn claims() -> Vec<(String, Vec<u8>, u16)> {
    let mut cases = Vec::new();
    for len in [1 << 20, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX] {
        for frame in [Frame::text(""), Frame::binary("").unfinished()] {
            let bytes = frame.masked().encode_claiming(len, LengthForm::SixtyFour);
            cases.push((format!("a frame that claims {len} bytes"), bytes, 1009));
        }
        let ping = Frame::ping("").masked();
        let bytes = ping.encode_claiming(len, LengthForm::SixtyFour);
        // Too long for a ping as well as for a message: the size is seen first.
        cases.push((format!("a ping that claims {len} bytes"), bytes, 1009));
    }
    cases
}

/// Sends something good and something bad in one piece; asserts what becomes of both.
#[track_caller]
fn assert_refused(node: &Node, mut peer: Raw, what: &str, bad: &[u8], code: u16) {
    // Twice: once echoed before the bad follows, once in one piece with it.
    peer.send_frame(Frame::text(format!("before {what}")));
    assert_eq!(peer.read_frame(), Frame::text(format!("before {what}")));
    let good = Frame::text(format!("with {what}"));
    let mut bytes = match peer.is_client() {
        true => good.clone().masked().encode(),
        false => good.encode(),
    };
    bytes.extend_from_slice(bad);
    // Nothing that follows is looked at any more.
    bytes.extend(Frame::text(format!("after {what}")).masked().encode());
    bytes.extend([0x5a; 10_000]);
    peer.send(bytes);
    let (before, close) = peer.read_to_close();
    assert_eq!(before.first(), Some(&good), "{what}: answered");
    assert_eq!(close.close_code(), Some(code), "{what}: {close:?}");
    assert!(!close.close_reason().is_empty(), "{what}: it says why");
    assert_eq!(peer.was_masked(), !peer.is_client(), "{what}");
    // A peer that has read it all and answers finds an orderly end.
    assert_eq!(
        peer.finish_close(&Frame::close(code, "")),
        End::Closed,
        "{what}"
    );
    node.stdout.wait_for(&format!("with {what}"));
    assert!(!node.stdout.contain(&format!("after {what}")), "{what}");
}

#[test]
fn wrong_frames_of_a_client_are_answered_with_their_code() {
    let node = Node::listening(OPTIONS);
    let mut other = Raw::upgraded(node.address(), "/other");
    let cases = wrong_in_both_roles();
    for (what, frames, code) in &cases {
        let bad: Vec<u8> = frames
            .iter()
            .flat_map(|f| f.clone().masked().encode())
            .collect();
        assert_refused(&node, Raw::upgraded(node.address(), "/"), what, &bad, *code);
    }
    for (what, bytes, code) in &claims() {
        assert_refused(
            &node,
            Raw::upgraded(node.address(), "/"),
            what,
            bytes,
            *code,
        );
    }
    other.send_frame(Frame::text("undisturbed"));
    assert_eq!(other.read_frame(), Frame::text("undisturbed"));
    node.wait_closed(cases.len() + claims().len());
    node.assert_no_error_logged();
    assert!(
        !node.stderr.contain(" WARN "),
        "a peer's rudeness is nothing to warn of"
    );
}

#[test]
fn a_client_must_mask() {
    let node = Node::listening(OPTIONS);
    for frame in [
        Frame::text("hello"),
        Frame::text(""),
        Frame::binary(vec![0; 300]),
        Frame::ping("x"),
        Frame::close(1000, ""),
    ] {
        let what = format!("unmasked {frame:?}");
        let peer = Raw::upgraded(node.address(), "/");
        // The name of the case goes into messages, where quotes and the like stay as they are.
        assert_refused(&node, peer, &what, &frame.encode(), 1002);
    }
}

#[test]
fn wrong_frames_of_a_server_are_answered_with_their_code() {
    let listener = RawListener::bind();
    let mut node = Node::with(
        [
            &OPTIONS[..],
            &[
                "--retry-min",
                "1ms",
                "--retry-max",
                "1ms",
                "--peers",
                &listener.url("/"),
            ],
        ]
        .concat(),
    );
    let mut cases: Vec<(String, Vec<u8>, u16)> = wrong_in_both_roles()
        .into_iter()
        .map(|(what, frames, code)| {
            let bytes = frames.iter().flat_map(Frame::encode).collect();
            (what, bytes, code)
        })
        .collect();
    for frame in [
        Frame::text("hello"),
        Frame::text(""),
        Frame::ping("x"),
        Frame::close(1000, ""),
    ] {
        cases.push((format!("masked {frame:?}"), frame.masked().encode(), 1002));
    }
    let claim = Frame::binary("").encode_claiming(1 << 63, LengthForm::SixtyFour);
    cases.push(("a claim of 2^63 bytes".to_owned(), claim, 1009));
    for (what, bytes, code) in &cases {
        // It comes back each time: what one server sent is no reason to give up.
        let (peer, _) = listener.accept_upgraded();
        assert_refused(&node, peer, what, bytes, *code);
    }
    node.wait_closed(cases.len());
    node.assert_no_error_logged();
    drop(listener);
    node.stop();
}

#[test]
fn random_bytes_after_the_upgrade_are_survived() {
    let mut node = Node::listening(OPTIONS);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        let mut peer = Raw::upgraded(node.address(), "/");
        let bytes: Vec<u8> = (0..500)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        peer.send(bytes);
        peer.finish();
        // Whatever the bytes happen to mean: it ends, and not with a crash.
        peer.read_to_end();
    }
    let mut peer = Raw::upgraded(node.address(), "/");
    assert_eq!(peer.sync(), []);
    drop(peer);
    node.stop();
    node.assert_no_error_logged();
}

/// Tungstenite accepts lengths that are not in their shortest form, though RFC 6455 §5.2 demands
/// it of the sender. So do we; what goes out again is in its shortest form.
#[test]
fn lengths_in_a_longer_form_than_needed_are_accepted() {
    let node = Node::listening(OPTIONS);
    let mut peer = Raw::upgraded(node.address(), "/");
    for (len, form) in [
        (0, LengthForm::Sixteen),
        (5, LengthForm::Sixteen),
        (125, LengthForm::Sixteen),
        (0, LengthForm::SixtyFour),
        (5, LengthForm::SixtyFour),
        (200, LengthForm::SixtyFour),
        (40_000, LengthForm::SixtyFour),
    ] {
        let frame = Frame::text(letters(len));
        peer.send(frame.clone().masked().encode_claiming(len as u64, form));
        assert_eq!(peer.read_frame(), frame, "{len} bytes as {form:?}");
    }
    let ping = Frame::ping("hello").masked();
    peer.send(ping.encode_claiming(5, LengthForm::Sixteen));
    assert_eq!(peer.read_frame(), Frame::pong("hello"));
    let close = Frame::close(1000, "").masked();
    peer.send(close.encode_claiming(2, LengthForm::SixtyFour));
    assert_eq!(peer.read_to_close().1.close_code(), Some(1000));
}

#[test]
fn messages_at_the_limit_and_text_cut_within_a_character_are_fine() {
    let node = Node::listening(OPTIONS);
    let mut peer = Raw::upgraded(node.address(), "/");
    let limit = Frame::text(letters(MESSAGE_BYTES_MAX));
    peer.send_frame(limit.clone());
    assert!(peer.read_frame() == limit);
    let half = MESSAGE_BYTES_MAX / 2;
    peer.send_frames([
        Frame::text(limit.payload[..half].to_vec()).unfinished(),
        Frame::ping(vec![b'p'; 125]),
        Frame::continuation(limit.payload[half..].to_vec()),
    ]);
    assert_eq!(peer.read_frame(), Frame::pong(vec![b'p'; 125]));
    assert!(peer.read_frame() == limit);

    let text = "grüße ✓ 🌐";
    for cut in 0..=text.len() {
        let (first, second) = text.as_bytes().split_at(cut);
        peer.send_frames([Frame::text(first).unfinished(), Frame::continuation(second)]);
        assert_eq!(peer.read_frame(), Frame::text(text), "cut at {cut}");
    }
    let mut fragments: Vec<Frame> = text
        .bytes()
        .map(|byte| Frame::continuation([byte]).unfinished())
        .collect();
    fragments.insert(0, Frame::text("").unfinished());
    fragments.push(Frame::continuation(""));
    peer.send_frames(fragments);
    assert_eq!(peer.read_frame(), Frame::text(text));
}

#[test]
fn frames_cut_anywhere_are_put_together() {
    let node = Node::listening(OPTIONS);
    let mut peer = Raw::upgraded(node.address(), "/");
    let frames = [
        Frame::text("grüße"),
        Frame::binary(vec![7; 130]),
        Frame::ping(""),
    ];
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|f| f.clone().masked().encode())
        .collect();
    for byte in bytes {
        peer.send([byte]);
    }
    // A pong may overtake messages.
    let mut answers: Vec<Frame> = (0..3).map(|_| peer.read_frame()).collect();
    answers.retain(|frame| *frame != Frame::pong(""));
    assert_eq!(answers, frames[..2]);
}

#[test]
fn the_1009_arrives_though_the_peer_is_still_sending() {
    let node = Node::listening(OPTIONS);
    for (what, head) in [
        (
            "a frame",
            Frame::binary("")
                .masked()
                .encode_claiming(1 << 30, LengthForm::SixtyFour),
        ),
        ("a message", {
            let first = Frame::binary(vec![0; MESSAGE_BYTES_MAX])
                .unfinished()
                .masked()
                .encode();
            let rest = Frame::continuation("").masked();
            [first, rest.encode_claiming(1 << 14, LengthForm::Sixteen)].concat()
        }),
    ] {
        let mut peer = Raw::upgraded(node.address(), "/");
        let mut sender = peer.sender();
        let sending = std::thread::spawn(move || {
            let chunk = vec![0x55; 64 << 10];
            sender.write_all(&head)?;
            // Reading starts only after all of this is sent: the Close waits in the kernel, where
            // a reset would throw it away.
            (0..128).try_for_each(|_| sender.write_all(&chunk))
        });
        sending
            .join()
            .unwrap()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let (before, close) = peer.read_to_close();
        assert_eq!((before, close.close_code()), (vec![], Some(1009)), "{what}");
        assert_eq!(
            peer.finish_close(&Frame::close(1009, "")),
            End::Closed,
            "{what}"
        );
    }
}

#[test]
fn a_peer_that_never_stops_sending_after_its_error_is_dropped() {
    let options = [&OPTIONS[..], &["--close-timeout", "200ms"]].concat();
    let node = Node::listening(options);
    let idle = node.descriptors();
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send(Frame::text("unmasked").encode());
    let (_, close) = peer.read_to_close();
    assert_eq!(close.close_code(), Some(1002));
    let chunk = vec![0; 16 << 10];
    eventually("it is dropped", || peer.try_send(&chunk).is_err());
    eventually("nothing is left of it", || node.descriptors() == idle);
}

#[test]
fn half_a_frame_and_silence_disturbs_nobody_and_ends_with_the_keep_alive() {
    let options = [
        &OPTIONS[..],
        &["--ping-interval", "400ms", "--close-timeout", "200ms"],
    ]
    .concat();
    let node = Node::listening(options);
    let whole = Frame::text(letters(1000)).masked().encode();
    let mut peers: Vec<Raw> = [1, 2, 5, 8, 500, whole.len() - 1]
        .into_iter()
        .map(|cut| {
            let mut peer = Raw::upgraded(node.address(), "/");
            peer.send(&whole[..cut]);
            peer
        })
        .collect();
    let mut other = Raw::upgraded(node.address(), "/other");
    other.send_frame(Frame::text("undisturbed"));
    assert_eq!(other.read_frame(), Frame::text("undisturbed"));
    for peer in &mut peers {
        let (before, close) = peer.read_to_close();
        assert_eq!(before.len(), 1, "{before:?}");
        assert_eq!(before[0].opcode, Frame::PING, "asked first");
        assert_eq!(close.close_code(), Some(1008));
        assert_eq!(peer.read_to_end().1, End::Closed);
    }
    // None of them was a message.
    assert_eq!(node.stdout.all().len(), 1);
}

#[test]
fn a_close_is_answered_in_kind_and_the_server_drops_first() {
    let node = Node::listening(OPTIONS);
    for close in [
        Frame::close(1000, ""),
        Frame::close(1001, "going"),
        Frame::close(3000, "registered"),
        Frame::close(4999, &"x".repeat(123)),
        Frame::new(Frame::CLOSE, ""),
    ] {
        let mut peer = Raw::upgraded(node.address(), "/");
        peer.send_frame(close.clone());
        let (before, answer) = peer.read_to_close();
        assert_eq!(
            (before, answer.close_code()),
            (vec![], close.close_code()),
            "{close:?}"
        );
        // We have not ended the connection; the server has.
        assert_eq!(peer.read_to_end(), (vec![], End::Closed), "{close:?}");
    }
    node.stderr
        .wait_for("closed: closed by peer with code 4999");
    // As a client it waits for the server to end the connection.
    let listener = RawListener::bind();
    let dialing = Node::with(["--interval", "off", "--peers", &listener.url("/")]);
    let (mut peer, _) = listener.accept_upgraded();
    peer.send_frame(Frame::close(1000, ""));
    assert_eq!(peer.read_to_close().1.close_code(), Some(1000));
    assert!(
        peer.is_silent_for(Duration::from_millis(100)),
        "the server drops first"
    );
    peer.finish();
    assert_eq!(peer.read_to_end(), (vec![], End::Closed));
    dialing.wait_closed(1);
}

#[test]
fn frames_after_a_close_are_ignored() {
    let node = Node::listening(OPTIONS);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frames([
        Frame::text("before"),
        Frame::close(1000, ""),
        Frame::text("after"),
        Frame::ping("after"),
    ]);
    let (before, close) = peer.read_to_close();
    assert_eq!(before, [Frame::text("before")]);
    assert_eq!(close.close_code(), Some(1000));
    assert_eq!(peer.read_to_end(), (vec![], End::Closed));
    drop(peer);
    node.wait_closed(1);
    node.stdout.wait_for("before");
    assert!(!node.stdout.contain("after"));
}

#[test]
fn an_end_without_a_close_is_told_and_survived() {
    let node = Node::listening(OPTIONS);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frame(Frame::text("last"));
    // Half a frame, and then the end.
    peer.send(&Frame::text("never").masked().encode()[..4]);
    peer.finish();
    let mut stream = peer.stream();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The node ends its half too, with or without the echo.
    stream.read_to_end(&mut Vec::new()).unwrap();
    stream.shutdown(Shutdown::Both).ok();
    node.stdout.wait_for("last");
    let closed = node.wait_closed(1);
    assert!(closed[0].contains("without a Close"), "{closed:?}");
    assert!(!node.stdout.contain("never"));
}
