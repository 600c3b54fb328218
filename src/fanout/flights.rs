//! Messages that are on their way, and who is still to hear them. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages on their way at most, of all senders. Beyond it none is sent, which shows as sent late.
const FLIGHTS_MAX: usize = 1 << 18;

/// When a message was where, from the time at which it was meant to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) first: Duration,
    pub(super) median: Duration,
    pub(super) p99: Duration,
    pub(super) last: Duration,
}

#[derive(Debug)]
struct Flight {
    intended: Instant,
    sent: Instant,
    is_measured: bool,
    /// How many are to hear it, of which so many have, and so many never will.
    expected: u32,
    heard: u32,
    lost: u32,
    spread: Spread,
}

impl Flight {
    fn is_over(&self) -> bool {
        self.heard + self.lost >= self.expected
    }
}

/// The messages of one sender, from the oldest on that is not over.
#[derive(Debug, Default)]
struct Sender {
    /// Number of the first in the queue.
    first: u32,
    queue: VecDeque<Flight>,
    /// How many in the queue are not over.
    open: usize,
}

impl Sender {
    /// Number of its next message.
    fn next(&self) -> u32 {
        self.first + self.queue.len() as u32
    }
}

/// What a delivery means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) latency: Duration,
    pub(super) is_measured: bool,
    /// It was the last one, and all have heard it.
    pub(super) everywhere: Option<Spread>,
}

/// What will not be heard any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Deliveries of measured messages.
    pub(super) deliveries: u64,
    /// Measured messages over with at least one delivery lost.
    pub(super) messages: u64,
}

/// All messages on their way.
#[derive(Debug)]
pub(super) struct Flights {
    senders: Vec<Sender>,
    /// Over, or not yet taken off a queue.
    count: usize,
    /// How long a message is waited for once it is sent.
    patience: Duration,
    /// Before this nothing is waited for too long.
    expires_at: Option<Instant>,
    /// Senders of whom nothing is on its way any more.
    quieted: Vec<usize>,
}

impl Flights {
    pub(super) fn new(senders: usize, patience: Duration) -> Self {
        Self {
            senders: std::iter::repeat_with(Sender::default)
                .take(senders)
                .collect(),
            count: 0,
            patience,
            expires_at: None,
            quieted: Vec::new(),
        }
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.count < FLIGHTS_MAX
    }

    /// A sender of which the last message on its way is over since it was asked last.
    pub(super) fn poll_quiet(&mut self) -> Option<usize> {
        self.quieted.pop()
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A message is sent, and expected at so many. Returns its number.
    pub(super) fn send(
        &mut self,
        sender: usize,
        intended: Instant,
        sent: Instant,
        expected: u32,
        is_measured: bool,
    ) -> u32 {
        debug_assert!(expected > 0);
        let sender = &mut self.senders[sender];
        let sequence = sender.next();
        sender.queue.push_back(Flight {
            intended,
            sent,
            is_measured,
            expected,
            heard: 0,
            lost: 0,
            spread: Spread::default(),
        });
        sender.open += 1;
        self.count += 1;
        self.expires_at.get_or_insert(sent + self.patience);
        sequence
    }

    /// Whether there ever was such a message.
    pub(super) fn was_sent(&self, sender: usize, sequence: u32) -> bool {
        let sender = self.senders.get(sender);
        sender.is_some_and(|sender| sequence < sender.next())
    }

    /// Somebody has heard it for the first time. `None`: nobody waits for it any more.
    pub(super) fn on_heard(
        &mut self,
        sender: usize,
        sequence: u32,
        at: Instant,
    ) -> Option<Delivery> {
        let place = sequence.checked_sub(self.senders[sender].first)?;
        let flight = self.senders[sender].queue.get_mut(place as usize)?;
        if flight.is_over() {
            return None;
        }
        let latency = at.saturating_duration_since(flight.intended);
        flight.heard += 1;
        let (heard, expected) = (flight.heard, flight.expected);
        let spread = &mut flight.spread;
        if heard == 1 {
            spread.first = latency;
        }
        if heard == expected.div_ceil(2) {
            spread.median = latency;
        }
        if u64::from(heard) == (99 * u64::from(expected)).div_ceil(100) {
            spread.p99 = latency;
        }
        spread.last = latency;
        let delivery = Delivery {
            latency,
            is_measured: flight.is_measured,
            everywhere: (heard == expected).then_some(*spread),
        };
        if flight.is_over() {
            self.settle(sender);
        }
        Some(delivery)
    }

    /// One who was to hear everything is gone; `has_heard` tells what it has heard of whom.
    pub(super) fn on_listener_gone(&mut self, has_heard: impl Fn(usize, u32) -> bool) -> Lost {
        let mut lost = Lost::default();
        for sender in 0..self.senders.len() {
            lost += self.lose(sender, |number| !has_heard(sender, number));
        }
        lost
    }

    /// The only one who was to hear what this one sends is gone.
    pub(super) fn on_sender_gone(&mut self, sender: usize) -> Lost {
        self.lose(sender, |_| true)
    }

    /// Loses one delivery of each message of which that is true.
    fn lose(&mut self, sender: usize, is_lost: impl Fn(u32) -> bool) -> Lost {
        let mut lost = Lost::default();
        let Sender { first, queue, .. } = &mut self.senders[sender];
        let numbers = *first..;
        let mut over = 0;
        for (number, flight) in numbers.zip(queue) {
            if !flight.is_over() && is_lost(number) {
                flight.lost += 1;
                lost.deliveries += u64::from(flight.is_measured);
                if flight.is_over() {
                    over += 1;
                    lost.messages += u64::from(flight.is_measured);
                }
            }
        }
        for _ in 0..over {
            self.settle(sender);
        }
        lost
    }

    /// Gives up what was waited for long enough.
    pub(super) fn expire(&mut self, now: Instant) -> Lost {
        let mut lost = Lost::default();
        if self.expires_at.is_none_or(|at| at > now) {
            return lost;
        }
        for sender in 0..self.senders.len() {
            while let Some(flight) = self.senders[sender].queue.front_mut()
                && flight.sent + self.patience <= now
            {
                // The first of a queue is not over.
                if flight.is_measured {
                    lost.deliveries += u64::from(flight.expected - flight.heard - flight.lost);
                    lost.messages += 1;
                }
                flight.lost = flight.expected - flight.heard;
                self.settle(sender);
            }
        }
        let fronts = self
            .senders
            .iter()
            .filter_map(|sender| sender.queue.front());
        self.expires_at = fronts.map(|flight| flight.sent + self.patience).min();
        lost
    }

    /// When to call [`Self::expire`]; there may be nothing to do then.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.expires_at
    }

    /// One more of the messages of a sender is over.
    fn settle(&mut self, index: usize) {
        let sender = &mut self.senders[index];
        sender.open -= 1;
        if sender.open == 0 {
            self.quieted.push(index);
        }
        while sender.queue.front().is_some_and(Flight::is_over) {
            sender.queue.pop_front();
            sender.first += 1;
            self.count -= 1;
        }
    }
}

impl std::ops::AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.messages += other.messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_spread_of_a_message_is_when_it_was_where() {
        let start = Instant::now();
        let mut flights = Flights::new(1, 1000 * MS);
        assert_eq!(flights.send(0, start, start, 200, true), 0);
        for heard in 1..=200u32 {
            let delivery = flights.on_heard(0, 0, start + heard * MS).unwrap();
            assert_eq!(delivery.latency, heard * MS);
            let spread = Spread {
                first: MS,
                median: 100 * MS,
                p99: 198 * MS,
                last: 200 * MS,
            };
            assert_eq!(delivery.everywhere, (heard == 200).then_some(spread));
        }
        assert!(flights.is_empty());
        assert_eq!(
            (flights.poll_quiet(), flights.poll_quiet()),
            (Some(0), None)
        );
        assert_eq!(flights.on_heard(0, 0, start), None);
        assert_eq!(flights.send(0, start, start, 1, true), 1);
        assert!(flights.on_heard(0, 1, start).unwrap().everywhere.is_some());
    }

    #[test]
    fn what_is_not_heard_in_time_is_lost() {
        let start = Instant::now();
        let mut flights = Flights::new(2, 100 * MS);
        flights.send(0, start, start, 3, true);
        flights.send(0, start, start + MS, 3, true);
        flights.send(1, start, start, 3, false);
        flights.on_heard(0, 0, start);
        assert_eq!(flights.next_deadline(), Some(start + 100 * MS));
        assert_eq!(flights.expire(start + 99 * MS), Lost::default());
        let lost = flights.expire(start + 100 * MS);
        assert_eq!((lost.deliveries, lost.messages), (2, 1));
        assert_eq!(
            (flights.poll_quiet(), flights.poll_quiet()),
            (Some(1), None)
        );
        assert_eq!(flights.on_heard(0, 0, start), None, "overdue");
        assert_eq!(flights.next_deadline(), Some(start + 101 * MS));
        let lost = flights.expire(start + 101 * MS);
        assert_eq!((lost.deliveries, lost.messages), (3, 1));
        assert_eq!(flights.poll_quiet(), Some(0));
        assert_eq!(flights.next_deadline(), None);
    }

    #[test]
    fn nobody_waits_for_those_who_are_gone() {
        let start = Instant::now();
        let mut flights = Flights::new(1, 100 * MS);
        for _ in 0..3 {
            flights.send(0, start, start, 2, true);
        }
        // The one that goes has heard the second message; the other has heard the first two.
        flights.on_heard(0, 1, start);
        flights.on_heard(0, 0, start);
        let everywhere = flights.on_heard(0, 1, start).unwrap().everywhere;
        assert!(everywhere.is_some());
        let lost = flights.on_listener_gone(|_, number| number == 1);
        assert_eq!((lost.deliveries, lost.messages), (2, 1));
        assert!(!flights.is_empty());
        let delivery = flights.on_heard(0, 2, start).unwrap();
        assert_eq!(delivery.everywhere, None, "it was not heard by all");
        assert!(flights.is_empty());
        assert_eq!(flights.poll_quiet(), Some(0));
    }
}
