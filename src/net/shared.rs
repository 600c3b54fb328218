//! What all connections need during a turn, kept apart from the connections themselves.

use std::time::Instant;

use super::{
    access::Access, admission::Admission, connection::Turn, contexts::Contexts, intake::Intake,
    memory::SharedFrames, timer::Deadlines, token::Token,
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
    deadlines: Deadlines,
    contexts: Contexts,
    pub(super) frames: SharedFrames,
    intake: Intake,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new(config: &Config, id: NodeId) -> Self {
        let limits = config.limits.clone();
        let dials_in_clear = config.peers.iter().any(|peer| !peer.is_tls());
        Self {
            admission: Admission::new(&limits),
            intake: Intake::new(&limits),
            limits,
            slow_peer: config.slow_peer,
            id,
            access: Access::unread(config.access.clone(), dials_in_clear),
            deadlines: Deadlines::default(),
            contexts: Contexts::default(),
            frames: SharedFrames::default(),
            counters: Counters::default(),
        }
    }

    /// When the next connection has something due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
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
