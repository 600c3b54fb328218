//! What a connection does with what it receives: connected, a head, frames, an end.

use std::{
    io::{self, ErrorKind},
    mem,
};

use mio::net::TcpStream;

use super::{Connection, Notice, Phase, Side, Turn};
use crate::{
    config::limits::{LINGER_TIMEOUT, MESH_HEAD_BYTES_MAX, TLS_STEP_BYTES},
    net::{
        Kind,
        close::CloseReason,
        frame::Role,
        session::{Session, Step},
        tls,
        transport::Receipt,
        upgrade::{self, Request, Response},
    },
};

/// What one read has brought: so many bytes of the buffer, and whether they are the last ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    pub(crate) len: usize,
    pub(crate) is_end: bool,
    /// What it counts against the turn's budget.
    pub(crate) cost: usize,
}

impl Portion {
    fn of_bytes(len: usize) -> Self {
        Self {
            len,
            is_end: false,
            cost: len,
        }
    }
}

impl Connection {
    /// The poll says that the socket takes bytes, which for a dialed one means that it is connected.
    pub(crate) fn on_writable(&mut self, turn: &mut Turn<'_>) -> Option<Notice> {
        self.transport.set_writable();
        if !matches!(self.phase, Phase::Connecting(_)) {
            return None;
        }
        match connect_result(self.transport.stream()) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => {
                self.fail(&error, turn);
                return None;
            }
        }
        if let Phase::Connecting(dialing) = mem::replace(&mut self.phase, Phase::Ended) {
            self.transport.outbox.push_control(dialing.request.into());
            self.phase = Phase::Response(Vec::new(), Box::new(dialing.expected));
        }
        Some(Notice::Connected)
    }

    /// Receives once. What came is to be given to [`Self::work`] until that has nothing more to tell.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], turn: &mut Turn<'_>) -> Option<Portion> {
        let portion = match self.transport.receive(buffer) {
            Ok(Receipt::Bytes(len)) => Portion::of_bytes(len),
            Ok(Receipt::Step) => Portion {
                cost: TLS_STEP_BYTES,
                ..Portion::of_bytes(0)
            },
            Ok(Receipt::End) => Portion {
                is_end: true,
                ..Portion::of_bytes(0)
            },
            Ok(Receipt::Nothing) => return None,
            Ok(Receipt::ClearHttp) => {
                self.on_clear_http(turn);
                return None;
            }
            Ok(Receipt::TlsFailed(what)) => {
                self.on_tls_failed(what, turn);
                return None;
            }
            Err(error) => {
                self.fail(&error, turn);
                return None;
            }
        };
        turn.counters.bytes_received += portion.len as u64;
        self.keep_alive.on_received(turn.now);
        Some(portion)
    }

    /// Somebody speaks HTTP in clear where TLS is spoken, and is answered so.
    fn on_clear_http(&mut self, turn: &mut Turn<'_>) {
        let what =
            "HTTP in clear where this node speaks TLS: the client is to use wss:// or https://";
        self.reason
            .get_or_insert_with(|| CloseReason::Tls(what.to_owned()));
        self.answer(&upgrade::TLS_ONLY, true, turn);
    }

    /// TLS does not come about, or not go on.
    fn on_tls_failed(&mut self, what: String, turn: &mut Turn<'_>) {
        self.reason.get_or_insert(CloseReason::Tls(what));
        match self.side {
            // Whoever waits for what comes of a dial need not wait for how the other side takes it.
            Side::Dialed(_) | Side::Client => {
                self.flush(turn);
                self.end(turn);
            }
            Side::Accepted | Side::Refused => self.linger(LINGER_TIMEOUT, turn),
        }
    }

    /// Works through received bytes up to the next thing to tell, and takes what it has worked through
    /// off `unread`. With nothing to tell, all is worked through.
    pub(crate) fn work(
        &mut self,
        unread: &mut &[u8],
        is_end: bool,
        turn: &mut Turn<'_>,
    ) -> Option<Notice> {
        match &mut self.phase {
            Phase::Open(_) | Phase::Closing(_) => self.work_frames(unread, is_end, turn),
            Phase::Request(_) | Phase::Response(..)
                if is_end && self.transport.is_handshaking() =>
            {
                let what = "ended during the TLS handshake".to_owned();
                self.reason.get_or_insert(CloseReason::Failed(what));
                self.end(turn);
                None
            }
            Phase::Request(_) | Phase::Response(..) if is_end => {
                let what = "ended before the upgrade was done".to_owned();
                self.reason.get_or_insert(match self.phase {
                    // There are servers that let go of who offers a subprotocol that they do not know.
                    Phase::Response(..) => CloseReason::Declined(what),
                    _ => CloseReason::Failed(what),
                });
                self.end(turn);
                None
            }
            Phase::Request(head) | Phase::Response(head, _) => {
                let bytes = mem::take(unread);
                let head = upgrade::gather(head, bytes, turn.limits.head_bytes_max)?;
                let head_len = match self.phase {
                    Phase::Request(_) => self.on_request(&head, turn)?,
                    _ => self.on_response(&head, turn)?,
                };
                // The head was incomplete before these bytes, so what follows it is among them.
                *unread = &bytes[bytes.len() - (head.len() - head_len)..];
                Some(Notice::Opened)
            }
            // A peer that ends its half may still read ours.
            Phase::Lingering if is_end && !self.transport.has_pending() => {
                self.end(turn);
                None
            }
            Phase::Lingering | Phase::Connecting(_) | Phase::Ended => None,
        }
    }

    /// Judges a request head. Returns its length if it is an upgrade and granted.
    fn on_request(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Option<usize> {
        match upgrade::judge_request(bytes, turn.limits.head_bytes_max, turn.id, turn.access) {
            Request::Incomplete => {
                self.phase = Phase::Request(bytes.to_vec());
                None
            }
            Request::Answer { answer, with_body } => {
                if tls::is_tls(bytes) {
                    let what = "TLS where this node speaks none: the client is to use ws://, or the node \
                                needs --bind wss://…";
                    self.reason
                        .get_or_insert_with(|| CloseReason::Tls(what.to_owned()));
                }
                self.answer(&answer, with_body, turn);
                None
            }
            Request::Upgrade {
                head_len,
                channel,
                kind,
                rights,
                response,
            } => {
                self.transport.outbox.push_control(response.into());
                if channel != "/" {
                    self.path = Some(channel.into());
                }
                self.rights = rights;
                self.open(Role::Server, kind, turn);
                Some(head_len)
            }
        }
    }

    /// Judges a response head. Returns its length if it grants the upgrade.
    fn on_response(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Option<usize> {
        let Phase::Response(head, expected) = &mut self.phase else {
            return None;
        };
        let head_bytes_max = turn.limits.head_bytes_max;
        let reason = match upgrade::judge_response(bytes, head_bytes_max, expected, turn.id) {
            Response::Incomplete => {
                *head = bytes.to_vec();
                return None;
            }
            Response::Granted { head_len, kind } => {
                self.open(Role::Client, kind, turn);
                return Some(head_len);
            }
            Response::Itself => CloseReason::Itself,
            Response::Declined(text) => CloseReason::Declined(text),
            Response::Refused(text) => CloseReason::Failed(text),
        };
        self.reason = Some(reason);
        self.end(turn);
        None
    }

    fn open(&mut self, role: Role, kind: Kind, turn: &mut Turn<'_>) {
        let message_bytes_max = match kind {
            Kind::Plain => turn.limits.message_bytes_max,
            Kind::Neighbor => turn.limits.message_bytes_max + MESH_HEAD_BYTES_MAX,
        };
        self.kind = kind;
        self.phase = Phase::Open(Session::new(role, message_bytes_max));
        self.was_open = true;
        let check_at = turn
            .limits
            .ping_interval
            .map(|interval| turn.now + interval);
        self.set_deadline(check_at, turn);
    }

    fn work_frames(
        &mut self,
        unread: &mut &[u8],
        is_end: bool,
        turn: &mut Turn<'_>,
    ) -> Option<Notice> {
        loop {
            let (Phase::Open(session) | Phase::Closing(session)) = &mut self.phase else {
                return None;
            };
            match session.step(unread, is_end, &mut self.transport.outbox, turn.contexts) {
                Step::Message(message) => {
                    turn.counters.messages_received += 1;
                    return Some(Notice::Message(message));
                }
                Step::Pong(payload) => self.keep_alive.on_pong(&payload, turn.now),
                Step::Close(reason) => {
                    self.reason.get_or_insert(reason);
                    self.await_end(turn);
                }
                Step::Drained => return None,
                // The peer is not there any more to hear a last word.
                Step::Finished | Step::Broken(_) if is_end => {
                    self.reason
                        .get_or_insert(match self.transport.is_cut_off() {
                            false => CloseReason::Vanished,
                            true => CloseReason::CutOff,
                        });
                    self.end(turn);
                }
                // The time that the peer has to answer the Close is the time that it has to go.
                Step::Finished => self.phase = Phase::Lingering,
                Step::Broken(reason) => {
                    self.reason.get_or_insert(reason);
                    self.linger(turn.limits.close_timeout, turn);
                }
            }
        }
    }

    /// Both Closes are sent and received; it is the peer that ends the connection (RFC 6455 §7.1.1).
    fn await_end(&mut self, turn: &mut Turn<'_>) {
        self.phase = match mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open(session) => {
                self.set_deadline(Some(turn.now + turn.limits.close_timeout), turn);
                Phase::Closing(session)
            }
            phase => phase,
        };
    }
}

/// Whether a socket that was told to connect is connected; not yet is no error.
fn connect_result(stream: &mut TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
