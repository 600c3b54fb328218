//! Nodes in a row: what comes in at the first goes out at the last.

use std::net::SocketAddr;
use std::time::Duration;

use crate::command::{GeneratorCommand, ServerCommand};
use crate::subject::Process;
use crate::{Outcome, Role, measure};

/// Three nodes: the first is published to, the last has one plain peer, and the one between does nothing but pass
/// on.
pub(crate) struct Chain {
    generator: Process,
    nodes: Vec<Process>,
}

impl Chain {
    pub(crate) fn start() -> Outcome<Self> {
        let mut generator = Process::start_generator()?;
        let (first, publisher_at) = start_node(None)?;
        let (middle, middle_at) = start_node(Some(publisher_at))?;
        let (last, server) = start_node(Some(middle_at))?;
        let mut nodes = vec![first, middle, last];
        nodes[1].ask(&ServerCommand::Await { neighbors: 2 }, "joined")?;
        let publisher = GeneratorCommand::Publisher {
            server: publisher_at,
        };
        generator.ask(&publisher, "done")?;
        generator.ask(&GeneratorCommand::Connect { server, count: 1 }, "done")?;
        Ok(Self { generator, nodes })
    }

    /// CPU time of the node between for so many messages, one after the other.
    pub(crate) fn pass(&mut self, messages: usize, bytes: usize) -> Outcome<Duration> {
        let id = self.nodes[1].id();
        self.nodes[1].wait_until_quiet()?;
        let before = measure::cpu(id)?;
        for _ in 0..messages {
            self.generator.publish(1, bytes)?;
        }
        self.nodes[1].wait_until_quiet()?;
        Ok(measure::cpu(id)? - before)
    }
}

fn start_node(dial: Option<SocketAddr>) -> Outcome<(Process, SocketAddr)> {
    let mut command = Role::Wsmesh.command()?;
    command.args(dial.map(|address| format!("--dial={address}")));
    Process::start_server(Role::Wsmesh.name(), &command)
}
