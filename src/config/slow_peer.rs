//! What happens to a peer that does not read.

use super::choice::choice;

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

choice!(
    SlowPeer,
    "policy",
    Disconnect = "disconnect",
    DropOldest = "drop-oldest",
    DropNewest = "drop-newest"
);
