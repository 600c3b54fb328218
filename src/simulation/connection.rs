//! One connection between two hosts: two ends, and a stream from each to the other.

use std::collections::VecDeque;

use super::{clock::Moment, network::Attempt};
use crate::{mesh::PeerKey, message::Message};

/// Names one end of a connection, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId {
    pub(super) slot: u32,
    /// Generation of the slot, and in the lowest bit the side: 0 the dialer, 1 the acceptor.
    tag: u32,
}

impl EndId {
    pub(super) fn new(slot: u32, generation: u32, side: usize) -> Self {
        let tag = generation << 1 | side as u32;
        Self { slot, tag }
    }

    pub(super) fn side(self) -> usize {
        (self.tag & 1) as usize
    }

    pub(super) fn generation(self) -> u32 {
        self.tag >> 1
    }

    /// The end at the other side.
    pub(super) fn other(self) -> Self {
        Self {
            slot: self.slot,
            tag: self.tag ^ 1,
        }
    }

    /// What the node at this end calls the connection.
    pub(super) fn key(self) -> PeerKey {
        PeerKey(u64::from(self.tag) << 32 | u64::from(self.slot))
    }

    pub(super) fn of_key(key: PeerKey) -> Self {
        Self {
            slot: key.0 as u32,
            tag: (key.0 >> 32) as u32,
        }
    }
}

/// Where an end is in the life of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The dialer has not got the answer yet.
    Opening,
    Open,
    /// Has sent a Close and waits for the answer.
    Closing,
    /// Knows of the connection no more.
    Gone,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) host: u32,
    pub(super) phase: Phase,
    /// Since when it is in this phase.
    pub(super) since: Moment,
    pub(super) heard_at: Moment,
    /// When the last parcel left.
    pub(super) sent_at: Moment,
    pub(super) is_pinged: bool,
    pub(super) stream: Stream,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    /// One way, in microseconds.
    pub(super) latency: u64,
    /// The dial that it came from.
    pub(super) attempt: Attempt,
    /// The dialer, the acceptor.
    pub(super) ends: [End; 2],
}

impl Connection {
    /// Both sides believe in it.
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.ends.iter().all(|end| end.phase == Phase::Open)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.ends.iter().all(|end| end.phase == Phase::Gone)
    }
}

/// What an end has sent and the other one has not got yet, in order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    parcels: VecDeque<Parcel>,
    /// When the last one arrives.
    last: Moment,
    /// Nothing arrives before.
    held_until: Moment,
    /// What the other side has not taken, in bytes, with what each frame costs in an outbox.
    pub(super) waiting_bytes: usize,
    /// There is an event for the first parcel.
    pub(super) is_scheduled: bool,
}

#[derive(Debug)]
pub(super) struct Parcel {
    at: Moment,
    pub(super) cost: u32,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// The answer to the upgrade request.
    Opened,
    Frame(Message),
    Ping,
    Pong,
    Close(u16),
    /// The answer to a Close.
    CloseReply,
    /// The kernel says that nobody is there any more.
    Lost,
}

impl Stream {
    /// When the first parcel arrives.
    pub(super) fn due(&self) -> Option<Moment> {
        let first = self.parcels.front()?;
        Some(first.at.max(self.held_until))
    }

    /// What is sent later never arrives earlier.
    pub(super) fn push(&mut self, at: Moment, cost: u32, what: What) {
        self.last = self.last.max(at);
        self.waiting_bytes += cost as usize;
        self.parcels.push_back(Parcel {
            at: self.last,
            cost,
            what,
        });
    }

    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Parcel> {
        if self.due()? > now {
            return None;
        }
        self.parcels.pop_front()
    }

    /// Nothing arrives before `until`, which comes after an outage.
    pub(super) fn hold(&mut self, until: Moment) {
        self.held_until = self.held_until.max(until);
        self.last = self.last.max(until);
    }

    /// Takes back what arrives after `at`.
    pub(super) fn take_back(&mut self, at: Moment) {
        let kept = self.parcels.partition_point(|parcel| parcel.at <= at);
        for parcel in self.parcels.drain(kept..) {
            self.waiting_bytes -= parcel.cost as usize;
        }
    }

    /// When the first parcel would have arrived if nothing had held it.
    pub(super) fn first_arrival(&self) -> Option<Moment> {
        self.parcels.front().map(|parcel| parcel.at)
    }

    pub(super) fn starts_with_frame(&self) -> bool {
        let first = self.parcels.front();
        first.is_some_and(|parcel| matches!(parcel.what, What::Frame(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_survives_its_key() {
        for (slot, generation, side) in [(0, 0, 0), (7, 3, 1), (u32::MAX, u32::MAX >> 1, 1)] {
            let end = EndId::new(slot, generation, side);
            assert_eq!(EndId::of_key(end.key()), end);
            assert_eq!((end.generation(), end.side()), (generation, side));
            assert_eq!(end.other().side(), 1 - side);
            assert_eq!(end.other().other(), end);
        }
    }
}
