//! What is sent next, by whom, and to how many it goes.

use std::time::Instant;

use super::{Action, Load, Phase};
use crate::fanout::payload::{self, Stamp};
use crate::fanout::plan::Mode;
use crate::message::Message;

/// Messages that one connection sends at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    sender: usize,
    intended: Instant,
    left: usize,
}

impl Load {
    /// Gives up what was waited for too long, and lets those go on who have waited for it.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.messages.lost += self.flights.expire(now);
        while let Some(sender) = self.flights.poll_quiet() {
            if self.phase < Phase::Drain && self.seats.is_open(sender) {
                self.pacing.on_quiet(sender, now);
            }
        }
    }

    pub(super) fn next_burst(
        &mut self,
        now: Instant,
        has_room: impl Fn(usize) -> bool,
    ) -> Option<Burst> {
        let flights = &self.flights;
        let may_send = |sender| flights.has_room() && has_room(sender);
        if let Some(burst) = self.burst.filter(|burst| self.seats.is_open(burst.sender)) {
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
    pub(super) fn send(&mut self, burst: Burst, now: Instant) -> Action {
        let is_measured = self.phase == Phase::Measure;
        let left = burst.left - 1;
        self.burst = (left > 0).then_some(Burst { left, ..burst });
        if is_measured && let Some(unsent) = &mut self.unsent {
            *unsent -= 1;
        }
        let expected = match self.plan.mode {
            Mode::Echo => 1,
            _ => self.seats.open() - 1,
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
