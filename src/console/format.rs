//! How a message is written to standard output. Pure: the time is an argument.

use std::io::{self, Write};
use std::str::FromStr;

use data_encoding::BASE64;
use jiff::Timestamp;
use wsmesh::{Excerpt, Framing, Message, PeerName, Printable, Quoted, Received};

/// Bytes of a binary message that are shown.
const HEX_BYTES_MAX: usize = 32;

/// What is written of each message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// A line for people: who, and what.
    #[default]
    Text,
    /// A line for programs, of which nothing is lost.
    Json,
    /// What was sent and nothing else.
    Raw,
    /// A line as a person wants it.
    Template(Template),
}

/// Text with placeholders: `%t %p %c %m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    /// As it was written.
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Time,
    Peer,
    Channel,
    Message,
}

/// Why a text is no [`Format`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    #[error(
        "`{}` is no format; expected text, json, raw or a template with %, for example '%t %p %c %m'",
        Printable(.0)
    )]
    Unknown(String),
    #[error(
        "`{}` has the placeholder %{}; known are %t (time), %p (peer), %c (channel) and %m (message); write %% for % itself",
        Printable(.text), Printable(.placeholder)
    )]
    Placeholder { text: String, placeholder: String },
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "raw" => Ok(Self::Raw),
            _ if text.contains('%') => text.parse().map(Self::Template),
            _ => Err(FormatError::Unknown(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Raw => "raw",
            Self::Template(template) => &template.text,
        })
    }
}

impl FromStr for Template {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                '%' => match chars.next() {
                    Some('t') => Part::Time,
                    Some('p') => Part::Peer,
                    Some('c') => Part::Channel,
                    Some('m') => Part::Message,
                    Some('%') => {
                        literal.push('%');
                        continue;
                    }
                    other => {
                        return Err(FormatError::Placeholder {
                            text: text.to_owned(),
                            placeholder: other.map(String::from).unwrap_or_default(),
                        });
                    }
                },
                c => {
                    literal.push(c);
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let text = text.to_owned();
        Ok(Self { text, parts })
    }
}

/// How messages are written, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Style {
    pub(crate) format: Format,
    /// How messages in the format `raw` are told apart.
    pub(crate) framing: Framing,
    /// Whether a text for people has colours.
    pub(crate) has_colours: bool,
}

impl Style {
    /// Writes a message that has come at this time.
    pub(super) fn write(&self, line: &mut Vec<u8>, received: &Received<'_>, time: Timestamp) {
        let written = match &self.format {
            Format::Text => write_text(line, received, self.has_colours),
            Format::Json => write_json(line, received, time),
            Format::Raw => {
                self.framing.encode(received.message.as_bytes(), line);
                return;
            }
            Format::Template(template) => write_template(line, template, received, time),
        };
        written.expect("a Vec takes everything");
    }
}

/// `{who} {text}` for text, `{who} [binary, {length} bytes] {hex}` for bytes, of which the first
/// 32 are shown. `who` is the URL of a peer that was dialed, or the address of one that was
/// accepted, or the short id of the node at which a message was published; the latter two are followed by
/// the path, which is the channel, unless that is `/`. What peers chose goes through [`Printable`].
fn write_text(line: &mut Vec<u8>, received: &Received<'_>, has_colours: bool) -> io::Result<()> {
    let (begin, end) = match has_colours {
        true => ("\u{1b}[36m", "\u{1b}[0m"),
        false => ("", ""),
    };
    write!(line, "{begin}{}", received.from)?;
    let is_in_url = matches!(received.from, PeerName::Dialed(_));
    if !is_in_url && received.path != "/" {
        write!(line, "{}", Excerpt(received.path))?;
    }
    write!(line, "{end} ")?;
    write_message(line, received.message)?;
    writeln!(line)
}

fn write_message(line: &mut Vec<u8>, message: &Message) -> io::Result<()> {
    match message {
        Message::Text(text) => write!(line, "{}", Printable(text.as_str())),
        Message::Binary(bytes) => {
            write!(line, "[binary, {} bytes]", bytes.len())?;
            for (at, byte) in bytes.iter().take(HEX_BYTES_MAX).enumerate() {
                let before = if at == 0 { " " } else { "" };
                write!(line, "{before}{byte:02x}")?;
            }
            let cut = bytes.len() > HEX_BYTES_MAX;
            write!(line, "{}", if cut { "…" } else { "" })
        }
    }
}

/// One object: `time`, `peer`, `kind` of the peer, `channel`, and the message as `text` or, if it is binary, as `base64`.
fn write_json(line: &mut Vec<u8>, received: &Received<'_>, time: Timestamp) -> io::Result<()> {
    write!(line, r#"{{"time":"{}","peer":"#, Time(time))?;
    let kind = match received.from {
        PeerName::Dialed(url) => {
            write!(line, "{}", Quoted(&url.to_string()))?;
            "dialed"
        }
        PeerName::Accepted(address) => {
            write!(line, "{}", Quoted(&address.to_string()))?;
            "accepted"
        }
        // The whole of it: a program can tell more of them apart than a person.
        PeerName::Origin(id) => {
            write!(line, "{}", Quoted(&id.to_string()))?;
            "node"
        }
    };
    write!(
        line,
        r#","kind":"{kind}","channel":{},"#,
        Quoted(received.path)
    )?;
    match received.message {
        Message::Text(text) => write!(line, r#""text":{}"#, Quoted(text.as_str()))?,
        Message::Binary(bytes) => write!(line, r#""base64":"{}""#, BASE64.encode(bytes))?,
    }
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn write_template(
    line: &mut Vec<u8>,
    template: &Template,
    received: &Received<'_>,
    time: Timestamp,
) -> io::Result<()> {
    for part in &template.parts {
        match part {
            Part::Literal(text) => line.extend_from_slice(text.as_bytes()),
            Part::Time => write!(line, "{}", Time(time))?,
            Part::Peer => write!(line, "{}", received.from)?,
            Part::Channel => write!(line, "{}", Printable(received.path))?,
            Part::Message => write_message(line, received.message)?,
        }
    }
    writeln!(line)
}

/// A time in UTC, to the millisecond.
pub(super) struct Time(pub(super) Timestamp);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn style(format: &str) -> Style {
        let format = format.parse().unwrap();
        Style {
            format,
            ..Style::default()
        }
    }

    fn written(style: &Style, from: &str, path: &str, message: &Message) -> String {
        let url;
        let from = match (from.parse(), from.parse()) {
            (Ok(address), _) => PeerName::Accepted(address),
            (_, Ok(id)) => PeerName::Origin(id),
            _ => {
                url = from.parse().unwrap();
                PeerName::Dialed(&url)
            }
        };
        let received = Received {
            from,
            path,
            message,
        };
        let mut line = Vec::new();
        let time = "2026-11-28T14:05:13.123456Z".parse().unwrap();
        style.write(&mut line, &received, time);
        String::from_utf8(line).unwrap()
    }

    fn line(from: &str, path: &str, message: Message) -> String {
        written(&style("text"), from, path, &message)
    }

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_line_says_who_and_what() {
        assert_eq!(
            line("127.0.0.1:5321", "/", Message::text("hello")),
            "127.0.0.1:5321 hello\n"
        );
        assert_eq!(
            line("[::1]:5321", "/sensors", Message::text("")),
            "[::1]:5321/sensors \n"
        );
        assert_eq!(
            line("ws://host/sensors", "/sensors", Message::text("hi")),
            "ws://host/sensors hi\n"
        );
        assert_eq!(line(ID, "/", Message::text("hi")), "01234567 hi\n");
        assert_eq!(
            line(ID, "/\u{7}", Message::text("hi")),
            "01234567/\\u{7} hi\n"
        );
    }

    #[test]
    fn bytes_are_shown_in_hex_up_to_a_bound() {
        let bytes = |count: u8| Message::binary((0..count).collect::<Vec<_>>());
        let peer = "127.0.0.1:1";
        assert_eq!(line(peer, "/", bytes(0)), "127.0.0.1:1 [binary, 0 bytes]\n");
        assert_eq!(
            line(peer, "/", bytes(3)),
            "127.0.0.1:1 [binary, 3 bytes] 000102\n"
        );
        let shown = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        assert_eq!(
            line(peer, "/", bytes(32)),
            format!("127.0.0.1:1 [binary, 32 bytes] {shown}\n")
        );
        assert_eq!(
            line(peer, "/", bytes(33)),
            format!("127.0.0.1:1 [binary, 33 bytes] {shown}…\n")
        );
    }

    #[test]
    fn a_peer_cannot_forge_lines_or_steer_the_terminal() {
        let text = "x\r\n127.0.0.1:1 forged\u{1b}[2J\u{9b}2J\u{202e}";
        assert_eq!(
            line("127.0.0.2:2", "/\n\u{1b}]0;x\u{7}", Message::text(text)),
            "127.0.0.2:2/\\n\\u{1b}]0;x\\u{7} \
             x\\r\\n127.0.0.1:1 forged\\u{1b}[2J\\u{9b}2J\\u{202e}\n"
        );
    }

    #[test]
    fn colours_are_around_who_has_sent_it() {
        let style = Style {
            has_colours: true,
            ..style("text")
        };
        assert_eq!(
            written(&style, "127.0.0.1:1", "/x", &Message::text("hi")),
            "\u{1b}[36m127.0.0.1:1/x\u{1b}[0m hi\n"
        );
    }

    #[test]
    fn json_is_an_object_a_line() {
        let json = style("json");
        assert_eq!(
            written(&json, ID, "/x", &Message::text("a\"\n\u{9b}")),
            r#"{"time":"2026-11-28T14:05:13.123Z","peer":"0123456789abcdef0123456789abcdef","kind":"node","channel":"/x","text":"a\"\n\u009b"}"#.to_owned() + "\n"
        );
        assert_eq!(
            written(&json, "[::1]:5", "/", &Message::binary(vec![0, 255])),
            r#"{"time":"2026-11-28T14:05:13.123Z","peer":"[::1]:5","kind":"accepted","channel":"/","base64":"AP8="}"#.to_owned() + "\n"
        );
        let line = written(&json, "ws://host/x?y", "/x", &Message::text(""));
        assert!(
            line.contains(r#""peer":"ws://host/x?y","kind":"dialed""#),
            "{line}"
        );
    }

    #[test]
    fn raw_is_what_was_sent_told_apart_by_the_framing() {
        for (framing, expected) in [
            (Framing::Lines, "a\u{1b}\n"),
            (Framing::Nul, "a\u{1b}\0"),
            (Framing::Length, "\0\0\0\x02a\u{1b}"),
            (Framing::Raw, "a\u{1b}"),
        ] {
            let style = Style {
                framing,
                ..style("raw")
            };
            let message = Message::text("a\u{1b}");
            assert_eq!(written(&style, ID, "/", &message), expected);
        }
    }

    #[test]
    fn a_template_is_filled_in() {
        for (template, expected) in [
            (
                "%t %p %c %m",
                "2026-11-28T14:05:13.123Z 01234567 /x hi\\n\n",
            ),
            ("100%% of %%m: %m%m", "100% of %m: hi\\nhi\\n\n"),
            ("%%", "%\n"),
        ] {
            let written = written(&style(template), ID, "/x", &Message::text("hi\n"));
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn what_is_no_format_is_told_why() {
        for (text, expected) in [
            (
                "xml\n",
                r"`xml\n` is no format; expected text, json, raw or a template with %",
            ),
            ("", "`` is no format"),
            ("%x", "`%x` has the placeholder %x; known are %t"),
            ("50%", "`50%` has the placeholder %; known are"),
        ] {
            let error = text.parse::<Format>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for text in ["text", "json", "raw", "%t: 100%%"] {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
    }

    #[derive(serde::Deserialize)]
    struct Line {
        channel: String,
        text: Option<String>,
        base64: Option<String>,
    }

    fn parsed(line: &str) -> Line {
        assert_eq!(line.lines().count(), 1);
        serde_json::from_str(line).unwrap()
    }

    proptest! {
        #[test]
        fn json_loses_nothing(text in any::<String>(), path in any::<String>(), bytes in any::<Vec<u8>>()) {
            let json = style("json");
            let line = parsed(&written(&json, ID, &path, &Message::text(text.clone())));
            prop_assert_eq!((line.channel, line.text, line.base64), (path, Some(text), None));
            let line = parsed(&written(&json, ID, "/", &Message::binary(bytes.clone())));
            prop_assert_eq!(line.text, None);
            prop_assert_eq!(BASE64.decode(line.base64.unwrap().as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn parsing_never_panics(text in "[%tpcm a]{0,9}|\\PC{0,9}") {
            if let Ok(format) = text.parse::<Format>() {
                prop_assert_eq!(format.to_string(), text);
            }
        }
    }
}
