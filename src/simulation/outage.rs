//! What goes wrong with hosts and the network between them: processes end, hosts vanish and come back,
//! partitions come and heal.

use super::{
    clock::Moment,
    connection::{EndId, Phase, What},
    event::Event,
    network::{Network, Presence},
    queue::Queue,
    weather::{RETRANSMISSION, Weather},
};

/// The kernel's waits between retransmissions double up to this, in microseconds.
const RETRANSMISSION_MAX: u64 = 120_000_000;

impl Network {
    /// The ends that a host has.
    fn ends_of(&self, host: u32) -> Vec<EndId> {
        let slots = self.hosts[host as usize].connections.iter();
        let ends = slots.flat_map(|slot| {
            let connection = &self.connections[*slot as usize];
            let sides = (0..2).filter(|side| connection.ends[*side].host == host);
            sides.map(|side| EndId::new(*slot, connection.generation, side))
        });
        ends.collect()
    }

    /// The process of a host ends; its kernel ends the connections after what it was given to send.
    pub(super) fn end_process(&mut self, host: u32, now: Moment, queue: &mut Queue<Event>) {
        self.hosts[host as usize].presence = Presence::Silent;
        for id in self.ends_of(host) {
            let Some(end) = self.end(id) else {
                continue;
            };
            if end.phase != Phase::Gone {
                (end.phase, end.since) = (Phase::Gone, now);
                self.put(id, What::Lost, 0, 0, now, queue);
                self.settle(id);
            }
        }
    }

    /// A host goes without a word: what has not left it never does.
    pub(super) fn vanish(&mut self, host: u32, now: Moment) {
        self.hosts[host as usize].presence = Presence::Away;
        for id in self.ends_of(host) {
            let Some(connection) = self.connection(id) else {
                continue;
            };
            let latency = connection.latency;
            let under_way = now.after(latency + Weather::jitter_max(latency));
            let end = &mut connection.ends[id.side()];
            end.stream.take_back(under_way);
            if end.phase != Phase::Gone {
                (end.phase, end.since) = (Phase::Gone, now);
                self.settle(id);
            }
        }
    }

    /// A host is there again, with a node or without. It knows nothing of the connections that it had, and
    /// says so to who still sends to it.
    pub(super) fn come_back(
        &mut self,
        host: u32,
        presence: Presence,
        now: Moment,
        queue: &mut Queue<Event>,
    ) {
        let was_away = self.hosts[host as usize].presence == Presence::Away;
        self.hosts[host as usize].presence = presence;
        if !was_away {
            return;
        }
        for id in self.ends_of(host) {
            self.put(id, What::Lost, 0, 0, now, queue);
            // What was sent to it meanwhile comes to nobody.
            self.schedule(id.other(), now, queue);
        }
    }

    /// From now on nothing gets from one part to another.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Everything crosses again; what waits comes with the next retransmission.
    pub(super) fn heal(&mut self, now: Moment, queue: &mut Queue<Event>) {
        self.is_cut = false;
        for slot in 0..self.connections.len() {
            let generation = self.connections[slot].generation;
            for side in 0..2 {
                let connection = &mut self.connections[slot];
                let latency = connection.latency;
                let stream = &mut connection.ends[side].stream;
                if stream.is_scheduled {
                    continue;
                }
                let Some(sent_for) = stream.first_arrival() else {
                    continue;
                };
                let crosses = retransmitted(sent_for, now).after(latency);
                stream.hold(crosses);
                self.schedule(EndId::new(slot as u32, generation, side), now, queue);
            }
        }
    }
}

/// When the kernel sends again what was lost at `lost_at`, for the first time after `healed_at`.
fn retransmitted(lost_at: Moment, healed_at: Moment) -> Moment {
    let (mut at, mut wait) = (lost_at, RETRANSMISSION);
    while at < healed_at {
        at = at.after(wait);
        wait = (wait * 2).min(RETRANSMISSION_MAX);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_become_rarer() {
        let again = |lost_at, healed_at| {
            let at = retransmitted(Moment(lost_at), Moment(healed_at));
            at.since(Moment(healed_at))
        };
        assert_eq!(again(0, 0), 0);
        assert_eq!(again(0, 150_000), 50_000);
        assert_eq!(again(0, 60_000_000), 102_200_000 - 60_000_000);
        assert_eq!(again(50, 49), 1);
    }
}
