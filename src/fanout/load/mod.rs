//! The course of a load test: what is to be done when, and what what happens means. Pure: sockets are somebody
//! else's, connections are numbers, time is an argument.
//!
//! Here one phase follows the other; `seats` knows which connections are open, `sending` what is sent next,
//! `hearing` what it means that a message has come in, and `epoch` how our clock and that of others relate.

mod epoch;
mod hearing;
mod seats;
mod sending;

use std::time::{Duration, Instant};

pub(super) use self::epoch::Epoch;
use self::seats::Seats;
use self::sending::Burst;
use super::flights::Flights;
use super::pacing::Pacing;
use super::plan::{Mode, Plan};
use super::ramp::Ramp;
use super::tally::{Connections, Messages, since};
use super::track::Track;
use crate::message::Message;

/// How far a load test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connections are opened.
    Connect,
    /// The same as measuring, but it does not count.
    WarmUp,
    /// What is sent now counts.
    Measure,
    /// Nothing is sent any more; what is on its way is waited for.
    Drain,
    /// Connections are closed.
    Close,
}

/// How a load test has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As planned.
    Done,
    /// Somebody has stopped it.
    Interrupted,
    /// No connection could be opened.
    NobodyConnected,
    /// Those that send are gone, or could not connect.
    NoSenderLeft,
    /// Those that hear are gone, or could not connect.
    NobodyLeft,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Open this connection.
    Open(usize),
    /// Send this by that connection.
    Send(usize, Message),
}

#[derive(Debug)]
pub(super) struct Load {
    plan: Plan,
    /// Tells our messages from those of another load test.
    run: u32,
    epoch: Epoch,
    phase: Phase,
    /// When the phase ends, if time ends it.
    until: Option<Instant>,
    outcome: Outcome,
    ramp: Ramp,
    seats: Seats,
    pacing: Pacing,
    burst: Option<Burst>,
    /// Of those that are measured.
    unsent: Option<usize>,
    flights: Flights,
    /// What each connection has heard of each source.
    tracks: Vec<Vec<Track>>,
    /// The sources of other load tests, while listening.
    sources: Vec<(u32, u32)>,
    measured_from: Option<Instant>,
    heard_at: Option<Instant>,
    pub(super) connections: Connections,
    pub(super) messages: Messages,
}

impl Load {
    pub(super) fn new(plan: &Plan, run: u32, epoch: Epoch) -> Self {
        let now = epoch.now;
        Self {
            run,
            epoch,
            phase: Phase::Connect,
            until: None,
            outcome: Outcome::Done,
            ramp: Ramp::new(plan.connections, plan.in_flight, plan.connect_rate, now),
            seats: Seats::new(plan.connections, plan.senders()),
            pacing: Pacing::new(0, None, 1, now),
            burst: None,
            unsent: plan.messages,
            flights: Flights::new(plan.senders(), plan.patience),
            tracks: vec![Vec::new(); plan.connections],
            sources: Vec::new(),
            measured_from: None,
            heard_at: None,
            connections: Connections::default(),
            messages: Messages::default(),
            plan: plan.clone(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.seats.open()
    }

    /// How long it was measured: from the first message that was due to the last that was heard, and no less
    /// than messages were sent.
    pub(super) fn measured(&self, now: Instant) -> Duration {
        let end = match self.phase {
            Phase::Drain | Phase::Close => self.until.max(self.heard_at),
            _ => Some(now),
        };
        since(self.measured_from, end.unwrap_or(now))
    }

    /// The share of the present phase that is done, where that is known.
    pub(super) fn progress(&self, now: Instant) -> Option<f64> {
        let of_time = |all: Duration| {
            let left = self.left(now).unwrap_or_default().as_secs_f64();
            1.0 - left / all.as_secs_f64()
        };
        let share = match self.phase {
            Phase::Connect => self.connections.opened as f64 / self.plan.connections as f64,
            Phase::WarmUp => of_time(self.plan.warm_up),
            Phase::Measure => {
                let sent = self.messages.sent as f64;
                let messages = self.plan.messages.map(|messages| sent / messages as f64);
                of_time(self.plan.duration).max(messages.unwrap_or(0.0))
            }
            Phase::Drain | Phase::Close => return None,
        };
        Some(share.clamp(0.0, 1.0))
    }

    /// Time until the present phase is over, if time ends it.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let until = self.until.filter(|_| self.phase < Phase::Drain)?;
        Some(until.saturating_duration_since(now))
    }

    /// What is to be done now; call until there is nothing left. `has_room` tells whether a connection takes
    /// more to send.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        has_room: impl Fn(usize) -> bool,
    ) -> Option<Action> {
        self.give_up(now);
        loop {
            match self.phase {
                Phase::Connect if self.ramp.is_over() => self.begin(now),
                Phase::Connect => {
                    let connection = self.ramp.poll(now)?;
                    self.seats.on_opening(connection, now);
                    return Some(Action::Open(connection));
                }
                Phase::Close => return None,
                Phase::WarmUp | Phase::Measure if self.is_time_over(now) => self.advance(now),
                Phase::WarmUp | Phase::Measure => {
                    let burst = self.next_burst(now, &has_room)?;
                    return Some(self.send(burst, now));
                }
                Phase::Drain if self.flights.is_empty() => self.phase = Phase::Close,
                Phase::Drain => return None,
            }
        }
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let until = self.until.filter(|until| *until > now);
        let deadlines = match self.phase {
            Phase::Connect => [self.ramp.next_deadline(), None, None],
            Phase::WarmUp | Phase::Measure => {
                let expiry = self.flights.next_deadline();
                [until, self.pacing.next_deadline(now), expiry]
            }
            Phase::Drain => [self.flights.next_deadline(), None, None],
            Phase::Close => [None; 3],
        };
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn on_opened(&mut self, connection: usize, now: Instant) {
        if let Some(handshake) = self.seats.on_opened(connection, now) {
            let since_start = now.saturating_duration_since(self.epoch.now);
            self.connections.on_opened(handshake, since_start);
            self.ramp.on_settled();
        }
    }

    /// It could not be opened.
    pub(super) fn on_failed(&mut self, connection: usize, reason: String, now: Instant) {
        if self.phase != Phase::Close {
            let since_start = now.saturating_duration_since(self.epoch.now);
            self.connections.on_failed(reason, since_start);
        }
        self.ramp.on_settled();
        self.seats.on_failed(connection);
    }

    /// It was open, and is gone.
    pub(super) fn on_closed(&mut self, connection: usize, reason: String, now: Instant) {
        self.seats.on_closed(connection);
        if self.phase == Phase::Close {
            return;
        }
        self.connections.losses.add(reason);
        match self.plan.mode {
            Mode::Publish => {
                let tracks = &self.tracks[connection];
                self.messages.lost += self.flights.on_listener_gone(|sender, number| {
                    let track = tracks.get(sender);
                    sender == connection || track.is_some_and(|track| track.has(number))
                });
            }
            Mode::Echo => self.messages.lost += self.flights.on_sender_gone(connection),
            Mode::Listen | Mode::Idle => {}
        }
        if self.seats.is_sender(connection) {
            self.pacing.remove(connection);
        }
        if self.phase != Phase::Connect
            && let Some(outcome) = self.dead_end()
        {
            self.stop(outcome, now);
        }
    }

    /// Somebody wants it to end now.
    pub(super) fn interrupt(&mut self, now: Instant) {
        if self.phase < Phase::Close {
            self.stop(Outcome::Interrupted, now);
        }
    }

    /// All connections are open, or have failed.
    fn begin(&mut self, now: Instant) {
        if let Some(outcome) = self.dead_end() {
            return self.stop(outcome, now);
        }
        let (senders, burst) = (self.plan.senders(), self.plan.burst);
        self.pacing = Pacing::new(senders, self.plan.rate, burst, now);
        for sender in 0..senders {
            if !self.seats.is_open(sender) {
                self.pacing.remove(sender);
            }
        }
        self.phase = Phase::WarmUp;
        self.until = Some(now + self.plan.warm_up);
    }

    fn is_time_over(&self, now: Instant) -> bool {
        let is_all_sent = self.phase == Phase::Measure && self.unsent == Some(0);
        is_all_sent || self.until.is_some_and(|until| until <= now)
    }

    /// From warming up to measuring, from measuring to waiting for the last.
    fn advance(&mut self, now: Instant) {
        self.burst = None;
        if self.phase == Phase::WarmUp {
            self.phase = Phase::Measure;
            self.measured_from = Some(now);
            self.until = Some(now + self.plan.duration);
        } else {
            self.end_sending(Phase::Drain, now);
        }
    }

    /// Goes to a phase in which nothing is sent and nothing more is listened for.
    fn end_sending(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.until = Some(now);
        self.pacing.stop();
        if self.plan.mode == Mode::Listen {
            let tracks = self.tracks.iter().flatten();
            self.messages.lost.deliveries = tracks.map(Track::gaps).sum();
        }
    }

    fn stop(&mut self, outcome: Outcome, now: Instant) {
        self.outcome = outcome;
        self.ramp.stop();
        self.end_sending(Phase::Close, now);
    }

    /// Why it makes no sense to go on.
    fn dead_end(&self) -> Option<Outcome> {
        let (open, senders_open) = (self.seats.open(), self.seats.senders_open());
        match self.plan.mode {
            _ if open == 0 && self.connections.opened == 0 => Some(Outcome::NobodyConnected),
            Mode::Publish | Mode::Echo if senders_open == 0 => Some(Outcome::NoSenderLeft),
            Mode::Publish if open < 2 => Some(Outcome::NobodyLeft),
            _ if open == 0 => Some(Outcome::NobodyLeft),
            _ => None,
        }
    }
}
