//! Options that say what the node writes to its standard output.

use clap::Args;
use wsmesh::Framing;

use super::typed::typed;
use crate::console::Format;

#[derive(Debug, Args)]
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

    /// lines, nul, length or raw
    ///
    /// How messages are told apart, with --format raw. lines: a line feed ends each. nul: a zero byte does. length: before each stands how many
    /// bytes it has, in four bytes, the most significant first. raw: they are not told apart.
    #[arg(long, env = "WSMESH_FRAMING", value_name = "FRAMING")]
    #[arg(value_parser = typed::<Framing>(), default_value_t = Framing::default())]
    pub(crate) framing: Framing,
}

impl StreamOptions {
    /// Finds an option that would do nothing, which is never what was meant.
    pub(super) fn check(&self) -> Result<(), String> {
        check_framing(self.framing, &self.format)
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
