//! One ordeal, from its seed to its end: nodes and their peers in a simulated world, in a time of their own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::Poll;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    ledger::Ledger,
    peer::{Peer, Stage},
    plan::{Deed, Plan},
    watch::{LATE_MAX, Watch},
};
use crate::{
    Config, Received,
    net::{
        Kernel, Readiness, Source,
        simulated::{Host, World},
    },
    node::{Next, Node, handle::Handle},
    signals::Arrived,
};

/// Steps that an ordeal may take; more is a livelock.
const STEPS_MAX: usize = 400_000;
/// What is said is heard everywhere after so long.
const ON_ITS_WAY_MAX: Duration = Duration::from_millis(500);
/// Descriptors of a machine that lacks none.
pub(super) const MANY: usize = 100_000;

/// A node and what is known of it.
pub(super) struct Member {
    node: Node,
    handle: Handle,
    pub(super) host: Host,
    watch: Watch,
    /// When it wakes by itself.
    wake_at: Option<Instant>,
    /// Its next turn is not before then: it is busy elsewhere.
    busy_until: Instant,
    is_woken: bool,
    arrived: Arrived,
    /// When it was told to stop, and until when it has to be gone.
    stops_until: Option<Instant>,
    pub(super) has_ended: bool,
    heard: BTreeSet<String>,
}

/// What has come of an ordeal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The same for the same seed.
    pub(super) trace: u64,
    pub(super) turns: u64,
    pub(super) deliveries: u64,
    pub(super) good_peers: usize,
    pub(super) good_closed: usize,
    pub(super) accept_pauses: u64,
    pub(super) closed_slow: u64,
    pub(super) neighbors: u64,
}

pub(super) struct Course {
    rng: SmallRng,
    world: World,
    outside: Host,
    now: Instant,
    members: Vec<Member>,
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
    draw: impl FnOnce(&mut SmallRng, Instant) -> Plan,
    look: impl FnOnce(&Course),
) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(seed);
    let start = Instant::now();
    let plan = draw(&mut rng, start);
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
        let mut members = Vec::new();
        for config in &plan.configs {
            members.push(Member::new(config, &world, &mut rng, now));
        }
        let peers = plan.manners.into_iter().enumerate();
        Self {
            rng,
            world,
            outside,
            now,
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
        let ready = self.outside.is_ready().then_some(self.now);
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
            }
        }
    }

    fn let_peers_act(&mut self) {
        let ready = self.outside.poll(usize::MAX);
        let mut acting: BTreeSet<usize> = ready
            .iter()
            .map(|ready| mio::Token::from(ready.source).0)
            .collect();
        let due = self.peers.iter();
        let due = due.filter(|peer| peer.next().is_some_and(|next| next <= self.now));
        acting.extend(due.map(|peer| peer.number));
        for number in acting {
            self.peers[number].act(
                &self.outside,
                &self.world,
                &mut self.ledger,
                &mut self.rng,
                self.now,
            );
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
            let patience = member.turn(Some(&self.ledger), events_max, self.now);
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
        let cut_off = good.filter(|peer| peer.refused == Some(0)).count() as u64;
        assert!(cut_off <= refused_abruptly, "{cut_off} good peers cut off");
        let good = self.peers.iter().filter(|peer| peer.manner.is_good);
        let met: Vec<_> = good
            .filter(|peer| peer.refused.is_none() && peer.stage != Stage::Absent)
            .collect();
        for peer in &met {
            self.outcome.good_peers += 1;
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

impl Member {
    pub(super) fn new(config: &Config, world: &World, rng: &mut SmallRng, now: Instant) -> Self {
        let (ip, _) = place_of(config);
        let host = world.host(ip, MANY, true);
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("a descriptor is left");
        let kernel = Kernel::simulated(registry, host.clone());
        let refusals_max = 2;
        let node = Node::on(poll, kernel, config, refusals_max, rng, now);
        let node = node.expect("it is configured well");
        Self {
            handle: node.handle(),
            node,
            host,
            watch: Watch::default(),
            wake_at: Some(now),
            busy_until: now,
            is_woken: false,
            arrived: Arrived::default(),
            stops_until: None,
            has_ended: false,
            heard: BTreeSet::new(),
        }
    }

    /// SIGINT has come.
    pub(super) fn interrupt(&mut self, now: Instant) {
        self.arrived.is_stop = true;
        self.stop(Duration::ZERO, now);
    }

    /// SIGTERM has come.
    fn drain(&mut self, now: Instant) {
        self.arrived.is_drain = true;
        self.stop(self.node.config.limits.drain.unwrap_or_default(), now);
    }

    fn stop(&mut self, over: Duration, now: Instant) {
        let until = now + over + self.node.config.limits.shutdown_timeout + LATE_MAX;
        self.stops_until.get_or_insert(until);
    }

    fn has_arrived(&self) -> bool {
        self.is_woken || self.arrived != Arrived::default()
    }

    /// When it is to turn next.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.has_ended {
            return None;
        }
        let is_ready = self.has_arrived() || self.host.is_ready();
        let ready_at = is_ready.then_some(self.busy_until);
        let wake_at = self.wake_at.map(|at| at.max(self.busy_until));
        [ready_at, wake_at].into_iter().flatten().min()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|next| next <= now)
    }

    /// One turn. With a ledger, what the output hears must stand there.
    pub(super) fn turn(
        &mut self,
        ledger: Option<&Ledger>,
        events_max: usize,
        now: Instant,
    ) -> Next {
        let Self {
            node, heard, host, ..
        } = self;
        let arrived = std::mem::take(&mut self.arrived);
        if arrived != Arrived::default() {
            node.on_signals(arrived, now);
        }
        let mut ready = host.poll(events_max);
        if std::mem::take(&mut self.is_woken) {
            ready.push(Readiness {
                source: Source::Waker,
                is_readable: true,
                is_writable: false,
                is_end: false,
            });
        }
        let told = ready.len();
        let mut output = |received: &Received<'_>| {
            let text = String::from_utf8_lossy(received.message.as_bytes());
            let text = text.as_ref();
            if ledger.is_some_and(|ledger| ledger.author(text).is_some()) {
                let is_new = heard.insert(text.to_owned());
                assert!(is_new, "the output hears {text:?} twice");
            }
        };
        let next = node.turn(ready, now, &mut output);
        self.watch.check(node, host, next, told, now);
        match next {
            Next::Wait(patience) => self.wake_at = patience.map(|patience| now + patience),
            Next::End => self.has_ended = true,
        }
        if let Some(until) = self.stops_until {
            assert!(self.has_ended || now <= until, "it does not end in time");
        }
        next
    }
}

/// Where a node listens.
pub(super) fn place_of(config: &Config) -> (IpAddr, SocketAddr) {
    let bind = config.binds.first().expect("a node listens");
    let ip: IpAddr = bind.host().parse().expect("it is an address");
    (ip, SocketAddr::new(ip, bind.port()))
}
