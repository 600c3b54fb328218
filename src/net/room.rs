//! Making room for who wants to come in, at the expense of who takes the most of it and does nothing with it.
//!
//! Places for connections that have not upgraded yet are few, and whoever connects and says nothing has one until its
//! deadline. When they are used up by many, the newcomer need not be one of those: of the connections that are there
//! longest, one gives way whose network and address have more of the places than those of the newcomer. A flood takes
//! places from itself then, and an upgrade that goes on is over before it is among the oldest.

use std::{cmp::Reverse, net::IpAddr, time::Instant};

use super::{
    admission::{self, Denial},
    connection::Connection,
    network::Network,
    token::Token,
};
use crate::config::limits::GIVING_WAY_LOOKED_AT_MAX;

impl Network {
    /// Notes a connection that has not upgraded yet.
    pub(super) fn note_unfinished(&mut self, token: Token) {
        let (count, connections) = (self.shared.admission.handshaking(), &self.connections);
        let is_over = |token: Token| !is_unfinished(connections.get(token.slot()), token);
        self.unfinished.push(token, count, is_over);
    }

    /// After a denial: lets a connection that has not upgraded give way to one from this address. Returns whether one
    /// has.
    pub(super) fn make_room(
        &mut self,
        denial: Denial,
        newcomer: Option<IpAddr>,
        now: Instant,
    ) -> bool {
        let network = match denial {
            Denial::HandshakesFull => None,
            Denial::NetworkHandshakesFull => newcomer.map(admission::network),
            _ => return false,
        };
        let (admission, connections) = (&self.shared.admission, &self.connections);
        let is_over = |token: Token| !is_unfinished(connections.get(token.slot()), token);
        let is_meant = |address: &Option<IpAddr>| {
            network.is_none_or(|network| address.map(admission::network) == Some(network))
        };
        let oldest = self.unfinished.oldest(is_over);
        let oldest = oldest.take(GIVING_WAY_LOOKED_AT_MAX);
        let candidates = oldest.filter(|token| !is_over(*token)).map(|token| {
            let address = connections[token.slot()].counts_for();
            (token, address)
        });
        let shares = candidates
            .filter(|(_, address)| is_meant(address))
            .map(|(token, address)| (admission.share(address), token));
        // Of several with as much the first: it is there longest.
        let greatest = shares.min_by_key(|(share, _)| Reverse(*share));
        let of_newcomer = admission.share(newcomer);
        let Some((_, token)) = greatest.filter(|(share, _)| *share > of_newcomer) else {
            return false;
        };
        let remote = connections[token.slot()].remote();
        log::warn!("{remote} has not upgraded yet and gives way to others");
        self.shared.counters.refused_full += 1;
        self.with(token, now, |connection, _, turn| {
            connection.give_way(turn);
            None
        });
        true
    }
}

fn is_unfinished(connection: Option<&Connection>, token: Token) -> bool {
    let connection = connection.filter(|connection| connection.token() == token);
    connection.is_some_and(Connection::is_handshaking)
}
