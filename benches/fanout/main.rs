//! Measures what fan-out costs: wsmesh beside a floor (a server that does nothing but write one
//! ready-made frame to each socket), beside the design that most articles teach, and beside the
//! servers that people would pick instead, as far as `tests/setup` could install them.
//!
//! ```text
//! cargo bench --bench fanout                      everything, about ten minutes
//! cargo bench --bench fanout -- --quick           the same with fewer peers and rounds
//! cargo bench --bench fanout -- --only burst --peers 1000 --rounds 15
//! ```
//!
//! The driver starts this same program again in the roles of servers and generators, and what
//! `servers/` has beside it, each server with a generator of its own, all servers on one core and
//! all generators on another. Servers
//! take turns within each round, in rotated order, and are compared round by round, so a machine
//! that slows down for a while does not favour one of them. Everything stays on the loopback.
//!
//! Judge by the CPU time that a server needs: on one machine a generator costs about as much as a
//! good server, so elapsed time says little.

mod article;
mod chain;
mod command;
mod fastwebsockets;
mod floor;
mod generator;
#[path = "../keys/mod.rs"]
mod keys;
mod measure;
mod node;
mod plan;
mod relay;
mod scenarios;
mod secure;
mod servers;
mod subject;
mod table;
mod tls;
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use keys::Keys;
use plan::{Plan, Scenario};
use wsmesh::config::SlowPeer;

/// What a part of the benchmark makes, or the sentence that says why it cannot.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a process of this program is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The server that does the least.
    Floor,
    /// The server that most articles teach.
    Article,
    /// fastwebsockets.
    Fastwebsockets,
    /// This crate.
    Wsmesh,
    /// This crate, keeping slow peers at the price of their oldest messages.
    WsmeshDropOldest,
    /// The load.
    Generator,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Article => "article",
            Self::Fastwebsockets => "fastwebsockets",
            Self::Wsmesh => "wsmesh",
            Self::WsmeshDropOldest => "wsmesh-drop-oldest",
            Self::Generator => "generator",
        }
    }

    /// Starts this program in that role.
    pub(crate) fn command(self) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", self.name()]);
        Ok(command)
    }

    fn run(self, dial: Option<SocketAddr>, keys: Option<&Keys>) -> Outcome<()> {
        match self {
            Self::Floor => floor::run(keys),
            Self::Article => Ok(article::run()?),
            Self::Fastwebsockets => Ok(fastwebsockets::run()?),
            Self::Wsmesh => node::run(SlowPeer::Disconnect, dial, keys),
            Self::WsmeshDropOldest => node::run(SlowPeer::DropOldest, dial, keys),
            Self::Generator => generator::run(keys),
        }
    }
}

#[derive(Parser)]
struct Arguments {
    /// Fewer peers and rounds: a minute in all, figures with more noise.
    #[arg(long)]
    quick: bool,
    /// Numbers of connected peers.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<NonZeroUsize>,
    /// Rounds that count; one more goes before them and is thrown away.
    #[arg(long)]
    rounds: Option<NonZeroUsize>,
    /// The scenarios to run, instead of all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Set by `cargo bench`. Without it this is a test of the benchmark itself, with figures that
    /// mean nothing.
    #[arg(long, hide = true)]
    bench: bool,
    /// How the driver starts servers and generators.
    #[arg(long, value_enum, hide = true)]
    role: Option<Role>,
    /// Whom a server of this crate dials.
    #[arg(long, hide = true)]
    dial: Option<SocketAddr>,
    /// Where certificate and key are, for those that are to speak TLS.
    #[arg(long, hide = true)]
    keys: Option<PathBuf>,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let mut plan = match (self.bench, self.quick) {
            (true, false) => Plan::full(),
            (true, true) => Plan::quick(),
            (false, _) => Plan::smoke(),
        };
        if !self.peers.is_empty() {
            plan.peers = self.peers.iter().map(|peers| peers.get()).collect();
        }
        if let Some(rounds) = self.rounds {
            plan.rounds = rounds.get();
        }
        if !self.only.is_empty() {
            plan.scenarios.clone_from(&self.only);
        }
        plan
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.role {
        Some(role) => {
            let keys = arguments.keys.as_ref().map(Keys::of);
            let run = role.run(arguments.dial, keys.as_ref());
            run.map(|()| true)
        }
        None if cfg!(target_os = "linux") => drive(&arguments),
        None => Err("Linux only: the figures come from /proc".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let who = arguments.role.map_or("fanout", Role::name);
            eprintln!("{who}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all targets are met.
fn drive(arguments: &Arguments) -> Outcome<bool> {
    let plan = arguments.plan();
    // The children inherit it: one descriptor a connection.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    let peers_max = plan.peers.iter().copied().max().unwrap_or_default();
    if descriptors < peers_max as u64 + 64 {
        return Err(format!("{descriptors} descriptors are too few for {peers_max} peers").into());
    }
    if measure::cores() < 2 {
        return Err("one core for the servers and one for the generators are needed".into());
    }
    println!("{}", measure::machine());
    let started = std::time::Instant::now();
    let report = scenarios::run(&plan)?;
    if !arguments.bench {
        println!("Everything works. `cargo bench --bench fanout` measures.");
        return Ok(true);
    }
    print!("{report}");
    println!(
        "Measured in {:?}.",
        Duration::from_secs(started.elapsed().as_secs())
    );
    Ok(report.is_met())
}
