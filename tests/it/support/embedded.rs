//! The node through the door of the library: for tests that read its counters or speak through its
//! handle.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use wsmesh::{Config, Counters, Handle, Message, Node, Received, RunError};

use super::{Lines, eventually, eventually_some};

/// A node on a thread of this process; stopped on drop.
pub(crate) struct Embedded {
    /// What it received, a line each: `{who} {path} {text}`, bytes as `[{length}]`.
    pub(crate) received: Lines,
    addresses: Vec<SocketAddr>,
    handle: Handle,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Embedded {
    /// Starts it on a free port of 127.0.0.1, without a periodic broadcast; `change` sets the rest.
    #[track_caller]
    pub(crate) fn listening(change: impl FnOnce(&mut Config)) -> Embedded {
        let mut config = Config {
            binds: vec!["127.0.0.1:0".parse().expect("it is an address")],
            interval: None,
            ..Config::default()
        };
        change(&mut config);
        Embedded::start(config)
    }

    /// Starts it with exactly this.
    #[track_caller]
    pub(crate) fn start(config: Config) -> Embedded {
        let node = Node::new(config).unwrap_or_else(|error| panic!("no node: {error}"));
        let received = Lines::default();
        let (addresses, handle, lines) = (node.local_addresses(), node.handle(), received.clone());
        let thread = std::thread::spawn(move || {
            let mut output = |received: &Received<'_>| {
                let what = match received.message {
                    Message::Text(text) => text.to_string(),
                    Message::Binary(bytes) => format!("[{}]", bytes.len()),
                };
                lines.push(format!("{} {} {what}", received.from, received.path));
            };
            node.run(&mut output)
        });
        Embedded {
            received,
            addresses,
            handle,
            thread: Some(thread),
        }
    }

    /// The address it listens on (the first, with several).
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// What the program's handle can do.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What it had counted at the end of its last turn.
    pub(crate) fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// Waits until the counters are as `wanted` says, and returns those.
    #[track_caller]
    pub(crate) fn wait_counters(&self, what: &str, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let mut seen = self.counters();
        let deadline = std::time::Instant::now() + super::DEADLINE;
        while !wanted(&seen) {
            assert!(
                std::time::Instant::now() < deadline,
                "{what}: not within {:?}; {seen:#?}",
                super::DEADLINE
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
            seen = self.counters();
        }
        seen
    }

    /// Sends a text to every connected peer.
    #[track_caller]
    pub(crate) fn broadcast(&self, text: &str) {
        self.try_broadcast(Message::text(text.to_owned()));
    }

    /// Sends a message to every connected peer; waits while the loop does not keep up.
    #[track_caller]
    pub(crate) fn try_broadcast(&self, message: Message) {
        eventually_some("the loop takes a broadcast", || {
            self.handle.broadcast([message.clone()]).ok()
        });
    }

    /// Whether the loop is still running.
    pub(crate) fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Asks it to stop and waits until it has.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.handle.stop();
        eventually("the node ends", || !self.is_running());
        if let Some(thread) = self.thread.take() {
            let result = thread.join().expect("the loop does not panic");
            result.expect("the loop does not fail");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node in this process: {:#?}", self.counters());
            self.handle.stop();
        } else {
            self.stop();
        }
    }
}
