//! What a connection holds of memory beside itself, and giving it up.
//!
//! With TLS some records wait beside the outbox, too; they are bounded by themselves
//! ([`TLS_SEND_BYTES_MAX`](crate::config::limits::TLS_SEND_BYTES_MAX)).

use super::{Connection, Phase, Turn};
use crate::net::{
    admission::Denial,
    close::CloseReason,
    upgrade::{Form, Refusal, Status},
};

impl Connection {
    /// Bytes that only this connection holds: what waits to be sent to it alone, and what has come in part.
    pub(crate) fn own_bytes(&self) -> usize {
        let received = match &self.phase {
            // What it held goes with it, at the end of the turn.
            Phase::Ended => return 0,
            Phase::Request(head) | Phase::Response(head, _) => {
                head.len() + self.transport.handshake_bytes()
            }
            Phase::Introduction(introduction) => introduction.len(),
            Phase::Open(session) | Phase::Closing(session) => session.held_bytes(),
            Phase::Connecting(_)
            | Phase::ConnectingToProxy(_)
            | Phase::Detour(_)
            | Phase::Lingering => 0,
        };
        self.transport.outbox.own_bytes().saturating_add(received)
    }

    /// Bytes that wait for it and may wait for others, too.
    pub(crate) fn shared_bytes(&self) -> usize {
        match self.phase {
            Phase::Ended => 0,
            _ => self.transport.outbox.shared_bytes(),
        }
    }

    /// All that it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        self.own_bytes().saturating_add(self.shared_bytes())
    }

    /// Gives up what it holds. An open connection is closed and may keep the frame of which a part is sent; one that is
    /// closing already ends.
    pub(crate) fn shed(&mut self, turn: &mut Turn<'_>) {
        let reason = CloseReason::Memory(self.held_bytes());
        match self.phase {
            Phase::Open(_) => {
                turn.counters.messages_dropped += self.transport.outbox.clear() as u64;
                return self.break_off(reason, turn);
            }
            Phase::Request(_) if !self.transport.is_handshaking() => {
                let refusal = Refusal::new(Status::Unavailable, "this node is short of memory");
                self.answer(&refusal, Form::Whole, turn);
            }
            _ => self.end(turn),
        }
        self.reason.get_or_insert(reason);
    }

    /// Ends an upgrade under way for the sake of others, who have no place.
    pub(crate) fn give_way(&mut self, turn: &mut Turn<'_>) {
        let refusal = Denial::HandshakesFull.refusal();
        if matches!(self.phase, Phase::Request(_)) && !self.transport.is_handshaking() {
            self.send_control(refusal.response(Form::Whole, turn.id), turn);
        }
        let reason = CloseReason::Answered(refusal.to_string());
        self.reason.get_or_insert(reason);
        self.end(turn);
    }
}
