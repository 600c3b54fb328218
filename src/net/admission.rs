//! Who may come in, by number. Pure: the listener asks, and says when one is gone.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use super::upgrade::{Refusal, Status};
use crate::{
    config::{
        Limits, Subnet,
        limits::{READMIT_PERCENT, handshakes_per_address_max, handshakes_per_network_max},
    },
    rate::Rates,
};

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// `--max-connections`.
    Full,
    /// `--max-connections-per-address`.
    AddressFull,
    /// Half of `--max-handshakes`.
    AddressHandshakesFull,
    /// `--max-connections-per-network`.
    NetworkFull,
    /// Three quarters of `--max-handshakes`.
    NetworkHandshakesFull,
    /// `--max-handshakes`.
    HandshakesFull,
    /// `--max-handshake-rate`.
    TooFast,
    /// `--allow` and `--deny`.
    Barred,
}

impl Denial {
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Full => Refusal::new(
                Status::Unavailable,
                "this node has no room for more connections",
            ),
            Self::AddressFull => Refusal::new(
                Status::TooManyRequests,
                "too many connections from this address",
            ),
            Self::AddressHandshakesFull => Refusal::new(
                Status::TooManyRequests,
                "too many connections from this address have not upgraded yet",
            ),
            Self::NetworkFull => Refusal::new(
                Status::TooManyRequests,
                "too many connections from this network",
            ),
            Self::NetworkHandshakesFull => Refusal::new(
                Status::TooManyRequests,
                "too many connections from this network have not upgraded yet",
            ),
            Self::TooFast => Refusal::new(
                Status::TooManyRequests,
                "too many connections a second from this address",
            ),
            Self::Barred => Refusal::new(
                Status::Forbidden,
                "this node takes no connections from this address",
            ),
            Self::HandshakesFull => Refusal::new(
                Status::Unavailable,
                "too many connections have not upgraded yet",
            ),
        }
    }
}

/// How many connections there are, of one address, of one network or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    admitted: usize,
    /// Of the admitted, those that have not upgraded yet.
    handshaking: usize,
}

impl Count {
    fn admit(&mut self) {
        self.admitted += 1;
        self.handshaking += 1;
    }
}

/// Leading bits that make one address of those that one machine may have: all of them in IPv4, and in IPv6 those of
/// a subnet, of which a machine has every address if it wants.
const ADDRESS_BITS: Bits = Bits { v4: 32, v6: 64 };
/// … and one network of those that one owner may have.
const NETWORK_BITS: Bits = Bits { v4: 24, v6: 48 };

struct Bits {
    v4: u8,
    v6: u8,
}

impl Bits {
    fn around(&self, address: IpAddr) -> Subnet {
        let bits = match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        };
        Subnet::around(address, bits)
    }
}

/// Where what comes from an address counts, beside all else that comes from there.
pub(super) fn place(address: IpAddr) -> Subnet {
    ADDRESS_BITS.around(address)
}

/// Where an address counts: by itself, and in its network. All addresses of this machine are in one network, and
/// whoever is on it is no flood of strangers.
fn places(address: IpAddr) -> impl Iterator<Item = Subnet> {
    let network = (!address.is_loopback()).then(|| NETWORK_BITS.around(address));
    [place(address)].into_iter().chain(network)
}

/// The network where an address counts, which in this machine is the address itself.
pub(super) fn network(address: IpAddr) -> Subnet {
    let widest = places(address).last();
    widest.unwrap_or_else(|| place(address))
}

/// Connections that have not upgraded yet: of a network, and of an address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share {
    of_network: usize,
    of_address: usize,
}

/// Counts admitted connections, in all, by address and by network.
#[derive(Debug)]
pub(crate) struct Admission {
    max: Bounds,
    all: Count,
    /// Of a proxy, which has not said yet whom it asks for.
    unplaced: usize,
    /// One entry for each address and each network with a connection, so bounded as they are.
    by_place: HashMap<Subnet, Count>,
    /// How many connections a second an address may begin.
    rates: Option<Rates<Subnet>>,
    /// The limit was reached, and the number has not yet fallen below the share that readmits.
    is_full: bool,
}

/// How many there may be.
#[derive(Debug)]
struct Bounds {
    all: Count,
    per_address: Count,
    per_network: Count,
    rate: Option<usize>,
}

impl Bounds {
    fn new(limits: &Limits) -> Self {
        // A node with few places must not lose all of them to connections that say nothing.
        let handshakes_max = limits.handshakes_max.min(limits.connections_max);
        Self {
            all: Count {
                admitted: limits.connections_max,
                handshaking: handshakes_max,
            },
            per_address: Count {
                admitted: limits.connections_per_address_max,
                handshaking: handshakes_per_address_max(handshakes_max),
            },
            per_network: Count {
                admitted: limits.connections_per_network_max,
                handshaking: handshakes_per_network_max(handshakes_max),
            },
            rate: limits.handshake_rate_max,
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max: Bounds::new(limits),
            all: Count::default(),
            unplaced: 0,
            by_place: HashMap::new(),
            rates: limits.handshake_rate_max.map(Rates::new),
            is_full: false,
        }
    }

    /// Other limits hold from now on. Whoever is there stays, were it more than may be.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        if self.max.rate != limits.handshake_rate_max {
            self.rates = limits.handshake_rate_max.map(Rates::new);
        }
        self.max = Bounds::new(limits);
        self.is_full = self.all.admitted >= self.max.all.admitted;
    }

    /// Whether an address, where it is known, may begin one more connection now.
    pub(crate) fn keep_pace(
        &mut self,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Denial> {
        if let Some((rates, address)) = self.rates.as_mut().zip(address)
            && !rates.try_take(place(address), 1, now)
        {
            return Err(Denial::TooFast);
        }
        Ok(())
    }

    /// Admits a connection, or says why not; without an address one of a proxy, until it is known whom that asks for.
    /// Each admitted one is given back with [`Self::release`].
    pub(crate) fn admit(&mut self, address: Option<IpAddr>) -> Result<(), Denial> {
        if self.is_full {
            return Err(Denial::Full);
        }
        if self.all.handshaking >= self.max.all.handshaking {
            return Err(Denial::HandshakesFull);
        }
        match address {
            Some(address) => self.count_for(address)?,
            None => self.unplaced += 1,
        }
        self.all.admit();
        self.is_full = self.all.admitted >= self.max.all.admitted;
        Ok(())
    }

    /// Lets an admitted connection of a proxy count for the address that the proxy asks for, or says why not. From then
    /// on it has that address.
    pub(crate) fn place(&mut self, address: IpAddr) -> Result<(), Denial> {
        self.count_for(address)?;
        self.unplaced -= 1;
        Ok(())
    }

    fn count_for(&mut self, address: IpAddr) -> Result<(), Denial> {
        let bounds = [
            (
                self.max.per_address,
                Denial::AddressFull,
                Denial::AddressHandshakesFull,
            ),
            (
                self.max.per_network,
                Denial::NetworkFull,
                Denial::NetworkHandshakesFull,
            ),
        ];
        for (place, (max, full, handshakes_full)) in places(address).zip(bounds) {
            let count = self.by_place.get(&place).copied().unwrap_or_default();
            if count.admitted >= max.admitted {
                return Err(full);
            }
            if count.handshaking >= max.handshaking {
                return Err(handshakes_full);
            }
        }
        for place in places(address) {
            self.by_place.entry(place).or_default().admit();
        }
        Ok(())
    }

    /// An admitted connection has upgraded, or been answered otherwise, or ended before.
    pub(crate) fn on_handshake_over(&mut self, address: Option<IpAddr>) {
        self.all.handshaking -= 1;
        self.unplaced -= usize::from(address.is_none());
        for place in address.into_iter().flat_map(places) {
            if let Some(count) = self.by_place.get_mut(&place) {
                count.handshaking -= 1;
            }
        }
    }

    /// An admitted connection is gone. Returns whether there is room again after there was none.
    pub(crate) fn release(&mut self, address: Option<IpAddr>) -> bool {
        for place in address.into_iter().flat_map(places) {
            debug_assert!(self.by_place.contains_key(&place));
            if let Some(count) = self.by_place.get_mut(&place) {
                count.admitted -= 1;
                debug_assert!(count.handshaking <= count.admitted);
                if count.admitted == 0 {
                    self.by_place.remove(&place);
                }
            }
        }
        self.all.admitted -= 1;
        let readmits =
            self.is_full && self.all.admitted * 100 < self.max.all.admitted * READMIT_PERCENT;
        self.is_full &= !readmits;
        readmits
    }

    /// How many that have not upgraded yet come from where this address is; without one, by a proxy that has not said for
    /// whom.
    pub(super) fn share(&self, address: Option<IpAddr>) -> Share {
        let of = |place| {
            let count = self.by_place.get(&place);
            count.map_or(0, |count| count.handshaking)
        };
        let (of_network, of_address) = match address {
            Some(address) => (of(network(address)), of(place(address))),
            None => (self.unplaced, self.unplaced),
        };
        Share {
            of_network,
            of_address,
        }
    }

    /// Of those admitted, those that have not upgraded yet.
    pub(crate) fn handshaking(&self) -> usize {
        self.all.handshaking
    }

    pub(crate) fn admitted(&self) -> usize {
        self.all.admitted
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(127, 0, 0, last).into())
    }

    fn admission(connections: usize, per_address: usize, handshakes: usize) -> Admission {
        Admission::new(&Limits {
            connections_max: connections,
            connections_per_address_max: per_address,
            handshakes_max: handshakes,
            ..Limits::default()
        })
    }

    /// Admits a connection that upgrades at once.
    fn admit(admission: &mut Admission, address: Option<IpAddr>) -> Result<(), Denial> {
        let result = admission.admit(address);
        if result.is_ok() {
            admission.on_handshake_over(address);
        }
        result
    }

    #[test]
    fn a_full_node_admits_again_only_below_the_share() {
        let mut admission = admission(10, 10, 10);
        for _ in 0..10 {
            assert_eq!(admit(&mut admission, address(1)), Ok(()));
        }
        assert_eq!(admit(&mut admission, address(2)), Err(Denial::Full));
        assert!(!admission.release(address(1)));
        assert_eq!(admit(&mut admission, address(2)), Err(Denial::Full));
        assert!(admission.release(address(1)));
        assert_eq!(admit(&mut admission, address(2)), Ok(()));
    }

    #[test]
    fn one_address_cannot_take_all_the_room() {
        let mut admission = admission(10, 2, 10);
        assert_eq!(admit(&mut admission, address(1)), Ok(()));
        assert_eq!(admit(&mut admission, address(1)), Ok(()));
        assert_eq!(admit(&mut admission, address(1)), Err(Denial::AddressFull));
        assert_eq!(admit(&mut admission, address(2)), Ok(()));
        admission.release(address(1));
        assert_eq!(admit(&mut admission, address(1)), Ok(()));
    }

    #[test]
    fn connections_that_do_not_upgrade_are_bounded() {
        let mut admission = admission(10, 10, 3);
        for last in 1..=3 {
            assert_eq!(admission.admit(address(last)), Ok(()));
        }
        assert_eq!(admission.admit(address(4)), Err(Denial::HandshakesFull));
        admission.on_handshake_over(address(1));
        assert_eq!(admission.admit(address(4)), Ok(()));
    }

    #[test]
    fn one_address_cannot_keep_all_others_from_upgrading() {
        let mut admission = admission(100, 100, 10);
        while admission.admit(address(1)).is_ok() {}
        assert_eq!(
            admission.admit(address(1)),
            Err(Denial::AddressHandshakesFull)
        );
        assert_eq!(admission.admit(address(2)), Ok(()));
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_are_gone() {
        let mut admission = admission(10, 1, 10);
        for last in 1..=5 {
            assert_eq!(admit(&mut admission, address(last)), Ok(()));
            admission.release(address(last));
        }
        assert_eq!(admission.by_place.len(), 0);
        assert_eq!(admission.admitted(), 0);
    }

    #[test]
    fn all_addresses_of_a_subnet_of_ipv6_are_one() {
        let mut admission = admission(100, 2, 100);
        let address = |text: &str| Some(text.parse().unwrap());
        assert_eq!(admit(&mut admission, address("2001:db8::1")), Ok(()));
        assert_eq!(admit(&mut admission, address("2001:db8::ffff:2")), Ok(()));
        let third = address("2001:db8::3");
        assert_eq!(admit(&mut admission, third), Err(Denial::AddressFull));
        assert_eq!(admit(&mut admission, address("2001:db8:0:1::")), Ok(()));
    }

    #[test]
    fn one_network_cannot_take_all_the_room_nor_all_handshakes() {
        let limits = |connections_per_network_max| Limits {
            connections_max: 1000,
            connections_per_network_max,
            handshakes_max: 100,
            ..Limits::default()
        };
        let of_network = |last| Some(IpAddr::from([203, 0, 113, last]));
        let other = Some(IpAddr::from([203, 0, 114, 1]));
        let mut admission = Admission::new(&limits(5));
        for last in 0..5 {
            assert_eq!(admit(&mut admission, of_network(last)), Ok(()));
        }
        assert_eq!(
            admit(&mut admission, of_network(5)),
            Err(Denial::NetworkFull)
        );
        assert_eq!(admit(&mut admission, other), Ok(()));
        admission.release(of_network(0));
        assert_eq!(admit(&mut admission, of_network(5)), Ok(()));

        // Without a bound for networks, who has 256 addresses leaves no room to others.
        let mut admission = Admission::new(&limits(1000));
        let flood = (0..=255).map(|last| admission.admit(of_network(last)));
        let refused = flood.filter(|result| *result == Err(Denial::NetworkHandshakesFull));
        assert_eq!(refused.count(), 256 - 75);
        assert_eq!(admission.admit(other), Ok(()));
    }

    #[test]
    fn this_machine_is_no_network() {
        let mut admission = Admission::new(&Limits {
            connections_per_network_max: 1,
            ..Limits::default()
        });
        for last in 1..=3 {
            assert_eq!(admit(&mut admission, address(last)), Ok(()));
        }
    }

    #[test]
    fn an_address_begins_no_more_connections_a_second_than_it_may() {
        let start = Instant::now();
        let mut admission = Admission::new(&Limits {
            handshake_rate_max: Some(10),
            ..Limits::default()
        });
        let (flood, other) = (address(1), address(2));
        let begun = (0..1000).filter(|_| admission.keep_pace(flood, start).is_ok());
        assert_eq!(begun.count(), 20);
        assert_eq!(admission.keep_pace(flood, start), Err(Denial::TooFast));
        assert_eq!(admission.keep_pace(other, start), Ok(()));
        // Those of a proxy are looked at when it is known whom it asks for.
        assert_eq!(admission.keep_pace(None, start), Ok(()));
        let later = start + Duration::from_millis(300);
        let again = (0..10).filter(|_| admission.keep_pace(flood, later).is_ok());
        assert_eq!(again.count(), 3);
    }

    #[test]
    fn a_proxy_has_room_for_the_clients_of_many_addresses() {
        let mut admission = admission(100, 2, 100);
        for last in 1..=20 {
            assert_eq!(admission.admit(None), Ok(()));
            assert_eq!(
                admission.place(Ipv4Addr::new(127, 0, 0, last).into()),
                Ok(())
            );
        }
        // Of one address there are no more by the proxy than without it.
        let here = Ipv4Addr::new(127, 0, 0, 1).into();
        assert_eq!(admission.admit(None), Ok(()));
        assert_eq!(admission.place(here), Ok(()));
        assert_eq!(admission.admit(None), Ok(()));
        assert_eq!(admission.place(here), Err(Denial::AddressFull));
        assert_eq!(admission.admit(Some(here)), Err(Denial::AddressFull));
        // Who was denied is given back as it was admitted: for no address.
        admission.on_handshake_over(None);
        admission.release(None);
        assert_eq!(admission.admitted(), 21);
    }

    proptest! {
        /// Whoever comes, by a proxy or without, is placed or denied, upgrades and goes: what is counted is what is there.
        #[test]
        fn what_is_counted_is_what_is_there(
            steps in prop::collection::vec((0u8..5, any::<prop::sample::Index>(), 1u8..5), 1..200),
        ) {
            let mut admission = admission(20, 4, 12);
            // Each with its address, and whether it has still to upgrade.
            let mut there: Vec<(Option<IpAddr>, bool)> = Vec::new();
            for (step, index, last) in steps {
                match step {
                    0 | 1 => {
                        let address = address(last).filter(|_| step == 0);
                        if admission.admit(address).is_ok() {
                            there.push((address, true));
                        }
                    }
                    _ if there.is_empty() => {}
                    2 => {
                        let (address, is_handshaking) = index.get(&there);
                        let place = Ipv4Addr::new(127, 0, 0, last).into();
                        if address.is_none() && *is_handshaking && admission.place(place).is_ok() {
                            let at = index.index(there.len());
                            there[at].0 = Some(place);
                        }
                    }
                    3 => {
                        let at = index.index(there.len());
                        if std::mem::take(&mut there[at].1) {
                            admission.on_handshake_over(there[at].0);
                        }
                    }
                    _ => {
                        let (address, is_handshaking) = there.swap_remove(index.index(there.len()));
                        if is_handshaking {
                            admission.on_handshake_over(address);
                        }
                        admission.release(address);
                    }
                }
                prop_assert_eq!(admission.admitted(), there.len());
                let handshaking = there.iter().filter(|(_, is_handshaking)| *is_handshaking);
                prop_assert_eq!(admission.all.handshaking, handshaking.count());
                for last in 1..5 {
                    let of_place = there.iter().filter(|(of, _)| *of == address(last)).count();
                    let place = places(address(last).expect("it is one")).next().expect("it is its own");
                    let counted = admission.by_place.get(&place).map_or(0, |count| count.admitted);
                    prop_assert!(counted == of_place && of_place <= 4, "{counted} {of_place}");
                }
            }
        }
    }
}
