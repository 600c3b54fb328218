//! The connections of a node: who is read, who is flushed, who is gone. Whom to admit stands in
//! `inbound`, whom to dial in `outbound`, what to send to whom in `sending`.

use std::{collections::VecDeque, io, mem, net::SocketAddr, sync::Arc, time::Instant};

use mio::Waker;
use rand::rngs::SmallRng;
use slab::Slab;

use super::{
    CloseReason, Event, FilesError, Kernel, Kind, PeerName, Readiness, Source, Token,
    access::Access,
    admission::Admission,
    agenda::Agenda,
    channels::Channels,
    connection::{Connection, Notice, Portion, Side, Turn},
    contexts::Contexts,
    dialer::Dialer,
    intake::Intake,
    kernel::Listener,
    listener::{Entrance, Listeners},
    memory::SharedFrames,
    news::News,
    resolver::Resolver,
    sending::{channel_of, has_channel, warn_shedding},
    timer::Deadlines,
    tls,
    token::Generation,
};
use crate::{
    config::{Config, Limits, ProxyUrl, SlowPeer, limits},
    counters::Counters,
    node_id::NodeId,
};

/// What all connections need during a turn, kept apart from the connections themselves.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    slow_peer: SlowPeer,
    pub(super) id: NodeId,
    pub(super) access: Access,
    pub(super) admission: Admission,
    deadlines: Deadlines,
    contexts: Contexts,
    pub(super) frames: SharedFrames,
    intake: Intake,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn turn(&mut self, now: Instant) -> Turn<'_> {
        Turn {
            now,
            limits: &self.limits,
            slow_peer: self.slow_peer,
            id: self.id,
            access: &self.access,
            admission: &mut self.admission,
            deadlines: &mut self.deadlines,
            contexts: &mut self.contexts,
            frames: &self.frames,
            intake: &mut self.intake,
            counters: &mut self.counters,
        }
    }
}

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

/// Bytes of the shared buffer that are not worked through yet, and whose they are.
#[derive(Debug)]
struct Unread {
    token: Token,
    from: usize,
    portion: Portion,
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
    /// What is received goes through here, one connection after the other.
    buffer: Box<[u8]>,
    /// Where in it the node is to go on.
    unread: Option<Unread>,
    /// Connections that may still be read in this turn, and bytes that may still be received.
    reads_left: usize,
    budget: usize,
    /// What the node is still to be told.
    pub(super) events: VecDeque<Event>,
    pub(super) listeners: Listeners,
    pub(super) refusals: usize,
    pub(super) status_connections: usize,
    pub(super) refusals_max: usize,
    pub(super) refusal_news: News,
    /// Of those who may not come in.
    pub(super) denial_news: News,
    /// Of those with whom TLS does not come about.
    pub(super) tls_news: News,
    pub(super) tls: tls::Settings,
    /// Of descriptors that are used up.
    pub(super) exhaustion_news: News,
    pub(super) dialer: Dialer,
    pub(super) resolver: Resolver,
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
        let limits = config.limits.clone();
        let dials_in_clear = config.peers.iter().any(|peer| !peer.is_tls());
        Self {
            kernel,
            connections: Slab::new(),
            generation: Generation::FIRST,
            channels: Channels::default(),
            agenda: Agenda::default(),
            buffer: vec![0; limits::READ_BUFFER_BYTES].into(),
            unread: None,
            reads_left: 0,
            budget: 0,
            events: VecDeque::new(),
            listeners: Listeners::default(),
            refusals: 0,
            status_connections: 0,
            refusals_max,
            refusal_news: News::default(),
            denial_news: News::default(),
            tls_news: News::default(),
            tls: tls::Settings::new(config.tls.clone()),
            exhaustion_news: News::default(),
            dialer: Dialer::new(&config.peers, &config.proxies, &limits),
            resolver: Resolver::new(waker),
            rng,
            shared: Shared {
                admission: Admission::new(&limits),
                intake: Intake::new(&limits),
                limits,
                slow_peer: config.slow_peer,
                id,
                access: Access::unread(config.access.clone(), dials_in_clear),
                deadlines: Deadlines::default(),
                contexts: Contexts::default(),
                frames: SharedFrames::default(),
                counters: Counters::default(),
            },
        }
    }

    /// Reads the files of tokens and of TLS, again if they were read before; with `dials` in any case what dialing
    /// `wss://` needs. Connections stay as they are. After an error everything is as it was.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or does not fit another one.
    pub(crate) fn load_files(&mut self, dials: bool) -> Result<(), FilesError> {
        let access = self.shared.access.reread()?;
        self.tls.load(dials)?;
        self.shared.access = access;
        Ok(())
    }

    /// Whether there are files to be read.
    pub(crate) fn has_files(&self) -> bool {
        self.tls.has_files() || self.shared.access.has_files()
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
    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
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
            self.shared.deadlines.next(),
            self.listeners.next_deadline(),
            self.dialer.next_deadline(now),
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

    /// Begins to read what is noted by now: each connection once, or one with much to say would keep
    /// the others waiting. The rest has its turn in the next one.
    pub(crate) fn begin_reading(&mut self) {
        self.reads_left = self.agenda.to_read.len();
        self.budget = limits::READ_BYTES_PER_TURN;
    }

    /// The poll says that the socket of a connection is ready.
    pub(crate) fn on_connection_ready(&mut self, token: Token, ready: Readiness, now: Instant) {
        let Readiness {
            is_readable,
            is_writable,
            is_end,
            ..
        } = ready;
        self.with(token, now, |connection, _, turn| {
            if is_readable || is_end {
                connection.on_readable(is_end);
            }
            if is_writable || is_end {
                return connection.on_writable(turn);
            }
            None
        });
    }

    /// Something that the node is to be told; call until there is nothing left.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Goes on reading, as far as the next event. Returns whether there is more to do in this turn.
    pub(crate) fn read(&mut self, now: Instant) -> bool {
        if let Some(unread) = self.unread.take() {
            self.work(unread, now);
            return true;
        }
        if self.reads_left == 0 || self.budget == 0 {
            return false;
        }
        self.reads_left -= 1;
        let Some(token) = self.agenda.to_read.pop_front() else {
            return false;
        };
        let mut received = None;
        self.with(token, now, |connection, buffer, turn| {
            connection.is_noted_to_read = false;
            if connection.wants_to_read(turn.limits) {
                received = connection.receive(buffer, turn);
            }
            None
        });
        if let Some(portion) = received {
            self.budget = self.budget.saturating_sub(portion.cost);
            let from = 0;
            self.unread = Some(Unread {
                token,
                from,
                portion,
            });
        }
        true
    }

    /// Works through received bytes up to the next event, which the node should answer before the rest.
    fn work(&mut self, mut unread: Unread, now: Instant) {
        let Portion { len, is_end, .. } = unread.portion;
        let mut has_told = false;
        self.with(unread.token, now, |connection, buffer, turn| {
            let mut bytes = &buffer[unread.from..len];
            let notice = connection.work(&mut bytes, is_end, turn);
            unread.from = len - bytes.len();
            has_told = notice.is_some();
            notice
        });
        if has_told {
            self.unread = Some(unread);
        }
    }

    /// Does what is due: deadlines of connections, and dialing.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(token) = self.shared.deadlines.pop_due(now) {
            self.with(token, now, |connection, _, turn| {
                connection.on_deadline(turn);
                None
            });
        }
        self.start_dials(now);
    }

    /// Answers who has asked for a page.
    pub(crate) fn reply(&mut self, to: Token, answer: Vec<u8>, now: Instant) {
        self.with(to, now, |connection, _, turn| {
            connection.reply(answer.into(), turn);
            None
        });
    }

    /// Says to a peer why, and closes its connection; nothing is sent to it any more. What still comes from
    /// it is taken.
    pub(crate) fn close(&mut self, peer: Token, reason: CloseReason, now: Instant) {
        self.with(peer, now, |connection, _, turn| {
            connection.close(reason, turn);
            None
        });
    }

    /// Accepts and dials nobody any more, and closes every connection with 1001.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.listeners.close();
        self.dialer.stop();
        let tokens: Vec<_> = self
            .connections
            .iter()
            .map(|(_, connection)| connection.token())
            .collect();
        for token in tokens {
            self.close(token, CloseReason::Shutdown, now);
        }
    }

    /// Ends the turn: sends what was queued and frees the slots of connections that have ended.
    pub(crate) fn flush(&mut self, now: Instant) {
        debug_assert!(
            self.unread.is_none(),
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

    /// Ends a connection without a word.
    pub(super) fn end(&mut self, token: Token, now: Instant) {
        self.with(token, now, |connection, _, turn| {
            connection.end(turn);
            None
        });
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

    /// Frees the slot of a connection that has ended.
    fn remove(&mut self, token: Token, now: Instant) {
        let mut connection = self.connections.remove(token.slot());
        debug_assert_eq!((connection.token(), connection.noted_bytes), (token, 0));
        connection.forget_pending(&mut self.shared.counters);
        self.listeners.on_descriptor_freed(now);
        let reason = connection
            .reason()
            .cloned()
            .unwrap_or(CloseReason::Vanished);
        if connection.was_open() {
            self.count_closed(connection.kind(), &reason);
            self.leave_channel(&connection);
            self.events.push_back(Event::Closed {
                peer: token,
                kind: connection.kind(),
                name: name_of(&connection, &self.dialer).to_string(),
                reason: reason.clone(),
                is_unanswered: connection.is_unanswered(),
                round_trip: connection.round_trip(),
            });
        }
        match connection.side() {
            Side::Accepted => self.on_accepted_gone(&connection, now),
            Side::Refused => self.refusals -= 1,
            Side::Status { .. } => self.status_connections -= 1,
            Side::Dialed(peer) => self.on_dialed_gone(peer, &connection, now),
            Side::Client if connection.was_open() => {}
            Side::Client => self.events.push_back(Event::NotOpened(token, reason)),
        }
    }

    /// A connection that was open leaves the channel that it has joined.
    fn leave_channel(&mut self, connection: &Connection) {
        if !has_channel(connection) {
            return;
        }
        let channel = channel_of(connection, &self.dialer);
        let successor = self.channels.leave(channel, connection.place);
        if let Some(successor) = successor.and_then(|slot| self.connections.get_mut(slot)) {
            successor.place = connection.place;
        }
    }

    fn count_closed(&mut self, kind: Kind, reason: &CloseReason) {
        let counters = &mut self.shared.counters;
        counters.peers -= 1;
        counters.neighbor_connections -= u64::from(kind == Kind::Neighbor);
        counters.closed += 1;
        match reason {
            CloseReason::Slow(_) => counters.closed_slow += 1,
            CloseReason::TooFast(_) => counters.closed_rate += 1,
            CloseReason::Memory(_) => counters.closed_memory += 1,
            CloseReason::Silent(_) => counters.closed_silent += 1,
            CloseReason::Protocol(_) | CloseReason::NotUtf8 | CloseReason::TooBig(_) => {
                counters.closed_protocol += 1;
            }
            CloseReason::ByPeer(..) => counters.closed_by_peer += 1,
            CloseReason::Vanished | CloseReason::CutOff | CloseReason::Failed(_) => {
                counters.closed_lost += 1;
            }
            _ => {}
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
