//! A process that a test starts.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{DEADLINE, Lines, eventually_some, eventually_some_within};

/// A running process whose output is gathered by line. Killed on drop; when the test panics, the
/// last lines are shown.
pub(crate) struct Program {
    /// What it prints on standard output.
    pub(crate) stdout: Lines,
    /// What it prints on standard error.
    pub(crate) stderr: Lines,
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts `command` with all three standard streams connected to the test.
    #[track_caller]
    pub(crate) fn start(name: &str, command: Command) -> Program {
        Program::start_with_stdout(name, command, Stdio::piped())
    }

    /// Starts `command` with a standard output of the caller's choice; [`stdout`](Program::stdout)
    /// stays empty unless it is a pipe.
    #[track_caller]
    pub(crate) fn start_with_stdout(name: &str, command: Command, stdout: Stdio) -> Program {
        Program::start_with_streams(name, command, stdout, Stdio::piped())
    }

    /// … and a standard error of the caller's choice.
    #[track_caller]
    pub(crate) fn start_with_streams(
        name: &str,
        command: Command,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Program {
        Program::spawn(name, command, [Stdio::piped(), stdout, stderr])
    }

    /// Starts `command` with a standard input of the caller's choice.
    #[track_caller]
    pub(crate) fn start_reading(name: &str, command: Command, stdin: Stdio) -> Program {
        Program::spawn(name, command, [stdin, Stdio::piped(), Stdio::piped()])
    }

    #[track_caller]
    fn spawn(name: &str, mut command: Command, streams: [Stdio; 3]) -> Program {
        let [stdin, stdout, stderr] = streams;
        let mut child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} ({command:?}) does not start: {error}"));
        let stdout = match child.stdout.take() {
            Some(pipe) => Lines::read_from(pipe),
            None => Lines::ended(),
        };
        let stderr = match child.stderr.take() {
            Some(pipe) => Lines::read_from(pipe),
            None => Lines::ended(),
        };
        Program {
            stdout,
            stderr,
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            status: None,
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .unwrap_or_else(|error| {
                panic!(
                    "{} does not take {line:?}: {error}\n{}",
                    self.name,
                    self.stderr.tail(20)
                )
            });
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal by name: `TERM`, `INT`, `HUP`, `PIPE`, `STOP`, `CONT`, `KILL`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        assert!(
            self.status.is_none(),
            "{} has ended, SIG{name} would reach another process",
            self.name
        );
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -s {name} {}", self.id())])
            .status()
            .expect("sh starts");
        assert!(sent.success(), "SIG{name} could not be sent");
    }

    /// Whether it is still running.
    pub(crate) fn is_running(&mut self) -> bool {
        self.try_exit().is_none()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status
    }

    /// Waits until it has ended and what it said on standard error has been read.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        self.wait_exit_within(DEADLINE)
    }

    /// … with a deadline of its own, for what really takes long.
    #[track_caller]
    pub(crate) fn wait_exit_within(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = eventually_some_within(deadline, &what, || self.try_exit());
        self.stderr.wait_end();
        status
    }

    /// Waits until it listens on a TCP port of IPv4, and returns that: for programs that take port
    /// 0 and do not say which they got (Linux).
    #[track_caller]
    pub(crate) fn wait_listening_port(&self) -> u16 {
        eventually_some(&format!("{} listens", self.name), || {
            let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", self.id()))
                .ok()?
                .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
                .filter_map(|target| {
                    let inode = target.to_str()?.strip_prefix("socket:[")?;
                    Some(inode.strip_suffix(']')?.to_owned())
                })
                .collect();
            let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
            table.lines().find_map(|line| {
                const LISTEN: &str = "0A";
                let columns: Vec<&str> = line.split_whitespace().collect();
                let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
                if *state != LISTEN || !sockets.iter().any(|socket| socket == inode) {
                    return None;
                }
                u16::from_str_radix(local.split_once(':')?.1, 16).ok()
            })
        })
    }

    /// Ends it with SIGKILL, if it still runs, and waits.
    pub(crate) fn kill(&mut self) {
        if self.status.is_none() {
            // An error means that it has ended already.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "{}, {}; its last lines on standard output:\n{}  on standard error:\n{}",
                self.name,
                self.status
                    .map_or("status unknown".to_owned(), |status| status.to_string()),
                self.stdout.tail(10),
                self.stderr.tail(30)
            );
        }
    }
}
