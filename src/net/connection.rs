//! One connection, from the first packet to the last.
//!
//! Dialed: `Connecting → Response → Open → Closing → Lingering → Ended`; accepted: the same from
//! `Request` on. Any phase may go to `Ended` at once. What a connection knows it tells as [`Notice`]s;
//! whom it tells is not its business.

use std::{
    borrow::Cow,
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mio::net::TcpStream;

use super::{
    close::CloseReason,
    frame::Outgoing,
    outbox::Pushed,
    session::{Heard, Role, Session, Standing},
    timer::Deadlines,
    token::Token,
    transport::{Received, Transport},
    upgrade::{self, Dialing, NodeId, Refusal, Request, Response, Status},
};
use crate::{
    config::{Limits, SlowPeer, limits},
    counters::Counters,
    message::Message,
};

/// What all connections share during one turn of the loop.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) limits: &'a Limits,
    pub(crate) slow_peer: SlowPeer,
    pub(crate) id: NodeId,
    pub(crate) deadlines: &'a mut Deadlines,
    pub(crate) counters: &'a mut Counters,
}

/// What a connection has to tell.
#[derive(Debug)]
pub(crate) enum Notice {
    /// TCP is connected; only of dialed connections.
    Connected,
    /// The other side is this very node; only of dialed connections.
    Itself,
    /// The upgrade is done.
    Opened,
    Message(Message),
}

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Accepted,
    /// Accepted only to hear that there is no room.
    Refused,
    /// Dialed for the peer with this index.
    Dialed(usize),
}

#[derive(Debug)]
enum Phase {
    Connecting(Dialing),
    /// What was received of a request head.
    Request(Vec<u8>),
    /// What was received of a response head, and the accept key that it must carry.
    Response(Vec<u8>, String),
    Open(Session),
    /// A Close was sent, or received and answered; the other half is awaited.
    Closing(Session),
    /// Everything was said: the outbox is sent, then writing ends, then what comes is discarded.
    Lingering,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Connection {
    token: Token,
    side: Side,
    remote: SocketAddr,
    phase: Phase,
    transport: Transport,
    /// Path and query of the upgrade request, unless it is the plain `/`.
    target: Option<Box<str>>,
    deadline: Option<Instant>,
    /// When bytes were received last; what we send does not count.
    received_at: Instant,
    /// When the ping was sent that is not answered yet.
    pinged_at: Option<Instant>,
    pings: u32,
    round_trip: Option<Duration>,
    reason: Option<CloseReason>,
    /// Whether the upgrade was ever done.
    was_open: bool,
    /// Messages are being dropped since the outbox was last empty.
    is_shedding: bool,
    /// Noted for the flush at the end of the turn.
    pub(crate) is_dirty: bool,
    /// Noted for another read without an event of the poll.
    pub(crate) is_ready: bool,
}

impl Connection {
    pub(crate) fn accepted(
        token: Token,
        stream: TcpStream,
        remote: SocketAddr,
        turn: &mut Turn<'_>,
    ) -> Self {
        let phase = Phase::Request(Vec::new());
        let timeout = turn.limits.handshake_timeout;
        Self::new(token, Side::Accepted, stream, remote, phase, timeout, turn)
    }

    /// An accepted connection that only hears `refusal`.
    pub(crate) fn refused(
        token: Token,
        stream: TcpStream,
        remote: SocketAddr,
        refusal: &Refusal,
        turn: &mut Turn<'_>,
    ) -> Self {
        let timeout = limits::LINGER_TIMEOUT;
        let mut connection = Self::new(
            token,
            Side::Refused,
            stream,
            remote,
            Phase::Lingering,
            timeout,
            turn,
        );
        connection
            .transport
            .outbox
            .push_control(refusal.response(true, turn.id).into());
        connection
    }

    pub(crate) fn dialed(
        token: Token,
        peer: usize,
        stream: TcpStream,
        remote: SocketAddr,
        dialing: Dialing,
        turn: &mut Turn<'_>,
    ) -> Self {
        let phase = Phase::Connecting(dialing);
        let timeout = turn.limits.handshake_timeout;
        Self::new(
            token,
            Side::Dialed(peer),
            stream,
            remote,
            phase,
            timeout,
            turn,
        )
    }

    fn new(
        token: Token,
        side: Side,
        stream: TcpStream,
        remote: SocketAddr,
        phase: Phase,
        timeout: Duration,
        turn: &mut Turn<'_>,
    ) -> Self {
        let mut connection = Self {
            token,
            side,
            remote,
            phase,
            transport: Transport::new(stream),
            target: None,
            deadline: None,
            received_at: turn.now,
            pinged_at: None,
            pings: 0,
            round_trip: None,
            reason: None,
            was_open: false,
            is_shedding: false,
            is_dirty: false,
            is_ready: false,
        };
        connection.set_deadline(Some(turn.now + timeout), turn);
        connection
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Path of the upgrade request, which is the channel.
    pub(crate) fn path(&self) -> &str {
        self.target()
            .split_once('?')
            .map_or(self.target(), |(path, _)| path)
    }

    /// Path and query of the upgrade request.
    pub(crate) fn target(&self) -> &str {
        self.target.as_deref().unwrap_or("/")
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.transport.stream()
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.transport.outbox.pending_bytes()
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Accepted, admitted, and neither upgraded nor answered yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Request(_))
    }

    pub(crate) fn was_open(&self) -> bool {
        self.was_open
    }

    /// Why the connection is closed or closing.
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.reason.as_ref()
    }

    /// Whether a flush would get something done.
    pub(crate) fn wants_to_write(&self) -> bool {
        let is_final = matches!(self.phase, Phase::Lingering) && !self.transport.is_write_ended();
        self.transport.is_writable()
            && (!self.transport.outbox.is_empty() || is_final)
            && !self.is_ended()
    }

    /// Whether there may be something to receive, and it should be. Not while much waits for the peer
    /// itself: a peer that sends and never reads is not read either.
    pub(crate) fn wants_to_read(&self, limits: &Limits) -> bool {
        let is_paused = self.is_open()
            && self.pending_bytes() > limits::high_water_bytes(limits.outbox_bytes_max);
        self.transport.is_readable() && !is_paused && !self.is_ended()
    }

    /// The poll says that there is something to receive, or with `is_end` that an end or an error is.
    pub(crate) fn on_readable(&mut self, is_end: bool) {
        self.transport.set_readable(is_end);
    }

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

    /// Receives once and works through what came.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        turn: &mut Turn<'_>,
        mut tell: impl FnMut(Notice),
    ) {
        let (bytes, end) = match self.transport.receive(buffer) {
            Ok(Received::Bytes(len)) => (&buffer[..len], false),
            Ok(Received::End) => (&[][..], true),
            Ok(Received::Nothing) => return,
            Err(error) => return self.fail(&error, turn),
        };
        turn.counters.bytes_received += bytes.len() as u64;
        self.received_at = turn.now;
        match &mut self.phase {
            Phase::Request(head) if !end => {
                if let Some(head) = gather(head, bytes, turn.limits.head_bytes_max) {
                    self.on_request(&head, turn, &mut tell);
                }
            }
            Phase::Response(head, _) if !end => {
                if let Some(head) = gather(head, bytes, turn.limits.head_bytes_max) {
                    self.on_response(&head, turn, &mut tell);
                }
            }
            Phase::Open(_) | Phase::Closing(_) => self.on_frames(bytes, end, turn, &mut tell),
            Phase::Lingering if end && self.transport.outbox.is_empty() => self.end(turn),
            // A peer that ends its half may still read ours.
            Phase::Lingering => {}
            Phase::Connecting(_) | Phase::Ended if !end => {}
            _ => {
                self.reason.get_or_insert(CloseReason::Vanished);
                self.end(turn);
            }
        }
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self, turn: &mut Turn<'_>) {
        match self.transport.flush() {
            Ok(sent) => turn.counters.bytes_sent += sent as u64,
            Err(error) => return self.fail(&error, turn),
        }
        if self.transport.outbox.is_empty() {
            self.is_shedding = false;
            if matches!(self.phase, Phase::Lingering) {
                self.transport.end_writing();
                if self.transport.is_read_ended() {
                    self.end(turn);
                }
            }
        }
    }

    /// Queues a message. Returns whether the peer gets it, now or later.
    pub(crate) fn send(&mut self, outgoing: &mut Outgoing, turn: &mut Turn<'_>) -> bool {
        let Phase::Open(session) = &self.phase else {
            return false;
        };
        let frame = outgoing.frame_for(session.role());
        let bytes_max = turn.limits.outbox_bytes_max;
        match self
            .transport
            .outbox
            .push_data(frame, bytes_max, turn.slow_peer)
        {
            Pushed::Queued => {}
            Pushed::Dropped(count) => {
                turn.counters.messages_dropped += count as u64;
                if !mem::replace(&mut self.is_shedding, true) {
                    let (remote, pending) = (self.remote, self.pending_bytes());
                    log::warn!(
                        "peer {remote} reads too slowly: {pending} bytes wait, messages to it are dropped"
                    );
                }
            }
            Pushed::Overflow => {
                self.close(CloseReason::Slow(self.pending_bytes()), turn);
                return false;
            }
        }
        turn.counters.messages_sent += 1;
        true
    }

    /// Says why and starts to close; an upgrade under way is broken off.
    pub(crate) fn close(&mut self, reason: CloseReason, turn: &mut Turn<'_>) {
        match mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open(mut session) => {
                if let CloseReason::Slow(_) = reason {
                    // What waits would only be waited for longer; the Close tells that it is lost.
                    turn.counters.messages_dropped += self.transport.outbox.clear_unsent() as u64;
                }
                session.close(&reason, &mut self.transport.outbox);
                self.phase = Phase::Closing(session);
                self.set_deadline(Some(turn.now + turn.limits.close_timeout), turn);
            }
            Phase::Request(_) => {
                let refusal = Refusal::new(Status::Unavailable, "this node is stopping");
                self.answer(&refusal, true, turn);
            }
            phase @ (Phase::Closing(_) | Phase::Lingering) => self.phase = phase,
            Phase::Connecting(_) | Phase::Response(..) | Phase::Ended => self.end(turn),
        }
        self.reason.get_or_insert(reason);
    }

    /// The deadline has passed.
    pub(crate) fn on_deadline(&mut self, turn: &mut Turn<'_>) {
        self.deadline = None;
        match &self.phase {
            Phase::Open(_) => self.keep_alive(turn),
            Phase::Request(_) => {
                let refusal = Refusal::new(Status::RequestTimeout, "the request took too long");
                self.answer(&refusal, true, turn);
            }
            Phase::Connecting(_) | Phase::Response(..) => {
                let timeout = turn.limits.handshake_timeout;
                let step = if matches!(self.phase, Phase::Connecting(_)) {
                    "connection"
                } else {
                    "answer"
                };
                let reason = CloseReason::Failed(format!("no {step} within {timeout:?}"));
                self.reason.get_or_insert(reason);
                self.end(turn);
            }
            Phase::Closing(_) | Phase::Lingering | Phase::Ended => self.end(turn),
        }
    }

    /// Ends the connection without a word; for dials that are no longer needed.
    pub(crate) fn end(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Ended;
        self.set_deadline(None, turn);
    }

    pub(crate) fn fail(&mut self, error: &io::Error, turn: &mut Turn<'_>) {
        self.reason
            .get_or_insert_with(|| CloseReason::Failed(error.to_string()));
        self.end(turn);
    }

    fn set_deadline(&mut self, deadline: Option<Instant>, turn: &mut Turn<'_>) {
        turn.deadlines.set(self.token, &mut self.deadline, deadline);
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
            self.on_pong(&payload, turn.now);
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

    /// Both Closes are sent and received; it is the peer that ends the connection.
    fn await_end(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Open(session) = mem::replace(&mut self.phase, Phase::Ended) {
            self.phase = Phase::Closing(session);
            self.set_deadline(Some(turn.now + turn.limits.close_timeout), turn);
        }
    }

    fn answer(&mut self, refusal: &Refusal, with_body: bool, turn: &mut Turn<'_>) {
        turn.counters.requests_answered += 1;
        let reason = CloseReason::Failed(refusal.to_string());
        self.reason.get_or_insert(reason);
        self.transport
            .outbox
            .push_control(refusal.response(with_body, turn.id).into());
        self.linger(limits::LINGER_TIMEOUT, turn);
    }

    fn linger(&mut self, timeout: Duration, turn: &mut Turn<'_>) {
        self.phase = Phase::Lingering;
        self.set_deadline(Some(turn.now + timeout), turn);
    }

    /// Pings a peer that was silent for an interval, closes one that was for two.
    fn keep_alive(&mut self, turn: &mut Turn<'_>) {
        let Some(interval) = turn.limits.ping_interval else {
            return;
        };
        let Phase::Open(session) = &mut self.phase else {
            return;
        };
        let silence = turn.now.saturating_duration_since(self.received_at);
        if silence >= 2 * interval {
            let is_paused = self.transport.is_readable();
            let reason = if is_paused {
                CloseReason::Slow(self.pending_bytes())
            } else {
                CloseReason::Silent(silence.as_secs())
            };
            return self.close(reason, turn);
        }
        let next = if silence >= interval {
            self.pings = self.pings.wrapping_add(1);
            session.ping(self.pings.to_be_bytes(), &mut self.transport.outbox);
            self.pinged_at = Some(turn.now);
            turn.counters.pings_sent += 1;
            self.received_at + 2 * interval
        } else {
            self.received_at + interval
        };
        self.set_deadline(Some(next), turn);
    }

    fn on_pong(&mut self, payload: &Bytes, now: Instant) {
        if payload[..] == self.pings.to_be_bytes() {
            if let Some(pinged_at) = self.pinged_at.take() {
                let round_trip = now.saturating_duration_since(pinged_at);
                log::debug!("peer {} answered a ping after {round_trip:?}", self.remote);
                self.round_trip = Some(round_trip);
            }
        }
    }
}

/// Adds received bytes to what there is of a head, and returns it when it is worth a judgement. After
/// the first bytes that is when it ends or is too long: a head that comes byte by byte must not cost
/// its length each time.
fn gather<'a>(head: &mut Vec<u8>, bytes: &'a [u8], head_bytes_max: usize) -> Option<Cow<'a, [u8]>> {
    if head.is_empty() {
        return Some(Cow::Borrowed(bytes));
    }
    let seam = head.len().saturating_sub(3);
    head.extend_from_slice(bytes);
    let has_blank_line = head[seam..].windows(2).any(|pair| pair == b"\n\n")
        || head[seam..].windows(3).any(|triple| triple == b"\n\r\n");
    (has_blank_line || head.len() >= head_bytes_max).then(|| Cow::Owned(mem::take(head)))
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
