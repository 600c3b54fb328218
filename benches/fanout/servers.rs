//! The servers that are compared: what each is called, and how it is started.
//!
//! All pass on what a peer sends to all others, answer pings, set TCP_NODELAY and compress nothing. Those of this
//! program can be commanded to send something of their own besides.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, Role};

#[derive(Clone, Copy)]
pub(crate) enum Server {
    /// This program in one of its roles.
    Own(Role),
    /// A program of `servers/`.
    Foreign(Foreign),
}

/// What somebody else has made, with as much around it as its documentation says.
#[derive(Clone, Copy)]
pub(crate) struct Foreign {
    name: &'static str,
    /// Its folder in `tests/tools`.
    tool: &'static str,
    /// What runs the script: in that folder, or where the system has it.
    program: &'static str,
    /// In `servers/`; nothing where the program itself was built from there.
    script: Option<&'static str>,
}

/// In the order of all tables, the servers that can be commanded first.
pub(crate) const SERVERS: [Server; 8] = [
    Server::Own(Role::Floor),
    Server::Own(Role::Article),
    Server::Own(Role::Wsmesh),
    Server::Foreign(Foreign {
        name: "uwebsockets",
        tool: "uwebsockets",
        program: "server",
        script: None,
    }),
    Server::Own(Role::Fastwebsockets),
    Server::Foreign(Foreign {
        name: "ws",
        tool: "node",
        program: "node",
        script: Some("ws_server.mjs"),
    }),
    Server::Foreign(Foreign {
        name: "picows",
        tool: "python",
        program: "bin/python",
        script: Some("picows_server.py"),
    }),
    Server::Foreign(Foreign {
        name: "websockets",
        tool: "python",
        program: "bin/python",
        script: Some("websockets_server.py"),
    }),
];
pub(crate) const FLOOR: usize = 0;
pub(crate) const ARTICLE: usize = 1;
pub(crate) const WSMESH: usize = 2;
pub(crate) const UWEBSOCKETS: usize = 3;
/// How many can be commanded.
pub(crate) const COMMANDED: usize = 3;

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Own(role) => role.name(),
            Self::Foreign(foreign) => foreign.name,
        }
    }

    pub(crate) fn command(self) -> Outcome<Command> {
        match self {
            Self::Own(role) => role.command(),
            Self::Foreign(foreign) => Ok(foreign.command()),
        }
    }

    fn is_installed(self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Foreign(foreign) => foreign.is_installed(),
        }
    }
}

impl Foreign {
    fn command(self) -> Command {
        let program = self.folder().join(self.program);
        let mut command = if program.exists() {
            Command::new(program)
        } else {
            Command::new(self.program)
        };
        let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/fanout/servers");
        command.args(self.script.map(|script| servers.join(script)));
        command
    }

    /// Whether `tests/setup` has got to its end with it: then it leaves the names of what there is.
    fn is_installed(self) -> bool {
        let done = std::fs::read_to_string(self.folder().join(".done")).unwrap_or_default();
        done.split(' ').any(|word| word == self.name)
    }

    fn folder(self) -> PathBuf {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
        tools.join(self.tool)
    }
}

/// The places of all servers that can be measured here. Says which can not.
pub(crate) fn installed() -> Outcome<Vec<usize>> {
    let (installed, missing): (Vec<_>, Vec<_>) =
        (0..SERVERS.len()).partition(|&place| SERVERS[place].is_installed());
    for place in missing {
        let name = SERVERS[place].name();
        let missing = format!("{name} is missing; run tests/setup");
        if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
            return Err(missing.into());
        }
        eprintln!("LEFT OUT: {missing}");
    }
    Ok(installed)
}
