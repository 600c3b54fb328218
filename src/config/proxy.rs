//! Proxies that a node dials through: what people write, and which peers are meant.

use std::fmt::{self, Debug, Display};
use std::net::IpAddr;
use std::str::FromStr;

use super::{
    PeerUrl, Subnet,
    address::{Bracketed, checked_host, parse_port, split_authority},
};
use crate::printable::Printable;

const HTTP_PORT: u16 = 80;
const SOCKS_PORT: u16 = 1080;

/// Longest user name, and longest password (RFC 1929 §2).
const CREDENTIAL_BYTES_MAX: usize = 255;

/// How a proxy is asked for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// The method CONNECT of HTTP (RFC 9110 §9.3.6).
    Http,
    /// SOCKS, version 5 (RFC 1928).
    Socks5,
}

/// A proxy: `http://[user:password@]host[:port]`, or `socks5://…`. Shown without user and password.
///
/// ```
/// use wsmesh::config::ProxyUrl;
///
/// let proxy: ProxyUrl = "http://me:secret@proxy.example:3128".parse()?;
/// assert_eq!(proxy.to_string(), "http://proxy.example:3128");
/// # Ok::<(), wsmesh::config::ProxyUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    kind: ProxyKind,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

/// Who asks a proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl ProxyUrl {
    /// How it is asked.
    pub fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// Name or address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; if the URL names none 80, and 1080 of SOCKS.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{}", Bracketed(&self.host), self.port)
    }
}

impl Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        // A variable of the environment often has no scheme, and means HTTP.
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (kind, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, HTTP_PORT),
            "socks5" | "socks5h" => (ProxyKind::Socks5, SOCKS_PORT),
            _ if is_scheme(scheme) => return Err(ProxyUrlError::Scheme(scheme.to_owned())),
            _ => return Err(ProxyUrlError::SchemeMisplaced),
        };
        let rest = rest.trim_end_matches('/');
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(parse_credentials(credentials)?), authority),
            None => (None, rest),
        };
        let place = || {
            let (host, port) = split_authority(authority).ok()?;
            let port = port.map(parse_port).transpose().ok()?;
            let host = checked_host(&host.to_ascii_lowercase()).ok()?;
            let port = port.unwrap_or(default_port);
            (!host.is_empty() && port > 0).then_some((host, port))
        };
        let (host, port) = place().ok_or_else(|| ProxyUrlError::Place(authority.to_owned()))?;
        Ok(Self {
            kind,
            host,
            port,
            credentials,
        })
    }
}

/// RFC 3986 §3.1, more or less: what is something else may be a password.
fn is_scheme(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn parse_credentials(text: &str) -> Result<Credentials, ProxyUrlError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |text| {
        let text = percent_decoded(text)?;
        (text.len() <= CREDENTIAL_BYTES_MAX && !text.chars().any(char::is_control)).then_some(text)
    };
    match (decode(user), decode(password)) {
        (Some(user), Some(password)) if !user.is_empty() && !user.contains(':') => {
            Ok(Credentials { user, password })
        }
        _ => Err(ProxyUrlError::Credentials),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Why a text is no proxy. Does not repeat what may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// A way of asking that is not spoken here.
    #[error(
        "a proxy of the kind `{}` is not spoken to; expected http://host:port or socks5://host:port",
        Printable(.0)
    )]
    Scheme(String),
    /// Something stands before the scheme, perhaps user and password.
    #[error(
        "a proxy begins with its scheme, and user and password follow it; expected http://user:password@host:port"
    )]
    SchemeMisplaced,
    /// Not a host and a port.
    #[error(
        "`{}` is no host and port of a proxy; expected http://host:port or socks5://host:port",
        Printable(.0)
    )]
    Place(String),
    /// User or password cannot be sent.
    #[error(
        "user or password of the proxy are not what can be sent: up to 255 bytes each, what is not a letter or a \
         digit as % and two hexadecimal digits"
    )]
    Credentials,
}

/// What is dialed through which proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyConfig {
    /// For `ws://`.
    pub clear: Option<ProxyUrl>,
    /// For `wss://`.
    pub tls: Option<ProxyUrl>,
    /// Whether this machine itself is dialed through a proxy, too.
    pub for_loopback: bool,
    /// Who is dialed directly.
    pub exempt: Exemptions,
}

impl ProxyConfig {
    /// The proxy that a peer is dialed through; `None`: it is dialed directly.
    pub(crate) fn proxy_for(&self, url: &PeerUrl) -> Option<&ProxyUrl> {
        let is_direct = url.is_loopback() && !self.for_loopback;
        let proxy = match url.is_tls() {
            true => self.tls.as_ref(),
            false => self.clear.as_ref(),
        };
        proxy.filter(|_| !is_direct && !self.exempt.covers(url))
    }

    /// The proxies there are, each once.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ProxyUrl> {
        let tls = self
            .tls
            .iter()
            .filter(|tls| self.clear.as_ref() != Some(tls));
        self.clear.iter().chain(tls)
    }
}

/// Hosts that are dialed directly, as `NO_PROXY` lists them: names with all below them, addresses, ranges of addresses,
/// each with a port or without, or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exemptions(Vec<(Hosts, Option<u16>)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Name(String),
    Addresses(Subnet),
}

impl Exemptions {
    /// Reads a list with commas or blanks. What is none of these names nobody.
    pub fn parse(list: &str) -> Self {
        let words = list.split([',', ' ']).filter(|word| !word.is_empty());
        Self(words.map(parse_exemption).collect())
    }

    fn covers(&self, url: &PeerUrl) -> bool {
        let (host, name) = (url.host(), url.server_name());
        let address = host.parse::<IpAddr>().ok();
        self.0.iter().any(|(hosts, port)| {
            let is_port = port.is_none_or(|port| port == url.port());
            is_port
                && match hosts {
                    Hosts::All => true,
                    Hosts::Addresses(range) => {
                        address.is_some_and(|address| range.contains(address))
                    }
                    Hosts::Name(known) => name
                        .strip_suffix(known.as_str())
                        .is_some_and(|before| before.is_empty() || before.ends_with('.')),
                }
        })
    }
}

fn parse_exemption(word: &str) -> (Hosts, Option<u16>) {
    if word == "*" {
        return (Hosts::All, None);
    }
    if let Ok(range) = word.parse() {
        return (Hosts::Addresses(range), None);
    }
    let (host, port) = match split_authority(word) {
        Ok((host, Some(port))) => (host, parse_port(port).ok()),
        Ok((host, None)) => (host, None),
        Err(_) => (word, None),
    };
    let hosts = match host.parse() {
        Ok(range) => Hosts::Addresses(range),
        Err(_) => Hosts::Name(host.trim_start_matches('.').to_ascii_lowercase()),
    };
    (hosts, port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> PeerUrl {
        text.parse().expect("it is a URL")
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        for (text, shown, kind) in [
            ("http://a", "http://a:80", ProxyKind::Http),
            ("a:3128", "http://a:3128", ProxyKind::Http),
            ("HTTP://u:secret@A:3128/", "http://a:3128", ProxyKind::Http),
            ("socks5://u@[::1]", "socks5://[::1]:1080", ProxyKind::Socks5),
            (
                "socks5h://u:secret%40@a:1",
                "socks5://a:1",
                ProxyKind::Socks5,
            ),
        ] {
            let proxy: ProxyUrl = text.parse().expect(text);
            assert_eq!((proxy.to_string().as_str(), proxy.kind()), (shown, kind));
            assert!(!format!("{proxy:?}").contains("secret"));
        }
        let proxy: ProxyUrl = "http://me%3f:p%40ss:w@a".parse().expect("a proxy");
        let credentials = proxy.credentials().expect("credentials");
        assert_eq!(
            (credentials.user.as_str(), credentials.password.as_str()),
            ("me?", "p@ss:w")
        );
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        for text in [
            "https://u:secret@a",
            "socks4://a",
            "http://u:secret@",
            "http://u:secret@a b",
            "http://u:secret%4@a",
            "http://u:secret%0a@a",
            "http://:secret@a",
            "http://a:0",
            "u:secret@http://a",
            "u:secret://a",
            "",
        ] {
            let error = text.parse::<ProxyUrl>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn some_are_dialed_directly() {
        let exempt = Exemptions::parse("example.org,.local 10.0.0.0/8,[::2]:9000,host:81");
        for (text, is_covered) in [
            ("ws://example.org", true),
            ("ws://a.example.org:81", true),
            ("ws://anexample.org", false),
            ("ws://a.local", true),
            ("ws://10.1.2.3", true),
            ("ws://11.1.2.3", false),
            ("ws://[::2]:9000", true),
            ("ws://[::2]", false),
            ("ws://host:81", true),
            ("ws://host", false),
        ] {
            assert_eq!(exempt.covers(&url(text)), is_covered, "{text}");
        }
        assert!(Exemptions::parse("*").covers(&url("ws://a")));
        assert!(!Exemptions::default().covers(&url("ws://a")));
    }

    #[test]
    fn each_scheme_has_its_proxy_and_this_machine_none() {
        let proxy = |text: &str| Some(text.parse().expect("a proxy"));
        let mut config = ProxyConfig {
            clear: proxy("http://a"),
            tls: proxy("http://b"),
            ..ProxyConfig::default()
        };
        let host = |config: &ProxyConfig, text| {
            config
                .proxy_for(&url(text))
                .map(|proxy| proxy.host().to_owned())
        };
        assert_eq!(host(&config, "ws://x").as_deref(), Some("a"));
        assert_eq!(host(&config, "wss://x").as_deref(), Some("b"));
        for here in ["ws://localhost:1", "ws://127.0.0.1:1", "wss://[::1]:1"] {
            assert_eq!(host(&config, here), None, "{here}");
        }
        config.for_loopback = true;
        assert!(host(&config, "ws://localhost:1").is_some());
        assert_eq!(config.all().count(), 2);
        config.tls = config.clear.clone();
        assert_eq!(config.all().count(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>(), list in any::<String>()) {
            if let Ok(proxy) = text.parse::<ProxyUrl>() {
                prop_assert!(proxy.to_string().parse::<ProxyUrl>().is_ok());
            }
            Exemptions::parse(&list).covers(&url("ws://a"));
        }
    }
}
