//! The first words on a connection: who is taken in, and who is sent elsewhere.
//!
//! Who has dialed says hello first. The other side answers with its own hello, and with that has taken the
//! node in, or closes with a reason, having told where else to try when it is full.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::RngExt;

use super::{
    Mesh, News, PeerKey, Side, code,
    codec::MessageId,
    control::{Beacon, Control, Hello, Role, URL_BYTES_MAX, VERSION_MAX, VERSION_MIN},
    leaving::{ANOTHER_IS_KEPT, Fate},
    neighbors::{ALONE_FOR, CLAIMS_MAX, GREETING_TIMEOUT, Member, Neighbor, Reach, Stage},
    overlay::{Purpose, Rest},
    tree::{self, Verdict},
};
use crate::{
    config::{PeerUrl, limits::DEGREE_UNDIALABLE_MAX},
    message::Message,
    node_id::NodeId,
    printable::Excerpt,
};

/// Accepted connections whose hello is awaited.
const GREETINGS_MAX: usize = 256;
/// What a neighbor that seems to be silent may still need to be heard.
const SILENCE_GRACE: Duration = Duration::from_secs(1);
/// A connection by which something came within this time is good: beacons come twice as often.
const IN_USE: Duration = Duration::from_secs(10);
/// Connections to one node, until it is settled which one stays.
const DOUBLES_MAX: usize = 2;

impl Mesh {
    /// A connection has negotiated the subprotocol. The address of its other end is not known where there is a
    /// proxy between.
    pub(crate) fn on_opened(
        &mut self,
        peer: PeerKey,
        side: Side,
        remote: impl Into<Option<IpAddr>>,
        now: Instant,
    ) {
        let purpose = match &side {
            Side::Dialed(url) => self.overlay.end_dial(url),
            Side::Accepted => None,
        };
        if purpose == Some(Purpose::Configured)
            && let Side::Dialed(url) = &side
        {
            self.overlay.set_rest(url, Rest::No);
        }
        let until = now + GREETING_TIMEOUT;
        let is_crowded = side == Side::Accepted && self.neighbors.greeting_count() >= GREETINGS_MAX;
        let is_dialed = side != Side::Accepted;
        let neighbor = Neighbor::new(side, remote.into(), purpose.clone(), until, now);
        self.neighbors.insert(peer, neighbor);
        if is_crowded {
            return self.release(peer, code::TRY_AGAIN, "too many say hello at once", now);
        }
        if is_dialed {
            let hello = self.hello(purpose.as_ref(), now);
            self.send_control(peer, &Control::Hello(hello));
        }
        self.wake_upkeep(until);
    }

    /// A WebSocket message of a neighbor.
    pub(crate) fn on_frame(&mut self, peer: PeerKey, frame: Message, now: Instant) {
        let Some(neighbor) = self.neighbors.get_mut(peer) else {
            return;
        };
        match &mut neighbor.stage {
            Stage::Banned => return,
            Stage::Member(member) => member.heard_at = now,
            Stage::Greeting { .. } | Stage::Leaving | Stage::Probed { .. } => {}
        }
        match frame {
            Message::Text(text) => {
                if !neighbor.control.take(now) {
                    self.standing.ignored += 1;
                    return;
                }
                match Control::decode(&text) {
                    Ok(control) => self.on_control(peer, control, now),
                    Err(error) => self.ban(peer, &error.to_string(), now),
                }
            }
            Message::Binary(_) if matches!(neighbor.stage, Stage::Greeting { .. }) => {
                self.ban(peer, "the first frame is not a hello", now);
            }
            Message::Binary(bytes) => self.on_binary(peer, bytes, now),
        }
    }

    fn on_control(&mut self, peer: PeerKey, control: Control, now: Instant) {
        let Some(neighbor) = self.neighbors.get_mut(peer) else {
            return;
        };
        match (&mut neighbor.stage, control) {
            (Stage::Greeting { .. }, Control::Hello(hello)) => self.on_hello(peer, hello, now),
            (_, Control::Hello(_)) => self.ban(peer, "a second hello", now),
            (Stage::Greeting { .. } | Stage::Member(_), Control::Redirect { urls }) => {
                neighbor.has_redirected = true;
                self.learn_urls(peer, &urls, now);
            }
            (Stage::Greeting { .. }, Control::Unknown) => self.standing.ignored += 1,
            (Stage::Greeting { .. }, _) => self.ban(peer, "the first frame is not a hello", now),
            (Stage::Member(member), Control::Met) => {
                let since_hello = now.saturating_duration_since(member.joined_at);
                member.round_trip = member.round_trip.min(since_hello);
                self.distance.on_round_trip(member.id, member.round_trip);
            }
            (Stage::Leaving | Stage::Probed { .. } | Stage::Banned, _) => {}
            (Stage::Member(member), Control::Beacon(_)) if member.is_leaving => {
                self.standing.ignored += 1;
            }
            (Stage::Member(_), Control::Beacon(beacon)) => self.on_beacon(peer, beacon, now),
            (Stage::Member(_), Control::Leaving { urls }) => self.on_leaving(peer, &urls, now),
            (Stage::Member(_), Control::Noted) => self.on_noted(peer),
            (Stage::Member(member), Control::Tree { eager }) => member.is_eager = eager,
            (Stage::Member(_), Control::Shuffle { id, ttl, urls }) => {
                self.on_shuffle(peer, id, ttl, urls, now);
            }
            (Stage::Member(_), Control::Shuffled { id, urls }) => {
                self.on_shuffled(peer, id, urls, now);
            }
            (Stage::Member(_), Control::Reached { url, ok }) => {
                if let Some(url) = self.own_url(peer, &url) {
                    if ok && !self.overlay.is_own(&url) {
                        self.tell(News::Reached(url.clone()));
                    }
                    self.overlay.on_reached(url, ok, now);
                } else {
                    self.standing.ignored += 1;
                }
            }
            (Stage::Member(_), Control::Unknown) => self.standing.ignored += 1,
        }
    }

    /// A URL at which a neighbor says that it has tried this node: one that this node has offered, and that is not
    /// known to be somebody else's.
    fn own_url(&self, from: PeerKey, url: &str) -> Option<PeerUrl> {
        let url = self.checked_url(from, url)?;
        let is_offered =
            self.config.advertise.contains(&url) || self.place.ports.contains(&url.port());
        Some(url).filter(|url| is_offered && !self.neighbors.knows(url))
    }

    fn on_beacon(&mut self, from: PeerKey, beacon: Beacon, now: Instant) {
        match self.tree.on_beacon(from, beacon, now) {
            Verdict::PassOn => {
                self.send_beacon();
                self.look_for_silent(now);
            }
            Verdict::Known => {}
            Verdict::Refused => self.standing.ignored += 1,
        }
        self.tell_eagerness(now);
    }

    /// A beacon has gone to all.
    pub(super) fn look_for_silent(&mut self, now: Instant) {
        if self.timers.silence.is_none() && !self.silent(now).is_empty() {
            self.timers.silence = Some(now + SILENCE_GRACE);
        }
    }

    /// Every neighbor but a leaf passes each beacon on to all: one of which nothing comes for several is gone,
    /// whatever its connection says.
    fn silent(&self, now: Instant) -> Vec<PeerKey> {
        let is_silent = |member: &Member| {
            let silence = now.saturating_duration_since(member.heard_at);
            member.role == Role::Peer && !member.is_leaving && silence > tree::PERIOD * 7 / 2
        };
        let members = self.neighbors.members();
        let silent = members.filter(|(_, member)| is_silent(member));
        silent.map(|(peer, _)| peer).collect()
    }

    /// Closes those that are silent and still were so after a moment: perhaps it was this node that did not
    /// listen, and what they have said meanwhile is only just being read.
    pub(super) fn close_silent(&mut self, now: Instant) {
        if self.timers.silence.is_none_or(|at| at > now) {
            return;
        }
        self.timers.silence = None;
        for peer in self.silent(now) {
            self.close(peer, code::TRY_AGAIN, "silent for too long".to_owned());
            self.leave(peer, Stage::Leaving, Fate::Gone, now);
        }
    }

    fn hello(&self, purpose: Option<&Purpose>, now: Instant) -> Hello {
        let (degree, _) = self.neighbors.degrees();
        let is_alone = self
            .alone_since
            .is_some_and(|since| now.saturating_duration_since(since) >= ALONE_FOR);
        let role = match purpose {
            Some(Purpose::Verify(..) | Purpose::Measure) => Role::Probe,
            _ if self.config.is_leaf || self.withdrawal.is_some() => Role::Leaf,
            _ => Role::Peer,
        };
        // A relay that begins takes what its neighbors keep: others may lack it.
        let wants_what_was = match role {
            Role::Peer => true,
            Role::Leaf => self.begun_at.is_some(),
            Role::Probe => false,
        };
        // Who cannot be reached does not have others try.
        let is_reachable = role == Role::Peer && !self.overlay.is_out_of_reach();
        let ports = if is_reachable {
            self.place.ports.clone()
        } else {
            Vec::new()
        };
        Hello {
            min: VERSION_MIN,
            max: VERSION_MAX,
            id: self.place.id,
            network: self.config.network.to_string(),
            role,
            urls: self
                .config
                .advertise
                .iter()
                .map(ToString::to_string)
                .collect(),
            ports,
            degree: degree as u32,
            degree_max: self.config.degree_max() as u32,
            max_message: self.place.message_bytes_max as u64,
            urgent: is_alone || purpose == Some(&Purpose::Revive),
            known: false,
            have: wants_what_was.then(|| self.seen.have()),
            age: self.begun_at.map(|at| {
                let age = now.saturating_duration_since(at);
                u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
            }),
        }
    }

    fn on_hello(&mut self, peer: PeerKey, hello: Hello, now: Instant) {
        if let Some((code, reason)) = self.objection(&hello) {
            let neighbor = self.neighbors.get(peer);
            if hello.id == self.place.id
                && let Some(Side::Dialed(url)) = neighbor.map(|neighbor| neighbor.side.clone())
            {
                self.overlay.on_itself(&url);
            }
            self.close(peer, code, reason);
            return self.leave(peer, Stage::Banned, Fate::Banned, now);
        }
        let Some(neighbor) = self.neighbors.get_mut(peer) else {
            return;
        };
        neighbor.id = Some(hello.id);
        let mut round_trip = Duration::MAX;
        if let (Side::Dialed(_), Stage::Greeting { until }) = (&neighbor.side, &neighbor.stage) {
            round_trip = GREETING_TIMEOUT - until.saturating_duration_since(now);
            self.distance.on_round_trip(hello.id, round_trip);
        }
        if let (Some(Purpose::Verify(target, id)), Side::Dialed(url)) =
            (&neighbor.purpose, &neighbor.side)
        {
            let (target, url, is_right) = (*target, url.clone(), hello.id == *id);
            neighbor.purpose = None;
            self.on_verified(target, &url, is_right, now);
            return self.release(peer, code::NORMAL, "the address is checked", now);
        }
        if neighbor.purpose == Some(Purpose::Measure) {
            return self.release(peer, code::NORMAL, "only to see how far it is", now);
        }
        if hello.role == Role::Probe {
            let until = now + GREETING_TIMEOUT;
            neighbor.stage = Stage::Probed { until };
            self.wake_upkeep(until);
            let hello = self.hello(None, now);
            return self.send_control(peer, &Control::Hello(hello));
        }
        let is_accepted = neighbor.side == Side::Accepted;
        let connections = self.neighbors.connections_to(hello.id).count();
        let mut member = self.member(peer, &hello, now);
        member.round_trip = round_trip;
        if connections >= DOUBLES_MAX {
            let reason = "there are other connections to this node";
            self.release(peer, code::NORMAL, reason, now);
        } else if is_accepted && connections == 0 && !self.has_room_for(&member, &hello, now) {
            self.redirect(peer, &member.urls, "full", now);
        } else if !is_accepted && !self.wants_another(peer, &hello, now) {
            self.leave_out(peer, member, now);
        } else {
            self.take_in(peer, member, hello, now);
        }
    }

    /// Whether a node that was dialed is to be spoken with on this connection too. If it knows another one by which
    /// it was heard lately, that one is good, and if it does not, it has lost it. When the hellos of both are still
    /// on their way, they may come in another order.
    pub(super) fn wants_another(&self, peer: PeerKey, hello: &Hello, now: Instant) -> bool {
        let mut dialed = self.neighbors.connections_by(hello.id, true);
        let is_older_good =
            dialed.any(|older| now.saturating_duration_since(older.heard_at) < IN_USE);
        !hello.known || !(is_older_good || self.neighbors.awaits_hello_but(peer))
    }

    /// Closes a connection to somebody who has another one. The addresses of both are its own.
    fn leave_out(&mut self, peer: PeerKey, member: Member, now: Instant) {
        if let Some(neighbor) = self.neighbors.get_mut(peer) {
            neighbor.has_met = true;
        }
        let other = self.neighbors.connections_to(member.id).next();
        let other = other.map(|(other, _)| other);
        if let Some(other) = other.and_then(|other| self.neighbors.member_mut(other)) {
            other.add_urls(member.urls);
        }
        self.release(peer, code::NORMAL, ANOTHER_IS_KEPT, now);
    }

    /// Why a node is not taken in, whoever has dialed.
    fn objection(&self, hello: &Hello) -> Option<(u16, String)> {
        if hello.min > VERSION_MAX || hello.max < VERSION_MIN {
            let Hello { min, max, .. } = hello;
            let reason = format!(
                "no common version: yours {min} to {max}, ours {VERSION_MIN} to {VERSION_MAX}"
            );
            return Some((code::POLICY, reason));
        }
        let ours = &self.config.network;
        if hello.network != ours.as_str() {
            let reason = format!(
                "another network: `{}` wants to join `{ours}`",
                Excerpt(&hello.network)
            );
            return Some((code::POLICY, reason));
        }
        if hello.id == self.place.id {
            return Some((code::NORMAL, "this is yourself".to_owned()));
        }
        if self.config.is_leaf && hello.role == Role::Leaf {
            return Some((code::POLICY, "a leaf relays for nobody".to_owned()));
        }
        None
    }

    /// What is known of a node that says hello.
    fn member(&self, peer: PeerKey, hello: &Hello, now: Instant) -> Member {
        let mut member = Member::new(hello.id, hello.role, now);
        member.begun_at = match (&hello.have, hello.age) {
            (None, _) => Some(now),
            (Some(_), age) => age.and_then(|age| now.checked_sub(Duration::from_millis(age))),
        };
        member.message_bytes_max = match usize::try_from(hello.max_message) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(max) => max,
        };
        if let Some(Side::Dialed(url)) = self.neighbors.get(peer).map(|neighbor| &neighbor.side)
            && url.is_for_others()
        {
            member.urls.push(url.clone());
            // A leaf may be dialed, but others shall not look for it.
            if hello.role == Role::Peer {
                member.reach = Reach::Verified;
            }
        }
        let claims = hello
            .urls
            .iter()
            .filter_map(|url| self.checked_url(peer, url));
        let remote = self
            .neighbors
            .get(peer)
            .and_then(|neighbor| neighbor.remote);
        let guesses = hello.ports.iter().filter_map(|port| {
            let address = SocketAddr::new(remote?, *port);
            self.checked_url(peer, &format!("ws://{address}/"))
        });
        if hello.role == Role::Peer {
            for url in claims.chain(guesses).take(CLAIMS_MAX) {
                if !member.urls.contains(&url) && !self.overlay.is_own(&url) {
                    member.urls.push(url);
                }
            }
            if member.reach == Reach::Refuted && !member.urls.is_empty() {
                member.reach = Reach::Claimed;
            }
        }
        member
    }

    /// Whether a node that has dialed can be taken in; somebody else has to go if it is urgent.
    fn has_room_for(&mut self, member: &Member, hello: &Hello, now: Instant) -> bool {
        let (dialable, undialable) = self.neighbors.degrees();
        let has_room = if member.is_dialable() {
            dialable < self.config.degree_max()
        } else {
            undialable < DEGREE_UNDIALABLE_MAX
        };
        if has_room || !hello.urgent || !self.evictions.take(now) {
            return has_room;
        }
        let alike = self
            .neighbors
            .iter()
            .filter(|(_, neighbor)| !neighbor.is_configured())
            .filter_map(|(peer, neighbor)| Some((peer, neighbor.member()?)))
            .filter(|(_, other)| other.is_dialable() == member.is_dialable());
        // Rather one by which no messages come or go.
        let (spare, in_tree): (Vec<_>, Vec<_>) = alike
            .map(|(peer, _)| peer)
            .partition(|peer| self.is_spare(*peer));
        let choice = if spare.is_empty() { in_tree } else { spare };
        if choice.is_empty() {
            return false;
        }
        let evicted = choice[self.rng.random_range(0..choice.len() as u64) as usize];
        let own = self
            .neighbors
            .member(evicted)
            .map(|evicted| evicted.urls.clone());
        self.redirect(evicted, &own.unwrap_or_default(), "making room", now);
        true
    }

    /// Closes a connection for want of room, having told where else to try: not at `its` own addresses.
    fn redirect(&mut self, peer: PeerKey, its: &[PeerUrl], why: &str, now: Instant) {
        let urls = self.urls_for_joining(peer, its);
        if !urls.is_empty() {
            self.send_control(peer, &Control::Redirect { urls });
        }
        self.release(
            peer,
            code::TRY_AGAIN,
            &format!("{why}: try another node"),
            now,
        );
    }

    fn take_in(&mut self, peer: PeerKey, member: Member, hello: Hello, now: Instant) {
        let id = member.id;
        let Some(neighbor) = self.neighbors.get(peer) else {
            return;
        };
        let (is_accepted, purpose) = (neighbor.side == Side::Accepted, neighbor.purpose.clone());
        let known = is_accepted && self.neighbors.connections_by(id, false).next().is_some();
        let Some(neighbor) = self.neighbors.get_mut(peer) else {
            return;
        };
        neighbor.stage = Stage::Member(Box::new(member));
        neighbor.has_met = true;
        if is_accepted {
            let hello = Hello {
                known,
                ..self.hello(None, now)
            };
            self.send_control(peer, &Control::Hello(hello));
        } else {
            self.send_control(peer, &Control::Met);
        }
        self.tell(News::Met(peer));
        if self.alone_since.take().is_some() {
            self.tell(News::Joined);
        }
        self.tree.on_joined(now);
        if let Some(beacon) = self.tree.beacon() {
            self.send_control(peer, &Control::Beacon(beacon));
        }
        self.begun_at.get_or_insert(now);
        // Without it the other side begins now, and wants nothing from before.
        if let Some(have) = hello.have {
            self.compare_notes(peer, have, now);
        }
        self.tell_eagerness(now);
        self.settle_doubles(id, now);
        if let Some(Purpose::Rotate(old)) = purpose {
            self.rotate_out(old, now);
        }
        self.on_change(now);
    }

    /// Learns what the neighbor has, and offers it what it has not.
    fn compare_notes(&mut self, peer: PeerKey, have: BTreeMap<String, u32>, now: Instant) {
        let have = have.into_iter();
        let held: BTreeMap<NodeId, u32> = have
            .filter_map(|(origin, sequence)| Some((origin.parse().ok()?, sequence)))
            .collect();
        for (origin, sequence) in held.clone() {
            if origin != self.origin {
                self.seen.learn(MessageId { origin, sequence }, now);
            }
        }
        let has = |id: MessageId| {
            held.get(&id.origin)
                .is_some_and(|held| *held >= id.sequence)
        };
        self.offer_history(peer, has, now);
    }

    /// A URL that a neighbor has told, if it is one that may be believed and dialed.
    pub(super) fn checked_url(&self, from: PeerKey, url: &str) -> Option<PeerUrl> {
        let scope = self.neighbors.get(from)?.scope();
        let url: PeerUrl = Some(url)
            .filter(|url| url.len() <= URL_BYTES_MAX)?
            .parse()
            .ok()?;
        scope.admits(&url).then_some(url)
    }
}
