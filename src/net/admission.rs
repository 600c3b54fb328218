//! Who may come in, by number. Pure: the listener asks, and says when one is gone.

use std::{collections::HashMap, net::IpAddr};

use super::upgrade::{Refusal, Status};
use crate::config::{
    Limits,
    limits::{READMIT_PERCENT, handshakes_per_address_max},
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
    /// `--max-handshakes`.
    HandshakesFull,
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
            Self::HandshakesFull => Refusal::new(
                Status::Unavailable,
                "too many connections have not upgraded yet",
            ),
        }
    }
}

/// How many connections there are, of one address or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    admitted: usize,
    /// Of the admitted, those that have not upgraded yet.
    handshaking: usize,
}

/// Counts admitted connections, in all and by address.
#[derive(Debug)]
pub(crate) struct Admission {
    max: Count,
    per_address_max: Count,
    all: Count,
    /// One entry for each address with a connection, so bounded as they are.
    by_address: HashMap<IpAddr, Count>,
    /// The limit was reached, and the number has not yet fallen below the share that readmits.
    is_full: bool,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        // A node with few places must not lose all of them to connections that say nothing.
        let handshakes_max = limits.handshakes_max.min(limits.connections_max);
        Self {
            max: Count {
                admitted: limits.connections_max,
                handshaking: handshakes_max,
            },
            per_address_max: Count {
                admitted: limits.connections_per_address_max,
                handshaking: handshakes_per_address_max(handshakes_max),
            },
            all: Count::default(),
            by_address: HashMap::new(),
            is_full: false,
        }
    }

    /// Admits a connection, or says why not. Each admitted one is given back with [`Self::release`].
    pub(crate) fn admit(&mut self, address: IpAddr) -> Result<(), Denial> {
        if self.is_full {
            return Err(Denial::Full);
        }
        if self.all.handshaking >= self.max.handshaking {
            return Err(Denial::HandshakesFull);
        }
        let of_address = self.by_address.get(&address).copied().unwrap_or_default();
        if of_address.admitted >= self.per_address_max.admitted {
            return Err(Denial::AddressFull);
        }
        if of_address.handshaking >= self.per_address_max.handshaking {
            return Err(Denial::AddressHandshakesFull);
        }
        for count in [&mut self.all, self.by_address.entry(address).or_default()] {
            count.admitted += 1;
            count.handshaking += 1;
        }
        self.is_full = self.all.admitted >= self.max.admitted;
        Ok(())
    }

    /// An admitted connection has upgraded, or been answered otherwise, or ended before.
    pub(crate) fn on_handshake_over(&mut self, address: IpAddr) {
        self.all.handshaking -= 1;
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address.handshaking -= 1;
        }
    }

    /// An admitted connection is gone. Returns whether there is room again after there was none.
    pub(crate) fn release(&mut self, address: IpAddr) -> bool {
        debug_assert!(self.by_address.contains_key(&address));
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address.admitted -= 1;
            debug_assert!(of_address.handshaking <= of_address.admitted);
            if of_address.admitted == 0 {
                self.by_address.remove(&address);
            }
        }
        self.all.admitted -= 1;
        let readmits =
            self.is_full && self.all.admitted * 100 < self.max.admitted * READMIT_PERCENT;
        self.is_full &= !readmits;
        readmits
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
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
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
    fn admit(admission: &mut Admission, address: IpAddr) -> Result<(), Denial> {
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
        assert_eq!(admission.by_address.len(), 0);
        assert_eq!(admission.admitted(), 0);
    }
}
