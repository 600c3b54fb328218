//! What a connection does with what it receives: connected, a head, frames, an end.

use std::{
    io::{self, ErrorKind},
    mem,
};

use mio::net::TcpStream;

use super::{Connection, Notice, Phase, Turn};
use crate::net::{
    close::CloseReason,
    session::{Heard, Role, Session, Standing},
    transport::Received,
    upgrade::{self, Request, Response},
};

impl Connection {
    /// The poll says that the socket takes bytes, which for a dialed one means that it is connected.
    pub(crate) fn on_writable(&mut self, turn: &mut Turn<'_>, mut tell: impl FnMut(Notice)) {
        self.transport.set_writable();
        if !matches!(self.phase, Phase::Connecting(_)) {
            return;
        }
        match connect_result(self.transport.stream()) {
            Ok(false) => {}
            Ok(true) => {
                if let Phase::Connecting(dialing) = mem::replace(&mut self.phase, Phase::Ended) {
                    self.transport.outbox.push_control(dialing.request.into());
                    self.phase = Phase::Response(Vec::new(), dialing.accept);
                }
                tell(Notice::Connected);
            }
            Err(error) => self.fail(&error, turn),
        }
    }

    /// Receives once and works through what came. Returns how many bytes that were.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        turn: &mut Turn<'_>,
        tell: impl FnMut(Notice),
    ) -> usize {
        match self.transport.receive(buffer) {
            Ok(Received::Bytes(len)) => {
                self.on_bytes(&buffer[..len], false, turn, tell);
                len
            }
            Ok(Received::End) => {
                self.on_bytes(&[], true, turn, tell);
                0
            }
            Ok(Received::Nothing) => 0,
            Err(error) => {
                self.fail(&error, turn);
                0
            }
        }
    }

    fn on_bytes(
        &mut self,
        bytes: &[u8],
        end: bool,
        turn: &mut Turn<'_>,
        mut tell: impl FnMut(Notice),
    ) {
        turn.counters.bytes_received += bytes.len() as u64;
        self.keep_alive.on_received(turn.now);
        match &mut self.phase {
            Phase::Request(head) if !end => {
                if let Some(head) = upgrade::gather(head, bytes, turn.limits.head_bytes_max) {
                    self.on_request(&head, turn, &mut tell);
                }
            }
            Phase::Response(head, _) if !end => {
                if let Some(head) = upgrade::gather(head, bytes, turn.limits.head_bytes_max) {
                    self.on_response(&head, turn, &mut tell);
                }
            }
            Phase::Open(_) | Phase::Closing(_) => self.on_frames(bytes, end, turn, &mut tell),
            Phase::Lingering if end && self.transport.outbox.is_empty() => self.end(turn),
            // A peer that ends its half may still read ours.
            Phase::Lingering => {}
            Phase::Connecting(_) | Phase::Ended => {}
            Phase::Request(_) | Phase::Response(..) => {
                let reason = CloseReason::Failed("ended before the upgrade was done".to_owned());
                self.reason.get_or_insert(reason);
                self.end(turn);
            }
        }
    }

    fn on_request(&mut self, bytes: &[u8], turn: &mut Turn<'_>, tell: &mut impl FnMut(Notice)) {
        match upgrade::judge_request(bytes, turn.limits.head_bytes_max, turn.id) {
            Request::Incomplete => self.phase = Phase::Request(bytes.to_vec()),
            Request::Answer { answer, with_body } => self.answer(&answer, with_body, turn),
            Request::Upgrade {
                head_len,
                target,
                response,
            } => {
                self.transport.outbox.push_control(response.into());
                if target != "/" {
                    self.target = Some(target.into());
                }
                self.open(Role::Server, &bytes[head_len..], turn, tell);
            }
        }
    }

    fn on_response(&mut self, bytes: &[u8], turn: &mut Turn<'_>, tell: &mut impl FnMut(Notice)) {
        let Phase::Response(head, accept) = &mut self.phase else {
            return;
        };
        match upgrade::judge_response(bytes, turn.limits.head_bytes_max, accept, turn.id) {
            Response::Incomplete => *head = bytes.to_vec(),
            Response::Granted { head_len } => {
                self.open(Role::Client, &bytes[head_len..], turn, tell);
            }
            Response::Itself => {
                tell(Notice::Itself);
                self.end(turn);
            }
            Response::Refused(text) => {
                self.reason = Some(CloseReason::Failed(text));
                self.end(turn);
            }
        }
    }

    /// The upgrade is done, and `tail` came along with it.
    fn open(
        &mut self,
        role: Role,
        tail: &[u8],
        turn: &mut Turn<'_>,
        tell: &mut impl FnMut(Notice),
    ) {
        self.phase = Phase::Open(Session::new(role, turn.limits.message_bytes_max));
        self.was_open = true;
        self.set_deadline(
            turn.limits
                .ping_interval
                .map(|interval| turn.now + interval),
            turn,
        );
        tell(Notice::Opened);
        self.on_frames(tail, false, turn, tell);
    }

    fn on_frames(
        &mut self,
        bytes: &[u8],
        end: bool,
        turn: &mut Turn<'_>,
        tell: &mut impl FnMut(Notice),
    ) {
        let (Phase::Open(session) | Phase::Closing(session)) = &mut self.phase else {
            return;
        };
        let (mut answered, mut closed_by_peer) = (None, None);
        let standing = session.receive(
            bytes,
            end,
            &mut self.transport.outbox,
            |heard| match heard {
                Heard::Message(message) => {
                    turn.counters.messages_received += 1;
                    tell(Notice::Message(message));
                }
                Heard::Pong(payload) => answered = Some(payload),
                Heard::Close(reason) => closed_by_peer = Some(reason),
            },
        );
        if let Some(payload) = answered {
            self.keep_alive.on_pong(&payload, turn.now);
        }
        let is_closed_by_peer = closed_by_peer.is_some();
        if let Some(reason) = closed_by_peer {
            self.reason.get_or_insert(reason);
        }
        match standing {
            Standing::Going if is_closed_by_peer => self.await_end(turn),
            Standing::Going => {}
            // The peer is not there any more to hear a last word.
            Standing::Finished | Standing::Broken(_) if end => {
                self.reason.get_or_insert(CloseReason::Vanished);
                self.end(turn);
            }
            Standing::Finished => self.linger(turn.limits.close_timeout, turn),
            Standing::Broken(reason) => {
                self.reason.get_or_insert(reason);
                self.linger(turn.limits.close_timeout, turn);
            }
        }
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
