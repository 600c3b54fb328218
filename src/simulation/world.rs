//! A run: nodes, the network between them, and what happens when. Gives each node's protocol what it hears,
//! and does what it says, as the program's node does with the real network.

use std::{net::IpAddr, time::Instant};

use super::{
    chance::{Chance, Part},
    clock::{Clock, Moment},
    connection::EndId,
    dialing::Dialing,
    event::Event,
    geography,
    ledger::Ledger,
    network::{Attempt, Happening, Network, Presence},
    protocol::Protocol,
    queue::Queue,
    trace::{Mark, Trace, content},
    weather::Weather,
};
use crate::{
    config::{Limits, PeerUrl},
    mesh::{DialFailure, Ending, Output, Reach, Side, Standing},
    message::Message,
};

/// Microseconds until a node learns that it has dialed itself.
const LOOPBACK: u64 = 500;

#[derive(Debug)]
pub(super) struct Node {
    protocol: Option<Box<dyn Protocol>>,
    dialing: Dialing,
    /// When the protocol is woken next.
    wake_at: Moment,
    /// When it had its first neighbor: from then on it should get everything.
    pub(super) joined_at: Moment,
    /// When it has heard last that the connection to a neighbor is gone.
    pub(super) lost_at: Moment,
    /// It is there to break things: nobody counts what it gets.
    pub(super) is_hostile: bool,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Its process is killed; the kernel closes its connections.
    Process,
    /// Its host goes without a word.
    Host,
}

/// What a protocol is told.
enum Input {
    Opened(Side, IpAddr),
    Frame(Message),
    Closed(Ending),
}

#[derive(Debug)]
pub(super) struct World {
    clock: Clock,
    pub(super) now: Moment,
    queue: Queue<Event>,
    pub(super) network: Network,
    pub(super) nodes: Vec<Node>,
    attempts: u32,
    chance: Chance,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
    /// Dials begun.
    pub(super) dials: u64,
    pub(super) events: u64,
    /// Duplicates of the nodes that are no more.
    duplicates_of_dead: u64,
}

impl World {
    /// Hosts without a node yet.
    pub(super) fn new(hosts: usize, weather: Weather, clock: Clock, seed: u64) -> Self {
        let node = || Node {
            protocol: None,
            dialing: Dialing::default(),
            wake_at: Moment::NEVER,
            joined_at: Moment::NEVER,
            lost_at: Moment::default(),
            is_hostile: false,
        };
        Self {
            clock,
            now: Moment::default(),
            queue: Queue::new(),
            network: Network::new(hosts, weather, seed),
            nodes: (0..hosts).map(|_| node()).collect(),
            attempts: 0,
            chance: Chance::new(seed, Part::Dialing, 0),
            ledger: Ledger::new(hosts),
            trace: Trace::new(),
            dials: 0,
            events: 0,
            duplicates_of_dead: 0,
        }
    }

    /// What protocols take for the time.
    pub(super) fn instant(&self) -> Instant {
        self.clock.instant(self.now)
    }

    /// Starts a node on a host, which dials its configured peers.
    pub(super) fn start(&mut self, host: u32, protocol: Box<dyn Protocol>, configured: &[PeerUrl]) {
        let (now, queue) = (self.now, &mut self.queue);
        self.network.come_back(host, Presence::Up, now, queue);
        let node = &mut self.nodes[host as usize];
        node.protocol = Some(protocol);
        node.dialing = Dialing::new(configured);
        node.wake_at = Moment::NEVER;
        node.joined_at = Moment::NEVER;
        self.trace.add(now, Mark::Started, host, 0);
        for url in configured {
            self.dial(host, url);
        }
        self.drain(host);
    }

    /// Ends the node of a host.
    pub(super) fn kill(&mut self, host: u32, death: Death) {
        let node = &mut self.nodes[host as usize];
        let Some(protocol) = node.protocol.take() else {
            return;
        };
        self.duplicates_of_dead += protocol.standing().duplicates;
        node.wake_at = Moment::NEVER;
        node.joined_at = Moment::NEVER;
        node.dialing = Dialing::default();
        self.trace.add(self.now, Mark::Died, host, death as u64);
        match death {
            Death::Process => self.network.end_process(host, self.now, &mut self.queue),
            Death::Host => self.network.vanish(host, self.now),
        }
    }

    pub(super) fn is_alive(&self, host: u32) -> bool {
        self.nodes[host as usize].protocol.is_some()
    }

    /// Hosts with a node, in order.
    pub(super) fn alive(&self) -> impl Iterator<Item = u32> {
        (0..self.nodes.len() as u32).filter(|host| self.is_alive(*host))
    }

    pub(super) fn standing(&self, host: u32) -> Option<Standing> {
        let protocol = self.nodes[host as usize].protocol.as_ref()?;
        Some(protocol.standing())
    }

    /// The connections that a node believes in.
    pub(super) fn members(&self, host: u32) -> impl Iterator<Item = EndId> {
        let protocol = self.nodes[host as usize].protocol.as_ref();
        let members = protocol.map(|protocol| protocol.members());
        members.unwrap_or_default().into_iter().map(EndId::of_key)
    }

    pub(super) fn held_bytes(&self, host: u32) -> usize {
        let protocol = self.nodes[host as usize].protocol.as_ref();
        protocol.map_or(0, |protocol| protocol.held_bytes())
    }

    /// Messages that nodes got and had already, since the beginning.
    pub(super) fn duplicates(&self) -> u64 {
        let of_living = self.nodes.iter().filter(|node| !node.is_hostile);
        let of_living = of_living.filter_map(|node| node.protocol.as_ref());
        let of_living: u64 = of_living
            .map(|protocol| protocol.standing().duplicates)
            .sum();
        self.duplicates_of_dead + of_living
    }

    pub(super) fn publish(&mut self, host: u32, payload_bytes: usize) {
        let now = self.clock.instant(self.now);
        let Some(protocol) = &mut self.nodes[host as usize].protocol else {
            return;
        };
        let message = self.ledger.publish(host, payload_bytes, self.now);
        protocol.publish(&message, now);
        self.trace.add(self.now, Mark::Published, host, 0);
        self.drain(host);
    }

    pub(super) fn cut(&mut self) {
        self.network.cut();
    }

    pub(super) fn heal(&mut self) {
        self.network.heal(self.now, &mut self.queue);
    }

    /// Lets everything happen until then.
    pub(super) fn run_until(&mut self, limit: Moment) {
        while let Some((at, event)) = self.queue.pop_until(limit) {
            debug_assert!(at >= self.now, "time runs forward");
            self.now = at;
            self.events += 1;
            self.handle(event);
        }
        self.now = limit;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive(from) => self.arrive(from),
            Event::Wake(host) => self.wake(host),
            Event::KeepAlive(end) => {
                let happening = self.network.keep_alive(end, self.now, &mut self.queue);
                self.tell(end, happening);
            }
            Event::CloseTimeout(end) => {
                let happening = self.network.give_up(end, self.now, &mut self.queue);
                self.tell(end, happening);
            }
            Event::Request(host, attempt) => self.request(host, attempt),
            Event::Refused(host, attempt) => self.dial_failed(host, attempt),
            Event::DialTimeout(host, attempt) => self.dial_failed(host, attempt),
            Event::Redial(host, wait) => {
                if let Some(url) = self.nodes[host as usize].dialing.redial(wait) {
                    self.dial(host, &url);
                }
            }
        }
    }

    fn arrive(&mut self, from: EndId) {
        while let Some((to, host, happening)) = self.network.arrive(from, self.now, &mut self.queue)
        {
            self.hear(to, host, happening);
        }
    }

    /// What an end has decided by itself.
    fn tell(&mut self, end: EndId, happening: Happening) {
        // The slot may be free by now; hosts of a freed connection are still those it had.
        let Some(connection) = self.network.connections.get(end.slot as usize) else {
            return;
        };
        let host = connection.ends[end.side()].host;
        self.hear(end, host, happening);
    }

    fn hear(&mut self, end: EndId, host: u32, happening: Happening) {
        match happening {
            Happening::Unheard => {}
            Happening::Frame(frame) => self.input(host, end, Input::Frame(frame)),
            Happening::Opened(attempt) => {
                let dialing = &mut self.nodes[host as usize].dialing;
                if let Some(url) = dialing.on_opened(attempt, end, self.now) {
                    let remote = geography::host_of(&url).map_or(host, |remote| remote);
                    let remote = IpAddr::V4(geography::address(remote));
                    self.input(host, end, Input::Opened(Side::Dialed(url), remote));
                }
            }
            Happening::Failed(attempt) => self.dial_failed(host, attempt),
            Happening::Closed(ending) => {
                let was_neighbor = self.members(host).any(|member| member == end);
                let wait = self.attempt();
                let node = &mut self.nodes[host as usize];
                if was_neighbor {
                    node.lost_at = self.now;
                }
                let dialing = &mut node.dialing;
                let again = dialing.on_closed(end, wait, self.now, &mut self.chance);
                if let Some(after) = again {
                    let at = self.now.after(after);
                    self.queue.push(at, Event::Redial(host, wait));
                }
                self.input(host, end, Input::Closed(ending));
            }
        }
    }

    /// Gives the protocol of a node what it hears of a connection.
    fn input(&mut self, host: u32, end: EndId, input: Input) {
        let Some(protocol) = &mut self.nodes[host as usize].protocol else {
            return;
        };
        let (peer, now) = (end.key(), self.clock.instant(self.now));
        let (mark, detail) = match &input {
            Input::Opened(..) => (Mark::Opened, 0),
            Input::Frame(frame) => (Mark::Frame, content(frame.as_bytes())),
            Input::Closed(Ending::ByPeer(code)) => {
                (Mark::Closed, 2 + u64::from(code.unwrap_or_default()))
            }
            Input::Closed(ending) => (Mark::Closed, u64::from(*ending == Ending::ByUs)),
        };
        self.trace.add(self.now, mark, host, peer.0 ^ detail);
        match input {
            Input::Opened(side, remote) => protocol.on_opened(peer, side, remote, now),
            Input::Frame(frame) => protocol.on_frame(peer, frame, now),
            Input::Closed(ending) => protocol.on_closed(peer, ending, now),
        }
        let node = &mut self.nodes[host as usize];
        if node.joined_at == Moment::NEVER
            && let Some(protocol) = &node.protocol
            && !protocol.members().is_empty()
        {
            node.joined_at = self.now;
        }
        self.drain(host);
    }

    fn wake(&mut self, host: u32) {
        let node = &mut self.nodes[host as usize];
        // A node is woken once for the earliest of its deadlines; what was meant before is void.
        if node.wake_at != self.now {
            return;
        }
        node.wake_at = Moment::NEVER;
        let Some(protocol) = &mut node.protocol else {
            return;
        };
        let now = self.clock.instant(self.now);
        if protocol.next_deadline().is_some_and(|due| due <= now) {
            protocol.expire(now);
        }
        self.drain(host);
    }

    /// Does what the protocol of a node says, and sees that it is woken in time.
    fn drain(&mut self, host: u32) {
        while let Some(protocol) = &mut self.nodes[host as usize].protocol {
            let Some(output) = protocol.poll_output() else {
                break;
            };
            self.perform(host, output);
        }
        let node = &mut self.nodes[host as usize];
        let due = node.protocol.as_ref().and_then(|it| it.next_deadline());
        if let Some(due) = due {
            let due = self.clock.moment(due).max(self.now);
            if due < node.wake_at {
                node.wake_at = due;
                self.queue.push(due, Event::Wake(host));
            }
        }
    }

    fn perform(&mut self, host: u32, output: Output) {
        let (now, queue) = (self.now, &mut self.queue);
        match output {
            Output::Send { to, frame } => {
                for peer in to {
                    let end = EndId::of_key(peer);
                    self.network.send(end, &frame, now, queue);
                }
            }
            Output::Deliver(delivery) if delivery.reach == Reach::Mesh => {
                if !self.nodes[host as usize].is_hostile {
                    let message = &delivery.message;
                    self.trace
                        .add(now, Mark::Delivered, host, content(message.as_bytes()));
                    self.ledger.deliver(host, message, now);
                }
            }
            Output::Dial(url) => self.dial(host, &url),
            Output::Rest(url) => self.nodes[host as usize].dialing.rest(&url),
            Output::Close { peer, code, .. } => {
                self.network.close(EndId::of_key(peer), code, now, queue);
            }
            Output::Deliver(_) | Output::Tell(_) => {}
        }
    }

    fn attempt(&mut self) -> Attempt {
        self.attempts += 1;
        Attempt(self.attempts)
    }

    fn dial(&mut self, host: u32, url: &PeerUrl) {
        let attempt = self.attempt();
        let dialing = &mut self.nodes[host as usize].dialing;
        let Some(target) = dialing.dial(url, attempt) else {
            return;
        };
        self.dials += 1;
        let (now, queue) = (self.now, &mut self.queue);
        let timeout = now.plus(Limits::DEFAULT.handshake_timeout);
        queue.push(timeout, Event::DialTimeout(host, attempt));
        let Some(target) = target else {
            return;
        };
        if target == host {
            // Told by the answer to the upgrade request.
            queue.push(now.after(LOOPBACK), Event::Request(host, attempt));
            return;
        }
        if let Some(there) = self.network.hosts.get_mut(target as usize) {
            there.dialed += 1;
        }
        if !self.network.is_reachable(host, target) {
            return;
        }
        let there = self.network.passage(host, target);
        let back = self.network.passage(target, host);
        let is_up = self.network.hosts[target as usize].presence == Presence::Up;
        if is_up {
            let request = there + back + self.network.passage(host, target);
            queue.push(now.after(request), Event::Request(host, attempt));
        } else {
            queue.push(now.after(there + back), Event::Refused(host, attempt));
        }
    }

    /// The upgrade request of a dialer is at the host that it dials.
    fn request(&mut self, host: u32, attempt: Attempt) {
        let dialing = &mut self.nodes[host as usize].dialing;
        let Some(target) = dialing.leads_to(attempt) else {
            return;
        };
        if target == host {
            let url = dialing.on_itself(attempt);
            let protocol = self.nodes[host as usize].protocol.as_mut();
            if let (Some(url), Some(protocol)) = (url, protocol) {
                let now = self.clock.instant(self.now);
                protocol.on_dial_failed(&url, DialFailure::Itself, now);
                self.drain(host);
            }
            return;
        }
        if !self.network.is_reachable(host, target) {
            return;
        }
        if self.network.hosts[target as usize].presence != Presence::Up {
            let back = self.network.passage(target, host);
            let at = self.now.after(back);
            self.queue.push(at, Event::Refused(host, attempt));
            return;
        }
        let (now, queue) = (self.now, &mut self.queue);
        let end = self.network.open(host, target, attempt, now, queue);
        let dialing = &mut self.nodes[host as usize].dialing;
        dialing.on_requested(attempt, end.other());
        let remote = IpAddr::V4(geography::address(host));
        self.input(target, end, Input::Opened(Side::Accepted, remote));
    }

    fn dial_failed(&mut self, host: u32, attempt: Attempt) {
        let dialing = &mut self.nodes[host as usize].dialing;
        if let Some(end) = dialing.waiting_end(attempt) {
            self.network.give_up(end, self.now, &mut self.queue);
        }
        let Some(failed) = dialing.on_failed(attempt, &mut self.chance) else {
            return;
        };
        if let Some(wait) = failed.wait {
            let at = self.now.after(wait);
            self.queue.push(at, Event::Redial(host, attempt));
        }
        let now = self.clock.instant(self.now);
        self.trace.add(self.now, Mark::DialFailed, host, 0);
        if let Some(protocol) = &mut self.nodes[host as usize].protocol {
            protocol.on_dial_failed(&failed.url, DialFailure::Unreachable, now);
        }
        self.drain(host);
    }
}
