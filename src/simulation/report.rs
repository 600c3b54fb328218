//! What a run has shown: one object for machines, tables for people.

use std::fmt;

use serde::Serialize;

use super::{scenario::Scenario, survey::Overlay};

/// What a run has shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What was run.
    pub scenario: Scenario,
    /// One part after the other.
    pub phases: Vec<Phase>,
    /// Dials to an address that hostile nodes have told everyone, a minute of the phases after joining.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub victim_dials_per_minute: Option<f64>,
    /// Connections that were closed because the other side did not take what it was sent.
    pub overflows: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// What happened in all: frames that arrived, timers, dials.
    pub events: u64,
    /// Folds everything that happened, and when: equal for equal scenarios.
    #[serde(serialize_with = "as_hex")]
    pub trace: u64,
}

fn as_hex<S: serde::Serializer>(trace: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{trace:016x}"))
}

/// One part of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Phase {
    /// What it is about.
    pub name: &'static str,
    /// Its length in virtual seconds.
    pub seconds: f64,
    /// Messages published.
    pub publications: usize,
    /// Share of pairs of a publication and a node that should have it, in which it does; of nodes that ran all
    /// the time from the publication to the end of the phase. 1 if nothing was published.
    pub delivered: f64,
    /// Pairs that make the difference.
    pub missing: u64,
    /// Deliveries of what the same node had delivered before.
    pub repeated: u64,
    /// Copies of messages received beyond the first, for each delivery.
    pub redundancy: f64,
    /// From publication to the last node.
    pub last: Times,
    /// From publication to each node.
    pub latency: Times,
    /// Bytes that a node sends a second, in the mean.
    pub bytes_per_node_second: Bytes,
    /// Bytes that the busiest node sends a second.
    pub busiest_bytes_per_second: f64,
    /// Bytes of payload, announcements and requests, for each delivery.
    pub bytes_per_delivery: f64,
    /// Dials a minute and node.
    pub dials_per_minute: f64,
    /// Seconds until the overlay was one component with one tree again; `None` where nothing was broken, or it
    /// was not within the phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_after: Option<f64>,
    /// Share of what had been published on the other side, not longer before than histories hold, that came
    /// after a partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<f64>,
    /// What the protocol of a node holds, written out, in bytes: mean and greatest of a hundred nodes.
    pub held_bytes: (usize, usize),
    /// The overlay at the end of the phase.
    pub overlay: Overlay,
}

/// Milliseconds; 0 where there is nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// Half is not slower.
    pub p50_ms: f64,
    /// All but one of a hundred are not slower.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Bytes by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bytes {
    /// Messages.
    pub payload: f64,
    /// Announcements and requests of messages.
    pub announcements: f64,
    /// All that is said without messages.
    pub control: f64,
}

impl Report {
    /// The phase of this name, if there was one.
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario {
            nodes,
            protocol,
            seed,
            ..
        } = &self.scenario;
        writeln!(
            f,
            "{nodes} nodes, {protocol}, seed {seed}: {:.0} s, {} events, trace {:016x}",
            self.seconds, self.events, self.trace
        )?;
        let with_messages = self.phases.iter().filter(|phase| phase.publications > 0);
        writeln!(f, "\n{}", Table::of(with_messages, MESSAGES))?;
        writeln!(f, "{}", Table::of(&self.phases, TRAFFIC))?;
        write!(f, "{}", Table::of(&self.phases, OVERLAY))?;
        if let Some(dials) = self.victim_dials_per_minute {
            write!(f, "\ndials of the victim: {dials:.1} a minute")?;
            writeln!(f, ", {} connections overflowed", self.overflows)?;
        }
        Ok(())
    }
}

fn milliseconds(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.1} s", value / 1000.0)
    } else {
        format!("{value:.0} ms")
    }
}

/// What a table says of a phase, and under which head.
type Column = (&'static str, fn(&Phase) -> String);

const MESSAGES: &[Column] = &[
    ("messages", |phase| phase.name.to_owned()),
    ("published", |phase| phase.publications.to_string()),
    ("delivered", |phase| {
        format!("{:.4} %", phase.delivered * 100.0)
    }),
    ("missing", |phase| phase.missing.to_string()),
    ("twice", |phase| phase.repeated.to_string()),
    ("copies", |phase| format!("{:.4}", phase.redundancy)),
    ("last p50", |phase| milliseconds(phase.last.p50_ms)),
    ("last p99", |phase| milliseconds(phase.last.p99_ms)),
    ("last max", |phase| milliseconds(phase.last.max_ms)),
    ("median", |phase| milliseconds(phase.latency.p50_ms)),
    ("B/delivery", |phase| {
        format!("{:.0}", phase.bytes_per_delivery)
    }),
];

const TRAFFIC: &[Column] = &[
    ("traffic", |phase| phase.name.to_owned()),
    ("payload B/s", |phase| {
        format!("{:.0}", phase.bytes_per_node_second.payload)
    }),
    ("announce B/s", |phase| {
        format!("{:.0}", phase.bytes_per_node_second.announcements)
    }),
    ("control B/s", |phase| {
        format!("{:.0}", phase.bytes_per_node_second.control)
    }),
    ("busiest B/s", |phase| {
        format!("{:.0}", phase.busiest_bytes_per_second)
    }),
    ("dials/min", |phase| {
        format!("{:.2}", phase.dials_per_minute)
    }),
    ("whole after", |phase| {
        let seconds = phase.whole_after;
        seconds.map_or(String::new(), |seconds| format!("{seconds:.1} s"))
    }),
    ("recovered", |phase| {
        let share = phase.recovered;
        share.map_or(String::new(), |share| format!("{:.2} %", share * 100.0))
    }),
];

const OVERLAY: &[Column] = &[
    ("overlay", |phase| phase.name.to_owned()),
    ("nodes", |phase| phase.overlay.nodes.to_string()),
    ("degree", |phase| {
        let Overlay {
            degree_min,
            degree_mean,
            degree_max,
            ..
        } = phase.overlay;
        format!("{degree_min}/{degree_mean:.1}/{degree_max}")
    }),
    ("needy", |phase| phase.overlay.needy.to_string()),
    ("doubled", |phase| phase.overlay.doubled.to_string()),
    ("half-open", |phase| phase.overlay.half_open.to_string()),
    ("components", |phase| phase.overlay.components.to_string()),
    ("outside", |phase| phase.overlay.outside.to_string()),
    ("roots", |phase| phase.overlay.roots.to_string()),
    ("astray", |phase| phase.overlay.astray.to_string()),
    ("circling", |phase| phase.overlay.circling.to_string()),
    ("eigenvalue", |phase| {
        let value = phase.overlay.second_eigenvalue;
        value.map_or(String::new(), |value| format!("{value:.3}"))
    }),
];

/// Columns as wide as they have to be, the first to the left, the others to the right.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn of<'a>(phases: impl IntoIterator<Item = &'a Phase>, columns: &[Column]) -> Self {
        let heads = columns.iter().map(|(head, _)| (*head).to_owned());
        let row = |phase| columns.iter().map(|(_, cell)| cell(phase)).collect();
        let rows = phases.into_iter().map(row);
        Self {
            rows: [heads.collect()].into_iter().chain(rows).collect(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(f, "{cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
