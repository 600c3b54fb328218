//! The program under test.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::{Command, Stdio};

use super::Program;

/// A running `wsmesh`; also a [`Program`].
pub(crate) struct Node {
    program: Program,
    addresses: Vec<SocketAddr>,
}

impl Node {
    /// Starts it on a free port of 127.0.0.1 with further options, and waits until it listens.
    #[track_caller]
    pub(crate) fn listening<A: AsRef<OsStr>>(options: impl IntoIterator<Item = A>) -> Node {
        let mut command = Node::command(["--bind", "127.0.0.1:0"]);
        command.args(options);
        let mut node = Node::start(command);
        node.wait_listening(1);
        node
    }

    /// Starts it with exactly these options and waits for nothing.
    #[track_caller]
    pub(crate) fn with<A: AsRef<OsStr>>(options: impl IntoIterator<Item = A>) -> Node {
        Node::start(Node::command(options))
    }

    /// Starts a [`command`](Node::command) that the test has changed further.
    #[track_caller]
    pub(crate) fn start(command: Command) -> Node {
        Node::start_with_stdout(command, Stdio::piped())
    }

    /// … with a standard output of the test's choice, such as `Stdio::null()` where much would be
    /// printed.
    #[track_caller]
    pub(crate) fn start_with_stdout(command: Command, stdout: Stdio) -> Node {
        Node {
            program: Program::start_with_stdout("wsmesh", command, stdout),
            addresses: Vec::new(),
        }
    }

    /// … and a standard error of the test's choice, which then cannot say where it listens: see
    /// [`wait_listening_port`](Program::wait_listening_port).
    #[track_caller]
    pub(crate) fn start_with_streams(command: Command, stdout: Stdio, stderr: Stdio) -> Node {
        Node {
            program: Program::start_with_streams("wsmesh", command, stdout, stderr),
            addresses: Vec::new(),
        }
    }

    /// The command that starts it, free of settings from the environment of the test.
    pub(crate) fn command<A: AsRef<OsStr>>(options: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsmesh"));
        let inherited: Vec<OsString> = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| {
                let name = name.to_string_lossy();
                let is_proxy = name.to_ascii_uppercase().ends_with("_PROXY");
                is_proxy || name.starts_with("WSMESH_") || name.starts_with("RUST_LOG")
            })
            .collect();
        for name in inherited {
            command.env_remove(name);
        }
        command.args(options);
        command
    }

    /// Waits until it has said `listening on …` for `count` addresses.
    #[track_caller]
    pub(crate) fn wait_listening(&mut self, count: usize) -> &[SocketAddr] {
        const SAID: &str = "listening on ";
        self.addresses = self
            .stderr
            .wait_for_count(count, SAID)
            .iter()
            .map(|line| {
                let (_, rest) = line.split_once(SAID).expect("the line was chosen by it");
                let address = rest.split_whitespace().next().unwrap_or_default();
                address
                    .parse()
                    .unwrap_or_else(|error| panic!("no address in {line:?}: {error}"))
            })
            .collect();
        &self.addresses
    }

    /// The address it listens on (the first, with several).
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        *self
            .addresses
            .first()
            .expect("started by Node::listening, or wait_listening has been called")
    }

    /// Waits until it has said where its status listener is.
    #[track_caller]
    pub(crate) fn status_address(&self) -> SocketAddr {
        let line = self.stderr.wait_for("status at http");
        let (_, rest) = line.rsplit_once("://").expect("it says a URL");
        let address = rest.trim_end_matches('/').parse();
        address.unwrap_or_else(|error| panic!("no address in {line:?}: {error}"))
    }

    /// `ws://ADDRESS/path` of this node; `path` starts with a slash.
    #[track_caller]
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address())
    }

    /// Waits until `count` connections, of plain peers or of neighbors, have been logged as connected, ever.
    #[track_caller]
    pub(crate) fn wait_connected(&self, count: usize) {
        self.stderr
            .wait_until(&format!("{count} peers connected"), count, |line| {
                is_of_a_peer(line) && line.contains(" connected")
            });
    }

    /// Waits until `count` connections have been logged as closed, ever, and returns those lines.
    #[track_caller]
    pub(crate) fn wait_closed(&self, count: usize) -> Vec<String> {
        self.stderr
            .wait_until(&format!("{count} peers closed"), count, |line| {
                is_of_a_peer(line) && line.contains(" closed: ")
            })
    }

    /// Asks it to stop with SIGTERM and asserts that it ends with exit code 0.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.wait_exit();
        assert_eq!(
            status.code(),
            Some(0),
            "after SIGTERM: {status}\n{}",
            self.stderr.tail(30)
        );
    }

    /// Lets it have no more than so many descriptors from now on.
    #[track_caller]
    pub(crate) fn limit_descriptors(&self, count: usize) {
        let (process, limit) = (self.id().to_string(), format!("--nofile={count}:{count}"));
        let status = Command::new("prlimit")
            .args(["--pid", &process, &limit])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "prlimit (util-linux)"
        );
    }

    /// Memory in use by the process, bytes (Linux: resident set).
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_field("VmRSS") * 1024
    }

    /// CPU time that the process has used, of all its threads (Linux).
    pub(crate) fn cpu_time(&self) -> std::time::Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id()));
        let tasks = tasks.expect("/proc tells about a running process");
        let nanoseconds = tasks.filter_map(|task| {
            let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        });
        std::time::Duration::from_nanos(nanoseconds.sum())
    }

    /// Asserts that it never logged an error: what peers do is none of ours.
    #[track_caller]
    pub(crate) fn assert_no_error_logged(&self) {
        let errors: Vec<String> = self.stderr.all();
        let errors: Vec<_> = errors
            .iter()
            .filter(|line| line.contains(" ERROR ") || line.contains("panicked"))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    /// A field of `/proc/PID/status` that is a number (Linux).
    pub(crate) fn status_field(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))
            .expect("/proc tells about a running process");
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or_else(|| panic!("{name} is a number in {status}"))
    }

    /// Open descriptors of the process (Linux).
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .expect("/proc tells about a running process")
            .count()
    }
}

fn is_of_a_peer(line: &str) -> bool {
    line.contains("peer ") || line.contains("neighbor ")
}

impl Deref for Node {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}
