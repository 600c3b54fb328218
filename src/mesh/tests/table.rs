//! Nodes around a table.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};

use crate::{
    config::{MeshConfig, PeerUrl},
    mesh::{Delivery, DialFailure, Ending, Mesh, News, Output, PeerKey, Place, Side},
    message::Message,
    node_id::NodeId,
};

/// One end of a connection: its node and the key that the node knows it by.
pub(super) type End = (usize, PeerKey);

#[derive(Debug)]
enum Event {
    Opened(Side, IpAddr),
    Frame(Message),
    Closed(Ending),
}

pub(super) struct Table {
    pub(super) nodes: Vec<Mesh>,
    pub(super) now: Instant,
    /// By the key of each end the other one.
    ends: BTreeMap<PeerKey, End>,
    closing: BTreeSet<PeerKey>,
    /// Which connections were opened by which URL, until the node has heard that they are closed.
    dialed: BTreeMap<PeerKey, (usize, PeerUrl)>,
    events: VecDeque<(usize, PeerKey, Event)>,
    keys: u64,
    /// Nodes that nobody can dial.
    pub(super) undialable: BTreeSet<usize>,
    /// Nodes that are down: they cannot dial either.
    pub(super) down: BTreeSet<usize>,
    pub(super) deliveries: Vec<Vec<Delivery>>,
    pub(super) news: Vec<Vec<News>>,
    /// Reasons of all Closes, and how often which URL was dialed.
    pub(super) closes: Vec<(u16, String)>,
    pub(super) dials: BTreeMap<String, usize>,
    /// How often each node has dialed.
    pub(super) dials_by: BTreeMap<usize, usize>,
    pub(super) rests: Vec<PeerUrl>,
}

pub(super) fn url(node: usize) -> PeerUrl {
    format!("ws://10.0.{}.{}:8080/", node / 250, node % 250 + 1)
        .parse()
        .expect("an address")
}

fn address(node: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(
        10,
        0,
        (node / 250) as u8,
        (node % 250 + 1) as u8,
    ))
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            now: Instant::now(),
            ends: BTreeMap::new(),
            closing: BTreeSet::new(),
            dialed: BTreeMap::new(),
            events: VecDeque::new(),
            keys: 0,
            undialable: BTreeSet::new(),
            down: BTreeSet::new(),
            deliveries: Vec::new(),
            news: Vec::new(),
            closes: Vec::new(),
            dials: BTreeMap::new(),
            dials_by: BTreeMap::new(),
            rests: Vec::new(),
        }
    }

    /// So many nodes with the same settings.
    pub(super) fn with_nodes(count: usize) -> Self {
        let mut table = Self::new();
        for _ in 0..count {
            table.add(MeshConfig::default(), &[]);
        }
        table
    }

    pub(super) fn add(&mut self, config: MeshConfig, configured: &[usize]) -> usize {
        let index = self.nodes.len();
        let place = Place {
            id: NodeId(index as u128 + 1),
            configured: configured.iter().map(|node| url(*node)).collect(),
            ports: vec![8080],
            message_bytes_max: 1024,
        };
        let rng = Xoshiro256PlusPlus::seed_from_u64(index as u64);
        self.nodes.push(Mesh::new(config, place, rng, self.now));
        self.deliveries.push(Vec::new());
        self.news.push(Vec::new());
        index
    }

    /// Opens a connection that nobody has asked for by an output. Returns both ends.
    pub(super) fn connect(&mut self, from: usize, to: usize) -> (PeerKey, PeerKey) {
        self.connect_by(&url(to), from, to)
    }

    /// The same, by another URL of the node.
    pub(super) fn connect_by(
        &mut self,
        url: &PeerUrl,
        from: usize,
        to: usize,
    ) -> (PeerKey, PeerKey) {
        self.keys += 2;
        let (dialer, acceptor) = (PeerKey(self.keys), PeerKey(self.keys + 1));
        self.ends.insert(dialer, (to, acceptor));
        self.ends.insert(acceptor, (from, dialer));
        self.dialed.insert(dialer, (from, url.clone()));
        let dialed = Event::Opened(Side::Dialed(url.clone()), address(to));
        self.events.push_back((from, dialer, dialed));
        let accepted = Event::Opened(Side::Accepted, address(from));
        self.events.push_back((to, acceptor, accepted));
        (dialer, acceptor)
    }

    /// A connection of a node to the test itself, which is nobody's business but the test's.
    pub(super) fn connect_stranger(&mut self, node: usize) -> PeerKey {
        self.keys += 2;
        let key = PeerKey(self.keys);
        self.nodes[node].on_opened(key, Side::Accepted, address(200), self.now);
        key
    }

    /// Both sides lose a connection, with what is on the way.
    pub(super) fn cut(&mut self, key: PeerKey) {
        let Some((other_node, other)) = self.ends.remove(&key) else {
            return;
        };
        let (node, _) = self.ends.remove(&other).expect("ends come in pairs");
        self.events.retain(|(_, at, _)| *at != key && *at != other);
        self.events
            .push_back((node, key, Event::Closed(Ending::Lost)));
        self.events
            .push_back((other_node, other, Event::Closed(Ending::Lost)));
    }

    /// A node goes down.
    pub(super) fn kill(&mut self, node: usize) {
        self.down.insert(node);
        (0..self.nodes.len()).for_each(|other| self.part(node, other));
    }

    /// One side has lost a connection, and the other has not noticed.
    pub(super) fn forget(&mut self, noticed_by_none: PeerKey) {
        let (node, key) = self.ends.remove(&noticed_by_none).expect("it is there");
        self.ends.remove(&key);
        self.events
            .push_back((node, key, Event::Closed(Ending::Lost)));
    }

    /// Loses the frames that one node has just sent another.
    pub(super) fn drop_frames(&mut self, from: usize, to: usize) {
        let keys = self.connections(to, from);
        self.take_outputs();
        self.events.retain(|(_, key, _)| !keys.contains(key));
    }

    pub(super) fn is_closing(&self, key: PeerKey) -> bool {
        self.closing.contains(&key)
    }

    /// Cuts every connection between two nodes.
    pub(super) fn part(&mut self, one: usize, other: usize) {
        for key in self.connections(one, other) {
            self.cut(key);
        }
    }

    /// The keys by which `one` knows its connections to `other`.
    pub(super) fn connections(&self, one: usize, other: usize) -> Vec<PeerKey> {
        let all = self.ends.iter().filter(|(_, (node, back))| {
            *node == other && self.ends.get(back).is_some_and(|(node, _)| *node == one)
        });
        all.map(|(key, _)| *key).collect()
    }

    pub(super) fn frame(&mut self, node: usize, from: PeerKey, frame: impl Into<Message>) {
        let now = self.now;
        self.nodes[node].on_frame(from, frame.into(), now);
    }

    pub(super) fn publish(&mut self, node: usize, text: &str) {
        let now = self.now;
        self.nodes[node].publish("/", &Message::text(text.to_owned()), now);
    }

    /// What a node has heard, in order.
    pub(super) fn heard(&self, node: usize) -> Vec<String> {
        let texts = self.deliveries[node].iter();
        texts
            .map(|d| String::from_utf8_lossy(d.message.as_bytes()).into_owned())
            .collect()
    }

    /// Lets everything happen that happens without waiting, while what comes on this connection is late.
    pub(super) fn settle_but(&mut self, late: PeerKey) {
        let mut held_back = VecDeque::new();
        loop {
            self.take_outputs();
            let is_late = |(_, key, event): &(usize, PeerKey, Event)| {
                *key == late && matches!(event, Event::Frame(_))
            };
            let (hold, go): (VecDeque<_>, _) = self.events.drain(..).partition(is_late);
            held_back.extend(hold);
            if go.is_empty() {
                break;
            }
            self.events = go;
            self.handle_next();
        }
        self.events = held_back;
    }

    /// Lets everything happen that happens without waiting.
    pub(super) fn settle(&mut self) {
        loop {
            let outputs = self.take_outputs();
            if !self.handle_next() && outputs == 0 {
                return;
            }
        }
    }

    /// Whether there was something.
    fn handle_next(&mut self) -> bool {
        let Some((node, key, event)) = self.events.pop_front() else {
            return false;
        };
        let now = self.now;
        let node = &mut self.nodes[node];
        match event {
            Event::Opened(side, remote) => node.on_opened(key, side, remote, now),
            Event::Frame(frame) => node.on_frame(key, frame, now),
            Event::Closed(ending) => {
                self.dialed.remove(&key);
                node.on_closed(key, ending, now);
            }
        }
        true
    }

    /// Lets time pass, with all that is due in it.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        loop {
            let next = self.nodes.iter().filter_map(Mesh::next_deadline).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                let is_due = |node: &Mesh| node.next_deadline().is_some_and(|at| at <= self.now);
                let rounds = (0..9).take_while(|_| {
                    let is_due = is_due(node);
                    node.expire(self.now);
                    is_due
                });
                assert!(rounds.count() < 9, "what was due is done");
            }
            self.settle();
        }
        self.now = end;
    }

    fn take_outputs(&mut self) -> usize {
        let mut count = 0;
        for index in 0..self.nodes.len() {
            while let Some(output) = self.nodes[index].poll_output() {
                count += 1;
                self.carry_out(index, output);
            }
        }
        count
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Send { to, frame } => {
                for key in to {
                    assert!(
                        !self.closing.contains(&key),
                        "nothing is sent after a Close"
                    );
                    if let Some((other, key)) = self.ends.get(&key) {
                        self.events
                            .push_back((*other, *key, Event::Frame(frame.clone())));
                    }
                }
            }
            Output::Deliver(delivery) => self.deliveries[node].push(delivery),
            // Of what is connected already the network says nothing.
            Output::Dial(to) if self.dialed.values().any(|by| *by == (node, to.clone())) => {}
            Output::Dial(to) => {
                *self.dials.entry(to.to_string()).or_default() += 1;
                *self.dials_by.entry(node).or_default() += 1;
                let there = (0..self.nodes.len()).find(|there| url(*there) == to);
                let is_reachable = |there: &usize| {
                    let barred = [&self.undialable, &self.down];
                    !barred.iter().any(|set| set.contains(there)) && !self.down.contains(&node)
                };
                match there.filter(is_reachable) {
                    Some(there) if there == node => {
                        self.nodes[node].on_dial_failed(&to, DialFailure::Itself, self.now);
                    }
                    Some(there) => {
                        self.connect(node, there);
                    }
                    None => {
                        self.nodes[node].on_dial_failed(&to, DialFailure::Unreachable, self.now);
                    }
                }
            }
            Output::Rest(url) => self.rests.push(url),
            Output::Close { peer, code, reason } => {
                assert!(
                    self.closing.insert(peer),
                    "a connection is closed once: {reason}"
                );
                self.closes.push((code, reason));
                if let Some((other, key)) = self.ends.remove(&peer) {
                    self.ends.remove(&key);
                    self.events
                        .push_back((other, key, Event::Closed(Ending::ByPeer(Some(code)))));
                }
                self.events
                    .push_back((node, peer, Event::Closed(Ending::ByUs)));
            }
            Output::Tell(news) => self.news[node].push(news),
        }
    }
}
