//! The state of a simulated world, and what the calls of its hosts do to it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::SmallRng};

use super::{
    Glimpse, Weather,
    end::{End, Phase},
    links::Link,
};
use crate::net::kernel::Readiness;

/// A socket of any kind.
pub(super) type Id = u64;

/// How much of what has happened is kept for those who ask why.
const WORDS_MAX: usize = 1000;

#[derive(Debug)]
pub(super) struct HostState {
    pub(super) descriptors_max: usize,
    pub(super) sockets: usize,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) calls: u64,
    /// What the poll has to tell.
    ready: VecDeque<Id>,
}

#[derive(Debug)]
pub(super) struct ListenerState {
    pub(super) host: usize,
    pub(super) address: SocketAddr,
    pub(super) backlog: VecDeque<Id>,
    token: Option<mio::Token>,
    is_queued: bool,
    pub(super) accepts: u64,
}

impl ListenerState {
    pub(super) fn new(host: usize, address: SocketAddr) -> Self {
        Self {
            host,
            address,
            backlog: VecDeque::new(),
            token: None,
            is_queued: false,
            accepts: 0,
        }
    }
}

#[derive(Debug)]
pub(super) enum Arrival {
    /// Somebody wants to connect.
    Call {
        from: Id,
        to: SocketAddr,
    },
    /// Who called, and the end that was made for it.
    Connected(Id, Id),
    Refused(Id),
    /// To whom, what, and from whom.
    Bytes(Id, Vec<u8>, Id),
    /// To whom, and from whom.
    Fin(Id, Id),
    Reset(Id),
    /// So many bytes that an end has sent were read; only where that is held back.
    Room(Id, usize),
    /// An end waits for word of what it has sent.
    Impatience(Id),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: SmallRng,
    pub(super) weather: Weather,
    start: Instant,
    pub(super) now: Instant,
    pub(super) hosts: Vec<HostState>,
    pub(super) ends: BTreeMap<Id, End>,
    pub(super) listeners: BTreeMap<Id, ListenerState>,
    calendar: BTreeMap<(Instant, u64), (Link, Arrival)>,
    /// Links that are cut, and what is held back there.
    pub(super) cuts: BTreeMap<Link, Vec<Arrival>>,
    pub(super) next_id: Id,
    next_arrival: u64,
    trace: u64,
    words: VecDeque<(Duration, &'static str, u64, u64)>,
}

impl State {
    pub(super) fn new(rng: SmallRng, weather: Weather, now: Instant) -> Self {
        Self {
            rng,
            weather,
            start: now,
            now,
            hosts: Vec::new(),
            ends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            calendar: BTreeMap::new(),
            cuts: BTreeMap::new(),
            next_id: 0,
            next_arrival: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            words: VecDeque::new(),
        }
    }

    pub(super) fn add_host(&mut self, descriptors_max: usize) -> usize {
        self.hosts.push(HostState {
            descriptors_max,
            sockets: 0,
            bytes_sent: 0,
            bytes_received: 0,
            calls: 0,
            ready: VecDeque::new(),
        });
        self.hosts.len() - 1
    }

    pub(super) fn note(&mut self, what: &'static str, who: u64, value: u64) {
        let when = self.now - self.start;
        for number in [when.as_nanos() as u64, what.len() as u64, who, value] {
            self.trace = (self.trace ^ number).wrapping_mul(0x0100_0000_01b3);
            self.trace ^= self.trace >> 29;
        }
        if self.words.len() == WORDS_MAX {
            self.words.pop_front();
        }
        self.words.push_back((when, what, who, value));
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    pub(super) fn last_words(&self) -> String {
        let mut text = String::new();
        for (when, what, who, value) in &self.words {
            let _ = writeln!(text, "{when:>14.6?} {what} {who} {value}");
        }
        text
    }

    pub(super) fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random_bool(share)
    }

    // What is under way.

    pub(super) fn next(&self) -> Option<Instant> {
        self.calendar.first_key_value().map(|((when, _), _)| *when)
    }

    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(entry) = self.calendar.first_entry() {
            let (when, _) = *entry.key();
            if when > now {
                break;
            }
            let (link, arrival) = entry.remove();
            self.now = when;
            match self.cuts.contains_key(&link) {
                true => self.hold_back(link, arrival),
                false => self.arrive(arrival),
            }
        }
        self.now = now;
    }

    pub(super) fn send(&mut self, when: Instant, link: Link, arrival: Arrival) {
        let entry = (link, arrival);
        self.calendar.insert((when, self.next_arrival), entry);
        self.next_arrival += 1;
    }

    /// Something that a host tells itself.
    pub(super) fn remind(&mut self, when: Instant, arrival: Arrival) {
        const NO_LINK: Link = (usize::MAX, usize::MAX);
        self.send(when, NO_LINK, arrival);
    }

    /// From an end to the other one; both know their hosts as long as they are there.
    pub(super) fn link_of(&self, from: Id) -> Link {
        self.ends
            .get(&from)
            .map_or((usize::MAX, usize::MAX), |end| (end.host, end.other_host))
    }

    pub(super) fn latency(&mut self) -> Duration {
        let range = self.weather.latency.clone();
        self.rng.random_range(range.start..=range.end)
    }

    /// When something that `from` sends now arrives.
    pub(super) fn next_arrival_of(&mut self, from: Id) -> Instant {
        let when = self.now + self.latency();
        match self.ends.get_mut(&from) {
            Some(end) => {
                end.arrives_at = end.arrives_at.max(when);
                end.arrives_at
            }
            None => when,
        }
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Call { from, to } => self.on_call(from, to),
            Arrival::Connected(id, other) => match self.ends.get_mut(&id) {
                Some(end) => {
                    end.phase = Phase::Connected;
                    self.note("connected", id, other);
                    self.queue(id);
                }
                None => self.break_end(other, libc::ECONNRESET),
            },
            Arrival::Refused(id) => self.break_end(id, libc::ECONNREFUSED),
            Arrival::Reset(id) => self.break_end(id, libc::ECONNRESET),
            Arrival::Room(id, len) => self.make_room(id, len),
            Arrival::Impatience(id) => self.lose_patience(id),
            Arrival::Fin(id, _) => {
                if let Some(end) = self.ends.get_mut(&id) {
                    end.is_ended = true;
                    self.note("fin", id, 0);
                    self.queue(id);
                }
            }
            Arrival::Bytes(id, bytes, from) => match self.ends.get_mut(&id) {
                Some(end) if !end.is_broken => {
                    end.received.extend(&bytes);
                    self.note("bytes", id, bytes.len() as u64);
                    self.queue(id);
                }
                // The answer is a reset, which comes if it can.
                _ => {
                    let (host, other_host) = self.link_of(from);
                    if !self.cuts.contains_key(&(other_host, host)) {
                        self.break_end(from, libc::ECONNRESET);
                    }
                }
            },
        }
    }

    pub(super) fn break_end(&mut self, id: Id, error: i32) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.break_with(error);
            self.note("broken", id, error as u64);
            self.queue(id);
        }
    }

    fn on_call(&mut self, from: Id, to: SocketAddr) {
        let Some(caller) = self.ends.get(&from) else {
            return;
        };
        let (remote, is_spared, from_host) = (caller.local, caller.is_spared, caller.host);
        let back = self.next_arrival_of(from);
        let mut listeners = self.listeners.iter();
        let Some((&listener, _)) = listeners.find(|(_, listener)| listener.address == to) else {
            return self.remind(back, Arrival::Refused(from));
        };
        let host = self.listeners[&listener].host;
        let id = self.add_end(host, to, remote, from, is_spared);
        if let Some(end) = self.ends.get_mut(&id) {
            end.phase = Phase::Connected;
            end.other_host = from_host;
        }
        if let Some(caller) = self.ends.get_mut(&from) {
            caller.other = id;
            caller.other_host = host;
        }
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.backlog.push_back(id);
        }
        self.note("call", id, from);
        self.send(back, (host, from_host), Arrival::Connected(from, id));
        self.queue(listener);
    }

    /// The host that listens at an address.
    pub(super) fn host_at(&self, address: SocketAddr) -> Option<usize> {
        let mut listeners = self.listeners.values();
        let listener = listeners.find(|listener| listener.address == address);
        listener.map(|listener| listener.host)
    }

    pub(super) fn add_id(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn add_end(
        &mut self,
        host: usize,
        local: SocketAddr,
        remote: SocketAddr,
        other: Id,
        is_spared: bool,
    ) -> Id {
        let id = self.add_id();
        let end = End {
            host,
            local,
            remote,
            other,
            other_host: host,
            phase: Phase::Connecting,
            is_held: false,
            is_spared,
            received: VecDeque::new(),
            is_ended: false,
            is_end_read: false,
            error: None,
            is_broken: false,
            under_way: 0,
            capacity: self.rng.random_range(self.weather.capacity.clone()),
            wants_room: false,
            is_writing_ended: false,
            arrives_at: self.now,
            token: None,
            is_queued: false,
            reads: 0,
        };
        self.ends.insert(id, end);
        id
    }

    // What the poll tells.

    /// Something has changed: the poll is to tell, once.
    pub(super) fn queue(&mut self, id: Id) {
        let (host, is_watched, is_queued) = match self.ends.get_mut(&id) {
            Some(end) => (end.host, end.token.is_some(), &mut end.is_queued),
            None => match self.listeners.get_mut(&id) {
                Some(listener) => {
                    let is_watched = listener.token.is_some();
                    (listener.host, is_watched, &mut listener.is_queued)
                }
                None => return,
            },
        };
        if is_watched && !*is_queued {
            *is_queued = true;
            self.hosts[host].ready.push_back(id);
        }
    }

    pub(super) fn watch(&mut self, id: Id, token: mio::Token) {
        match (self.ends.get_mut(&id), self.listeners.get_mut(&id)) {
            (Some(end), _) => end.token = Some(token),
            (None, Some(listener)) => listener.token = Some(token),
            (None, None) => {}
        }
        // What is ready already is told, too.
        self.queue(id);
    }

    pub(super) fn is_ready(&self, host: usize) -> bool {
        let mut ready = self.hosts[host].ready.iter();
        ready.any(|id| self.readiness(*id).is_some())
    }

    /// How a socket stands, if there is something to tell.
    fn readiness(&self, id: Id) -> Option<Readiness> {
        if let Some(listener) = self.listeners.get(&id) {
            return (!listener.backlog.is_empty()).then_some(Readiness {
                source: listener.token?.into(),
                is_readable: true,
                is_writable: false,
                is_end: false,
            });
        }
        let end = self.ends.get(&id)?;
        let readiness = Readiness {
            source: end.token?.into(),
            is_readable: end.is_readable(),
            is_writable: end.is_writable(),
            is_end: end.has_ended(),
        };
        (readiness.is_readable || readiness.is_writable).then_some(readiness)
    }

    pub(super) fn poll(&mut self, host: usize, max: usize) -> Vec<Readiness> {
        let mut told = Vec::new();
        while told.len() < max {
            let Some(id) = self.hosts[host].ready.pop_front() else {
                break;
            };
            if let Some(end) = self.ends.get_mut(&id) {
                end.is_queued = false;
                // Who looks and finds no room is told when there is some.
                end.wants_room |= !end.is_writable();
            }
            if let Some(listener) = self.listeners.get_mut(&id) {
                listener.is_queued = false;
            }
            told.extend(self.readiness(id));
        }
        told
    }

    pub(super) fn glimpses(&self, host: usize) -> Vec<Glimpse> {
        let ends = self.ends.values().filter(|end| end.host == host);
        let ends = ends.filter_map(|end| {
            Some(Glimpse {
                token: end.token?,
                is_listener: false,
                is_readable: end.has_news(),
                is_writable: end.is_writable(),
                is_queued: end.is_queued,
                reads: end.reads,
            })
        });
        let listeners = self.listeners.values().filter(|other| other.host == host);
        let listeners = listeners.filter_map(|listener| {
            Some(Glimpse {
                token: listener.token?,
                is_listener: true,
                is_readable: !listener.backlog.is_empty(),
                is_writable: false,
                is_queued: listener.is_queued,
                reads: listener.accepts,
            })
        });
        ends.chain(listeners).collect()
    }
}
