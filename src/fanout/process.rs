//! What the kernel tells of processes and of TCP. Linux only: elsewhere there is nothing to read.

use std::fs;
use std::io;
use std::time::Duration;

/// What a process has used so far, all its threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a core, by the scheduler's own clock: ticks are too coarse for milliseconds. It is brought up
    /// to date when a thread goes to sleep, and threads that have ended are not in it.
    pub cpu: Duration,
    /// Time in which it could have run, but other processes had the cores.
    pub waited: Duration,
    /// Memory that is in use and that no file backs. By the page tables: the counters in `status` lag.
    pub memory_bytes: u64,
    /// Memory that is in use, with what files back: the program itself and its libraries.
    pub resident_bytes: u64,
}

impl Usage {
    /// Of the process with this number.
    ///
    /// # Errors
    /// There is none, it belongs to somebody else, or this is not Linux.
    pub fn of(pid: u32) -> io::Result<Self> {
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let mut usage = Self {
            memory_bytes: 1024 * number_after(&memory, "Anonymous:")?,
            resident_bytes: 1024 * number_after(&memory, "Rss:")?,
            ..Self::default()
        };
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that has ended meanwhile is left out.
            let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let mut times = times
                .split_whitespace()
                .map(|time| time.parse().unwrap_or(0));
            usage.cpu += Duration::from_nanos(times.next().unwrap_or(0));
            usage.waited += Duration::from_nanos(times.next().unwrap_or(0));
        }
        Ok(usage)
    }

    /// Of all these processes together.
    ///
    /// # Errors
    /// As [`Self::of`], for the first that fails.
    pub fn of_all(pids: &[u32]) -> io::Result<Self> {
        pids.iter().try_fold(Self::default(), |sum, pid| {
            let usage = Self::of(*pid)?;
            Ok(Self {
                cpu: sum.cpu + usage.cpu,
                waited: sum.waited + usage.waited,
                memory_bytes: sum.memory_bytes + usage.memory_bytes,
                resident_bytes: sum.resident_bytes + usage.resident_bytes,
            })
        })
    }
}

/// What the kernel holds for the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelMemory {
    /// In all TCP sockets: received and not read yet, or sent and not acknowledged.
    pub(super) buffer_bytes: u64,
    /// In its own objects, of which sockets and what belongs to them are a part.
    pub(super) object_bytes: u64,
}

impl KernelMemory {
    /// `None` where this is not Linux.
    pub(super) fn now() -> Option<Self> {
        // The unit is a page; 4 KiB wherever this is likely to run.
        const PAGE_BYTES: u64 = 4096;
        let sockets = fs::read_to_string("/proc/net/sockstat").ok()?;
        let tcp = sockets.lines().find(|line| line.starts_with("TCP:"))?;
        let pages = number_after(&tcp.replace(" mem ", "\nmem "), "mem").ok()?;
        let memory = fs::read_to_string("/proc/meminfo").ok()?;
        Some(Self {
            buffer_bytes: pages * PAGE_BYTES,
            object_bytes: 1024 * number_after(&memory, "Slab:").ok()?,
        })
    }
}

/// What the figures were measured on.
pub(super) fn machine() -> String {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = text("/proc/cpuinfo");
    let make = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown make", |(_, make)| make);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let system = std::env::consts::OS;
    let release = text("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {make}, {system} {}", release.trim())
}

fn number_after(text: &str, label: &str) -> io::Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("the kernel does not tell {label}")))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let own = std::process::id();
        let usage = Usage::of(own).unwrap();
        assert!(usage.memory_bytes > 100_000, "{usage:?}");
        assert_eq!(Usage::of_all(&[]).unwrap(), Usage::default());
        let twice = Usage::of_all(&[own, own]).unwrap();
        assert!(twice.cpu >= 2 * usage.cpu);
        assert!(KernelMemory::now().is_some_and(|memory| memory.object_bytes > 0));
        assert!(machine().contains("cores of"));
    }

    #[test]
    fn who_is_not_there_is_an_error() {
        assert!(Usage::of(u32::MAX).is_err());
    }
}
