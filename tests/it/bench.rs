//! `wsmesh bench`: what it says of servers that are right, wrong, slow or not there.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::support::raw::{answer, header};
use crate::support::{Frame, Node, Program, Raw, RawListener, Scratch, eventually, tools};

fn bench(options: &[&str]) -> Output {
    let options = ["bench"].iter().chain(options);
    Node::command(options).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A report of a load test that must succeed.
#[track_caller]
fn report(options: &[&str]) -> Value {
    let output = bench(&[&["--json"], options].concat());
    let said = text(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{options:?}: {said}"
    );
    let report = text(&output.stdout);
    assert_eq!(report.lines().count(), 1);
    serde_json::from_str(&report).unwrap()
}

/// A node that takes any load.
fn node(options: &[&str]) -> (Node, String) {
    let any_load = ["--interval", "off", "--max-publish-rate", "off"];
    let node = Node::listening(any_load.iter().chain(options));
    let url = format!("ws://{}/load", node.address());
    (node, url)
}

/// A load test of a node that has begun and would take an hour.
fn under_way(node: &Node, url: &str) -> Program {
    let options = ["-n", "10", "--duration", "1h", "--warm-up", "off"];
    let command = Node::command(["bench", url].iter().chain(&options));
    let bench = Program::start("wsmesh bench", command);
    eventually("messages go round", || node.stdout.count("wsb1") > 10);
    bench
}

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
fn a_node_relays_everything_to_everyone() {
    let (node, url) = node(&[]);
    let pid = node.id().to_string();
    let options = [
        "-n",
        "20",
        "--publishers",
        "3",
        "--messages",
        "60",
        "--pid",
        &pid,
    ];
    let report = report(&[&[url.as_str()], &options[..]].concat());
    let (connect, measure) = (&report["connect"], &report["measure"]);
    assert_eq!(
        (&report["version"], &report["outcome"]),
        (&1.into(), &"done".into())
    );
    assert_eq!(
        (&connect["opened"], &connect["failed"]),
        (&20.into(), &0.into())
    );
    for (name, count) in [
        ("messages", 60),
        ("everywhere", 60),
        ("deliveries", 60 * 19),
        ("lost", 0),
        ("duplicated", 0),
        ("reordered", 0),
        ("corrupted", 0),
        ("foreign", 0),
        ("unasked", 0),
    ] {
        assert_eq!(measure[name], count, "{name}");
    }
    let time = |name: &str, quantile: &str| measure[name][quantile].as_f64().unwrap();
    for quantile in ["p50", "max"] {
        let first = time("first_us", quantile);
        let median = time("median_us", quantile);
        let last = time("last_us", quantile);
        assert!(0.0 < first && first <= median && median <= last, "{report}");
    }
    let bars = measure["delivery_histogram"].as_array().unwrap().iter();
    let all: u64 = bars.map(|bar| bar["count"].as_u64().unwrap()).sum();
    assert_eq!(all, 60 * 19);
    assert!(report["server"]["memory_connected_bytes"].as_u64().unwrap() > 0);
    assert!(report["generator"]["cpu_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_fields_of_a_report_are_those_of_version_1() {
    let (node, url) = node(&[]);
    let pid = node.id().to_string();
    let report = report(&[&url, "-n", "3", "--messages", "3", "--pid", &pid]);
    let mut fields = String::new();
    for (name, value) in report.as_object().unwrap() {
        let names: Vec<_> = value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        fields.push_str(&format!("{name} {}\n", names.join(" ")));
    }
    let expected = include_str!("bench_fields.txt");
    assert_eq!(fields, expected, "fields may be added here, not changed");
}

#[test]
fn connections_are_spread_over_the_nodes_of_a_mesh() {
    let (a, first) = node(&[]);
    let peers = format!("ws://{}", a.address());
    let (b, second) = node(&["--peers", &peers, "-v"]);
    b.stderr.wait_for(" connected");
    let report = report(&[
        &first,
        &second,
        "-n",
        "30",
        "--publishers",
        "2",
        "--messages",
        "40",
        "--burst",
        "5",
    ]);
    assert_eq!(report["measure"]["deliveries"], 40 * 29);
    assert_eq!(report["measure"]["everywhere"], 40);
    assert_eq!(report["measure"]["duplicated"], 0);
    assert_eq!(report["plan"]["urls"].as_array().unwrap().len(), 2);
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

#[test]
fn other_machines_are_left_alone_without_consent() {
    let output = bench(&["ws://192.0.2.1:80", "ws://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("192.0.2.1") && said.contains("--i-own-this-server"),
        "{said}"
    );
}

#[test]
fn what_was_typed_wrong_is_told() {
    let url = "ws://127.0.0.1:1";
    for (options, parts) in [
        (&[] as &[&str], &["URL"] as &[&str]),
        (
            &["localhost:80"],
            &["URL: `localhost:80`", "ws://localhost:80"],
        ),
        (&[url, "-n", "0"], &["--connections 0", "from 1"]),
        (
            &[url, "-n", "1"],
            &["--connections 1", "raise --connections"],
        ),
        (
            &[url, "-n", "1048576"],
            &["--connections 1048576", "ulimit -n"],
        ),
        (&[url, "--size", "10"], &["--size 10B", "from 56B"]),
        (
            &[url, "--mode", "chat"],
            &["--mode: `chat`", "publish, listen, echo or idle"],
        ),
        (
            &[url, "--source", "here"],
            &["--source: `here`", "127.0.0.2"],
        ),
        (&[url, "--header", "X"], &["--header: `X`", "X-Room: blue"]),
        (
            &[url, "--token-file", "/nowhere"],
            &["--token-file /nowhere"],
        ),
        (&[url, "--pid", "4194305"], &["--pid 4194305"]),
        (&[url, "--json", "--csv"], &["--json", "--csv"]),
        (
            &["ws://no.such.invalid"],
            &["ws://no.such.invalid", "does not resolve"],
        ),
        (&["--compare", "/a", "/b"], &["--compare /a"]),
    ] {
        let output = bench(options);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{options:?}: {said}");
        }
    }
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
fn a_name_is_taken_at_an_address_that_answers() {
    // Where `localhost` is ::1 first, nobody is there.
    let (node, _) = node(&[]);
    let url = format!("ws://localhost:{}/", node.address().port());
    let report = report(&[&url, "-n", "3", "--messages", "3", "--warm-up", "off"]);
    assert_eq!(report["connect"]["opened"], 3);
    assert_eq!(report["plan"]["urls"][0], url.as_str());
}

#[test]
fn what_could_not_be_measured_is_null() {
    let free = RawListener::bind().address();
    let output = bench(&[&format!("ws://{free}"), "-n", "3", "--json"]);
    let unconnected: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(unconnected["connect"]["failed"], 3);
    assert_eq!(unconnected["server"], Value::Null);

    let (_node, url) = node(&["--relay", "off"]);
    let options = ["--duration", "200ms", "--patience", "100ms"];
    let unheard = report(&[&[&url, "-n", "3", "--warm-up", "off"], &options[..]].concat());
    assert!(unheard["connect"]["per_second"].is_number(), "{unheard}");
    assert_eq!(unheard["measure"]["deliveries"], 0);
    assert_eq!(unheard["measure"]["deliveries_per_second"], 0.0);
    for report in [&unconnected, &unheard] {
        for name in ["delivery_us", "first_us", "last_us"] {
            assert_eq!(report["measure"][name], Value::Null, "{name} of {report}");
        }
    }
    for name in ["per_second", "handshake_us"] {
        assert_eq!(unconnected["connect"][name], Value::Null, "{name}");
    }
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
fn every_mode_does_what_it_says() {
    let (_echo, url) = node(&["--echo", "--relay", "off"]);
    let report_of = |options: &[&str]| {
        report(&[options, &["--duration", "300ms", "--warm-up", "off"]].concat())
    };
    let echo = report_of(&[
        &url, "-n", "5", "--mode", "echo", "--rate", "500", "--binary", "--size", "1KiB",
    ]);
    let measure = &echo["measure"];
    let messages = measure["messages"].as_u64().unwrap();
    assert!(messages.abs_diff(150) <= 1, "{measure}");
    assert_eq!(measure["everywhere"], messages);
    assert_eq!(
        (&measure["unasked"], &measure["lost"]),
        (&0.into(), &0.into())
    );

    let idle = report_of(&[&url, "-n", "5", "--mode", "idle"]);
    assert_eq!(
        (&idle["connect"]["opened"], &idle["measure"]["deliveries"]),
        (&5.into(), &0.into())
    );
    assert!(idle["measure"]["seconds"].as_f64().unwrap() >= 0.3);

    let speaking = Node::listening(["--interval", "20ms"]);
    let url = format!("ws://{}", speaking.address());
    let listen = report_of(&[&url, "-n", "5", "--mode", "listen"]);
    let (heard, foreign) = (
        &listen["measure"]["deliveries"],
        &listen["measure"]["foreign"],
    );
    assert!(heard.as_u64().unwrap() >= 5 && heard == foreign, "{listen}");
}

#[test]
fn one_who_listens_hears_another_load_test() {
    let (node, url) = node(&["-v"]);
    let listening = [
        "bench",
        &url,
        "-n",
        "5",
        "--mode",
        "listen",
        "--duration",
        "1h",
        "--warm-up",
        "off",
        "--json",
    ];
    let mut listener = Program::start("wsmesh bench", Node::command(listening));
    node.stderr.wait_for_count(5, " connected");
    let sent = report(&[&url, "-n", "2", "--messages", "50", "--warm-up", "off"]);
    listener.signal("INT");
    assert!(listener.wait_exit().success());
    let heard: Value = serde_json::from_str(&listener.stdout.wait_end().join("\n")).unwrap();
    // Those who listen are not among those whom the other waits for.
    let heard = &heard["measure"];
    let deliveries = heard["deliveries"].as_u64().unwrap();
    assert!(deliveries > 200 && deliveries <= 250, "{heard} of {sent}");
    assert_eq!(
        (&heard["lost"], &heard["duplicated"], &heard["foreign"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert!(heard["delivery_us"]["p50"].as_f64().unwrap() < 1e6);
}

#[test]
fn two_reports_are_compared() {
    let (_node, url) = node(&[]);
    let scratch = Scratch::new("bench-compare");
    let path = |name: &str| scratch.join(name).display().to_string();
    for (name, connections) in [("a.json", "4"), ("b.json", "8")] {
        let output = bench(&[
            &url,
            "-n",
            connections,
            "--messages",
            "10",
            "--warm-up",
            "off",
            "--json",
        ]);
        fs::write(path(name), output.stdout).unwrap();
    }
    let output = bench(&["--compare", &path("a.json"), &path("b.json")]);
    assert!(output.status.success());
    let table = text(&output.stdout);
    let row = |name: &str| {
        let row = table.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("no {name} in {table}"));
        row[name.len()..]
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(row("connections "), ["4", "8", "2.000"]);
    assert_eq!(row("deliveries "), ["30", "70", "2.333"]);
    assert_eq!(row("lost "), ["0", "0", "–"]);

    fs::write(path("c.json"), "{\"version\": 99}").unwrap();
    let output = bench(&["--compare", &path("a.json"), &path("c.json")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("version 99"));
}

#[test]
fn the_course_of_a_measurement_is_a_table() {
    let (_node, url) = node(&[]);
    let output = bench(&[
        &url,
        "-n",
        "4",
        "--rate",
        "200",
        "--duration",
        "500ms",
        "--csv",
    ]);
    assert!(output.status.success());
    let csv = text(&output.stdout);
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some("seconds,deliveries,everywhere,last_mean_us,last_max_us")
    );
    let rows: Vec<Vec<f64>> = lines
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
        .collect();
    let deliveries: f64 = rows.iter().map(|row| row[1]).sum();
    assert!((297.0..=303.0).contains(&deliveries), "{csv}");
    assert!(
        rows.iter().all(|row| row.len() == 5 && row[3] <= row[4]),
        "{csv}"
    );
}

#[test]
fn the_page_is_drawn_by_a_browser() {
    let Some(mut browser) = tools::chromium() else {
        return;
    };
    let (_node, url) = node(&[]);
    let scratch = Scratch::new("bench-page");
    let page = scratch.join("report.html");
    let output = bench(&[
        &format!("{url}?<x>"),
        "-n",
        "5",
        "--messages",
        "50",
        "--html",
        &page.display().to_string(),
    ]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a URL has no such characters"
    );
    let output = bench(&[
        &url,
        "-n",
        "5",
        "--messages",
        "50",
        "--html",
        &page.display().to_string(),
    ]);
    assert!(output.status.success());
    let source = fs::read_to_string(&page).unwrap();
    for foreign in ["http://", "https://", "src=", "<script", "<link", "url("] {
        assert!(!source.contains(foreign), "{foreign}");
    }
    let picture = scratch.join("report.png");
    browser.arg(format!(
        "--user-data-dir={}",
        scratch.join("profile").display()
    ));
    browser.arg("--window-size=900,1800");
    browser.arg(format!("--screenshot={}", picture.display()));
    browser.arg("--dump-dom");
    browser.arg(format!("file://{}", page.display()));
    let mut browser = Program::start("chromium", browser);
    assert!(browser.wait_exit().success());
    let dom = browser.stdout.wait_end().join("\n");
    for figure in ["latency", "last", "ramp"] {
        let figure = dom
            .split(&format!("<figure id=\"{figure}\">"))
            .nth(1)
            .expect(figure);
        let figure = figure.split("</figure>").next().unwrap();
        assert!(
            figure.contains("<svg") && figure.contains("</text>"),
            "{figure}"
        );
    }
    assert!(dom.contains("to the last") && !dom.contains("NaN"));
}
