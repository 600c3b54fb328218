//! What happens next: events by time, and by order of coming in where the time is the same.
//!
//! A calendar: a ring of buckets of about a millisecond for the next seconds, a heap for what lies beyond.
//! A push and a pop cost the same however many events there are.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::clock::Moment;

/// Microseconds of a bucket, as a power of two.
const BUCKET_BITS: u32 = 10;

/// Buckets of the ring: eight seconds, longer than the longest regular interval of many nodes.
const BUCKETS: usize = 1 << 13;

#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    at: Moment,
    order: u64,
    event: E,
}

impl<E> Entry<E> {
    fn key(&self) -> (Moment, u64) {
        (self.at, self.order)
    }

    fn bucket(&self) -> u64 {
        self.at.0 >> BUCKET_BITS
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Debug)]
pub(super) struct Queue<E> {
    ring: Vec<Vec<Entry<E>>>,
    in_ring: usize,
    /// Number of the bucket that is open.
    open: u64,
    /// The open bucket, latest first.
    sorted: Vec<Entry<E>>,
    /// What came into the open bucket since it was opened.
    late: BinaryHeap<Reverse<Entry<E>>>,
    far: BinaryHeap<Reverse<Entry<E>>>,
    pushed: u64,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self {
            ring: (0..BUCKETS).map(|_| Vec::new()).collect(),
            in_ring: 0,
            open: 0,
            sorted: Vec::new(),
            late: BinaryHeap::new(),
            far: BinaryHeap::new(),
            pushed: 0,
        }
    }

    pub(super) fn push(&mut self, at: Moment, event: E) {
        let entry = Entry {
            at,
            order: self.pushed,
            event,
        };
        self.pushed += 1;
        let bucket = entry.bucket();
        if bucket <= self.open {
            self.late.push(Reverse(entry));
        } else if bucket - self.open < BUCKETS as u64 {
            self.ring[bucket as usize % BUCKETS].push(entry);
            self.in_ring += 1;
        } else {
            self.far.push(Reverse(entry));
        }
    }

    /// The next event, if it is due at `limit`.
    pub(super) fn pop_until(&mut self, limit: Moment) -> Option<(Moment, E)> {
        loop {
            let first = self.sorted.last().map(Entry::key);
            let late = self.late.peek().map(|Reverse(entry)| entry.key());
            let is_late = match (first, late) {
                (None, None) => {
                    if !self.open_next(limit) {
                        return None;
                    }
                    continue;
                }
                (Some(first), Some(late)) => late < first,
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            let next = if is_late { late } else { first };
            if next.is_some_and(|(at, _)| at > limit) {
                return None;
            }
            let entry = if is_late {
                self.late.pop().map(|Reverse(entry)| entry)
            } else {
                self.sorted.pop()
            };
            return entry.map(|entry| (entry.at, entry.event));
        }
    }

    /// Opens the next bucket that has something, up to the one of `limit`. False if there is none.
    fn open_next(&mut self, limit: Moment) -> bool {
        let last = limit.0 >> BUCKET_BITS;
        let far = self
            .far
            .peek()
            .map_or(u64::MAX, |Reverse(entry)| entry.bucket());
        let mut next = self.open + 1;
        if self.in_ring == 0 {
            next = next.max(far);
        } else {
            while next < far && self.ring[next as usize % BUCKETS].is_empty() {
                next += 1;
            }
        }
        if next > last {
            return false;
        }
        self.open = next;
        // The open bucket was used up; its room serves the slot.
        std::mem::swap(&mut self.sorted, &mut self.ring[next as usize % BUCKETS]);
        self.in_ring -= self.sorted.len();
        while let Some(Reverse(entry)) = self.far.peek()
            && entry.bucket() <= next
        {
            self.sorted
                .extend(self.far.pop().map(|Reverse(entry)| entry));
        }
        self.sorted.sort_unstable_by(|a, b| b.cmp(a));
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the simplest queue there is: pushes in between, stops in between.
        #[test]
        fn events_come_by_time_and_then_by_order(
            waves in prop::collection::vec(
                (prop::collection::vec(0u64..20_000_000, 0..40), 0u64..9_000_000),
                1..12,
            ),
        ) {
            let mut queue = Queue::new();
            let mut model: Vec<(u64, u64)> = Vec::new();
            let (mut now, mut number) = (0, 0);
            for (delays, step) in waves {
                for delay in delays {
                    queue.push(Moment(now + delay), number);
                    model.push((now + delay, number));
                    number += 1;
                }
                model.sort_unstable();
                now += step;
                let due = model.partition_point(|(at, _)| *at <= now);
                let expected: Vec<_> = model.drain(..due).collect();
                let pop = || queue.pop_until(Moment(now)).map(|(at, event)| (at.0, event));
                let got: Vec<_> = std::iter::from_fn(pop).collect();
                prop_assert_eq!(got, expected);
            }
        }

        /// What is pushed while the queue is worked through takes its place.
        #[test]
        fn an_event_may_cause_others(seed in any::<u64>()) {
            let mut bits = seed;
            let mut queue = Queue::new();
            queue.push(Moment(5), ());
            let (mut last, mut count) = (Moment(0), 0);
            while let Some((at, ())) = queue.pop_until(Moment(60_000_000)) {
                prop_assert!(at >= last);
                (last, count) = (at, count + 1);
                bits = super::super::chance::mixed(bits);
                if count < 500 {
                    for part in 0..(1 + bits % 2) {
                        queue.push(at.after((bits >> (8 + 20 * part)) % 100_000), ());
                    }
                }
            }
            prop_assert!(count >= 500);
        }
    }
}
