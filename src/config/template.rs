//! The text of the periodic broadcast with its placeholders.

use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use super::BroadcastScope;
use crate::printable::Printable;

/// The placeholders, as the error text and the help name them.
const KNOWN: &str = "{index}, {bind}, {seq} and {time}";

/// Text with placeholders, parsed once and rendered for every broadcast.
///
/// `{index}` is the receiving peer's number, `{bind}` the address that this node listens on,
/// `{seq}` the number of the broadcast, `{time}` its time in RFC 3339, UTC. `{{` and `}}` stand
/// for the braces themselves.
///
/// ```
/// use wsmesh::config::{Template, Values};
///
/// let template: Template = "{seq}: to {index} from {bind}".parse()?;
/// let values = Values { index: 3, bind: "localhost:8080", seq: 7, time: "" };
/// assert_eq!(template.render(&values), "7: to 3 from localhost:8080");
/// assert!("{name}".parse::<Template>().is_err());
/// # Ok::<(), wsmesh::config::TemplateError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Index,
    Bind,
    Seq,
    Time,
}

/// What the placeholders of a [`Template`] stand for in one rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values<'a> {
    /// Number of the receiving peer among all that receive this broadcast.
    pub index: usize,
    /// The address that this node listens on.
    pub bind: &'a str,
    /// Number of this broadcast.
    pub seq: u64,
    /// Time of this broadcast, RFC 3339 in UTC.
    pub time: &'a str,
}

/// Why a text is not a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The name between braces is none that we know.
    #[error(
        "unknown placeholder {{{}}}; known are {KNOWN} (write {{{{ and }}}} for braces)",
        Printable(.0)
    )]
    Unknown(String),
    /// A `{` without its `}`.
    #[error("a {{ has no matching }}; write {{{{ for a brace itself")]
    Unclosed,
    /// A `}` without its `{`.
    #[error("a }} has no matching {{; write }}}} for a brace itself")]
    Unopened,
}

impl Template {
    /// Whether the text differs from peer to peer, so that it is rendered for each (`{index}`).
    pub fn is_per_peer(&self) -> bool {
        self.pieces.contains(&Piece::Index)
    }

    /// The text with the values in place of the placeholders.
    pub fn render(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Index => push(&mut text, values.index),
                Piece::Bind => text.push_str(values.bind),
                Piece::Seq => push(&mut text, values.seq),
                Piece::Time => text.push_str(values.time),
            }
        }
        text
    }
}

fn push(text: &mut String, value: impl Display) {
    write!(text, "{value}").expect("a String takes everything");
}

impl Template {
    /// What is broadcast unless a person says otherwise. The whole mesh gets one text for all:
    /// `Message from {bind}`.
    pub fn default_for(scope: BroadcastScope) -> Self {
        match scope {
            BroadcastScope::Peers => Self::default(),
            BroadcastScope::Mesh => Template {
                pieces: vec![Piece::Literal("Message from ".to_owned()), Piece::Bind],
            },
        }
    }
}

impl Default for Template {
    /// `Message to client {index} from {bind}`
    fn default() -> Self {
        Template {
            pieces: vec![
                Piece::Literal("Message to client ".to_owned()),
                Piece::Index,
                Piece::Literal(" from ".to_owned()),
                Piece::Bind,
            ],
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                literal.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let inner = brace.strip_prefix('{').ok_or(TemplateError::Unopened)?;
            let end = inner.find(['{', '}']).ok_or(TemplateError::Unclosed)?;
            if inner[end..].starts_with('{') {
                return Err(TemplateError::Unclosed);
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(match &inner[..end] {
                "index" => Piece::Index,
                "bind" => Piece::Bind,
                "seq" => Piece::Seq,
                "time" => Piece::Time,
                unknown => return Err(TemplateError::Unknown(unknown.to_owned())),
            });
            rest = &inner[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Template { pieces })
    }
}

impl Display for Template {
    /// The text that parses to this template.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => {
                    for c in literal.chars() {
                        if matches!(c, '{' | '}') {
                            f.write_char(c)?;
                        }
                        f.write_char(c)?;
                    }
                }
                Piece::Index => f.write_str("{index}")?,
                Piece::Bind => f.write_str("{bind}")?,
                Piece::Seq => f.write_str("{seq}")?,
                Piece::Time => f.write_str("{time}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALUES: Values<'_> = Values {
        index: 3,
        bind: "localhost:8080",
        seq: 7,
        time: "2026-11-22T14:05:13Z",
    };

    fn render(text: &str) -> String {
        text.parse::<Template>().unwrap().render(&VALUES)
    }

    #[test]
    fn placeholders_become_values() {
        assert_eq!(render(""), "");
        assert_eq!(render("plain"), "plain");
        assert_eq!(render("{index}{index}"), "33");
        assert_eq!(
            render("<{seq}|{bind}|{time}>"),
            "<7|localhost:8080|2026-11-22T14:05:13Z>"
        );
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(render("{{index}}"), "{index}");
        assert_eq!(render("{{{index}}}"), "{3}");
        assert_eq!(render(r#"{{"seq":{seq}}}"#), r#"{"seq":7}"#);
    }

    #[test]
    fn only_the_index_makes_it_differ_from_peer_to_peer() {
        assert!(Template::default().is_per_peer());
        assert!(
            !"{bind} {seq} {time} {{index}}"
                .parse::<Template>()
                .unwrap()
                .is_per_peer()
        );
    }

    #[test]
    fn the_default_is_the_text_that_the_help_shows() {
        let text = "Message to client {index} from {bind}";
        assert_eq!(Template::default().to_string(), text);
        assert_eq!(text.parse(), Ok(Template::default()));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, expected) in [
            (
                "{name}",
                "unknown placeholder {name}; known are {index}, {bind}, {seq} and {time} (write {{ and }} for braces)",
            ),
            ("{}", "unknown placeholder {}; "),
            ("{ index }", "unknown placeholder { index }; "),
            ("{\u{1b}}", r"unknown placeholder {\u{1b}}; "),
            (
                "a {index",
                "a { has no matching }; write {{ for a brace itself",
            ),
            ("{in{dex}}", "a { has no matching }"),
            (
                "index}",
                "a } has no matching {; write }} for a brace itself",
            ),
        ] {
            let error = text.parse::<Template>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_displays_what_it_parsed(text in "[{}a-d ]{0,20}|\\PC{0,20}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.to_string(), text);
            }
        }

        #[test]
        fn a_text_without_placeholders_is_itself(text in any::<String>()) {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(render(&doubled), text);
        }
    }
}
