//! The command line: flags, environment variables and help texts.
//!
//! Syntax only: turns text into a [`Config`] and touches nothing. What a value means and what it
//! may be is the business of [`wsmesh::config`].

mod access;
mod addresses;
mod bench;
mod check;
mod clients;
mod documents;
mod file;
mod limits;
mod logging;
mod mesh;
mod messages;
mod proxy;
mod reload;
mod reporting;
mod request;
mod simulate;
mod status;
mod streams;
#[cfg(test)]
mod tests;
mod tls;
mod typed;

use std::ffi::OsString;
use std::fmt::Display;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use wsmesh::Config;
use wsmesh::config::{PeerOption, PeerUrl, Template};

pub(crate) use self::reload::Reloading;
pub(crate) use self::streams::StreamOptions;
use self::{
    access::AccessOptions,
    addresses::AddressOptions,
    bench::BenchOptions,
    check::{CHECK_CONFIG, CheckOptions},
    clients::{PubOptions, SubOptions},
    documents::{CompletionsOptions, ManOptions},
    file::{FileOptions, Settings},
    limits::LimitOptions,
    logging::LoggingOptions,
    mesh::MeshOptions,
    messages::MessageOptions,
    simulate::SimulateOptions,
    status::StatusOptions,
    tls::TlsOptions,
};

/// A node of a brokerless WebSocket mesh
///
/// Accepts WebSocket peers, dials others, passes on what they publish, and sends a message to all
/// of them at regular times. Messages received go to standard output, logs to standard error.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    subcommand: Option<Subcommand>,
    #[command(flatten)]
    pub(crate) node: NodeOptions,
}

/// All options of a node.
#[derive(Debug, Args)]
pub(crate) struct NodeOptions {
    #[command(flatten, next_help_heading = "Addresses")]
    addresses: AddressOptions,
    #[command(flatten, next_help_heading = "Messages")]
    messages: MessageOptions,
    #[command(flatten, next_help_heading = "Standard input and output")]
    streams: StreamOptions,
    #[command(flatten, next_help_heading = "Mesh")]
    mesh: MeshOptions,
    #[command(flatten, next_help_heading = "Access")]
    access: AccessOptions,
    #[command(flatten, next_help_heading = "TLS")]
    tls: TlsOptions,
    #[command(flatten, next_help_heading = "Status")]
    status: StatusOptions,
    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitOptions,
    #[command(flatten, next_help_heading = "Logging")]
    logging: LoggingOptions,
    #[command(flatten, next_help_heading = "Configuration")]
    file: FileOptions,
}

/// What the program can do beside being a node.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Run thousands of nodes in a virtual network, and report
    ///
    /// The real protocol in a network that delays, loses, stalls, is cut and heals: how soon
    /// messages reach everyone, what that costs, and how soon the mesh is whole again when nodes
    /// die. The same options give the same run on any machine.
    Simulate(Box<SimulateOptions>),
    /// Load a WebSocket server with many connections, and report
    ///
    /// Any server: a relay, an echo server, one that sends by itself. It connects, warms up,
    /// measures and closes. Each message says whose it is and when it was meant to be sent, so that
    /// the report knows what was lost, came twice or damaged, and how long each delivery took from
    /// that time on.
    Bench(Box<BenchOptions>),
    /// Publish at a WebSocket server, and end when it has taken all
    ///
    /// As any plain client does: a text, or messages from standard input. It ends with status 0
    /// only when the server has answered the Close that comes after the last message.
    Pub(Box<PubOptions>),
    /// Listen at a WebSocket server, and print what comes
    ///
    /// As any plain client does: messages to standard output, as fast as they are taken there.
    Sub(Box<SubOptions>),
    /// Print all options of a node, and where each comes from
    ///
    /// Takes the options of a node. Says what is wrong with them, or with the file of --config, and
    /// exits with status 2 then; otherwise prints a file that says the same, with the source of each
    /// value: the command line, a variable, a line of the file, or the default. Passwords are left out.
    CheckConfig(Box<CheckOptions>),
    /// Print a script that completes commands in a shell
    ///
    /// For example: wsmesh completions bash > /etc/bash_completion.d/wsmesh
    Completions(CompletionsOptions),
    /// Print a page for man
    ///
    /// For example: wsmesh man > /usr/local/share/man/man1/wsmesh.1
    Man(ManOptions),
}

const AFTER_HELP: &str = "\
Every option can be given in the environment too: --max-head as WSMESH_MAX_HEAD.
Times have a unit (500ms, 10s, 2m, 1h 30m), sizes may have one (512B, 64KiB, 1MB).";

const AFTER_LONG_HELP: &str = "\
Every option can be given in the environment too: --max-head 16KiB as WSMESH_MAX_HEAD=16KiB, \
--echo as WSMESH_ECHO=true, -vv as WSMESH_VERBOSE=2; and in the file of --config, as max-head = \"16KiB\". The command line goes first, then the environment; a variable set to nothing is not set, but for those that keep somebody out: then it is an error.

Times have a unit (500ms, 10s, 2m, 1h 30m), sizes may have one (512B, 64KiB, 1MB; a bare number \
is bytes).

Exit status: 0 after Ctrl-C or SIGTERM, 1 when something failed while running, 2 when an option \
is wrong.

Examples:
  wsmesh --bind localhost:8080
  wsmesh --bind localhost:8085 --peers ws://localhost:8080
  wsmesh --peers ws://localhost:8080,ws://localhost:8085 --interval off";

impl Cli {
    /// Reads the arguments and the environment of the process. Ends the process with the help
    /// (status 0) or with what is wrong (status 2).
    pub(crate) fn from_process() -> Cli {
        read(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
    }

    /// What is to be done instead of running a node.
    pub(crate) fn take_subcommand(&mut self) -> Option<Subcommand> {
        self.subcommand.take()
    }
}

impl NodeOptions {
    /// How much is logged, and how.
    pub(crate) fn logging(&self) -> LoggingOptions {
        self.logging
    }

    /// What becomes of the standard streams.
    pub(crate) fn streams(&self) -> &StreamOptions {
        &self.streams
    }

    /// What the node is told.
    ///
    /// # Errors
    /// Values that are valid by themselves but not together.
    pub(crate) fn into_config(self) -> Result<Config, clap::Error> {
        self.streams.check().map_err(usage_error)?;
        self.logging.check().map_err(usage_error)?;
        let scope = self.messages.broadcast_scope;
        let AddressOptions { bind, peers, proxy } = self.addresses;
        let variable = |name: &str| std::env::var(name).ok();
        let (mut one_by_one, mut named_peers) = (Vec::new(), Vec::new());
        for option in peers {
            match option {
                PeerOption::One(url) => one_by_one.push(url),
                PeerOption::Named(url) => named_peers.push(url),
            }
        }
        let is_at_home = one_by_one
            .iter()
            .chain(&named_peers)
            .all(PeerUrl::is_loopback);
        let proxies = proxy::proxies(proxy, is_at_home, variable).map_err(usage_error)?;
        let config = Config {
            binds: bind,
            peers: one_by_one,
            named_peers,
            proxies,
            interval: self.messages.interval.0,
            message: self
                .messages
                .message
                .unwrap_or_else(|| Template::default_for(scope)),
            broadcast_scope: scope,
            relay: self.messages.relay,
            mesh: self.mesh.into(),
            echo: self.messages.echo,
            slow_peer: self.messages.slow_peer,
            access: self.access.into(),
            tls: self.tls.into(),
            status: self.status.into(),
            restart_notice: self.limits.restart_notice,
            limits: self.limits.into(),
        };
        config.check().map_err(usage_error)?;
        Ok(config)
    }
}

/// An error of the command line: exits with status 2 and points to the help.
pub(crate) fn usage_error(what: impl Display) -> clap::Error {
    command().error(ErrorKind::ValueValidation, what)
}

/// Reads a command line, which begins with the name of the program.
fn read(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let command = command();
    if let Some((option, next)) = option_without_value(&command, &words) {
        let what = format!(
            "{option} needs a value, and `{next}` is another option; if it is meant, write {option}={next}"
        );
        return Err(usage_error(what));
    }
    let Said {
        command,
        settings,
        matches,
    } = Said::by(command, words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    match (&mut cli.subcommand, matches.subcommand()) {
        (Some(Subcommand::Bench(options)), Some((_, matches))) => options.check_effects(matches)?,
        (Some(Subcommand::CheckConfig(options)), Some((_, matches))) => {
            options.note(&command, matches, &settings);
        }
        _ => {}
    }
    Ok(cli)
}

/// What is said by all sources together.
struct Said {
    command: clap::Command,
    settings: Settings,
    matches: ArgMatches,
}

impl Said {
    /// By a command line, the environment, and the file that one of them names.
    fn by(command: clap::Command, words: Vec<OsString>) -> Result<Self, clap::Error> {
        let settings = file::read(&command, &words).map_err(usage_error)?;
        let command = file::apply(&settings, command);
        let command = command.mut_subcommand(CHECK_CONFIG, |check| file::apply(&settings, check));
        let matches = command.clone().try_get_matches_from(words)?;
        Ok(Self {
            command,
            settings,
            matches,
        })
    }
}

/// What is wrong, in one line and without the hint at the help.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let what = text.split("\n\n").next().unwrap_or(text);
    what.trim_end().replace('\n', " ")
}

/// An option that is followed by another one where its value should be, which would be taken for the value.
fn option_without_value<'a>(
    command: &clap::Command,
    words: &'a [OsString],
) -> Option<(&'a str, &'a str)> {
    let of_subcommands = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let args: Vec<_> = command.get_arguments().chain(of_subcommands).collect();
    let arg_of = |word: &str| {
        let long = word.strip_prefix("--")?;
        args.iter().find(|arg| arg.get_long() == Some(long))
    };
    words.windows(2).find_map(|pair| {
        let (option, next) = (pair[0].to_str()?, pair[1].to_str()?);
        let is_bare = takes_value(arg_of(option)?) && arg_of(next).is_some();
        is_bare.then_some((option, next))
    })
}

fn takes_value(arg: &clap::Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The options as declared above, with what holds for all of them.
fn command() -> clap::Command {
    let command = Cli::command().mut_subcommands(|subcommand| {
        if subcommand.get_name() == CHECK_CONFIG {
            return subcommand.mut_args(of_node);
        }
        subcommand.mut_args(|arg| {
            let takes_value = takes_value(&arg) && !arg.is_positional();
            // The environment is for nodes, which run where nobody types.
            arg.allow_hyphen_values(takes_value).env(None)
        })
    });
    command.mut_args(of_node)
}

fn of_node(arg: clap::Arg) -> clap::Arg {
    let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let takes_value = takes_value(&arg);
    let arg = match arg.get_env() {
        // Set to nothing is how a variable is unset in many a configuration file.
        Some(name) if is_empty(name) && !access::GUARDS.iter().any(|guard| name == *guard) => {
            arg.env(None)
        }
        _ => arg,
    };
    // The rule that makes the name of a variable stands at the end of the help. A value
    // like -1 is a wrong value and not an unknown option.
    arg.hide_env(true).allow_hyphen_values(takes_value)
}
