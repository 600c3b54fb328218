//! How a connection stands; for tests that look whether all is well.

use super::{Connection, Phase};
use crate::{config::Limits, net::Token};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    /// The upgrade is under way.
    Upgrading,
    Open,
    /// It is to end: a Close or a refusal was queued.
    Closing,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Inspection {
    pub(crate) token: Token,
    pub(crate) stage: Stage,
    /// It is not read because of what it leaves waiting, or has sent.
    pub(crate) is_paused: bool,
    /// TLS has not come about yet: until then what is to be said waits.
    pub(crate) is_in_tls_handshake: bool,
    pub(crate) pending_bytes: usize,
    pub(crate) held_bytes: usize,
    /// What the outbox says that it holds is what it holds.
    pub(crate) is_account_right: bool,
    /// Nothing can be sent any more.
    pub(crate) has_failed: bool,
}

impl Connection {
    pub(crate) fn inspect(&self, limits: &Limits) -> Inspection {
        let stage = match self.phase {
            Phase::Connecting(_) | Phase::ConnectingToProxy(_) => Stage::Connecting,
            Phase::Detour(_) | Phase::Introduction(_) | Phase::Request(_) | Phase::Response(..) => {
                Stage::Upgrading
            }
            Phase::Open(_) => Stage::Open,
            Phase::Closing(_) | Phase::Lingering | Phase::Ended => Stage::Closing,
        };
        let outbox = &self.transport.outbox;
        Inspection {
            token: self.token,
            stage,
            is_paused: self.is_paused(limits) || self.is_held() || self.awaits_advance(),
            is_in_tls_handshake: self.transport.is_handshaking(),
            pending_bytes: outbox.pending_bytes(),
            held_bytes: outbox.held_bytes(),
            is_account_right: outbox.is_account_right(),
            has_failed: self.transport.has_failed(),
        }
    }
}
