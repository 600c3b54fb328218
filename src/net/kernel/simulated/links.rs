//! What lies between two hosts, one way: while it is cut nothing comes through, and nobody is told.
//!
//! TCP sends again what was not acknowledged, so what was said meanwhile arrives when the link is whole again. After a
//! while a sender gives up: its end fails, and of that the other end hears nothing, and stays half open. A reset is not
//! sent again.

use std::time::Duration;

use super::state::{Arrival, Id, State};

/// From one host to another.
pub(super) type Link = (usize, usize);

/// A sender gives up after so long without a word of what it has sent.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(4);

impl State {
    pub(super) fn cut(&mut self, link: Link) {
        self.note("link cut", link.0 as u64, link.1 as u64);
        self.cuts.entry(link).or_default();
    }

    /// What was held back arrives, in order.
    pub(super) fn heal(&mut self, link: Link) {
        self.note("link whole", link.0 as u64, link.1 as u64);
        for arrival in self.cuts.remove(&link).into_iter().flatten() {
            self.arrive(arrival);
        }
    }

    /// Something has come to where its link is cut.
    pub(super) fn hold_back(&mut self, link: Link, arrival: Arrival) {
        if let Arrival::Reset(to) | Arrival::Refused(to) = arrival {
            // Who has sent it has forgotten all that it has said before.
            let held = self.cuts.entry(link).or_default();
            return held.retain(|other| other.is_from().is_none() || other.is_for() != Some(to));
        }
        if let Some(sender) = arrival.is_from().or_else(|| arrival.acknowledges()) {
            let when = self.now + UNACKNOWLEDGED_MAX;
            self.remind(when, Arrival::Impatience(sender));
        }
        self.cuts.entry(link).or_default().push(arrival);
    }

    /// An end looks whether what it has sent a while ago is still under way.
    pub(super) fn lose_patience(&mut self, id: Id) {
        let is_of =
            |arrival: &Arrival| arrival.is_from() == Some(id) || arrival.acknowledges() == Some(id);
        if !self.cuts.values().flatten().any(is_of) {
            return;
        }
        for held in self.cuts.values_mut() {
            held.retain(|arrival| !is_of(arrival));
        }
        self.break_end(id, libc::ETIMEDOUT);
    }
}

impl Arrival {
    /// The end that sends it until it is acknowledged.
    fn is_from(&self) -> Option<Id> {
        match self {
            Self::Bytes(_, _, from) | Self::Fin(_, from) => Some(*from),
            _ => None,
        }
    }

    fn is_for(&self) -> Option<Id> {
        match self {
            Self::Bytes(to, ..) | Self::Fin(to, _) => Some(*to),
            _ => None,
        }
    }

    /// The end whose bytes it says have come.
    fn acknowledges(&self) -> Option<Id> {
        match self {
            Self::Room(sender, _) => Some(*sender),
            _ => None,
        }
    }
}
