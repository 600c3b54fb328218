//! Where hosts are: their addresses, and how far apart they stand.

use std::net::Ipv4Addr;

use super::chance::{Chance, Part};
use crate::config::PeerUrl;

/// Regions that most hosts gather in.
const REGIONS: usize = 8;

/// The plane is a square of this side.
const SIDE: i64 = 10_000;

/// Hosts of a region stand at most so far from its middle, in each direction.
const REGION_RADIUS: i64 = 400;

/// One-way latency of neighbors in the same place, in microseconds.
const LATENCY_MIN: u64 = 5_000;

/// One-way latency from corner to corner, in microseconds.
const LATENCY_MAX: u64 = 80_000;

/// The port that every node listens on.
pub(super) const PORT: u16 = 8080;

/// First address of the hosts.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 0, 0, 1]);

/// Positions of all hosts.
#[derive(Debug)]
pub(super) struct Geography {
    places: Vec<(i16, i16)>,
}

impl Geography {
    pub(super) fn new(hosts: usize, seed: u64) -> Self {
        let mut chance = Chance::new(seed, Part::Geography, 0);
        let mut point = |radius: i64, (x, y): (i64, i64)| {
            let mut along = |middle: i64| {
                let offset = chance.below(2 * radius as u64 + 1) as i64 - radius;
                (middle + offset).clamp(0, SIDE)
            };
            (along(x), along(y))
        };
        let anywhere = (SIDE / 2, SIDE / 2);
        let regions: Vec<_> = (0..REGIONS).map(|_| point(SIDE / 2, anywhere)).collect();
        let places = (0..hosts).map(|host| {
            // Four of five live in a region, one in the country.
            let (x, y) = match host % 5 {
                0 => point(SIDE / 2, anywhere),
                _ => point(REGION_RADIUS, regions[host % REGIONS]),
            };
            (x as i16, y as i16)
        });
        Self {
            places: places.collect(),
        }
    }

    /// One-way latency between two hosts in microseconds, without jitter.
    pub(super) fn latency(&self, a: u32, b: u32) -> u64 {
        let ((ax, ay), (bx, by)) = (self.places[a as usize], self.places[b as usize]);
        let (x, y) = (i64::from(ax) - i64::from(bx), i64::from(ay) - i64::from(by));
        let distance = (x * x + y * y).unsigned_abs().isqrt();
        let diagonal = (2 * SIDE * SIDE).unsigned_abs().isqrt();
        LATENCY_MIN + (LATENCY_MAX - LATENCY_MIN) * distance / diagonal
    }
}

/// The address of a host.
pub(super) fn address(host: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_ADDRESS + host)
}

/// Where the node of a host can be dialed.
pub(super) fn url(host: u32) -> PeerUrl {
    let url = format!("ws://{}:{PORT}/", address(host)).parse();
    url.expect("an address and a port make a URL")
}

/// The host that a URL leads to, if it leads to a place where a node may listen.
pub(super) fn host_of(url: &PeerUrl) -> Option<u32> {
    let address: Ipv4Addr = url.host().parse().ok()?;
    let host = u32::from(address).checked_sub(FIRST_ADDRESS)?;
    (url.port() == PORT).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_back_to_its_host() {
        for host in [0, 1, 255, 70_000] {
            assert_eq!(host_of(&url(host)), Some(host));
        }
        assert_eq!(url(255).to_string(), "ws://10.0.1.0:8080/");
        for elsewhere in ["ws://10.0.0.1:81", "ws://9.0.0.1:8080", "ws://name:8080"] {
            assert_eq!(host_of(&elsewhere.parse().unwrap()), None);
        }
    }

    #[test]
    fn latencies_stay_within_their_bounds_and_are_the_same_both_ways() {
        let geography = Geography::new(500, 3);
        let mut sum = 0;
        for host in 0..499 {
            let latency = geography.latency(host, host + 1);
            assert_eq!(latency, geography.latency(host + 1, host));
            assert!((LATENCY_MIN..=LATENCY_MAX).contains(&latency));
            sum += latency;
        }
        assert!((15_000..60_000).contains(&(sum / 499)), "{}", sum / 499);
        assert_eq!(geography.latency(7, 7), LATENCY_MIN);
    }
}
