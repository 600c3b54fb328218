//! What connections hold of memory, in all, and giving it up.
//!
//! Each connection accounts for what is its own ([`Connection::own_bytes`](super::connection::Connection::own_bytes));
//! frames that several wait for are accounted for once, by the frames themselves.

use std::{
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;

use super::{Token, network::Network};

/// Bytes of the frames that wait in outboxes and may be shared by several.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedFrames(Arc<AtomicUsize>);

impl SharedFrames {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// The same bytes, which count until the last who shares them has let them go.
    pub(super) fn counted(&self, bytes: Bytes) -> Bytes {
        self.0.fetch_add(bytes.len(), Relaxed);
        let frames = self.clone();
        Bytes::from_owner(Counted { bytes, frames })
    }
}

struct Counted {
    bytes: Bytes,
    frames: SharedFrames,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.frames.0.fetch_sub(self.bytes.len(), Relaxed);
    }
}

impl Network {
    /// Bytes that all connections hold: what waits to be sent, each shared frame once, and messages and heads that have
    /// come in part.
    pub(crate) fn held_bytes(&self) -> usize {
        self.agenda.own_bytes + self.shared.frames.bytes()
    }

    /// The connections by what each of them holds, shared or not.
    pub(crate) fn holders(&self) -> BinaryHeap<(usize, Token)> {
        let connections = self.connections.iter();
        let holders =
            connections.map(|(_, connection)| (connection.held_bytes(), connection.token()));
        holders.filter(|(bytes, _)| *bytes > 0).collect()
    }

    /// Closes a connection because of what it holds; one that is closing already ends. Returns what it still holds, which
    /// is less.
    pub(crate) fn shed(&mut self, peer: Token, now: Instant) -> usize {
        let mut held = 0;
        self.with(peer, now, |connection, _, turn| {
            connection.shed(turn);
            held = connection.held_bytes();
            None
        });
        held
    }

    /// The accounts are what the connections hold indeed.
    pub(crate) fn debug_assert_accounts(&self) {
        if cfg!(debug_assertions) {
            let (mut own, mut shared) = (0, 0);
            for (_, connection) in &self.connections {
                own += connection.own_bytes();
                shared += connection.shared_bytes();
            }
            assert_eq!(self.agenda.own_bytes, own);
            let frames = self.shared.frames.bytes();
            assert!(
                frames <= shared,
                "{frames} > {shared}: somebody else has frames"
            );
            assert_eq!(frames == 0, shared == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_once_until_the_last_lets_it_go() {
        let frames = SharedFrames::default();
        let one = frames.counted(Bytes::from_static(b"hello"));
        let other = one.clone();
        assert_eq!((frames.bytes(), &other[..]), (5, &b"hello"[..]));
        drop(one);
        let rest = other.slice(2..);
        drop(other);
        assert_eq!(frames.bytes(), 5);
        drop(rest);
        assert_eq!(frames.bytes(), 0);
    }
}
