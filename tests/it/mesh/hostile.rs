//! Members that mean harm, or are broken: the node that they are connected to closes them with a reason, and
//! all others hardly notice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::member::{ANNOUNCEMENT, ASKED, MESSAGE, Member, REQUEST, TEXT, ids};
use super::site::{Site, wait_joined};
use crate::support::{Frame, Raw, letters};

/// Id of a node that there is not.
const NOBODY: u128 = 7;
/// Memory that an attack may cost a node.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Two nodes, and a plain peer at each.
struct Pair {
    sites: [Site; 2],
    peers: [Raw; 2],
    said: usize,
}

impl Pair {
    #[track_caller]
    fn start(options: &[&str]) -> Pair {
        let a = Site::start(options, &[]);
        let b = Site::start(options, &[a.url()]);
        wait_joined(&[&a, &b], 2);
        let peers = [&a, &b].map(|site| Raw::upgraded(site.address(), "/"));
        Pair {
            sites: [a, b],
            peers,
            said: 0,
        }
    }

    fn attacked(&self) -> &Site {
        &self.sites[0]
    }

    /// Asserts that what the plain peers publish comes to the other one, next and at once.
    #[track_caller]
    fn assert_delivers(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            self.said += 1;
            let text = format!("{} from {from}", self.said);
            let begun = Instant::now();
            self.peers[from].send_frame(Frame::text(text.clone()));
            assert_eq!(self.peers[to].read_frame(), Frame::text(text));
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }

    #[track_caller]
    fn assert_unharmed(&mut self) {
        self.assert_delivers();
        for site in &self.sites {
            site.node().assert_no_error_logged();
        }
    }
}

/// Sends frames to the node, and returns with which code and reason it closes.
#[track_caller]
fn closed(mut member: Member, frames: impl IntoIterator<Item = Frame>) -> (u16, String) {
    member.raw.send_frames(frames);
    let (_, close) = member.raw.read_to_close();
    member.raw.finish_close(&close);
    (close.close_code().expect("a code"), close.close_reason())
}

fn control(value: &Value) -> Frame {
    Frame::text(value.to_string())
}

/// The bytes of a message in a channel, with all that may be wrong about it.
fn message(flags: u8, channel: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![MESSAGE, flags, 1];
    bytes.extend(NOBODY.to_be_bytes());
    bytes.extend(1_u32.to_be_bytes());
    bytes.push(channel.len() as u8);
    [&bytes, channel, payload].concat()
}

#[test]
fn who_breaks_the_protocol_hears_why() {
    let mut pair = Pair::start(&[]);
    let address = pair.attacked().address();
    let begin = || Member::connect(address, NOBODY);
    let join = || Member::join(address, NOBODY, "peer");
    let hello = begin().hello("peer");
    let changed = |key: &str, value: Value| {
        let mut hello = hello.clone();
        hello[key] = value;
        [control(&hello)]
    };

    let first = "the first frame is not a hello";
    let unfinished = "a control frame is not as it should be";
    let binary = |bytes: &[u8]| [Frame::binary(bytes)];
    let early = [
        (binary(b"\x01"), 1002, first),
        (
            [control(&json!({"type": "tree", "eager": true}))],
            1002,
            first,
        ),
        ([Frame::text("hello")], 1002, unfinished),
        ([Frame::text(r#"{"type":"hello"}"#)], 1002, unfinished),
        (changed("network", json!("blue")), 1008, "another network"),
        (changed("min", json!(2)), 1008, "no common version"),
        (changed("id", json!("me")), 1002, unfinished),
    ];
    for (frames, code, reason) in early {
        let closed = closed(begin(), frames);
        assert!(
            closed.0 == code && closed.1.contains(reason),
            "{reason}: {closed:?}"
        );
    }

    let short = "shorter than its head";
    let late = [
        ([control(&hello)], 1002, "a second hello"),
        (binary(b""), 1002, short),
        (binary(&message(TEXT, b"/", b"")[..20]), 1002, short),
        (
            binary(&message(TEXT, b"x", b"")),
            1002,
            "a channel is not a path",
        ),
        (
            binary(&message(TEXT, b"", b"")),
            1002,
            "a channel is not a path",
        ),
        (binary(&message(TEXT, b"/", b"\xff")), 1002, "not UTF-8"),
        (binary(&[ANNOUNCEMENT]), 1002, "a list of ids"),
        (binary(&[REQUEST, 1, 2, 3]), 1002, "a list of ids"),
        ([ids(REQUEST, NOBODY, 0..1025)], 1002, "a list of ids"),
        (binary(&[ASKED, 0]), 1002, "a list of ids"),
        ([Frame::text(" ".repeat(33 << 10))], 1002, "more than"),
        ([Frame::text("[".repeat(30 << 10))], 1002, unfinished),
        (binary(&[0; (1 << 20) + 1024]), 1009, "larger than"),
    ];
    for (frames, code, reason) in late {
        let closed = closed(join(), frames);
        assert!(
            closed.0 == code && closed.1.contains(reason),
            "{reason}: {closed:?}"
        );
    }
    pair.assert_unharmed();
}

#[test]
fn what_a_later_version_says_is_left_aside() {
    let mut pair = Pair::start(&[]);
    let mut member = Member::join(pair.attacked().address(), NOBODY, "peer");
    member.say(&json!({"type": "later", "what": [1, 2, 3]}));
    member.say(&json!({"type": "tree", "eager": true, "later": {}}));
    member.raw.send_frame(Frame::binary([9, 9, 9]));
    let frame = member.message(1, "after all that");
    member.raw.send_frame(frame);
    for peer in &mut pair.peers {
        assert_eq!(peer.read_frame(), Frame::text("after all that"));
    }
    pair.assert_unharmed();
}

#[test]
fn who_says_nothing_is_closed_in_time() {
    let mut pair = Pair::start(&[]);
    let mut member = Member::connect(pair.attacked().address(), NOBODY);
    let begun = Instant::now();
    let (before, close) = member.raw.read_to_close();
    assert_eq!(before, []);
    assert_eq!(close, Frame::close(1013, "no hello in time"));
    assert!(begun.elapsed() > Duration::from_secs(9));
    pair.assert_unharmed();
}

#[test]
fn announcements_of_what_there_is_not_cost_little() {
    let mut pair = Pair::start(&[]);
    let mut member = Member::join(pair.attacked().address(), NOBODY, "peer");
    let before = pair.attacked().node().resident_bytes();
    for origin in 0..2000 {
        let frame = ids(ANNOUNCEMENT, NOBODY + origin, 1..1001);
        member.raw.send_frame(frame);
        if origin % 500 == 0 {
            pair.assert_delivers();
        }
    }
    // All has been looked at; what is asked for is asked for now and then, and not for ever.
    member.raw.sync();
    let after = pair.attacked().node().resident_bytes();
    println!(
        "2,000,000 announcements: {} KiB",
        after.saturating_sub(before) >> 10
    );
    assert!(after < before + GROWTH_BYTES_MAX, "{before} {after}");
    pair.assert_unharmed();
}

#[test]
fn who_asks_for_the_same_again_and_again_gets_little_of_it() {
    const COUNT: usize = 300;
    const PAYLOAD_BYTES: usize = 512 << 10;
    let mut pair = Pair::start(&["--outbox", "256MiB"]);
    let mut member = Member::join(pair.attacked().address(), NOBODY, "peer");
    let begun = Instant::now();
    pair.peers[0].send_frame(Frame::text(letters(PAYLOAD_BYTES)));
    pair.peers[1].read_frame();
    let is_large = |frame: &Frame| {
        frame.payload.first() == Some(&MESSAGE) && frame.payload.len() > PAYLOAD_BYTES
    };
    let first = loop {
        let frame = member.raw.read_frame();
        if is_large(&frame) {
            break frame;
        }
    };
    let origin = u128::from_be_bytes(first.payload[3..19].try_into().unwrap());
    let sequence = u32::from_be_bytes(first.payload[19..23].try_into().unwrap());
    for _ in 0..COUNT {
        member.raw.send_frame(ids(REQUEST, origin, [sequence]));
    }
    member.raw.send_frame(Frame::ping("asked"));
    // A pong may overtake what was asked for, and a message that is published then may not.
    let mut copies = 0;
    let mut hear_until = |member: &mut Member, is_last: &dyn Fn(&Frame) -> bool| loop {
        let frame = member.raw.read_frame();
        copies += usize::from(is_large(&frame));
        if is_last(&frame) {
            break;
        }
    };
    hear_until(&mut member, &|frame| *frame == Frame::pong("asked"));
    pair.peers[0].send_frame(Frame::text("last"));
    hear_until(&mut member, &|frame| frame.payload.ends_with(b"/last"));
    // 4 MiB at once and 1 MB a second.
    let most = 8 + 2 * (begun.elapsed().as_secs() as usize + 1);
    println!("{copies} of {COUNT} copies");
    assert!(
        (1..=most).contains(&copies),
        "{copies} of {COUNT}, {most} at most"
    );
    assert_eq!(pair.peers[1].read_frame(), Frame::text("last"));
    pair.assert_unharmed();
}

#[test]
fn hellos_without_end_take_no_more_than_the_places_there_are() {
    const COUNT: u128 = 300;
    let mut pair = Pair::start(&[]);
    let address = pair.attacked().address();
    let before = pair.attacked().node().resident_bytes();
    let mut members: Vec<_> = (0..COUNT)
        .map(|n| {
            let mut member = Member::connect(address, NOBODY + n);
            member.say(&member.hello("peer"));
            member
        })
        .collect();
    let is_in = |member: &mut Member| {
        member
            .raw
            .try_send(Frame::ping("in").masked().encode())
            .is_ok()
            && std::iter::from_fn(|| member.raw.try_read_frame().ok())
                .find(|frame| *frame == Frame::pong("in") || frame.opcode == Frame::CLOSE)
                .is_some_and(|frame| frame.opcode != Frame::CLOSE)
    };
    let count = members.iter_mut().map(is_in).filter(|is_in| *is_in).count();
    println!("{count} of {COUNT} are in");
    // 12 places for anybody, and 32 for those who cannot be dialed.
    assert!((1..=44).contains(&count), "{count}");
    let after = pair.attacked().node().resident_bytes();
    assert!(after < before + GROWTH_BYTES_MAX, "{before} {after}");
    pair.assert_unharmed();
}

#[test]
fn floods_of_control_frames_cost_little() {
    let mut pair = Pair::start(&[]);
    let mut member = Member::join(pair.attacked().address(), NOBODY, "peer");
    let before = pair.attacked().node().resident_bytes();
    let begun = Instant::now();
    let greatest: u64 = (1 << 53) - 1;
    let root = format!("{NOBODY:032x}");
    for number in 0..5000 {
        let urls: Vec<_> = (0..8)
            .map(|host| format!("ws://10.{number}.0.{host}/"))
            .collect();
        member.say(&json!({"type": "shuffle", "id": number, "ttl": 255, "urls": urls}));
        member.say(&json!({"type": "shuffled", "id": number, "urls": urls}));
        member.say(&json!({"type": "redirect", "urls": urls}));
        member.say(&json!({"type": "reached", "url": urls[0], "ok": number % 2 == 0}));
        let term = if number % 2 == 0 { greatest } else { number };
        member.say(
            &json!({"type": "beacon", "term": term, "distance": 0, "root": root, "sequence": number, "hop": 0}),
        );
        if number % 1000 == 0 {
            pair.assert_delivers();
        }
    }
    let heard = member.raw.sync();
    // 64 at once and 8 a second are looked at.
    let most = 64 + 8 * (begun.elapsed().as_secs() as usize + 1);
    let answers = heard.iter().filter(|frame| frame.opcode == Frame::TEXT);
    let answers = answers.filter(|frame| frame.payload_text().contains("\"shuffled\""));
    let answers = answers.count();
    assert!(answers <= most, "{answers} answers, {most} at most");
    let after = pair.attacked().node().resident_bytes();
    println!(
        "25,000 control frames: {} KiB",
        after.saturating_sub(before) >> 10
    );
    assert!(after < before + GROWTH_BYTES_MAX, "{before} {after}");
    pair.assert_unharmed();
    // Whom it has made the root of the tree is gone.
    drop(member);
    pair.assert_unharmed();
}

#[test]
fn messages_that_are_made_up_end_where_they_are_known() {
    const COUNT: u32 = 10_000;
    let mut pair = Pair::start(&[]);
    let mut member = Member::join(pair.attacked().address(), NOBODY, "peer");
    let before = pair.attacked().node().resident_bytes();
    // The same one again and again, then one of each of many origins that there are not.
    for _ in 0..COUNT {
        let frame = member.message(1, "again");
        member.raw.send_frame(frame);
    }
    for _ in 0..COUNT {
        member.id += 1;
        let frame = member.message(u32::MAX, "made up");
        member.raw.send_frame(frame);
    }
    member.raw.sync();
    for peer in &mut pair.peers {
        assert_eq!(peer.read_frame(), Frame::text("again"));
        for _ in 0..COUNT {
            assert_eq!(peer.read_frame(), Frame::text("made up"));
        }
    }
    let after = pair.attacked().node().resident_bytes();
    println!(
        "{COUNT} origins: {} KiB",
        after.saturating_sub(before) >> 10
    );
    assert!(after < before + GROWTH_BYTES_MAX, "{before} {after}");
    pair.assert_unharmed();
}

#[test]
fn a_member_that_never_reads_is_closed_and_the_others_hear_all() {
    const COUNT: usize = 600;
    let options = [
        "--close-timeout",
        "1m",
        "--max-message",
        "16KiB",
        "--outbox",
        "256KiB",
        "--max-publish-rate",
        "off",
        "--max-publish-bytes",
        "off",
    ];
    let mut pair = Pair::start(&options);
    let address = pair.attacked().address();
    let narrow = Raw::connect_by(address, |socket| {
        socket.set_recv_buffer_size(64 << 10).expect("SO_RCVBUF");
    });
    let mut member = Member::over(narrow, address, NOBODY);
    member.say(&member.hello("peer"));
    member.hear("hello");
    let payload = letters(16 << 10);
    let [speaker, hearer] = &mut pair.peers;
    for number in 0..COUNT {
        let mut bytes = payload.clone().into_bytes();
        bytes[..4].copy_from_slice(&(number as u32).to_be_bytes());
        speaker.send_frame(Frame::binary(bytes.clone()));
        assert!(
            hearer.read_frame() == Frame::binary(bytes),
            "message {number}"
        );
    }
    pair.assert_unharmed();
    // It hears so when it reads at last, and has missed nothing before that.
    let (before, close) = member.raw.read_to_close();
    assert_eq!(close.close_code(), Some(1013), "{close:?}");
    let messages = before
        .iter()
        .filter(|frame| frame.payload.first() == Some(&MESSAGE));
    let numbers =
        messages.map(|frame| u32::from_be_bytes(frame.payload[25..29].try_into().unwrap()));
    let numbers: Vec<_> = numbers.collect();
    println!("{} of {COUNT} messages before it was closed", numbers.len());
    assert!(numbers.len() < COUNT && numbers.iter().copied().eq(0..numbers.len() as u32));
    member.raw.finish_close(&close);
    drop(member);
    let line = pair.attacked().node().stderr.wait_for("reads too slowly");
    assert!(line.contains("neighbor "), "{line}");
}
