//! The course of a load test: what is to be done when, and what what happens means. Pure: sockets are somebody
//! else's, connections are numbers, time is an argument.

use std::time::{Duration, Instant};

use super::flights::Flights;
use super::pacing::Pacing;
use super::payload::{self, Fault, Stamp};
use super::plan::{Mode, Plan};
use super::ramp::Ramp;
use super::tally::{Connections, Messages, since};
use super::track::{Arrival, Track};
use crate::message::Message;

/// Other load tests whose messages are told apart while listening.
const SOURCES_MAX: usize = 64;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Closed,
    Opening { since: Instant },
    Open,
}

/// Messages that one connection sends at once.
#[derive(Clone, Copy, Debug)]
struct Burst {
    sender: usize,
    intended: Instant,
    left: usize,
}

/// The two clocks at the same moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    pub(super) now: Instant,
    /// Since 1970.
    pub(super) wall: Duration,
}

impl Epoch {
    fn nanoseconds_at(&self, now: Instant) -> u64 {
        let wall = self.wall + now.saturating_duration_since(self.now);
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)
    }
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
    seats: Vec<Seat>,
    open: usize,
    senders_open: usize,
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
            seats: vec![Seat::Closed; plan.connections],
            open: 0,
            senders_open: 0,
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
        self.open
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
            Phase::Connect => self.connections.opened as f64 / self.seats.len() as f64,
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
                    self.seats[connection] = Seat::Opening { since: now };
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
        if let Seat::Opening { since } = self.seats[connection] {
            let since_start = now.saturating_duration_since(self.epoch.now);
            let handshake = now.saturating_duration_since(since);
            self.connections.on_opened(handshake, since_start);
            self.ramp.on_settled();
            self.seats[connection] = Seat::Open;
            self.open += 1;
            self.senders_open += usize::from(self.is_sender(connection));
        }
    }

    /// It could not be opened.
    pub(super) fn on_failed(&mut self, connection: usize, reason: String, now: Instant) {
        if self.phase != Phase::Close {
            let since_start = now.saturating_duration_since(self.epoch.now);
            self.connections.on_failed(reason, since_start);
        }
        self.ramp.on_settled();
        self.seats[connection] = Seat::Closed;
    }

    /// It was open, and is gone.
    pub(super) fn on_closed(&mut self, connection: usize, reason: String, now: Instant) {
        self.seats[connection] = Seat::Closed;
        self.open -= 1;
        self.senders_open -= usize::from(self.is_sender(connection));
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
        if self.is_sender(connection) {
            self.pacing.remove(connection);
        }
        if self.phase != Phase::Connect
            && let Some(outcome) = self.dead_end()
        {
            self.stop(outcome, now);
        }
    }

    /// A message has come in; `at` is read after it was received.
    pub(super) fn on_message(&mut self, connection: usize, message: &Message, at: Instant) {
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

    /// Somebody wants it to end now.
    pub(super) fn interrupt(&mut self, now: Instant) {
        if self.phase < Phase::Close {
            self.stop(Outcome::Interrupted, now);
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

    /// All connections are open, or have failed.
    fn begin(&mut self, now: Instant) {
        if let Some(outcome) = self.dead_end() {
            return self.stop(outcome, now);
        }
        let (senders, burst) = (self.plan.senders(), self.plan.burst);
        self.pacing = Pacing::new(senders, self.plan.rate, burst, now);
        for sender in 0..senders {
            if self.seats[sender] != Seat::Open {
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
        match self.plan.mode {
            _ if self.open == 0 && self.connections.opened == 0 => Some(Outcome::NobodyConnected),
            Mode::Publish | Mode::Echo if self.senders_open == 0 => Some(Outcome::NoSenderLeft),
            Mode::Publish if self.open < 2 => Some(Outcome::NobodyLeft),
            _ if self.open == 0 => Some(Outcome::NobodyLeft),
            _ => None,
        }
    }

    fn is_sender(&self, connection: usize) -> bool {
        connection < self.plan.senders()
    }

    /// Gives up what was waited for too long, and lets those go on who have waited for it.
    fn give_up(&mut self, now: Instant) {
        self.messages.lost += self.flights.expire(now);
        while let Some(sender) = self.flights.poll_quiet() {
            if self.phase < Phase::Drain && self.seats[sender] == Seat::Open {
                self.pacing.on_quiet(sender, now);
            }
        }
    }

    fn next_burst(&mut self, now: Instant, has_room: impl Fn(usize) -> bool) -> Option<Burst> {
        let flights = &self.flights;
        let may_send = |sender| flights.has_room() && has_room(sender);
        if let Some(burst) = self
            .burst
            .filter(|burst| self.seats[burst.sender] == Seat::Open)
        {
            return may_send(burst.sender).then_some(burst);
        }
        let (sender, intended) = self.pacing.poll(now, may_send)?;
        if self.phase == Phase::Measure {
            let late = now.saturating_duration_since(intended);
            self.messages.sent_late.record(late);
        }
        let left = self.plan.burst;
        Some(Burst {
            sender,
            intended,
            left,
        })
    }

    /// Sends the next message of a burst.
    fn send(&mut self, burst: Burst, now: Instant) -> Action {
        let is_measured = self.phase == Phase::Measure;
        let left = burst.left - 1;
        self.burst = (left > 0).then_some(Burst { left, ..burst });
        if is_measured && let Some(unsent) = &mut self.unsent {
            *unsent -= 1;
        }
        let expected = match self.plan.mode {
            Mode::Echo => 1,
            _ => self.open - 1,
        };
        let Burst {
            sender, intended, ..
        } = burst;
        let sequence = self
            .flights
            .send(sender, intended, now, expected as u32, is_measured);
        self.messages.sent += u64::from(is_measured);
        let stamp = Stamp {
            run: self.run,
            source: sender as u32,
            sequence,
            at_ns: self.epoch.nanoseconds_at(intended),
        };
        let text = payload::encode(&stamp, self.plan.size_bytes);
        let message = match self.plan.is_binary {
            true => Message::binary(text),
            false => Message::text(text),
        };
        Action::Send(sender, message)
    }
}
