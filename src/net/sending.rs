//! What is queued for whom, and when it is sent.

use std::time::Instant;

use super::{
    Kind, Outgoing, PeerName, PerKind, Relayed, Token,
    agenda::Agenda,
    connection::{Connection, Notice, Side, Turn},
    dialer::Dialer,
    network::{Network, name_of},
    outbox::Purpose,
};
use crate::{config::PeerUrl, message::Message};

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
            if connection.is_open() && connection.rights().subscribe {
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
            if !connection.is_open() || !connection.rights().subscribe {
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

    /// The most bytes that wait for one of those who hear what is published in a channel: its plain peers, and all
    /// neighbors.
    pub(crate) fn most_waiting(&self, channel: &str) -> usize {
        let hears = |connection: &Connection| match connection.kind() {
            Kind::Neighbor => true,
            Kind::Plain => {
                has_channel(connection) && channel_of(connection, &self.dialer) == channel
            }
        };
        let open = self.connections.iter().map(|(_, connection)| connection);
        let open = open.filter(|connection| connection.is_open() && connection.pending_bytes() > 0);
        let waiting = open.filter(|it| hears(it)).map(Connection::pending_bytes);
        waiting.max().unwrap_or(0)
    }

    /// Bytes that wait for all peers together.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let open = connections.filter(|connection| connection.is_open());
        open.map(Connection::pending_bytes).sum()
    }

    /// Whether there is a plain peer that hears something.
    pub(crate) fn has_plain_peers(&self) -> bool {
        let mut connections = self.connections.iter().map(|(_, connection)| connection);
        connections.any(|connection| connection.is_open() && has_channel(connection))
    }

    fn send(&mut self, peer: Token, outgoing: &mut Outgoing, purpose: Purpose, now: Instant) {
        self.with(peer, now, |connection, _, turn| {
            let sheds = connection.send(outgoing, purpose, turn);
            sheds.map(Notice::Sheds)
        });
    }
}

/// Whether what is published in a channel goes to this peer.
pub(super) fn has_channel(connection: &Connection) -> bool {
    let is_plain = connection.kind() == Kind::Plain && connection.side() != Side::Client;
    is_plain && connection.rights().subscribe
}

/// The channel of a plain peer, whoever dialed. While it is open, its dial is not forgotten.
pub(super) fn channel_of<'a>(connection: &'a Connection, dialer: &'a Dialer) -> &'a str {
    match connection.side() {
        Side::Dialed(dial) => dialer.url(dial).map_or("/", PeerUrl::path),
        Side::Accepted | Side::Refused | Side::Client | Side::Status { .. } => connection.path(),
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
    let mut messages = messages.into_iter().peekable();
    let mut sheds = None;
    while let Some(message) = messages.next() {
        let is_last = messages.peek().is_none();
        if !(is_last && connection.send_past(message, turn)) {
            sheds = sheds.or(connection.send(message, Purpose::Message, turn));
        }
    }
    if let Some(pending_bytes) = sheds {
        warn_shedding(name_of(connection, dialer), pending_bytes);
    }
    if connection.wants_to_write() {
        connection.flush(turn);
    }
    agenda.note(connection, false, turn.limits);
}

pub(super) fn warn_shedding(peer: PeerName<'_>, pending_bytes: usize) {
    log::warn!(
        "peer {peer} reads too slowly: {pending_bytes} bytes wait, messages to it are dropped"
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tungstenite::Message as Frame;

    use super::*;
    use crate::{
        config::{Config, Limits, SlowPeer, limits::MESH_HEAD_BYTES_MAX},
        net::{
            CloseReason, Event,
            trial::{Client, Trial},
        },
    };

    const BYTES_MAX: usize = 1000;

    fn trial() -> Trial {
        Trial::new(&Config::default(), Instant::now())
    }

    fn text(text: &str) -> Message {
        Message::text(text.to_owned())
    }

    fn outgoing(text: &str) -> Outgoing {
        Outgoing::new(Message::text(text.to_owned()))
    }

    #[test]
    fn a_channel_hears_what_others_say_in_it() {
        let mut trial = trial();
        let mut one = Client::plain(&mut trial, "/a");
        let mut two = Client::plain(&mut trial, "/a?b");
        let mut elsewhere = Client::plain(&mut trial, "/a/b");
        let mut neighbor = Client::neighbor(&mut trial, "/a");
        let messages = vec![
            (text("of one"), Some(one.token)),
            (text("of nobody here"), None),
            (text("of two"), Some(two.token)),
            (text("of two again"), Some(two.token)),
        ];
        let mut messages = Relayed::joined(messages, BYTES_MAX);
        let now = trial.now;
        assert_eq!(trial.network.send_to_channel("/a", &mut messages, now), 2);
        assert_eq!(trial.network.send_to_channel("/c", &mut messages, now), 0);
        let of_others = ["of nobody here", "of two", "of two again"];
        assert_eq!(one.heard(&mut trial), of_others);
        assert_eq!(two.heard(&mut trial), ["of one", "of nobody here"]);
        assert_eq!(elsewhere.heard(&mut trial), [""; 0]);
        assert_eq!(neighbor.heard(&mut trial), [""; 0]);
    }

    #[test]
    fn what_a_socket_does_not_take_at_once_follows_whole_and_in_order() {
        let mut trial = trial();
        let mut client = Client::plain(&mut trial, "/");
        let slot = client.token.slot();
        let (mut sent, mut waiting) = (0, 0);
        while waiting < 3 {
            let message = text(&format!("{sent} {}", "x".repeat(100_000)));
            let mut message = Relayed::joined(vec![(message, None)], BYTES_MAX);
            let now = trial.now;
            assert_eq!(trial.network.send_to_channel("/", &mut message, now), 1);
            sent += 1;
            waiting += usize::from(trial.network.connections[slot].pending_bytes() > 0);
        }
        let hear = move || match client.socket.read().expect("a message") {
            Frame::Text(text) => text.split(' ').next().map(str::to_owned),
            other => panic!("{other:?}"),
        };
        let reader = std::thread::spawn(move || std::iter::repeat_with(hear).take(sent).collect());
        while !reader.is_finished() {
            trial.turn();
        }
        let expected: Vec<_> = (0..sent).map(|n| Some(n.to_string())).collect();
        let heard: Vec<Option<String>> = reader.join().expect("it does not panic");
        assert_eq!(heard, expected);
        assert_eq!(trial.network.counters().messages_sent, sent as u64);
    }

    #[test]
    fn who_has_left_a_channel_is_not_mistaken_for_who_comes_after() {
        let mut trial = trial();
        let mut clients: Vec<_> = (0..6).map(|_| Client::plain(&mut trial, "/a")).collect();
        for place in [0, 4, 1] {
            let gone = clients.remove(place).token;
            trial.wait_closed(gone);
        }
        // They have the slots of those that are gone.
        let mut others: Vec<_> = (0..3).map(|_| Client::plain(&mut trial, "/b")).collect();
        let mut message = Relayed::joined(vec![(text("hello"), None)], BYTES_MAX);
        let now = trial.now;
        assert_eq!(trial.network.send_to_channel("/a", &mut message, now), 3);
        for client in &mut clients {
            assert_eq!(client.heard(&mut trial), ["hello"]);
        }
        for client in &mut others {
            assert_eq!(client.heard(&mut trial), [""; 0]);
        }
        // One that is told to go hears no more, though its place is still there.
        let leaving = clients[0].token;
        let reason = CloseReason::ByNode(4000, "go".to_owned());
        trial.network.close(leaving, reason, now);
        assert_eq!(trial.network.send_to_channel("/a", &mut message, now), 2);
    }

    #[test]
    fn a_message_goes_to_those_who_are_named_and_still_there() {
        let mut trial = trial();
        let gone = Client::plain(&mut trial, "/").token;
        trial.wait_closed(gone);
        let mut one = Client::plain(&mut trial, "/");
        let mut two = Client::neighbor(&mut trial, "/");
        let mut other = Client::plain(&mut trial, "/");
        assert_eq!(one.token.slot(), gone.slot(), "the slot is used again");
        let (peers, now) = ([gone, two.token], trial.now);
        trial.network.send_each(peers, text("for some"), now);
        trial.network.flush(now);
        assert_eq!(one.heard(&mut trial), [""; 0]);
        assert_eq!(two.heard(&mut trial), ["for some"]);
        assert_eq!(other.heard(&mut trial), [""; 0]);
        assert_eq!(trial.network.kind(two.token), Some(Kind::Neighbor));
        assert_eq!(trial.network.kind(one.token), Some(Kind::Plain));
        assert_eq!(trial.network.kind(gone), None);
        assert_eq!(trial.network.remote(gone), None);
    }

    #[test]
    fn everybody_gets_the_form_of_its_kind() {
        let mut trial = trial();
        let mut plain = Client::plain(&mut trial, "/");
        let mut neighbor = Client::neighbor(&mut trial, "/");
        let now = trial.now;
        let mut messages = PerKind {
            plain: vec![outgoing("plain")],
            neighbor: vec![outgoing("one"), outgoing("two")],
        };
        assert_eq!(trial.network.send_to_all(now, &mut messages), 2);
        let form = |_, kind, index| Some(outgoing(&format!("{index} {kind:?}")));
        assert_eq!(trial.network.send_to_each(now, form), 2);
        assert_eq!(plain.heard(&mut trial), ["plain", "0 Plain"]);
        assert_eq!(neighbor.heard(&mut trial), ["one", "two", "1 Neighbor"]);
    }

    #[test]
    fn a_neighbor_that_does_not_read_is_closed_whatever_happens_to_others() {
        let config = Config {
            slow_peer: SlowPeer::DropOldest,
            limits: Limits {
                message_bytes_max: 30_000,
                outbox_bytes_max: 60_000,
                ..Limits::default()
            },
            ..Config::default()
        };
        let mut trial = Trial::new(&config, Instant::now());
        let plain = Client::plain(&mut trial, "/");
        let neighbor = Client::neighbor(&mut trial, "/");
        let message = Message::binary(vec![0; 30_000]);
        while trial.network.counters().messages_dropped < 10 {
            let (peers, now) = ([plain.token, neighbor.token], trial.now);
            trial.network.send_each(peers, message.clone(), now);
            trial.network.flush(now);
        }
        let token = neighbor.token;
        drop(neighbor);
        let (kind, reason) = trial.wait_closed(token);
        assert_eq!(kind, Kind::Neighbor);
        assert!(matches!(reason, CloseReason::Slow(_)), "{reason}");
        trial.rest();
        assert_eq!(trial.network.kind(plain.token), Some(Kind::Plain));
    }

    #[test]
    fn what_waits_is_counted_anew_when_a_peer_is_closed_amid_a_fan_out() {
        let mut config = Config::default();
        config.limits.message_bytes_max = 30_000;
        config.limits.outbox_bytes_max = 60_000;
        let mut trial = Trial::new(&config, Instant::now());
        let _client = Client::plain(&mut trial, "/");
        let message = Message::binary(vec![0; 30_000]);
        while trial.network.counters().messages_dropped == 0 {
            let now = trial.now;
            let mut messages = Relayed::joined(vec![(message.clone(), None)], 1);
            trial.network.send_to_channel("/", &mut messages, now);
            trial.network.assert_counts();
            trial.network.flush(now);
        }
    }

    #[test]
    fn a_neighbor_may_send_the_head_of_the_mesh_beside_the_largest_message() {
        let bytes_max = 1000;
        let mut config = Config::default();
        config.limits.message_bytes_max = bytes_max;
        let mut trial = Trial::new(&config, Instant::now());
        let mut plain = Client::plain(&mut trial, "/");
        let mut neighbor = Client::neighbor(&mut trial, "/");
        let largest = [
            (&mut plain, bytes_max),
            (&mut neighbor, bytes_max + MESH_HEAD_BYTES_MAX),
        ];
        for (client, bytes) in largest {
            client.say("x".repeat(bytes));
            let len = |event: &Event| match event {
                Event::Message(_, message) => Some(message.len()),
                _ => None,
            };
            assert_eq!(trial.wait("the message", len), bytes);
            client.say("x".repeat(bytes + 1));
            trial.wait_closing(client.token);
            // It does not answer its Close.
            trial.now += Duration::from_secs(60);
            let (_, reason) = trial.wait_closed(client.token);
            assert_eq!(reason, CloseReason::TooBig(bytes));
        }
    }

    #[test]
    fn a_peer_that_is_closed_by_the_node_hears_why_and_may_finish_what_it_says() {
        let mut trial = trial();
        let mut client = Client::neighbor(&mut trial, "/");
        let (token, now) = (client.token, trial.now);
        trial.network.send_each([token], text("before"), now);
        let reason = CloseReason::ByNode(1008, "another network".to_owned());
        trial.network.close(token, reason.clone(), now);
        trial.network.send_each([token], text("after"), now);
        client.say("still".to_owned());
        let message = |event: &Event| match event {
            Event::Message(peer, message) => Some((*peer, message.clone())),
            _ => None,
        };
        assert_eq!(trial.wait("the message", message), (token, text("still")));
        assert_eq!(client.socket.read().unwrap(), Frame::text("before"));
        let Frame::Close(Some(close)) = client.socket.read().unwrap() else {
            panic!("no Close");
        };
        assert_eq!(u16::from(close.code), 1008);
        assert_eq!(close.reason.as_str(), "another network");
        client.socket.flush().unwrap();
        drop(client);
        assert_eq!(trial.wait_closed(token), (Kind::Neighbor, reason));
    }
}
