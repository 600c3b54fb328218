//! Addresses of peers, as people type them and as nodes tell them to each other.
//!
//! Parsing is syntax only; names are resolved by those who open the sockets.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

use super::{
    address::{
        AddressError, Bracketed, Problem, check_characters, checked_host, parse_port,
        split_authority,
    },
    channel::is_in_target,
    limits::CHANNEL_BYTES_MAX,
};

/// The ports of `ws://` and of `wss://` URLs that name none.
const WS_PORT: u16 = 80;
const WSS_PORT: u16 = 443;

/// A peer to dial: `ws://host[:port][/path][?query]`, or with TLS `wss://…`.
///
/// Two URLs are equal when they lead to the same place: scheme and host regardless of case, the
/// port and the path written out or not.
///
/// ```
/// use wsmesh::config::PeerUrl;
///
/// let url: PeerUrl = "ws://[::1]/sensors?rate=5".parse()?;
/// assert_eq!((url.host(), url.port()), ("::1", 80));
/// assert_eq!(url.target(), "/sensors?rate=5");
/// assert_eq!(url.path(), "/sensors");
/// let url: PeerUrl = "wss://node.example".parse()?;
/// assert_eq!((url.is_tls(), url.port()), (true, 443));
/// # Ok::<(), wsmesh::config::AddressError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PeerUrl {
    /// As typed, the scheme in lower case.
    text: Box<str>,
    is_tls: bool,
    /// Without brackets, in lower case.
    host: Box<str>,
    port: u16,
    /// Path and query; starts with `/`.
    target: Box<str>,
    /// The name that has led to the address, where that is not what was typed.
    name: Option<Box<str>>,
}

impl PeerUrl {
    /// The same at one address of the name: to the other side, and to its certificate, it goes by the name.
    pub(crate) fn at(&self, address: IpAddr) -> Self {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        let host = address.to_string();
        let target = self.target.strip_suffix('/').filter(|rest| rest.is_empty());
        Self {
            text: format!(
                "{scheme}://{}:{}{}",
                Bracketed(&host),
                self.port,
                target.unwrap_or(&self.target)
            )
            .into(),
            host: host.into(),
            name: Some(self.host.clone()),
            ..self.clone()
        }
    }

    /// Whether others can dial it as it is written: TLS asks for the name.
    pub(crate) fn is_for_others(&self) -> bool {
        self.name.is_none() || !self.is_tls
    }

    /// What the other side is called: the name that has led to the address, or the host.
    pub(crate) fn server_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.host)
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Name or address of the host in lower case; an IPv6 address without brackets, with its
    /// zone (`fe80::1%eth0`) if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; if the URL names none 80, and 443 with TLS. Never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it leads to this machine itself: `localhost`, or an address of the loopback.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        &*self.host == "localhost"
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// What belongs into the `Host` header: the host, an IPv6 address in brackets and without
    /// its zone, and the port unless it is the one that a URL need not name.
    pub fn host_header(&self) -> String {
        let host = self.server_name().split('%').next().unwrap_or_default();
        match self.port == default_port(self.is_tls) {
            true => Bracketed(host).to_string(),
            false => format!("{}:{}", Bracketed(host), self.port),
        }
    }

    /// Path and query, at least `/`: the target of the request line. A valid
    /// [`http::Uri`](tungstenite::http::Uri).
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path without the query, at least `/`.
    pub fn path(&self) -> &str {
        match self.target.split_once('?') {
            Some((path, _)) => path,
            None => &self.target,
        }
    }

    /// Where it leads to.
    fn place(&self) -> (bool, &str, u16, &str) {
        (self.is_tls, &self.host, self.port, &self.target)
    }
}

impl PartialEq for PeerUrl {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for PeerUrl {}

impl Hash for PeerUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl FromStr for PeerUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "ws://host[:port][/path][?query], or wss:// for TLS";
        parse_peer(text).map_err(|problem| AddressError::new(text, problem, expected))
    }
}

impl Display for PeerUrl {
    /// The URL as it was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn default_port(is_tls: bool) -> u16 {
    match is_tls {
        false => WS_PORT,
        true => WSS_PORT,
    }
}

fn parse_peer(text: &str) -> Result<PeerUrl, Problem> {
    check_characters(text)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Problem::SchemeMissing(format!("ws://{text}")));
    };
    let scheme = scheme.to_ascii_lowercase();
    let is_tls = match scheme.as_str() {
        "ws" => false,
        "wss" => true,
        "http" => return Err(Problem::Http(format!("ws://{rest}"))),
        "https" => return Err(Problem::Http(format!("wss://{rest}"))),
        _ => return Err(Problem::Scheme(scheme)),
    };
    if rest.contains('#') {
        return Err(Problem::Fragment);
    }
    let (authority, target) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err(Problem::UserInfo);
    }
    let (host, port) = split_authority(authority)?;
    if host.is_empty() {
        return Err(Problem::HostMissing);
    }
    let port = match port {
        Some(port) => match parse_port(port)? {
            0 => return Err(Problem::PortZero),
            port => port,
        },
        None => default_port(is_tls),
    };
    Ok(PeerUrl {
        text: format!("{scheme}://{rest}").into(),
        is_tls,
        host: checked_host(&host.to_ascii_lowercase())?.into(),
        port,
        target: checked_target(target)?.into(),
        name: None,
    })
}

/// Path and query as they go into the request line.
fn checked_target(target: &str) -> Result<String, Problem> {
    if let Some(c) = target.chars().find(|c| !is_in_target(*c)) {
        return Err(Problem::Target(c));
    }
    let target = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("/{target}"),
    };
    match target.find('?').unwrap_or(target.len()) {
        ..=CHANNEL_BYTES_MAX => Ok(target),
        path_bytes => Err(Problem::PathLong(path_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::Printable;
    use proptest::prelude::*;
    use tungstenite::http::HeaderValue;
    use tungstenite::http::uri::PathAndQuery;

    fn peer(text: &str) -> Result<PeerUrl, String> {
        text.parse()
            .map_err(|error: AddressError| error.to_string())
    }

    #[test]
    fn peers_to_dial() {
        for (text, host, port, header, target, path) in [
            ("ws://a", "a", 80, "a", "/", "/"),
            ("ws://a/", "a", 80, "a", "/", "/"),
            ("ws://a:80", "a", 80, "a", "/", "/"),
            ("ws://a:8080", "a", 8080, "a:8080", "/", "/"),
            ("WS://LocalHost:1", "localhost", 1, "localhost:1", "/", "/"),
            ("ws://a?x=1", "a", 80, "a", "/?x=1", "/"),
            (
                "ws://a/b/c?x=/?&y=%20",
                "a",
                80,
                "a",
                "/b/c?x=/?&y=%20",
                "/b/c",
            ),
            ("ws://a//b", "a", 80, "a", "//b", "//b"),
            ("ws://127.0.0.1:9", "127.0.0.1", 9, "127.0.0.1:9", "/", "/"),
            ("ws://[::1]", "::1", 80, "[::1]", "/", "/"),
            ("ws://[::1]:9/x", "::1", 9, "[::1]:9", "/x", "/x"),
            (
                "ws://[fe80::1%eth0]:9",
                "fe80::1%eth0",
                9,
                "[fe80::1]:9",
                "/",
                "/",
            ),
            ("ws://a/user@b", "a", 80, "a", "/user@b", "/user@b"),
            ("wss://a", "a", 443, "a", "/", "/"),
            ("wss://a:443/x", "a", 443, "a", "/x", "/x"),
            ("wss://a:80/x", "a", 80, "a:80", "/x", "/x"),
            ("ws://a:443", "a", 443, "a:443", "/", "/"),
        ] {
            let url = peer(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port));
            assert_eq!(url.host_header(), header);
            assert_eq!((url.target(), url.path()), (target, path));
            assert_eq!(url.to_string(), text.replace("WS:", "ws:"));
            assert_eq!(url.is_tls(), text.starts_with("wss:"));
        }
    }

    #[test]
    fn the_same_place_is_equal() {
        let same = ["ws://a", "WS://A:80", "ws://a/", "ws://a:080/"].map(|url| peer(url).unwrap());
        assert!(same.iter().all(|url| *url == same[0]));
        for other in [
            "wss://a",
            "wss://a:80",
            "ws://b",
            "ws://a:81",
            "ws://a/A",
            "ws://a/?",
        ] {
            assert_ne!(peer(other).unwrap(), same[0]);
        }
    }

    #[test]
    fn what_nobody_can_dial_is_told_why() {
        for (text, part) in [
            ("", "is empty"),
            (
                "localhost:8080",
                "has no scheme: write ws://localhost:8080;",
            ),
            ("localhost", "has no scheme: write ws://localhost;"),
            ("wss://", "names no host"),
            ("wss://a:0", "has port 0"),
            ("http://a:1/x", "is a web address: write ws://a:1/x;"),
            ("https://a/x", "is a web address: write wss://a/x;"),
            ("ftp://a", "has the scheme `ftp`"),
            ("://a", "has the scheme ``"),
            ("ws://", "names no host"),
            ("ws://:80", "names no host"),
            ("ws:///x", "names no host"),
            ("ws://a:0", "has port 0"),
            ("ws://a:65536", "port `65536`"),
            ("ws://a:", "names no port"),
            ("ws://::1", "without brackets"),
            ("ws://[a]", "is not an IPv6 address"),
            ("ws://u:p@a", "user or password"),
            ("ws://@a", "user or password"),
            ("ws://a/#x", "fragment"),
            ("ws://a#x", "fragment"),
            ("ws://a/b c", "white space"),
            ("ws://a\r\nX: y", "white space"),
            ("ws://a/\u{1b}", "white space or control"),
            ("ws://a/ü", "character `ü` in its path"),
            ("ws://a/\u{202e}", r"character `\u{202e}` in its path"),
            ("ws://a/{x}", "character `{`"),
            ("ws://a\\b", "host `a\\b`"),
            ("ws://ü.example", "xn-- form"),
        ] {
            let error = peer(text).unwrap_err();
            assert!(
                error.starts_with(&format!("`{}` ", Printable(text))),
                "{error}"
            );
            assert!(error.contains(part), "{text}: {error}");
            assert!(
                error.ends_with("; expected ws://host[:port][/path][?query], or wss:// for TLS"),
                "{error}"
            );
        }
    }

    #[test]
    fn at_an_address_it_goes_by_its_name() {
        for (typed, address, text, header) in [
            (
                "ws://Mesh.example:8080",
                "10.0.0.5",
                "ws://10.0.0.5:8080",
                "mesh.example:8080",
            ),
            (
                "wss://mesh.example/a?b",
                "::1",
                "wss://[::1]:443/a?b",
                "mesh.example",
            ),
        ] {
            let url = peer(typed).unwrap().at(address.parse().unwrap());
            assert_eq!((url.to_string().as_str(), url.host()), (text, address));
            assert_eq!(url.host_header(), header);
            assert_eq!(url.server_name(), "mesh.example");
            assert_eq!(url.is_for_others(), !url.is_tls());
            // It is the same place as the one that others tell.
            assert_eq!(peer(text).unwrap(), url);
        }
    }

    #[test]
    fn a_path_is_no_longer_than_a_channel() {
        let url = |bytes| format!("ws://a/{}?{}", "x".repeat(bytes - 1), "y".repeat(300));
        assert!(peer(&url(CHANNEL_BYTES_MAX)).is_ok());
        let error = peer(&url(CHANNEL_BYTES_MAX + 1)).unwrap_err();
        assert!(error.contains("has a path of 256 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = (peer(&text), peer(&format!("wss://{text}")));
        }

        #[test]
        fn a_url_that_parses_can_be_shown_and_sent(
            text in "wss?://(\\[[0-9a-f:.%]{0,12}\\]|[A-Za-z0-9.:@_-]{0,8})(:[0-9]{0,5})?([/?]\\PC{0,8}|[/?][ -~]{0,16})?"
        ) {
            if let Ok(url) = peer(&text) {
                prop_assert_eq!(peer(&url.to_string()), Ok(url.clone()));
                let target = PathAndQuery::try_from(url.target());
                prop_assert_eq!(target.unwrap(), url.target());
                prop_assert!(HeaderValue::from_str(&url.host_header()).is_ok());
                prop_assert!(url.path().starts_with('/') && url.target().starts_with(url.path()));
            }
        }
    }
}
