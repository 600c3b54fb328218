//! One connection, from the first packet to the last.
//!
//! Dialed: `Connecting → Response → Open → Closing → Lingering → Ended`, through a proxy
//! `ConnectingToProxy → Detour → Response → …`; accepted: the same from `Request` on, of some proxies from `Introduction` on. Any phase may go to `Ended` at once. What a connection knows it tells as [`Notice`]s;
//! whom it tells is not its business.

mod advancing;
mod holding;
#[cfg(any(test, fuzzing))]
mod inspection;
mod introducing;
mod pacing;
mod receiving;
mod sending;

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;

pub(crate) use self::advancing::Advance;
#[cfg(any(test, fuzzing))]
pub(crate) use self::inspection::{Inspection, Stage};
use self::introducing::Introduction;
pub(crate) use self::receiving::Portion;

use super::{
    Kind,
    access::{Access, Caller, Rights},
    admission::Admission,
    close::CloseReason,
    contexts::Contexts,
    dialer::DialId,
    frame,
    intake::Intake,
    keepalive::{Check, KeepAlive},
    kernel::Stream,
    memory::SharedFrames,
    session::Session,
    timer::Deadlines,
    tls::Encryption,
    token::Token,
    transport::Transport,
    tunnel::Tunnel,
    upgrade::{Dialing, Expected, Form, Refusal, Status},
};
use crate::{
    config::{Limits, SlowPeer, limits},
    counters::Counters,
    message::Message,
    node_id::NodeId,
    pages::Page,
};

/// What all connections share during one turn of the loop.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) limits: &'a Limits,
    pub(crate) slow_peer: SlowPeer,
    pub(crate) id: NodeId,
    pub(crate) access: &'a Access,
    pub(crate) admission: &'a mut Admission,
    pub(crate) deadlines: &'a mut Deadlines,
    pub(crate) contexts: &'a mut Contexts,
    pub(crate) frames: &'a SharedFrames,
    pub(crate) intake: &'a mut Intake,
    pub(crate) counters: &'a mut Counters,
}

/// What a connection has to tell.
#[derive(Debug)]
pub(crate) enum Notice {
    /// TCP is connected; only of dialed connections.
    Connected,
    /// The upgrade is done.
    Opened,
    Message(Message),
    /// A page is asked for, whole or its head only.
    Asked(Page, Form),
    /// Messages to a slow peer begin to be dropped, while so many bytes wait.
    Sheds(usize),
}

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Accepted,
    /// Accepted only to hear that there is no room.
    Refused,
    /// Opened for the dialer.
    Dialed(DialId),
    /// Opened for the owner of the network, who is told how it goes.
    Client,
    /// Accepted to look at what the node does; `is_local`: only this machine can.
    Status {
        is_local: bool,
    },
}

/// How a dialed connection leads to where it is to lead.
#[derive(Debug)]
pub(crate) struct Way {
    /// Through a proxy, which is asked first.
    pub(crate) tunnel: Option<Tunnel>,
    /// From the other end on.
    pub(crate) encryption: Option<Box<Encryption>>,
}

/// A proxy is being asked, and what follows then.
#[derive(Debug)]
struct Detour {
    tunnel: Tunnel,
    encryption: Option<Box<Encryption>>,
    dialing: Dialing,
}

/// What only few connections have, or not for long, is boxed: all pay for the largest.
#[derive(Debug)]
enum Phase {
    Connecting(Box<Dialing>),
    ConnectingToProxy(Box<Detour>),
    /// A proxy has been asked.
    Detour(Box<Detour>),
    /// A proxy says whose it is.
    Introduction(Box<Introduction>),
    /// What was received of a request head.
    Request(Vec<u8>),
    /// What was received of a response head, and what it is judged by.
    Response(Vec<u8>, Box<Expected>),
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
    /// A proxy has opened it, and has not said yet whom it asks for.
    is_of_proxy: bool,
    phase: Phase,
    transport: Transport,
    /// The path of the upgrade request, unless it is the plain `/`.
    path: Option<Box<str>>,
    deadline: Option<Instant>,
    keep_alive: KeepAlive,
    /// Not to be read until then, while it is open.
    held_until: Option<Instant>,
    reason: Option<CloseReason>,
    /// What the upgrade has made of it.
    kind: Kind,
    rights: Rights,
    /// Its place in its channel, kept by the network.
    pub(crate) place: u32,
    /// Whether the upgrade was ever done.
    was_open: bool,
    /// The peer did not answer our Close in time.
    is_unanswered: bool,
    /// What of its pending bytes is counted in those of all.
    counted_pending_bytes: usize,
    /// Messages are being dropped since the outbox was last empty.
    is_shedding: bool,
    /// What of [`Self::own_bytes`] is noted, kept by the network.
    pub(crate) noted_bytes: usize,
    /// Noted for the flush at the end of the turn.
    pub(crate) is_noted_to_flush: bool,
    /// Noted to be read when its turn comes.
    pub(crate) is_noted_to_read: bool,
    /// Whether its TLS handshake may be answered, kept by the network.
    pub(crate) advance: Advance,
}

impl Connection {
    pub(crate) fn accepted(
        token: Token,
        side: Side,
        stream: Stream,
        encryption: Option<Box<Encryption>>,
        remote: SocketAddr,
        caller: Caller,
        turn: &mut Turn<'_>,
    ) -> Self {
        let (phase, encryption) = match caller {
            Caller::Itself | Caller::Forwarded => (Phase::Request(Vec::new()), encryption),
            Caller::Introduced => {
                let introduction = Introduction::new(encryption);
                (Phase::Introduction(Box::new(introduction)), None)
            }
        };
        let timeout = turn.limits.handshake_timeout;
        let transport = Transport::new(stream, encryption);
        Self {
            is_of_proxy: caller != Caller::Itself,
            ..Self::new(token, side, transport, remote, phase, timeout, turn)
        }
    }

    /// An accepted connection that only hears `refusal`, in clear.
    pub(crate) fn refused(
        token: Token,
        stream: Stream,
        remote: SocketAddr,
        refusal: Bytes,
        turn: &mut Turn<'_>,
    ) -> Self {
        let timeout = limits::LINGER_TIMEOUT;
        let mut transport = Transport::new(stream, None);
        transport.outbox.push_control(refusal);
        let phase = Phase::Lingering;
        Self::new(
            token,
            Side::Refused,
            transport,
            remote,
            phase,
            timeout,
            turn,
        )
    }

    pub(crate) fn outbound(
        token: Token,
        side: Side,
        stream: Stream,
        way: Way,
        remote: SocketAddr,
        dialing: Dialing,
        turn: &mut Turn<'_>,
    ) -> Self {
        let Way { tunnel, encryption } = way;
        let (phase, encryption) = match tunnel {
            None => (Phase::Connecting(Box::new(dialing)), encryption),
            Some(tunnel) => {
                let detour = Detour {
                    tunnel,
                    encryption,
                    dialing,
                };
                (Phase::ConnectingToProxy(Box::new(detour)), None)
            }
        };
        let timeout = turn.limits.handshake_timeout;
        let transport = Transport::new(stream, encryption);
        Self::new(token, side, transport, remote, phase, timeout, turn)
    }

    fn new(
        token: Token,
        side: Side,
        transport: Transport,
        remote: SocketAddr,
        phase: Phase,
        timeout: Duration,
        turn: &mut Turn<'_>,
    ) -> Self {
        let mut connection = Self {
            token,
            side,
            remote,
            is_of_proxy: false,
            phase,
            transport,
            path: None,
            deadline: None,
            keep_alive: KeepAlive::new(turn.now),
            held_until: None,
            reason: None,
            kind: Kind::Plain,
            rights: Rights::ALL,
            place: 0,
            was_open: false,
            is_unanswered: false,
            counted_pending_bytes: 0,
            is_shedding: false,
            noted_bytes: 0,
            is_noted_to_flush: false,
            is_noted_to_read: false,
            advance: Advance::Unasked,
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

    /// Where it comes from or leads to: its other end, or that of the client that a trusted proxy asks for.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The address that an accepted one counts for; `None` where a proxy has not said whom it asks for.
    pub(crate) fn counts_for(&self) -> Option<IpAddr> {
        (!self.is_of_proxy).then(|| self.remote.ip())
    }

    /// What the peer is, once the upgrade is done.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Path of the upgrade request, which is the channel.
    pub(crate) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/")
    }

    /// What the token that it was let in with allows it; without one, and to who was dialed, everything.
    pub(crate) fn rights(&self) -> Rights {
        self.rights
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        self.transport.stream()
    }

    /// How long the peer took to answer the last ping.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.keep_alive.round_trip()
    }

    /// Bytes that are still to be sent.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.transport.outbox.pending_bytes()
    }

    /// Brings what waits for all peers up to date with what waits for this one.
    pub(crate) fn count_pending(&mut self, counters: &mut Counters) {
        self.count_as_pending(self.pending_bytes(), counters);
    }

    /// It is gone, and what waited for it.
    pub(crate) fn forget_pending(&mut self, counters: &mut Counters) {
        self.count_as_pending(0, counters);
    }

    fn count_as_pending(&mut self, bytes: usize, counters: &mut Counters) {
        let before = mem::replace(&mut self.counted_pending_bytes, bytes);
        if before != bytes {
            counters.outbox_bytes = counters.outbox_bytes + bytes as u64 - before as u64;
            let is_waiting = u64::from(bytes > 0);
            counters.peers_waiting = counters.peers_waiting + is_waiting - u64::from(before > 0);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// TCP is not connected yet.
    fn is_connecting(&self) -> bool {
        matches!(
            self.phase,
            Phase::Connecting(_) | Phase::ConnectingToProxy(_)
        )
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Accepted, admitted, and neither upgraded nor answered yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        let is_under_way = matches!(self.phase, Phase::Request(_) | Phase::Introduction(_));
        self.side == Side::Accepted && is_under_way
    }

    pub(crate) fn is_unanswered(&self) -> bool {
        self.is_unanswered
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
        let is_connected = !self.is_connecting() && !self.is_ended();
        let is_wanted = self.transport.has_pending() || is_final;
        is_connected && is_wanted && self.transport.is_writable()
    }

    /// Whether there may be something to receive, and it should be.
    pub(crate) fn wants_to_read(&self, limits: &Limits) -> bool {
        let is_connected = !self.is_connecting() && !self.is_ended();
        self.transport.is_readable() && is_connected && !self.is_paused(limits) && !self.is_held()
    }

    /// A peer that takes no answers is asked for no more questions.
    fn is_paused(&self, limits: &Limits) -> bool {
        let answer_bytes = self.transport.outbox.answer_bytes();
        self.is_open()
            && !self.transport.has_failed()
            && answer_bytes > limits::high_water_bytes(limits.outbox_bytes_max)
    }

    /// The poll says that there is something to receive, or with `is_end` that an end or an error is.
    pub(crate) fn on_readable(&mut self, is_end: bool) {
        self.transport.set_readable(is_end);
    }

    /// Says why and starts to close; an upgrade under way is broken off.
    pub(crate) fn close(&mut self, reason: CloseReason, turn: &mut Turn<'_>) {
        match mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open(mut session) => {
                if let CloseReason::Slow(_) = reason {
                    // What waits would only be waited for longer; the Close tells that it is lost.
                    turn.counters.messages_dropped += self.transport.outbox.clear() as u64;
                }
                session.close(&reason, &mut self.transport.outbox, turn.contexts);
                self.phase = Phase::Closing(session);
                self.set_deadline(Some(turn.now + turn.limits.close_timeout), turn);
            }
            // There is no way yet to say it.
            Phase::Request(_) if self.transport.is_handshaking() => self.end(turn),
            Phase::Request(_) => {
                let refusal = Refusal::new(Status::Unavailable, "this node is stopping");
                self.answer(&refusal, Form::Whole, turn);
            }
            phase @ (Phase::Closing(_) | Phase::Lingering) => self.phase = phase,
            Phase::Connecting(_)
            | Phase::ConnectingToProxy(_)
            | Phase::Detour(_)
            | Phase::Introduction(_)
            | Phase::Response(..)
            | Phase::Ended => self.end(turn),
        }
        self.reason.get_or_insert(reason);
    }

    /// The deadline has passed.
    pub(crate) fn on_deadline(&mut self, turn: &mut Turn<'_>) {
        self.deadline = None;
        match &self.phase {
            Phase::Open(_) => {
                self.resume(turn);
                self.check_alive(turn);
            }
            Phase::Request(_) | Phase::Response(..) if self.transport.is_handshaking() => {
                let timeout = turn.limits.handshake_timeout;
                let reason = CloseReason::Failed(format!("no TLS handshake within {timeout:?}"));
                self.reason.get_or_insert(reason);
                self.end(turn);
            }
            Phase::Request(_) => {
                let refusal = Refusal::new(Status::RequestTimeout, "the request took too long");
                self.answer(&refusal, Form::Whole, turn);
            }
            Phase::Connecting(_)
            | Phase::ConnectingToProxy(_)
            | Phase::Detour(_)
            | Phase::Introduction(_)
            | Phase::Response(..) => {
                let timeout = turn.limits.handshake_timeout;
                let step = match &self.phase {
                    Phase::Detour(_) => "answer of the proxy",
                    Phase::Introduction(_) => "header of the PROXY protocol",
                    Phase::Response(..) => "answer",
                    _ => "connection",
                };
                let reason = CloseReason::Failed(format!("no {step} within {timeout:?}"));
                self.reason.get_or_insert(reason);
                self.end(turn);
            }
            Phase::Closing(_) => {
                self.is_unanswered = true;
                self.end(turn);
            }
            Phase::Lingering | Phase::Ended => self.end(turn),
        }
    }

    /// Ends the connection without a word but that of TLS; for dials that are no longer needed.
    pub(crate) fn end(&mut self, turn: &mut Turn<'_>) {
        if self.transport.outbox.is_empty() && !self.transport.has_failed() && !self.is_ended() {
            self.transport.end_encryption();
        }
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

    fn answer(&mut self, refusal: &Refusal, form: Form, turn: &mut Turn<'_>) {
        turn.counters.requests_answered += 1;
        let text = refusal.to_string();
        let reason = match refusal.status {
            Status::Unauthorized | Status::Forbidden => {
                turn.counters.refused_access += 1;
                CloseReason::Denied(text)
            }
            Status::TooManyRequests => {
                turn.counters.refused_per_address += 1;
                CloseReason::Denied(text)
            }
            _ => CloseReason::Answered(text),
        };
        self.reason.get_or_insert(reason);
        self.transport
            .outbox
            .push_control(refusal.response(form, turn.id).into());
        self.linger(limits::LINGER_TIMEOUT, turn);
    }

    /// Says why and ends: a message under way goes with the session, and what still comes is discarded.
    fn break_off(&mut self, reason: CloseReason, turn: &mut Turn<'_>) {
        if let Phase::Open(session) = &mut self.phase {
            session.close(&reason, &mut self.transport.outbox, turn.contexts);
            self.reason.get_or_insert(reason);
            self.linger(turn.limits.close_timeout, turn);
        }
    }

    /// Answers who has asked for a page.
    pub(crate) fn reply(&mut self, answer: Bytes, turn: &mut Turn<'_>) {
        turn.counters.requests_answered += 1;
        self.transport.outbox.push_control(answer);
        self.linger(turn.limits.handshake_timeout, turn);
    }

    fn linger(&mut self, timeout: Duration, turn: &mut Turn<'_>) {
        self.phase = Phase::Lingering;
        self.set_deadline(Some(turn.now + timeout), turn);
    }

    fn check_alive(&mut self, turn: &mut Turn<'_>) {
        let Some(interval) = turn.limits.ping_interval else {
            return self.set_open_deadline(None, turn);
        };
        let Phase::Open(session) = &self.phase else {
            return;
        };
        let next = match self.keep_alive.check(turn.now, interval) {
            Check::Wait(next) => next,
            Check::Ping(payload, next) => {
                let ping = frame::ping(payload, session.role());
                self.transport.outbox.push_urgent(ping);
                turn.counters.pings_sent += 1;
                next
            }
            // Nothing was received because nothing was read: the peer takes no answers.
            Check::Dead(_) if self.is_paused(turn.limits) => {
                return self.close(CloseReason::Slow(self.pending_bytes()), turn);
            }
            // Something is there, but its turn to be read has not come yet.
            Check::Dead(_) if self.transport.is_readable() || self.is_held() => turn.now + interval,
            Check::Dead(silence) => {
                return self.close(CloseReason::Silent(silence), turn);
            }
        };
        self.set_open_deadline(Some(next), turn);
    }
}
