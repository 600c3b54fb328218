//! Text of strangers, made safe for a terminal and for a log.
//!
//! What a peer sends may contain anything: line feeds that look like lines of ours, escape
//! sequences that repaint the terminal, marks that reverse the reading order. [`Printable`]
//! writes such characters as escapes and everything else as it is.

use std::fmt::{self, Display};

/// Displays a text with the characters that could forge a line or steer a terminal as escapes:
/// `\n`, `\r`, `\t`, and `\u{1b}` and the like for the other control characters (C0, DEL, C1),
/// the line and paragraph separators, and the marks that change the reading order.
///
/// Nothing else is touched, the backslash included: the result is for reading, not for parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut plain_from, mut at) = (0, 0);
        while let Some(c) = next_unusual(self.0, &mut at) {
            let end = at + c.len_utf8();
            if is_unsafe(c) {
                f.write_str(&self.0[plain_from..at])?;
                plain_from = end;
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    _ => write!(f, "{}", c.escape_unicode())?,
                }
            }
            at = end;
        }
        f.write_str(&self.0[plain_from..])
    }
}

/// Displays the beginning of a text that a peer chose, as [`Printable`]: enough to recognize it, and no
/// more, because a peer can make us show it again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excerpt<'a>(pub &'a str);

impl Excerpt<'_> {
    /// Characters that are shown before the rest is left out.
    pub const CHARS_MAX: usize = 100;
}

impl Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(Self::CHARS_MAX) {
            None => Printable(self.0).fmt(f),
            Some((end, _)) => write!(f, "{}…", Printable(&self.0[..end])),
        }
    }
}

/// Displays a text as a string of JSON, with its quotes. Whoever parses it gets the same text back; as it stands it
/// can neither forge a line nor steer a terminal, as with [`Printable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut plain_from = 0;
        for (at, c) in self.0.char_indices() {
            if !matches!(c, '"' | '\\') && !is_unsafe(c) {
                continue;
            }
            f.write_str(&self.0[plain_from..at])?;
            plain_from = at + c.len_utf8();
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // None of them lies beyond what four digits can say.
                _ => write!(f, "\\u{:04x}", u32::from(c))?,
            }
        }
        f.write_str(&self.0[plain_from..])?;
        f.write_str("\"")
    }
}

/// Moves `at` to the next character that is not visible ASCII, which most of most texts is: every message that is
/// shown goes through here.
fn next_unusual(text: &str, at: &mut usize) -> Option<char> {
    let rest = &text[*at..];
    let visible = rest.bytes().position(|byte| !matches!(byte, b' '..=b'~'))?;
    *at += visible;
    rest[visible..].chars().next()
}

/// Whether a character could forge a line, steer a terminal or change the reading order.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Line and paragraph separator, which some viewers break lines at.
            '\u{2028}' | '\u{2029}'
            // Marks, embeddings, overrides and isolates of the reading order.
            | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printable(text: &str) -> String {
        Printable(text).to_string()
    }

    #[test]
    fn text_stays_as_it_is() {
        for text in [
            "",
            "hello",
            "Grüße, 世界 👋🏽",
            r"C:\new\u{1b}",
            "\u{a0}\u{ad}\u{200d}",
        ] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn what_forges_lines_or_steers_terminals_becomes_visible() {
        for (text, expected) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\0\u{7}\u{7f}", r"\u{0}\u{7}\u{7f}"),
            ("\u{80}\u{85}\u{9b}", r"\u{80}\u{85}\u{9b}"),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
            ("\u{202e}gpj.exe\u{202c}", r"\u{202e}gpj.exe\u{202c}"),
            ("\u{2066}x\u{2069}", r"\u{2066}x\u{2069}"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn an_excerpt_is_cut_between_characters_and_says_so() {
        let short = "ü".repeat(Excerpt::CHARS_MAX);
        assert_eq!(Excerpt(&short).to_string(), short);
        let long = short.clone() + "\n";
        assert_eq!(Excerpt(&long).to_string(), short + "…");
    }

    #[test]
    fn a_quoted_text_is_a_string_of_json() {
        assert_eq!(Quoted("").to_string(), "\"\"");
        let text = "a\"b\\c\n\u{1b}\u{9b}\u{202e}ü";
        let expected = r#""a\"b\\c\n\u001b\u009b\u202eü""#;
        assert_eq!(Quoted(text).to_string(), expected);
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_parsed_as_what_it_was(text in any::<String>()) {
            let quoted = Quoted(&text).to_string();
            prop_assert!(!quoted.chars().any(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }

        #[test]
        fn the_result_has_nothing_unsafe(text in any::<String>()) {
            let result = printable(&text);
            prop_assert!(!result.chars().any(is_unsafe));
            prop_assert_eq!(printable(&result), result);
        }

        #[test]
        fn safe_text_is_unchanged(text in "\\PC*") {
            prop_assume!(!text.chars().any(is_unsafe));
            prop_assert_eq!(printable(&text), text);
        }
    }
}
