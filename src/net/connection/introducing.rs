//! A connection of a proxy that says first whose it is.

use std::net::SocketAddr;

use super::{Connection, Phase, Turn};
use crate::{
    config::limits::LINGER_TIMEOUT,
    net::{
        close::CloseReason,
        introduction::{self, Introduced},
        tls::{self, Encryption},
        upgrade::{Form, Refusal},
    },
};

/// The proxy has not said it yet, and what follows then.
#[derive(Debug)]
pub(super) struct Introduction {
    /// What it has said so far.
    bytes: Vec<u8>,
    encryption: Option<Box<Encryption>>,
}

impl Introduction {
    pub(super) fn new(encryption: Option<Box<Encryption>>) -> Self {
        Self {
            bytes: Vec::new(),
            encryption,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes to be read at most: what follows belongs to others.
    pub(super) fn wanted(&self) -> usize {
        match introduction::read(&self.bytes) {
            Introduced::Needs(len) => len - self.bytes.len(),
            _ => 0,
        }
    }
}

impl Connection {
    /// Works through what a proxy says of whose connection it is.
    pub(super) fn work_introduction(&mut self, unread: &mut &[u8], turn: &mut Turn<'_>) {
        let Phase::Introduction(introduction) = &mut self.phase else {
            return;
        };
        introduction.bytes.extend_from_slice(unread);
        *unread = &[];
        let client = match introduction::read(&introduction.bytes) {
            Introduced::Needs(_) => return,
            Introduced::Itself => self.remote,
            Introduced::Client(client) => client,
            Introduced::Malformed(what) => {
                let reason = CloseReason::Failed(what.to_owned());
                self.reason.get_or_insert(reason);
                return self.end(turn);
            }
        };
        let encryption = introduction.encryption.take();
        self.phase = Phase::Request(Vec::new());
        match self.place(client, turn) {
            Ok(()) => self.transport.encrypt(encryption),
            Err(refusal) => self.turn_away(&refusal, encryption.is_some(), turn),
        }
    }

    /// Answers who may not come in before TLS could begin.
    fn turn_away(&mut self, refusal: &Refusal, is_tls: bool, turn: &mut Turn<'_>) {
        if !is_tls {
            return self.answer(refusal, Form::Whole, turn);
        }
        turn.counters.refused_access += 1;
        self.reason
            .get_or_insert(CloseReason::Denied(refusal.to_string()));
        self.send_control(tls::REFUSAL.to_vec(), turn);
        self.linger(LINGER_TIMEOUT, turn);
    }

    /// From now on it is a connection of this client, if that may come in. One that is a proxy itself still has to say
    /// in its request whom it asks for.
    fn place(&mut self, client: SocketAddr, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        match turn.access.is_proxy(client.ip()) {
            true => {
                self.remote = client;
                Ok(())
            }
            false => self.become_client(client, turn),
        }
    }
}
