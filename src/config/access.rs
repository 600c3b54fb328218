//! Who may come in: what a node is told of tokens and of pages in browsers. Names files only; who opens the
//! sockets reads them.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use super::{ConfigError, Subnet};
use crate::printable::Printable;

/// Whom a node lets in, and how it is let in by others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessConfig {
    /// Tokens of which every peer that dials this node needs one, with their rights (`--token-file`).
    /// Default: none is needed.
    pub token_file: Option<PathBuf>,
    /// Whether a token may stand in the URL, as `?token=` (`--token-in-url`), where it ends up in the logs
    /// and histories of others.
    pub token_in_url: bool,
    /// The token that is shown to nodes that are dialed (`--peer-token-file`).
    pub peer_token_file: Option<PathBuf>,
    /// Where peers may connect from (`--allow`). None named is everywhere.
    pub allow: Vec<Subnet>,
    /// Where no peer may connect from, also if it is in [`Self::allow`] (`--deny`).
    pub deny: Vec<Subnet>,
    /// Proxies that say in `X-Forwarded-For` or `Forwarded` whom they ask for (`--trust-forwarded-for`). What they say
    /// is believed, so everything that goes by address goes by that of their clients. Default: none, and nobody
    /// is believed.
    pub trusted_proxies: Vec<Subnet>,
    /// Proxies that say with the PROXY protocol, version 2, whose connection they pass on, before anything else
    /// (`--proxy-protocol`). They have to, and are believed as [`Self::trusted_proxies`] are. Default: none.
    pub introducing_proxies: Vec<Subnet>,
    /// Pages that browsers may connect from, beside those of the same host (`--allow-origin`).
    pub origins: Vec<AllowedOrigin>,
}

impl AccessConfig {
    /// Checks that what is given makes sense together.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let believed = [
            ("--trust-forwarded-for", &self.trusted_proxies),
            ("--proxy-protocol", &self.introducing_proxies),
        ];
        for (flag, proxies) in believed {
            if let Some(range) = proxies.iter().find(|range| range.is_everywhere()) {
                let range = *range;
                return Err(ConfigError::TrustsEverybody { flag, range });
            }
        }
        match self.token_in_url && self.token_file.is_none() {
            true => Err(ConfigError::TokenInUrlUnused),
            false => Ok(()),
        }
    }
}

/// Pages that may connect: those of one origin (RFC 6454), those without one, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// All pages (`any`).
    Any,
    /// Pages that come from no server, as files do (`null`).
    Null,
    /// Pages of this scheme, host and port (`https://example.org`).
    Of(Origin),
}

impl AllowedOrigin {
    /// Whether a page of this origin, as browsers write it, may connect.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Null => origin == "null",
            Self::Of(allowed) => Origin::parse(origin).as_ref() == Some(allowed),
        }
    }
}

impl Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Null => f.write_str("null"),
            Self::Of(Origin { scheme, authority }) => write!(f, "{scheme}://{authority}"),
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text {
            "any" => Ok(Self::Any),
            "null" => Ok(Self::Null),
            _ => Origin::parse(text)
                .map(Self::Of)
                .ok_or_else(|| OriginError(text.to_owned())),
        }
    }
}

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no origin; expected https://host[:port] without a path, as a browser sends it, or null for \
     pages without one, or any for all",
    Printable(.0)
)]
pub struct OriginError(String);

/// Scheme, host and port of a page, in lower case and without a port that need not be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    authority: String,
}

impl Origin {
    /// Reads it as browsers write it: `scheme://host[:port]`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let is_authority = |c: char| c.is_ascii_graphic() && !"/?#@,\\".contains(c);
        let is_origin = !scheme.is_empty()
            && scheme.chars().all(is_scheme)
            && !authority.is_empty()
            && authority.chars().all(is_authority);
        if !is_origin || !is_host(host_of(authority)) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let authority = authority.to_ascii_lowercase();
        let unnamed = match scheme.as_str() {
            "http" | "ws" => ":80",
            "https" | "wss" => ":443",
            _ => "",
        };
        let authority = authority.strip_suffix(unnamed).unwrap_or(&authority);
        Some(Self {
            authority: authority.to_owned(),
            scheme,
        })
    }

    /// Whether a page of this origin comes from the host that it asks for: whatever the port, because a page
    /// of another port of the same host is that host's, too.
    pub(crate) fn is_same_host(origin: &str, host: &str) -> bool {
        let host = host_of(host);
        Self::parse(origin)
            .is_some_and(|origin| host_of(&origin.authority).eq_ignore_ascii_case(host))
    }
}

/// What is left without a port has no other one.
fn is_host(text: &str) -> bool {
    let is_bracketed = text.starts_with('[') && text.ends_with(']');
    !text.is_empty() && (is_bracketed || !text.contains(':'))
}

/// Without the port. An IPv6 address stands in brackets.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(text: &str) -> AllowedOrigin {
        text.parse().expect("it is an origin")
    }

    #[test]
    fn an_origin_is_its_scheme_host_and_port() {
        for (origin, pages) in [
            (
                "https://example.org",
                &["https://example.org", "https://EXAMPLE.org:443"][..],
            ),
            ("http://localhost:80", &["http://localhost"]),
            ("https://[::1]:8443", &["https://[::1]:8443"]),
            ("null", &["null"]),
        ] {
            for page in pages {
                assert!(allowed(origin).allows(page), "{origin} {page}");
            }
            for other in [
                "https://example.org.evil",
                "https://example.org:8443",
                "http://example.org",
                "https://sub.example.org",
                "https://[::1]",
                "",
            ] {
                assert!(!allowed(origin).allows(other), "{origin} {other}");
            }
        }
        for page in ["null", "https://example.org", "", "nonsense"] {
            assert!(allowed("any").allows(page));
        }
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for text in [
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://user@example.org",
            "https://:443",
            "https://a:443:443",
            "https://::1",
            "://example.org",
            "https://a b",
        ] {
            let error = text.parse::<AllowedOrigin>().expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no origin")),
                "{error}"
            );
        }
    }

    #[test]
    fn the_same_host_may_have_another_port() {
        for (origin, host) in [
            ("http://localhost:3000", "localhost:8080"),
            ("https://Example.org", "example.ORG"),
            ("http://[::1]:1", "[::1]:2"),
            ("http://[::1]", "[::1]"),
        ] {
            assert!(Origin::is_same_host(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost.evil:8080", "localhost:8080"),
            ("http://evil", "localhost:8080"),
            ("null", "null"),
            ("http://[::1]", "[::2]"),
            ("http://a@localhost", "localhost"),
            ("http://evil#localhost", "localhost"),
            ("", ""),
        ] {
            assert!(!Origin::is_same_host(origin, host), "{origin} {host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>(), host in any::<String>()) {
            let _ = Origin::is_same_host(&text, &host);
            if let Ok(allowed) = text.parse::<AllowedOrigin>() {
                prop_assert!(allowed.allows(&text) || text == "null");
                prop_assert_eq!(allowed.to_string().parse::<AllowedOrigin>(), Ok(allowed));
            }
        }
    }
}
