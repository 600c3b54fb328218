//! The command line: flags, environment variables and help texts.
//!
//! Syntax only: turns text into a [`Config`] and touches nothing. What a value means and what it
//! may be is the business of [`wsmesh::config`].

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, Parser};
use log::LevelFilter;
use wsmesh::config::{BindAddress, Count, Every, Limits, PeerUrl, Size, SlowPeer, Template, Time};
use wsmesh::{Config, Printable};

const LIMITS: Limits = Limits::DEFAULT;

/// A node of a brokerless WebSocket mesh
///
/// Accepts WebSocket peers, dials others, and sends a message to all of them at regular times.
/// Messages received go to standard output, logs to standard error.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Cli {
    #[command(flatten, next_help_heading = "Addresses")]
    addresses: Addresses,
    #[command(flatten, next_help_heading = "Messages")]
    messages: Messages,
    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitOptions,
    #[command(flatten, next_help_heading = "Logging")]
    logging: Logging,
}

const AFTER_HELP: &str = "\
Every option can be given in the environment too: --max-head as WSMESH_MAX_HEAD.
Times have a unit (500ms, 10s, 2m, 1h 30m), sizes may have one (512B, 64KiB, 1MB).";

const AFTER_LONG_HELP: &str = "\
Every option can be given in the environment too: --max-head 16KiB as WSMESH_MAX_HEAD=16KiB, \
--echo as WSMESH_ECHO=true, -vv as WSMESH_VERBOSE=2. The command line goes first.

Times have a unit (500ms, 10s, 2m, 1h 30m), sizes may have one (512B, 64KiB, 1MB; a bare number \
is bytes).

Exit status: 0 after Ctrl-C or SIGTERM, 1 when something failed while running, 2 when an option \
is wrong.

Examples:
  wsmesh --bind localhost:8080
  wsmesh --bind localhost:8085 --peers ws://localhost:8080
  wsmesh --peers ws://localhost:8080,ws://localhost:8085 --interval off";

#[derive(Debug, Args)]
struct Addresses {
    /// Listen on this address (host:port, ip:port, [ipv6]:port)
    ///
    /// Listen on this address: host:port, ip:port or [ipv6]:port. A name with several addresses,
    /// as localhost often is, listens on all of them. Port 0 lets the system choose; the log
    /// says which port it is. May be repeated or given as a list with commas. Without it the
    /// node only dials, and --peers is required.
    #[arg(
        short,
        long,
        env = "WSMESH_BIND",
        value_name = "ADDR",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<BindAddress>())]
    bind: Vec<BindAddress>,

    /// Dial these peers (ws://host[:port][/path][?query])
    ///
    /// Dial these peers and keep dialing them: ws://host[:port][/path][?query]. A list with
    /// commas, and may be repeated; an empty item is an error, the same URL twice is dialed
    /// once, and a comma inside a URL is written %2C. A peer that cannot be reached, or is lost,
    /// is dialed again for ever, less and less often. A URL that leads to this node itself is
    /// left alone.
    #[arg(
        short,
        long,
        env = "WSMESH_PEERS",
        value_name = "URL",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<PeerUrl>())]
    peers: Vec<PeerUrl>,
}

#[derive(Debug, Args)]
struct Messages {
    /// Time between two broadcasts, or off
    ///
    /// Time between two broadcasts to all peers, or off for none. Kept to the clock: traffic
    /// neither delays nor bunches it.
    #[arg(long, env = "WSMESH_INTERVAL", value_name = "TIME")]
    #[arg(value_parser = typed::<Every>(), default_value_t = Every(Config::default().interval))]
    interval: Every,

    /// Text of the broadcast, with {index} {bind} {seq} {time}
    ///
    /// Text of the broadcast. {index} becomes the number of the receiving peer, {bind} the
    /// address this node listens on, {seq} the number of the broadcast and {time} its time in
    /// UTC; {{ and }} are the braces themselves. With {index} the text is made for each peer by
    /// itself; without it once for all, which is cheaper with many peers.
    #[arg(long, env = "WSMESH_MESSAGE", value_name = "TEXT")]
    #[arg(value_parser = typed::<Template>(), default_value_t = Template::default())]
    message: Template,

    /// Also send each message back to the peer that sent it
    ///
    /// Also send each data message back to the peer that sent it: unchanged, in order, text as
    /// text and binary as binary. For debugging and for conformance suites.
    #[arg(long, env = "WSMESH_ECHO", value_parser = BoolishValueParser::new())]
    echo: bool,

    /// What happens to a peer that does not read
    ///
    /// What happens to a peer that reads so slowly that its --outbox is full: disconnect closes
    /// it with code 1013, so that it knows; drop-oldest makes room by dropping what has waited
    /// longest; drop-newest drops what does not fit.
    #[arg(
        long,
        env = "WSMESH_SLOW_PEER",
        value_name = "POLICY",
        hide_possible_values = true
    )]
    #[arg(value_parser = slow_peer(), default_value_t = SlowPeer::default())]
    slow_peer: SlowPeer,
}

#[derive(Debug, Args)]
struct LimitOptions {
    /// Connections in all
    ///
    /// Connections in all, dialed and accepted. At the limit further peers hear 503, until 10 %
    /// have left. Each connection takes a file descriptor; the limit of the system is raised as
    /// far as it allows.
    #[arg(long, env = "WSMESH_MAX_CONNECTIONS", value_name = "NUMBER")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(LIMITS.connections_max))]
    max_connections: Count,

    /// Connections accepted from one address
    ///
    /// Connections accepted from one remote address. Further ones hear 429. Clients behind one
    /// NAT or proxy share it.
    #[arg(
        long,
        env = "WSMESH_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "NUMBER"
    )]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(LIMITS.connections_per_address_max))]
    max_connections_per_address: Count,

    /// Connections accepted that have not upgraded yet
    ///
    /// Connections accepted that have not upgraded to WebSocket yet. Further ones hear 503.
    /// Keeps peers that connect and say nothing from filling the node.
    #[arg(long, env = "WSMESH_MAX_HANDSHAKES", value_name = "NUMBER")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(LIMITS.handshakes_max))]
    max_handshakes: Count,

    /// Time to connect and upgrade
    ///
    /// Time until a connection, accepted or dialed, is upgraded to WebSocket, from its very
    /// start. Then it is dropped, even if it is still sending its head byte by byte.
    #[arg(long, env = "WSMESH_HANDSHAKE_TIMEOUT", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.handshake_timeout))]
    handshake_timeout: Time,

    /// Size of an HTTP head
    ///
    /// Size of the HTTP head of an upgrade, request or response. A longer request hears 431, a
    /// longer response ends the dial.
    #[arg(long, env = "WSMESH_MAX_HEAD", value_name = "SIZE")]
    #[arg(value_parser = typed::<Size>(), default_value_t = Size(LIMITS.head_bytes_max))]
    max_head: Size,

    /// Size of a message
    ///
    /// Size of a message, all its fragments together. A peer that sends a longer one is closed
    /// with code 1009.
    #[arg(long, env = "WSMESH_MAX_MESSAGE", value_name = "SIZE")]
    #[arg(value_parser = typed::<Size>(), default_value_t = Size(LIMITS.message_bytes_max))]
    max_message: Size,

    /// Bytes that may wait for one peer
    ///
    /// Bytes that may wait to be sent to one peer, the message that overflows it included; at
    /// least twice --max-message. What happens beyond it is --slow-peer. Every peer that does
    /// not read may cost this much memory.
    #[arg(long, env = "WSMESH_OUTBOX", value_name = "SIZE")]
    #[arg(value_parser = typed::<Size>(), default_value_t = Size(LIMITS.outbox_bytes_max))]
    outbox: Size,

    /// Silence after which a peer is pinged, or off
    ///
    /// A peer that sent nothing for this long is pinged, and dropped after twice this time. With
    /// off, a peer that vanished without a word is noticed only when something is sent to it.
    #[arg(long, env = "WSMESH_PING_INTERVAL", value_name = "TIME")]
    #[arg(value_parser = typed::<Every>(), default_value_t = Every(LIMITS.ping_interval))]
    ping_interval: Every,

    /// Time for a peer to answer a Close
    ///
    /// Time a peer has to answer a Close before its connection is dropped.
    #[arg(long, env = "WSMESH_CLOSE_TIMEOUT", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.close_timeout))]
    close_timeout: Time,

    /// Time for all peers to go after Ctrl-C
    ///
    /// Time for all peers to answer their Close after Ctrl-C or SIGTERM. Then the node ends
    /// without them. A second Ctrl-C ends it at once.
    #[arg(long, env = "WSMESH_SHUTDOWN_TIMEOUT", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.shutdown_timeout))]
    shutdown_timeout: Time,

    /// Longest wait before a peer is dialed again for the first time
    ///
    /// Longest wait before a peer that was lost or not reached is dialed again. Doubles with
    /// each failure; the wait itself is random between zero and this, so that many nodes do not
    /// dial at the same moment.
    #[arg(long, env = "WSMESH_RETRY_MIN", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.retry_min))]
    retry_min: Time,

    /// Longest wait before a peer is dialed again at all
    ///
    /// The wait before a peer is dialed again stops doubling here.
    #[arg(long, env = "WSMESH_RETRY_MAX", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.retry_max))]
    retry_max: Time,
}

#[derive(Debug, Args)]
struct Logging {
    /// Log more: -v debug, -vv trace
    ///
    /// Log more than info: -v debug, -vv trace (in the environment a number). Libraries log
    /// warnings and errors only. RUST_LOG, if set, goes before both -v and -q and reaches the
    /// libraries too: RUST_LOG=wsmesh=debug,mio=trace.
    #[arg(short, long, env = "WSMESH_VERBOSE", action = ArgAction::Count)]
    verbose: u8,

    /// Log less: -q warnings, -qq errors, -qqq nothing
    ///
    /// Log less than info: -q warnings, -qq errors, -qqq nothing (in the environment a number).
    /// Why the program ended with status 1 is always said.
    #[arg(short, long, env = "WSMESH_QUIET", action = ArgAction::Count)]
    quiet: u8,
}

impl Cli {
    /// Reads the arguments and the environment of the process. Ends the process with the help
    /// (status 0) or with what is wrong (status 2).
    pub(crate) fn from_process() -> Cli {
        Cli::parse()
    }

    /// What to log where RUST_LOG does not say.
    pub(crate) fn log_level(&self) -> LevelFilter {
        let level = i16::from(self.logging.verbose) - i16::from(self.logging.quiet);
        match level {
            ..=-3 => LevelFilter::Off,
            -2 => LevelFilter::Error,
            -1 => LevelFilter::Warn,
            0 => LevelFilter::Info,
            1 => LevelFilter::Debug,
            2.. => LevelFilter::Trace,
        }
    }

    /// What the node is told.
    ///
    /// # Errors
    /// Values that are valid by themselves but not together.
    pub(crate) fn into_config(self) -> Result<Config, clap::Error> {
        let mut peers = Vec::with_capacity(self.addresses.peers.len());
        for peer in self.addresses.peers {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        let limits = self.limits;
        let config = Config {
            binds: self.addresses.bind,
            peers,
            interval: self.messages.interval.0,
            message: self.messages.message,
            echo: self.messages.echo,
            slow_peer: self.messages.slow_peer,
            limits: Limits {
                connections_max: limits.max_connections.0,
                connections_per_address_max: limits.max_connections_per_address.0,
                handshakes_max: limits.max_handshakes.0,
                handshake_timeout: limits.handshake_timeout.0,
                head_bytes_max: limits.max_head.0,
                message_bytes_max: limits.max_message.0,
                outbox_bytes_max: limits.outbox.0,
                ping_interval: limits.ping_interval.0,
                close_timeout: limits.close_timeout.0,
                shutdown_timeout: limits.shutdown_timeout.0,
                retry_min: limits.retry_min.0,
                retry_max: limits.retry_max.0,
            },
        };
        config.check().map_err(usage_error)?;
        Ok(config)
    }
}

/// An error of the command line: exits with status 2 and points to the help.
pub(crate) fn usage_error(what: impl Display) -> clap::Error {
    Cli::command().error(ErrorKind::ValueValidation, what)
}

/// Parses a value with its own [`FromStr`] and lets its own error speak, which names what was
/// typed; we add where it was typed.
fn typed<T>() -> Typed<T> {
    Typed(PhantomData)
}

struct Typed<T>(PhantomData<fn() -> T>);

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        typed()
    }
}

impl<T> TypedValueParser for Typed<T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, clap::Error> {
        let place = match (source, arg.and_then(clap::Arg::get_env), arg) {
            (ValueSource::EnvVariable, Some(name), _) => name.to_string_lossy().into_owned(),
            (_, _, Some(arg)) => arg.to_string(),
            (_, _, None) => String::new(),
        };
        let error = |what: &dyn Display| {
            let text = format!("{place}: {what}");
            command.clone().error(ErrorKind::ValueValidation, text)
        };
        match value.to_str() {
            Some(text) => text.parse().map_err(|what| error(&what)),
            None => {
                let shown = value.to_string_lossy();
                Err(error(&format_args!("`{}` is not UTF-8", Printable(&shown))))
            }
        }
    }
}

/// The policies by name; clap knows them all, so that it can suggest the right one.
fn slow_peer() -> impl TypedValueParser<Value = SlowPeer> {
    PossibleValuesParser::new(SlowPeer::ALL.map(SlowPeer::as_str)).try_map(|name| name.parse())
}
