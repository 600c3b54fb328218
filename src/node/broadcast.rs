//! The periodic broadcast: when it is due, and what it says to whom.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::relay::{Relay, Turn};
use crate::{
    config::{BroadcastScope, Config, Template, Values},
    message::Message,
};

/// The channel of what is broadcast in the whole mesh.
const CHANNEL: &str = "/";

/// How a node is called that listens nowhere.
const UNBOUND: &str = "unbound";

#[derive(Debug)]
pub(super) struct Broadcast {
    schedule: Option<Schedule>,
    scope: BroadcastScope,
    template: Template,
    /// The node's first address, as configured but with the port that was picked.
    name: String,
    sequence: u64,
}

impl Broadcast {
    pub(super) fn new(config: &Config, name: Option<String>) -> Self {
        Self {
            schedule: config.interval.map(Schedule::new),
            scope: config.broadcast_scope,
            template: config.message.clone(),
            name: name.unwrap_or_else(|| UNBOUND.to_owned()),
            sequence: 0,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.schedule.as_ref().and_then(|schedule| schedule.next)
    }

    /// Whether a broadcast is due; asking moves on to the next one.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.schedule
            .as_mut()
            .is_some_and(|schedule| schedule.is_due(now))
    }

    /// Sends the message: to all peers, rendered once if it is the same for all of them, or to the mesh.
    pub(super) fn send(&mut self, relay: &mut Relay, turn: &mut Turn<'_>) {
        let time = format!("{:.0}", Timestamp::now());
        let Self {
            template,
            name,
            sequence,
            ..
        } = self;
        let render = |index| {
            let values = Values {
                index,
                bind: name,
                seq: *sequence,
                time: &time,
            };
            Message::text(template.render(&values))
        };
        match self.scope {
            BroadcastScope::Mesh => relay.publish(CHANNEL, render(0), turn),
            BroadcastScope::Peers if template.is_per_peer() => relay.broadcast_each(render, turn),
            BroadcastScope::Peers => relay.broadcast(vec![render(0)], turn),
        }
        turn.network.counters().broadcasts += 1;
        log::debug!("broadcast {}", self.sequence);
        self.sequence += 1;
    }
}

/// Absolute deadlines one interval apart: neither traffic nor a late turn moves them.
#[derive(Debug)]
struct Schedule {
    interval: Duration,
    /// Unknown until the loop has its first turn.
    next: Option<Instant>,
}

impl Schedule {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: None,
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let Some(due) = self.next else {
            self.next = Some(now + self.interval);
            return false;
        };
        let Some(late) = now.checked_duration_since(due) else {
            return false;
        };
        // What was missed (a suspended machine) is not made up for in a bunch.
        let missed = late.as_nanos() / self.interval.as_nanos().max(1);
        let missed = u32::try_from(missed).unwrap_or(u32::MAX - 1);
        self.next = Some(due + self.interval * (missed + 1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn turns_between_do_not_delay_the_next_broadcast() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVAL);
        let due: Vec<_> = (0..=3100)
            .map(|step| start + Duration::from_millis(10) * step)
            .filter(|now| schedule.is_due(*now))
            .map(|now| now - start)
            .collect();
        assert_eq!(due, [INTERVAL, INTERVAL * 2, INTERVAL * 3]);
    }

    #[test]
    fn a_late_turn_keeps_the_beat_and_makes_up_for_nothing() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVAL);
        assert!(!schedule.is_due(start));
        assert!(schedule.is_due(start + INTERVAL * 4 + Duration::from_secs(3)));
        assert!(!schedule.is_due(start + INTERVAL * 4 + Duration::from_secs(4)));
        assert_eq!(schedule.next, Some(start + INTERVAL * 5));
    }
}
