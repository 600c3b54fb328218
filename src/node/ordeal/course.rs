//! One ordeal, from its seed to its end: nodes and their peers in a simulated world, in a time of their own.

use std::{
    collections::{BTreeSet, VecDeque},
    io::ErrorKind,
    net::IpAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    certificate::Certificate,
    ledger::Ledger,
    line::Line,
    member::{MANY, Member},
    peer::{Peer, Stage, Way},
    plan::{self, Deed, Place, Plan},
    watch::LATE_MAX,
};
use crate::{
    net::simulated::{Host, Listener, Watched as _, World},
    node::Next,
};

/// Steps that an ordeal may take; more is a livelock.
const STEPS_MAX: usize = 400_000;
/// What is said is heard everywhere after so long.
const ON_ITS_WAY_MAX: Duration = Duration::from_millis(500);

/// What has come of an ordeal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The same for the same seed.
    pub(super) trace: u64,
    pub(super) turns: u64,
    pub(super) deliveries: u64,
    pub(super) good_peers: usize,
    pub(super) good_closed: usize,
    /// Of the good ones, those that a node has dialed, and those with TLS.
    pub(super) good_dialed: usize,
    pub(super) good_with_tls: usize,
    pub(super) accept_pauses: u64,
    pub(super) closed_slow: u64,
    pub(super) neighbors: u64,
}

/// Where a node dials, and who answers there, one after the other.
struct Server {
    listener: Listener,
    peers: VecDeque<usize>,
}

/// The tokens of servers begin here, those of peers are their numbers.
const SERVER_FIRST: usize = 10_000;

pub(super) struct Course {
    rng: SmallRng,
    world: World,
    /// Where good peers are, and servers.
    outside: Host,
    /// Where the others are.
    elsewhere: Host,
    servers: Vec<Server>,
    now: Instant,
    members: Vec<Member>,
    /// What the output of each has heard.
    heard: Vec<BTreeSet<String>>,
    pub(super) peers: Vec<Peer>,
    ledger: Ledger,
    deeds: Vec<(Instant, Deed)>,
    settled_at: Instant,
    end: Instant,
    outcome: Outcome,
}

/// Says how a failure comes about when there is one.
struct Confession {
    seed: u64,
    world: World,
}

impl Drop for Confession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}\nthe ordeal with seed {} has failed",
                self.world.last_words(),
                self.seed
            );
        }
    }
}

/// Runs the ordeal of a seed.
pub(super) fn run(seed: u64) -> Outcome {
    run_plan(seed, Plan::draw, |_| {})
}

/// Runs an ordeal that is made by `draw`, and lets `look` see what has come of it.
pub(super) fn run_plan(
    seed: u64,
    draw: impl FnOnce(&mut SmallRng, Instant, &Certificate) -> Plan,
    look: impl FnOnce(&Course),
) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(seed);
    let start = Instant::now();
    let certificate = Certificate::new(plan::addresses());
    let plan = draw(&mut rng, start, &certificate);
    let world = World::new(rng.random(), plan.weather.clone(), start);
    let _confession = Confession {
        seed,
        world: world.clone(),
    };
    let mut course = Course::new(plan, rng, world, start);
    course.go();
    look(&course);
    course.finish()
}

impl Course {
    fn new(plan: Plan, mut rng: SmallRng, world: World, now: Instant) -> Self {
        let outside = world.host(IpAddr::from([10, 9, 0, 1]), MANY, false);
        let elsewhere = world.host(IpAddr::from([10, 9, 0, 2]), MANY, false);
        let servers = plan.servers.into_iter().enumerate();
        let servers = servers.map(|(index, server)| {
            let listener = outside.listen(server.address);
            let listener = listener.expect("nobody else listens there");
            let watched = listener.watch(mio::Token(SERVER_FIRST + index));
            watched.expect("it can be watched");
            let peers = server.peers.into();
            Server { listener, peers }
        });
        let servers = servers.collect();
        let mut members = Vec::new();
        for config in &plan.configs {
            members.push(Member::new(config, &world, true, &mut rng, now));
        }
        let peers = plan.manners.into_iter().enumerate();
        Self {
            rng,
            world,
            outside,
            elsewhere,
            servers,
            now,
            heard: vec![BTreeSet::new(); members.len()],
            members,
            peers: peers
                .map(|(number, manner)| Peer::new(number, manner))
                .collect(),
            ledger: Ledger::default(),
            deeds: plan.deeds,
            settled_at: plan.settled_at,
            end: plan.end,
            outcome: Outcome {
                trace: 0,
                turns: 0,
                deliveries: 0,
                good_peers: 0,
                good_closed: 0,
                good_dialed: 0,
                good_with_tls: 0,
                accept_pauses: 0,
                closed_slow: 0,
                neighbors: 0,
            },
        }
    }

    fn go(&mut self) {
        for _ in 0..STEPS_MAX {
            let Some(next) = self.next() else {
                return;
            };
            self.now = self.now.max(next);
            if self.now > self.end {
                return;
            }
            self.world.advance(self.now);
            self.do_deeds();
            self.let_peers_act();
            self.let_nodes_turn();
        }
        panic!("it comes to no end");
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let peers = self.peers.iter().filter_map(Peer::next);
        let members = self.members.iter().filter_map(Member::next);
        let deeds = self.deeds.iter().map(|(at, _)| *at);
        let is_ready = self.outside.is_ready() || self.elsewhere.is_ready();
        let ready = is_ready.then_some(self.now);
        let others = [self.world.next(), ready].into_iter().flatten();
        peers.chain(members).chain(deeds).chain(others).min()
    }

    fn do_deeds(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.deeds.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, deed) in due {
            match deed {
                Deed::Exhaust { node, left } => {
                    let host = &self.members[node].host;
                    host.set_descriptors_max(host.sockets() + left);
                }
                Deed::Relieve { node } => self.members[node].host.set_descriptors_max(MANY),
                Deed::Reload { node } => {
                    let member = &mut self.members[node];
                    member.arrived.is_reload = true;
                }
                Deed::Interrupt { node } => self.members[node].interrupt(now),
                Deed::Drain { node } => self.members[node].drain(now),
                Deed::Stop { node } => {
                    let member = &mut self.members[node];
                    member.handle.stop();
                    member.is_woken = true;
                    member.stop(Duration::ZERO, now);
                }
                Deed::Weather(weather) => self.world.set_weather(weather),
                Deed::Cut(from, to) => self.world.cut(self.host(from), self.host(to)),
                Deed::Heal(from, to) => self.world.heal(self.host(from), self.host(to)),
            }
        }
    }

    fn host(&self, place: Place) -> &Host {
        match place {
            Place::Node(node) => &self.members[node].host,
            Place::Elsewhere => &self.elsewhere,
        }
    }

    /// Lets those in whom the nodes dial.
    fn serve(&mut self, index: usize) {
        let Server { listener, peers } = &mut self.servers[index];
        loop {
            match listener.accept() {
                // Who comes when nobody is left is turned away.
                Ok((socket, _)) => {
                    if let Some(number) = peers.pop_front() {
                        let watched = socket.watch(mio::Token(number));
                        watched.expect("it can be watched");
                        let line = Line::clear(socket);
                        self.peers[number].begin(line, &mut self.ledger, self.now);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Interrupted, or gone already.
                Err(_) => {}
            }
        }
    }

    fn let_peers_act(&mut self) {
        let ready = [&self.outside, &self.elsewhere].map(|host| host.poll(usize::MAX));
        let ready = ready.iter().flatten();
        let tokens = ready.map(|ready| mio::Token::from(ready.source).0);
        let mut acting: BTreeSet<usize> = tokens.collect();
        for server in acting.split_off(&SERVER_FIRST) {
            self.serve(server - SERVER_FIRST);
        }
        let due = self.peers.iter();
        let due = due.filter(|peer| peer.next().is_some_and(|next| next <= self.now));
        acting.extend(due.map(|peer| peer.number));
        for number in acting {
            let peer = &mut self.peers[number];
            let host = match peer.manner.is_good {
                true => &self.outside,
                false => &self.elsewhere,
            };
            peer.act(host, &self.world, &mut self.ledger, &mut self.rng, self.now);
        }
    }

    fn let_nodes_turn(&mut self) {
        for (index, member) in self.members.iter_mut().enumerate() {
            if !member.is_due(self.now) {
                continue;
            }
            // Sometimes more comes together before the loop gets there.
            if member.busy_until < self.now && self.rng.random_bool(0.2) {
                let late = self.rng.random_range(Duration::ZERO..LATE_MAX / 2);
                member.busy_until = self.now + late;
                continue;
            }
            let events_max = match self.rng.random_bool(0.8) {
                true => 256,
                false => self.rng.random_range(1..4),
            };
            let (ledger, heard) = (&self.ledger, &mut self.heard[index]);
            let hear = |text: &str| {
                let is_new = ledger.author(text).is_none() || heard.insert(text.to_owned());
                assert!(is_new, "the output hears {text:?} twice");
            };
            let patience = member.turn(hear, events_max, self.now);
            let waits = match patience {
                Next::Wait(Some(patience)) => patience.as_nanos() as u64,
                Next::Wait(None) => u64::MAX,
                Next::End => 0,
            };
            self.world.note("turn", index as u64, waits);
            self.outcome.turns += 1;
        }
    }

    /// Looks whether all is as it should be in the end.
    fn finish(mut self) -> Outcome {
        let mut refused_abruptly = 0;
        for (index, member) in self.members.iter_mut().enumerate() {
            assert!(member.has_ended, "node {index} has not ended");
            let counters = *member.node.network.counters();
            self.outcome.accept_pauses += counters.accept_pauses;
            self.outcome.closed_slow += counters.closed_slow;
            refused_abruptly += counters.refused_abruptly;
        }
        // Who hears no answer to its request was one too many.
        let good = self.peers.iter().filter(|peer| peer.manner.is_good);
        let cut_off = good.filter(|peer| peer.refused == Some(0) && !peer.is_dialed());
        let cut_off = cut_off.count() as u64;
        assert!(cut_off <= refused_abruptly, "{cut_off} good peers cut off");
        let good = self.peers.iter().filter(|peer| peer.manner.is_good);
        let met: Vec<_> = good
            .filter(|peer| match peer.is_dialed() {
                // The node may stop before it has heard that it is let in.
                true => peer.has_met,
                false => peer.refused.is_none() && peer.stage != Stage::Absent,
            })
            .collect();
        for peer in &met {
            self.outcome.good_peers += 1;
            self.outcome.good_dialed += usize::from(peer.is_dialed());
            let is_with_tls = matches!(peer.manner.way, Way::DialsWithTls(..));
            self.outcome.good_with_tls += usize::from(is_with_tls);
            assert!(peer.has_said_all(), "{peer:?}");
            assert_eq!(peer.stage, Stage::Gone, "{peer:?}");
            let code = peer.close_heard.expect("a good peer hears a Close");
            self.outcome.good_closed += usize::from(code == 1001);
            match peer.is_staying() {
                true => assert_eq!(code, 1001, "{peer:?}"),
                false => assert!([1000, 1001].contains(&code), "{peer:?}"),
            }
        }
        for listener in met.iter().filter(|peer| peer.is_staying()) {
            // Of what is said elsewhere when it hears the Close, some is on its way still.
            let until = listener.closed_at.map(|at| at - ON_ITS_WAY_MAX);
            let until = until.unwrap_or(self.now);
            for author in &met {
                let time = self.settled_at..until;
                self.ledger.check(listener.number, author.number, time);
            }
        }
        self.outcome.deliveries = self.ledger.deliveries;
        self.outcome.trace = self.world.trace();
        self.outcome
    }
}
