//! The lines that a process, or anything else, prints while a test goes on.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A growing list of lines that can be waited on. A clone shows the same list.
///
/// Every wait looks at all lines from the first on, so it does not matter whether a line came
/// before or after the wait began. Bytes that are not UTF-8 show as U+FFFD.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    changed: Condvar,
}

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    /// No line will follow.
    ended: bool,
}

impl Lines {
    /// Reads `source` to its end on a thread of its own.
    pub(crate) fn read_from(source: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut bytes = Vec::new();
            loop {
                bytes.clear();
                match source.read_until(b'\n', &mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {
                        if bytes.last() == Some(&b'\n') {
                            bytes.pop();
                        }
                        writer.push(String::from_utf8_lossy(&bytes).into_owned());
                    }
                }
            }
            writer.end();
        });
        lines
    }

    /// A list that stays empty.
    pub(crate) fn ended() -> Lines {
        let lines = Lines::default();
        lines.end();
        lines
    }

    /// Adds a line.
    pub(crate) fn push(&self, line: String) {
        self.gathered().lines.push(line);
        self.shared.changed.notify_all();
    }

    /// Says that no line will follow.
    pub(crate) fn end(&self) {
        self.gathered().ended = true;
        self.shared.changed.notify_all();
    }

    /// All lines so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.gathered().lines.clone()
    }

    /// The last `count` lines so far, for messages about failures; long lines are cut.
    pub(crate) fn tail(&self, count: usize) -> String {
        let gathered = self.gathered();
        let first = gathered.lines.len().saturating_sub(count);
        gathered.lines[first..]
            .iter()
            .map(|line| {
                let shown: String = line.chars().take(300).collect();
                format!("    {shown}\n")
            })
            .collect()
    }

    /// How many lines so far contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        let gathered = self.gathered();
        gathered.lines.iter().filter(|l| l.contains(text)).count()
    }

    /// Whether a line so far contains `text`. For what must *not* have happened; use
    /// [`wait_for`](Lines::wait_for) for what must.
    pub(crate) fn contain(&self, text: &str) -> bool {
        self.count(text) > 0
    }

    /// Waits for a line that contains `text` and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_count(1, text).remove(0)
    }

    /// Waits until `count` lines contain `text` and returns the first `count` of them.
    #[track_caller]
    pub(crate) fn wait_for_count(&self, count: usize, text: &str) -> Vec<String> {
        self.wait_until(&format!("{count} lines with {text:?}"), count, |line| {
            line.contains(text)
        })
    }

    /// Waits for a line equal to `line`.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, line: &str) {
        self.wait_until(&format!("the line {line:?}"), 1, |l| l == line);
    }

    /// Waits until `count` lines are as `wanted` says and returns the first `count` of them.
    /// Panics with `what` after [`DEADLINE`], or at once when no line can follow any more.
    #[track_caller]
    pub(crate) fn wait_until(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        self.try_wait_until(DEADLINE, count, wanted)
            .unwrap_or_else(|found| {
                let why = if self.gathered().ended {
                    "and nothing will follow"
                } else {
                    "within the deadline"
                };
                panic!(
                    "{what}: not there {why} ({} of {count} found). The last lines:\n{}",
                    found.len(),
                    self.tail(20)
                )
            })
    }

    /// As [`wait_until`](Lines::wait_until), with a deadline of its own; if that passes, what was
    /// found is the error.
    pub(crate) fn try_wait_until(
        &self,
        deadline: Duration,
        count: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Vec<String>> {
        let started = Instant::now();
        let mut found = Vec::new();
        let mut seen = 0;
        let mut gathered = self.gathered();
        loop {
            while found.len() < count && seen < gathered.lines.len() {
                let line = &gathered.lines[seen];
                if wanted(line) {
                    found.push(line.clone());
                }
                seen += 1;
            }
            if found.len() >= count {
                return Ok(found);
            }
            let waited = started.elapsed();
            if gathered.ended || waited >= deadline {
                return Err(found);
            }
            gathered = self
                .shared
                .changed
                .wait_timeout(gathered, deadline - waited)
                .expect("no panic under the lock")
                .0;
        }
    }

    /// Waits until no line will follow, and returns all.
    #[track_caller]
    pub(crate) fn wait_end(&self) -> Vec<String> {
        super::eventually("the end of the output", || self.gathered().ended);
        self.all()
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.shared
            .gathered
            .lock()
            .expect("no panic under the lock")
    }
}
