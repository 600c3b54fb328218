//! Files of tokens, fed with arbitrary text.

use super::{
    Access,
    tokens::{Tokens, parse_own},
};
use crate::{
    config::{
        AccessConfig,
        limits::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, TOKENS_MAX},
    },
    fuzzing::assert_printable,
};

/// With tokens of all kinds, of which this one may do everything: `0123456789abcdef-all`.
pub(crate) fn guarded() -> Access {
    let file = "0123456789abcdef-all\n0123456789abcdef-one subscribe /a/*\n";
    let config = AccessConfig {
        token_in_url: true,
        ..AccessConfig::default()
    };
    Access {
        tokens: Some(Tokens::parse(file).expect("it is a file of tokens")),
        ..Access::unread(config, false)
    }
}

/// A file of tokens: each of them is found and nothing else, and no error shows one.
pub(crate) fn feed_tokens(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // As a person reads the file, without the parser.
    let written: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .collect();
    let is_token = |text: &&str| (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len());
    let hides_all = |error: &str| {
        !written
            .iter()
            .filter(|token| is_token(token))
            .any(|token| error.contains(token))
    };
    match Tokens::parse(text) {
        Ok(tokens) => {
            assert!((1..=TOKENS_MAX).contains(&written.len()));
            for token in &written {
                let grant = tokens.find(token).expect("each is found");
                let in_any = ["/", "/a", "/a/b"].map(|channel| grant.in_channel(channel));
                assert!(
                    grant.neighbor
                        || in_any
                            .iter()
                            .flatten()
                            .all(|rights| rights.publish || rights.subscribe)
                );
                assert!(tokens.find(&token[1..]).is_none() || written.contains(&&token[1..]));
            }
            assert!(
                tokens.find("").is_none() && tokens.find(text).is_none_or(|_| written == [text])
            );
            assert_eq!(format!("{tokens:?}"), format!("Tokens({})", written.len()));
        }
        Err(error) => {
            assert_printable(&error);
            assert!(hides_all(&error), "{error}");
        }
    }
    match parse_own(text) {
        Ok(token) => {
            assert_eq!(written, [&*token]);
            assert!(token.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(Tokens::parse(&token).is_ok_and(|tokens| tokens.find(&token).is_some()));
        }
        Err(error) => {
            assert_printable(&error);
            assert!(hides_all(&error), "{error}");
        }
    }
}
