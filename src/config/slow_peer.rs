//! What happens to a peer that does not read.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::printable::Printable;

/// What happens to a peer whose outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowPeer {
    /// Its connection is closed with 1013. The peer knows that it missed something.
    #[default]
    Disconnect,
    /// The messages that have waited longest make room. Good where only the latest matters.
    DropOldest,
    /// The new message is dropped for this peer.
    DropNewest,
}

impl SlowPeer {
    /// All policies, in the order of the help text.
    pub const ALL: [SlowPeer; 3] = [
        SlowPeer::Disconnect,
        SlowPeer::DropOldest,
        SlowPeer::DropNewest,
    ];

    /// The name that the program takes and shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            SlowPeer::Disconnect => "disconnect",
            SlowPeer::DropOldest => "drop-oldest",
            SlowPeer::DropNewest => "drop-newest",
        }
    }
}

impl Display for SlowPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SlowPeer {
    type Err = SlowPeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = SlowPeer::ALL.into_iter();
        all.find(|policy| policy.as_str() == text)
            .ok_or_else(|| SlowPeerError(text.to_owned()))
    }
}

/// A text that names no [`SlowPeer`] policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no policy; expected disconnect, drop-oldest or drop-newest", Printable(.0))]
pub struct SlowPeerError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names() {
        for policy in SlowPeer::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let error = "drop\n".parse::<SlowPeer>().unwrap_err().to_string();
        assert!(error.starts_with(r"`drop\n` is no policy"), "{error}");
    }
}
