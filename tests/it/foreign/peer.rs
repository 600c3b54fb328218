//! A foreign peer of any implementation, spoken to by line (`tests/peers/README.md`).

use std::process::Command;

use tokio::sync::mpsc::UnboundedSender;

use super::tungstenite;
use crate::support::{Lines, Program, tools};

/// Whose WebSocket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Implementation {
    /// tokio-tungstenite, in this process.
    TokioTungstenite,
    /// npm `ws`.
    Ws,
    /// Python `websockets`.
    Websockets,
}

impl Implementation {
    /// Whether it is installed; says so if not.
    #[track_caller]
    pub(super) fn is_installed(self) -> bool {
        match self {
            Implementation::TokioTungstenite => true,
            Implementation::Ws => tools::node_js().is_some(),
            Implementation::Websockets => tools::python().is_some(),
        }
    }
}

/// A peer that dials or listens.
pub(super) struct Peer {
    /// What it says.
    pub(super) events: Lines,
    ear: Ear,
}

enum Ear {
    Program(Program),
    Task(UnboundedSender<String>),
}

impl Peer {
    /// A peer that will dial `url`; `None` if the implementation is not installed.
    #[track_caller]
    pub(super) fn dialing(implementation: Implementation, url: &str) -> Option<Peer> {
        Peer::start(implementation, &["connect", url])
    }

    /// A peer that listens, and its port.
    #[track_caller]
    pub(super) fn listening(implementation: Implementation) -> Option<(Peer, u16)> {
        let peer = Peer::start(implementation, &["listen"])?;
        let said = peer.events.wait_for("listening ");
        let port = said.trim_start_matches("listening ");
        let port = port.parse().expect("listening PORT");
        Some((peer, port))
    }

    #[track_caller]
    fn start(implementation: Implementation, arguments: &[&str]) -> Option<Peer> {
        let script = |mut interpreter: Command, script: &str| {
            interpreter.arg(tools::peer_script(script)).args(arguments);
            let program = Program::start(script, interpreter);
            Peer {
                events: program.stdout.clone(),
                ear: Ear::Program(program),
            }
        };
        Some(match implementation {
            Implementation::TokioTungstenite => {
                let (commands, events) = tungstenite::start(arguments.get(1).copied());
                Peer {
                    events,
                    ear: Ear::Task(commands),
                }
            }
            Implementation::Ws => script(tools::node_js()?, "ws_peer.mjs"),
            Implementation::Websockets => script(tools::python()?, "websockets_peer.py"),
        })
    }

    /// Tells it what to do.
    #[track_caller]
    pub(super) fn say(&mut self, line: &str) {
        match &mut self.ear {
            Ear::Program(program) => program.say(line),
            Ear::Task(commands) => commands
                .send(line.to_owned())
                .expect("the task runs as long as the peer"),
        }
    }
}
