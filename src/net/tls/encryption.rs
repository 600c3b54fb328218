//! What one connection has of TLS: ciphertext from and to the socket, plaintext to the loop's buffer and
//! from the outbox. Never waits, and never keeps what it could hand on.
//!
//! The poll tells nothing of bytes that were received and are still in here, so whoever calls is told
//! whether to come again.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection,
    pki_types::ServerName,
};

use super::explain::{Side, explain};
use crate::{config::limits::TLS_SEND_BYTES_MAX, net::outbox::Outbox};

/// What came of one attempt to receive.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// So many bytes of plaintext.
    Bytes(usize),
    Nothing,
    /// The handshake has gone on by one step, which has cost time but brought no bytes.
    Step,
    /// The peer sends no more; unless it said so itself (close_notify, RFC 8446 §6.1), somebody else may
    /// have cut it off.
    End {
        is_announced: bool,
    },
    /// It is a request of HTTP in clear.
    Http,
    /// It does not go on, in words for the log. What the peer is to hear of it waits to be sent.
    Failed(String),
    /// The socket has failed.
    Lost(io::Error),
}

/// What came, and whether all that the socket had is worked through.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) what: Incoming,
    pub(crate) is_drained: bool,
}

/// What one read from the socket brought.
enum Ciphertext {
    Bytes {
        len: usize,
        /// Less than was asked for: the socket is empty.
        is_short: bool,
    },
    Blocked,
    /// There will be no more; what that means is known when the plaintext before it is taken.
    Ended,
}

/// How many bytes of the outbox went on, and whether the socket takes no more.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) bytes: usize,
    pub(crate) is_blocked: bool,
}

#[derive(Debug)]
pub(crate) struct Encryption {
    tls: Connection,
    /// The first byte of the peer tells other protocols.
    first: Option<u8>,
    /// Ciphertext that has come before the handshake was over.
    handshake_bytes: usize,
    /// How it has ended, to be told when all plaintext before that was taken.
    end: Option<Incoming>,
    has_failed: bool,
    is_closed: bool,
}

impl Encryption {
    pub(super) fn accepting(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(ServerConnection::new(config)?.into()))
    }

    pub(super) fn dialing(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        Ok(Self::new(ClientConnection::new(config, name)?.into()))
    }

    fn new(mut tls: Connection) -> Self {
        tls.set_buffer_limit(Some(TLS_SEND_BYTES_MAX));
        Self {
            tls,
            first: None,
            handshake_bytes: 0,
            end: None,
            has_failed: false,
            is_closed: false,
        }
    }

    /// Nothing can be sent or received by the peer yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What the peer makes it hold before it is known, at most: messages that have come in part.
    pub(crate) fn handshake_bytes(&self) -> usize {
        match self.is_handshaking() {
            true => self.handshake_bytes,
            false => 0,
        }
    }

    /// It has failed: what still comes means nothing.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether something waits that may be sent now.
    pub(crate) fn has_pending(&self, outbox: &Outbox) -> bool {
        self.tls.wants_write() || self.takes_plaintext() && !outbox.is_empty()
    }

    /// Receives until the buffer is full, or the socket has no more, or it has had its share. A short read tells
    /// that the socket is empty, but not whether it has ended: where that `is_end_announced`, it is read on.
    pub(crate) fn receive(
        &mut self,
        socket: &mut impl Read,
        buffer: &mut [u8],
        is_end_announced: bool,
    ) -> Received {
        let (mut len, mut taken) = (0, 0);
        let mut is_drained = false;
        loop {
            len += self.take_plaintext(&mut buffer[len..]);
            if len == buffer.len() {
                let what = Incoming::Bytes(len);
                let is_drained = false;
                return Received { what, is_drained };
            }
            if self.end.is_some() || is_drained || taken >= buffer.len() {
                break;
            }
            let was_handshaking = self.tls.is_handshaking();
            match self.take_ciphertext(socket) {
                Ciphertext::Bytes { len, is_short } => {
                    taken += len;
                    is_drained = is_short && !is_end_announced;
                }
                Ciphertext::Blocked => {
                    is_drained = true;
                    continue;
                }
                Ciphertext::Ended => continue,
            }
            let has_more = self.process(was_handshaking);
            if was_handshaking && self.end.is_none() {
                self.handshake_bytes += taken;
                // Signing and checking takes its time, and others wait.
                let is_drained = is_drained && !has_more;
                let what = Incoming::Step;
                return Received { what, is_drained };
            }
        }
        let what = match (len, self.end.take()) {
            (0, None) => Incoming::Nothing,
            (0, Some(end)) => {
                is_drained = false;
                end
            }
            (len, end) => {
                is_drained &= end.is_none();
                self.end = end;
                Incoming::Bytes(len)
            }
        };
        Received { what, is_drained }
    }

    /// Reads from the socket once.
    fn take_ciphertext(&mut self, socket: &mut impl Read) -> Ciphertext {
        loop {
            let mut tap = Tap::new(socket);
            match self.tls.read_tls(&mut tap) {
                Ok(0) => return Ciphertext::Ended,
                Ok(len) => {
                    self.first = self.first.or(tap.first);
                    let is_short = tap.is_short;
                    return Ciphertext::Bytes { len, is_short };
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ciphertext::Blocked,
                    ErrorKind::Interrupted => {}
                    // A message of the handshake is larger than the library wants to keep.
                    ErrorKind::InvalidData => {
                        self.fail(error.to_string());
                        return Ciphertext::Ended;
                    }
                    _ => {
                        self.end = Some(Incoming::Lost(error));
                        return Ciphertext::Ended;
                    }
                },
            }
        }
    }

    /// Takes plaintext that is there, and notes the end.
    fn take_plaintext(&mut self, buffer: &mut [u8]) -> usize {
        let mut len = 0;
        while len < buffer.len() {
            match self.tls.reader().read(&mut buffer[len..]) {
                Ok(0) => {
                    let is_announced = true;
                    self.end.get_or_insert(Incoming::End { is_announced });
                    break;
                }
                Ok(read) => len += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The socket has ended without close_notify.
                Err(_) => {
                    let is_announced = false;
                    self.end.get_or_insert(Incoming::End { is_announced });
                    break;
                }
            }
        }
        len
    }

    /// Works through ciphertext. Returns whether that has brought something to be taken.
    fn process(&mut self, was_handshaking: bool) -> bool {
        let (side, first) = (self.side(), self.first);
        let is_letter = first.is_some_and(|first| first.is_ascii_uppercase());
        if was_handshaking && side == Side::Server && is_letter {
            self.has_failed = true;
            self.end = Some(Incoming::Http);
            return true;
        }
        match self.tls.process_new_packets() {
            Ok(state) => state.plaintext_bytes_to_read() > 0 || state.peer_has_closed(),
            Err(error) => {
                self.fail(explain(&error, side, first));
                true
            }
        }
    }

    fn fail(&mut self, what: String) {
        self.has_failed = true;
        self.end = Some(Incoming::Failed(what));
    }

    /// Sends what is encrypted, then encrypts and sends of the outbox, as much as the socket takes.
    ///
    /// # Errors
    /// The socket has failed.
    pub(crate) fn send(
        &mut self,
        socket: &mut impl Write,
        outbox: &mut Outbox,
    ) -> io::Result<Sent> {
        let mut sent = Sent::default();
        loop {
            self.send_encrypted(socket, &mut sent)?;
            if sent.is_blocked || !self.takes_plaintext() || outbox.is_empty() {
                return Ok(sent);
            }
            let encrypted = outbox.write_to(|slices| self.tls.writer().write_vectored(slices))?;
            if encrypted == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            sent.bytes += encrypted;
        }
    }

    /// Tells the peer that nothing more will come; to be sent then. Where it has failed or was never up,
    /// there is nothing to tell.
    pub(crate) fn close(&mut self) {
        if self.takes_plaintext() {
            self.tls.send_close_notify();
        }
        self.is_closed = true;
    }

    fn send_encrypted(&mut self, socket: &mut impl Write, sent: &mut Sent) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Single(socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sent.is_blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn takes_plaintext(&self) -> bool {
        !self.has_failed && !self.is_closed && !self.tls.is_handshaking()
    }

    fn side(&self) -> Side {
        match self.tls {
            Connection::Client(_) => Side::Client,
            Connection::Server(_) => Side::Server,
        }
    }
}

/// Sees what the library reads from a socket.
struct Tap<'a, R> {
    socket: &'a mut R,
    first: Option<u8>,
    /// Less came than was asked for: the socket is empty.
    is_short: bool,
}

impl<'a, R> Tap<'a, R> {
    fn new(socket: &'a mut R) -> Self {
        Self {
            socket,
            first: None,
            is_short: false,
        }
    }
}

impl<R: Read> Read for Tap<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(buffer)?;
        self.first = buffer[..read].first().copied();
        self.is_short = read < buffer.len();
        Ok(read)
    }
}

/// Spares a system call its vector where there is one slice.
struct Single<'a, W>(&'a mut W);

impl<W: Write> Write for Single<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [slice] => self.0.write(slice),
            slices => self.0.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
