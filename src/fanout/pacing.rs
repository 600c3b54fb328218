//! When each sender sends: at its own times whatever has become of what it has sent before (an open loop), or
//! when that is everywhere (a closed loop). Pure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Senders, and when each is due.
#[derive(Debug)]
pub(super) struct Pacing {
    due: BTreeSet<(Instant, usize)>,
    /// From one burst of a sender to its next; `None` in a closed loop.
    interval: Option<Duration>,
}

impl Pacing {
    /// Everyone begins in turn, evenly spread. `rate` is that of all messages of all senders, a second.
    pub(super) fn new(senders: usize, rate: Option<usize>, burst: usize, now: Instant) -> Self {
        let step = rate.map(|rate| Duration::from_secs_f64(burst as f64 / rate as f64));
        let step_of = |sender: usize| step.unwrap_or_default().mul_f64(sender as f64);
        Self {
            due: (0..senders)
                .map(|sender| (now + step_of(sender), sender))
                .collect(),
            interval: step.map(|step| step.mul_f64(senders as f64)),
        }
    }

    /// A sender that is due and may send, and since when.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        may_send: impl Fn(usize) -> bool,
    ) -> Option<(usize, Instant)> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let (at, sender) = *due.into_iter().find(|(_, sender)| may_send(*sender))?;
        self.due.remove(&(at, sender));
        if let Some(interval) = self.interval {
            self.due.insert((at + interval, sender));
        }
        Some((sender, at))
    }

    /// What a sender has sent is everywhere, or lost.
    pub(super) fn on_quiet(&mut self, sender: usize, now: Instant) {
        if self.interval.is_none() {
            self.due.insert((now, sender));
        }
    }

    /// A sender is gone.
    pub(super) fn remove(&mut self, sender: usize) {
        self.due.retain(|(_, one)| *one != sender);
    }

    /// Nobody sends any more.
    pub(super) fn stop(&mut self) {
        self.due.clear();
    }

    /// The next that is due after `now`. Who is due already waits for something else than time.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let next = self.due.range((now, usize::MAX)..).next();
        next.map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn poll_all(pacing: &mut Pacing, now: Instant) -> Vec<(usize, Instant)> {
        std::iter::from_fn(|| pacing.poll(now, |_| true)).collect()
    }

    #[test]
    fn an_open_loop_sends_at_its_times_whatever_happens() {
        let start = Instant::now();
        // 100 a second in bursts of 2 by two senders: a burst every 20 ms, in turn.
        let mut pacing = Pacing::new(2, Some(100), 2, start);
        assert_eq!(poll_all(&mut pacing, start), [(0, start)]);
        assert_eq!(pacing.next_deadline(start), Some(start + 20 * MS));
        // The loop was held up for 50 ms: the times are those that were meant.
        let late = poll_all(&mut pacing, start + 70 * MS);
        assert_eq!(
            late,
            [
                (1, start + 20 * MS),
                (0, start + 40 * MS),
                (1, start + 60 * MS)
            ]
        );
    }

    #[test]
    fn who_cannot_send_does_not_keep_others_from_it() {
        let start = Instant::now();
        let mut pacing = Pacing::new(2, Some(100), 1, start);
        let now = start + 25 * MS;
        assert_eq!(
            pacing.poll(now, |sender| sender == 1),
            Some((1, start + 10 * MS))
        );
        assert_eq!(pacing.poll(now, |sender| sender == 1), None);
        assert_eq!(pacing.next_deadline(now), Some(start + 30 * MS));
        assert_eq!(
            poll_all(&mut pacing, now),
            [(0, start), (0, start + 20 * MS)]
        );
    }

    #[test]
    fn a_closed_loop_waits_for_what_was_sent() {
        let start = Instant::now();
        let mut pacing = Pacing::new(2, None, 1, start);
        assert_eq!(poll_all(&mut pacing, start), [(0, start), (1, start)]);
        assert_eq!(poll_all(&mut pacing, start + MS), []);
        pacing.on_quiet(1, start + MS);
        assert_eq!(poll_all(&mut pacing, start + MS), [(1, start + MS)]);
        pacing.on_quiet(0, start + MS);
        pacing.remove(0);
        assert_eq!(poll_all(&mut pacing, start + MS), []);
    }
}
