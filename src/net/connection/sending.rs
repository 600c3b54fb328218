//! What a connection sends: past the outbox where nothing waits, through it otherwise.

use std::mem;

use bytes::Bytes;

use super::{Connection, Phase, Turn};
use crate::{
    config::SlowPeer,
    net::{
        Kind,
        close::CloseReason,
        frame::{Outgoing, Role},
        outbox::{Purpose, Pushed},
    },
};

impl Connection {
    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self, turn: &mut Turn<'_>) {
        let flushed = self.transport.flush(&mut turn.counters.bytes_sent);
        if let Err(error) = flushed {
            // What the peer has sent before is still there to be read, and its last word tells more.
            self.transport.give_up_writing(error);
            return self.count_pending(turn.counters);
        }
        self.count_pending(turn.counters);
        if self.transport.outbox.is_empty() {
            self.is_shedding = false;
            if matches!(self.phase, Phase::Lingering) {
                self.transport.end_writing();
                if self.transport.is_read_ended() && self.transport.is_write_ended() {
                    self.end(turn);
                }
            }
        }
    }

    /// Sends a message past the outbox, if nothing waits there and the frame is the same for all; whether it did. What
    /// the socket does not take is queued. Most deliveries go this way, and it costs half of the other.
    pub(crate) fn send_past(&mut self, outgoing: &mut Outgoing, turn: &mut Turn<'_>) -> bool {
        let is_shared =
            matches!(&self.phase, Phase::Open(session) if session.role() == Role::Server);
        if !is_shared {
            return false;
        }
        let piece = outgoing.unmasked();
        let Some(sent) = self.send_now(&piece.bytes, turn) else {
            return false;
        };
        turn.counters.messages_sent += u64::from(piece.messages);
        if sent < piece.bytes.len() {
            let piece = outgoing.shared_piece_for(Role::Server, turn.frames);
            self.transport
                .outbox
                .push_rest(piece, Purpose::Message, sent);
            self.count_pending(turn.counters);
        }
        true
    }

    /// Sends what must not be dropped, at once if nothing waits: a crowd that connects then leaves no answers lying
    /// about until the end of the turn.
    pub(super) fn send_control(&mut self, bytes: Vec<u8>, turn: &mut Turn<'_>) {
        let sent = self.send_now(&bytes, turn).unwrap_or_default();
        if sent < bytes.len() {
            self.transport
                .outbox
                .push_control(Bytes::from(bytes).slice(sent..));
        }
    }

    /// Sends bytes past the outbox, as many as the socket takes; `None`: they have to be queued. When nothing can be
    /// sent any more they count as sent.
    fn send_now(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Option<usize> {
        if !self.transport.is_free() {
            return None;
        }
        let sent = self
            .transport
            .send_past(bytes, &mut turn.counters.bytes_sent);
        match sent {
            Ok(sent) => Some(sent),
            Err(error) => {
                self.transport.give_up_writing(error);
                Some(bytes.len())
            }
        }
    }

    /// Queues messages. Returns the bytes that wait when messages begin to be dropped for this peer.
    pub(crate) fn send(
        &mut self,
        outgoing: &mut Outgoing,
        purpose: Purpose,
        turn: &mut Turn<'_>,
    ) -> Option<usize> {
        let Phase::Open(session) = &self.phase else {
            // Closed for a message just before this one, in the same burst.
            if let Some(CloseReason::Slow(_)) = self.reason {
                turn.counters.messages_dropped += outgoing.message_count();
            }
            return None;
        };
        if self.transport.has_failed() {
            return None;
        }
        let piece = match purpose {
            Purpose::Message => outgoing.shared_piece_for(session.role(), turn.frames),
            Purpose::Answer | Purpose::Control => outgoing.piece_for(session.role()),
        };
        let messages = u64::from(piece.messages);
        let bytes_max = turn.limits.outbox_bytes_max;
        let policy = self.policy(turn);
        let is_final = policy == SlowPeer::Disconnect;
        if !self.transport.outbox.fits(piece.bytes.len(), bytes_max)
            && (is_final || self.transport.is_writable())
        {
            // A peer is slow only when its socket takes no more; a burst alone is not its fault. Before
            // it is closed for that, the socket itself is asked: the poll may not have told yet.
            self.flush(turn);
        }
        let pushed = self
            .transport
            .outbox
            .push_messages(piece, purpose, bytes_max, policy);
        let (is_queued, dropped) = match pushed {
            Pushed::Queued => (true, 0),
            Pushed::Displaced(dropped) => (true, dropped),
            Pushed::Dropped(dropped) => (false, dropped),
            Pushed::Overflow => {
                self.close(CloseReason::Slow(self.pending_bytes()), turn);
                self.count_pending(turn.counters);
                turn.counters.messages_dropped += messages;
                return None;
            }
        };
        turn.counters.messages_sent += if is_queued { messages } else { 0 };
        turn.counters.messages_dropped += dropped as u64;
        self.count_pending(turn.counters);
        let begins_to_shed = dropped > 0 && !mem::replace(&mut self.is_shedding, true);
        begins_to_shed.then(|| self.pending_bytes())
    }

    /// What happens when the outbox overflows. A neighbor relies on hearing everything, or on hearing that
    /// it does not: it asks another one then.
    fn policy(&self, turn: &Turn<'_>) -> SlowPeer {
        match self.kind {
            Kind::Plain => turn.slow_peer,
            Kind::Neighbor => SlowPeer::Disconnect,
        }
    }
}
