//! What a node tells who has started it, by datagrams as systemd reads them.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::support::{Lines, Node, Raw, eventually};

const QUIET: [&str; 4] = ["--bind", "127.0.0.1:0", "--interval", "off"];

/// Who starts a node and reads what it is told, each datagram a line.
struct Supervisor {
    name: OsString,
    told: Lines,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // A name that is no file is none of a file.
        let _ = std::fs::remove_file(&self.name);
    }
}

impl Supervisor {
    /// At a path of its own: a short one, because there is room for a hundred bytes.
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsmesh-{}-{count}.socket", std::process::id());
        let path = std::env::temp_dir().join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::reading(socket, path.into())
    }

    /// At a name that is no file.
    fn of_no_file() -> Self {
        let name = format!("wsmesh-it-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::reading(socket, format!("@{name}").into())
    }

    fn reading(socket: UnixDatagram, name: OsString) -> Self {
        let told = Lines::default();
        let lines = told.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                lines.push(text.replace('\n', "; "));
            }
        });
        Self { name, told }
    }

    /// Starts a node that listens.
    #[track_caller]
    fn start(&self, variables: &[(&str, &str)]) -> Node {
        let mut command = self.command();
        command.envs(variables.iter().copied());
        let mut node = Node::start(command);
        node.wait_listening(1);
        node
    }

    fn command(&self) -> Command {
        let mut command = Node::command(QUIET);
        command.env("NOTIFY_SOCKET", &self.name);
        command
    }
}

/// The clock that a supervisor compares with.
fn microseconds() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn a_supervisor_hears_what_the_node_does() {
    let supervisor = Supervisor::new();
    let told = &supervisor.told;
    let mut node = supervisor.start(&[]);
    told.wait_for_line("READY=1; STATUS=0 neighbors, 0 plain peers");

    let before = microseconds();
    node.signal("HUP");
    let reloading = told.wait_for("RELOADING=1; MONOTONIC_USEC=");
    let (_, time) = reloading.rsplit_once('=').unwrap();
    assert!((before..=microseconds()).contains(&time.parse().unwrap()));
    told.wait_for_line("READY=1");

    let mut peer = Raw::upgraded(node.address(), "/");
    peer.sync();
    told.wait_for_line("STATUS=0 neighbors, 1 plain peer");
    let url = node.url("/");
    let mut neighbor = Node::listening(["--interval", "off", "--peers", &url]);
    told.wait_for_line("STATUS=1 neighbor, 1 plain peer");
    neighbor.stop();

    node.signal("TERM");
    told.wait_for("STOPPING=1; STATUS=stopping, connections to close: ");
    drop(peer);
    assert_eq!(node.wait_exit().code(), Some(0));
    assert_eq!(told.count("READY=1"), 2);
    assert!(!told.contain("WATCHDOG"), "nobody asked for that");
}

#[test]
fn a_supervisor_may_be_at_a_name_that_is_no_file() {
    let supervisor = Supervisor::of_no_file();
    let mut node = supervisor.start(&[]);
    supervisor.told.wait_for("READY=1");
    node.stop();
    supervisor.told.wait_for("STOPPING=1");
}

#[test]
fn the_watchdog_hears_the_loop_and_nothing_else() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let supervisor = Supervisor::new();
    let told = &supervisor.told;
    let begun = Instant::now();
    let node = supervisor.start(&[("WATCHDOG_USEC", "200000")]);
    told.wait_for_count(5, "WATCHDOG=1");
    let (count, most) = (
        told.count("WATCHDOG=1"),
        begun.elapsed().as_millis() / INTERVAL.as_millis() + 1,
    );
    assert!(count as u128 <= most, "{count} pings, and {most} are due");

    // A loop that does not turn is one that is not heard of.
    node.signal("STOP");
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.id())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    eventually("it is stopped", is_stopped);
    let (mut since, mut count) = (Instant::now(), told.count("WATCHDOG=1"));
    eventually("nothing is heard for a while", || {
        if told.count("WATCHDOG=1") != count {
            (since, count) = (Instant::now(), told.count("WATCHDOG=1"));
        }
        since.elapsed() > 3 * INTERVAL
    });
    node.signal("CONT");
    told.wait_for_count(count + 2, "WATCHDOG=1");
}

#[test]
fn without_a_supervisor_that_hears_it_a_node_runs_all_the_same() {
    let mut command = Node::command(QUIET);
    command.env("NOTIFY_SOCKET", "/nowhere/at/all");
    let mut node = Node::start(command);
    node.wait_listening(1);
    node.stderr
        .wait_for("the supervisor at NOTIFY_SOCKET was not told READY: ");
    node.stop();
}

#[test]
fn a_supervisor_that_cannot_be_meant_is_an_error() {
    for (variables, expected) in [
        (
            &[("NOTIFY_SOCKET", "vsock:2:1234")][..],
            "NOTIFY_SOCKET `vsock:2:1234` cannot be told anything",
        ),
        (
            &[("NOTIFY_SOCKET", "/run/x"), ("WATCHDOG_USEC", "30s")],
            "WATCHDOG_USEC `30s` is not a number of microseconds",
        ),
    ] {
        let mut command = Node::command(QUIET);
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
