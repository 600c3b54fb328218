//! Servers that are right, wrong, slow, not there or gone, and what they are asked.

use std::fs;

use serde_json::Value;

use super::{bench, node, report, text, under_way};
use crate::support::raw::{answer, header};
use crate::support::{Frame, Node, Program, Raw, RawListener, Scratch};

/// A server that the test drives: what the first connection sends goes to the others, one frame at a time.
struct BadRelay {
    peers: Vec<Raw>,
    /// The bench, which reports at its end.
    program: Program,
}

impl BadRelay {
    /// Takes the connections of a bench, in their order.
    fn start(connections: usize, options: &[&str]) -> Self {
        let listener = RawListener::bind();
        let url = listener.url("/");
        let count = connections.to_string();
        let fixed = [
            "bench",
            &url,
            "-n",
            &count,
            "--in-flight",
            "1",
            "--warm-up",
            "off",
        ];
        let command = Node::command(fixed.iter().chain(options));
        let program = Program::start("wsmesh bench", command);
        let peers = (0..connections)
            .map(|_| listener.accept_upgraded().0)
            .collect();
        Self { peers, program }
    }

    /// Passes on a message of the first; `change` makes of it what each of the others gets.
    fn relay(&mut self, change: impl Fn(usize, Frame) -> Vec<Frame>) {
        let message = self.peers[0].read_frame();
        let (_, others) = self.peers.split_first_mut().unwrap();
        for (index, peer) in others.iter_mut().enumerate() {
            let message = Frame::new(message.opcode, message.payload.clone());
            peer.send_frames(change(index, message));
        }
    }

    /// Answers the Closes, and returns the exit status, the report and what was said.
    fn finish(mut self) -> (i32, String, String) {
        for peer in &mut self.peers {
            let (_, close) = peer.read_to_close();
            assert_eq!(close.payload[..2], 1000u16.to_be_bytes());
            peer.finish_close(&close);
        }
        let status = self.program.wait_exit().code().unwrap();
        let report = self.program.stdout.wait_end().join("\n");
        (status, report, self.program.stderr.all().join("\n"))
    }
}

#[test]
fn what_a_relay_does_wrong_is_counted_and_can_fail_a_check() {
    let options = [
        "--messages",
        "4",
        "--patience",
        "300ms",
        "--json",
        "--max-lost",
        "0",
    ];
    let mut relay = BadRelay::start(3, &options);
    relay.relay(|_, message| vec![message]);
    relay.relay(|_, message| vec![message.clone(), message]);
    // One receiver gets nothing, the other something else than was sent.
    relay.relay(|index, mut message| match index {
        0 => vec![],
        _ => {
            *message.payload.last_mut().unwrap() ^= 1;
            vec![message]
        }
    });
    relay.relay(|_, message| vec![Frame::text("from somebody else"), message]);
    let (status, report, said) = relay.finish();
    let report: Value = serde_json::from_str(&report).unwrap();
    let measure = &report["measure"];
    for (name, count) in [
        ("messages", 4),
        ("everywhere", 3),
        ("deliveries", 6),
        ("lost", 2),
        ("duplicated", 2),
        ("corrupted", 1),
    ] {
        assert_eq!(measure[name], count, "{name} of {measure}");
    }
    assert!(measure["foreign"].as_u64().unwrap() >= 1);
    // 3: on a busy machine nothing can be said.
    assert!(
        status == 1 && said.contains("3 deliveries lost or damaged, 0 at most") || status == 3,
        "{said}"
    );
}

#[test]
fn a_server_that_is_not_there_or_refuses_is_a_failure_with_its_reason() {
    let free = RawListener::bind().address();
    let output = bench(&[&format!("ws://{free}"), "-n", "3"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("no connection could be opened: 3 × ") && said.contains("refused"),
        "{said}"
    );
    let report = text(&output.stdout);
    assert!(
        report.contains("connected   none\n            3 failed: ") && report.contains("refused"),
        "{report}"
    );
    assert!(!report.contains("measured"), "{report}");

    let (_node, url) = node(&["--max-connections", "5"]);
    let output = bench(&[
        &url,
        "-n",
        "8",
        "--messages",
        "2",
        "--in-flight",
        "1",
        "--max-failed",
        "2",
    ]);
    assert_ne!(output.status.code(), Some(0));
    let report = text(&output.stdout);
    assert!(
        report.contains("3 failed: ") && report.contains("answered 503"),
        "{report}"
    );
    assert!(
        report.contains("2 messages, 2 of them heard by all"),
        "{report}"
    );
}

#[test]
fn with_several_servers_it_is_told_which_has_failed() {
    let free = RawListener::bind().url("/gone");
    let (_node, url) = node(&[]);
    let output = bench(&[&free, &url, "-n", "4", "--messages", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("2 × {free}: ")), "{said}");
}

#[test]
fn a_name_is_taken_at_an_address_that_answers() {
    // Where `localhost` is ::1 first, nobody is there.
    let (node, _) = node(&[]);
    let url = format!("ws://localhost:{}/", node.address().port());
    let report = report(&[&url, "-n", "3", "--messages", "3", "--warm-up", "off"]);
    assert_eq!(report["connect"]["opened"], 3);
    assert_eq!(report["plan"]["urls"][0], url.as_str());
}

#[test]
fn a_server_that_dies_is_told_with_what_there_was() {
    let (mut node, url) = node(&[]);
    let mut bench = under_way(&node, &url);
    node.kill();
    assert_eq!(bench.wait_exit().code(), Some(1));
    let report = bench.stdout.wait_end().join("\n");
    // The kernel closes one connection after the other: who is missed first is chance.
    let last = report.lines().find_map(|line| {
        let rest = line.strip_prefix("Ended early: no connection that ")?;
        rest.strip_suffix(" is left.")
    });
    assert!(matches!(last, Some("sends" | "hears")), "{report}");
    assert!(report.contains("lost later"), "{report}");
}

#[test]
fn ctrl_c_ends_it_with_the_report_so_far() {
    let (node, url) = node(&[]);
    let mut bench = under_way(&node, &url);
    bench.signal("INT");
    assert!(bench.wait_exit().success());
    let report = bench.stdout.wait_end().join("\n");
    assert!(report.contains("Ended early: interrupted"), "{report}");
    assert!(
        report.contains("0 lost, 0 twice, 0 out of order, 0 damaged"),
        "{report}"
    );
    node.stderr
        .wait_for_count(10, "closed by peer with code 1000 (the load test is over)");
}

#[test]
fn a_request_carries_what_it_was_told() {
    let scratch = Scratch::new("bench-request");
    let token = scratch.join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let listener = RawListener::bind();
    let (url, token) = (listener.url("/room?x"), token.display().to_string());
    let mut options = vec![
        "bench",
        &url,
        "-n",
        "2",
        "--messages",
        "1",
        "--warm-up",
        "off",
    ];
    options.extend(["--header", "X-Room: blue", "--subprotocol", "mqtt,wamp"]);
    options.extend([
        "--token-file",
        &token,
        "--source",
        "127.0.0.2,127.0.0.3",
        "--in-flight",
        "1",
    ]);
    let mut bench = Program::start("wsmesh bench", Node::command(options));
    let mut peers = Vec::new();
    for source in ["127.0.0.2", "127.0.0.3"] {
        let mut peer = listener.accept();
        assert_eq!(peer.stream().peer_addr().unwrap().ip().to_string(), source);
        let head = peer.read_head();
        assert!(head.starts_with("GET /room?x HTTP/1.1\r\n"), "{head}");
        for (name, value) in [
            ("x-room", "blue"),
            ("authorization", "Bearer s3cret"),
            ("sec-websocket-protocol", "mqtt, wamp"),
        ] {
            assert_eq!(header(&head, name).as_deref(), Some(value), "{head}");
        }
        assert_eq!(header(&head, "wsmesh-node"), None);
        let chosen = "\r\nSec-WebSocket-Protocol: wamp\r\nUpgrade:";
        peer.send(answer(&head).replacen("\r\nUpgrade:", chosen, 1));
        peers.push(peer);
    }
    let message = peers[0].read_frame();
    peers[1].send_frame(Frame::new(message.opcode, message.payload));
    for peer in &mut peers {
        let (_, close) = peer.read_to_close();
        peer.finish_close(&close);
    }
    assert!(bench.wait_exit().success());
    let report = bench.stdout.wait_end().join("\n");
    assert!(
        report.contains("1 messages, 1 of them heard by all"),
        "{report}"
    );
    assert!(!report.contains("s3cret"));
}
