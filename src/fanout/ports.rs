//! The ports that connections of a load test come from, where it says from which addresses. Pure.
//!
//! The system would look for a free port itself; but bound to an address, without a destination yet, it goes by
//! those that nobody has at all, and takes longer and longer to find one.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Ports that are tried for one connection; those before it may be in use by others.
pub(super) const TRIES_MAX: usize = 1000;

/// What Linux has by default.
const RANGE: RangeInclusive<u16> = 32768..=60999;

/// Addresses in turn, and for each its ports one after the other.
#[derive(Debug)]
pub(super) struct Ports {
    addresses: Vec<(IpAddr, u16)>,
    next: usize,
    range: RangeInclusive<u16>,
}

impl Ports {
    /// `range` is what the system says, in its own words; `first` is where to begin, so that two load tests
    /// do not want the same.
    pub(super) fn new(addresses: &[IpAddr], range: &str, first: u16) -> Self {
        let range = parse(range).unwrap_or(RANGE);
        let count = range.end() - range.start();
        let first = range.start() + first % count.max(1);
        Self {
            addresses: addresses.iter().map(|address| (*address, first)).collect(),
            next: 0,
            range,
        }
    }

    /// Goes to the next address. `None`: it does not matter.
    pub(super) fn next_address(&mut self) -> Option<usize> {
        let place = self.next.checked_rem(self.addresses.len())?;
        self.next = place + 1;
        Some(place)
    }

    /// The next port of an address.
    pub(super) fn next_port(&mut self, address: usize) -> SocketAddr {
        let (address, port) = &mut self.addresses[address];
        let taken = *port;
        *port = match taken == *self.range.end() {
            true => *self.range.start(),
            false => taken + 1,
        };
        SocketAddr::new(*address, taken)
    }
}

/// `32768 60999`.
fn parse(range: &str) -> Option<RangeInclusive<u16>> {
    let mut words = range.split_whitespace();
    let (first, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (0 < first && first < last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_gives_all_its_ports_in_turn() {
        let addresses = ["127.0.0.2", "127.0.0.3"].map(|address| address.parse().unwrap());
        let mut ports = Ports::new(&addresses, "100\t102\n", 4);
        let taken: Vec<_> = (0..8)
            .map(|_| {
                let address = ports.next_address().unwrap();
                ports.next_port(address).to_string()
            })
            .collect();
        let of = |last, port| format!("127.0.0.{last}:{port}");
        let expected = [100, 101, 102, 100].map(|port| [of(2, port), of(3, port)]);
        assert_eq!(taken, expected.concat());
    }

    #[test]
    fn without_addresses_or_a_range_the_system_decides() {
        assert_eq!(Ports::new(&[], "100 102", 0).next_address(), None);
        for text in ["", "1", "0 5", "5 5", "1 65536", "a b"] {
            let any: IpAddr = "127.0.0.2".parse().unwrap();
            let mut ports = Ports::new(&[any], text, 0);
            assert_eq!(ports.next_port(0).port(), *RANGE.start());
        }
    }
}
