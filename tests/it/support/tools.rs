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
    found("python/bin/python", "Python with websockets").map(Command::new)
}

/// Node.js, for scripts that import `ws` from `tests/tools/node`.
#[track_caller]
pub(crate) fn node_js() -> Option<Command> {
    found("node/node_modules/ws/package.json", "npm ws")?;
    Some(Command::new("node"))
}

/// The original conformance suite, `wstest`. It runs on Python 2.7 only and is therefore optional:
/// where `tests/setup` found no Python 2.7, its absence is no failure in CI either.
#[track_caller]
pub(crate) fn wstest() -> Option<Command> {
    let unavailable = tests_directory().join("tools/wstest/unavailable");
    if unavailable.exists() {
        skipped("this machine has no Python 2.7 for the original suite (kosoku covers its cases)");
        return None;
    }
    found("wstest/wstest", "the Autobahn test suite").map(Command::new)
}

#[track_caller]
fn found(path: &str, what: &str) -> Option<PathBuf> {
    let path = tests_directory().join("tools").join(path);
    if path.exists() {
        return Some(path);
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
