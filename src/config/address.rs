//! What addresses to listen on and to dial have in common: a host, a port, and what can be wrong with them.

use std::fmt::{self, Display};
use std::net::Ipv6Addr;

use super::limits::CHANNEL_BYTES_MAX;
use crate::printable::Printable;

/// Longest host name in bytes (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Why a text is neither a [`BindAddress`](super::BindAddress) nor a [`PeerUrl`](super::PeerUrl): names
/// what was typed, what is wrong with it and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}; expected {expected}", Printable(typed))]
pub struct AddressError {
    typed: String,
    problem: Problem,
    expected: &'static str,
}

impl AddressError {
    pub(super) fn new(typed: &str, problem: Problem, expected: &'static str) -> Self {
        Self {
            typed: typed.to_owned(),
            problem,
            expected,
        }
    }
}

/// Continues a sentence that starts with what was typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("is empty (a stray comma or a variable that is not set?)")]
    Empty,
    #[error("contains white space or control characters")]
    Blank,
    #[error("is a URL, but an address to listen on has no path, and no scheme but wss:// for TLS")]
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
    #[error("contains a user or password, which wsmesh would not send")]
    UserInfo,
    #[error("contains a fragment (#…), which is never sent")]
    Fragment,
    #[error(
        "has a path of {0} bytes, and the path, which is the channel, has {CHANNEL_BYTES_MAX} at most"
    )]
    PathLong(usize),
    #[error(
        "has the character `{}` in its path or query, which must be percent-encoded",
        Printable(.0.encode_utf8(&mut [0; 4]))
    )]
    Target(char),
}

pub(super) fn check_characters(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Problem::Blank);
    }
    Ok(())
}

/// Splits `host:port` into the host without brackets and the text of the port, if there is one.
pub(super) fn split_authority(authority: &str) -> Result<(&str, Option<&str>), Problem> {
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

pub(super) fn parse_port(text: &str) -> Result<u16, Problem> {
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

pub(super) fn checked_host(host: &str) -> Result<String, Problem> {
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

/// Displays a host with the brackets that an IPv6 address needs before a port.
pub(super) struct Bracketed<'a>(pub(super) &'a str);

impl Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}
