//! Connections: everything between the sockets and whole messages.
//!
//! [`Network`] owns the sockets and what belongs to them. Bytes go one way: the poll says that a socket
//! is ready, the connection is noted and read once in its turn, and what it understood comes out as
//! [`Event`]s. What is to be sent waits in outboxes, and is flushed peer by peer in a broadcast, for all
//! else at the end of the turn.
//! Nothing here knows what messages mean. Of a peer it knows whether it negotiated our subprotocol
//! ([`Kind`]), and of a plain one its channel.

mod access;
mod admission;
mod advances;
mod agenda;
mod arrivals;
mod backoff;
mod channels;
mod close;
mod connection;
mod contexts;
mod dialer;
mod ending;
mod files;
mod following;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod inbound;
#[cfg(any(test, fuzzing))]
mod inspection;
mod intake;
mod introduction;
mod keepalive;
mod kernel;
mod listener;
mod memory;
mod names;
mod network;
mod outbound;
mod outbox;
mod peers;
mod reading;
mod reloading;
mod resolver;
mod room;
mod sending;
mod session;
mod shared;
mod socket;
mod spread;
mod timer;
mod tls;
mod token;
mod transport;
#[cfg(test)]
mod trial;
mod tunnel;
mod upgrade;

use std::{fmt, net::SocketAddr, time::Duration};

pub(crate) use self::{
    close::CloseReason,
    dialer::DialFailure,
    frame::{Outgoing, Relayed},
    kernel::{Kernel, Listener, Readiness, is_same},
    listener::Entrance,
    network::Network,
    token::{Source, Token},
    tunnel::Tunnel,
    upgrade::{Dialing, Form},
};
#[cfg(any(test, fuzzing))]
pub(crate) use self::{
    connection::{Inspection, Stage},
    kernel::simulated,
};
pub use self::{
    files::{FileError, FilesError},
    tls::TlsError,
};
use crate::{config::PeerUrl, message::Message, node_id::NodeId, pages::Page};

/// What a peer is, by the subprotocol of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Neighbor,
}

/// Something that plain peers get in another form than neighbors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerKind<T> {
    pub(crate) plain: T,
    pub(crate) neighbor: T,
}

impl<T> PerKind<T> {
    pub(crate) fn of(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Plain => &mut self.plain,
            Kind::Neighbor => &mut self.neighbor,
        }
    }
}

/// What the node is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A peer is connected.
    Opened(Token),
    Message(Token, Message),
    /// Somebody asks at the status listener; to be answered with [`Network::reply`] at once.
    Asked(Token, Page, Form),
    /// A peer that was connected is gone.
    Closed {
        peer: Token,
        kind: Kind,
        name: String,
        reason: CloseReason,
        /// It did not answer our Close in time.
        is_unanswered: bool,
        round_trip: Option<Duration>,
    },
    /// TCP is connected, of a connection that was opened for the owner of the network.
    Connected(Token),
    /// A connection that was opened for the owner of the network has ended before the upgrade was done.
    NotOpened(Token, CloseReason),
    /// These are the peers that are configured from now on.
    Configured(Vec<PeerUrl>),
    /// What was to be dialed could not be had. A configured peer is dialed again, unless it rests.
    DialFailed {
        url: PeerUrl,
        failure: DialFailure,
    },
}

/// How a peer is called in output and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerName<'a> {
    /// We dialed it: its URL as configured.
    Dialed(&'a PeerUrl),
    /// It dialed us: where it comes from.
    Accepted(SocketAddr),
    /// No peer of ours, but the node at which the message was published. Shown by its short id.
    Origin(NodeId),
}

impl fmt::Display for PeerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialed(url) => url.fmt(f),
            Self::Accepted(address) => address.fmt(f),
            Self::Origin(id) => f.write_str(&id.short()),
        }
    }
}
