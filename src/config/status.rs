//! Where a node shows what it does.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

use super::{AccessConfig, AddressError, BindAddress, ConfigError, TlsConfig, limits};

/// What a node shows of itself, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusConfig {
    /// Address of the status page, the metrics and the checks (`--status`). Default: none.
    pub bind: Option<StatusAddress>,
    /// Neighbors without which `/readyz` answers 503 (`--ready-neighbors`). Default 0.
    pub ready_neighbors: usize,
}

impl StatusConfig {
    /// Checks that what is shown is not shown to everybody.
    pub(super) fn check(&self, access: &AccessConfig, tls: &TlsConfig) -> Result<(), ConfigError> {
        let Some(StatusAddress(bind)) = &self.bind else {
            return match self.ready_neighbors {
                0 => Ok(()),
                _ => Err(ConfigError::ReadyUnused),
            };
        };
        let wants_certificate = bind.is_tls() && tls.client_ca.is_some();
        if !is_local(bind.host()) && access.token_file.is_none() && !wants_certificate {
            return Err(ConfigError::StatusOpen { bind: bind.clone() });
        }
        match self.ready_neighbors {
            0 => Ok(()),
            many => super::check_count("--ready-neighbors", many, limits::DEGREE_CEILING),
        }
    }
}

/// Whether a host is this machine, and nobody else comes in by it.
fn is_local(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// An address to listen on, or a port of this machine alone.
///
/// ```
/// use wsmesh::config::StatusAddress;
///
/// let address: StatusAddress = "9090".parse()?;
/// assert_eq!(address.to_string(), "localhost:9090");
/// # Ok::<(), wsmesh::config::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusAddress(pub BindAddress);

impl FromStr for StatusAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_port = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match is_port {
            true => format!("localhost:{text}").parse().map(Self),
            false => text.parse().map(Self),
        }
    }
}

impl Display for StatusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bind: &str, access: &AccessConfig, tls: &TlsConfig) -> Result<(), String> {
        let status = StatusConfig {
            bind: Some(bind.parse().expect("it is an address")),
            ready_neighbors: 0,
        };
        status.check(access, tls).map_err(|error| error.to_string())
    }

    #[test]
    fn only_this_machine_may_look_without_a_token() {
        let (open, tls) = (AccessConfig::default(), TlsConfig::default());
        for bind in ["9090", "localhost:0", "127.0.0.9:1", "[::1]:9090"] {
            assert_eq!(check(bind, &open, &tls), Ok(()), "{bind}");
        }
        let guarded = AccessConfig {
            token_file: Some("tokens".into()),
            ..AccessConfig::default()
        };
        let certified = TlsConfig {
            client_ca: Some("ca.pem".into()),
            ..TlsConfig::default()
        };
        for bind in ["0.0.0.0:9090", "[::]:9090", "host.example:1", "10.0.0.7:1"] {
            let error = check(bind, &open, &tls).expect_err("everybody could look");
            assert!(
                error.contains(bind) && error.contains("--token-file"),
                "{error}"
            );
            assert_eq!(check(bind, &guarded, &tls), Ok(()), "{bind}");
            assert!(check(bind, &open, &certified).is_err(), "{bind}");
            assert_eq!(check(&format!("wss://{bind}"), &open, &certified), Ok(()));
        }
    }

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        for (text, shown) in [("0", "localhost:0"), ("[::]:80", "[::]:80")] {
            let address: StatusAddress = text.parse().expect("it is an address");
            assert_eq!(address.to_string(), shown);
        }
        for wrong in ["", "70000", "http://localhost:80", "localhost"] {
            assert!(wrong.parse::<StatusAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn neighbors_to_be_ready_are_of_no_use_without_a_place_to_ask() {
        let mut status = StatusConfig {
            bind: None,
            ready_neighbors: 2,
        };
        let check = |status: &StatusConfig| {
            let checked = status.check(&AccessConfig::default(), &TlsConfig::default());
            checked.map_err(|error| error.to_string())
        };
        assert!(check(&status).unwrap_err().contains("--ready-neighbors"));
        status.bind = "0".parse().ok();
        assert_eq!(check(&status), Ok(()));
        status.ready_neighbors = 1000;
        assert!(check(&status).unwrap_err().contains("1000"));
    }
}
