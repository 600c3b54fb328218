//! What is still to be done with which connections, in this turn or the next, and what they hold.

use std::{collections::VecDeque, mem};

use super::{arrivals::Waiting, connection::Connection, token::Token};
use crate::config::Limits;

/// Lists of connections, each of them on a list at most once.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    pub(super) to_read: VecDeque<Token>,
    /// To be read too, and have not upgraded yet.
    pub(super) to_greet: Waiting,
    pub(super) to_flush: Vec<Token>,
    pub(super) ended: Vec<Token>,
    /// What all connections hold as their own.
    pub(super) own_bytes: usize,
}

impl Agenda {
    pub(super) fn is_empty(&self) -> bool {
        self.to_read.is_empty()
            && self.to_greet.len() == 0
            && self.to_flush.is_empty()
            && self.ended.is_empty()
    }

    /// Notes what a connection wants after something happened to it.
    pub(super) fn note(&mut self, connection: &mut Connection, was_ended: bool, limits: &Limits) {
        let own_bytes = connection.own_bytes();
        self.own_bytes += own_bytes;
        self.own_bytes -= mem::replace(&mut connection.noted_bytes, own_bytes);
        if connection.is_ended() {
            if !was_ended {
                self.ended.push(connection.token());
            }
            return;
        }
        if connection.wants_to_write() && !mem::replace(&mut connection.is_noted_to_flush, true) {
            self.to_flush.push(connection.token());
        }
        if connection.wants_to_read(limits) && !mem::replace(&mut connection.is_noted_to_read, true)
        {
            match connection.is_handshaking() {
                false => self.to_read.push_back(connection.token()),
                true => {
                    let address = connection.remote().ip();
                    self.to_greet.push(address, connection.token());
                }
            }
        }
    }
}
