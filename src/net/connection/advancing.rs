//! What an accepted connection may make us compute before it upgrades, see [`Advances`](crate::net::advances::Advances).

use std::net::IpAddr;

use super::{CloseReason, Connection, Turn};

/// Whether its TLS handshake may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    Unasked,
    Awaited,
    Taken,
}

impl Connection {
    /// The address that its TLS handshake is to be answered for, before anything of it is; those of a proxy are not bounded.
    pub(crate) fn wants_advance(&self) -> Option<IpAddr> {
        let begins = self.is_handshaking() && self.transport.is_handshaking();
        let wants = begins && self.advance == Advance::Unasked;
        self.counts_for().filter(|_| wants)
    }

    /// It is read when its advance has come, and not before.
    pub(crate) fn awaits_advance(&self) -> bool {
        self.is_handshaking() && self.advance == Advance::Awaited
    }

    /// Ends if the other side has gone while its advance is awaited, which no read would show.
    pub(crate) fn leave_line(&mut self, turn: &mut Turn<'_>) {
        if self.awaits_advance() && self.transport.is_end_announced() {
            let what = "ended before the TLS handshake could go on".to_owned();
            self.reason.get_or_insert(CloseReason::Failed(what));
            self.end(turn);
        }
    }
}
