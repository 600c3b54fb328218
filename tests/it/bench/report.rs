//! What is told: as text, JSON, CSV and a page, and two beside each other.

use std::fs;

use serde_json::Value;

use super::{bench, node, report, text};
use crate::support::{Program, RawListener, Scratch, tools};

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
    let expected = include_str!("fields.txt");
    assert_eq!(fields, expected, "fields may be added here, not changed");
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
fn a_page_of_before_stays_until_there_is_another() {
    let scratch = Scratch::new("bench-page-before");
    let (old, new) = (scratch.join("old.html"), scratch.join("new.html"));
    fs::write(&old, "before").unwrap();
    for page in [&old, &new] {
        let page = page.display().to_string();
        let output = bench(&["ws://192.0.2.1", "--html", &page]);
        assert_eq!(output.status.code(), Some(2));
    }
    assert_eq!(fs::read_to_string(&old).unwrap(), "before");
    assert!(!new.exists());

    let (_node, url) = node(&[]);
    let page = old.display().to_string();
    let output = bench(&[&url, "-n", "3", "--messages", "1", "--html", &page]);
    assert!(output.status.success());
    let page = fs::read_to_string(&old).unwrap();
    assert!(page.starts_with("<!doctype html>"), "{page}");
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
