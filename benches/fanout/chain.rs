//! Nodes in a row: what comes in at the first goes out at the last.

use std::net::SocketAddr;

use crate::command::{GeneratorCommand, ServerCommand};
use crate::subject::{Cost, Process, Subject};
use crate::{Outcome, Role};

/// Three nodes: the first is published to, the last has one plain peer, and the one between does nothing but pass
/// on.
pub(crate) struct Chain {
    between: Subject,
    _ends: [Process; 2],
}

impl Chain {
    pub(crate) fn start() -> Outcome<Self> {
        let mut generator = Process::start_generator()?;
        let (first, publisher_at) = start_node(None)?;
        let (mut between, between_at) = start_node(Some(publisher_at))?;
        let (last, server) = start_node(Some(between_at))?;
        between.ask(&ServerCommand::Await { neighbors: 2 }, "joined")?;
        let publisher = GeneratorCommand::Publisher {
            server: publisher_at,
        };
        generator.ask(&publisher, "done")?;
        generator.ask(&GeneratorCommand::Connect { server, count: 1 }, "done")?;
        Ok(Self {
            between: Subject::new(generator, between, between_at),
            _ends: [first, last],
        })
    }

    /// What so many messages cost the node between, one after the other.
    pub(crate) fn pass(&mut self, messages: usize, bytes: usize) -> Outcome<Cost> {
        self.between.publish(messages, 1, bytes)
    }
}

fn start_node(dial: Option<SocketAddr>) -> Outcome<(Process, SocketAddr)> {
    let mut command = Role::Wsmesh.command()?;
    command.args(dial.map(|address| format!("--dial={address}")));
    Process::start_server(Role::Wsmesh.name(), &command)
}
