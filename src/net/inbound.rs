//! Connections that others open: admitted, or told why not.

use std::{io::Write as _, net::SocketAddr, time::Instant};

use bytes::Bytes;

use super::{
    CloseReason,
    access::Caller,
    admission::Denial,
    connection::{Connection, Side},
    kernel::{self, Stream},
    listener::{Accepted, Entrance},
    network::Network,
    shared::Shared,
    tls,
    upgrade::Form,
};
use crate::config::limits::{ACCEPTS_PER_TURN, STATUS_CONNECTIONS_MAX};

impl Network {
    /// Accepts a portion of what is waiting.
    pub(crate) fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listeners.accept(now) {
                Accepted::Connection {
                    stream,
                    remote,
                    is_tls,
                    entrance,
                    is_local,
                } => {
                    self.shared.counters.accepted += 1;
                    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                    match entrance {
                        Entrance::Peers => self.admit(stream, remote, is_tls, now),
                        Entrance::Status => {
                            self.admit_to_status(stream, remote, is_tls, is_local, now)
                        }
                    }
                }
                Accepted::Nothing => return,
                Accepted::Lost(error) => {
                    log::debug!("a connection was lost before it was accepted: {error}")
                }
                Accepted::Exhausted(error) => {
                    self.shared.counters.accept_pauses += 1;
                    log::warn!(
                        "cannot accept more connections for now: {error}; going on as soon as others are gone"
                    );
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: Stream, remote: SocketAddr, is_tls: bool, now: Instant) {
        let Shared {
            access, admission, ..
        } = &mut self.shared;
        let was_full = admission.is_full();
        // Whom a proxy asks for stands in its request, or before anything else.
        let caller = access.caller(remote.ip());
        let address = (caller == Caller::Itself).then(|| remote.ip());
        let admitted = match address {
            Some(address) if !access.admits(address) => Err(Denial::Barred),
            address => admission
                .keep_pace(address, now)
                .and_then(|()| admission.admit(address)),
        };
        let admitted = admitted.or_else(|denial| match self.make_room(denial, address, now) {
            true => self.shared.admission.admit(address),
            false => Err(denial),
        });
        if let Err(denial) = admitted {
            return self.refuse(denial, stream, remote, is_tls, now);
        }
        if !was_full && self.shared.admission.is_full() {
            let admitted = self.shared.admission.admitted();
            log::warn!("{admitted} connections: full, further ones hear 503 until some have gone");
        }
        if let Some(encryption) = self.begin_encryption(&stream, remote, is_tls) {
            let token = self.insert(now, |token, turn| {
                let side = Side::Accepted;
                Connection::accepted(token, side, stream, encryption, remote, caller, turn)
            });
            self.note_unfinished(token);
            // Most have sent their request by now, and need not wait for a turn more.
            self.with(token, now, |connection, _, _| {
                connection.on_readable(false);
                None
            });
        } else {
            self.shared.admission.on_handshake_over(address);
            self.shared.admission.release(address);
        }
    }

    /// Who wants to look at the node is let in even when it is full; there are bounds of their own for them.
    fn admit_to_status(
        &mut self,
        stream: Stream,
        remote: SocketAddr,
        is_tls: bool,
        is_local: bool,
        now: Instant,
    ) {
        if !self.shared.access.admits(remote.ip()) {
            return self.refuse(Denial::Barred, stream, remote, is_tls, now);
        }
        if self.status_connections >= STATUS_CONNECTIONS_MAX {
            return self.refuse(Denial::HandshakesFull, stream, remote, is_tls, now);
        }
        if let Some(encryption) = self.begin_encryption(&stream, remote, is_tls) {
            self.status_connections += 1;
            let side = Side::Status { is_local };
            self.insert(now, |token, turn| {
                let caller = Caller::Itself;
                Connection::accepted(token, side, stream, encryption, remote, caller, turn)
            });
        }
    }

    /// What stands between a connection and its socket: nothing, or TLS. `None`: it cannot go on.
    fn begin_encryption(
        &mut self,
        stream: &Stream,
        remote: SocketAddr,
        is_tls: bool,
    ) -> Option<Option<Box<tls::Encryption>>> {
        kernel::tune_accepted(stream, self.shared.limits.unacknowledged_max());
        if !is_tls {
            return Some(None);
        }
        let encryption = self.tls.accept();
        if encryption.is_none() {
            // In clear it must not go on. Without random numbers, for example, there is no TLS.
            log::error!("TLS cannot begin with {remote}: dropping the connection");
        }
        encryption.map(Some)
    }

    fn refuse(
        &mut self,
        denial: Denial,
        mut stream: Stream,
        remote: SocketAddr,
        is_tls: bool,
        now: Instant,
    ) {
        let refusal = denial.refusal();
        // That the node is full is told when it gets full.
        let level = match denial {
            Denial::Full => log::Level::Debug,
            _ => log::Level::Warn,
        };
        log::log!(level, "refusing {remote}: {refusal}");
        let counters = &mut self.shared.counters;
        match denial {
            Denial::AddressFull
            | Denial::AddressHandshakesFull
            | Denial::NetworkFull
            | Denial::NetworkHandshakesFull
            | Denial::TooFast => counters.refused_per_address += 1,
            Denial::Barred => counters.refused_access += 1,
            Denial::Full | Denial::HandshakesFull => counters.refused_full += 1,
        }
        let said = match is_tls {
            false => Bytes::from(refusal.response(Form::Whole, self.shared.id)),
            true => Bytes::from_static(tls::REFUSAL),
        };
        if self.refusals >= self.refusals_max {
            counters.refused_abruptly += 1;
            // Nobody waits for how this goes.
            counters.bytes_sent += stream.write(&said).unwrap_or_default() as u64;
            return;
        }
        self.refusals += 1;
        self.insert(now, |token, turn| {
            Connection::refused(token, stream, remote, said, turn)
        });
    }

    /// An admitted connection has ended.
    pub(super) fn on_accepted_gone(&mut self, connection: &Connection) {
        let remote = connection.remote();
        let admission = &mut self.shared.admission;
        if admission.release(connection.counts_for()) {
            log::info!("{} connections: accepting again", admission.admitted());
        }
        if !connection.was_open() {
            let reason = connection.reason();
            // The other side may see no more than a connection that ends, and ask here.
            let level = match reason {
                Some(CloseReason::Tls(_)) => log::Level::Info,
                // Somebody may be guessing, or a person wonders why a page does not connect.
                Some(CloseReason::Denied(_)) => log::Level::Warn,
                _ => log::Level::Debug,
            };
            let reason = reason.map(ToString::to_string).unwrap_or_default();
            log::log!(level, "no upgrade with {remote}: {reason}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, net::TcpStream};

    use crate::{
        config::{Config, Limits},
        net::trial::{Client, Trial},
    };

    use super::*;

    #[test]
    fn what_the_abruptly_refused_hear_is_counted() {
        let limits = Limits {
            connections_max: 1,
            ..Limits::default()
        };
        let config = Config {
            limits,
            ..Config::default()
        };
        let mut trial = Trial::new(&config, Instant::now());
        let _client = Client::plain(&mut trial, "/");
        let sent_before = trial.network.counters().bytes_sent;
        // The first of them has a place to hear why, the second has none.
        let mut others = [trial.dial(), trial.dial()];
        while trial.network.counters().refused_abruptly == 0 {
            trial.turn();
        }
        let mut heard = Vec::new();
        let heard_len = |other: &mut TcpStream| other.read_to_end(&mut heard).expect("an end");
        let heard_len: usize = others.iter_mut().map(heard_len).sum();
        let sent = trial.network.counters().bytes_sent - sent_before;
        assert_eq!(sent, heard_len as u64);
    }
}
