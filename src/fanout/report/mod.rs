//! What came of a load test: one structure, shown as text, JSON, CSV or a page, compared and judged.
//!
//! Its JSON is stable within a version; fields may be added. Names end in their unit.

mod compare;
mod csv;
mod page;
mod plot;
mod quantiles;
mod text;
mod verdict;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::compare::Comparison;
use self::quantiles::{Bar, Quantiles, bars};
pub use self::verdict::{Bounds, Verdict};
use super::load::{Load, Outcome};
use super::plan::Plan;
use super::process::{CpuTime, Usage, machine};
use super::run::{Sample, Samples};
use super::tally::Reasons;
use crate::config::{PeerUrl, Time};

/// Raised when a field changes its meaning or goes away.
const VERSION: u32 = 1;

/// A generator that uses more of its core than this may itself be what is slow.
const GENERATOR_SHARE_MAX: f64 = 0.9;
/// So too one that had to wait for a core this share of the time.
const GENERATOR_WAIT_MAX: f64 = 0.2;

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
    per_second: f64,
    /// From the begin of the connection to the end of the upgrade.
    handshake_us: Quantiles,
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
    deliveries_per_second: f64,
    bytes_per_second: f64,
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
    sent_late_us: Quantiles,
    /// Of each delivery, from the intended time.
    delivery_us: Quantiles,
    /// Of each message, until the first connection had it …
    first_us: Quantiles,
    /// … half of them …
    median_us: Quantiles,
    /// … 99 % …
    p99_us: Quantiles,
    /// … all.
    last_us: Quantiles,
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
    memory_bytes_per_connection: f64,
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
    objects_bytes_per_connection: f64,
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
    pub(super) fn new(plan: &Plan, load: &Load, samples: &Samples, started: SystemTime) -> Self {
        let end = samples
            .measured
            .map_or(samples.before.at, |sample| sample.at);
        let seconds = load.measured(end).as_secs_f64();
        let time = Timestamp::try_from(started).unwrap_or_default();
        Self {
            version: VERSION,
            program: concat!("wsmesh ", env!("CARGO_PKG_VERSION")).to_owned(),
            time: time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            machine: machine(),
            outcome: words_of(load.outcome()).to_owned(),
            plan: Planned::of(plan),
            connect: Connect::of(load),
            measure: Measure::of(load, seconds),
            server: Server::of(plan, load, samples),
            kernel: Kernel::of(load, samples),
            generator: Generator::of(samples),
        }
    }

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
    pub fn failure(&self) -> Option<&str> {
        let is_wanted = [Outcome::Done, Outcome::Interrupted].map(words_of);
        let outcome = self.outcome.as_str();
        (!is_wanted.contains(&outcome)).then_some(outcome)
    }

    fn is_generator_the_bottleneck(&self) -> bool {
        self.generator
            .as_ref()
            .is_some_and(|generator| generator.is_bottleneck)
    }
}

impl Planned {
    fn of(plan: &Plan) -> Self {
        Self {
            urls: plan.urls.iter().map(PeerUrl::to_string).collect(),
            mode: plan.mode.to_string(),
            connections: plan.connections,
            senders: plan.senders(),
            rate_per_second: plan.rate,
            size_bytes: plan.size_bytes,
            burst: plan.burst,
            messages: plan.messages,
            duration_seconds: plan.duration.as_secs_f64(),
            warm_up_seconds: plan.warm_up.as_secs_f64(),
        }
    }
}

impl Connect {
    fn of(load: &Load) -> Self {
        let connections = &load.connections;
        let width = connections.ramp.width().as_secs_f64();
        let (mut opened, mut failed) = (0, 0);
        let intervals = connections.ramp.intervals().iter().enumerate();
        let ramp = intervals.map(|(index, interval)| {
            opened += interval.opened;
            failed += interval.failed;
            RampPoint {
                seconds: rounded((index + 1) as f64 * width),
                opened,
                failed,
            }
        });
        let seconds = connections.ramp_time.as_secs_f64();
        Self {
            ramp: ramp.collect(),
            opened: connections.opened,
            failed: connections.failures.count(),
            failures: reasons(&connections.failures),
            seconds: rounded(seconds),
            per_second: per(connections.opened as f64, seconds),
            handshake_us: Quantiles::of(&connections.handshakes),
            lost: connections.losses.count(),
            losses: reasons(&connections.losses),
        }
    }
}

impl Measure {
    /// The times by what a person calls them: of deliveries, then until a message was where.
    fn times(&self) -> [(&'static str, &Quantiles); 5] {
        [
            ("delivery", &self.delivery_us),
            ("to the first", &self.first_us),
            ("to half of them", &self.median_us),
            ("to 99 %", &self.p99_us),
            ("to the last", &self.last_us),
        ]
    }

    fn of(load: &Load, seconds: f64) -> Self {
        let messages = &load.messages;
        let width = messages.course.width().as_secs_f64();
        let intervals = messages.course.intervals().iter().enumerate();
        let course = intervals.map(|(index, interval)| CoursePoint {
            seconds: rounded(index as f64 * width),
            deliveries: interval.deliveries,
            everywhere: interval.everywhere,
            last_mean_us: per(micros(interval.last_sum), interval.everywhere as f64),
            last_max_us: rounded(micros(interval.last_max)),
        });
        Self {
            seconds: rounded(seconds),
            messages: messages.sent,
            everywhere: messages.everywhere,
            deliveries: messages.heard,
            deliveries_per_second: per(messages.heard as f64, seconds),
            bytes_per_second: per(messages.heard_bytes as f64, seconds),
            lost: messages.lost.deliveries,
            duplicated: messages.again,
            reordered: messages.late,
            corrupted: messages.corrupted,
            foreign: messages.foreign,
            overdue: messages.overdue,
            unasked: messages.unasked,
            sent_late_us: Quantiles::of(&messages.sent_late),
            delivery_us: Quantiles::of(&messages.delivery),
            first_us: Quantiles::of(&messages.first),
            median_us: Quantiles::of(&messages.median),
            p99_us: Quantiles::of(&messages.p99),
            last_us: Quantiles::of(&messages.last),
            delivery_histogram: bars(&messages.delivery),
            course: course.collect(),
        }
    }
}

impl Server {
    fn of(plan: &Plan, load: &Load, samples: &Samples) -> Option<Self> {
        if plan.servers.is_empty() {
            return None;
        }
        let Samples {
            before,
            connected,
            measured,
        } = samples;
        let (connected, measured) = (connected.as_ref()?, measured.as_ref()?);
        let (cpu, elapsed) = used(connected, measured, |sample| Some(sample.servers))?;
        let (cpu, elapsed) = (cpu.used.as_secs_f64(), elapsed.as_secs_f64());
        let grown = connected.servers.memory.anonymous_bytes as f64
            - before.servers.memory.anonymous_bytes as f64;
        let deliveries = load.messages.heard;
        Some(Self {
            pids: plan.servers.clone(),
            cpu_seconds: rounded(cpu),
            cpu_share: per(cpu, elapsed),
            cpu_us_per_delivery: (deliveries > 0).then(|| per(cpu * 1e6, deliveries as f64)),
            memory_before_bytes: before.servers.memory.anonymous_bytes,
            memory_connected_bytes: connected.servers.memory.anonymous_bytes,
            memory_after_bytes: measured.servers.memory.anonymous_bytes,
            memory_bytes_per_connection: per(grown, load.connections.opened as f64),
            resident_connected_bytes: connected.servers.memory.resident_bytes,
        })
    }
}

impl Kernel {
    fn of(load: &Load, samples: &Samples) -> Option<Self> {
        let before = samples.before.kernel?;
        let connected = samples.connected.as_ref()?.kernel?;
        let measured = samples.measured.as_ref()?.kernel?;
        let grown = connected.object_bytes as f64 - before.object_bytes as f64;
        Some(Self {
            buffers_before_bytes: before.buffer_bytes,
            buffers_connected_bytes: connected.buffer_bytes,
            buffers_after_bytes: measured.buffer_bytes,
            objects_bytes_per_connection: per(grown, load.connections.opened as f64),
        })
    }
}

impl Generator {
    fn of(samples: &Samples) -> Option<Self> {
        let measured = samples.measured.as_ref()?;
        let since = samples.connected.as_ref().unwrap_or(&samples.before);
        let (cpu, elapsed) = used(since, measured, |sample| sample.own)?;
        let elapsed = elapsed.as_secs_f64();
        let cpu_share = per(cpu.used.as_secs_f64(), elapsed);
        let waited_share = per(cpu.waited.as_secs_f64(), elapsed);
        Some(Self {
            cpu_seconds: rounded(cpu.used.as_secs_f64()),
            cpu_share,
            waited_share,
            memory_bytes: measured.own?.memory.anonymous_bytes,
            is_bottleneck: cpu_share > GENERATOR_SHARE_MAX || waited_share > GENERATOR_WAIT_MAX,
        })
    }
}

/// What was used from one sample to the other, and how long that was.
fn used(
    from: &Sample,
    to: &Sample,
    of: impl Fn(&Sample) -> Option<Usage>,
) -> Option<(CpuTime, Duration)> {
    let (before, after) = (of(from)?.cpu, of(to)?.cpu);
    let cpu = CpuTime {
        used: after.used.saturating_sub(before.used),
        waited: after.waited.saturating_sub(before.waited),
    };
    Some((cpu, to.at.saturating_duration_since(from.at)))
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

fn reasons(reasons: &Reasons) -> Vec<Reason> {
    let sorted = reasons.sorted().into_iter();
    sorted
        .map(|(reason, count)| Reason { reason, count })
        .collect()
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Nothing by nothing is nothing.
fn per(amount: f64, by: f64) -> f64 {
    if by > 0.0 { rounded(amount / by) } else { 0.0 }
}

/// To what a person may want to read: three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A time of the report as people read it.
fn shown(seconds: f64) -> String {
    Time(Duration::from_secs_f64(seconds.max(0.0))).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::fanout::load::Epoch;

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
