//! What came of a load test: one structure, shown as text, JSON, CSV or a page, compared and judged.
//!
//! Its JSON is stable within a version; fields may be added. Names end in their unit. What could not be measured
//! is `null`, not zero.

mod compare;
mod csv;
mod making;
mod page;
mod plot;
mod quantiles;
mod text;
mod verdict;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::compare::Comparison;
use self::quantiles::{Bar, Quantiles};
pub use self::verdict::{Bounds, Verdict};
use super::load::Outcome;

/// The most frequent reasons are enough in one line.
const REASONS_SHOWN: usize = 3;

/// Raised when a field changes its meaning or goes away.
const VERSION: u32 = 1;

/// What came of a load test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    version: u32,
    program: String,
    /// When it began.
    time: String,
    machine: String,
    /// `done`, or why it has ended before.
    outcome: String,
    plan: Planned,
    connect: Connect,
    measure: Measure,
    /// Of the processes named with `--pid`.
    server: Option<Server>,
    kernel: Option<Kernel>,
    generator: Option<Generator>,
}

/// Why a text is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is not the JSON of a report.
    #[error("it is not a report of `wsmesh bench --json`: {0}")]
    Form(#[from] serde_json::Error),
    /// It is from a later program.
    #[error("it is a report of version {0}, and this program knows version {VERSION}")]
    Version(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Planned {
    urls: Vec<String>,
    mode: String,
    connections: usize,
    /// Connections that send.
    senders: usize,
    /// `null`: the next message when the last one is everywhere.
    rate_per_second: Option<usize>,
    size_bytes: usize,
    burst: usize,
    messages: Option<usize>,
    duration_seconds: f64,
    warm_up_seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Connect {
    opened: u64,
    failed: u64,
    failures: Vec<Reason>,
    /// From the first that was begun to the last that was open.
    seconds: f64,
    per_second: Option<f64>,
    /// From the begin of the connection to the end of the upgrade.
    handshake_us: Option<Quantiles>,
    /// Open connections at the end of each interval.
    ramp: Vec<RampPoint>,
    /// Connections that were open and did not last.
    lost: u64,
    losses: Vec<Reason>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Measure {
    seconds: f64,
    /// Messages sent.
    messages: u64,
    /// … and heard by everyone.
    everywhere: u64,
    deliveries: u64,
    deliveries_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    /// Deliveries that were waited for in vain.
    lost: u64,
    duplicated: u64,
    reordered: u64,
    corrupted: u64,
    /// Not of this load test.
    foreign: u64,
    /// Heard after they had been given up; counted as lost too.
    overdue: u64,
    /// Heard by a connection that does not wait for it: most servers send a message to its sender too.
    unasked: u64,
    /// How much later than meant messages were handed to the system.
    sent_late_us: Option<Quantiles>,
    /// Of each delivery, from the intended time.
    delivery_us: Option<Quantiles>,
    /// Of each message, until the first connection had it …
    first_us: Option<Quantiles>,
    /// … half of them …
    median_us: Option<Quantiles>,
    /// … 99 % …
    p99_us: Option<Quantiles>,
    /// … all.
    last_us: Option<Quantiles>,
    delivery_histogram: Vec<Bar>,
    course: Vec<CoursePoint>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reason {
    reason: String,
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct RampPoint {
    seconds: f64,
    opened: u64,
    failed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct CoursePoint {
    seconds: f64,
    deliveries: u64,
    /// Messages that were heard by everyone in the interval, and how long that took.
    everywhere: u64,
    last_mean_us: f64,
    last_max_us: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Server {
    pids: Vec<u32>,
    /// While messages were measured.
    cpu_seconds: f64,
    /// Share of one core.
    cpu_share: f64,
    cpu_us_per_delivery: Option<f64>,
    /// Memory that no file backs, before the first connection, with all of them, and after the measurement.
    memory_before_bytes: u64,
    memory_connected_bytes: u64,
    memory_after_bytes: u64,
    memory_bytes_per_connection: Option<f64>,
    /// With what files back.
    resident_connected_bytes: u64,
}

/// Of the whole machine, the sockets of the load test among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kernel {
    /// What is in all TCP sockets: before the first connection, with all of them, and after the measurement.
    buffers_before_bytes: u64,
    buffers_connected_bytes: u64,
    buffers_after_bytes: u64,
    /// By how much its objects have grown for each connection: two sockets, if the server is here too.
    objects_bytes_per_connection: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Generator {
    cpu_seconds: f64,
    /// Share of the one core that it can use.
    cpu_share: f64,
    /// Share of the time in which it could have gone on, but other processes had the cores.
    waited_share: f64,
    memory_bytes: u64,
    /// So busy that a slow figure may be its own.
    is_bottleneck: bool,
}

impl Report {
    /// As it was written with [`Self::to_json`].
    ///
    /// # Errors
    /// It was not, or by a later program.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        match version {
            VERSION => Ok(serde_json::from_str(text)?),
            version => Err(ReportError::Version(version)),
        }
    }

    /// One object on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it has no map with keys that are not text")
    }

    /// Why the load test has ended before its time, unless somebody has stopped it.
    pub fn failure(&self) -> Option<String> {
        let is_wanted = [Outcome::Done, Outcome::Interrupted].map(words_of);
        let outcome = self.outcome.as_str();
        let reasons = self.connect.losses.iter().chain(&self.connect.failures);
        let reasons: Vec<_> = reasons.take(REASONS_SHOWN).map(shown).collect();
        let colon = if reasons.is_empty() { "" } else { ": " };
        let failure = || format!("{outcome}{colon}{}", reasons.join(", "));
        (!is_wanted.contains(&outcome)).then(failure)
    }

    fn is_generator_the_bottleneck(&self) -> bool {
        self.generator
            .as_ref()
            .is_some_and(|generator| generator.is_bottleneck)
    }
}

impl Measure {
    /// The times by what a person calls them: of deliveries, then until a message was where.
    fn times(&self) -> [(&'static str, Option<Quantiles>); 5] {
        [
            ("delivery", self.delivery_us),
            ("to the first", self.first_us),
            ("to half of them", self.median_us),
            ("to 99 %", self.p99_us),
            ("to the last", self.last_us),
        ]
    }
}

fn words_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Interrupted => "interrupted",
        Outcome::NobodyConnected => "no connection could be opened",
        Outcome::NoSenderLeft => "no connection that sends is left",
        Outcome::NobodyLeft => "no connection that hears is left",
    }
}

fn shown(Reason { reason, count }: &Reason) -> String {
    format!("{count} × {reason}")
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// By nothing there is no ratio.
fn per(amount: f64, by: f64) -> Option<f64> {
    (by > 0.0).then(|| rounded(amount / by))
}

/// To microseconds.
fn rounded_seconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// To what a person may want to read: three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::fanout::load::{Epoch, Load};
    use crate::fanout::plan::Plan;
    use crate::fanout::process::{CpuTime, Usage};
    use crate::fanout::run::{Sample, Samples};

    /// Of a load test in which nothing has happened for a second.
    pub(super) fn report() -> Report {
        report_of(Duration::ZERO, Duration::ZERO)
    }

    /// … and its own process has run, or waited for a core, for so long.
    fn report_of(used: Duration, waited: Duration) -> Report {
        let plan = Plan {
            urls: vec!["ws://localhost:8080".parse().unwrap()],
            servers: vec![1],
            ..Plan::default()
        };
        let now = Instant::now();
        let wall = Duration::ZERO;
        let load = Load::new(&plan, 1, Epoch { now, wall });
        let before = Sample {
            at: now,
            servers: Usage::default(),
            own: Some(Usage::default()),
            kernel: None,
        };
        let measured = Sample {
            at: now + Duration::from_secs(1),
            own: Some(Usage {
                cpu: CpuTime { used, waited },
                ..Usage::default()
            }),
            ..before
        };
        let samples = Samples {
            before,
            connected: Some(before),
            measured: Some(measured),
        };
        Report::new(&plan, &load, &samples, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = report();
        assert_eq!(Report::from_json(&report.to_json()).unwrap(), report);
        assert_eq!(report.time, "1970-01-01T00:00:00Z");
        let later = report.to_json().replacen(":1,", ":2,", 1);
        let error = Report::from_json(&later).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        assert!(Report::from_json("{}").is_err());
    }

    #[test]
    fn a_generator_is_the_bottleneck_only_if_it_was_busy_or_kept_waiting() {
        let is_bottleneck = |used, waited| {
            let [used, waited] = [used, waited].map(Duration::from_millis);
            report_of(used, waited).is_generator_the_bottleneck()
        };
        assert!(!is_bottleneck(900, 200));
        assert!(is_bottleneck(901, 0));
        assert!(is_bottleneck(0, 201));
    }

    #[test]
    fn every_form_can_be_made_of_a_report_without_figures() {
        let report = report();
        assert!(report.to_string().starts_with("100 connections to "));
        assert_eq!(report.to_csv().lines().count(), 1);
        assert!(report.to_html().ends_with("</html>\n"));
        assert!(
            Comparison::of(&report, &report)
                .to_string()
                .contains("b / a")
        );
    }
}
