//! `wsmesh bench`: what it says of servers that are right, wrong, slow or not there.

mod modes;
mod progress;
mod refusals;
mod report;
mod servers;

use std::process::Output;

use serde_json::Value;

use crate::support::{Node, Program, eventually};

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
