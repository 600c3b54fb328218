//! The connections of a node: who is read, who is flushed, who is gone. Whom to admit stands in
//! `inbound`, whom to dial in `outbound`.

use std::{collections::VecDeque, io, mem, net::SocketAddr, sync::Arc, time::Instant};

use mio::{Interest, Registry, Waker, net::TcpListener};
use rand::{SeedableRng, rngs::SmallRng};
use slab::Slab;

use super::{
    CloseReason, Event, Outgoing, PeerName, Source, Token,
    admission::Admission,
    connection::{Connection, Notice, Side, Turn},
    dialer::Dialer,
    listener::Listeners,
    resolver::Resolver,
    timer::Deadlines,
    token::Generation,
    upgrade::NodeId,
};
use crate::{
    config::{Config, Limits, SlowPeer, limits},
    counters::Counters,
};

/// What all connections need during a turn, kept apart from the connections themselves.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    slow_peer: SlowPeer,
    pub(super) id: NodeId,
    deadlines: Deadlines,
    pub(super) counters: Counters,
}

impl Shared {
    fn turn(&mut self, now: Instant) -> Turn<'_> {
        Turn {
            now,
            limits: &self.limits,
            slow_peer: self.slow_peer,
            id: self.id,
            deadlines: &mut self.deadlines,
            counters: &mut self.counters,
        }
    }
}

/// Connections that something is still to be done with in this turn or the next.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    to_read: VecDeque<Token>,
    to_flush: Vec<Token>,
    ended: Vec<Token>,
}

impl Agenda {
    /// Notes what a connection wants after something happened to it.
    fn note(&mut self, connection: &mut Connection, was_ended: bool, limits: &Limits) {
        if connection.is_ended() {
            if !was_ended {
                self.ended.push(connection.token());
            }
            return;
        }
        if connection.wants_to_write() && !mem::replace(&mut connection.is_dirty, true) {
            self.to_flush.push(connection.token());
        }
        if connection.wants_to_read(limits) && !mem::replace(&mut connection.is_ready, true) {
            self.to_read.push_back(connection.token());
        }
    }
}

/// All connections of a node, accepted and dialed.
#[derive(Debug)]
pub(crate) struct Network {
    pub(super) registry: Registry,
    pub(super) shared: Shared,
    pub(super) connections: Slab<Connection>,
    pub(super) generation: Generation,
    pub(super) agenda: Agenda,
    /// What is received goes through here, one connection after the other.
    pub(super) buffer: Box<[u8]>,
    pub(super) listeners: Listeners,
    pub(super) admission: Admission,
    pub(super) refusals: usize,
    pub(super) handshaking: usize,
    pub(super) dialer: Dialer,
    pub(super) resolver: Resolver,
    pub(super) rng: SmallRng,
}

impl Network {
    pub(crate) fn new(config: &Config, registry: Registry, waker: Arc<Waker>) -> Self {
        let limits = config.limits.clone();
        Self {
            registry,
            connections: Slab::new(),
            generation: Generation::FIRST,
            agenda: Agenda::default(),
            buffer: vec![0; limits::READ_BUFFER_BYTES].into(),
            listeners: Listeners::default(),
            admission: Admission::new(
                limits.connections_max,
                limits.connections_per_address_max,
                limits.handshakes_max,
            ),
            refusals: 0,
            handshaking: 0,
            dialer: Dialer::new(&config.peers, &limits),
            resolver: Resolver::new(waker),
            rng: SmallRng::from_rng(&mut rand::rng()),
            shared: Shared {
                limits,
                slow_peer: config.slow_peer,
                id: NodeId::random(),
                deadlines: Deadlines::default(),
                counters: Counters::default(),
            },
        }
    }

    /// Accepts from a listening socket from now on. Returns its address.
    pub(crate) fn add_listener(&mut self, mut socket: TcpListener) -> io::Result<SocketAddr> {
        let source = Source::Listener(self.listeners.addresses().count());
        self.registry
            .register(&mut socket, source.into(), Interest::READABLE)?;
        self.listeners.add(socket)
    }

    pub(crate) fn listening_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses().collect()
    }

    pub(crate) fn counters(&mut self) -> &mut Counters {
        &mut self.shared.counters
    }

    /// Sockets held, whatever their phase.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether something is to be done without waiting.
    pub(crate) fn has_work(&self) -> bool {
        !self.agenda.to_read.is_empty() || self.listeners.is_pending()
    }

    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let deadlines = [
            self.shared.deadlines.next(),
            self.listeners.next_deadline(),
            self.dialer.next_deadline(now),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Name and path of a peer; `None` once it is gone.
    pub(crate) fn describe(&self, peer: Token) -> Option<(PeerName<'_>, &str)> {
        let connection = self
            .connections
            .get(peer.slot())
            .filter(|c| c.token() == peer)?;
        Some((
            name_of(connection, &self.dialer),
            match connection.side() {
                Side::Dialed(index) => self.dialer.url(index).path(),
                Side::Accepted | Side::Refused => connection.path(),
            },
        ))
    }

    /// The poll says that a listening socket is ready.
    pub(crate) fn on_listener_ready(&mut self, index: usize) {
        self.listeners.on_ready(index);
    }

    /// The poll says that the socket of a connection is ready.
    pub(crate) fn on_connection_ready(
        &mut self,
        token: Token,
        event: &mio::event::Event,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        let is_end = event.is_read_closed() || event.is_error();
        let (is_readable, is_writable) = (event.is_readable(), event.is_writable());
        self.with(token, now, events, |connection, _, turn, tell| {
            if is_writable || is_end {
                connection.on_writable(turn, tell);
            }
            if is_readable || is_end {
                connection.on_readable(is_end);
            }
        });
    }

    /// How many connections wait to be read.
    pub(crate) fn ready_count(&self) -> usize {
        self.agenda.to_read.len()
    }

    /// Receives once from the connection that has waited longest. Returns how many bytes came.
    pub(crate) fn read_next(&mut self, now: Instant, events: &mut Vec<Event>) -> usize {
        let Some(token) = self.agenda.to_read.pop_front() else {
            return 0;
        };
        let mut received = 0;
        self.with(token, now, events, |connection, buffer, turn, tell| {
            connection.is_ready = false;
            if connection.wants_to_read(turn.limits) {
                received = connection.read(buffer, turn, tell);
            }
        });
        received
    }

    /// Does what is due: deadlines of connections, and dialing.
    pub(crate) fn expire(&mut self, now: Instant, events: &mut Vec<Event>) {
        while let Some(token) = self.shared.deadlines.pop_due(now) {
            self.with(token, now, events, |connection, _, turn, _| {
                connection.on_deadline(turn)
            });
        }
        self.dial(now);
    }

    /// Queues a message for one peer.
    pub(crate) fn send(
        &mut self,
        peer: Token,
        outgoing: &mut Outgoing,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        self.with(peer, now, events, |connection, _, turn, _| {
            connection.send(outgoing, turn);
        });
    }

    /// Queues messages, the same for all, for every connected peer. Returns how many peers there are.
    pub(crate) fn send_to_all(&mut self, now: Instant, messages: &mut [Outgoing]) -> usize {
        self.for_each_open(now, |_, connection, turn| {
            for message in &mut *messages {
                connection.send(message, turn);
            }
        })
    }

    /// Queues a message of its own for every connected peer: `message` gets the peer's index among
    /// them, from 0. Returns how many peers there are.
    pub(crate) fn send_to_each(
        &mut self,
        now: Instant,
        mut message: impl FnMut(usize) -> Outgoing,
    ) -> usize {
        self.for_each_open(now, |index, connection, turn| {
            connection.send(&mut message(index), turn);
        })
    }

    fn for_each_open(
        &mut self,
        now: Instant,
        mut act: impl FnMut(usize, &mut Connection, &mut Turn<'_>),
    ) -> usize {
        let mut turn = self.shared.turn(now);
        let open = self
            .connections
            .iter_mut()
            .map(|(_, connection)| connection);
        let mut count = 0;
        for connection in open.filter(|connection| connection.is_open()) {
            act(count, connection, &mut turn);
            self.agenda.note(connection, false, turn.limits);
            count += 1;
        }
        count
    }

    /// Accepts and dials nobody any more, and closes every connection with 1001.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.listeners.close();
        self.dialer.stop();
        for (_, connection) in &mut self.connections {
            let (was_ended, was_handshaking) = (connection.is_ended(), connection.is_handshaking());
            connection.close(CloseReason::Shutdown, &mut self.shared.turn(now));
            self.handshaking -= usize::from(was_handshaking);
            self.agenda.note(connection, was_ended, &self.shared.limits);
        }
    }

    /// Ends the turn: sends what was queued and frees the slots of connections that have ended.
    pub(crate) fn flush(&mut self, now: Instant, events: &mut Vec<Event>) {
        let mut to_flush = mem::take(&mut self.agenda.to_flush);
        for token in to_flush.drain(..) {
            self.with(token, now, events, |connection, _, turn, _| {
                connection.is_dirty = false;
                connection.flush(turn);
            });
        }
        if self.agenda.to_flush.is_empty() {
            self.agenda.to_flush = to_flush;
        }
        while let Some(token) = self.agenda.ended.pop() {
            self.remove(token, now, events);
        }
        self.shared.counters.connections = self.connections.len() as u64;
    }

    /// Takes a new connection in and hands it to the poll.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        make: impl FnOnce(Token, &mut Turn<'_>) -> Connection,
    ) -> Token {
        let entry = self.connections.vacant_entry();
        let token = Token::new(entry.key(), self.generation);
        self.generation = self.generation.next();
        let mut connection = make(token, &mut self.shared.turn(now));
        let interest = Interest::READABLE | Interest::WRITABLE;
        let source = Source::Connection(token).into();
        if let Err(error) = self
            .registry
            .register(connection.stream(), source, interest)
        {
            connection.fail(&error, &mut self.shared.turn(now));
        }
        self.handshaking += usize::from(connection.is_handshaking());
        self.agenda
            .note(&mut connection, false, &self.shared.limits);
        entry.insert(connection);
        token
    }

    /// Ends a connection without a word.
    pub(super) fn end(&mut self, token: Token, now: Instant) {
        self.with(token, now, &mut Vec::new(), |connection, _, turn, _| {
            connection.end(turn)
        });
    }

    /// Lets something happen to a connection, if it is still there, and sees to what follows from it.
    fn with(
        &mut self,
        token: Token,
        now: Instant,
        events: &mut Vec<Event>,
        act: impl FnOnce(&mut Connection, &mut [u8], &mut Turn<'_>, &mut dyn FnMut(Notice)),
    ) {
        let Some(connection) = self
            .connections
            .get_mut(token.slot())
            .filter(|c| c.token() == token)
        else {
            return;
        };
        let (was_ended, was_handshaking) = (connection.is_ended(), connection.is_handshaking());
        let mut progress = None;
        let mut tell = |notice| match notice {
            Notice::Message(message) => events.push(Event::Message(token, message)),
            notice => {
                if let Notice::Opened = notice {
                    events.push(Event::Opened(token));
                }
                progress = Some(notice);
            }
        };
        act(
            connection,
            &mut self.buffer,
            &mut self.shared.turn(now),
            &mut tell,
        );
        self.handshaking -= usize::from(was_handshaking && !connection.is_handshaking());
        self.agenda.note(connection, was_ended, &self.shared.limits);
        let Some(progress) = progress else { return };
        let side = connection.side();
        if let Notice::Opened = progress {
            self.shared.counters.opened += 1;
            self.shared.counters.peers += 1;
        }
        if let Side::Dialed(peer) = side {
            self.on_dial_progress(peer, token, &progress, now);
        }
    }

    /// Frees the slot of a connection that has ended.
    fn remove(&mut self, token: Token, now: Instant, events: &mut Vec<Event>) {
        let connection = self.connections.remove(token.slot());
        debug_assert_eq!(connection.token(), token);
        self.listeners.on_descriptor_freed(now);
        let reason = connection
            .reason()
            .cloned()
            .unwrap_or(CloseReason::Vanished);
        if connection.was_open() {
            self.count_closed(&reason);
            events.push(Event::Closed {
                name: name_of(&connection, &self.dialer).to_string(),
                reason,
                round_trip: connection.round_trip(),
            });
        }
        match connection.side() {
            Side::Accepted => self.on_accepted_gone(&connection),
            Side::Refused => self.refusals -= 1,
            Side::Dialed(peer) => self.on_dialed_gone(peer, &connection, now),
        }
    }

    fn count_closed(&mut self, reason: &CloseReason) {
        let counters = &mut self.shared.counters;
        counters.peers -= 1;
        counters.closed += 1;
        match reason {
            CloseReason::Slow(_) => counters.closed_slow += 1,
            CloseReason::Silent(_) => counters.closed_silent += 1,
            CloseReason::Protocol(_) | CloseReason::NotUtf8 | CloseReason::TooBig(_) => {
                counters.closed_protocol += 1;
            }
            _ => {}
        }
    }
}

fn name_of<'a>(connection: &Connection, dialer: &'a Dialer) -> PeerName<'a> {
    match connection.side() {
        Side::Dialed(peer) => PeerName::Dialed(dialer.url(peer)),
        Side::Accepted | Side::Refused => PeerName::Accepted(connection.remote()),
    }
}
