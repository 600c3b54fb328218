//! How connections end: closed with a reason, or ended without a word; and what is told and counted then.

use std::time::Instant;

use super::{
    CloseReason, Event, Kind, Token,
    connection::{Connection, Side},
    network::{Network, name_of},
    sending::{channel_of, has_channel},
};

impl Network {
    /// Says to a peer why, and closes its connection; nothing is sent to it any more. What still comes from
    /// it is taken.
    pub(crate) fn close(&mut self, peer: Token, reason: CloseReason, now: Instant) {
        self.with(peer, now, |connection, _, turn| {
            connection.close(reason, turn);
            None
        });
    }

    /// Accepts and dials nobody any more, and closes every connection with 1001.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.listeners.close();
        self.dialer.stop();
        let tokens: Vec<_> = self
            .connections
            .iter()
            .map(|(_, connection)| connection.token())
            .collect();
        for token in tokens {
            self.close(token, CloseReason::Shutdown, now);
        }
    }

    /// Ends a connection without a word.
    pub(super) fn end(&mut self, token: Token, now: Instant) {
        self.with(token, now, |connection, _, turn| {
            connection.end(turn);
            None
        });
    }

    /// Frees the slot of a connection that has ended.
    pub(super) fn remove(&mut self, token: Token, now: Instant) {
        let mut connection = self.connections.remove(token.slot());
        debug_assert_eq!((connection.token(), connection.noted_bytes), (token, 0));
        connection.forget_pending(&mut self.shared.counters);
        self.listeners.on_descriptor_freed(now);
        let reason = connection
            .reason()
            .cloned()
            .unwrap_or(CloseReason::Vanished);
        if connection.was_open() {
            self.count_closed(connection.kind(), &reason);
            self.leave_channel(&connection);
            self.events.push_back(Event::Closed {
                peer: token,
                kind: connection.kind(),
                name: name_of(&connection, &self.dialer).to_string(),
                reason: reason.clone(),
                is_unanswered: connection.is_unanswered(),
                round_trip: connection.round_trip(),
            });
        }
        match connection.side() {
            Side::Accepted => self.on_accepted_gone(&connection, now),
            Side::Refused => self.refusals -= 1,
            Side::Status { .. } => self.status_connections -= 1,
            Side::Dialed(peer) => self.on_dialed_gone(peer, &connection, now),
            Side::Client if connection.was_open() => {}
            Side::Client => self.events.push_back(Event::NotOpened(token, reason)),
        }
    }

    /// A connection that was open leaves the channel that it has joined.
    fn leave_channel(&mut self, connection: &Connection) {
        if !has_channel(connection) {
            return;
        }
        let channel = channel_of(connection, &self.dialer);
        let successor = self.channels.leave(channel, connection.place);
        if let Some(successor) = successor.and_then(|slot| self.connections.get_mut(slot)) {
            successor.place = connection.place;
        }
    }

    fn count_closed(&mut self, kind: Kind, reason: &CloseReason) {
        let counters = &mut self.shared.counters;
        counters.peers -= 1;
        counters.neighbor_connections -= u64::from(kind == Kind::Neighbor);
        counters.closed += 1;
        match reason {
            CloseReason::Slow(_) => counters.closed_slow += 1,
            CloseReason::TooFast(_) => counters.closed_rate += 1,
            CloseReason::Memory(_) => counters.closed_memory += 1,
            CloseReason::Silent(_) => counters.closed_silent += 1,
            CloseReason::Protocol(_) | CloseReason::NotUtf8 | CloseReason::TooBig(_) => {
                counters.closed_protocol += 1;
            }
            CloseReason::ByPeer(..) => counters.closed_by_peer += 1,
            CloseReason::Vanished | CloseReason::CutOff | CloseReason::Failed(_) => {
                counters.closed_lost += 1;
            }
            _ => {}
        }
    }
}
