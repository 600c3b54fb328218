//! How connections end: closed with a reason, or ended without a word; and what is told and counted then.

use std::time::{Duration, Instant};

use super::{
    CloseReason, Event, Kind, Token,
    connection::{Connection, Side},
    listener::Entrance,
    network::{Network, name_of},
    sending::{channel_of, has_channel},
    spread::Spread,
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

    /// Lets nobody new in, and dials nobody any more; those that are connecting hear why. Who looks at the node still
    /// can.
    pub(crate) fn shut_out(&mut self, now: Instant) {
        self.listeners.close(Entrance::Peers);
        self.stop_dialing(now);
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let connecting = connections.filter(|connection| {
            let is_dialing = matches!(connection.side(), Side::Dialed(_));
            connection.is_handshaking() || is_dialing && !connection.was_open()
        });
        let connecting: Vec<_> = connecting.map(Connection::token).collect();
        for token in connecting {
            self.part(token, now);
        }
    }

    fn stop_dialing(&mut self, now: Instant) {
        self.dialer.stop();
        self.names.follow(&[], now);
    }

    /// How long it takes to let the plain peers go that are here now, within this time at most.
    pub(crate) fn time_to_drain(&self, over: Duration) -> Duration {
        Spread::time_for(self.plain_peers(), over)
    }

    /// Closes the plain peers one by one, within this time at most; neighbors stay until [`Self::stop`]. Returns how long
    /// it takes.
    pub(crate) fn drain(&mut self, over: Duration, now: Instant) -> Duration {
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let plain = connections.filter(|it| it.is_open() && it.kind() == Kind::Plain);
        let plain: Vec<_> = plain.map(Connection::token).collect();
        let over = Spread::time_for(plain.len(), over);
        self.leaving = Spread::new(plain, over, now, &mut self.rng);
        self.let_go(now);
        over
    }

    /// Closes those whose time has come.
    pub(super) fn let_go(&mut self, now: Instant) {
        while let Some(token) = self.leaving.pop_due(now) {
            self.part(token, now);
        }
    }

    /// Closes a connection because the node goes.
    pub(crate) fn part(&mut self, token: Token, now: Instant) {
        self.close(token, self.farewell.clone(), now);
    }

    /// Nobody can connect any more, nobody is dialed, and every connection is closed with 1001 or 1012.
    pub(crate) fn stop(&mut self, now: Instant) {
        for entrance in [Entrance::Peers, Entrance::Status] {
            self.listeners.close(entrance);
        }
        self.stop_dialing(now);
        let connections = self.connections.iter();
        let tokens: Vec<_> = connections
            .map(|(_, connection)| connection.token())
            .collect();
        for token in tokens {
            self.part(token, now);
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
            Side::Accepted => self.on_accepted_gone(&connection),
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
