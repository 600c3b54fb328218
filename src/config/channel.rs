//! The name of a channel: a path.

use std::fmt;
use std::str::FromStr;

use super::limits::CHANNEL_BYTES_MAX;
use crate::printable::Excerpt;

/// The name of a channel, as the path of a URL has it; by itself `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel(Box<str>);

impl Channel {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Channel {
    fn default() -> Self {
        Self("/".into())
    }
}

impl FromStr for Channel {
    type Err = ChannelError;

    fn from_str(text: &str) -> Result<Self, ChannelError> {
        check_channel(text).map(|()| Self(text.into()))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Checks that a text is a channel: a path as the URL of a peer has it, without query.
pub(crate) fn check_channel(text: &str) -> Result<(), ChannelError> {
    let error = |problem| {
        Err(ChannelError {
            given: text.to_owned(),
            problem,
        })
    };
    if text.len() > CHANNEL_BYTES_MAX {
        return error(Problem::TooLong);
    }
    if !text.starts_with('/') {
        return error(Problem::NoSlash);
    }
    if let Some(c) = text.chars().find(|c| "?#".contains(*c)) {
        return error(Problem::NotPath(c));
    }
    match text.chars().find(|c| !is_in_target(*c)) {
        Some(c) => error(Problem::Character(c)),
        None => Ok(()),
    }
}

/// Whether a path or query may have this character as it is.
pub(super) fn is_in_target(c: char) -> bool {
    c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c)
}

/// Why a text is no channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no channel: {problem}", Excerpt(given))]
pub struct ChannelError {
    given: String,
    problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("it has more than {CHANNEL_BYTES_MAX} bytes")]
    TooLong,
    #[error("it must start with /, as the path of a URL does")]
    NoSlash,
    #[error("it is a path alone, without {0}")]
    NotPath(char),
    #[error("{0:?} must be percent-encoded, as in a URL")]
    Character(char),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_path() {
        let longest = format!("/{}", "x".repeat(CHANNEL_BYTES_MAX - 1));
        for text in ["/", "/sensors", "//", "/a/b;c=1/%20~", &longest] {
            assert_eq!(check_channel(text), Ok(()));
        }
        for (text, expected) in [
            (
                "",
                "`` is no channel: it must start with /, as the path of a URL does",
            ),
            ("sensors", "`sensors` is no channel: it must start"),
            (
                "/a?b",
                "`/a?b` is no channel: it is a path alone, without ?",
            ),
            ("/#", "`/#` is no channel: it is a path alone, without #"),
            (
                "/grün",
                "`/grün` is no channel: 'ü' must be percent-encoded, as in a URL",
            ),
            ("/a b", "`/a b` is no channel: ' ' must be"),
            ("/\n", r"`/\n` is no channel: '\n' must be"),
        ] {
            let error = check_channel(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = check_channel(&(longest + "x")).unwrap_err().to_string();
        assert!(error.ends_with("it has more than 255 bytes"), "{error}");
    }
}
