//! What is queued for whom, and when it is sent.

use std::time::Instant;

use super::{
    Kind, Outgoing, PerKind, Relayed, Token,
    agenda::Agenda,
    connection::{Connection, Notice, Turn},
    dialer::Dialer,
    network::{Network, name_of, warn_shedding},
    outbox::Purpose,
};
use crate::message::Message;

impl Network {
    /// Queues a message for one peer, which has caused it.
    pub(crate) fn answer(&mut self, peer: Token, message: Message, now: Instant) {
        let mut outgoing = Outgoing::new(message);
        self.send(peer, &mut outgoing, Purpose::Answer, now);
    }

    /// Queues a message for some peers, as far as they are connected. Sent at the end of the turn.
    pub(crate) fn send_each(
        &mut self,
        peers: impl IntoIterator<Item = Token>,
        message: Message,
        now: Instant,
    ) {
        let mut outgoing = Outgoing::new(message);
        for peer in peers {
            self.send(peer, &mut outgoing, Purpose::Message, now);
        }
    }

    /// Queues messages for all plain peers of a channel, and sends them peer by peer. Nobody gets its own.
    /// Returns how many peers the channel has.
    pub(crate) fn send_to_channel(
        &mut self,
        channel: &str,
        messages: &mut [Relayed],
        now: Instant,
    ) -> usize {
        let mut turn = self.shared.turn(now);
        let mut count = 0;
        for slot in self.channels.peers(channel) {
            let connection = self.connections.get_mut(*slot as usize);
            let Some(connection) = connection.filter(|connection| connection.is_open()) else {
                continue;
            };
            let token = connection.token();
            let others = messages
                .iter_mut()
                .filter(|relayed| relayed.from != Some(token))
                .map(|relayed| &mut relayed.outgoing);
            send_now(
                connection,
                others,
                &self.dialer,
                &mut self.agenda,
                &mut turn,
            );
            count += 1;
        }
        count
    }

    /// Queues messages, the same for all of a kind, for every connected peer. Returns how many peers
    /// there are.
    pub(crate) fn send_to_all(
        &mut self,
        now: Instant,
        messages: &mut PerKind<Vec<Outgoing>>,
    ) -> usize {
        let mut turn = self.shared.turn(now);
        let mut count = 0;
        for (_, connection) in &mut self.connections {
            if connection.is_open() {
                let messages = messages.of(connection.kind()).iter_mut();
                send_now(
                    connection,
                    messages,
                    &self.dialer,
                    &mut self.agenda,
                    &mut turn,
                );
                count += 1;
            }
        }
        count
    }

    /// Queues a message of its own for every connected peer, or nothing: `message` gets the peer, its kind,
    /// and its index among those that get something, from 0. Returns how many do.
    pub(crate) fn send_to_each(
        &mut self,
        now: Instant,
        mut message: impl FnMut(Token, Kind, usize) -> Option<Outgoing>,
    ) -> usize {
        let mut turn = self.shared.turn(now);
        let mut count = 0;
        for (_, connection) in &mut self.connections {
            if !connection.is_open() {
                continue;
            }
            if let Some(mut message) = message(connection.token(), connection.kind(), count) {
                send_now(
                    connection,
                    [&mut message],
                    &self.dialer,
                    &mut self.agenda,
                    &mut turn,
                );
                count += 1;
            }
        }
        count
    }

    fn send(&mut self, peer: Token, outgoing: &mut Outgoing, purpose: Purpose, now: Instant) {
        self.with(peer, now, |connection, _, turn| {
            let sheds = connection.send(outgoing, purpose, turn);
            sheds.map(Notice::Sheds)
        });
    }
}

/// Queues messages for a connection that is open, and sends them at once rather than at the end of the turn:
/// its memory is in the cache, and the places of a burst are given back before the next outbox takes its own.
fn send_now<'a>(
    connection: &mut Connection,
    messages: impl IntoIterator<Item = &'a mut Outgoing>,
    dialer: &Dialer,
    agenda: &mut Agenda,
    turn: &mut Turn<'_>,
) {
    let sheds = messages
        .into_iter()
        .map(|message| connection.send(message, Purpose::Message, turn))
        .fold(None, Option::or);
    if let Some(pending_bytes) = sheds {
        warn_shedding(name_of(connection, dialer), pending_bytes);
    }
    if connection.wants_to_write() {
        connection.flush(turn);
    }
    agenda.note(connection, false, turn.limits);
}
