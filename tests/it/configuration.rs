//! Options from a file, what comes of all sources together, and what is made of the definition of the options.

use std::fs;
use std::process::{Command, Output};

use crate::support::{Node, Scratch};

/// Runs the program to its end.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A line of the report of `check-config`, without the spaces between value and source.
fn line_of(report: &str, option: &str) -> String {
    let start = format!("{option} =");
    let mut lines = report.lines();
    let line = lines.find(|line| line.trim_start_matches("# ").starts_with(&start));
    let line = line.unwrap_or_else(|| panic!("no {option} in {report}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_node_starts_from_a_file() {
    let scratch = Scratch::new("config");
    let file = scratch.join("node.toml");
    fs::write(
        &file,
        "# of a site\nbind = ['127.0.0.1:0', '127.0.0.1:0']\ninterval = '50ms'\nmessage = 'from a file'\n",
    )
    .unwrap();
    let mut node = Node::with(["--config", file.to_str().unwrap()]);
    node.wait_listening(2);
    let mut command = Node::command(["--peers", &node.url("/"), "--interval", "off"]);
    command
        .env("WSMESH_CONFIG", &file)
        .env("WSMESH_BIND", "127.0.0.1:0");
    // The variable goes before the file, so it listens once; the option goes before both, so it says nothing.
    let mut other = Node::start(command);
    other.wait_listening(1);
    other.stdout.wait_for("from a file");
    assert_eq!(other.stderr.count("listening on"), 1);
    other.stop();
    node.stop();
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    let scratch = Scratch::new("config-wrong");
    let file = scratch.join("node.toml");
    for (text, expected) in [
        (
            "bind = 'localhost:0'\nintervall = '1s'\n",
            "node.toml:2: unknown option `intervall`; is `interval` meant?",
        ),
        (
            "bind = 'localhost:0'\n\nmax-head = '1'\n[x]\n",
            "node.toml:4: unknown option `x`",
        ),
        (
            "bind = 'localhost:0'\ninterval = 10\n",
            "node.toml:2: --interval: `10` has no unit",
        ),
        ("bind = localhost", "node.toml:1: "),
        // Right by itself, and not together with the rest.
        (
            "bind = 'localhost:0'\nmax-head = '1'\n",
            "--max-head 1B is out of bounds",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        for words in [&["--config", path][..], &["check-config", "--config", path]] {
            let (status, stdout, stderr) = run(&mut Node::command(words));
            assert_eq!((status, stdout.as_str()), (Some(2), ""), "{text}: {stderr}");
            assert!(stderr.contains(expected), "{text}: {stderr}");
        }
    }
    let missing = scratch.join("none.toml");
    let (status, _, stderr) = run(&mut Node::command(["--config", missing.to_str().unwrap()]));
    assert_eq!(status, Some(2));
    assert!(stderr.contains("none.toml: No such file"), "{stderr}");
}

#[test]
fn what_comes_of_all_sources_is_printed_as_a_file_that_says_the_same() {
    let scratch = Scratch::new("check-config");
    let file = scratch.join("node.toml");
    fs::write(
        &file,
        "bind = 'localhost:0'\nmax-head = '16KiB'\noutbox = '8MiB'\necho = true\ndegree = 7\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let mut command = Node::command(["check-config", "--config", path, "--outbox", "9MiB", "-vv"]);
    command
        .env("WSMESH_DEGREE", "6")
        .env("WSMESH_PROXY", "http://user:secret@proxy:3128");
    let (status, report, stderr) = run(&mut command);
    assert_eq!(status, Some(0), "{stderr}");
    for (option, expected) in [
        ("outbox", "outbox = \"9MiB\" # --outbox".to_owned()),
        ("degree", "degree = \"6\" # WSMESH_DEGREE".to_owned()),
        ("max-head", format!("max-head = \"16KiB\" # {path}:2")),
        ("bind", format!("bind = [\"localhost:0\"] # {path}:1")),
        ("echo", format!("echo = true # {path}:4")),
        ("verbose", "verbose = 2 # --verbose".to_owned()),
        ("interval", "interval = \"10s\" # default".to_owned()),
        ("token-file", "# token-file = # not set".to_owned()),
    ] {
        assert_eq!(line_of(&report, option), expected);
    }
    assert!(!report.contains("secret"), "{report}");

    // As a file it gives the same values.
    let again = scratch.join("again.toml");
    fs::write(&again, report.replace("…@", "")).unwrap();
    let mut command = Node::command(["check-config", "--config", again.to_str().unwrap()]);
    let (status, second, stderr) = run(&mut command);
    assert_eq!(status, Some(0), "{stderr}");
    let values = |report: &str| -> Vec<String> {
        let lines = report.lines().filter(|line| !line.starts_with("# "));
        let values = lines.map(|line| line.rsplit_once("  # ").unwrap().0.trim().to_owned());
        values.filter(|line| !line.starts_with("proxy")).collect()
    };
    assert_eq!(values(&report), values(&second));
}

#[test]
fn options_that_contradict_each_other_are_found_without_opening_anything() {
    let words = ["check-config", "--bind", "localhost:0", "--outbox", "1MiB"];
    let (status, stdout, stderr) = run(&mut Node::command(words));
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("--outbox 1MiB is too small"), "{stderr}");
}

#[test]
fn shells_complete_every_option() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (status, script, _) = run(&mut Node::command(["completions", shell]));
        assert_eq!(status, Some(0), "{shell}");
        for word in ["max-message", "simulate", "check-config"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let script = "source <(\"$0\" completions bash) && complete -p wsmesh";
    let program = Node::command([""; 0]);
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).arg(program.get_program());
    let (status, stdout, stderr) = run(&mut bash);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.contains("-F _wsmesh"), "{stdout}");
    let (status, _, stderr) = run(&mut Node::command(["completions", "csh"]));
    assert_eq!(status, Some(2));
    assert!(stderr.contains("csh") && stderr.contains("zsh"), "{stderr}");
}

#[test]
fn there_is_a_page_for_man() {
    let (status, page, _) = run(&mut Node::command(["man"]));
    assert_eq!(status, Some(0));
    for part in [".TH WSMESH", "max\\-message", "check\\-config"] {
        assert!(page.contains(part), "{part}");
    }
    let (status, page, _) = run(&mut Node::command(["man", "bench"]));
    assert_eq!(status, Some(0));
    assert!(page.contains("connect\\-rate"));
    let (status, _, stderr) = run(&mut Node::command(["man", "nothing"]));
    assert_eq!(status, Some(2));
    assert!(stderr.contains("no subcommand `nothing`"), "{stderr}");
}
