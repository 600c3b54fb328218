//! What `--peers` takes: a peer, or a name with several behind it.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

use super::{AddressError, PeerUrl};
use crate::printable::Printable;

/// Before a URL: all addresses of its name are meant.
const PREFIX: &str = "dns+";

/// A peer to dial, or with `dns+` before the URL all addresses of a name, now and as they change.
///
/// ```
/// use wsmesh::config::PeerOption;
///
/// let option: PeerOption = "dns+ws://mesh.example:8080".parse()?;
/// assert!(matches!(option, PeerOption::Named(url) if url.host() == "mesh.example"));
/// # Ok::<(), wsmesh::config::PeerOptionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerOption {
    /// One peer.
    One(PeerUrl),
    /// Whoever the name of this URL leads to.
    Named(PeerUrl),
}

/// A text that is no [`PeerOption`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerOptionError {
    /// It is no URL of a peer.
    #[error(transparent)]
    Url(#[from] AddressError),
    /// Only a name has addresses.
    #[error("`{}` has an address and not a name: leave `dns+` out", Printable(.0))]
    Address(String),
}

impl FromStr for PeerOption {
    type Err = PeerOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefix = text.get(..PREFIX.len());
        if !prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX)) {
            return Ok(Self::One(text.parse()?));
        }
        let url: PeerUrl = text[PREFIX.len()..].parse()?;
        let address = url.host().split('%').next().unwrap_or_default();
        match address.parse::<IpAddr>() {
            Ok(_) => Err(PeerOptionError::Address(text.to_owned())),
            Err(_) => Ok(Self::Named(url)),
        }
    }
}

impl Display for PeerOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(url) => url.fmt(f),
            Self::Named(url) => write!(f, "{PREFIX}{url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_for_several() {
        let option = |text: &str| {
            text.parse::<PeerOption>()
                .map_err(|error| error.to_string())
        };
        let url = |text: &str| text.parse::<PeerUrl>().unwrap();
        assert_eq!(option("ws://a"), Ok(PeerOption::One(url("ws://a"))));
        for (text, named) in [("dns+ws://a:1/x", "ws://a:1/x"), ("DNS+wss://a", "wss://a")] {
            assert_eq!(option(text), Ok(PeerOption::Named(url(named))));
            assert_eq!(option(text).unwrap().to_string(), format!("dns+{named}"));
        }
        for (text, part) in [
            (
                "dns+ws://127.0.0.1:1",
                "`dns+ws://127.0.0.1:1` has an address",
            ),
            ("dns+ws://[fe80::1%eth0]:1", "has an address and not a name"),
            ("dns+a:1", "`a:1` has no scheme"),
            ("dns+", "is empty"),
            ("dns", "has no scheme"),
        ] {
            let error = option(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
