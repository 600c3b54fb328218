//! What a running node is called.

use std::{fmt, str::FromStr};

use rand::{Rng, RngExt};

/// A random 128-bit name of a running node; a restart is another node. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u128);

impl NodeId {
    /// Digits of the short form, which is enough to tell the nodes of one mesh apart by eye.
    const SHORT_DIGITS: usize = 8;

    pub(crate) fn random(rng: &mut impl Rng) -> Self {
        Self(rng.random())
    }

    /// The first digits, for people.
    ///
    /// ```
    /// let id: wsmesh::NodeId = "0123456789abcdef0123456789abcdef".parse()?;
    /// assert_eq!(id.short(), "01234567");
    /// # Ok::<(), wsmesh::NodeIdError>(())
    /// ```
    pub fn short(self) -> String {
        let mut digits = self.to_string();
        digits.truncate(Self::SHORT_DIGITS);
        digits
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is no [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's id is 32 hexadecimal digits")]
pub struct NodeIdError;

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` takes a leading plus.
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_hex.then(|| u128::from_str_radix(text, 16).ok());
        id.flatten().map(Self).ok_or(NodeIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        for id in [
            NodeId(0),
            NodeId(u128::MAX),
            NodeId::random(&mut rand::rng()),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in [
            "",
            "1",
            "+123456789abcdef0123456789abcdef0",
            &"g".repeat(32),
        ] {
            assert_eq!(text.parse::<NodeId>(), Err(NodeIdError));
        }
    }
}
