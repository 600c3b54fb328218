//! Where the servers of a load test are. Names are resolved, and tried, before anything is measured.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use super::plan::Plan;
use super::run::LoadError;
use crate::config::PeerUrl;

/// How long one of several addresses is given to accept a connection: enough for a packet to be sent again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The server of each URL, at the first of its addresses that accepts a connection.
pub(super) fn targets(plan: &Plan) -> Result<Vec<(PeerUrl, SocketAddr)>, LoadError> {
    for source in &plan.sources {
        // Nothing is sent from here; it is the cheapest way to ask.
        UdpSocket::bind((*source, 0)).map_err(|error| LoadError::Source {
            address: *source,
            error,
        })?;
    }
    let timeout = PROBE_TIMEOUT.min(plan.handshake_timeout);
    let connect = |address| TcpStream::connect_timeout(&address, timeout).map(drop);
    let target = |url: &PeerUrl| {
        let failed = |error| LoadError::Name {
            url: url.clone(),
            error,
        };
        let addresses = (url.host(), url.port()).to_socket_addrs().map_err(failed)?;
        let address = choose(url, addresses.collect(), plan, connect)?;
        Ok((url.clone(), address))
    };
    plan.urls.iter().map(target).collect()
}

/// The first address that may be loaded and that `connect` reaches. A single one is not tried: there is no
/// choice, and the load test tells what becomes of it.
fn choose(
    url: &PeerUrl,
    mut addresses: Vec<SocketAddr>,
    plan: &Plan,
    connect: impl Fn(SocketAddr) -> io::Result<()>,
) -> Result<SocketAddr, LoadError> {
    let known = addresses.clone();
    addresses.retain(|address| {
        let mut sources = plan.sources.iter();
        sources.all(|source: &IpAddr| source.is_ipv4() == address.is_ipv4())
    });
    let Some(first) = addresses.first().copied() else {
        let all = |addresses: Vec<String>| addresses.join(", ").into_boxed_str();
        return Err(LoadError::Family {
            url: url.clone(),
            addresses: all(known.iter().map(SocketAddr::to_string).collect()),
            sources: all(plan.sources.iter().map(IpAddr::to_string).collect()),
        });
    };
    if !plan.has_consent {
        addresses.retain(|address| address.ip().to_canonical().is_loopback());
    }
    let mut tried = Vec::new();
    match addresses[..] {
        [] => {
            return Err(LoadError::Consent {
                url: url.clone(),
                address: first,
            });
        }
        [only] => return Ok(only),
        _ => {}
    }
    for address in addresses {
        match connect(address) {
            Ok(()) => return Ok(address),
            Err(error) => tried.push((address, error)),
        }
    }
    Err(LoadError::NoAnswer {
        url: url.clone(),
        tried: Tried(tried),
    })
}

/// Addresses, and why each did not answer.
#[derive(Debug)]
pub struct Tried(Vec<(SocketAddr, io::Error)>);

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (address, error)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{address}: {error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn choice(
        texts: &[&str],
        plan: &Plan,
        connect: impl Fn(SocketAddr) -> io::Result<()>,
    ) -> Result<String, String> {
        let url = "ws://localhost:80".parse().unwrap();
        let chosen = choose(&url, addresses(texts), plan, connect);
        chosen
            .map(|address| address.to_string())
            .map_err(|error| error.to_string())
    }

    fn refused(_: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    #[test]
    fn the_first_address_that_accepts_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let elsewhere = SocketAddr::new("::1".parse().unwrap(), address.port());
        let url = "ws://localhost:80".parse().unwrap();
        let timeout = Duration::from_secs(10);
        let connect = |address| TcpStream::connect_timeout(&address, timeout).map(drop);
        let plan = Plan::default();
        let chosen = choose(&url, vec![elsewhere, address], &plan, connect);
        assert_eq!(chosen.unwrap(), address);
        let chosen = choose(&url, vec![address, elsewhere], &plan, connect);
        assert_eq!(chosen.unwrap(), address);
    }

    #[test]
    fn when_none_accepts_each_is_named_with_its_reason() {
        let told = choice(&["[::1]:80", "127.0.0.1:80"], &Plan::default(), |address| {
            Err(match address.is_ipv4() {
                true => io::ErrorKind::TimedOut.into(),
                false => io::ErrorKind::ConnectionRefused.into(),
            })
        });
        let told = told.unwrap_err();
        for part in [
            "ws://localhost:80",
            "[::1]:80: connection refused",
            "127.0.0.1:80: timed out",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn a_single_address_is_left_to_the_load_test() {
        let chosen = choice(&["127.0.0.1:80"], &Plan::default(), refused);
        assert_eq!(chosen.unwrap(), "127.0.0.1:80");
    }

    #[test]
    fn nothing_beyond_this_machine_is_tried_without_consent() {
        let both = ["192.0.2.1:80", "127.0.0.1:80", "[::1]:80"];
        let tried = RefCell::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push(address.to_string());
            refused(address)
        };
        let mut plan = Plan::default();
        let told = choice(&both, &plan, connect).unwrap_err();
        assert!(!told.contains("192.0.2.1"), "{told}");
        assert_eq!(tried.take(), both[1..]);
        let told = choice(&both[..1], &plan, connect).unwrap_err();
        assert!(
            told.contains("192.0.2.1") && told.contains("--i-own-this-server"),
            "{told}"
        );
        plan.has_consent = true;
        let told = choice(&both, &plan, connect).unwrap_err();
        assert!(told.contains("192.0.2.1"), "{told}");
        assert_eq!(tried.take(), both);
    }

    #[test]
    fn only_addresses_that_the_sources_can_reach_are_tried() {
        let mut plan = Plan {
            sources: vec!["127.0.0.2".parse().unwrap()],
            ..Plan::default()
        };
        let both = ["[::1]:80", "127.0.0.1:80"];
        assert_eq!(choice(&both, &plan, refused).unwrap(), "127.0.0.1:80");
        plan.sources.push("::1".parse().unwrap());
        let told = choice(&both, &plan, refused).unwrap_err();
        for part in ["127.0.0.1:80", "--source 127.0.0.2, ::1"] {
            assert!(told.contains(part), "{told}");
        }
    }
}
