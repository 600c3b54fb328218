//! Which connections are open, and how many of those that send.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Closed,
    Opening { since: Instant },
    Open,
}

#[derive(Debug)]
pub(super) struct Seats {
    seats: Vec<Seat>,
    /// The first so many are for those that send.
    senders: usize,
    open: usize,
    senders_open: usize,
}

impl Seats {
    pub(super) fn new(connections: usize, senders: usize) -> Self {
        Self {
            seats: vec![Seat::Closed; connections],
            senders,
            open: 0,
            senders_open: 0,
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn senders_open(&self) -> usize {
        self.senders_open
    }

    pub(super) fn is_open(&self, connection: usize) -> bool {
        self.seats[connection] == Seat::Open
    }

    pub(super) fn is_sender(&self, connection: usize) -> bool {
        connection < self.senders
    }

    pub(super) fn on_opening(&mut self, connection: usize, now: Instant) {
        self.seats[connection] = Seat::Opening { since: now };
    }

    /// Returns how long it took; `None` if it was not being opened.
    pub(super) fn on_opened(&mut self, connection: usize, now: Instant) -> Option<Duration> {
        let Seat::Opening { since } = self.seats[connection] else {
            return None;
        };
        self.seats[connection] = Seat::Open;
        self.open += 1;
        self.senders_open += usize::from(self.is_sender(connection));
        Some(now.saturating_duration_since(since))
    }

    /// It could not be opened.
    pub(super) fn on_failed(&mut self, connection: usize) {
        self.seats[connection] = Seat::Closed;
    }

    /// It was open, and is gone.
    pub(super) fn on_closed(&mut self, connection: usize) {
        self.seats[connection] = Seat::Closed;
        self.open -= 1;
        self.senders_open -= usize::from(self.is_sender(connection));
    }
}
