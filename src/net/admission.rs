//! Who may come in, by number. Pure: the listener asks, and says when one is gone.

use std::{collections::HashMap, net::IpAddr};

use super::upgrade::{Refusal, Status};
use crate::config::limits::READMIT_PERCENT;

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// `--max-connections`.
    Full,
    /// `--max-connections-per-address`.
    AddressFull,
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
            Self::HandshakesFull => Refusal::new(
                Status::Unavailable,
                "too many connections have not upgraded yet",
            ),
        }
    }
}

/// Counts admitted connections, in all and by address.
#[derive(Debug)]
pub(crate) struct Admission {
    admitted_max: usize,
    per_address_max: usize,
    handshakes_max: usize,
    admitted: usize,
    /// One entry for each address with a connection, so bounded as they are.
    by_address: HashMap<IpAddr, usize>,
    /// The limit was reached, and the number has not yet fallen below the share that readmits.
    is_full: bool,
}

impl Admission {
    pub(crate) fn new(admitted_max: usize, per_address_max: usize, handshakes_max: usize) -> Self {
        Self {
            admitted_max,
            per_address_max,
            handshakes_max,
            admitted: 0,
            by_address: HashMap::new(),
            is_full: false,
        }
    }

    /// Admits a connection, or says why not. Each admitted one is given back with [`Self::release`].
    pub(crate) fn admit(&mut self, address: IpAddr, handshaking: usize) -> Result<(), Denial> {
        if self.is_full {
            return Err(Denial::Full);
        }
        if handshaking >= self.handshakes_max {
            return Err(Denial::HandshakesFull);
        }
        let of_address = self.by_address.entry(address).or_default();
        if *of_address >= self.per_address_max {
            return Err(Denial::AddressFull);
        }
        *of_address += 1;
        self.admitted += 1;
        self.is_full = self.admitted >= self.admitted_max;
        Ok(())
    }

    /// An admitted connection is gone. Returns whether there is room again after there was none.
    pub(crate) fn release(&mut self, address: IpAddr) -> bool {
        debug_assert!(self.by_address.contains_key(&address));
        if let Some(of_address) = self.by_address.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                self.by_address.remove(&address);
            }
            self.admitted -= 1;
        }
        let readmits = self.is_full && self.admitted * 100 < self.admitted_max * READMIT_PERCENT;
        self.is_full &= !readmits;
        readmits
    }

    pub(crate) fn admitted(&self) -> usize {
        self.admitted
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

    #[test]
    fn a_full_node_admits_again_only_below_the_share() {
        let mut admission = Admission::new(10, 10, 10);
        for _ in 0..10 {
            assert_eq!(admission.admit(address(1), 0), Ok(()));
        }
        assert_eq!(admission.admit(address(2), 0), Err(Denial::Full));
        assert!(!admission.release(address(1)));
        assert_eq!(admission.admit(address(2), 0), Err(Denial::Full));
        assert!(admission.release(address(1)));
        assert_eq!(admission.admit(address(2), 0), Ok(()));
    }

    #[test]
    fn one_address_cannot_take_all_the_room() {
        let mut admission = Admission::new(10, 2, 10);
        assert_eq!(admission.admit(address(1), 0), Ok(()));
        assert_eq!(admission.admit(address(1), 0), Ok(()));
        assert_eq!(admission.admit(address(1), 0), Err(Denial::AddressFull));
        assert_eq!(admission.admit(address(2), 0), Ok(()));
        admission.release(address(1));
        assert_eq!(admission.admit(address(1), 0), Ok(()));
    }

    #[test]
    fn connections_that_do_not_upgrade_are_bounded() {
        let mut admission = Admission::new(10, 10, 3);
        assert_eq!(admission.admit(address(1), 2), Ok(()));
        assert_eq!(admission.admit(address(1), 3), Err(Denial::HandshakesFull));
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_are_gone() {
        let mut admission = Admission::new(10, 1, 10);
        for last in 1..=5 {
            assert_eq!(admission.admit(address(last), 0), Ok(()));
            admission.release(address(last));
        }
        assert_eq!(admission.by_address.len(), 0);
        assert_eq!(admission.admitted(), 0);
    }
}
