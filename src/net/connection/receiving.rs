//! What a connection does with what it receives: connected, a head, frames, an end.

use std::{
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
};

use super::{Connection, Notice, Phase, Side, Turn};
use crate::{
    config::limits::{LINGER_TIMEOUT, MESH_HEAD_BYTES_MAX, TLS_STEP_BYTES},
    net::{
        Kind,
        admission::Denial,
        close::CloseReason,
        frame::Role,
        kernel::Stream,
        session::{self, Session},
        tls,
        transport::Receipt,
        tunnel::Step,
        upgrade::{self, Dialing, Form, Refusal, Request, Response},
    },
    pages::Page,
};

/// What one read has brought: so many bytes of the buffer, and whether they are the last ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    pub(crate) len: usize,
    pub(crate) is_end: bool,
    /// What it counts against the turn's budget.
    pub(crate) cost: usize,
}

/// What a request head was good for.
enum Answered {
    /// An upgrade; so many bytes belong to it.
    Upgraded(usize),
    Asked(Page, Form),
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
        if !self.is_connecting() {
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
        match mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Connecting(dialing) => self.ask(*dialing),
            Phase::ConnectingToProxy(detour) => {
                let request = detour.tunnel.request();
                self.transport.outbox.push_control(request.into());
                self.phase = Phase::Detour(detour);
            }
            phase => self.phase = phase,
        }
        Some(Notice::Connected)
    }

    /// Asks for the upgrade.
    fn ask(&mut self, dialing: Dialing) {
        self.transport.outbox.push_control(dialing.request.into());
        self.phase = Phase::Response(Vec::new(), Box::new(dialing.expected));
    }

    /// Works through what a proxy says. Once it has connected us, what follows is of the other side.
    fn work_detour(&mut self, unread: &mut &[u8], turn: &mut Turn<'_>) {
        while let Phase::Detour(detour) = &mut self.phase {
            match detour.tunnel.step(unread) {
                Step::Wait => return,
                Step::Send(message) => self.transport.outbox.push_control(message.into()),
                Step::Failed(what) => {
                    self.reason.get_or_insert(CloseReason::Failed(what));
                    self.end(turn);
                }
                Step::Open => {
                    if let Phase::Detour(detour) = mem::replace(&mut self.phase, Phase::Ended) {
                        self.transport.encrypt(detour.encryption);
                        self.ask(detour.dialing);
                    }
                }
            }
        }
    }

    /// Receives once. What came is to be given to [`Self::work`] until that has nothing more to tell.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], turn: &mut Turn<'_>) -> Option<Portion> {
        if !self.may_be_read(turn) {
            return None;
        }
        let buffer = match &self.phase {
            Phase::Introduction(introduction) => &mut buffer[..introduction.wanted()],
            _ => buffer,
        };
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
        self.on_bytes(portion.len, turn);
        Some(portion)
    }

    /// Somebody speaks HTTP in clear where TLS is spoken, and is answered so.
    fn on_clear_http(&mut self, turn: &mut Turn<'_>) {
        let what =
            "HTTP in clear where this node speaks TLS: the client is to use wss:// or https://";
        self.reason
            .get_or_insert_with(|| CloseReason::Tls(what.to_owned()));
        self.answer(&upgrade::TLS_ONLY, Form::Whole, turn);
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
            Side::Accepted | Side::Refused | Side::Status { .. } => {
                self.linger(LINGER_TIMEOUT, turn)
            }
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
        self.work_detour(unread, turn);
        self.work_introduction(unread, turn);
        match &mut self.phase {
            Phase::Detour(_) if is_end => {
                let what = "the proxy has ended the connection".to_owned();
                self.reason.get_or_insert(CloseReason::Failed(what));
                self.end(turn);
                None
            }
            // So look proxies whether somebody is there.
            Phase::Introduction(_) if is_end => {
                let what = "ended before the header of the PROXY protocol".to_owned();
                self.reason.get_or_insert(CloseReason::Failed(what));
                self.end(turn);
                None
            }
            // With TLS the other side does not speak first, so this is of the proxy, which should not.
            Phase::Response(..) if self.transport.is_handshaking() && !unread.is_empty() => {
                let what = "what answers through the proxy is not TLS".to_owned();
                self.reason.get_or_insert(CloseReason::Failed(what));
                self.end(turn);
                None
            }
            Phase::Response(..) if unread.is_empty() && !is_end => None,
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
                    Phase::Request(_) => match self.on_request(&head, turn)? {
                        Answered::Upgraded(head_len) => head_len,
                        Answered::Asked(page, form) => return Some(Notice::Asked(page, form)),
                    },
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
            Phase::Lingering
            | Phase::Connecting(_)
            | Phase::ConnectingToProxy(_)
            | Phase::Detour(_)
            | Phase::Introduction(_)
            | Phase::Ended => None,
        }
    }

    /// Judges a request head.
    fn on_request(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Option<Answered> {
        let (head_bytes_max, id, access) = (turn.limits.head_bytes_max, turn.id, turn.access);
        let request = match self.side {
            Side::Status { is_local } => {
                upgrade::judge_status_request(bytes, head_bytes_max, id, access, is_local)
            }
            _ => upgrade::judge_request(bytes, head_bytes_max, id, access),
        };
        if request != Request::Incomplete
            && let Err(refusal) = self.identify(bytes, turn)
        {
            let is_head = bytes.starts_with(b"HEAD ");
            let form = if is_head { Form::Head } else { Form::Whole };
            self.answer(&refusal, form, turn);
            return None;
        }
        match request {
            Request::Page { page, form } => {
                // The answer follows before anything else of this connection is looked at.
                self.linger(LINGER_TIMEOUT, turn);
                Some(Answered::Asked(page, form))
            }
            Request::Incomplete => {
                self.phase = Phase::Request(bytes.to_vec());
                None
            }
            Request::Answer { answer, form } => {
                if tls::is_tls(bytes) {
                    let what = "TLS where this node speaks none: the client is to use ws://, or the node \
                                needs --bind wss://…";
                    self.reason
                        .get_or_insert_with(|| CloseReason::Tls(what.to_owned()));
                }
                self.answer(&answer, form, turn);
                None
            }
            Request::Upgrade {
                head_len,
                channel,
                kind,
                rights,
                response,
            } => {
                self.send_control(response, turn);
                if channel != "/" {
                    self.path = Some(channel.into());
                }
                self.rights = rights;
                self.open(Role::Server, kind, turn);
                Some(Answered::Upgraded(head_len))
            }
        }
    }

    /// Finds out whom a proxy asks for, and from then on is a connection of that one, if it may come in.
    fn identify(&mut self, head: &[u8], turn: &mut Turn<'_>) -> Result<(), Refusal> {
        if !self.is_of_proxy {
            return Ok(());
        }
        let is_proxy = |address| turn.access.is_proxy(address);
        let client = upgrade::client_of(head, turn.limits.head_bytes_max, self.remote, is_proxy)?;
        // What is no head is answered so.
        let Some(client) = client else {
            return Ok(());
        };
        self.become_client(client, turn)
    }

    /// From now on it is a connection of this client of a proxy, if that may come in.
    pub(super) fn become_client(
        &mut self,
        client: SocketAddr,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        self.remote = client;
        if !turn.access.admits(client.ip()) {
            return Err(Denial::Barred.refusal());
        }
        let placed = turn
            .admission
            .keep_pace(Some(client.ip()), turn.now)
            .and_then(|()| turn.admission.place(client.ip()));
        placed.map_err(Denial::refusal)?;
        self.is_of_proxy = false;
        Ok(())
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
                session::Step::Message(message) => {
                    turn.counters.messages_received += 1;
                    if self.on_message(turn) {
                        return Some(Notice::Message(message));
                    }
                }
                session::Step::Pong(payload) => self.keep_alive.on_pong(&payload, turn.now),
                session::Step::Close(reason) => {
                    // Who has opened it wants to know what the other side says to the Close, too.
                    match self.side {
                        Side::Client => self.reason = Some(reason),
                        _ => _ = self.reason.get_or_insert(reason),
                    }
                    self.await_end(turn);
                }
                session::Step::Drained => return None,
                // The peer is not there any more to hear a last word.
                session::Step::Finished | session::Step::Broken(_) if is_end => {
                    self.reason
                        .get_or_insert(match self.transport.is_cut_off() {
                            false => CloseReason::Vanished,
                            true => CloseReason::CutOff,
                        });
                    self.end(turn);
                }
                // The time that the peer has to answer the Close is the time that it has to go.
                session::Step::Finished => self.phase = Phase::Lingering,
                session::Step::Broken(reason) => {
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
fn connect_result(stream: &mut Stream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
