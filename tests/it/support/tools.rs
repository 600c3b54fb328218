//! What `tests/setup` installed under `tests/tools/`.
//!
//! ```ignore
//! let Some(python) = tools::python() else { return };
//! ```
//! A tool that is missing makes the test say `SKIPPED` and pass; under `CI=true` it panics.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory `tests/` of the source tree.
pub(crate) fn tests_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A script of `tests/peers/`.
pub(crate) fn peer_script(name: &str) -> PathBuf {
    tests_directory().join("peers").join(name)
}

/// Python 3 with the packages `websockets` and `kosoku`.
#[track_caller]
pub(crate) fn python() -> Option<Command> {
    let python = found("python", "Python with websockets")?;
    Some(Command::new(python.join("bin/python")))
}

/// Node.js, for scripts that import `ws` from `tests/tools/node`.
#[track_caller]
pub(crate) fn node_js() -> Option<Command> {
    found("node", "npm ws")?;
    Some(Command::new("node"))
}

/// Chromium without a window; the caller says what it opens and where it keeps its things.
#[track_caller]
pub(crate) fn chromium() -> Option<Command> {
    found("chromium", "Chromium")?;
    let mut command = Command::new("chromium");
    // In a container there may be neither user namespaces for its sandbox nor room in /dev/shm.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
    ]);
    Some(command)
}

/// Prometheus and its `promtool`, which [`folders`] lead to.
#[track_caller]
pub(crate) fn prometheus() -> Option<()> {
    found("prometheus", "Prometheus").map(drop)
}

/// nginx, which [`folders`] lead to.
#[track_caller]
pub(crate) fn nginx() -> Option<()> {
    found("nginx", "nginx").map(drop)
}

/// Where programs are that were unpacked and not installed, so that nothing of them is started with the system.
pub(crate) fn folders() -> Vec<String> {
    let tools = tests_directory().join("tools");
    let folders = ["prometheus/usr/bin", "nginx/usr/sbin"];
    folders
        .map(|folder| tools.join(folder).display().to_string())
        .to_vec()
}

/// The original conformance suite, `wstest`. It runs on Python 2.7 only and is therefore optional:
/// where `tests/setup` found no Python 2.7, its absence is no failure in CI either.
#[track_caller]
pub(crate) fn wstest() -> Option<Command> {
    let directory = found("wstest", "the Autobahn test suite")?;
    if directory.join("unavailable").exists() {
        skipped("this machine has no Python 2.7 for the original suite (kosoku covers its cases)");
        return None;
    }
    Some(Command::new(directory.join("wstest")))
}

/// A program of the system, which no machine for development is without.
#[track_caller]
pub(crate) fn of_system(program: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return Some(Command::new(program));
    }
    let missing = format!("{program} is missing");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{missing}"
    );
    skipped(&missing);
    None
}

/// The directory of a tool, if `tests/setup` has got to its end with it.
#[track_caller]
fn found(tool: &str, what: &str) -> Option<PathBuf> {
    let directory = tests_directory().join("tools").join(tool);
    if directory.join(".done").exists() {
        return Some(directory);
    }
    let missing = format!("{what} is missing; run tests/setup");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{missing}"
    );
    skipped(&missing);
    None
}

/// Says, past the capture of the test runner, that the current test did not run.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not eprintln!: a passing test's would not be shown. Nobody to tell if it fails.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}
