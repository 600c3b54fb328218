//! Rules of the house that no compiler checks: who may know whom, where the clock stands, and that
//! the README, the documents that it leads to and the program say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::documents;
use crate::support::{Node, Scratch, tools};

/// Longest source file; a longer one has two reasons to change.
const LINES_MAX: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Lines of code, without comments and without the tests at the end of a file.
fn code_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let code = code.unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.map(str::to_owned).collect()
}

/// Files and folders of modules that a file declares for tests only.
fn tests_beside(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).unwrap();
    let folder = path.parent().unwrap();
    let own = match path.file_name().unwrap().to_str() {
        Some("mod.rs" | "lib.rs" | "main.rs") => folder.to_owned(),
        _ => path.with_extension(""),
    };
    let text = text.replace("#[cfg(any(test, fuzzing))]\n", "#[cfg(test)]\n");
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
        let line = rest.lines().next()?.strip_suffix(';')?;
        line.rsplit_once("mod ").map(|(_, name)| name)
    });
    let places = declared.flat_map(|name| [own.join(name), own.join(format!("{name}.rs"))]);
    places.collect()
}

/// Files below `place` with a line that has one of `words`.
#[track_caller]
fn assert_absent(place: &str, words: &[&str]) {
    let place = root().join("src").join(place);
    let files = if place.is_dir() {
        source_files(&place)
    } else {
        vec![place]
    };
    assert!(!files.is_empty());
    for file in files {
        for line in code_of(&file) {
            let found = words.iter().find(|word| line.contains(**word));
            assert!(
                found.is_none(),
                "{} knows {found:?}: {line}",
                file.display()
            );
        }
    }
}

#[test]
fn rings_know_only_what_lies_within_them() {
    let above = [
        "crate::node::",
        "crate::{node::",
        " node::",
        "crate::mesh",
        " mesh::",
    ];
    assert_absent("net", &above);
    // The same inputs give the same outputs: no ambient randomness, and no order that differs from run to run.
    let without = ["crate::net", "crate::node::", "mio::", "socket2::"];
    let ambient = [
        "std::net::Tcp",
        "rand::rng(",
        "rand::rng;",
        "HashMap",
        "HashSet",
    ];
    assert_absent("mesh", &[&without[..], &ambient].concat());
    for core in [
        "config",
        "framing.rs",
        "message.rs",
        "counters.rs",
        "node_id.rs",
        "printable.rs",
        "subprotocol.rs",
        "budget.rs",
        "rate.rs",
        "pages",
    ] {
        assert_absent(
            core,
            &[
                "crate::net",
                "crate::node",
                "mio::",
                "socket2::",
                "std::net::Tcp",
            ],
        );
    }
}

#[test]
fn a_simulation_has_no_order_and_no_time_of_its_own() {
    let words = [
        "crate::net::",
        "crate::node::",
        "HashMap",
        "HashSet",
        "rand::rng()",
    ];
    assert_absent("simulation", &words);
}

#[test]
fn clients_know_nothing_of_what_a_node_does() {
    for edge in ["fanout", "client"] {
        assert_absent(edge, &["crate::node::", "crate::mesh", "crate::simulation"]);
    }
    for other in ["node", "mesh", "net", "simulation", "client"] {
        assert_absent(other, &["fanout"]);
    }
    for other in ["node", "mesh", "net", "simulation", "fanout"] {
        assert_absent(other, &["crate::client"]);
    }
}

#[test]
fn decisions_are_made_without_sockets() {
    for pure in [
        "net/admission.rs",
        "net/backoff.rs",
        "net/channels.rs",
        "net/dialer",
        "net/frame.rs",
        "net/keepalive.rs",
        "net/names.rs",
        "net/intake.rs",
        "net/outbox",
        "net/session.rs",
        "net/spread.rs",
        "net/timer.rs",
        "net/tls",
        "net/upgrade",
        "fanout/flights.rs",
        "fanout/load",
        "fanout/pacing.rs",
        "fanout/payload.rs",
        "fanout/plan.rs",
        "fanout/ports.rs",
        "fanout/ramp.rs",
        "fanout/report",
        "fanout/tally.rs",
        "fanout/timeline.rs",
        "fanout/track.rs",
    ] {
        assert_absent(
            pure,
            &["mio", "socket2", "TcpStream", "Instant::now", "log::"],
        );
    }
}

#[test]
fn the_clock_is_read_in_one_place() {
    let mut readers = Vec::new();
    let files = source_files(&root().join("src"));
    let tests: Vec<_> = files.iter().flat_map(|file| tests_beside(file)).collect();
    for file in files {
        if tests.iter().any(|test| file.starts_with(test)) {
            continue;
        }
        for line in code_of(&file) {
            if ["Instant::now", "SystemTime::now"]
                .iter()
                .any(|now| line.contains(now))
            {
                readers.push(file.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    readers.sort();
    // A simulation's own time begins at an instant that does not matter.
    // … and a load test has a loop of its own.
    // So has a client.
    let expected = [
        "src/cli/simulate.rs",
        "src/client/run.rs",
        "src/fanout/run.rs",
        "src/fanout/run.rs",
        "src/node/mod.rs",
    ];
    assert_eq!(readers, expected);
}

#[test]
fn files_have_one_reason_to_change() {
    for file in source_files(&root().join("src")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
    }
}

fn help() -> String {
    let of_node = Node::command(["--help"]).output().unwrap();
    let of_simulation = Node::command(["simulate", "--help"]).output().unwrap();
    let of_bench = Node::command(["bench", "--help"]).output().unwrap();
    let of_pub = Node::command(["pub", "--help"]).output().unwrap();
    let of_sub = Node::command(["sub", "--help"]).output().unwrap();
    let of_clients = [of_pub.stdout, of_sub.stdout].concat();
    let all = [
        of_node.stdout,
        of_simulation.stdout,
        of_bench.stdout,
        of_clients,
    ]
    .concat();
    String::from_utf8(all).unwrap()
}

/// All long options in a text.
fn options_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options =
        words.filter(|word| word.starts_with("--") && !word.starts_with("---") && word.len() > 2);
    options.map(str::to_owned).collect()
}

#[test]
fn the_documents_know_the_options_of_the_program() {
    let readme = documents::text();
    let of_program = |line: &&str| !line.starts_with("cargo bench");
    let readme: Vec<_> = readme.lines().filter(of_program).collect();
    let (readme, help) = (options_in(&readme.join("\n")), options_in(&help()));
    let of_others = [
        "--release",
        "--path",
        "--fail",
        "--open",
        "--cacert",
        "--test",
        "--lib",
        "--nocapture",
        "--tool",
        "--silent",
        "--oauth2-bearer",
        "--web",
    ];
    let unknown: Vec<_> = readme
        .difference(&help)
        .filter(|option| !of_others.contains(&option.as_str()))
        .collect();
    assert!(unknown.is_empty(), "in the documents only: {unknown:?}");
    let missing: Vec<_> = help.difference(&readme).collect();
    let explained_elsewhere = ["--verbose", "--quiet", "--version"];
    let missing: Vec<_> = missing
        .iter()
        .filter(|option| !explained_elsewhere.contains(&option.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the documents: {missing:?}");
}

/// The words of a shell command as simple as those of the documents.
fn words_of(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in command.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Runs a simulation with fewer nodes.
#[track_caller]
fn assert_simulates(words: &[String]) {
    let mut words = words.to_vec();
    for (option, small) in [("--nodes", "30"), ("--settle", "5s"), ("--duration", "2s")] {
        match words.iter().position(|word| word == option) {
            Some(place) => words[place + 1] = small.to_owned(),
            None => words.extend([option, small].map(str::to_owned)),
        }
    }
    let output = Node::command(&words).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && report.contains("trace"),
        "{words:?}: {report}"
    );
}

/// Runs a load test of a node, with fewer connections and for a shorter time.
#[track_caller]
fn assert_benches(words: &[String]) {
    let node = Node::listening(["--interval", "off", "--max-publish-rate", "off"]);
    let scratch = Scratch::new("readme-bench");
    let report = scratch.join("report.json");
    let url = format!("ws://{}", node.address());
    let mut words: Vec<String> = words
        .iter()
        .map(|word| match word.as_str() {
            // Whatever server and process it is there.
            word if word.starts_with("ws://") => url.clone(),
            word if word.starts_with('$') => node.id().to_string(),
            word if word.ends_with(".json") => report.display().to_string(),
            word if word.ends_with(".html") => scratch.join(word).display().to_string(),
            word => word.to_owned(),
        })
        .collect();
    if words.contains(&"--compare".to_owned()) {
        let made = ["bench", &url, "-n", "2", "--messages", "1", "--json"];
        let made = Node::command(made).output().unwrap();
        fs::write(&report, made.stdout).unwrap();
    } else {
        for (option, small) in [("-n", "20"), ("--duration", "300ms"), ("--warm-up", "off")] {
            match words.iter().position(|word| word == option) {
                Some(place) => words[place + 1] = small.to_owned(),
                None => words.extend([option, small].map(str::to_owned)),
            }
        }
    }
    let output = Node::command(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // A loaded machine misses what is wanted of a free one.
    let is_judged = words.iter().any(|word| word.starts_with("--max-"));
    assert!(output.status.success() || is_judged, "{words:?}: {said}");
    assert!(!output.stdout.is_empty(), "{words:?}");
}

/// Publishes at a node, or listens to what it says by itself.
#[track_caller]
fn assert_talks(words: &[String]) {
    let node = Node::listening(["--interval", "50ms"]);
    let mut command = Node::command(words.iter().map(|word| match word.strip_prefix("ws://") {
        Some(rest) => node.url(rest.find('/').map_or("/", |slash| &rest[slash..])),
        None => word.clone(),
    }));
    if words[0] == "sub" && !words.contains(&"--count".to_owned()) {
        command.args(["--count", "1"]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

#[track_caller]
fn assert_prints(words: &[String]) {
    let output = Node::command(words).output().unwrap();
    assert!(
        output.status.success() && !output.stdout.is_empty(),
        "{words:?}: {output:?}"
    );
}

#[test]
fn the_commands_of_the_documents_run() {
    // The recipes have tests of their own, where they are followed from beginning to end.
    let paths = documents::paths().into_iter();
    let readme: String = paths
        .filter(|path| path != "docs/RECIPES.md")
        .map(|path| documents::read(&path))
        .collect();
    let mut count = 0;
    let scratch = Scratch::new("readme");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (file, content) in [
        ("cert.pem", made.cert.pem()),
        ("ca.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
    ] {
        fs::write(scratch.join(file), content).unwrap();
    }
    for block in readme.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines() {
            if let Some(arguments) = line.strip_prefix("openssl ") {
                if let Some(mut openssl) = tools::of_system("openssl") {
                    openssl.args(words_of(arguments)).current_dir(&*scratch);
                    let done = openssl.output().unwrap();
                    assert!(done.status.success(), "{line}: {done:?}");
                }
                continue;
            }
            let line = line.replace("cargo run --release --", "wsmesh");
            let parts = line.split([';', '|', '>', '<']);
            let is_ours = |part: &&str| part.split(' ').any(|word| word == "wsmesh");
            let line = parts.clone().find(is_ours).or(parts.clone().next());
            let line = line.unwrap().trim_end_matches(" 2");
            let words = words_of(line.trim());
            let Some(program) = words.iter().position(|word| word == "wsmesh") else {
                continue;
            };
            let subcommand = words.get(program + 1).map(String::as_str);
            let is_short = |word| {
                matches!(
                    word,
                    "simulate" | "bench" | "pub" | "sub" | "check-config" | "completions" | "man"
                )
            };
            if subcommand.is_some_and(is_short) {
                match subcommand {
                    Some("pub" | "sub") => assert_talks(&words[program + 1..]),
                    Some("bench") => assert_benches(&words[program + 1..]),
                    Some("simulate") => assert_simulates(&words[program + 1..]),
                    _ => assert_prints(&words[program + 1..]),
                }
                count += 1;
                continue;
            }
            // Ports that are free on any machine.
            let any_port = |word: &String| {
                if word == "9090" {
                    return "0".to_owned();
                }
                let ports = [":8080", ":8085", ":8086", ":9090", ":8443"];
                let is_to_bind = line.contains(&format!("--bind {word}"));
                match (word.starts_with("ws") || word.starts_with("dns+"))
                    && word.contains("://")
                    && !is_to_bind
                {
                    true => word.clone(),
                    false => ports
                        .iter()
                        .fold(word.clone(), |word, port| word.replace(port, ":0")),
                }
            };
            let mut command = Node::command(words[program + 1..].iter().map(any_port));
            command.current_dir(&*scratch);
            for variable in words[..program].iter().map(any_port) {
                let (name, value) = variable.split_once('=').unwrap();
                command.env(name, value);
            }
            let dials_only = !line.contains("--bind") && !line.contains("WSMESH_BIND");
            let mut node = Node::start(command);
            if dials_only {
                node.stderr.wait_for("cannot reach peer");
            } else {
                node.wait_listening(1);
            }
            node.stop();
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} commands found");
}
