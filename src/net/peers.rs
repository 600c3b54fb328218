//! What is known of a peer, and who there is.

use std::{net::SocketAddr, time::Duration};

use super::{
    Kind, PeerName, Token,
    connection::{Connection, Side},
    network::{Network, name_of},
    sending::channel_of,
};
use crate::config::{PeerUrl, limits::SLOTS_LOOKED_AT_MAX};

impl Network {
    /// Name and path of a peer; `None` once it is gone.
    pub(crate) fn describe(&self, peer: Token) -> Option<(PeerName<'_>, &str)> {
        let connection = self.connection(peer)?;
        let name = name_of(connection, &self.dialer);
        Some((name, channel_of(connection, &self.dialer)))
    }

    /// What a peer is; `None` once it is gone.
    pub(crate) fn kind(&self, peer: Token) -> Option<Kind> {
        self.connection(peer).map(Connection::kind)
    }

    /// Whether a peer may publish; not once it is gone.
    pub(crate) fn may_publish(&self, peer: Token) -> bool {
        let connection = self.connection(peer);
        connection.is_some_and(|connection| connection.rights().publish)
    }

    /// The address of a peer's end of the connection; `None` where there is a proxy between, and once it is gone.
    pub(crate) fn remote(&self, peer: Token) -> Option<SocketAddr> {
        let connection = self.connection(peer)?;
        let proxy = match connection.side() {
            Side::Dialed(dial) => self.dialer.proxy(dial),
            Side::Accepted | Side::Refused | Side::Client | Side::Status { .. } => None,
        };
        proxy.is_none().then(|| connection.remote())
    }

    /// The URL by which we dialed a peer; `None` if it dialed us, or is gone.
    pub(crate) fn dialed_url(&self, peer: Token) -> Option<&PeerUrl> {
        match self.connection(peer)?.side() {
            Side::Dialed(dial) => self.dialer.url(dial),
            Side::Accepted | Side::Refused | Side::Client | Side::Status { .. } => None,
        }
    }

    /// Bytes that wait for a peer.
    pub(crate) fn pending_bytes(&self, peer: Token) -> usize {
        self.connection(peer).map_or(0, Connection::pending_bytes)
    }

    /// How long a peer took to answer the last ping.
    pub(crate) fn round_trip(&self, peer: Token) -> Option<Duration> {
        self.connection(peer).and_then(Connection::round_trip)
    }

    /// The plain peers among the first slots, as far as they are open. Not all of them where there are very many, so
    /// that nobody waits for who asks.
    pub(crate) fn some_plain_peers(&self) -> impl Iterator<Item = Token> {
        let slots = 0..self.connections.capacity().min(SLOTS_LOOKED_AT_MAX);
        let connections = slots.filter_map(|slot| self.connections.get(slot));
        let plain = connections
            .filter(|connection| connection.is_open() && connection.kind() == Kind::Plain);
        plain.map(Connection::token)
    }

    /// Plain peers that are connected, those that are being closed included.
    pub(crate) fn plain_peers(&self) -> usize {
        let counters = &self.shared.counters;
        (counters.peers - counters.neighbor_connections) as usize
    }

    /// Accepted connections that have not upgraded yet.
    pub(crate) fn handshaking(&self) -> usize {
        self.shared.admission.handshaking()
    }
}
