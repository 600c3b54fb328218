//! Log lines: their forms, what of them is wanted, and how many there are at most.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use wsmesh::config::limits::LOG_REPEATS_MAX;

use crate::support::{Lines, Node, Program, Raw, eventually_some_within};

const QUIET: [&str; 4] = ["--bind", "127.0.0.1:0", "--interval", "off"];

/// How many lines like this one were left out, as the log says.
fn left_out(lines: &Lines, like: &str) -> usize {
    let all = lines.all();
    let sums = all.iter().filter_map(|line| {
        let (_, sum) = line.split_once("] … ")?;
        let (count, example) = sum.split_once(" more in the last minute like: ")?;
        example
            .contains(like)
            .then(|| count.parse::<usize>().unwrap())
    });
    sums.sum()
}

#[test]
fn in_json_each_line_is_an_object() {
    let mut node = Node::with([&QUIET[..], &["--log-format", "json"]].concat());
    node.stderr.wait_for("listening on ");
    let address = SocketAddr::from(([127, 0, 0, 1], node.wait_listening_port()));
    let mut peer = Raw::upgraded(address, "/%22quoted%22");
    peer.sync();
    drop(peer);
    node.wait_closed(1);
    node.stop();
    let objects: Vec<Value> = node
        .stderr
        .wait_end()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    for object in &objects {
        let fields: Vec<&String> = object.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["level", "message", "target", "time"], "{object}");
        let time = object["time"].as_str().unwrap();
        let time: jiff::Timestamp = time.parse().unwrap();
        let age = jiff::Timestamp::now().duration_since(time);
        assert!((0..60).contains(&age.as_secs()), "{object}");
    }
    let said = |level: &str, target: &str, message: &str| {
        let mut objects = objects.iter();
        objects.any(|object| {
            let text = object["message"].as_str().unwrap();
            object["level"] == level && object["target"] == target && text.starts_with(message)
        })
    };
    assert!(said(
        "info",
        "wsmesh::node",
        &format!("listening on {address}")
    ));
    assert!(said("info", "wsmesh::node::relay", "peer 127.0.0.1:"));
    assert!(said("info", "wsmesh::node::stopping", "stopping"));
}

#[test]
fn in_json_the_last_words_are_an_object_too() {
    let options = ["--bind", "192.0.2.1:0", "--log-format", "json", "-qqq"];
    let output = Node::command(options).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let object: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&object["level"], &object["target"]),
        (&"error".into(), &"wsmesh".into())
    );
    let message = object["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot listen on 192.0.2.1:0"),
        "{message}"
    );
}

#[test]
fn a_crowd_of_strangers_has_some_lines_and_a_sum() {
    const CROWD: usize = 300;
    let mut node = Node::listening(["--interval", "off"]);
    for _ in 0..CROWD {
        let mut stranger = Raw::upgraded(node.address(), "/");
        stranger.sync();
    }
    // What others have to say has lines of its own.
    let mut neighbor = Node::listening(["--interval", "off", "--peers", &node.url("/")]);
    node.stderr.wait_for("neighbor 127.0.0.1:");
    neighbor.stop();
    node.stop();
    let lines = node.stderr.wait_end();
    for what in [" connected", " closed: "] {
        let is_of_stranger = |line: &&String| line.contains("] peer ") && line.contains(what);
        let told = lines.iter().filter(is_of_stranger).count();
        // A minute may have ended in between.
        assert!(
            (LOG_REPEATS_MAX..=2 * LOG_REPEATS_MAX).contains(&told),
            "{told}"
        );
        assert_eq!(told + left_out(&node.stderr, what), CROWD, "{what}");
    }
    assert!(node.stderr.contain("joined the mesh") && node.stderr.contain("no neighbor left"));
}

#[test]
fn who_wants_all_lines_gets_them() {
    const CROWD: usize = 2 * LOG_REPEATS_MAX + 1;
    let mut node = Node::listening(["--interval", "off", "--log-repeats", "off"]);
    for _ in 0..CROWD {
        let mut stranger = Raw::upgraded(node.address(), "/");
        stranger.sync();
    }
    node.wait_closed(CROWD);
    node.wait_connected(CROWD);
    node.stop();
    assert!(!node.stderr.contain(" more in the last minute"));
}

#[test]
fn a_sum_is_told_when_the_minute_is_over_though_nothing_else_happens() {
    let options = [
        "--interval",
        "off",
        "--ping-interval",
        "off",
        "--log-repeats",
        "1",
    ];
    let node = Node::listening(options);
    let mut strangers: Vec<Raw> = (0..4).map(|_| Raw::upgraded(node.address(), "/")).collect();
    for stranger in &mut strangers {
        stranger.sync();
    }
    let before = node.status_field("voluntary_ctxt_switches");
    let sum = eventually_some_within(Duration::from_secs(90), "a sum", || {
        let lines = node.stderr.all();
        lines
            .into_iter()
            .find(|line| line.contains(" more in the last minute like: peer 127.0.0.1:"))
    });
    assert!(sum.contains(" INFO  wsmesh] … "), "{sum}");
    assert_eq!(
        node.stderr.count("] peer ") + left_out(&node.stderr, " connected"),
        4
    );
    // It is not the loop that waits for that.
    let after = node.status_field("voluntary_ctxt_switches");
    assert!(after - before <= 1, "it woke up {} times", after - before);
}

#[test]
fn levels_are_chosen_by_target() {
    let mut command = Node::command(QUIET);
    command.env("RUST_LOG", "warn,wsmesh::net=debug");
    let mut node = Program::start("wsmesh", command);
    let address = SocketAddr::from(([127, 0, 0, 1], node.wait_listening_port()));
    let mut peer = Raw::upgraded(address, "/");
    peer.sync();
    let mut stranger = Raw::connect(address);
    stranger.send("GET / HTTP/1.1\r\n\r\n");
    stranger.read_to_end();
    node.stderr.wait_for(" DEBUG wsmesh] no upgrade with ");
    drop(peer);
    node.signal("TERM");
    assert_eq!(node.wait_exit().code(), Some(0));
    assert!(!node.stderr.contain(" INFO "), "that is of wsmesh::node");
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    for (options, variables, expected) in [
        (
            &["--log-format", "xml"][..],
            &[][..],
            "--log-format: `xml` is no format of the log; expected text or json",
        ),
        (
            &["--log-repeats", "some"],
            &[],
            "--log-repeats: `some` is not a whole number",
        ),
        (
            &["--log-repeats", "0"],
            &[],
            "--log-repeats 0: nothing would be logged",
        ),
        (
            &[],
            &[("RUST_LOG", "debgu")],
            "RUST_LOG: `debgu` is no level; expected off, error, warn, info, debug or trace",
        ),
        (
            &[],
            &[("RUST_LOG", "warn,wsmesh=loud")],
            "RUST_LOG: error parsing logger filter: invalid logging spec 'loud'",
        ),
    ] {
        let mut command = Node::command([&QUIET[..], options].concat());
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
