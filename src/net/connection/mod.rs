//! One connection, from the first packet to the last.
//!
//! Dialed: `Connecting → Response → Open → Closing → Lingering → Ended`; accepted: the same from
//! `Request` on. Any phase may go to `Ended` at once. What a connection knows it tells as [`Notice`]s;
//! whom it tells is not its business.

mod receiving;

use std::{
    io, mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::net::TcpStream;

use super::{
    close::CloseReason,
    frame::Outgoing,
    keepalive::{Check, KeepAlive},
    outbox::Pushed,
    session::{Role, Session},
    timer::Deadlines,
    token::Token,
    transport::Transport,
    upgrade::{Dialing, NodeId, Refusal, Status},
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
    keep_alive: KeepAlive,
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
            keep_alive: KeepAlive::new(turn.now),
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

    /// How long the peer took to answer the last ping.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.keep_alive.round_trip()
    }

    fn pending_bytes(&self) -> usize {
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
        let held_bytes = self.transport.outbox.held_bytes();
        let is_paused =
            self.is_open() && held_bytes > limits::high_water_bytes(limits.outbox_bytes_max);
        let is_connected = !matches!(self.phase, Phase::Connecting(_) | Phase::Ended);
        self.transport.is_readable() && is_connected && !is_paused
    }

    /// The poll says that there is something to receive, or with `is_end` that an end or an error is.
    pub(crate) fn on_readable(&mut self, is_end: bool) {
        self.transport.set_readable(is_end);
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
        if !self.is_open() && !self.may_still_answer() {
            return false;
        }
        let frame = outgoing.frame_for(match self.side {
            Side::Dialed(_) => Role::Client,
            Side::Accepted | Side::Refused => Role::Server,
        });
        let bytes_max = turn.limits.outbox_bytes_max;
        match self
            .transport
            .outbox
            .push_data(frame, bytes_max, turn.slow_peer)
        {
            Pushed::Queued => {}
            Pushed::Displaced(count) => self.on_dropped(count, turn),
            Pushed::Dropped(count) => {
                self.on_dropped(count, turn);
                return false;
            }
            Pushed::Overflow => {
                turn.counters.messages_dropped += 1;
                self.close(CloseReason::Slow(self.pending_bytes()), turn);
                return false;
            }
        }
        turn.counters.messages_sent += 1;
        true
    }

    /// Counts messages that were dropped for a slow peer; tells of it once until it has caught up.
    fn on_dropped(&mut self, count: usize, turn: &mut Turn<'_>) {
        turn.counters.messages_dropped += count as u64;
        if !mem::replace(&mut self.is_shedding, true) {
            let (remote, pending) = (self.remote, self.pending_bytes());
            log::warn!(
                "peer {remote} reads too slowly: {pending} bytes wait, messages to it are dropped"
            );
        }
    }

    /// Whether what the peer sent before it ended the session can still be answered: it was received
    /// together with that end, and our Close has not gone out.
    fn may_still_answer(&self) -> bool {
        let is_ended_by_peer = matches!(
            self.reason,
            Some(
                CloseReason::ByPeer(..)
                    | CloseReason::Protocol(_)
                    | CloseReason::NotUtf8
                    | CloseReason::TooBig(_)
            )
        );
        is_ended_by_peer && self.transport.outbox.has_unsent_close()
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
            Phase::Open(_) => self.check_alive(turn),
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

    fn check_alive(&mut self, turn: &mut Turn<'_>) {
        let Some(interval) = turn.limits.ping_interval else {
            return;
        };
        let Phase::Open(session) = &mut self.phase else {
            return;
        };
        let next = match self.keep_alive.check(turn.now, interval) {
            Check::Wait(next) => next,
            Check::Ping(payload, next) => {
                session.ping(payload, &mut self.transport.outbox);
                turn.counters.pings_sent += 1;
                next
            }
            // Nothing was received because nothing was read: the peer does not take our answers.
            Check::Dead(_) if self.transport.is_readable() => {
                return self.close(CloseReason::Slow(self.pending_bytes()), turn);
            }
            Check::Dead(silence) => {
                return self.close(CloseReason::Silent(silence.as_secs()), turn);
            }
        };
        self.set_deadline(Some(next), turn);
    }
}
