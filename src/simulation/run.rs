//! Runs a scenario: the phases, the load, and what goes wrong when.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    chance::{Chance, Part, Ppm},
    clock::{Clock, Moment, micros},
    geography,
    hostile::{Hostile, Mischief},
    layered::{Flood, Layered},
    measure::{Mark, Scope, measure, recovered},
    plumtree::Plumtree,
    protocol::Protocol,
    report::{Phase, Report},
    scenario::{ProtocolKind, Scenario, ScenarioError},
    survey::{Depth, survey},
    world::{Death, World},
};
use crate::{
    config::{Limits, MeshConfig, PeerUrl},
    mesh::{Mesh, Place},
    node_id::NodeId,
};

const SECOND: u64 = 1_000_000;

/// From the start of all nodes at once.
const JOINING: Duration = Duration::from_secs(10);
/// Without load, to see what the overlay costs by itself.
const IDLE: Duration = Duration::from_secs(60);
/// After publishing, for what is still under way.
const GRACE: Duration = Duration::from_secs(15);
/// After a crash, before others publish.
const CRASH: Duration = Duration::from_secs(10);
/// After a partition, at most, and what is published then.
const HEALING: Duration = Duration::from_secs(300);
const HEALED: Duration = Duration::from_secs(20);
/// Messages that are published at the very moment of a crash.
const AT_CRASH: usize = 10;
/// What is not older when the parts meet is recovered: the age of histories, less the time that it takes.
const WITHIN_HISTORY: Duration = Duration::from_secs(50);
/// Publications a second around a partition, at most: histories hold 256 messages and 60 s.
const PARTITION_RATE_MAX: usize = 4;
/// A node that dies is started again after so long, at least and at most, in microseconds.
const RESTART_MIN: u64 = 5 * SECOND;
const RESTART_SPREAD: u64 = 25 * SECOND;
/// Nodes of which it is measured what they hold.
const HELD_SAMPLE: usize = 100;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The phase that goes on.
    pub phase: &'static str,
    /// Virtual time that has passed.
    pub at: Duration,
    /// Virtual time that the run takes at most.
    pub of: Duration,
}

/// Runs a scenario. Takes `start` for the beginning of virtual time; which instant that is changes nothing.
///
/// ```
/// use std::time::{Duration, Instant};
/// use wsmesh::{config::Time, simulation::{self, Scenario}};
///
/// let scenario = Scenario {
///     nodes: 20,
///     settle: Some(Time(Duration::from_secs(30))),
///     duration: Some(Time(Duration::from_secs(10))),
///     ..Scenario::default()
/// };
/// let report = simulation::run(&scenario, Instant::now(), &mut |_| ())?;
/// let steady = report.phase("steady").expect("something was published");
/// assert_eq!(steady.delivered, 1.0);
/// # Ok::<(), simulation::ScenarioError>(())
/// ```
///
/// # Errors
/// The first value of the scenario that is out of bounds; nothing has been run then.
pub fn run(
    scenario: &Scenario,
    start: Instant,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Report, ScenarioError> {
    scenario.check()?;
    let mut run = Run::new(scenario, start, on_progress);
    run.join();
    run.settle();
    run.publish_steadily();
    run.crash();
    run.churn();
    run.partition();
    Ok(run.into_report())
}

struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    load: Chance,
    fate: Chance,
    /// Nodes started, restarts included.
    births: u64,
    /// Configured peers of each node.
    configured: Vec<Vec<PeerUrl>>,
    publishers: Vec<u32>,
    /// Whose turn it is.
    turn: usize,
    restarts: BTreeSet<(Moment, u32)>,
    phases: Vec<Phase>,
    mark: Mark,
    of: Duration,
    on_progress: &'a mut dyn FnMut(Progress),
    victim_dials_before: u64,
}

/// What goes on during a stretch of time.
#[derive(Clone, Copy, Default)]
struct Activity {
    /// Publications a second.
    rate: usize,
    /// Share of nodes that die each minute.
    churn: Ppm,
}

impl<'a> Run<'a> {
    fn new(
        scenario: &'a Scenario,
        start: Instant,
        on_progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let seed = scenario.seed;
        let clock = Clock::new(start);
        // The last host is the victim of those who are hostile.
        let mut world = World::new(scenario.nodes + 1, scenario.weather(), clock, seed);
        let mut run = Self {
            scenario,
            mark: Mark::new(&mut world),
            world,
            load: Chance::new(seed, Part::Load, 0),
            fate: Chance::new(seed, Part::Fate, 0),
            births: 0,
            configured: Vec::new(),
            publishers: Vec::new(),
            turn: 0,
            restarts: BTreeSet::new(),
            phases: Vec::new(),
            of: planned(scenario),
            on_progress,
            victim_dials_before: 0,
        };
        run.configure();
        run
    }

    /// Decides who can be dialed, who knows whom, and who is hostile.
    fn configure(&mut self) {
        let nodes = self.scenario.nodes;
        let mut chance = Chance::new(self.scenario.seed, Part::Seeds, 0);
        let undialable = self.scenario.undialable.0.of(nodes).min(nodes - 1);
        for host in chance.sample(nodes, undialable) {
            self.world.network.hosts[host].is_dialable = false;
        }
        let is_dialable = |host: &usize| self.world.network.hosts[*host].is_dialable;
        let dialable: Vec<usize> = (0..nodes).filter(is_dialable).collect();
        for host in 0..nodes {
            let count = self.scenario.seeds.min(dialable.len());
            let mut known = BTreeSet::new();
            // Whoever draws itself knows one less.
            for _ in 0..count {
                let drawn = dialable[chance.below(dialable.len() as u64) as usize];
                if drawn != host {
                    known.insert(drawn as u32);
                }
            }
            let urls = known.into_iter().map(geography::url);
            self.configured.push(urls.collect());
        }
        for host in nodes - self.scenario.hostile..nodes {
            self.world.nodes[host].is_hostile = true;
        }
    }

    fn victim(&self) -> u32 {
        self.scenario.nodes as u32
    }

    fn start(&mut self, host: u32) {
        let Scenario { seed, degree, .. } = *self.scenario;
        self.births += 1;
        let mut identity = Chance::new(seed, Part::Identity, self.births);
        let id = NodeId(identity.id());
        let configured = self.configured[host as usize].clone();
        let place = Place {
            id,
            configured: configured.clone(),
            ports: vec![geography::PORT],
            message_bytes_max: Limits::DEFAULT.message_bytes_max,
        };
        let config = MeshConfig {
            degree,
            ..MeshConfig::default()
        };
        let rng = Chance::new(seed, Part::Protocol, self.births).into_inner();
        let now = self.world.instant();
        let mesh = Mesh::new(config, place, rng, now);
        let protocol: Box<dyn Protocol> = if self.world.nodes[host as usize].is_hostile {
            let mischief = Mischief::ALL[host as usize % Mischief::ALL.len()];
            if mischief == Mischief::Deaf {
                self.world.network.hosts[host as usize].reads = false;
            }
            let victim = geography::url(self.victim());
            Box::new(Hostile::new(mesh, mischief, victim, identity, now))
        } else {
            match self.scenario.protocol {
                ProtocolKind::Mesh => Box::new(mesh),
                ProtocolKind::Flood => Box::new(Layered::new(mesh, Flood::default(), id)),
                ProtocolKind::Plumtree => Box::new(Layered::new(mesh, Plumtree::new(), id)),
            }
        };
        self.world.start(host, protocol, &configured);
    }

    fn join(&mut self) {
        for host in 0..self.scenario.nodes as u32 {
            self.start(host);
        }
        self.pass("join", JOINING, Activity::default());
        self.end("join", Depth::Quick, Scope::All);
    }

    fn settle(&mut self) {
        self.victim_dials_before = self.victim_dials();
        self.pass("settle", self.scenario.settle_time(), Activity::default());
        self.end("settle", Depth::Full, Scope::All);
        self.pass("idle", IDLE, Activity::default());
        self.end("idle", Depth::Quick, Scope::All);
    }

    fn publish_steadily(&mut self) {
        let Some(duration) = self.scenario.duration else {
            return;
        };
        self.choose_publishers();
        let activity = Activity {
            rate: self.scenario.publish_rate,
            ..Activity::default()
        };
        self.pass("steady", duration.0, activity);
        self.wait_for_the_rest("steady");
        self.end("steady", Depth::Quick, Scope::All);
    }

    fn crash(&mut self) {
        let Some(share) = self.scenario.crash else {
            return;
        };
        let mut alive = self.honest();
        let count = share.0.of(alive.len()).min(alive.len() - 2);
        let is_root = |host: &u32| self.world.standing(*host).is_some_and(|it| it.is_root);
        // The root goes first, then whoever is drawn.
        if let Some(place) = alive.iter().position(is_root) {
            alive.swap(0, place);
        }
        for place in 1..alive.len() {
            let other = place + self.fate.below((alive.len() - place) as u64) as usize;
            alive.swap(place, other);
        }
        let (victims, survivors) = alive.split_at(count);
        for survivor in survivors.iter().take(AT_CRASH) {
            self.world.publish(*survivor, self.scenario.payload_bytes);
        }
        for victim in victims {
            self.kill(*victim);
        }
        let crashed_at = self.world.now;
        let whole_after = self.pass_until_whole("crash", CRASH, Activity::default(), crashed_at);
        self.end("crash", Depth::Quick, Scope::All).whole_after = whole_after;
        let duration = self.scenario.duration.map_or(Duration::ZERO, |it| it.0);
        self.choose_publishers();
        let activity = Activity {
            rate: self.scenario.publish_rate,
            ..Activity::default()
        };
        let whole_later = match whole_after {
            Some(_) => {
                self.pass("recovery", duration, activity);
                None
            }
            None => self.pass_until_whole("recovery", duration, activity, crashed_at),
        };
        self.wait_for_the_rest("recovery");
        self.end("recovery", Depth::Full, Scope::All).whole_after = whole_later;
    }

    fn churn(&mut self) {
        let (Some(churn), Some(duration)) = (self.scenario.churn, self.scenario.duration) else {
            return;
        };
        self.choose_publishers();
        let activity = Activity {
            rate: self.scenario.publish_rate,
            churn: churn.0.0,
        };
        self.pass("churn", duration.0, activity);
        self.wait_for_the_rest("churn");
        self.end("churn", Depth::Full, Scope::All);
    }

    fn partition(&mut self) {
        let Some(duration) = self.scenario.partition else {
            return;
        };
        let nodes = self.scenario.nodes;
        for host in self.fate.sample(nodes, nodes / 2) {
            self.world.network.hosts[host].part = 1;
        }
        self.choose_publishers();
        let activity = Activity {
            rate: self.scenario.publish_rate.min(PARTITION_RATE_MAX),
            ..Activity::default()
        };
        self.world.cut();
        self.pass("partition", duration.0, activity);
        self.wait_for_the_rest("partition");
        self.end("partition", Depth::Quick, Scope::OwnPart);

        self.world.heal();
        let healed_at = self.world.now;
        let whole_after = self.pass_until_whole("healing", HEALING, activity, healed_at);
        let whole_at = self.world.now;
        self.pass("healing", HEALED, activity);
        self.wait_for_the_rest("healing");
        let within = Moment(whole_at.0.saturating_sub(micros(WITHIN_HISTORY)));
        let recovered = recovered(&self.world, within, whole_at);
        let phase = self.end("healing", Depth::Full, Scope::Since(whole_at));
        phase.whole_after = whole_after;
        phase.recovered = Some(recovered);
    }

    fn kill(&mut self, host: u32) {
        let death = if self.fate.happens(self.scenario.silent.0) {
            Death::Host
        } else {
            Death::Process
        };
        self.world.kill(host, death);
    }

    /// Nodes that run and mean well.
    fn honest(&self) -> Vec<u32> {
        let alive = self.world.alive();
        alive
            .filter(|host| !self.world.nodes[*host as usize].is_hostile)
            .collect()
    }

    fn choose_publishers(&mut self) {
        let honest = self.honest();
        let chosen = self.load.sample(honest.len(), self.scenario.publishers);
        self.publishers = chosen.into_iter().map(|place| honest[place]).collect();
    }

    fn publish_next(&mut self) {
        if self.publishers.is_empty() {
            return;
        }
        self.turn = (self.turn + 1) % self.publishers.len();
        if !self.world.is_alive(self.publishers[self.turn]) {
            let honest = self.honest();
            let place = self.load.below(honest.len() as u64) as usize;
            self.publishers[self.turn] = honest[place];
        }
        let publisher = self.publishers[self.turn];
        self.world.publish(publisher, self.scenario.payload_bytes);
    }

    /// Lets time pass, with load and deaths.
    fn pass(&mut self, phase: &'static str, duration: Duration, activity: Activity) {
        let from = self.world.now;
        let until = from.plus(duration);
        let every = |count: u64, of: u64| of.checked_div(count).unwrap_or(u64::MAX).max(1);
        let publish_every = every(activity.rate as u64, SECOND);
        let nodes = self.scenario.nodes - self.scenario.hostile;
        let die_every = every(activity.churn.of(nodes) as u64, 60 * SECOND);
        let mut publish_at = from.after(self.load.below(publish_every.min(SECOND)));
        if activity.rate == 0 {
            publish_at = Moment::NEVER;
        }
        let mut die_at = from.after(die_every);
        loop {
            self.tell(phase);
            let restart = self.restarts.first().copied();
            let restart_at = restart.map_or(Moment::NEVER, |(at, _)| at);
            let second = self.world.now.after(SECOND);
            let next = [publish_at, die_at, restart_at, second, until];
            let next = next.into_iter().min().unwrap_or(until);
            self.world.run_until(next);
            if next == until {
                return;
            }
            if next == publish_at {
                self.publish_next();
                publish_at = publish_at.after(publish_every);
            }
            if next == die_at {
                die_at = die_at.after(die_every);
                let honest = self.honest();
                let host = honest[self.fate.below(honest.len() as u64) as usize];
                self.kill(host);
                let again = RESTART_MIN + self.fate.below(RESTART_SPREAD);
                self.restarts.insert((next.after(again), host));
            }
            if let Some((_, host)) = restart.filter(|(at, _)| *at == next) {
                self.restarts.pop_first();
                self.start(host);
            }
        }
    }

    /// Lets time pass and looks again and again. Returns the seconds since `since` until the overlay was whole.
    /// Ends early if the phase is one of waiting.
    fn pass_until_whole(
        &mut self,
        phase: &'static str,
        duration: Duration,
        activity: Activity,
        since: Moment,
    ) -> Option<f64> {
        let step = Duration::from_millis(if self.scenario.nodes > 20_000 {
            2_000
        } else {
            500
        });
        let until = self.world.now.plus(duration);
        let mut whole_after = None;
        while self.world.now < until {
            let left = Duration::from_micros(until.since(self.world.now));
            self.pass(phase, step.min(left), activity);
            if whole_after.is_none() && survey(&self.world, Depth::Quick).is_whole() {
                whole_after = Some(self.world.now.since(since) as f64 / 1e6);
                if phase == "healing" {
                    break;
                }
            }
        }
        whole_after
    }

    /// Gives what is under way time to arrive; what it costs does not count to the load.
    fn wait_for_the_rest(&mut self, phase: &'static str) {
        self.mark.stop(&self.world);
        self.pass(phase, GRACE, Activity::default());
    }

    fn tell(&mut self, phase: &'static str) {
        (self.on_progress)(Progress {
            phase,
            at: Duration::from_micros(self.world.now.0),
            of: self.of,
        });
    }

    /// Ends a phase and begins the next.
    fn end(&mut self, name: &'static str, depth: Depth, scope: Scope) -> &mut Phase {
        let mut phase = measure(&self.world, &self.mark, name, scope);
        phase.overlay = survey(&self.world, depth);
        phase.held_bytes = self.held_bytes();
        self.world.ledger.turn_page();
        self.mark = Mark::new(&mut self.world);
        self.phases.push(phase);
        let last = self.phases.len() - 1;
        &mut self.phases[last]
    }

    fn held_bytes(&self) -> (usize, usize) {
        let honest = self.honest();
        let step = honest.len().div_ceil(HELD_SAMPLE).max(1);
        let sample = honest.iter().step_by(step);
        let held: Vec<usize> = sample.map(|host| self.world.held_bytes(*host)).collect();
        let greatest = held.iter().copied().max().unwrap_or(0);
        (held.iter().sum::<usize>() / held.len().max(1), greatest)
    }

    fn victim_dials(&self) -> u64 {
        self.world.network.hosts[self.victim() as usize].dialed
    }

    fn into_report(self) -> Report {
        let minutes = self.world.now.since(Moment(0).plus(JOINING)) as f64 / 60e6;
        let dials = self.victim_dials() - self.victim_dials_before;
        Report {
            scenario: self.scenario.clone(),
            victim_dials_per_minute: (self.scenario.hostile > 0).then_some(dials as f64 / minutes),
            overflows: self.world.network.overflows,
            seconds: self.world.now.0 as f64 / 1e6,
            events: self.world.events,
            trace: self.world.trace.value(),
            phases: self.phases,
        }
    }
}

/// Virtual time that a scenario takes at most.
fn planned(scenario: &Scenario) -> Duration {
    let load = scenario.duration.map_or(Duration::ZERO, |it| it.0 + GRACE);
    let mut sum = JOINING + scenario.settle_time() + IDLE + load;
    if scenario.crash.is_some() {
        sum += CRASH + load.max(GRACE);
    }
    if scenario.churn.is_some() {
        sum += load;
    }
    if let Some(partition) = scenario.partition {
        sum += partition.0 + GRACE + HEALING + HEALED + GRACE;
    }
    debug_assert!(micros(sum) > 0);
    sum
}
