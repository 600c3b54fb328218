//! What all connections need during a turn, kept apart from the connections themselves.

use std::time::Instant;

use super::{
    access::Access, admission::Admission, advances::Advances, connection::Turn, contexts::Contexts,
    intake::Intake, memory::SharedFrames, timer::Deadlines, token::Token,
};
use crate::{
    config::{Config, Limits, SlowPeer},
    counters::Counters,
    node_id::NodeId,
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    slow_peer: SlowPeer,
    pub(super) id: NodeId,
    pub(super) access: Access,
    pub(super) admission: Admission,
    pub(super) advances: Advances,
    deadlines: Deadlines,
    contexts: Contexts,
    pub(super) frames: SharedFrames,
    intake: Intake,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new(config: &Config, id: NodeId) -> Self {
        let limits = config.limits.clone();
        Self {
            admission: Admission::new(&limits),
            advances: Advances::new(),
            intake: Intake::new(&limits),
            limits,
            slow_peer: config.slow_peer,
            id,
            access: Access::unread(config.access.clone(), dials_in_clear(config)),
            deadlines: Deadlines::default(),
            contexts: Contexts::default(),
            frames: SharedFrames::default(),
            counters: Counters::default(),
        }
    }

    /// Takes over what may have changed: for what is decided from now on.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        let limits = config.limits.clone();
        self.admission.set_limits(&limits);
        if !self.limits.has_rates_of(&limits) {
            // What was sent before is forgotten.
            self.intake = Intake::new(&limits);
        }
        self.limits = limits;
        self.slow_peer = config.slow_peer;
    }

    /// When the next connection has something due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.deadlines.next(), self.advances.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// A connection whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Token> {
        self.deadlines.pop_due(now)
    }

    pub(super) fn turn(&mut self, now: Instant) -> Turn<'_> {
        Turn {
            now,
            limits: &self.limits,
            slow_peer: self.slow_peer,
            id: self.id,
            access: &self.access,
            admission: &mut self.admission,
            deadlines: &mut self.deadlines,
            contexts: &mut self.contexts,
            frames: &self.frames,
            intake: &mut self.intake,
            counters: &mut self.counters,
        }
    }
}

/// Whether a person has named somebody to be dialed without TLS.
pub(super) fn dials_in_clear(config: &Config) -> bool {
    config.configured().any(|peer| !peer.is_tls())
}
