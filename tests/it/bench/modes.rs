//! What the connections do: publish, listen, echo, be held.

use serde_json::Value;

use super::{node, report};
use crate::support::{Node, Program};

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
