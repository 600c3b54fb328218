//! Addresses to listen on, as people type them.
//!
//! Parsing is syntax only; names are resolved by those who open the sockets.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::address::{
    AddressError, Bracketed, Problem, check_characters, checked_host, parse_port, split_authority,
};

/// In front of an address where TLS is spoken.
const WSS: &str = "wss://";

/// An address to listen on: `host:port`, `ip:port` or `[ipv6]:port`, with `wss://` in front where TLS is
/// spoken. Port 0 lets the system choose.
///
/// ```
/// use wsmesh::config::BindAddress;
///
/// let address: BindAddress = "[::1]:8080".parse()?;
/// assert_eq!((address.host(), address.port()), ("::1", 8080));
/// assert!(!address.is_tls() && "wss://localhost:8443".parse::<BindAddress>()?.is_tls());
/// # Ok::<(), wsmesh::config::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindAddress {
    /// Without brackets.
    host: String,
    port: u16,
    is_tls: bool,
}

impl BindAddress {
    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

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
            is_tls: self.is_tls,
        }
    }
}

impl FromStr for BindAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_bind(text).map_err(|problem| {
            let expected = "host:port, ip:port or [ipv6]:port, with wss:// in front for TLS";
            AddressError::new(text, problem, expected)
        })
    }
}

impl Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { WSS } else { "" };
        write!(f, "{scheme}{}:{}", Bracketed(&self.host), self.port)
    }
}

fn parse_bind(text: &str) -> Result<BindAddress, Problem> {
    check_characters(text)?;
    let start = text.split_at_checked(WSS.len());
    let is_wss = |(scheme, _): &(&str, &str)| scheme.eq_ignore_ascii_case(WSS);
    let (text, is_tls) = match start.filter(is_wss) {
        Some((_, text)) => (text, true),
        None => (text, false),
    };
    if text.contains('/') {
        return Err(Problem::UrlToBind);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::PortAlone);
    }
    let (host, port) = split_authority(text)?;
    if matches!(host, "" | "*") {
        return Err(Problem::AnyHost);
    }
    Ok(BindAddress {
        host: checked_host(host)?,
        port: port.ok_or(Problem::PortMissing).and_then(parse_port)?,
        is_tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::Printable;
    use proptest::prelude::*;

    fn bind(text: &str) -> Result<BindAddress, String> {
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
            assert!(!address.is_tls());
            let encrypted = bind(&format!("WSS://{text}")).unwrap();
            assert_eq!((encrypted.host(), encrypted.port()), (host, port));
            assert!(encrypted.is_tls() && encrypted.with_port(7).is_tls());
            assert_eq!(encrypted.to_string(), format!("wss://{text}"));
            assert_ne!(encrypted, address);
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
            ("wss://localhost:8080/", "is a URL"),
            ("wss://localhost", "names no port"),
            ("wss://", "names no host"),
            ("//localhost:8080", "is a URL"),
            ("local host:8080", "white space"),
            ("localhost:8080\n", "white space"),
            ("a/b:8080", "is a URL"),
            ("münchen.example:80", "xn-- form"),
        ] {
            let error = bind(text).unwrap_err();
            assert!(
                error.starts_with(&format!("`{}` ", Printable(text))),
                "{error}"
            );
            assert!(error.contains(part), "{text}: {error}");
            assert!(
                error.ends_with("[ipv6]:port, with wss:// in front for TLS"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = bind(&text);
        }

        #[test]
        fn a_bind_address_is_shown_as_it_parses(text in "(wss://)?(\\[[0-9a-f:%]{0,12}\\]|[a-z0-9.:_-]{0,8}):[0-9]{0,6}") {
            if let Ok(address) = bind(&text) {
                prop_assert_eq!(bind(&address.to_string()), Ok(address));
            }
        }
    }
}
