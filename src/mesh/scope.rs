//! Where an address means anything: one that is private or of the loopback is told only to those for whom
//! it is the same place. Pure.

use std::net::IpAddr;

use crate::config::PeerUrl;

/// From narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// This machine.
    Loopback,
    /// This site: private and link-local addresses (RFC 1918, RFC 4193, RFC 6598), names without a dot.
    Private,
    Global,
}

impl Scope {
    pub(super) fn of_address(address: IpAddr) -> Self {
        let (is_loopback, is_private) = match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                let is_shared = a == 100 && (64..128).contains(&b);
                let is_private = v4.is_private() || v4.is_link_local() || is_shared;
                (v4.is_loopback() || v4.is_unspecified(), is_private)
            }
            IpAddr::V6(v6) => (
                v6.is_loopback() || v6.is_unspecified(),
                v6.is_unique_local() || v6.is_unicast_link_local(),
            ),
        };
        match (is_loopback, is_private) {
            (true, _) => Self::Loopback,
            (_, true) => Self::Private,
            _ => Self::Global,
        }
    }

    pub(super) fn of_url(url: &PeerUrl) -> Self {
        let host = url.host();
        let address = host.split('%').next().unwrap_or_default();
        if let Ok(address) = address.parse() {
            return Self::of_address(address);
        }
        match host {
            "localhost" => Self::Loopback,
            host if host.ends_with(".localhost") => Self::Loopback,
            host if !host.contains('.') || host.ends_with(".local") => Self::Private,
            _ => Self::Global,
        }
    }

    /// Whether a URL may be told to, or taken from, a neighbor that is connected within this scope.
    pub(super) fn admits(self, url: &PeerUrl) -> bool {
        Self::of_url(url) >= self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_only_where_it_means_the_same() {
        for (scope, host) in [
            (Scope::Loopback, "localhost"),
            (Scope::Loopback, "127.8.0.1"),
            (Scope::Loopback, "[::1]"),
            (Scope::Loopback, "[::ffff:127.0.0.1]"),
            (Scope::Loopback, "0.0.0.0"),
            (Scope::Private, "10.1.2.3"),
            (Scope::Private, "192.168.0.1"),
            (Scope::Private, "169.254.1.1"),
            (Scope::Private, "100.64.0.1"),
            (Scope::Private, "[fd00::1]"),
            (Scope::Private, "[fe80::1%eth0]"),
            (Scope::Private, "nas"),
            (Scope::Private, "nas.local"),
            (Scope::Global, "100.128.0.1"),
            (Scope::Global, "1.1.1.1"),
            (Scope::Global, "[2606:4700::1]"),
            (Scope::Global, "mesh.example"),
        ] {
            let url: PeerUrl = format!("ws://{host}:8080").parse().unwrap();
            assert_eq!(Scope::of_url(&url), scope, "{host}");
        }
        let private: PeerUrl = "ws://10.0.0.1".parse().unwrap();
        assert!(Scope::Loopback.admits(&private) && Scope::Private.admits(&private));
        assert!(!Scope::Global.admits(&private));
    }
}
