//! What it means that a message has come in.

use std::time::{Duration, Instant};

use super::{Load, Phase};
use crate::fanout::payload::{self, Fault, Stamp};
use crate::fanout::plan::Mode;
use crate::fanout::tally::since;
use crate::fanout::track::{Arrival, Track};
use crate::message::Message;

/// Other load tests whose messages are told apart while listening.
const SOURCES_MAX: usize = 64;

impl Load {
    /// A message has come in; `at` is read after it was received.
    pub(in crate::fanout) fn on_message(
        &mut self,
        connection: usize,
        message: &Message,
        at: Instant,
    ) {
        match payload::decode(message.as_bytes()) {
            Ok(stamp) if stamp.run == self.run => {
                self.on_own(connection, &stamp, message.len(), at)
            }
            Ok(stamp) if self.plan.mode == Mode::Listen => {
                self.on_others(connection, &stamp, message.len(), at);
            }
            Ok(_) | Err(Fault::Foreign) => self.on_foreign(message.len(), at),
            Err(Fault::Corrupted) => self.messages.corrupted += 1,
        }
    }

    fn on_own(&mut self, connection: usize, stamp: &Stamp, bytes: usize, at: Instant) {
        let sender = stamp.source as usize;
        if !self.flights.was_sent(sender, stamp.sequence) {
            // It looks like one of ours, and is not.
            self.messages.corrupted += 1;
            return;
        }
        let is_own = sender == connection;
        if is_own != (self.plan.mode == Mode::Echo) {
            self.messages.unasked += 1;
            return;
        }
        let place = if is_own { 0 } else { sender };
        if self.arrival(connection, place, stamp.sequence) == Arrival::Again {
            return;
        }
        match self.flights.on_heard(sender, stamp.sequence, at) {
            Some(delivery) => {
                if delivery.is_measured {
                    self.count_heard(bytes, at);
                    let since_start = since(self.measured_from, at);
                    self.messages.on_delivery(&delivery, since_start);
                }
            }
            None => self.messages.overdue += 1,
        }
    }

    /// The message of another load test, whose clock is ours if it runs on this machine.
    fn on_others(&mut self, connection: usize, stamp: &Stamp, bytes: usize, at: Instant) {
        if self.phase != Phase::Measure {
            return;
        }
        let source = (stamp.run, stamp.source);
        let place = self.sources.iter().position(|known| *known == source);
        let place = match place {
            Some(place) => place,
            None if self.sources.len() < SOURCES_MAX => {
                self.sources.push(source);
                self.sources.len() - 1
            }
            None => return self.on_foreign(bytes, at),
        };
        if self.arrival(connection, place, stamp.sequence) != Arrival::Again {
            let latency = self.epoch.nanoseconds_at(at).saturating_sub(stamp.at_ns);
            self.messages.delivery.record(Duration::from_nanos(latency));
            self.count_heard(bytes, at);
        }
    }

    fn on_foreign(&mut self, bytes: usize, at: Instant) {
        match self.plan.mode {
            Mode::Listen if self.phase == Phase::Measure => {
                self.messages.foreign += 1;
                self.count_heard(bytes, at);
            }
            Mode::Listen => {}
            Mode::Publish | Mode::Echo | Mode::Idle => self.messages.foreign += 1,
        }
    }

    fn count_heard(&mut self, bytes: usize, at: Instant) {
        self.messages.heard += 1;
        self.messages.heard_bytes += bytes as u64;
        let since_start = since(self.measured_from, at);
        self.messages.course.at(since_start).deliveries += 1;
        self.heard_at = self.heard_at.max(Some(at));
    }

    /// Keeps the account of what a connection has heard of a source.
    fn arrival(&mut self, connection: usize, place: usize, sequence: u32) -> Arrival {
        let tracks = &mut self.tracks[connection];
        if place >= tracks.len() {
            tracks.resize(place + 1, Track::default());
        }
        let arrival = tracks[place].on_message(sequence);
        match arrival {
            Arrival::InOrder => {}
            Arrival::Late => self.messages.late += 1,
            Arrival::Again => self.messages.again += 1,
        }
        arrival
    }
}
