//! What a phase has cost and brought.

use super::{
    clock::Moment,
    histogram::percentile,
    ledger::Publication,
    report::{Bytes, Phase, Times},
    traffic::Traffic,
    world::World,
};

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Counters {
    at: Moment,
    traffic: Traffic,
    dials: u64,
    duplicates: u64,
    nodes: usize,
    /// What the busiest node has sent in this phase.
    busiest_bytes: u64,
}

impl Counters {
    fn of(world: &World) -> Self {
        Self {
            at: world.now,
            traffic: world.network.traffic,
            dials: world.dials,
            duplicates: world.duplicates(),
            nodes: world.alive().count(),
            busiest_bytes: world.network.busiest_bytes(),
        }
    }
}

/// The begin of a phase, and the end of its load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    begin: Counters,
    end: Option<Counters>,
}

impl Mark {
    pub(super) fn new(world: &mut World) -> Self {
        world.network.forget_sent();
        Self {
            begin: Counters::of(world),
            end: None,
        }
    }

    /// What comes later does not count to the cost a second.
    pub(super) fn stop(&mut self, world: &World) {
        self.end = Some(Counters::of(world));
    }
}

/// Who should have a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Who is on the publisher's side of a partition.
    OwnPart,
    /// Everyone what was published after this moment, nobody what was before.
    Since(Moment),
}

pub(super) fn measure(world: &World, mark: &Mark, name: &'static str, scope: Scope) -> Phase {
    let now = Counters::of(world);
    let end = mark.end.unwrap_or(now);
    let seconds = end.at.since(mark.begin.at) as f64 / 1e6;
    let traffic = end.traffic.since(&mark.begin.traffic);
    let nodes = (mark.begin.nodes + end.nodes) as f64 / 2.0;
    let per_node_second = |bytes: u64| ratio(bytes as f64, nodes * seconds);
    let ledger = &world.ledger;
    let firsts = (ledger.deliveries - ledger.repeated) as f64;
    let in_all = now.traffic.since(&mark.begin.traffic);
    let (wanted, missing) = pairs(world, ledger.publications().iter(), scope);
    let percent = |percent| ledger.latencies.percentile(percent).unwrap_or(0);
    Phase {
        name,
        seconds: now.at.since(mark.begin.at) as f64 / 1e6,
        publications: ledger.publications().len(),
        delivered: share(wanted, missing),
        missing,
        repeated: ledger.repeated,
        redundancy: ratio((now.duplicates - mark.begin.duplicates) as f64, firsts),
        last: last(ledger.publications()),
        latency: Times {
            p50_ms: percent(50) as f64 / 1e3,
            p99_ms: percent(99) as f64 / 1e3,
            max_ms: percent(100) as f64 / 1e3,
        },
        bytes_per_node_second: Bytes {
            payload: per_node_second(traffic.payload),
            announcements: per_node_second(traffic.announcements),
            control: per_node_second(traffic.control),
        },
        busiest_bytes_per_second: ratio(end.busiest_bytes as f64, seconds),
        bytes_per_delivery: ratio((in_all.payload + in_all.announcements) as f64, firsts),
        dials_per_minute: per_node_second(end.dials - mark.begin.dials) * 60.0,
        ..Phase::default()
    }
}

/// Times to the last node.
fn last(publications: &[Publication]) -> Times {
    let times = publications.iter().map(|it| it.last_at.since(it.at));
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    let percent = |percent| percentile(&times, percent).unwrap_or(0) as f64 / 1e3;
    Times {
        p50_ms: percent(50),
        p99_ms: percent(99),
        max_ms: percent(100),
    }
}

/// Pairs of a publication and a node that should have it, and in how many it does not.
pub(super) fn pairs<'a>(
    world: &World,
    publications: impl Iterator<Item = &'a Publication>,
    scope: Scope,
) -> (u64, u64) {
    let honest = |host: &u32| !world.nodes[*host as usize].is_hostile;
    let nodes: Vec<u32> = world.alive().filter(honest).collect();
    let part = |host: u32| world.network.hosts[host as usize].part;
    let (mut wanted, mut missing) = (0, 0);
    for publication in publications {
        for node in &nodes {
            let is_there = world.nodes[*node as usize].joined_at <= publication.at;
            let is_meant = match scope {
                Scope::All => true,
                Scope::OwnPart => part(*node) == part(publication.by),
                Scope::Since(since) => publication.at >= since,
            };
            if *node == publication.by || !is_there || !is_meant {
                continue;
            }
            wanted += 1;
            missing += u64::from(!publication.has(*node));
        }
    }
    (wanted, missing)
}

/// The share of what was published between two moments, in this phase or the one before, that has come to
/// everyone.
pub(super) fn recovered(world: &World, from: Moment, to: Moment) -> f64 {
    let ledger = &world.ledger;
    let all = ledger.before().iter().chain(ledger.publications());
    let within = all.filter(|it| (from..to).contains(&it.at));
    let (wanted, missing) = pairs(world, within, Scope::All);
    share(wanted, missing)
}

fn share(wanted: u64, missing: u64) -> f64 {
    match wanted {
        0 => 1.0,
        wanted => (wanted - missing) as f64 / wanted as f64,
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
