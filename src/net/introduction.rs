//! What a proxy says of whose connection it passes on, before anything else: the PROXY protocol, version 2. Pure.
//!
//! Twelve bytes that are no beginning of anything else, four that say what follows, and that: addresses, and what more
//! the proxy knows, which is left aside. (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2)

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::limits::INTRODUCTION_BYTES_MAX;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// With what says what follows.
const HEAD_BYTES: usize = SIGNATURE.len() + 4;

/// Version and command: the proxy asks for itself, to see whether somebody is there …
const LOCAL: u8 = 0x20;
/// … or for a client.
const PROXY: u8 = 0x21;

/// Families of addresses, with the protocol between client and proxy.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

/// What an introduction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Introduced {
    /// It is not whole: it has so many bytes at least.
    Needs(usize),
    /// The connection is the proxy's own, or of somebody who has no address.
    Itself,
    Client(SocketAddr),
    /// In words for the log.
    Malformed(&'static str),
}

/// Reads an introduction; what follows it is not to be among these bytes.
pub(crate) fn read(bytes: &[u8]) -> Introduced {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Introduced::Malformed(match bytes.starts_with(b"P") {
            true => "version 1 of the PROXY protocol, and only version 2 is taken (send-proxy-v2)",
            false => "it does not begin with a header of the PROXY protocol (send-proxy-v2)",
        });
    }
    let Some(&[.., command, family, high, low]) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Introduced::Needs(HEAD_BYTES);
    };
    let len = HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > INTRODUCTION_BYTES_MAX {
        return Introduced::Malformed("a header of the PROXY protocol that is too long");
    }
    if bytes.len() < len {
        return Introduced::Needs(len);
    }
    let rest = &bytes[HEAD_BYTES..len];
    match (command, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED | UNIX_STREAM) => Introduced::Itself,
        (PROXY, TCP4) => client::<4, _>(rest, |ip: [u8; 4]| Ipv4Addr::from(ip).into()),
        (PROXY, TCP6) => client::<16, _>(rest, |ip: [u8; 16]| Ipv6Addr::from(ip).into()),
        _ => Introduced::Malformed("a header of the PROXY protocol that says nothing known"),
    }
}

/// The address of the client is followed by that of the proxy, then both ports.
fn client<const N: usize, F: Fn([u8; N]) -> std::net::IpAddr>(
    rest: &[u8],
    address: F,
) -> Introduced {
    let ip = rest.first_chunk::<N>();
    let port = rest.get(2 * N..2 * N + 4);
    match (ip, port) {
        (Some(ip), Some(&[high, low, ..])) => {
            let ip = address(*ip).to_canonical();
            Introduced::Client(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
        }
        _ => Introduced::Malformed("a header of the PROXY protocol without room for its addresses"),
    }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing {
    use super::*;

    /// Fed in whatever pieces, it comes to the same; it wants more until it is whole and no more than it may; and a
    /// client that it names can be named again.
    pub(crate) fn feed_introduction(bytes: &[u8]) {
        let mut known = 0;
        let said = loop {
            match read(&bytes[..known]) {
                Introduced::Needs(len) => {
                    assert!(len > known && len <= INTRODUCTION_BYTES_MAX);
                    for between in known..len.min(bytes.len()) {
                        let early = read(&bytes[..between]);
                        let is_early = match early {
                            Introduced::Needs(early) => early <= len,
                            early => matches!(early, Introduced::Malformed(_)),
                        };
                        assert!(is_early, "{early:?}");
                    }
                    if len > bytes.len() {
                        return;
                    }
                    known = len;
                }
                said => break said,
            }
        };
        if let Introduced::Client(client) = said {
            assert_eq!(read(&written(client)), said);
        }
    }

    /// As a proxy writes it.
    pub(crate) fn written(client: SocketAddr) -> Vec<u8> {
        let (family, ip) = match client {
            SocketAddr::V4(client) => (TCP4, client.ip().octets().to_vec()),
            SocketAddr::V6(client) => (TCP6, client.ip().octets().to_vec()),
        };
        let port = client.port().to_be_bytes();
        let rest = [&ip[..], &ip, &port, &port].concat();
        let len = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[PROXY, family], &len, &rest].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::{fuzzing::written, *};

    #[test]
    fn a_client_is_who_the_proxy_says() {
        for client in ["203.0.113.7:80", "[2001:db8::7]:65535"] {
            let client: SocketAddr = client.parse().unwrap();
            let whole = written(client);
            assert_eq!(read(&whole), Introduced::Client(client));
            for len in 0..whole.len() {
                let needs = if len < HEAD_BYTES {
                    HEAD_BYTES
                } else {
                    whole.len()
                };
                assert_eq!(read(&whole[..len]), Introduced::Needs(needs), "{len}");
            }
        }
        // An address of IPv4 that is written as one of IPv6 is that one.
        let mapped = written("[::ffff:203.0.113.7]:80".parse().unwrap());
        let client = "203.0.113.7:80".parse().unwrap();
        assert_eq!(read(&mapped), Introduced::Client(client));
    }

    #[test]
    fn what_more_it_says_is_left_aside() {
        let client: SocketAddr = "203.0.113.7:80".parse().unwrap();
        let mut longer = written(client);
        longer[15] += 5;
        longer.extend([4, 0, 2, 7, 7]);
        assert_eq!(read(&longer), Introduced::Client(client));
        let (mut local, mut unspecified, mut unix) = (longer.clone(), longer.clone(), longer);
        local[12] = LOCAL;
        unspecified[13] = UNSPECIFIED;
        unix[13] = UNIX_STREAM;
        for own in [local, unspecified, unix] {
            assert_eq!(read(&own), Introduced::Itself);
        }
    }

    #[test]
    fn what_is_no_introduction_is_none() {
        let whole = written("203.0.113.7:80".parse().unwrap());
        let is_malformed = |bytes: &[u8]| matches!(read(bytes), Introduced::Malformed(_));
        assert!(is_malformed(b"GET / HTTP/1.1\r\n"));
        assert!(is_malformed(&[0x16, 3, 1]));
        let Introduced::Malformed(what) = read(b"PROXY TCP4 203.0.113.7 ") else {
            panic!("version 1 is not taken");
        };
        assert!(what.contains("version 1"));
        // Another version, another command, datagrams, no room for the addresses, and more than anybody has to say.
        for (place, byte) in [(12, 0x11), (12, 0x22), (13, 0x12), (15, 11), (14, 0xff)] {
            let mut damaged = whole.clone();
            damaged[place] = byte;
            assert!(is_malformed(&damaged), "{place} {byte}");
        }
    }
}
