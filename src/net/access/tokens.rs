//! Tokens and what they are good for. Pure: text in, verdict out.

use std::fmt;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::config::limits::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, TOKENS_MAX};

/// What a peer may do in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) publish: bool,
    pub(crate) subscribe: bool,
}

impl Rights {
    pub(crate) const ALL: Self = Self {
        publish: true,
        subscribe: true,
    };
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) neighbor: bool,
    /// To look at what the node does.
    pub(super) status: bool,
    rights: Rights,
    /// The channels of plain peers; none named are all.
    channels: Vec<Pattern>,
}

impl Grant {
    /// What it allows a plain peer in a channel; `None`: nothing.
    pub(super) fn in_channel(&self, channel: &str) -> Option<Rights> {
        let is_meant =
            self.channels.is_empty() || self.channels.iter().any(|one| one.fits(channel));
        let Rights { publish, subscribe } = self.rights;
        (is_meant && (publish || subscribe)).then_some(self.rights)
    }
}

/// A channel, or all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: Box<str>,
    is_beginning: bool,
}

impl Pattern {
    fn parse(word: &str) -> Result<Self, &'static str> {
        let (text, is_beginning) = match word.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (word, false),
        };
        match text.contains(['*', '?', '#']) {
            true => Err("in a channel, * may stand at the end only, and ? and # not at all"),
            false => Ok(Self {
                text: text.into(),
                is_beginning,
            }),
        }
    }

    fn fits(&self, channel: &str) -> bool {
        match self.is_beginning {
            true => channel.starts_with(&*self.text),
            false => *channel == *self.text,
        }
    }
}

/// What is kept of a token: enough to know it again, and nobody can be let in by it.
type Hash = [u8; SHA256_OUTPUT_LEN];

/// The tokens of a file.
pub(super) struct Tokens(Vec<(Hash, Grant)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Reads a file of tokens: one a line, followed by its rights and channels; what follows a `#` is left
    /// out.
    ///
    /// # Errors
    /// In words that continue a sentence about the file: the line and what is wrong with it, never the token.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens: Vec<(Hash, Grant)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let fault = |what: &dyn fmt::Display| format!("line {}: {what}", index + 1);
            let mut words = words(line);
            let Some(token) = words.next() else { continue };
            check_token(token).map_err(|what| fault(&what))?;
            let grant = parse_grant(words).map_err(|what| fault(&what))?;
            let hash = hash(token);
            if tokens.iter().any(|(other, _)| *other == hash) {
                return Err(fault(&"the token stands in the file already"));
            }
            if tokens.len() == TOKENS_MAX {
                return Err(fault(&format!("there are {TOKENS_MAX} tokens at most")));
            }
            tokens.push((hash, grant));
        }
        match tokens.is_empty() {
            true => Err("there is no token in it, so nobody could come in".to_owned()),
            false => Ok(Self(tokens)),
        }
    }

    /// What a token is good for that somebody shows. Takes as long whatever it is and whichever it is like: how
    /// long a comparison takes would tell how much of a guess is right.
    pub(super) fn find(&self, shown: &str) -> Option<&Grant> {
        let shown = hash(shown);
        self.0.iter().fold(None, |found, (hash, grant)| {
            let difference = hash
                .iter()
                .zip(&shown)
                .fold(0, |all, (one, other)| all | (one ^ other));
            if difference == 0 { Some(grant) } else { found }
        })
    }
}

/// Reads a file with the one token that is shown to others, which may be a file of tokens with one line.
///
/// # Errors
/// As [`Tokens::parse`].
pub(super) fn parse_own(text: &str) -> Result<Box<str>, String> {
    let mut lines = text.lines().filter_map(|line| words(line).next());
    let token = lines.next().ok_or("there is no token in it")?;
    check_token(token)?;
    match lines.next() {
        None => Ok(token.into()),
        Some(_) => Err("there is more than one token in it: which one is to be shown?".to_owned()),
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split('#')
        .next()
        .unwrap_or_default()
        .split_whitespace()
}

/// The characters that need no quoting anywhere: in a header field, a subprotocol, a URL.
fn check_token(token: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match () {
        () if !token.bytes().all(is_plain) => Err(
            "a token has letters, digits and -._~ only; `openssl rand -hex 32` makes one"
                .to_owned(),
        ),
        () if token.len() < TOKEN_BYTES_MIN => Err(format!(
            "a token of {} characters can be guessed: it has {TOKEN_BYTES_MIN} at least; \
             `openssl rand -hex 32` makes one",
            token.len()
        )),
        () if token.len() > TOKEN_BYTES_MAX => Err(format!(
            "the token is too long: it has {TOKEN_BYTES_MAX} characters at most"
        )),
        () => Ok(()),
    }
}

/// Rights and channels in any order. Without any right: all that there are, but with channels those of plain peers
/// only, because a neighbor hears all channels.
fn parse_grant<'a>(words: impl Iterator<Item = &'a str>) -> Result<Grant, String> {
    let mut grant = Grant {
        neighbor: false,
        status: false,
        rights: Rights {
            publish: false,
            subscribe: false,
        },
        channels: Vec::new(),
    };
    for word in words {
        match word {
            "neighbor" => grant.neighbor = true,
            "status" => grant.status = true,
            "publish" => grant.rights.publish = true,
            "subscribe" => grant.rights.subscribe = true,
            _ if word.starts_with('/') => grant.channels.push(Pattern::parse(word)?),
            _ => {
                return Err(
                    "after the token stand its rights (neighbor, publish, subscribe, status) and channels \
                     (/sensors, /alerts/*), and something else is there"
                        .to_owned(),
                );
            }
        }
    }
    let is_plain = grant.rights.publish || grant.rights.subscribe;
    if grant.neighbor && !is_plain && !grant.channels.is_empty() {
        return Err(
            "a neighbor hears all channels: leave them out, or add publish or subscribe".to_owned(),
        );
    }
    if grant.status && !grant.neighbor && !is_plain && !grant.channels.is_empty() {
        return Err(
            "who looks at the status needs no channels: leave them out, or add publish or subscribe"
                .to_owned(),
        );
    }
    if !grant.neighbor && !is_plain && !grant.status {
        grant.rights = Rights::ALL;
        grant.neighbor = grant.channels.is_empty();
        grant.status = grant.channels.is_empty();
    }
    Ok(grant)
}

fn hash(token: &str) -> Hash {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "0123456789abcdef-one";
    const TWO: &str = "0123456789abcdef-two";

    fn grant(rest: &str) -> Grant {
        let tokens = Tokens::parse(&format!("{ONE} {rest}")).expect("it is a file of tokens");
        tokens.find(ONE).expect("it is there").clone()
    }

    /// `npa`: neighbor, publish, subscribe.
    fn shown(grant: &Grant, channel: &str) -> String {
        let rights = grant.in_channel(channel);
        let marks = [
            (grant.neighbor, 'n'),
            (rights.is_some_and(|rights| rights.publish), 'p'),
            (rights.is_some_and(|rights| rights.subscribe), 's'),
        ];
        marks
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, mark)| mark)
            .collect()
    }

    #[test]
    fn a_token_is_good_for_what_its_line_says() {
        for (line, expected) in [
            ("", "nps"),
            ("# of the gateway", "nps"),
            ("neighbor", "n"),
            ("publish", "p"),
            ("subscribe publish", "ps"),
            ("neighbor subscribe", "ns"),
            ("/a", "ps"),
            ("subscribe /b /a", "s"),
            ("publish /b", ""),
            ("/a/*", ""),
            ("/*", "ps"),
            ("neighbor publish /b", "n"),
        ] {
            assert_eq!(shown(&grant(line), "/a"), expected, "{line}");
        }
        let under = grant("/a/*");
        for (channel, expected) in [("/a/", "ps"), ("/a/b/c", "ps"), ("/a", ""), ("/ab", "")] {
            assert_eq!(shown(&under, channel), expected, "{channel}");
        }
    }

    #[test]
    fn only_what_stands_there_is_found() {
        let file = format!("# ours\n\n  {ONE}  # the first\n{TWO} publish\n");
        let tokens = Tokens::parse(&file).expect("it is a file of tokens");
        assert_eq!(tokens.0.len(), 2);
        assert_eq!(
            tokens.find(TWO).map(|grant| shown(grant, "/")),
            Some("p".to_owned())
        );
        for other in [
            "",
            "#",
            "0123456789abcdef-on",
            "0123456789abcdef-one ",
            "publish",
        ] {
            assert!(tokens.find(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_without_the_token() {
        let secret = "0123456789abcdef+secret";
        for (line, expected) in [
            ("", "no token"),
            ("# nothing", "no token"),
            ("short", "line 1: a token of 5 characters"),
            (secret, "line 1: a token has letters, digits"),
            (
                "0123456789abcdef-x \n0123456789abcdef-x",
                "line 2: the token stands in the file already",
            ),
            (
                "0123456789abcdef-x read",
                "line 1: after the token stand its rights",
            ),
            ("0123456789abcdef-x /a*b", "line 1: in a channel"),
            (
                "0123456789abcdef-x neighbor /a",
                "line 1: a neighbor hears all",
            ),
        ] {
            let error = Tokens::parse(line).expect_err(line);
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("0123456789abcdef"), "{error}");
        }
        let many: String = (0..=TOKENS_MAX).map(|n| format!("{n:020}\n")).collect();
        assert!(
            Tokens::parse(&many)
                .expect_err("one too many")
                .contains("at most")
        );
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        assert!(
            Tokens::parse(&long)
                .expect_err("too long")
                .contains("too long")
        );
    }

    #[test]
    fn the_own_token_is_one() {
        let file = format!("# ours\n{ONE} neighbor # of this site\n");
        assert_eq!(parse_own(&file).as_deref(), Ok(ONE));
        for file in [String::new(), format!("{ONE}\n{TWO}"), "short".to_owned()] {
            let error = parse_own(&file).expect_err("it is not one token");
            assert!(!error.contains("0123456789abcdef"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_survived(text in any::<String>(), shown in any::<String>()) {
            if let Ok(tokens) = Tokens::parse(&text) {
                let _ = tokens.find(&shown);
            }
            let _ = parse_own(&text);
        }

        #[test]
        fn each_token_of_a_file_is_found_and_no_other(
            names in prop::collection::hash_set("[A-Za-z0-9._~-]{16,40}", 1..20),
            other in "[A-Za-z0-9._~-]{16,40}",
        ) {
            let file: String = names.iter().map(|name| format!("{name}\n")).collect();
            let tokens = Tokens::parse(&file).expect("it is a file of tokens");
            for name in &names {
                prop_assert!(tokens.find(name).is_some());
            }
            prop_assert_eq!(tokens.find(&other).is_some(), names.contains(&other));
        }
    }
}
