//! What was published, and whom it has reached.

use super::{clock::Moment, histogram::Histogram};
use crate::message::Message;

/// Bytes at the start of a payload that say which publication it is.
pub(super) const NUMBER_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Publication {
    pub(super) at: Moment,
    pub(super) by: u32,
    /// A bit for each node that has it.
    has: Vec<u64>,
    /// When the last node that got it until now got it.
    pub(super) last_at: Moment,
}

impl Publication {
    pub(super) fn has(&self, node: u32) -> bool {
        self.has[node as usize / 64] >> (node % 64) & 1 == 1
    }

    /// Returns whether the node did not have it.
    fn enter(&mut self, node: u32) -> bool {
        let is_new = !self.has(node);
        self.has[node as usize / 64] |= 1 << (node % 64);
        is_new
    }
}

/// The publications of one phase. What still comes of the phase before is entered, but not counted; what is
/// older is closed.
#[derive(Debug)]
pub(super) struct Ledger {
    nodes: usize,
    /// Number of the first publication of the phase.
    first: u64,
    publications: Vec<Publication>,
    /// Those of the phase before.
    before: Vec<Publication>,
    /// Times from publication to delivery, in microseconds.
    pub(super) latencies: Histogram,
    pub(super) deliveries: u64,
    /// Deliveries of what the same node had delivered before.
    pub(super) repeated: u64,
}

impl Ledger {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            first: 0,
            publications: Vec::new(),
            before: Vec::new(),
            latencies: Histogram::default(),
            deliveries: 0,
            repeated: 0,
        }
    }

    /// Starts a phase.
    pub(super) fn turn_page(&mut self) {
        self.first += self.publications.len() as u64;
        self.before = std::mem::take(&mut self.publications);
        self.latencies = Histogram::default();
        self.deliveries = 0;
        self.repeated = 0;
    }

    pub(super) fn publications(&self) -> &[Publication] {
        &self.publications
    }

    /// Publications of the phase before.
    pub(super) fn before(&self) -> &[Publication] {
        &self.before
    }

    /// Enters a publication and makes its message.
    pub(super) fn publish(&mut self, by: u32, payload_bytes: usize, now: Moment) -> Message {
        let number = self.first + self.publications.len() as u64;
        self.publications.push(Publication {
            at: now,
            by,
            has: vec![0; self.nodes.div_ceil(64)],
            last_at: now,
        });
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(payload_bytes.max(NUMBER_BYTES), b'.');
        Message::binary(payload)
    }

    /// A node hands a message to its people.
    pub(super) fn deliver(&mut self, node: u32, message: &Message, now: Moment) {
        let Some(number) = message.as_bytes().first_chunk().copied() else {
            return;
        };
        let number = u64::from_be_bytes(number);
        let oldest = self.first - self.before.len() as u64;
        let Some(place) = number.checked_sub(oldest).map(|place| place as usize) else {
            return;
        };
        let is_before = place < self.before.len();
        let publication = match place.checked_sub(self.before.len()) {
            None => self.before.get_mut(place),
            Some(place) => self.publications.get_mut(place),
        };
        let Some(publication) = publication else {
            return;
        };
        let is_new = publication.by != node && publication.enter(node);
        if is_before {
            return;
        }
        self.deliveries += 1;
        if !is_new {
            self.repeated += 1;
            return;
        }
        publication.last_at = now;
        self.latencies.add(now.since(publication.at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_delivery_is_noticed() {
        let mut ledger = Ledger::new(70);
        let message = ledger.publish(0, 100, Moment(5));
        assert_eq!(message.len(), 100);
        ledger.deliver(69, &message, Moment(25));
        ledger.deliver(3, &message, Moment(35));
        ledger.deliver(69, &message, Moment(45));
        let publication = &ledger.publications()[0];
        assert!(publication.has(69) && publication.has(3) && !publication.has(4));
        assert_eq!(publication.last_at, Moment(35));
        assert_eq!((ledger.deliveries, ledger.repeated), (3, 1));
    }

    #[test]
    fn what_was_published_in_an_earlier_phase_does_not_count() {
        let mut ledger = Ledger::new(2);
        let early = ledger.publish(0, 0, Moment(0));
        ledger.turn_page();
        ledger.deliver(1, &early, Moment(9));
        ledger.deliver(1, &Message::text("x"), Moment(9));
        assert_eq!((ledger.deliveries, ledger.publications().len()), (0, 0));
        assert!(ledger.before()[0].has(1));
        ledger.turn_page();
        ledger.deliver(1, &early, Moment(9));
        assert_eq!(ledger.deliveries, 0);
    }
}
