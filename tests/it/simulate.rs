//! `wsmesh simulate`, as people and programs start it.

use std::process::{Output, Stdio};

use crate::support::Node;

const SMALL: [&str; 7] = [
    "simulate",
    "--nodes",
    "30",
    "--settle",
    "5s",
    "--duration",
    "2s",
];

fn simulate(options: &[&str]) -> Output {
    let options = SMALL.iter().chain(options);
    Node::command(options).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_same_options_give_the_same_report() {
    let report = |options: &[&str]| {
        let output = simulate(options);
        assert!(output.status.success());
        assert_eq!(text(output.stderr), "", "no progress but for people");
        let report = text(output.stdout);
        assert_eq!(report.lines().count(), 1);
        serde_json::from_str::<serde_json::Value>(&report).unwrap()
    };
    let first = report(&["--json", "--crash", "30%"]);
    assert_eq!(first, report(&["--json", "--crash", "30%"]));
    assert_ne!(first["trace"], report(&["--json", "--seed", "2"])["trace"]);
    assert_eq!(first["scenario"]["crash"], "30%");
    let phases = first["phases"].as_array().unwrap();
    let names: Vec<_> = phases
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let expected = ["join", "settle", "idle", "steady", "crash", "recovery"];
    assert_eq!(names, expected);
    assert_eq!(phases[3]["delivered"], 1.0);
}

#[test]
fn a_report_for_people_names_every_phase() {
    let output = simulate(&["--churn", "10%/min"]);
    let report = text(output.stdout);
    for word in [
        "30 nodes",
        "join",
        "steady",
        "churn",
        "delivered",
        "eigenvalue",
    ] {
        assert!(report.contains(word), "{word}: {report}");
    }
}

#[test]
fn wrong_options_end_with_status_2_and_say_which() {
    for (options, parts) in [
        (["--crash", "96%"], ["--crash 96%", "at most 95%"]),
        (["--hostile", "16"], ["--hostile 16", "--nodes 30"]),
        (["--seed", "x"], ["--seed: `x`", "--help"]),
    ] {
        let output = simulate(&options);
        assert_eq!(output.status.code(), Some(2));
        let error = text(output.stderr);
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn who_stops_reading_is_no_error() {
    let mut command = Node::command(SMALL);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(output.stderr), "");
}
