//! Connections: everything between the sockets and whole messages.
//!
//! [`Network`] owns the sockets and what belongs to them. Bytes go one way: the poll says that a socket
//! is ready, the connection is noted and read once in its turn, and what it understood comes out as
//! [`Event`]s. What is to be sent waits in outboxes, and is flushed peer by peer in a broadcast, for all
//! else at the end of the turn.
//! Nothing here knows what messages mean.

mod admission;
mod agenda;
mod backoff;
mod close;
mod connection;
mod dialer;
mod frame;
mod inbound;
mod keepalive;
mod listener;
mod network;
mod news;
mod outbound;
mod outbox;
mod resolver;
mod session;
mod socket;
mod timer;
mod token;
mod transport;
mod upgrade;

use std::{fmt, net::SocketAddr, time::Duration};

pub(crate) use self::{
    close::CloseReason,
    frame::Outgoing,
    network::Network,
    socket::listen,
    token::{Source, Token},
};
use crate::{config::PeerUrl, message::Message};

/// What the node is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A peer is connected.
    Opened(Token),
    Message(Token, Message),
    /// A peer that was connected is gone.
    Closed {
        name: String,
        reason: CloseReason,
        /// It did not answer our Close in time.
        is_unanswered: bool,
        round_trip: Option<Duration>,
    },
}

/// How a peer is called in output and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerName<'a> {
    /// We dialed it: its URL as configured.
    Dialed(&'a PeerUrl),
    /// It dialed us: where it comes from.
    Accepted(SocketAddr),
}

impl fmt::Display for PeerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialed(url) => url.fmt(f),
            Self::Accepted(address) => address.fmt(f),
        }
    }
}
