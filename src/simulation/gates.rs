//! What the mesh must show, as runs and figures with bounds: the same for tests with a thousand nodes and for
//! measurements with more.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    report::{Phase, Report},
    run::run,
    scenario::{PerMinute, ProtocolKind, Scenario, Share},
};
use crate::config::{Time, limits::DEGREE_MAX_DEFAULT};

/// One thing that the mesh must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Many senders, then churn: exactly once, with few copies too many.
    Steady,
    /// One sender, a hundred messages a second.
    OneSender,
    /// So many of a hundred nodes die at the moment of a publication.
    Crash(u32),
    /// One half cannot reach the other for five minutes.
    Partition,
    /// All nodes at once; what the overlay becomes and costs.
    Joining,
    /// So many of a hundred nodes cannot be dialed.
    Undialable(u32),
    /// Beside flooding over the same overlay.
    Compared,
    /// One of twenty nodes wants to do harm.
    Hostile,
}

/// A figure and its bound.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// Where it comes from.
    pub gate: Gate,
    /// What was measured.
    pub what: String,
    /// What came out.
    pub value: f64,
    /// What it must not exceed or, where more is better, not fall below.
    pub bound: f64,
    /// Whether less is better.
    pub is_ceiling: bool,
    /// Whether it is as it must be.
    pub is_met: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_met { "met" } else { "NOT MET" };
        let (gate, what) = (self.gate, &self.what);
        let (value, bound) = (self.value, self.bound);
        write!(
            f,
            "{gate}: {what}: {value:.4} (bound {bound:.4}): {verdict}"
        )
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Steady => "steady",
            Self::OneSender => "one sender",
            Self::Crash(percent) => return write!(f, "crash of {percent} %"),
            Self::Partition => "partition",
            Self::Joining => "joining",
            Self::Undialable(percent) => return write!(f, "{percent} % undialable"),
            Self::Compared => "beside flooding",
            Self::Hostile => "hostile members",
        };
        f.pad(name)
    }
}

/// The findings of one gate.
struct Findings {
    gate: Gate,
    all: Vec<Finding>,
}

impl Findings {
    fn new(gate: Gate) -> Self {
        let all = Vec::new();
        Self { gate, all }
    }

    fn at_most(&mut self, what: impl Into<String>, value: f64, bound: f64) {
        self.all.push(Finding {
            gate: self.gate,
            what: what.into(),
            value,
            bound,
            is_ceiling: true,
            is_met: value <= bound,
        });
    }

    fn at_least(&mut self, what: impl Into<String>, value: f64, bound: f64) {
        self.all.push(Finding {
            gate: self.gate,
            what: what.into(),
            value,
            bound,
            is_ceiling: false,
            is_met: value >= bound,
        });
    }

    fn exactly_once(&mut self, phase: &Phase) {
        let name = phase.name;
        let missing = match phase.publications {
            0 => f64::INFINITY,
            _ => phase.missing as f64,
        };
        self.at_most(format!("{name}: not delivered"), missing, 0.0);
        self.at_most(
            format!("{name}: delivered again"),
            phase.repeated as f64,
            0.0,
        );
    }
}

fn seconds(seconds: u64) -> Option<Time> {
    Some(Time(Duration::from_secs(seconds)))
}

impl Gate {
    /// All of them, in the order of the requirements.
    pub const ALL: [Self; 11] = [
        Self::Steady,
        Self::OneSender,
        Self::Crash(30),
        Self::Crash(50),
        Self::Crash(80),
        Self::Partition,
        Self::Joining,
        Self::Undialable(50),
        Self::Undialable(80),
        Self::Compared,
        Self::Hostile,
    ];

    /// What is run for it.
    pub fn scenario(self, nodes: usize, seed: u64) -> Scenario {
        let base = Scenario {
            nodes,
            seed,
            duration: None,
            ..Scenario::default()
        };
        match self {
            Self::Steady => Scenario {
                duration: seconds(120),
                publishers: 50,
                churn: Some(PerMinute(Share::percent(5))),
                ..base
            },
            Self::OneSender => Scenario {
                duration: seconds(10),
                publishers: 1,
                publish_rate: 100,
                ..base
            },
            Self::Crash(percent) => Scenario {
                duration: seconds(30),
                publish_rate: 5,
                crash: Some(Share::percent(percent)),
                ..base
            },
            Self::Partition => Scenario {
                partition: seconds(300),
                publish_rate: 2,
                ..base
            },
            Self::Joining => Scenario {
                settle: seconds(180),
                ..base
            },
            Self::Undialable(percent) => Scenario {
                duration: seconds(10),
                publish_rate: 5,
                undialable: Share::percent(percent),
                ..base
            },
            // Long enough that one in a hundred is more than the worst one or two.
            Self::Compared => Scenario {
                duration: seconds(120),
                publish_rate: 5,
                ..base
            },
            Self::Hostile => Scenario {
                duration: seconds(90),
                payload_bytes: 8 * 1024,
                hostile: nodes / 20,
                ..base
            },
        }
    }

    /// Runs what is needed and looks at it. Returns also the reports.
    pub fn check(self, nodes: usize, seed: u64, start: Instant) -> (Vec<Finding>, Vec<Report>) {
        let scenario = self.scenario(nodes, seed);
        let variants = match self {
            Self::Compared => [ProtocolKind::Mesh, ProtocolKind::Flood]
                .map(|protocol| Scenario {
                    protocol,
                    ..scenario.clone()
                })
                .to_vec(),
            // The same without those who do harm, to see what they cost.
            Self::Hostile => vec![
                Scenario {
                    hostile: 0,
                    ..scenario.clone()
                },
                scenario,
            ],
            _ => vec![scenario],
        };
        let reports: Vec<Report> = variants
            .iter()
            .map(|scenario| {
                let report = run(scenario, start, &mut |_| ());
                report.expect("the scenarios of the gates are within bounds")
            })
            .collect();
        let mut findings = Findings::new(self);
        self.judge(&reports, &mut findings);
        (findings.all, reports)
    }

    fn judge(self, reports: &[Report], findings: &mut Findings) {
        let phase = |report: usize, name: &str| {
            let phase = reports[report].phase(name);
            phase.expect("the scenario has this phase")
        };
        match self {
            Self::Steady => {
                for (name, redundancy) in [("steady", 0.01), ("churn", 0.05)] {
                    findings.exactly_once(phase(0, name));
                    let copies = phase(0, name).redundancy;
                    findings.at_most(format!("{name}: copies for a delivery"), copies, redundancy);
                }
            }
            Self::OneSender => {
                let steady = phase(0, "steady");
                findings.exactly_once(steady);
                findings.at_most("copies for a delivery", steady.redundancy, 0.01);
            }
            Self::Crash(percent) => {
                let crash = phase(0, "crash");
                findings.exactly_once(crash);
                let bound = if percent > 50 { 5.0 } else { 3.0 };
                findings.at_most("seconds to the last", crash.last.max_ms / 1e3, bound);
                findings.exactly_once(phase(0, "recovery"));
            }
            Self::Partition => {
                let healing = phase(0, "healing");
                let whole_after = healing.whole_after.unwrap_or(f64::INFINITY);
                findings.at_most("seconds to one component", whole_after, 120.0);
                let recovered = healing.recovered.unwrap_or(0.0);
                findings.at_least("recovered of what histories hold", recovered, 1.0);
                findings.exactly_once(healing);
            }
            Self::Joining => {
                let (joined, settled) = (&phase(0, "join").overlay, &phase(0, "settle").overlay);
                findings.at_most("doubled connections", joined.doubled as f64, 0.0);
                findings.at_most("half-open connections", joined.half_open as f64, 0.0);
                // Configured peers are kept beside the others.
                let degree_max = DEGREE_MAX_DEFAULT + reports[0].scenario.seeds;
                findings.at_most("nodes with too few neighbors", settled.needy as f64, 0.0);
                findings.at_most(
                    "greatest degree",
                    settled.degree_max as f64,
                    degree_max as f64,
                );
                let eigenvalue = settled.second_eigenvalue.unwrap_or(1.0);
                findings.at_most("second eigenvalue", eigenvalue, 0.85);
                let idle = phase(0, "idle");
                findings.at_most("idle: dials a minute", idle.dials_per_minute, 2.0);
                let control = idle.bytes_per_node_second.control;
                findings.at_most("idle: bytes a second", control, 250.0);
            }
            Self::Undialable(_) => {
                let idle = phase(0, "idle");
                findings.at_most("idle: dials a minute", idle.dials_per_minute, 6.0);
                let components = idle.overlay.components as f64;
                findings.at_most("components", components, 1.0);
                findings.exactly_once(phase(0, "steady"));
            }
            Self::Compared => {
                let (mesh, flood) = (phase(0, "steady"), phase(1, "steady"));
                let bytes = mesh.bytes_per_delivery / flood.bytes_per_delivery;
                findings.at_most("bytes of flooding's", bytes, 0.4);
                let last = mesh.last.p99_ms / flood.last.p99_ms;
                findings.at_most("last delivery p99 of flooding's", last, 3.0);
            }
            Self::Hostile => {
                let (before, steady) = (phase(0, "steady"), phase(1, "steady"));
                findings.exactly_once(steady);
                let held = steady.held_bytes.0 as f64 / before.held_bytes.0 as f64;
                findings.at_most("memory of what it is without them", held, 1.25);
                let report = &reports[1];
                let dials = report.victim_dials_per_minute.unwrap_or(f64::INFINITY);
                let dials = dials / report.scenario.nodes as f64;
                findings.at_most("dials of a victim, a minute and node", dials, 0.2);
                findings.at_least("closed for not reading", report.overflows as f64, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::on_all_cores;

    /// Where the runs are small enough to be a test.
    const NODES: usize = 1000;

    /// One seed of each gate takes a minute in all. Where everything must hold (`CI=true`) there are ten.
    fn seeds() -> u64 {
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        if is_ci { 10 } else { 1 }
    }

    /// With all cores, so that the longest gate, which is the last to end, does not occupy one core alone.
    fn assert_met(gate: Gate, nodes: usize) {
        let seeds: Vec<u64> = (1..=seeds()).collect();
        on_all_cores(&seeds, |seed| assert_met_by(gate, nodes, *seed));
    }

    fn assert_met_by(gate: Gate, nodes: usize, seed: u64) {
        let (findings, reports) = gate.check(nodes, seed, Instant::now());
        // Seen with `--nocapture`: how far from its bound each figure is.
        for finding in &findings {
            println!("seed {seed}: {finding}");
        }
        let failed: Vec<String> = findings
            .iter()
            .filter(|finding| !finding.is_met)
            .map(ToString::to_string)
            .collect();
        let reports: Vec<String> = reports.iter().map(ToString::to_string).collect();
        assert!(
            failed.is_empty(),
            "seed {seed}: {}\n{}",
            failed.join("\n"),
            reports.join("\n")
        );
    }

    #[test]
    fn everyone_gets_everything_once() {
        assert_met(Gate::Steady, NODES);
    }

    #[test]
    fn everyone_gets_everything_of_a_busy_sender() {
        assert_met(Gate::OneSender, NODES);
    }

    #[test]
    fn a_crash_of_many_delays_a_message_by_seconds() {
        assert_met(Gate::Crash(30), NODES);
        assert_met(Gate::Crash(50), NODES);
        assert_met(Gate::Crash(80), NODES);
    }

    #[test]
    fn a_partition_heals_and_its_gaps_are_filled() {
        assert_met(Gate::Partition, NODES);
    }

    #[test]
    fn all_at_once_become_a_mesh_that_costs_little() {
        assert_met(Gate::Joining, NODES);
    }

    #[test]
    fn those_who_cannot_be_dialed_take_part() {
        assert_met(Gate::Undialable(50), NODES);
        assert_met(Gate::Undialable(80), NODES);
    }

    #[test]
    fn it_is_cheaper_than_flooding_and_not_much_slower() {
        assert_met(Gate::Compared, NODES);
    }

    #[test]
    fn hostile_members_harm_nobody_else() {
        assert_met(Gate::Hostile, 300);
    }
}
