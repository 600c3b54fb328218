//! Options that say what the node writes to its standard output, and reads from its standard input.

use clap::Args;
use wsmesh::config::Channel;
use wsmesh::{Framing, IntakeConfig};

use super::typed::{switch, typed};
use crate::console::Format;

#[derive(Debug, Clone, Args)]
pub(crate) struct StreamOptions {
    /// text, json, raw, or a template ('%p %m')
    ///
    /// How messages are printed. text: a line for people, in colours on a terminal unless NO_COLOR is set. json: an object a line, with time,
    /// peer, kind of the peer (dialed, accepted, node), channel, and text or, of a binary message, base64. raw:
    /// what was sent and nothing else, told apart by --framing. A template has % in it: %t is the time in
    /// UTC, %p the peer, %c the channel, %m the message as in text, and %% a percent sign.
    #[arg(long, env = "WSMESH_FORMAT", value_name = "FORMAT")]
    #[arg(value_parser = typed::<Format>(), default_value_t = Format::default())]
    pub(crate) format: Format,

    /// Publish what comes from standard input
    ///
    /// A line each, or as --framing says. The end of it leaves the node running, unless --exit-on-eof is given. While
    /// a peer has more to take than a quarter of its --outbox nothing is read; if it takes nothing for 10 s, what
    /// --slow-peer says happens to it. A node with --peers reads only while it has somebody to tell. A terminal is
    /// read only in its foreground.
    #[arg(long, env = "WSMESH_STDIN", value_parser = switch())]
    stdin: bool,

    /// Channel of what comes from standard input
    ///
    /// A path, as in the URL of a peer. [default: /]
    #[arg(long, env = "WSMESH_STDIN_CHANNEL", value_name = "PATH")]
    #[arg(value_parser = typed::<Channel>())]
    stdin_channel: Option<Channel>,

    /// Publish it as binary messages
    ///
    /// Without it as text, and what is not UTF-8 as binary.
    #[arg(long, env = "WSMESH_STDIN_BINARY", value_parser = switch())]
    stdin_binary: bool,

    /// Stop at the end of standard input
    ///
    /// As after Ctrl-C, once all that was read is sent.
    #[arg(long, env = "WSMESH_EXIT_ON_EOF", value_parser = switch())]
    exit_on_eof: bool,

    /// lines, nul, length or raw
    ///
    /// How messages are told apart on standard input, and on standard output with --format raw. lines: a line feed ends
    /// each. nul: a zero byte does. length: before each stands how many bytes it has, in four bytes, the
    /// most significant first. raw: they are not, so that all of standard input is one.
    #[arg(long, env = "WSMESH_FRAMING", value_name = "FRAMING")]
    #[arg(value_parser = typed::<Framing>(), default_value_t = Framing::default())]
    pub(crate) framing: Framing,
}

impl StreamOptions {
    /// Finds an option that would do nothing, which is never what was meant.
    pub(super) fn check(&self) -> Result<(), String> {
        let of_stdin = [
            (self.stdin_channel.is_some(), "--stdin-channel"),
            (self.stdin_binary, "--stdin-binary"),
            (self.exit_on_eof, "--exit-on-eof"),
        ];
        match of_stdin.iter().find(|(is_given, _)| *is_given) {
            _ if self.stdin => Ok(()),
            Some((_, option)) => Err(format!("{option} does nothing without --stdin")),
            None => check_framing(self.framing, &self.format)
                .map_err(|error| error + ", and for --stdin"),
        }
    }

    /// What is published of standard input, if anything is.
    pub(crate) fn intake(&self) -> Option<IntakeConfig> {
        self.stdin.then(|| IntakeConfig {
            channel: self.stdin_channel.clone().unwrap_or_default(),
            framing: self.framing,
            is_binary: self.stdin_binary,
            stops_at_end: self.exit_on_eof,
        })
    }
}

/// What is printed for people or as JSON is a line each.
pub(super) fn check_framing(framing: Framing, format: &Format) -> Result<(), String> {
    match framing == Framing::default() || *format == Format::Raw {
        true => Ok(()),
        false => Err(format!(
            "--framing {framing} does nothing with --format {format}: it is for --format raw"
        )),
    }
}
