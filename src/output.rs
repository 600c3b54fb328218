//! Where received messages go.

use std::os::fd::RawFd;

use crate::{Message, net::PeerName};

/// A message that was received: from a peer of a node itself, or published at another node, or by a client.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Who sent it: a direct peer, or the node at which it was published.
    pub from: PeerName<'a>,
    /// The path of the connection or the channel of the publication, which is the same; at least `/`.
    pub path: &'a str,
    /// What was sent.
    pub message: &'a Message,
}

/// Takes the messages that a node or a client receives. Called from the loop, so it must never block.
pub trait Output {
    /// A message has been received.
    fn message(&mut self, received: &Received<'_>);

    /// End of a turn: hand over what the turn gathered. `true` means that something is left
    /// because the destination does not take more now; it is called again after the next turn.
    fn flush(&mut self) -> bool {
        false
    }

    /// Descriptor that becomes writable when the destination takes more, which then is a turn of its
    /// own.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    /// Whether nobody will ever take more. A node goes on all the same, a client that subscribes has no reason to.
    fn is_closed(&self) -> bool {
        false
    }
}

impl<F: FnMut(&Received<'_>)> Output for F {
    fn message(&mut self, received: &Received<'_>) {
        self(received);
    }
}
