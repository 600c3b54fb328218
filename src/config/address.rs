//! Addresses as people type them: what to listen on and whom to dial.
//!
//! Parsing is syntax only; names are resolved by those who open the sockets.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::{channel::is_in_target, limits::CHANNEL_BYTES_MAX};
use crate::printable::Printable;

/// The port of `ws://` URLs that name none.
const WS_PORT: u16 = 80;

/// Longest host name in bytes (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// An address to listen on: `host:port`, `ip:port` or `[ipv6]:port`. Port 0 lets the system
/// choose.
///
/// ```
/// use wsmesh::config::BindAddress;
///
/// let address: BindAddress = "[::1]:8080".parse()?;
/// assert_eq!((address.host(), address.port()), ("::1", 8080));
/// # Ok::<(), wsmesh::config::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindAddress {
    /// Without brackets.
    host: String,
    port: u16,
}

impl BindAddress {
    /// Name or address of the host; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 means that the system chooses one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port.
    pub fn with_port(&self, port: u16) -> BindAddress {
        BindAddress {
            host: self.host.clone(),
            port,
        }
    }
}

impl FromStr for BindAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_bind(text).map_err(|problem| AddressError {
            typed: text.to_owned(),
            problem,
            expected: "host:port, ip:port or [ipv6]:port",
        })
    }
}

impl Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

fn parse_bind(text: &str) -> Result<BindAddress, Problem> {
    check_characters(text)?;
    if text.contains("//") {
        return Err(Problem::UrlToBind);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::PortAlone);
    }
    let (host, port) = split_authority(text)?;
    if matches!(host, "" | "*") {
        return Err(Problem::AnyHost);
    }
    Ok(BindAddress {
        host: checked_host(host)?,
        port: port.ok_or(Problem::PortMissing).and_then(parse_port)?,
    })
}

/// A peer to dial: `ws://host[:port][/path][?query]`.
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
/// # Ok::<(), wsmesh::config::AddressError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PeerUrl {
    /// As typed, the scheme in lower case.
    text: String,
    /// Without brackets, in lower case.
    host: String,
    port: u16,
    /// Path and query; starts with `/`.
    target: String,
}

impl PeerUrl {
    /// Name or address of the host in lower case; an IPv6 address without brackets, with its
    /// zone (`fe80::1%eth0`) if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 80 if the URL names none. Never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What belongs into the `Host` header: the host, an IPv6 address in brackets and without
    /// its zone, and the port unless it is 80.
    pub fn host_header(&self) -> String {
        let host = self.host.split('%').next().unwrap_or_default();
        match self.port {
            WS_PORT => Bracketed(host).to_string(),
            port => format!("{}:{port}", Bracketed(host)),
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
}

impl PartialEq for PeerUrl {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.port, &self.target) == (&other.host, other.port, &other.target)
    }
}

impl Eq for PeerUrl {}

impl Hash for PeerUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.host, self.port, &self.target).hash(state);
    }
}

impl FromStr for PeerUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_peer(text).map_err(|problem| AddressError {
            typed: text.to_owned(),
            problem,
            expected: "ws://host[:port][/path][?query]",
        })
    }
}

impl Display for PeerUrl {
    /// The URL as it was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_peer(text: &str) -> Result<PeerUrl, Problem> {
    check_characters(text)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Problem::SchemeMissing(format!("ws://{text}")));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => {}
        "wss" => return Err(Problem::Tls),
        "http" => return Err(Problem::Http(format!("ws://{rest}"))),
        "https" => return Err(Problem::Https),
        _ => return Err(Problem::Scheme(scheme.to_owned())),
    }
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
        None => WS_PORT,
    };
    Ok(PeerUrl {
        text: format!("ws://{rest}"),
        host: checked_host(&host.to_ascii_lowercase())?,
        port,
        target: checked_target(target)?,
    })
}

/// Why a text is neither a [`BindAddress`] nor a [`PeerUrl`]: names what was typed, what is
/// wrong with it and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}; expected {expected}", Printable(typed))]
pub struct AddressError {
    typed: String,
    problem: Problem,
    expected: &'static str,
}

/// Continues a sentence that starts with what was typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("is empty (a stray comma or a variable that is not set?)")]
    Empty,
    #[error("contains white space or control characters")]
    Blank,
    #[error("is a URL, but an address to listen on has neither scheme nor path")]
    UrlToBind,
    #[error("is a port alone: write localhost:PORT, 0.0.0.0:PORT or [::]:PORT")]
    PortAlone,
    #[error("names no host: write 0.0.0.0:PORT or [::]:PORT to listen on all addresses")]
    AnyHost,
    #[error("names no host")]
    HostMissing,
    #[error("names no port")]
    PortMissing,
    #[error("has the port `{}`, which is not a number from 0 to 65535", Printable(.0))]
    Port(String),
    #[error("has port 0, which nobody can listen on")]
    PortZero,
    #[error("has an IPv6 address without brackets: write [ADDRESS]:PORT")]
    Brackets,
    #[error("has brackets around something that is not an IPv6 address")]
    NotIpv6,
    #[error("has the host `{}`, which is neither a name nor an IP address{hint}", Printable(.host))]
    Host { host: String, hint: &'static str },
    #[error("has no scheme: write {}", Printable(.0))]
    SchemeMissing(String),
    #[error("has the scheme `{}`", Printable(.0))]
    Scheme(String),
    #[error("is a web address: write {}", Printable(.0))]
    Http(String),
    #[error("is a web address with TLS, and wss:// (TLS) is not supported yet")]
    Https,
    #[error(
        "cannot be dialed: wss:// (TLS) is not supported yet, dial ws:// or put a TLS proxy between"
    )]
    Tls,
    #[error("contains a user or password, which wsmesh would not send")]
    UserInfo,
    #[error("contains a fragment (#…), which is never sent")]
    Fragment,
    #[error(
        "has a path of {0} bytes, and the path, which is the channel, has {CHANNEL_BYTES_MAX} at most"
    )]
    PathLong(usize),
    #[error("has the character `{0}` in its path or query, which must be percent-encoded")]
    Target(char),
}

fn check_characters(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Problem::Blank);
    }
    Ok(())
}

/// Splits `host:port` into the host without brackets and the text of the port, if there is one.
fn split_authority(authority: &str) -> Result<(&str, Option<&str>), Problem> {
    if let Some(inner) = authority.strip_prefix('[') {
        let (host, after) = inner.split_once(']').ok_or(Problem::NotIpv6)?;
        if ipv6(host).is_none() {
            return Err(Problem::NotIpv6);
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(Problem::Port(after.to_owned())),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(Problem::Brackets),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

/// The address in a text that may carry a zone (`fe80::1%eth0`).
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let address = match text.split_once('%') {
        Some((_, zone)) if !zone.bytes().all(is_host_byte) || zone.is_empty() => return None,
        Some((address, _)) => address,
        None => text,
    };
    address.parse().ok()
}

fn parse_port(text: &str) -> Result<u16, Problem> {
    if text.is_empty() {
        return Err(Problem::PortMissing);
    }
    // `u16::from_str` takes a leading plus.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::Port(text.to_owned()));
    }
    text.parse().map_err(|_| Problem::Port(text.to_owned()))
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn checked_host(host: &str) -> Result<String, Problem> {
    let is_name = host.len() <= HOST_BYTES_MAX && host.bytes().all(is_host_byte);
    if is_name || ipv6(host).is_some() {
        return Ok(host.to_owned());
    }
    Err(Problem::Host {
        host: host.to_owned(),
        hint: if host.is_ascii() {
            ""
        } else {
            " (write an international name in its xn-- form)"
        },
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

/// Displays a host with the brackets that an IPv6 address needs before a port.
struct Bracketed<'a>(&'a str);

impl Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tungstenite::http::HeaderValue;
    use tungstenite::http::uri::PathAndQuery;

    fn bind(text: &str) -> Result<BindAddress, String> {
        text.parse()
            .map_err(|error: AddressError| error.to_string())
    }

    fn peer(text: &str) -> Result<PeerUrl, String> {
        text.parse()
            .map_err(|error: AddressError| error.to_string())
    }

    #[test]
    fn addresses_to_listen_on() {
        for (text, host, port) in [
            ("localhost:8080", "localhost", 8080),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("0.0.0.0:65535", "0.0.0.0", 65535),
            ("[::]:80", "::", 80),
            ("[::1]:8080", "::1", 8080),
            ("[fe80::1%eth0]:8080", "fe80::1%eth0", 8080),
            ("my_host.example.:1", "my_host.example.", 1),
        ] {
            let address = bind(text).unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
            assert_eq!(address.with_port(7).port(), 7);
            assert_eq!(address.with_port(7).host(), host);
        }
    }

    #[test]
    fn what_nobody_can_listen_on_is_told_why() {
        for (text, part) in [
            ("", "is empty"),
            ("localhost", "names no port"),
            ("localhost:", "names no port"),
            ("[::1]", "names no port"),
            ("8080", "is a port alone"),
            (":8080", "names no host: write 0.0.0.0:PORT"),
            ("*:8080", "names no host: write 0.0.0.0:PORT"),
            ("::1:8080", "without brackets"),
            ("::1", "without brackets"),
            ("[localhost]:8080", "is not an IPv6 address"),
            ("[::1:8080", "is not an IPv6 address"),
            ("[::1]8080", "port `8080`"),
            ("[fe80::1%]:1", "is not an IPv6 address"),
            (
                "localhost:65536",
                "port `65536`, which is not a number from 0 to 65535",
            ),
            ("localhost:+80", "port `+80`"),
            ("localhost:http", "port `http`"),
            ("ws://localhost:8080", "is a URL"),
            ("//localhost:8080", "is a URL"),
            ("local host:8080", "white space"),
            ("localhost:8080\n", "white space"),
            ("a/b:8080", "host `a/b`"),
            ("münchen.example:80", "xn-- form"),
        ] {
            let error = bind(text).unwrap_err();
            assert!(
                error.starts_with(&format!("`{}` ", Printable(text))),
                "{error}"
            );
            assert!(error.contains(part), "{text}: {error}");
            assert!(
                error.ends_with("; expected host:port, ip:port or [ipv6]:port"),
                "{error}"
            );
        }
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
        ] {
            let url = peer(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port));
            assert_eq!(url.host_header(), header);
            assert_eq!((url.target(), url.path()), (target, path));
            assert_eq!(url.to_string(), text.replace("WS:", "ws:"));
        }
    }

    #[test]
    fn the_same_place_is_equal() {
        let same = ["ws://a", "WS://A:80", "ws://a/", "ws://a:080/"].map(|url| peer(url).unwrap());
        assert!(same.iter().all(|url| *url == same[0]));
        for other in ["ws://b", "ws://a:81", "ws://a/A", "ws://a/?"] {
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
            ("wss://a", "wss:// (TLS) is not supported yet"),
            ("WSS://a", "wss:// (TLS) is not supported yet"),
            ("http://a:1/x", "is a web address: write ws://a:1/x;"),
            ("https://a", "wss:// (TLS) is not supported yet"),
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
                error.ends_with("; expected ws://host[:port][/path][?query]"),
                "{error}"
            );
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
            let _ = (bind(&text), peer(&text), peer(&format!("ws://{text}")));
        }

        #[test]
        fn a_bind_address_is_shown_as_it_parses(text in "(\\[[0-9a-f:%]{0,12}\\]|[a-z0-9.:_-]{0,8}):[0-9]{0,6}") {
            if let Ok(address) = bind(&text) {
                prop_assert_eq!(bind(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn a_url_that_parses_can_be_shown_and_sent(
            text in "ws://(\\[[0-9a-f:.%]{0,12}\\]|[A-Za-z0-9.:@_-]{0,8})(:[0-9]{0,5})?([/?]\\PC{0,8}|[/?][ -~]{0,16})?"
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
