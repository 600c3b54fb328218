//! The connections of a node, and what follows from what happens to one. Whom to admit stands in `inbound`, whom to
//! dial in `outbound`, whom to read in `reading`, what to send to whom in `sending`, how they end in `ending`.

use std::{collections::VecDeque, io, mem, net::SocketAddr, sync::Arc, time::Instant};

use mio::Waker;
use rand::rngs::SmallRng;
use slab::Slab;

use super::{
    CloseReason, Event, Kernel, Kind, PeerName, Source, Token,
    agenda::Agenda,
    arrivals::Unfinished,
    channels::Channels,
    connection::{Advance, Connection, Notice, Side, Turn},
    dialer::Dialer,
    kernel::Listener,
    listener::{Entrance, Listeners},
    names::Names,
    reading::Reading,
    resolver::Resolver,
    sending::{channel_of, has_channel, warn_shedding},
    shared::Shared,
    spread::Spread,
    tls,
    token::Generation,
};
use crate::{
    config::{Config, PeerUrl, ProxyUrl, limits},
    counters::Counters,
    node_id::NodeId,
};

/// What a connection was before something happened to it.
struct Before {
    was_ended: bool,
    was_handshaking: bool,
}

impl Before {
    fn of(connection: &Connection) -> Self {
        Self {
            was_ended: connection.is_ended(),
            was_handshaking: connection.is_handshaking(),
        }
    }
}

/// All connections of a node, accepted and dialed.
#[derive(Debug)]
pub(crate) struct Network {
    pub(super) kernel: Kernel,
    pub(super) shared: Shared,
    pub(super) connections: Slab<Connection>,
    generation: Generation,
    /// The plain peers, open or closing, by slot.
    pub(super) channels: Channels,
    pub(super) agenda: Agenda,
    pub(super) unfinished: Unfinished,
    /// What is received goes through here, one connection after the other.
    buffer: Box<[u8]>,
    pub(super) reading: Reading,
    /// What the node is still to be told.
    pub(super) events: VecDeque<Event>,
    pub(super) listeners: Listeners,
    pub(super) refusals: usize,
    pub(super) status_connections: usize,
    pub(super) refusals_max: usize,
    pub(super) tls: tls::Settings,
    pub(super) dialer: Dialer,
    /// Who is configured by URL, and who by name.
    pub(super) configured: Vec<PeerUrl>,
    pub(super) names: Names,
    pub(super) resolver: Resolver,
    /// Why connections are closed when the node goes, and those whose time comes by and by.
    pub(super) farewell: CloseReason,
    pub(super) leaving: Spread,
    pub(super) rng: SmallRng,
}

impl Network {
    /// At most `refusals_max` connections are kept until they have read why they are refused.
    pub(crate) fn new(
        config: &Config,
        id: NodeId,
        refusals_max: usize,
        kernel: Kernel,
        waker: Arc<Waker>,
        rng: SmallRng,
    ) -> Self {
        Self {
            kernel,
            connections: Slab::new(),
            generation: Generation::FIRST,
            channels: Channels::default(),
            agenda: Agenda::default(),
            unfinished: Unfinished::default(),
            buffer: vec![0; limits::READ_BUFFER_BYTES].into(),
            reading: Reading::default(),
            events: VecDeque::new(),
            listeners: Listeners::default(),
            refusals: 0,
            status_connections: 0,
            refusals_max,
            tls: tls::Settings::new(config.tls.clone()),
            dialer: Dialer::new(&config.peers, &config.proxies, &config.limits),
            configured: config.peers.clone(),
            names: Names::new(&config.limits),
            resolver: Resolver::new(waker),
            farewell: CloseReason::going(config),
            leaving: Spread::default(),
            rng,
            shared: Shared::new(config, id),
        }
    }

    /// Whether everybody who reaches one of the listeners from another machine may come in.
    pub(crate) fn is_open_to_all(&self) -> bool {
        let mut listeners = self.listeners.addresses(Entrance::Peers);
        listeners.any(|(address, is_tls)| {
            let wants_certificate = is_tls && self.tls.wants_client_certificates();
            self.shared.access.is_open(address.ip(), wants_certificate)
        })
    }

    /// What listening sockets are opened by.
    pub(crate) fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    pub(crate) fn tls(&self) -> &tls::Settings {
        &self.tls
    }

    /// The proxies that peers are dialed through.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = &ProxyUrl> {
        self.dialer.proxies()
    }

    /// Accepts from a listening socket from now on. Returns its address. With TLS only after
    /// [`Self::load_files`].
    pub(crate) fn add_listener(
        &mut self,
        mut socket: Listener,
        is_tls: bool,
        entrance: Entrance,
    ) -> io::Result<SocketAddr> {
        let source = Source::Listener(self.listeners.count());
        self.kernel.watch_listener(&mut socket, source)?;
        self.listeners.add(socket, is_tls, entrance)
    }

    /// Where it listens for peers or for those who look at it, and whether TLS is spoken there.
    pub(crate) fn listening_addresses(&self, entrance: Entrance) -> Vec<(SocketAddr, bool)> {
        self.listeners.addresses(entrance).collect()
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
        !self.agenda.is_empty() || self.listeners.is_pending()
    }

    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let deadlines = [
            self.shared.next_deadline(),
            self.listeners.next_deadline(),
            self.dialer.next_deadline(now),
            self.names.next_deadline(),
            self.leaving.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn connection(&self, token: Token) -> Option<&Connection> {
        let connection = self.connections.get(token.slot());
        connection.filter(|connection| connection.token() == token)
    }

    /// The poll says that a listening socket is ready.
    pub(crate) fn on_listener_ready(&mut self, index: usize) {
        self.listeners.on_ready(index);
    }

    /// Something that the node is to be told; call until there is nothing left.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Does what is due: deadlines of connections, those that are to go, and dialing.
    pub(crate) fn expire(&mut self, now: Instant) {
        for _ in 0..limits::DEADLINES_PER_TURN {
            let Some(token) = self.shared.pop_due(now) else {
                break;
            };
            self.with(token, now, |connection, _, turn| {
                connection.on_deadline(turn);
                None
            });
        }
        self.let_go(now);
        self.start_dials(now);
    }

    /// Answers who has asked for a page.
    pub(crate) fn reply(&mut self, to: Token, answer: Vec<u8>, now: Instant) {
        self.with(to, now, |connection, _, turn| {
            connection.reply(answer.into(), turn);
            None
        });
    }

    /// Ends the turn: sends what was queued and frees the slots of connections that have ended.
    pub(crate) fn flush(&mut self, now: Instant) {
        debug_assert!(
            self.reading.is_worked_through(),
            "what was received is worked through in its turn"
        );
        let mut to_flush = mem::take(&mut self.agenda.to_flush);
        for token in to_flush.drain(..) {
            self.with(token, now, |connection, _, turn| {
                connection.is_noted_to_flush = false;
                connection.flush(turn);
                None
            });
        }
        if self.agenda.to_flush.is_empty() {
            // The list keeps its memory.
            self.agenda.to_flush = to_flush;
        }
        while let Some(token) = self.agenda.ended.pop() {
            self.remove(token, now);
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
        entry.insert(make(token, &mut self.shared.turn(now)));
        self.shared.counters.connections = self.connections.len() as u64;
        self.with(token, now, |_, _, _| None);
        let stream = self.connections[token.slot()].stream();
        let watched = self.kernel.watch_stream(stream, Source::Connection(token));
        if let Err(error) = watched {
            self.with(token, now, |connection, _, turn| {
                connection.fail(&error, turn);
                None
            });
        }
        token
    }

    /// Lets something happen to a connection, if it is still there, and sees to what follows from it.
    pub(super) fn with(
        &mut self,
        token: Token,
        now: Instant,
        act: impl FnOnce(&mut Connection, &mut [u8], &mut Turn<'_>) -> Option<Notice>,
    ) {
        let slot = self.connections.get_mut(token.slot());
        let Some(connection) = slot.filter(|connection| connection.token() == token) else {
            return;
        };
        let before = Before::of(connection);
        let mut turn = self.shared.turn(now);
        let notice = act(connection, &mut self.buffer, &mut turn);
        connection.count_pending(turn.counters);
        if before.was_handshaking && !connection.is_handshaking() {
            let address = connection.counts_for();
            self.shared.admission.on_handshake_over(address);
            let has_come_about = connection.advance == Advance::Taken && connection.is_open();
            if let Some(address) = address.filter(|_| has_come_about) {
                self.shared.advances.give_back(address, now);
            }
        }
        self.agenda
            .note(connection, before.was_ended, &self.shared.limits);
        let side = connection.side();
        match notice {
            None => {}
            Some(Notice::Message(message)) => self.events.push_back(Event::Message(token, message)),
            Some(Notice::Asked(page, form)) => {
                self.events.push_back(Event::Asked(token, page, form));
            }
            Some(Notice::Sheds(pending_bytes)) => {
                warn_shedding(name_of(connection, &self.dialer), pending_bytes);
            }
            Some(notice) => {
                if let Notice::Opened = notice {
                    self.shared.counters.opened += 1;
                    let counters = &mut self.shared.counters;
                    counters.peers += 1;
                    counters.neighbor_connections += u64::from(connection.kind() == Kind::Neighbor);
                    if has_channel(connection) {
                        let channel = channel_of(connection, &self.dialer);
                        connection.place = self.channels.join(channel, token.slot());
                    }
                    self.events.push_back(Event::Opened(token));
                }
                match (side, &notice) {
                    (Side::Dialed(peer), _) => self.on_dial_progress(peer, token, &notice, now),
                    (Side::Client, Notice::Connected) => {
                        self.events.push_back(Event::Connected(token));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A dial that is forgotten already goes by its address.
pub(super) fn name_of<'a>(connection: &Connection, dialer: &'a Dialer) -> PeerName<'a> {
    let url = match connection.side() {
        Side::Dialed(dial) => dialer.url(dial),
        Side::Accepted | Side::Refused | Side::Client | Side::Status { .. } => None,
    };
    url.map_or(PeerName::Accepted(connection.remote()), PeerName::Dialed)
}
