//! The tables of exit statuses, HTTP answers and close codes say all that there is, and nothing else.

use std::collections::BTreeSet;
use std::process::Stdio;

use super::read;
use crate::support::{Node, Program, RawListener, tools};

/// The rows below a title of the document: the cells of each.
fn rows(title: &str) -> Vec<Vec<String>> {
    let text = read("README.md");
    let section = text
        .split("\n### ")
        .find(|section| section.starts_with(title))
        .expect(title);
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim_matches('|');
        inner
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    lines.map(cells).collect()
}

/// The first numbers of all rows.
fn numbers(title: &str) -> BTreeSet<u16> {
    rows(title)
        .iter()
        .map(|cells| cells[0].parse().expect("a number"))
        .collect()
}

/// Numbers that stand behind these words in a source file.
fn numbers_in(file: &str, before: &str) -> BTreeSet<u16> {
    let text = read(file);
    let behind = text.split(before).skip(1);
    behind
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[test]
fn every_answer_of_http_stands_in_its_table() {
    let answers = numbers_in("src/net/upgrade/refusal.rs", "=> \"");
    assert!(answers.len() > 10);
    assert_eq!(numbers("HTTP answers"), answers);
}

#[test]
fn every_close_code_stands_in_its_table() {
    let is_code = |code: &u16| (1000..1016).contains(code);
    let sources = [
        ("src/net/close.rs", ": "),
        ("src/node/relay.rs", "u16 = "),
        ("src/mesh/mod.rs", "u16 = "),
    ];
    let found = sources
        .iter()
        .flat_map(|(file, before)| numbers_in(file, before));
    let codes: BTreeSet<_> = found.filter(is_code).collect();
    assert!(codes.len() > 5);
    assert_eq!(numbers("Close codes"), codes);
}

/// Which commands end with which status, as the table has it.
fn documented() -> BTreeSet<(String, i32)> {
    let mut commands = Vec::new();
    let mut all = BTreeSet::new();
    for cells in rows("Exit statuses") {
        if !cells[0].is_empty() {
            commands = cells[0]
                .split(", ")
                .map(|command| command.trim_matches('`').to_owned())
                .collect();
        }
        let status = cells[1].parse().expect("a status");
        all.extend(commands.iter().map(|command| (command.clone(), status)));
    }
    all
}

/// What a test of the table does.
enum Way {
    /// Runs this to its end.
    Run(Vec<String>),
    /// … with a standard output that takes nothing.
    Full(Vec<String>),
    /// Lets a node run, and asks it to stop.
    Stop,
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[track_caller]
fn status_of(way: &Way) -> Option<i32> {
    let run = |words: &[String], stdout: Stdio| {
        let mut command = Node::command(words);
        command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::null());
        command.status().unwrap().code()
    };
    match way {
        Way::Run(words) => run(words, Stdio::null()),
        Way::Full(words) => run(words, std::fs::File::create("/dev/full").unwrap().into()),
        Way::Stop => {
            let mut node = Node::listening([""; 0]);
            node.signal("TERM");
            node.wait_exit().code()
        }
    }
}

#[test]
fn every_command_ends_as_the_table_says_and_in_no_other_way() {
    let node = Node::listening(["--interval", "20ms", "--max-publish-rate", "off"]);
    let quiet = Node::listening(["--interval", "off"]);
    let silent = RawListener::bind();
    let taken = RawListener::bind();
    let (at, silent, nobody) = (node.url("/"), silent.url("/"), "ws://127.0.0.1:1");
    let small = "--nodes 20 --settle 2s --duration 1s";
    let run = |text: String| Way::Run(words(&text));
    let ways: Vec<(&str, i32, Way)> = vec![
        ("wsmesh", 0, Way::Stop),
        (
            "wsmesh",
            0,
            run("--bind 127.0.0.1:0 --stdin --exit-on-eof".to_owned()),
        ),
        ("wsmesh", 1, run(format!("--bind {}", taken.address()))),
        ("wsmesh", 2, run("--bind 8080".to_owned())),
        (
            "wsmesh",
            2,
            run("--bind 127.0.0.1:0 --token-file /nowhere".to_owned()),
        ),
        ("wsmesh pub", 0, run(format!("pub {at} hello"))),
        ("wsmesh pub", 1, run(format!("pub {nobody} hello"))),
        ("wsmesh pub", 2, run("pub localhost hello".to_owned())),
        (
            "wsmesh pub",
            27,
            run(format!("pub {silent} hello --timeout 100ms")),
        ),
        ("wsmesh sub", 0, run(format!("sub {at} --count 1"))),
        ("wsmesh sub", 1, run(format!("sub {nobody}"))),
        ("wsmesh sub", 2, run(format!("sub {at} --count 0"))),
        (
            "wsmesh sub",
            27,
            run(format!("sub {} --timeout 100ms", quiet.url("/"))),
        ),
        (
            "wsmesh bench",
            0,
            run(format!("bench {at} -n 2 --messages 1 --warm-up off")),
        ),
        ("wsmesh bench", 1, run(format!("bench {nobody}"))),
        ("wsmesh bench", 2, run("bench ws://192.0.2.1".to_owned())),
        ("wsmesh simulate", 0, run(format!("simulate {small}"))),
        (
            "wsmesh simulate",
            1,
            Way::Full(words(&format!("simulate {small}"))),
        ),
        ("wsmesh simulate", 2, run("simulate --nodes x".to_owned())),
        (
            "wsmesh check-config",
            0,
            run("check-config --bind localhost:0".to_owned()),
        ),
        (
            "wsmesh check-config",
            1,
            Way::Full(words("check-config --bind localhost:0")),
        ),
        ("wsmesh check-config", 2, run("check-config".to_owned())),
        ("wsmesh completions", 0, run("completions bash".to_owned())),
        (
            "wsmesh completions",
            1,
            Way::Full(words("completions bash")),
        ),
        ("wsmesh completions", 2, run("completions csh".to_owned())),
        ("wsmesh man", 0, run("man".to_owned())),
        ("wsmesh man", 1, Way::Full(words("man"))),
        ("wsmesh man", 2, run("man nothing".to_owned())),
    ];
    let mut shown: BTreeSet<_> = BTreeSet::new();
    for (command, status, way) in ways {
        assert_eq!(status_of(&way), Some(status), "{command}");
        shown.insert((command.to_owned(), status));
    }
    // By a test of its own, below.
    shown.insert(("wsmesh bench".to_owned(), 3));
    assert_eq!(documented(), shown);
}

/// A load test that shares its processor with somebody who never rests cannot say that a server is slow.
#[test]
fn a_load_test_that_is_kept_waiting_ends_with_3() {
    let Some(mut taskset) = tools::of_system("taskset") else {
        return;
    };
    let node = Node::listening(["--interval", "off", "--max-publish-rate", "off"]);
    let mut busy = tools::of_system("taskset").expect("it was there before");
    busy.args(["-c", "0", "sh", "-c", "while :; do :; done"]);
    let _busy = Program::start("busy", busy);
    let bench = Node::command([
        "bench",
        &node.url("/"),
        "-n",
        "200",
        "--duration",
        "1s",
        "--max-p99",
        "1ms",
    ]);
    taskset
        .args(["-c", "0"])
        .arg(bench.get_program())
        .args(bench.get_args());
    let output = taskset.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("too busy"), "{said}");
}
