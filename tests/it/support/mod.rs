//! What the tests share. Start here:
//!
//! ```ignore
//! use crate::support::{Frame, Node, Raw};
//!
//! let mut node = Node::listening(["--interval", "off", "--echo"]);
//! let mut peer = Raw::upgraded(node.address(), "/");       // TCP, the HTTP upgrade by hand
//! peer.send_frame(Frame::text("hello"));                   // masked, as a client must
//! assert_eq!(peer.read_frame(), Frame::text("hello"));     // 30 s at most, or a panic
//! node.stdout.wait_for("hello");                           // any line that contains it
//! node.signal("TERM");
//! assert_eq!(node.wait_exit().code(), Some(0));
//! ```
//!
//! - [`Node`] is the program under test, [`Program`] any process: killed on drop, its output kept
//!   by line and shown when a test fails.
//! - [`Embedded`] is a node in this process, for tests that need its counters or its handle.
//! - [`Raw`] and [`RawListener`] speak TCP, HTTP and frames by hand, through no WebSocket library,
//!   so they can be as wrong as a test wants.
//! - [`Metrics`] are what a node tells of itself in figures.
//! - [`Tab`] is a page in Chromium, looked at and typed into.
//! - [`eventually`] waits on any condition. Nothing here sleeps for a fixed time, no port is fixed.
//! - [`tools`] finds what `tests/setup` installed.
#![allow(
    dead_code,
    unused_imports,
    reason = "a toolbox: not every test module takes every tool"
)]

pub(crate) mod browser;
pub(crate) mod embedded;
pub(crate) mod flood;
pub(crate) mod frame;
pub(crate) mod lines;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod scratch;
pub(crate) mod tools;

use std::future::Future;
use std::time::{Duration, Instant};

pub(crate) use browser::Tab;
pub(crate) use embedded::Embedded;
pub(crate) use flood::Flood;
pub(crate) use frame::{Frame, LengthForm};
pub(crate) use lines::Lines;
pub(crate) use metrics::Metrics;
pub(crate) use node::Node;
pub(crate) use program::Program;
pub(crate) use raw::{End, Raw, RawListener, assert_answered};
pub(crate) use scratch::Scratch;

/// How long a test waits for what normally happens at once. Long enough for a loaded machine with
/// two slow cores; reaching it is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` is true; panics with `what` after [`DEADLINE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until `attempt` has a value and returns it; panics with `what` after [`DEADLINE`].
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    eventually_some_within(DEADLINE, what, attempt)
}

/// … with a deadline of its own.
#[track_caller]
pub(crate) fn eventually_some_within<T>(
    deadline: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(
            started.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `future` on a runtime of its own; panics after [`DEADLINE`].
#[track_caller]
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(DEADLINE, future).await })
        .unwrap_or_else(|_| panic!("the future is not done within {DEADLINE:?}"))
}

/// Raises this process's descriptor limit as far as it goes, for tests that open thousands of
/// connections; panics if that is less than `needed`.
#[track_caller]
pub(crate) fn need_descriptors(needed: u64) {
    let limit = rlimit::increase_nofile_limit(u64::MAX).expect("the descriptor limit can be read");
    assert!(
        limit >= needed,
        "this test needs {needed} descriptors, the system allows {limit} (ulimit -n)"
    );
}

/// `len` bytes that are text, differ from place to place and are the same in every run.
pub(crate) fn letters(len: usize) -> String {
    let mut state = 0x2545_f491_u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            char::from(b'a' + (state % 26) as u8)
        })
        .collect()
}
