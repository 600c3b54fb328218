//! How a node goes: its neighbors hear of it first, then its plain peers are closed, one by one if there is time, its
//! neighbors last. So what was published before is with everybody, what peers say until their own end still goes out,
//! and other nodes have found another way before this one is gone.

use std::time::{Duration, Instant};

use super::Node;
use crate::config::Time;

/// Time for the neighbors to say that they know. Nodes that do not know of leaving never do.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// The neighbors are told; when they know, or at this time, plain peers are closed.
    Announcing {
        over: Duration,
        notices_until: Instant,
        begun_at: Instant,
    },
    /// Plain peers are being closed; when none is left, or at this time, neighbors are.
    Draining {
        peers_until: Instant,
        neighbors_until: Instant,
        until: Instant,
    },
    /// All are being closed, until they have answered or this time has come.
    Stopping {
        until: Instant,
    },
}

impl Node {
    /// Begins to go, and lets plain peers go within this time. From then on it can only be hurried.
    pub(super) fn go(&mut self, over: Duration, now: Instant) {
        match &mut self.state {
            State::Running => self.announce(over, now),
            State::Announcing { over: planned, .. } => *planned = over.min(*planned),
            State::Draining { peers_until, .. } if over.is_zero() && now < *peers_until => {
                self.let_peers_go(over, now, now);
            }
            State::Draining { .. } | State::Stopping { .. } => {}
        }
    }

    fn announce(&mut self, over: Duration, now: Instant) {
        let (peers, connections) = (self.network.plain_peers(), self.network.len());
        match self.network.time_to_drain(over) {
            Duration::ZERO => log::info!("stopping: connections to close: {connections}"),
            over => log::info!(
                "draining: peers to close within {}: {peers}; a second signal ends the node at once",
                Time(over)
            ),
        }
        self.supervisor.on_stopping(connections);
        self.network.shut_out(now);
        self.relay.withdraw(now);
        self.status.goes = true;
        let patience = NOTICE_TIMEOUT.min(self.config.limits.shutdown_timeout / 4);
        self.state = State::Announcing {
            over,
            notices_until: now + patience,
            begun_at: now,
        };
    }

    fn let_peers_go(&mut self, over: Duration, begun_at: Instant, now: Instant) {
        let over = self.network.drain(over, now);
        let patience = self.config.limits.shutdown_timeout;
        self.state = State::Draining {
            peers_until: now + over,
            neighbors_until: begun_at + over + patience / 2,
            until: begun_at + over + patience,
        };
    }

    /// Goes on with going, when it is time. Returns whether connections were closed.
    pub(super) fn go_on(&mut self, now: Instant) -> bool {
        match self.state {
            State::Announcing {
                over,
                notices_until,
                begun_at,
            } if self.relay.is_withdrawn() || now >= notices_until => {
                self.let_peers_go(over, begun_at, now);
                true
            }
            State::Draining {
                neighbors_until,
                until,
                ..
            } if self.network.plain_peers() == 0 || now >= neighbors_until => {
                self.state = State::Stopping { until };
                self.network.stop(now);
                true
            }
            _ => false,
        }
    }

    /// Whether the node still takes part in the mesh, for its own peers at least.
    pub(super) fn takes_part(&self) -> bool {
        !matches!(self.state, State::Stopping { .. })
    }

    /// When the way of going changes by itself.
    pub(super) fn stage_end(&self) -> Option<Instant> {
        match self.state {
            State::Running => None,
            State::Announcing { notices_until, .. } => Some(notices_until),
            State::Draining {
                neighbors_until, ..
            } => Some(neighbors_until),
            State::Stopping { until } => Some(until),
        }
    }
}
