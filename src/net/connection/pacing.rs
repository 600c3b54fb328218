//! Reading a plain peer no faster than it may send.

use std::time::Instant;

use super::{Connection, Side, Turn};
use crate::net::{
    Kind,
    close::CloseReason,
    intake::{Pace, Sender},
};

impl Connection {
    /// Not to be read for a while, because of what has come before.
    pub(super) fn is_held(&self) -> bool {
        self.held_until.is_some() && self.is_open() && !self.transport.has_failed()
    }

    /// Whether it may be read now: others of its address may have sent too much.
    pub(super) fn may_be_read(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(sender) = self.sender() else {
            return true;
        };
        match turn.intake.before_read(sender, turn.now) {
            Pace::Hold(until) => {
                self.hold(until, turn);
                false
            }
            Pace::Fine | Pace::Close(_) => true,
        }
    }

    /// So many bytes have come.
    pub(super) fn on_bytes(&mut self, bytes: usize, turn: &mut Turn<'_>) {
        if let Some(sender) = self.sender() {
            let pace = turn.intake.on_bytes(sender, bytes, turn.now);
            self.keep_pace(pace, turn);
        }
    }

    /// A message has come. Whether it is to be passed on.
    pub(super) fn on_message(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(sender) = self.sender() else {
            return true;
        };
        let pace = turn.intake.on_message(sender, turn.now);
        self.keep_pace(pace, turn);
        self.is_open()
    }

    /// Reads on, if it was held and the time has come. That nothing was received meanwhile was our doing.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>) {
        if self
            .held_until
            .take_if(|until| *until <= turn.now)
            .is_some()
        {
            self.keep_alive.on_received(turn.now);
        }
    }

    /// The deadline of an open connection.
    pub(super) fn set_open_deadline(&mut self, deadline: Option<Instant>, turn: &mut Turn<'_>) {
        let deadline = deadline.into_iter().chain(self.held_until).min();
        self.set_deadline(deadline, turn);
    }

    fn keep_pace(&mut self, pace: Pace, turn: &mut Turn<'_>) {
        match pace {
            Pace::Fine => {}
            Pace::Hold(until) => self.hold(until, turn),
            Pace::Close(words) => self.break_off(CloseReason::TooFast(words), turn),
        }
    }

    fn hold(&mut self, until: Instant, turn: &mut Turn<'_>) {
        if self.held_until.is_none() {
            turn.counters.delayed += 1;
            let remote = self.remote;
            log::warn!("peer {remote} sends faster than it may: it has to wait");
        }
        self.held_until = self.held_until.max(Some(until));
        self.set_open_deadline(self.deadline, turn);
    }

    /// Who sends here, if that is bounded.
    fn sender(&self) -> Option<Sender> {
        let is_bounded = self.is_open() && self.kind == Kind::Plain && self.side != Side::Client;
        let is_stranger = self.side == Side::Accepted;
        is_bounded.then(|| Sender {
            peer: self.token,
            address: self.counts_for().filter(|_| is_stranger),
        })
    }
}
