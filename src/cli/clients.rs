//! `wsmesh pub` and `wsmesh sub`: plain clients for scripts.

use std::ffi::OsString;
use std::fmt::Display;
use std::process::ExitCode;

use clap::Args;
use wsmesh::client::{ClientError, Connect, What, listen, publish};
use wsmesh::config::limits::CLIENT_MESSAGE_BYTES_MAX;
use wsmesh::config::{Count, PeerUrl, Size, Time};
use wsmesh::{Framing, Message};

use super::proxy::{ProxyChoice, proxies};
use super::reporting::{complain, usage_error};
use super::request::RequestOptions;
use super::streams::check_framing;
use super::typed::typed;
use crate::console::{Format, StdinInput, StdoutOutput};

/// The time of --timeout was over.
const STATUS_TIMED_OUT: u8 = 27;

#[derive(Debug, Args)]
pub(super) struct ConnectOptions {
    /// The server, and the channel at it
    #[arg(id = "URL", value_name = "URL", value_parser = typed::<PeerUrl>())]
    url: PeerUrl,

    /// Time for everything
    ///
    /// When it is over, the exit status is 27. Without it, it takes as long as it takes, but for a server that does
    /// not answer: it is given up after 10 s when it is connected to, after two minutes of silence when it is connected.
    #[arg(long, value_name = "TIME", value_parser = typed::<Time>())]
    timeout: Option<Time>,

    /// The largest message
    ///
    /// That is sent, or taken in.
    #[arg(long, value_name = "SIZE", value_parser = typed::<Size>())]
    #[arg(default_value_t = Size(CLIENT_MESSAGE_BYTES_MAX))]
    max_message: Size,

    /// Connect through this proxy (http://host:port, socks5://host:port, off)
    ///
    /// As a node does, and with the same variables in the environment.
    #[arg(long, value_name = "URL", value_parser = typed::<ProxyChoice>())]
    proxy: Option<ProxyChoice>,

    #[command(flatten)]
    request: RequestOptions,
}

impl ConnectOptions {
    fn connect(&self) -> Result<Connect, String> {
        let variable = |name: &str| std::env::var(name).ok();
        let urls = std::slice::from_ref(&self.url);
        Ok(Connect {
            fields: self.request.header.clone(),
            subprotocols: self.request.subprotocol.clone(),
            token: self.request.token()?,
            tls: self.request.tls.to_config(),
            proxies: proxies(
                self.proxy.clone(),
                urls.iter().all(PeerUrl::is_loopback),
                variable,
            )?,
            message_bytes_max: self.max_message.0,
            timeout: self.timeout.map(|timeout| timeout.0),
            ..Connect::to(self.url.clone())
        })
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 when the server has taken all, 1 when not, 2 when an option is wrong, 27 when the time \
                        is over."
)]
pub(crate) struct PubOptions {
    #[command(flatten)]
    connect: ConnectOptions,

    /// The message; - or nothing: messages from standard input
    #[arg(id = "TEXT", value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<OsString>,

    /// How messages are told apart on standard input
    ///
    /// lines: a line feed ends each. nul: a zero byte does. length: before each stands how many bytes it has, in four
    /// bytes, the most significant first. raw: all of it is one message.
    #[arg(long, value_name = "FRAMING", value_parser = typed::<Framing>())]
    #[arg(default_value_t = Framing::default())]
    framing: Framing,

    /// Send binary messages instead of text
    ///
    /// Without it only what is not UTF-8 is sent as binary.
    #[arg(long)]
    binary: bool,

    /// Messages a second at most, from standard input
    ///
    /// Evenly spread. Without it they go as fast as the server takes them; a node closes who publishes more than its
    /// --max-publish-rate.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    rate: Option<Count>,
}

impl PubOptions {
    /// Publishes. Ends the process if an option is wrong.
    pub(crate) fn run(&self) -> ExitCode {
        let wrong = |what: &dyn Display| -> ! { usage_error("pub", what).exit() };
        let connect = self.connect.connect();
        let connect = connect.unwrap_or_else(|error| wrong(&error));
        let text = self.text.as_ref().filter(|text| *text != "-");
        let what = match text.map(|text| text.to_str()) {
            Some(_) if self.framing != Framing::default() => {
                wrong(&"--framing is for messages from standard input, and there is a TEXT")
            }
            Some(_) if self.rate.is_some() => {
                wrong(&"--rate is for messages from standard input, and there is a TEXT")
            }
            Some(None) => {
                wrong(&"TEXT is not UTF-8: give it on standard input, with --framing raw")
            }
            Some(Some(text)) if self.binary => What::One(Message::binary(text.to_owned())),
            Some(Some(text)) => What::One(Message::text(text.to_owned())),
            None => match StdinInput::open() {
                Ok(input) => What::Stream {
                    input: Box::new(input),
                    framing: self.framing,
                    is_binary: self.binary,
                    rate: self.rate.map(|rate| rate.0),
                },
                Err(error) => return complain(format_args!("standard input: {error}")),
            },
        };
        status_of("pub", publish(&connect, what).map(drop))
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 when --count messages have come, after Ctrl-C, and when nobody reads any more; 1 when \
                        something failed, 2 when an option is wrong, 27 when the time is over."
)]
pub(crate) struct SubOptions {
    #[command(flatten)]
    connect: ConnectOptions,

    /// End after so many messages
    ///
    /// Without it after Ctrl-C only.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    count: Option<Count>,

    /// text, json, raw, or a template ('%t %m')
    ///
    /// As the option of a node. %m is the message as text, a line each.
    #[arg(long, value_name = "FORMAT", value_parser = typed::<Format>(), default_value = "%m")]
    format: Format,

    /// How raw messages are told apart
    ///
    /// With --format raw. lines: a line feed ends each. nul: a zero byte does. length: before each stands how many bytes
    /// it has, in four bytes, the most significant first. raw: they are not told apart.
    #[arg(long, value_name = "FRAMING", value_parser = typed::<Framing>())]
    #[arg(default_value_t = Framing::default())]
    framing: Framing,
}

impl SubOptions {
    /// Listens. Ends the process if an option is wrong.
    pub(crate) fn run(&self) -> ExitCode {
        let wrong = |what: &dyn Display| -> ! { usage_error("sub", what).exit() };
        let connect = self.connect.connect();
        let connect = connect.unwrap_or_else(|error| wrong(&error));
        if let Err(error) = check_framing(self.framing, &self.format) {
            wrong(&error);
        }
        if self.count == Some(Count(0)) {
            wrong(&"--count 0: there would be nothing to wait for; at least 1");
        }
        let mut output = match StdoutOutput::open(self.format.clone(), self.framing) {
            Ok(output) => output,
            Err(error) => return complain(format_args!("standard output: {error}")),
        };
        let count = self.count.map(|count| count.0 as u64);
        let done = listen(&connect, count, &mut output);
        output.finish();
        status_of("sub", done)
    }
}

fn status_of(subcommand: &str, done: Result<(), ClientError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ ClientError::TimedOut(_)) => {
            complain(error);
            ExitCode::from(STATUS_TIMED_OUT)
        }
        Err(error @ ClientError::Failed(_)) => complain(error),
        Err(error) => usage_error(subcommand, error).exit(),
    }
}
