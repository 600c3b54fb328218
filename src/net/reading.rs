//! Whose socket is read, how much of it in a turn, and how far what was received is worked through.

use std::time::Instant;

use slab::Slab;

use super::{
    Readiness, Token,
    connection::{Advance, Connection, Portion},
    network::Network,
};
use crate::config::limits;

/// Bytes of the shared buffer that are not worked through yet, and whose they are.
#[derive(Debug)]
struct Unread {
    token: Token,
    from: usize,
    portion: Portion,
}

/// What is left of what may be received in a turn.
#[derive(Debug, Default)]
struct Allowance {
    reads: usize,
    bytes: usize,
}

impl Allowance {
    /// Takes one read of it.
    fn take_read(&mut self) -> bool {
        let is_left = self.reads > 0 && self.bytes > 0;
        self.reads -= usize::from(is_left);
        is_left
    }

    /// Takes what a read was worth.
    fn charge(&mut self, cost: usize) {
        self.bytes = self.bytes.saturating_sub(cost);
    }
}

/// How far the reading of a turn has come.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Where in the shared buffer the node is to go on.
    unread: Option<Unread>,
    /// What may still be received of those who have upgraded …
    open: Allowance,
    /// … and of those who have not.
    greeting: Allowance,
}

impl Reading {
    /// Whether nothing of what was received is left.
    pub(super) fn is_worked_through(&self) -> bool {
        self.unread.is_none()
    }
}

impl Network {
    /// The poll says that the socket of a connection is ready.
    pub(crate) fn on_connection_ready(&mut self, token: Token, ready: Readiness, now: Instant) {
        let Readiness {
            is_readable,
            is_writable,
            is_end,
            ..
        } = ready;
        self.with(token, now, |connection, _, turn| {
            if is_readable || is_end {
                connection.on_readable(is_end);
                connection.leave_line(turn);
            }
            if is_writable || is_end {
                return connection.on_writable(turn);
            }
            None
        });
    }

    /// Begins to read what is noted by now: each connection once, or one with much to say would keep
    /// the others waiting. The rest has its turn in the next one. Those who have not upgraded yet have an allowance of
    /// their own, so that they cannot keep the others waiting, nor the others them.
    pub(crate) fn begin_reading(&mut self, now: Instant) {
        self.advance_waiting(now);
        self.reading.open = Allowance {
            reads: self.agenda.to_read.len(),
            bytes: limits::READ_BYTES_PER_TURN,
        };
        self.reading.greeting = Allowance {
            reads: self.agenda.to_greet.len(),
            bytes: limits::HANDSHAKE_BYTES_PER_TURN,
        };
    }

    /// Goes on reading, as far as the next event. Returns whether there is more to do in this turn.
    pub(crate) fn read(&mut self, now: Instant) -> bool {
        if let Some(unread) = self.reading.unread.take() {
            self.work(unread, now);
            return true;
        }
        let (token, is_greeting) = match self.reading.open.take_read() {
            true => (self.agenda.to_read.pop_front(), false),
            false if self.reading.greeting.take_read() => (self.agenda.to_greet.pop(), true),
            false => return false,
        };
        let Some(token) = token else {
            return false;
        };
        if is_greeting && !self.advance(token, now) {
            self.reading.greeting.charge(limits::HANDSHAKE_READ_BYTES);
            return true;
        }
        let mut received = None;
        self.with(token, now, |connection, buffer, turn| {
            connection.is_noted_to_read = false;
            if connection.wants_to_read(turn.limits) {
                received = connection.receive(buffer, turn);
            }
            None
        });
        let cost = received.map_or(0, |portion| portion.cost);
        match is_greeting {
            false => self.reading.open.charge(cost),
            true => {
                let cost = cost.max(limits::HANDSHAKE_READ_BYTES);
                self.reading.greeting.charge(cost);
            }
        }
        if let Some(portion) = received {
            let from = 0;
            self.reading.unread = Some(Unread {
                token,
                from,
                portion,
            });
        }
        true
    }

    /// Whether the TLS handshake of a connection may go on, where it has one. Otherwise it waits, and stays noted.
    fn advance(&mut self, token: Token, now: Instant) -> bool {
        let connection = self.connections.get_mut(token.slot());
        let Some(connection) = connection.filter(|connection| connection.token() == token) else {
            return true;
        };
        let Some(address) = connection.wants_advance() else {
            return true;
        };
        let remote = connection.remote();
        if self.shared.advances.take(address, token, now) {
            connection.advance = Advance::Taken;
            return true;
        }
        connection.advance = Advance::Awaited;
        self.with(token, now, |connection, _, turn| {
            connection.leave_line(turn);
            None
        });
        log::warn!(
            "{remote} has to wait with TLS: too many of its network have begun it without an upgrade"
        );
        self.shared.counters.handshakes_delayed += 1;
        let count = self.shared.admission.handshaking();
        let connections = &self.connections;
        let is_over = |token| !is_in_line(connections, token);
        self.shared.advances.tidy(count, is_over);
        false
    }

    /// Reads those who have waited for this and whose time has come.
    fn advance_waiting(&mut self, now: Instant) {
        loop {
            let connections = &self.connections;
            let is_over = |token| !is_in_line(connections, token);
            let Some(token) = self.shared.advances.next(now, is_over) else {
                return;
            };
            let connection = &mut self.connections[token.slot()];
            connection.advance = Advance::Taken;
            let address = connection.remote().ip();
            self.agenda.to_greet.push(address, token);
        }
    }

    /// Works through received bytes up to the next event, which the node should answer before the rest.
    fn work(&mut self, mut unread: Unread, now: Instant) {
        let Portion { len, is_end, .. } = unread.portion;
        let mut has_told = false;
        self.with(unread.token, now, |connection, buffer, turn| {
            let mut bytes = &buffer[unread.from..len];
            let notice = connection.work(&mut bytes, is_end, turn);
            unread.from = len - bytes.len();
            has_told = notice.is_some();
            notice
        });
        if has_told {
            self.reading.unread = Some(unread);
        }
    }
}

/// Whether somebody still waits for the advance that it could not have at once.
fn is_in_line(connections: &Slab<Connection>, token: Token) -> bool {
    let connection = connections.get(token.slot());
    let connection = connection.filter(|connection| connection.token() == token);
    connection.is_some_and(Connection::awaits_advance)
}
