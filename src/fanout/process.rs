//! What the kernel tells of processes and of itself. Linux only: elsewhere there is nothing to read.

use std::fs;
use std::io;
use std::time::Duration;

/// Time of all threads of a process, by the scheduler's own clock: ticks are too coarse for milliseconds.
///
/// It is brought up to date when a thread goes to sleep, and threads that have ended are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time on a core.
    pub used: Duration,
    /// Time in which it could have run, but others had the cores.
    pub waited: Duration,
}

impl CpuTime {
    /// Of the process with this number.
    ///
    /// # Errors
    /// There is none, it belongs to somebody else, or this is not Linux.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut sum = Self::default();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that has ended meanwhile is left out.
            let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let mut times = times.split_whitespace();
            let mut next = || {
                let nanoseconds = times.next().and_then(|time| time.parse().ok());
                Duration::from_nanos(nanoseconds.unwrap_or_default())
            };
            sum.used += next();
            sum.waited += next();
        }
        Ok(sum)
    }
}

/// Memory of a process. By its page tables: the counters in `status` lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What it has written to and no file backs.
    pub anonymous_bytes: u64,
    /// With what files back: the program itself and its libraries.
    pub resident_bytes: u64,
}

impl Memory {
    /// Of the process with this number.
    ///
    /// # Errors
    /// There is none, it belongs to somebody else, or this is not Linux.
    pub fn of(pid: u32) -> io::Result<Self> {
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        Ok(Self {
            anonymous_bytes: 1024 * number_after(&memory, "Anonymous:")?,
            resident_bytes: 1024 * number_after(&memory, "Rss:")?,
        })
    }
}

/// What some processes have used so far, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) cpu: CpuTime,
    pub(super) memory: Memory,
}

impl Usage {
    pub(super) fn of(pids: &[u32]) -> io::Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let (cpu, memory) = (CpuTime::of(*pid)?, Memory::of(*pid)?);
            sum.cpu.used += cpu.used;
            sum.cpu.waited += cpu.waited;
            sum.memory.anonymous_bytes += memory.anonymous_bytes;
            sum.memory.resident_bytes += memory.resident_bytes;
        }
        Ok(sum)
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

/// The ports that connections come from, as the system has them; empty where it does not tell.
pub(super) fn port_range() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default()
}

/// What figures were measured on: cores, their make, the system.
pub fn machine() -> String {
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
        let memory = Memory::of(own).unwrap();
        assert!(
            memory.anonymous_bytes > 100_000 && memory.resident_bytes >= memory.anonymous_bytes
        );
        assert_eq!(Usage::of(&[]).unwrap(), Usage::default());
        let once = CpuTime::of(own).unwrap();
        assert!(Usage::of(&[own, own]).unwrap().cpu.used >= 2 * once.used);
        assert!(KernelMemory::now().is_some_and(|memory| memory.object_bytes > 0));
        assert!(machine().contains("cores of"));
    }

    #[test]
    fn who_is_not_there_is_an_error() {
        assert!(Usage::of(&[u32::MAX]).is_err());
    }
}
