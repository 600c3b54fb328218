//! How a report is made of what was counted and sampled.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::quantiles::{Quantiles, bars};
use super::{
    Connect, CoursePoint, Generator, Kernel, Measure, Planned, RampPoint, Reason, Report, Server,
    VERSION, micros, per, rounded, rounded_seconds, words_of,
};
use crate::config::PeerUrl;
use crate::fanout::load::Load;
use crate::fanout::plan::Plan;
use crate::fanout::process::{CpuTime, Usage, machine};
use crate::fanout::run::{Sample, Samples};
use crate::fanout::tally::Reasons;

/// A generator that uses more of its core than this may itself be what is slow.
const GENERATOR_SHARE_MAX: f64 = 0.9;
/// So too one that had to wait for a core this share of the time.
const GENERATOR_WAIT_MAX: f64 = 0.2;

impl Report {
    pub(in crate::fanout) fn new(
        plan: &Plan,
        load: &Load,
        samples: &Samples,
        started: SystemTime,
    ) -> Self {
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
            seconds: rounded_seconds(seconds),
            per_second: per(connections.opened as f64, seconds),
            handshake_us: Quantiles::of(&connections.handshakes),
            lost: connections.losses.count(),
            losses: reasons(&connections.losses),
        }
    }
}

impl Measure {
    fn of(load: &Load, seconds: f64) -> Self {
        let messages = &load.messages;
        let width = messages.course.width().as_secs_f64();
        let intervals = messages.course.intervals().iter().enumerate();
        let course = intervals.map(|(index, interval)| CoursePoint {
            seconds: rounded(index as f64 * width),
            deliveries: interval.deliveries,
            everywhere: interval.everywhere,
            last_mean_us: per(micros(interval.last_sum), interval.everywhere as f64)
                .unwrap_or_default(),
            last_max_us: rounded(micros(interval.last_max)),
        });
        Self {
            seconds: rounded_seconds(seconds),
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
            cpu_seconds: rounded_seconds(cpu),
            cpu_share: per(cpu, elapsed)?,
            cpu_us_per_delivery: per(cpu * 1e6, deliveries as f64),
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
        let cpu_share = per(cpu.used.as_secs_f64(), elapsed)?;
        let waited_share = per(cpu.waited.as_secs_f64(), elapsed)?;
        Some(Self {
            cpu_seconds: rounded_seconds(cpu.used.as_secs_f64()),
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

fn reasons(reasons: &Reasons) -> Vec<Reason> {
    let sorted = reasons.sorted().into_iter();
    sorted
        .map(|(reason, count)| Reason { reason, count })
        .collect()
}
