//! What the kernel says of a process, and what is made of many such figures.

use std::fs;
use std::time::Duration;

use wsmesh::fanout::{CpuTime, Memory};

use crate::Outcome;

/// User and system time of all threads: ask when the process is quiet.
pub(crate) fn cpu(pid: u32) -> Outcome<Duration> {
    Ok(CpuTime::of(pid)?.used)
}

/// How often all threads have gone to sleep by themselves; each waking ends in one more.
pub(crate) fn sleeps(pid: u32) -> Outcome<u64> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        total += number_after(&status, "voluntary_ctxt_switches:")?;
    }
    Ok(total)
}

/// Memory that the process has written to and that no file backs.
pub(crate) fn anonymous_bytes(pid: u32) -> Outcome<u64> {
    Ok(Memory::of(pid)?.anonymous_bytes)
}

/// What the figures were measured on, as far as it matters to them. Closed connections that other
/// programs have left in TIME_WAIT make the kernel look longer for every segment's socket: some
/// ten thousand cost a fifth.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let sockets = read("/proc/net/sockstat");
    let waiting = sockets
        .split_once(" tw ")
        .and_then(|(_, rest)| rest.split_once(' '));
    format!(
        "{}, congestion control {}, {} connections in TIME_WAIT",
        wsmesh::fanout::machine(),
        read("/proc/sys/net/ipv4/tcp_congestion_control").trim(),
        waiting.map_or("?", |(count, _)| count),
    )
}

/// Cores that this process may run on.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn number_after(text: &str, label: &str) -> Outcome<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    Ok(number
        .ok_or_else(|| format!("the kernel does not tell {label}"))?
        .parse()?)
}

/// One figure, a value a round.
#[derive(Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The least that so many of a hundred do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let values = self.sorted();
        let place = (values.len() * percent).div_ceil(100).saturating_sub(1);
        values.get(place).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        let values = self.sorted();
        match values.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => values[length / 2],
            length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
        }
    }

    pub(crate) fn minimum(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// This over the other, round by round: what slows the machine for a while slows both.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}
