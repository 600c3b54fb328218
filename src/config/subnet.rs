//! Ranges of addresses.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::printable::Printable;

/// The addresses that begin with the same bits, as CIDR writes them (RFC 4632): `192.168.0.0/16`, `fd00::/8`; one
/// address alone is such a range too.
///
/// ```
/// use wsmesh::config::Subnet;
///
/// let subnet: Subnet = "192.168.0.0/16".parse()?;
/// assert!(subnet.contains("192.168.7.9".parse().unwrap()));
/// assert!(subnet.contains("::ffff:192.168.7.9".parse().unwrap()));
/// assert!(!subnet.contains("192.169.0.1".parse().unwrap()));
/// # Ok::<(), wsmesh::config::SubnetError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    first: IpAddr,
    /// Leading bits that all have in common.
    bits: u8,
}

impl Subnet {
    /// The range around an address with so many bits in common, or the address alone if it has fewer bits.
    pub fn around(address: IpAddr, bits: u8) -> Self {
        let address = address.to_canonical();
        let bits = bits.min(bits_of(address));
        let first = match address {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() & mask(bits + 96) as u32).into()),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & mask(bits)).into()),
        };
        Self { first, bits }
    }

    /// Whether all addresses are in it, of IPv4 or of IPv6.
    pub(crate) fn is_everywhere(&self) -> bool {
        self.bits == 0
    }

    /// Whether an address is in it; an IPv4 address that is written as one of IPv6 is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && Self::around(address, self.bits) == *self
    }
}

/// In one piece: each upgrade looks up where it comes from ten times.
impl Hash for Subnet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.first {
            IpAddr::V4(first) => {
                state.write_u64(u64::from(self.bits) << 32 | u64::from(first.to_bits()));
            }
            IpAddr::V6(first) => {
                state.write_u128(first.to_bits());
                state.write_u8(self.bits);
            }
        }
    }
}

/// Ones for the leading bits of 128.
fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0)
}

fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits == bits_of(self.first) {
            true => self.first.fmt(f),
            false => write!(f, "{}/{}", self.first, self.bits),
        }
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let error = |problem| SubnetError {
            text: text.to_owned(),
            problem,
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| error(Problem::Address))?;
        let is_mapped = matches!(written, IpAddr::V6(address) if is_mapped(address));
        let written_bits = bits_of(written);
        let bits = match bits {
            None => written_bits,
            Some(bits) => {
                // `u8::from_str` takes a leading plus.
                let digits = Some(bits).filter(|bits| !bits.starts_with('+'));
                let number = digits.and_then(|digits| digits.parse().ok());
                let number = number.filter(|bits| *bits <= written_bits);
                number.ok_or_else(|| error(Problem::Bits(written_bits)))?
            }
        };
        let bits = match is_mapped {
            true => bits.checked_sub(96).ok_or_else(|| error(Problem::Mapped))?,
            false => bits,
        };
        let subnet = Self::around(written, bits);
        match subnet.first == written.to_canonical() {
            true => Ok(subnet),
            // Most often a slip of the pen, and one must not guess who may come in.
            false => Err(error(Problem::Beyond(subnet))),
        }
    }
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}; expected for example 192.168.0.0/16, fd00::/8 or 10.0.0.7", Printable(.text))]
pub struct SubnetError {
    text: String,
    problem: Problem,
}

/// Continues a sentence that starts with what was typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("does not begin with an IP address")]
    Address,
    #[error("has something after the slash that is not a number from 0 to {0}")]
    Bits(u8),
    #[error("is larger than all of IPv4, which it is written in")]
    Mapped,
    #[error("has more bits than it says: do you mean {0}?")]
    Beyond(Subnet),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn addresses_are_in_it_or_not() {
        for (range, inside, outside) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "fe80::1", "127.0.0.1"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("2001:db8::/64", "2001:db8::ffff:1", "2001:db8:0:1::"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("192.168.7.0/25", "::ffff:192.168.7.127", "192.168.7.128"),
        ] {
            assert!(subnet(range).contains(inside.parse().unwrap()), "{range}");
            assert!(!subnet(range).contains(outside.parse().unwrap()), "{range}");
        }
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (text, expected) in [
            ("", "`` does not begin with an IP address"),
            ("localhost", "does not begin"),
            ("10.0.0.0/33", "not a number from 0 to 32"),
            ("10.0.0.0/+8", "not a number from 0 to 32"),
            ("10.0.0.0/", "not a number from 0 to 32"),
            ("::/129", "not a number from 0 to 128"),
            (
                "10.0.0.7/8",
                "has more bits than it says: do you mean 10.0.0.0/8?",
            ),
            ("::ffff:0.0.0.0/95", "is larger than all of IPv4"),
        ] {
            let error = text.parse::<Subnet>().expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_shown_as_it_is_read(text in "[0-9a-f.:/]{0,24}") {
            if let Ok(subnet) = text.parse::<Subnet>() {
                prop_assert_eq!(subnet.to_string().parse(), Ok(subnet));
            }
        }

        #[test]
        fn a_range_has_what_begins_alike(one in any::<u128>(), other in any::<u128>(), bits in 0u8..=128) {
            let address = |bits: u128| IpAddr::V6(bits.into());
            prop_assume!(!is_mapped(one.into()) && !is_mapped(other.into()));
            let alike = (one ^ other).leading_zeros() >= u32::from(bits);
            prop_assert_eq!(Subnet::around(address(one), bits).contains(address(other)), alike);
        }
    }
}
