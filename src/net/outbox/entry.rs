//! One place in the queue, and what it takes.

use bytes::Bytes;

use crate::net::frame::Piece;

/// What a frame costs beside its bytes: its place in the queue and its allocation. Counted against the
/// bound, or a flood of tiny frames would take many times what the bound says.
pub(super) const ENTRY_BYTES: usize = 64;

/// Why a frame is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message that somebody else has caused.
    Message,
    /// A message that the peer itself has caused.
    Answer,
    /// An HTTP head, a ping, a pong or a Close: never dropped, the protocol would break without it.
    Control,
}

/// A frame, or some in one piece.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Entry {
    pub(super) bytes: Bytes,
    /// How many messages the bytes are; none is a control frame.
    pub(super) messages: u32,
    pub(super) purpose: Purpose,
    /// The bytes are accounted for by themselves.
    pub(super) is_shared: bool,
}

impl Entry {
    pub(super) fn new(piece: Piece, purpose: Purpose) -> Self {
        Self {
            bytes: piece.bytes,
            messages: piece.messages,
            purpose,
            is_shared: piece.is_shared,
        }
    }

    pub(super) fn control(bytes: Bytes) -> Self {
        Self {
            bytes,
            messages: 0,
            purpose: Purpose::Control,
            is_shared: false,
        }
    }

    /// What the entry takes of memory.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + ENTRY_BYTES
    }

    /// … and the part of it that is this outbox's alone.
    pub(super) fn own_cost(&self) -> usize {
        match self.is_shared {
            true => ENTRY_BYTES,
            false => self.cost(),
        }
    }

    pub(super) fn is_droppable(&self) -> bool {
        self.purpose != Purpose::Control
    }

    /// The part of its cost that the peer itself has caused.
    pub(super) fn answer_cost(&self) -> usize {
        match self.purpose {
            Purpose::Message => 0,
            Purpose::Answer | Purpose::Control => self.cost(),
        }
    }
}
