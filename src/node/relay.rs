//! What becomes of messages: the only place that knows both the connections and the mesh.
//!
//! Tells the mesh what happens on connections of neighbors, and carries out what it asks for. What plain
//! peers send is published; what is to reach the plain peers of a channel is gathered during the turn and
//! sent at its end, so that a burst costs each of them one write. A turn gathers no more than it reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use rand::rngs::Xoshiro256PlusPlus;

use crate::{
    config::{Config, PeerUrl, limits::joined_bytes_max},
    counters::Counters,
    mesh::{self, Delivery, Ending, Mesh, News, PeerKey, Place, Reach, Side, Standing},
    message::Message,
    net::{self, CloseReason, Event, Kind, Network, Outgoing, PeerName, PerKind, Relayed, Token},
    node_id::NodeId,
    output::{Output, Received},
    pages::{Neighbor, Tie},
    printable::Excerpt,
};

/// Close codes (RFC 6455 §7.4.1): of a connection that is not needed, of a peer that does not keep to the
/// rules, and of a node that is full.
const NOT_NEEDED: u16 = 1000;
const POLICY: u16 = 1008;
const TRY_AGAIN: u16 = 1013;

/// What a turn of the loop works with.
pub(super) struct Turn<'a> {
    pub(super) network: &'a mut Network,
    pub(super) output: &'a mut dyn Output,
    pub(super) now: Instant,
}

/// Where the messages of a node come together.
#[derive(Debug)]
pub(super) struct Relay {
    mesh: Mesh,
    configured: Vec<PeerUrl>,
    /// Whether what plain peers send is published.
    publishes: bool,
    echo: bool,
    /// Plain peers that are being closed: what still comes from them is nobody's any more.
    refused: BTreeSet<Token>,
    /// Connections that may become those of neighbors, once both sides have said hello.
    greeting: BTreeSet<Token>,
    /// What the plain peers of each channel are to get at the end of the turn.
    gathered: BTreeMap<Box<str>, Vec<(Message, Option<Token>)>>,
    joined_bytes_max: usize,
    closed_rights: u64,
}

impl Relay {
    pub(super) fn new(
        config: &Config,
        id: NodeId,
        mut ports: Vec<u16>,
        rng: Xoshiro256PlusPlus,
        now: Instant,
    ) -> Self {
        // A name with two addresses has one port.
        ports.sort_unstable();
        ports.dedup();
        let place = Place {
            id,
            configured: config.peers.clone(),
            ports,
            message_bytes_max: config.limits.message_bytes_max,
        };
        Self {
            mesh: Mesh::new(config.mesh.clone(), place, rng, now),
            configured: config.peers.clone(),
            publishes: config.relay,
            echo: config.echo,
            refused: BTreeSet::new(),
            greeting: BTreeSet::new(),
            gathered: BTreeMap::new(),
            joined_bytes_max: joined_bytes_max(config.limits.outbox_bytes_max),
            closed_rights: 0,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.mesh.next_deadline()
    }

    /// Does what is due.
    pub(super) fn expire(&mut self, turn: &mut Turn<'_>) {
        self.mesh.expire(turn.now);
        self.carry_out(turn);
    }

    /// Tells the neighbors that this node is about to go.
    pub(super) fn withdraw(&mut self, now: Instant) {
        self.mesh.withdraw(now);
    }

    /// Whether they know, or have had their time.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.mesh.is_withdrawn()
    }

    /// What the messages that are kept for others take of memory.
    pub(super) fn history_bytes(&self) -> usize {
        self.mesh.history_bytes()
    }

    /// Gives up one of the messages that are kept for others.
    pub(super) fn forget_oldest(&mut self) {
        self.mesh.forget_oldest();
    }

    /// Takes over what may have changed.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        (self.publishes, self.echo) = (config.relay, config.echo);
        self.joined_bytes_max = joined_bytes_max(config.limits.outbox_bytes_max);
    }

    /// How the node stands in the mesh.
    pub(super) fn standing(&self) -> Standing {
        self.mesh.standing()
    }

    /// The neighbors, as the status shows them.
    pub(super) fn neighbors(&self, network: &Network) -> Vec<Neighbor> {
        let neighbors = self.mesh.ties().map(|tied| {
            let peer = token_of(tied.peer);
            let name = network.describe(peer).map(|(name, _)| name.to_string());
            let first = Some(tied.round_trip).filter(|time| *time < Duration::MAX);
            let round_trip = network.round_trip(peer).or(first);
            Neighbor {
                id: tied.id.to_string(),
                name: name.unwrap_or_default(),
                tie: match (tied.is_parent, tied.is_eager) {
                    (true, _) => Tie::Parent,
                    (false, true) => Tie::Child,
                    (false, false) => Tie::Spare,
                },
                is_leaf: tied.is_leaf,
                round_trip_seconds: round_trip.map(|time| time.as_secs_f64()),
                outbox_bytes: network.pending_bytes(peer),
            }
        });
        neighbors.collect()
    }

    /// Adds what is counted here.
    pub(super) fn count(&self, counters: &mut Counters) {
        let standing = self.mesh.standing();
        counters.neighbors = standing.neighbors as u64;
        counters.published = standing.published;
        counters.delivered = standing.received;
        counters.duplicates = standing.duplicates;
        counters.missed = standing.missed;
        counters.requested = standing.requested;
        counters.withheld = standing.withheld;
        counters.ignored = standing.ignored;
        counters.closed_rights = self.closed_rights;
    }

    pub(super) fn on_event(&mut self, event: Event, turn: &mut Turn<'_>) {
        match event {
            Event::Opened(peer) => self.on_opened(peer, turn),
            Event::Message(peer, message) => match turn.network.kind(peer) {
                Some(Kind::Neighbor) => self.mesh.on_frame(key_of(peer), message, turn.now),
                Some(Kind::Plain) => self.on_plain_message(peer, message, turn),
                None => {}
            },
            Event::Closed {
                peer,
                kind,
                name,
                reason,
                is_unanswered,
                round_trip,
            } => {
                let told = Closed {
                    name: &name,
                    reason: &reason,
                    is_unanswered,
                    round_trip,
                };
                // Three places in the program, so that strangers who come and go use up nobody else's lines.
                match kind {
                    Kind::Plain => {
                        let level = self.level_of_plain(peer, &reason);
                        log::log!(level, "peer {told}");
                    }
                    Kind::Neighbor if self.greeting.remove(&peer) => {
                        log::log!(level_of_stranger(&reason), "neighbor {told}");
                    }
                    Kind::Neighbor => log::log!(level_of_neighbor(&reason), "neighbor {told}"),
                }
                if kind == Kind::Neighbor {
                    let ending = ending_of(&reason);
                    self.mesh.on_closed(key_of(peer), ending, turn.now);
                }
            }
            Event::Configured(urls) => {
                self.mesh.set_configured(&urls, turn.now);
                self.configured = urls;
            }
            Event::DialFailed { url, failure } => {
                let failure = match failure {
                    net::DialFailure::Unreachable => mesh::DialFailure::Unreachable,
                    net::DialFailure::Itself => mesh::DialFailure::Itself,
                };
                self.mesh.on_dial_failed(&url, failure, turn.now);
            }
            // A node opens connections by its dialer only, and answers questions before they come to here.
            Event::Connected(_) | Event::NotOpened(..) | Event::Asked(..) => {}
        }
        self.carry_out(turn);
    }

    /// How loud the end of a plain peer is told.
    fn level_of_plain(&mut self, peer: Token, reason: &CloseReason) -> log::Level {
        let was_refused = self.refused.remove(&peer);
        match reason {
            CloseReason::Slow(_) | CloseReason::TooFast(_) | CloseReason::ByNode(POLICY, _) => {
                log::Level::Warn
            }
            // Nobody was told that it is there.
            _ if was_refused => log::Level::Debug,
            _ => log::Level::Info,
        }
    }

    /// Whether anybody would hear what is published.
    pub(super) fn has_listeners(&self, network: &Network) -> bool {
        self.mesh.members().next().is_some() || network.has_plain_peers()
    }

    /// Publishes a message of this node itself, which its own output does not hear.
    pub(super) fn publish(&mut self, channel: &str, message: Message, turn: &mut Turn<'_>) {
        self.mesh.publish(channel, &message, turn.now);
        self.gather(channel, None, message);
        self.carry_out(turn);
    }

    /// Sends messages to the direct peers, the same to all of them.
    pub(super) fn broadcast(&mut self, messages: Vec<Message>, turn: &mut Turn<'_>) {
        // What was published before goes first.
        self.send_gathered(turn.network, turn.now);
        let members: Vec<_> = self.mesh.members().map(token_of).collect();
        if !members.is_empty() {
            for message in &messages {
                let frame = self.mesh.direct(message);
                let members = members.iter().copied();
                turn.network.send_each(members, frame, turn.now);
            }
        }
        // Who has not said hello yet would not know what to make of it.
        let mut forms = PerKind {
            plain: Outgoing::joined(messages, self.joined_bytes_max),
            neighbor: Vec::new(),
        };
        turn.network.send_to_all(turn.now, &mut forms);
    }

    /// Sends each direct peer a message of its own: `message` gets its index among them, from 0.
    pub(super) fn broadcast_each(
        &mut self,
        message: impl Fn(usize) -> Message,
        turn: &mut Turn<'_>,
    ) {
        self.send_gathered(turn.network, turn.now);
        let members: BTreeSet<_> = self.mesh.members().map(token_of).collect();
        turn.network.send_to_each(turn.now, |peer, kind, index| {
            let message = match kind {
                Kind::Plain => message(index),
                Kind::Neighbor if members.contains(&peer) => self.mesh.direct(&message(index)),
                Kind::Neighbor => return None,
            };
            Some(Outgoing::new(message))
        });
    }

    /// Sends what was gathered for plain peers.
    pub(super) fn send_gathered(&mut self, network: &mut Network, now: Instant) {
        while let Some((channel, messages)) = self.gathered.pop_first() {
            let mut messages = Relayed::joined(messages, self.joined_bytes_max);
            network.send_to_channel(&channel, &mut messages, now);
        }
    }

    fn on_opened(&mut self, peer: Token, turn: &mut Turn<'_>) {
        let Turn { network, now, .. } = turn;
        let Some((kind, (name, path))) = network.kind(peer).zip(network.describe(peer)) else {
            return;
        };
        let dialed = network.dialed_url(peer);
        match kind {
            Kind::Neighbor => {
                // It is told of as connected when it is a neighbor indeed.
                log::debug!("neighbor {name} is to say hello");
                self.greeting.insert(peer);
                let side = dialed.map_or(Side::Accepted, |url| Side::Dialed(url.clone()));
                let remote = network.remote(peer).map(|remote| remote.ip());
                self.mesh.on_opened(key_of(peer), side, remote, *now);
            }
            Kind::Plain => {
                let is_wanted = dialed.is_none_or(|url| self.configured.contains(url));
                if let Some(url) = dialed {
                    let failure = mesh::DialFailure::Plain;
                    self.mesh.on_dial_failed(url, failure, *now);
                }
                if is_wanted {
                    log::info!("peer {name} connected{}", OnPath(path));
                } else {
                    let reason = CloseReason::ByNode(NOT_NEEDED, "not a wsmesh node".to_owned());
                    self.refused.insert(peer);
                    network.close(peer, reason, *now);
                }
            }
        }
    }

    /// A plain peer publishes.
    fn on_plain_message(&mut self, peer: Token, message: Message, turn: &mut Turn<'_>) {
        if self.refused.contains(&peer) {
            return;
        }
        if !turn.network.may_publish(peer) {
            let words = "this token does not allow publishing".to_owned();
            self.closed_rights += 1;
            self.refused.insert(peer);
            let reason = CloseReason::ByNode(POLICY, words);
            return turn.network.close(peer, reason, turn.now);
        }
        if let Some((from, path)) = turn.network.describe(peer) {
            turn.output.message(&Received {
                from,
                path,
                message: &message,
            });
            if self.publishes {
                self.mesh.publish(path, &message, turn.now);
                self.gather(path, Some(peer), message.clone());
            }
        }
        if self.echo {
            turn.network.answer(peer, message, turn.now);
        }
    }

    /// Does what the mesh asks for.
    fn carry_out(&mut self, turn: &mut Turn<'_>) {
        while let Some(output) = self.mesh.poll_output() {
            let Turn { network, now, .. } = &mut *turn;
            match output {
                mesh::Output::Send { to, frame } => {
                    network.send_each(to.into_iter().map(token_of), frame, *now);
                }
                mesh::Output::Deliver(delivery) => self.deliver(delivery, turn),
                mesh::Output::Dial(url) => network.dial(&url, *now),
                mesh::Output::Rest(url) => network.rest(&url),
                mesh::Output::Close { peer, code, reason } => {
                    network.close(token_of(peer), CloseReason::ByNode(code, reason), *now);
                }
                mesh::Output::Tell(News::Met(peer)) => {
                    self.greeting.remove(&token_of(peer));
                    if let Some((name, _)) = network.describe(token_of(peer)) {
                        log::info!("neighbor {name} connected");
                    }
                }
                mesh::Output::Tell(news @ News::Withheld { from, .. }) => {
                    let name = network.describe(token_of(from)).map(|(name, _)| name);
                    let name = name.map(|name| name.to_string()).unwrap_or_default();
                    log::log!(news.level(), "neighbor {name}: {news}");
                }
                mesh::Output::Tell(news) => log::log!(news.level(), "{news}"),
            }
        }
    }

    /// Hands a message of another node to the output and, if it is for all, to plain peers.
    fn deliver(&mut self, delivery: Delivery, turn: &mut Turn<'_>) {
        let Delivery {
            origin,
            channel,
            message,
            reach,
            ..
        } = delivery;
        match reach {
            Reach::Mesh => {
                turn.output.message(&Received {
                    from: PeerName::Origin(origin),
                    path: &channel,
                    message: &message,
                });
                self.gather(&channel, None, message);
            }
            Reach::Neighbor(peer) => {
                if let Some((from, path)) = turn.network.describe(token_of(peer)) {
                    turn.output.message(&Received {
                        from,
                        path,
                        message: &message,
                    });
                }
            }
        }
    }

    /// Notes a message for the plain peers of a channel, but for the one that has sent it.
    fn gather(&mut self, channel: &str, sender: Option<Token>, message: Message) {
        match self.gathered.get_mut(channel) {
            Some(messages) => messages.push((message, sender)),
            None => {
                self.gathered
                    .insert(channel.into(), vec![(message, sender)]);
            }
        }
    }
}

fn key_of(peer: Token) -> PeerKey {
    PeerKey(peer.to_bits())
}

fn token_of(peer: PeerKey) -> Token {
    Token::from_bits(peer.0)
}

fn ending_of(reason: &CloseReason) -> Ending {
    match reason {
        CloseReason::ByPeer(code, _) => Ending::ByPeer(*code),
        CloseReason::Shutdown
        | CloseReason::Restart
        | CloseReason::Protocol(_)
        | CloseReason::NotUtf8
        | CloseReason::TooBig(_)
        | CloseReason::Slow(_)
        | CloseReason::Memory(_)
        | CloseReason::TooFast(_)
        | CloseReason::ByNode(..) => Ending::ByUs,
        CloseReason::Silent(_)
        | CloseReason::Vanished
        | CloseReason::CutOff
        | CloseReason::Tls(_)
        | CloseReason::Itself
        | CloseReason::Declined(_)
        | CloseReason::Answered(_)
        | CloseReason::Denied(_)
        | CloseReason::Failed(_) => Ending::Lost,
    }
}

/// How loud the end of a connection to a neighbor is told.
fn level_of_neighbor(reason: &CloseReason) -> log::Level {
    match reason {
        CloseReason::Slow(_) => log::Level::Warn,
        _ => log::Level::Info,
    }
}

/// … and of one to a node that never was a neighbor: only if something is wrong.
fn level_of_stranger(reason: &CloseReason) -> log::Level {
    match reason {
        CloseReason::ByPeer(Some(NOT_NEEDED | TRY_AGAIN), _)
        | CloseReason::ByNode(NOT_NEEDED | TRY_AGAIN, _) => log::Level::Debug,
        // Another network, for example.
        CloseReason::ByPeer(Some(POLICY), _) | CloseReason::ByNode(POLICY, _) => log::Level::Warn,
        _ => level_of_neighbor(reason),
    }
}

/// What is told of a peer that is gone.
struct Closed<'a> {
    name: &'a str,
    reason: &'a CloseReason,
    is_unanswered: bool,
    round_trip: Option<Duration>,
}

impl fmt::Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} closed: {}", self.name, self.reason)?;
        if self.is_unanswered {
            f.write_str(", and did not answer the Close")?;
        }
        match self.round_trip {
            None => Ok(()),
            Some(round_trip) => write!(f, " (last round trip {round_trip:.1?})"),
        }
    }
}

/// The path of a connection, where it is worth telling.
struct OnPath<'a>(&'a str);

impl fmt::Display for OnPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "/" => Ok(()),
            path => write!(f, " on {}", Excerpt(path)),
        }
    }
}
