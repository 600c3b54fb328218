//! The virtual network: streams between hosts that keep their order, and what the two ends of a connection
//! learn of each other. Knows nothing of what frames mean.
//!
//! A stream has one event in the queue, for the first parcel that arrives; what cannot arrive (a partition, a
//! reader that does not read) waits in the stream without an event.

use super::{
    chance::{Chance, Part, mixed},
    clock::{Moment, micros},
    connection::{Connection, End, EndId, Phase, Stream, What},
    event::Event,
    geography::Geography,
    queue::Queue,
    traffic::{Traffic, UPGRADE_BYTES, frame_bytes},
    weather::Weather,
};
use crate::{config::Limits, mesh::Ending, message::Message};

/// Bytes that the kernels of both hosts hold beside the outbox.
pub(super) const KERNEL_BYTES: usize = 256 * 1024;

/// What a frame costs in an outbox beside its bytes, as in a node.
const FRAME_COST: usize = 64;

/// Bytes of a ping or a pong.
const PING_BYTES: usize = 4;

/// Code for a peer that reads too slowly.
const TRY_AGAIN_LATER: u16 = 1013;

const LIMITS: Limits = Limits::DEFAULT;

/// Names one dial of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt(pub(super) u32);

/// How a host stands to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its node runs.
    Up,
    /// No process listens, but the kernel answers.
    Silent,
    /// Nothing answers.
    Away,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) presence: Presence,
    /// Others can dial it.
    pub(super) is_dialable: bool,
    /// Its node takes what is sent to it.
    pub(super) reads: bool,
    /// Its part of a partition.
    pub(super) part: u8,
    /// When what it has sent will have left it.
    uplink_free: Moment,
    /// Slots of its connections.
    pub(super) connections: Vec<u32>,
    /// What its node has sent since it was last forgotten.
    sent_bytes: u64,
    /// Dials that came for it, whether it could be reached or not.
    pub(super) dialed: u64,
}

/// What a node hears of one of its connections.
#[derive(Debug)]
pub(super) enum Happening {
    /// The dial has led to a connection.
    Opened(Attempt),
    /// The dial has failed after all.
    Failed(Attempt),
    Frame(Message),
    Closed(Ending),
    /// Nothing that a node hears of.
    Unheard,
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) hosts: Vec<Host>,
    pub(super) connections: Vec<Connection>,
    free: Vec<u32>,
    geography: Geography,
    weather: Weather,
    chance: Chance,
    pub(super) is_cut: bool,
    pub(super) traffic: Traffic,
    /// Frames that were given to the other side.
    pub(super) handed_over: u64,
    /// Connections that were closed because the other side did not take what it was sent.
    pub(super) overflows: u64,
}

impl Network {
    pub(super) fn new(hosts: usize, weather: Weather, seed: u64) -> Self {
        let host = || Host {
            presence: Presence::Silent,
            is_dialable: true,
            reads: true,
            part: 0,
            uplink_free: Moment::default(),
            connections: Vec::new(),
            sent_bytes: 0,
            dialed: 0,
        };
        Self {
            hosts: (0..hosts).map(|_| host()).collect(),
            connections: Vec::new(),
            free: Vec::new(),
            geography: Geography::new(hosts, seed),
            weather,
            chance: Chance::new(seed, Part::Network, 0),
            is_cut: false,
            traffic: Traffic::default(),
            handed_over: 0,
            overflows: 0,
        }
    }

    /// What the busiest node has sent.
    pub(super) fn busiest_bytes(&self) -> u64 {
        let sent = self.hosts.iter().map(|host| host.sent_bytes);
        sent.max().unwrap_or(0)
    }

    /// Begins to count anew what each node sends.
    pub(super) fn forget_sent(&mut self) {
        for host in &mut self.hosts {
            host.sent_bytes = 0;
        }
    }

    /// Whether nothing gets from one to the other.
    pub(super) fn is_blocked(&self, a: u32, b: u32) -> bool {
        self.is_cut && self.hosts[a as usize].part != self.hosts[b as usize].part
    }

    /// Whether a packet that is sent to `target` now is answered by its kernel.
    pub(super) fn is_reachable(&self, from: u32, target: u32) -> bool {
        let host = self.hosts.get(target as usize);
        let answers = host.is_some_and(|host| host.is_dialable && host.presence != Presence::Away);
        answers && !self.is_blocked(from, target)
    }

    /// Microseconds that a small packet takes now, lost ones included.
    pub(super) fn passage(&mut self, from: u32, to: u32) -> u64 {
        let latency = self.geography.latency(from, to);
        self.weather.passage(latency, 1, false, self.chance.bits())
    }

    /// The acceptor has taken the upgrade request, and answers.
    pub(super) fn open(
        &mut self,
        dialer: u32,
        acceptor: u32,
        attempt: Attempt,
        now: Moment,
        queue: &mut Queue<Event>,
    ) -> EndId {
        let end = |host, phase| End {
            host,
            phase,
            since: now,
            heard_at: now,
            sent_at: now,
            is_pinged: false,
            stream: Stream::default(),
        };
        let mut connection = Connection {
            generation: 0,
            latency: self.geography.latency(dialer, acceptor),
            attempt,
            ends: [end(dialer, Phase::Opening), end(acceptor, Phase::Open)],
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                let place = &mut self.connections[slot as usize];
                connection.generation = place.generation;
                *place = connection;
                slot
            }
            None => {
                self.connections.push(connection);
                (self.connections.len() - 1) as u32
            }
        };
        for host in [dialer, acceptor] {
            self.hosts[host as usize].connections.push(slot);
        }
        let end = EndId::new(slot, self.connections[slot as usize].generation, 1);
        self.traffic.control += UPGRADE_BYTES;
        self.put(end, What::Opened, UPGRADE_BYTES, 0, now, queue);
        self.watch(end, now, queue);
        end
    }

    /// The connection of an end, while it lasts.
    pub(super) fn connection(&mut self, end: EndId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(end.slot as usize)?;
        (connection.generation == end.generation()).then_some(connection)
    }

    pub(super) fn end(&mut self, end: EndId) -> Option<&mut End> {
        let connection = self.connection(end)?;
        Some(&mut connection.ends[end.side()])
    }

    /// Queues a frame. Does nothing if the end is not open; closes the connection if too much waits.
    pub(super) fn send(
        &mut self,
        from: EndId,
        frame: &Message,
        now: Moment,
        queue: &mut Queue<Event>,
    ) {
        let Some(end) = self.end(from) else {
            return;
        };
        if end.phase != Phase::Open {
            return;
        }
        let cost = frame.len() + FRAME_COST;
        if end.stream.waiting_bytes + cost > LIMITS.outbox_bytes_max + KERNEL_BYTES {
            self.overflows += 1;
            self.close(from, TRY_AGAIN_LATER, now, queue);
            return;
        }
        let host = end.host;
        let bytes = frame_bytes(frame.len(), from.side() == 0);
        self.traffic.add(frame, bytes);
        self.hosts[host as usize].sent_bytes += bytes;
        let what = What::Frame(frame.clone());
        self.put(from, what, bytes, cost as u32, now, queue);
    }

    /// Says that this end goes; what was sent before arrives before.
    pub(super) fn close(&mut self, from: EndId, code: u16, now: Moment, queue: &mut Queue<Event>) {
        let Some(end) = self.end(from) else {
            return;
        };
        if end.phase != Phase::Open {
            return;
        }
        (end.phase, end.since) = (Phase::Closing, now);
        self.put_control(from, What::Close(code), 2, now, queue);
        let timeout = now.plus(LIMITS.close_timeout);
        queue.push(timeout, Event::CloseTimeout(from));
    }

    /// This end waits no longer: the other one hears of it if it can.
    /// Returns what the node of this end is told.
    pub(super) fn give_up(
        &mut self,
        from: EndId,
        now: Moment,
        queue: &mut Queue<Event>,
    ) -> Happening {
        let Some(end) = self.end(from) else {
            return Happening::Unheard;
        };
        let phase = end.phase;
        if phase == Phase::Gone {
            return Happening::Unheard;
        }
        (end.phase, end.since) = (Phase::Gone, now);
        end.stream.take_back(now);
        let attempt = self.connections[from.slot as usize].attempt;
        // After an outage the other side hears that the connection is gone, and nothing else.
        let ends = &self.connections[from.slot as usize].ends;
        let (sender, receiver) = (ends[from.side()].host, ends[from.other().side()].host);
        if self.is_held(from, sender, receiver)
            && let Some(end) = self.end(from)
        {
            end.stream.take_back(Moment::default());
        }
        self.put(from, What::Lost, 0, 0, now, queue);
        self.settle(from);
        match phase {
            Phase::Opening => Happening::Failed(attempt),
            Phase::Closing => Happening::Closed(Ending::ByUs),
            _ => Happening::Closed(Ending::Lost),
        }
    }

    /// Takes the next parcel that has arrived from this end. Returns its receiver and what its node hears.
    /// `None`: nothing more has arrived.
    pub(super) fn arrive(
        &mut self,
        from: EndId,
        now: Moment,
        queue: &mut Queue<Event>,
    ) -> Option<(EndId, u32, Happening)> {
        let to = from.other();
        let (sender, receiver) = {
            let ends = &self.connection(from)?.ends;
            (ends[from.side()].host, ends[to.side()].host)
        };
        let is_held = self.is_held(from, sender, receiver);
        let stream = &mut self.connection(from)?.ends[from.side()].stream;
        let parcel = if is_held { None } else { stream.pop_due(now) };
        let Some(parcel) = parcel else {
            stream.is_scheduled = !is_held && stream.due().is_some();
            if let (true, Some(due)) = (stream.is_scheduled, stream.due()) {
                queue.push(due, Event::Arrive(from));
            }
            return None;
        };
        stream.waiting_bytes -= parcel.cost as usize;
        let happening = self.take(to, parcel.what, now, queue);
        Some((to, receiver, happening))
    }

    /// A parcel is at its end.
    fn take(&mut self, to: EndId, what: What, now: Moment, queue: &mut Queue<Event>) -> Happening {
        let Some(connection) = self.connection(to) else {
            return Happening::Unheard;
        };
        let attempt = connection.attempt;
        let end = &mut connection.ends[to.side()];
        end.heard_at = now;
        end.is_pinged = false;
        let phase = end.phase;
        match (phase, what) {
            (Phase::Gone, _) => Happening::Unheard,
            (Phase::Opening, What::Opened) => {
                (end.phase, end.since) = (Phase::Open, now);
                self.watch(to, now, queue);
                Happening::Opened(attempt)
            }
            (_, What::Frame(frame)) => {
                self.handed_over += 1;
                Happening::Frame(frame)
            }
            (Phase::Open, What::Ping) => {
                self.put_control(to, What::Pong, PING_BYTES, now, queue);
                Happening::Unheard
            }
            (Phase::Open, What::Close(code)) => {
                (end.phase, end.since) = (Phase::Gone, now);
                self.put_control(to, What::CloseReply, 2, now, queue);
                self.settle(to);
                Happening::Closed(Ending::ByPeer(Some(code)))
            }
            (Phase::Closing, What::Close(_) | What::CloseReply | What::Lost) => {
                (end.phase, end.since) = (Phase::Gone, now);
                self.settle(to);
                Happening::Closed(Ending::ByUs)
            }
            (_, What::Lost) => {
                (end.phase, end.since) = (Phase::Gone, now);
                self.settle(to);
                match phase {
                    Phase::Opening => Happening::Failed(attempt),
                    _ => Happening::Closed(Ending::Lost),
                }
            }
            _ => Happening::Unheard,
        }
    }

    /// An end looks whether the other one is still there, as a node does.
    pub(super) fn keep_alive(
        &mut self,
        at: EndId,
        now: Moment,
        queue: &mut Queue<Event>,
    ) -> Happening {
        let Some(interval) = LIMITS.ping_interval.map(micros) else {
            return Happening::Unheard;
        };
        let Some(end) = self.end(at) else {
            return Happening::Unheard;
        };
        let host = end.host;
        if end.phase != Phase::Open || !self.hosts[host as usize].reads {
            return Happening::Unheard;
        }
        let Some(end) = self.end(at) else {
            return Happening::Unheard;
        };
        let silence = now.since(end.heard_at);
        if silence >= 2 * interval && end.is_pinged {
            return self.give_up(at, now, queue);
        }
        let mut next = end.heard_at.after(interval);
        if silence >= interval {
            end.is_pinged = true;
            next = end.heard_at.after(2 * interval);
            if next <= now {
                next = now.after(interval);
            }
            self.put_control(at, What::Ping, PING_BYTES, now, queue);
        }
        queue.push(next, Event::KeepAlive(at));
        Happening::Unheard
    }

    fn watch(&mut self, end: EndId, now: Moment, queue: &mut Queue<Event>) {
        if let Some(interval) = LIMITS.ping_interval {
            queue.push(now.plus(interval), Event::KeepAlive(end));
        }
    }

    fn put_control(
        &mut self,
        from: EndId,
        what: What,
        payload: usize,
        now: Moment,
        queue: &mut Queue<Event>,
    ) {
        let bytes = frame_bytes(payload, from.side() == 0);
        self.traffic.control += bytes;
        self.put(from, what, bytes, FRAME_COST as u32, now, queue);
    }

    /// Puts a parcel on its way.
    pub(super) fn put(
        &mut self,
        from: EndId,
        what: What,
        bytes: u64,
        cost: u32,
        now: Moment,
        queue: &mut Queue<Event>,
    ) {
        let link = mixed(u64::from(from.slot) << 32 | u64::from(from.generation()));
        let bits = self.chance.bits();
        let Some(connection) = self.connections.get_mut(from.slot as usize) else {
            return;
        };
        let latency = connection.latency;
        let end = &mut connection.ends[from.side()];
        let host = &mut self.hosts[end.host as usize];
        let leaves = host
            .uplink_free
            .max(now)
            .after(self.weather.serialization(bytes));
        host.uplink_free = leaves;
        let is_busy = leaves.since(end.sent_at) < 2 * latency;
        end.sent_at = leaves;
        let passage = self.weather.passage(latency, bytes, is_busy, bits);
        let at = self.weather.past_stall(link, leaves).after(passage);
        end.stream.push(at, cost, what);
        self.schedule(from, now, queue);
    }

    /// Whether the next parcel of this end is not taken, however late it is.
    fn is_held(&self, from: EndId, sender: u32, receiver: u32) -> bool {
        let there = &self.hosts[receiver as usize];
        let stream = &self.connections[from.slot as usize].ends[from.side()].stream;
        self.is_blocked(sender, receiver)
            || there.presence == Presence::Away
            || !there.reads && stream.starts_with_frame()
    }

    /// Sees that the first parcel of a stream has its event.
    pub(super) fn schedule(&mut self, from: EndId, now: Moment, queue: &mut Queue<Event>) {
        let Some(connection) = self.connection(from) else {
            return;
        };
        let ends = &connection.ends;
        let (sender, receiver) = (ends[from.side()].host, ends[from.other().side()].host);
        if self.is_held(from, sender, receiver) {
            return;
        }
        if let Some(end) = self.end(from)
            && !end.stream.is_scheduled
            && let Some(due) = end.stream.due()
        {
            end.stream.is_scheduled = true;
            queue.push(due.max(now), Event::Arrive(from));
        }
    }

    /// Frees the slot when nobody knows of the connection any more.
    pub(super) fn settle(&mut self, end: EndId) {
        let Some(connection) = self.connection(end) else {
            return;
        };
        if !connection.is_gone() {
            return;
        }
        connection.generation += 1;
        let ends = &mut connection.ends;
        let hosts = [ends[0].host, ends[1].host];
        for end in ends {
            end.stream = Stream::default();
        }
        for host in hosts {
            let slots = &mut self.hosts[host as usize].connections;
            if let Some(place) = slots.iter().position(|slot| *slot == end.slot) {
                slots.swap_remove(place);
            }
        }
        self.free.push(end.slot);
    }
}
