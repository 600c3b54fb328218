//! How far a load test has come, for people at a terminal.

use std::process::Stdio;

use super::node;
use crate::support::{Node, Program, tools};

#[test]
fn a_terminal_shows_how_far_it_is_and_then_the_report_alone() {
    let Some(mut command) = tools::of_system("script") else {
        return;
    };
    let (_node, url) = node(&[]);
    let program = Node::command([""; 0]);
    let program = program.get_program().to_str().unwrap().to_owned();
    // A terminal of a usual width, in which the load test runs for a while.
    let line = format!(
        "stty cols 120; exec {program} bench {url} -n 20 --rate 200 --warm-up 500ms --duration 1500ms"
    );
    command
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    let mut terminal =
        Program::start_with_streams("script", command, Stdio::piped(), Stdio::null());
    assert!(terminal.wait_exit().success());
    let text = terminal.stdout.wait_end().join("\n");
    // Each picture of the line stands in the place of the one before.
    let pictures: Vec<&str> = text.split('\r').collect();
    let of_phase = |phase: &str| {
        pictures
            .iter()
            .filter(|picture| picture.contains(phase))
            .count()
    };
    assert!(
        of_phase("warming up") > 1 && of_phase("measuring") > 3,
        "{text:?}"
    );
    let is_whole = |picture: &&&str| {
        ["measuring", "20 connections", "/s, p99 ", " ms", " s left"]
            .iter()
            .all(|part| picture.contains(part))
    };
    assert!(
        pictures.iter().any(|picture| is_whole(&picture)),
        "{text:?}"
    );
    // It is gone when the report comes.
    let report = text.rsplit_once("\u{1b}[2K").unwrap().1;
    assert!(
        report.contains("p99") && !report.contains("s left"),
        "{report:?}"
    );
}

#[test]
fn nobody_but_a_terminal_is_shown_how_far_it_is() {
    let (_node, url) = node(&[]);
    let output = super::bench(&[&url, "-n", "5", "--messages", "20", "--warm-up", "off"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
