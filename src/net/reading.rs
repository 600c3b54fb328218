//! Whose socket is read, how much of it in a turn, and how far what was received is worked through.

use std::time::Instant;

use super::{Readiness, Token, connection::Portion, network::Network};
use crate::config::limits;

/// Bytes of the shared buffer that are not worked through yet, and whose they are.
#[derive(Debug)]
struct Unread {
    token: Token,
    from: usize,
    portion: Portion,
}

/// How far the reading of a turn has come.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Where in the shared buffer the node is to go on.
    unread: Option<Unread>,
    /// Connections that may still be read in this turn, and bytes that may still be received.
    reads_left: usize,
    budget: usize,
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
            }
            if is_writable || is_end {
                return connection.on_writable(turn);
            }
            None
        });
    }

    /// Begins to read what is noted by now: each connection once, or one with much to say would keep
    /// the others waiting. The rest has its turn in the next one.
    pub(crate) fn begin_reading(&mut self) {
        self.reading.reads_left = self.agenda.to_read.len();
        self.reading.budget = limits::READ_BYTES_PER_TURN;
    }

    /// Goes on reading, as far as the next event. Returns whether there is more to do in this turn.
    pub(crate) fn read(&mut self, now: Instant) -> bool {
        if let Some(unread) = self.reading.unread.take() {
            self.work(unread, now);
            return true;
        }
        if self.reading.reads_left == 0 || self.reading.budget == 0 {
            return false;
        }
        self.reading.reads_left -= 1;
        let Some(token) = self.agenda.to_read.pop_front() else {
            return false;
        };
        let mut received = None;
        self.with(token, now, |connection, buffer, turn| {
            connection.is_noted_to_read = false;
            if connection.wants_to_read(turn.limits) {
                received = connection.receive(buffer, turn);
            }
            None
        });
        if let Some(portion) = received {
            self.reading.budget = self.reading.budget.saturating_sub(portion.cost);
            let from = 0;
            self.reading.unread = Some(Unread {
                token,
                from,
                portion,
            });
        }
        true
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
