//! The messages that a node keeps for a while, to fill the gaps of its neighbors. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;

use super::codec::MessageId;
use crate::config::HistoryLimits;

/// What a message takes beside its payload: its head, its place and its number.
const ENTRY_BYTES: usize = 256;

#[derive(Debug)]
struct Entry {
    id: MessageId,
    /// As it is passed on; shared with the outboxes that it still waits in.
    frame: Bytes,
    /// What it counts: its payload.
    bytes: usize,
    at: Instant,
    /// When it was published, as far as is known here: when it first came to a node.
    born: Instant,
}

#[derive(Debug)]
pub(super) struct History {
    limits: HistoryLimits,
    entries: VecDeque<Entry>,
    /// How many entries were there before the first one that is kept.
    gone: u64,
    /// The number of each entry, counted from the first there ever was.
    numbers: BTreeMap<MessageId, u64>,
    bytes: usize,
}

impl History {
    pub(super) fn new(limits: HistoryLimits) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            gone: 0,
            numbers: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Keeps a message with so many bytes of payload that was published at `born`, and gives up the oldest ones
    /// for it. One that is larger than all that may be kept is not.
    pub(super) fn push(
        &mut self,
        id: MessageId,
        frame: Bytes,
        bytes: usize,
        born: Instant,
        now: Instant,
    ) {
        if self.limits.age_max.is_none() || bytes > self.limits.bytes_max {
            return;
        }
        self.expire(now);
        self.bytes += bytes;
        self.numbers
            .insert(id, self.gone + self.entries.len() as u64);
        self.entries.push_back(Entry {
            id,
            frame,
            bytes,
            at: now,
            born,
        });
        while self.bytes > self.limits.bytes_max || self.entries.len() > self.limits.messages_max {
            self.drop_oldest();
        }
    }

    /// The frame of a message, if it is still kept.
    pub(super) fn frame(&self, id: MessageId) -> Option<&Bytes> {
        Some(&self.entry(id)?.frame)
    }

    /// When a message that is kept was published.
    pub(super) fn born(&self, id: MessageId) -> Option<Instant> {
        Some(self.entry(id)?.born)
    }

    /// What is kept, and when it was published; in the order in which it came.
    pub(super) fn ids(&self) -> impl Iterator<Item = (Instant, MessageId)> {
        self.entries.iter().map(|entry| (entry.born, entry.id))
    }

    fn entry(&self, id: MessageId) -> Option<&Entry> {
        let number = self.numbers.get(&id)?;
        let index = usize::try_from(number - self.gone).ok()?;
        self.entries.get(index)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let Some(age_max) = self.limits.age_max else {
            return;
        };
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.at + age_max <= now)
        {
            self.drop_oldest();
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// When the oldest message is to be given up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        Some(self.entries.front()?.at + self.limits.age_max?)
    }

    /// What is kept takes so much of memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes + self.entries.len() * ENTRY_BYTES
    }

    /// Gives up the oldest message.
    pub(super) fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.bytes;
            self.numbers.remove(&oldest.id);
            self.gone += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node_id::NodeId;

    const LIMITS: HistoryLimits = HistoryLimits {
        age_max: Some(Duration::from_secs(60)),
        messages_max: 3,
        bytes_max: 100,
    };

    fn id(sequence: u32) -> MessageId {
        MessageId {
            origin: NodeId(1),
            sequence,
        }
    }

    fn push(history: &mut History, sequence: u32, bytes: usize, now: Instant) {
        let frame = vec![0; bytes].into();
        history.push(id(sequence), frame, bytes, now, now);
    }

    fn kept(history: &History) -> Vec<u32> {
        assert!(history.ids().all(|(_, id)| history.frame(id).is_some()));
        history.ids().map(|(_, id)| id.sequence).collect()
    }

    #[test]
    fn the_oldest_give_way_to_number_bytes_and_age() {
        let now = Instant::now();
        let mut history = History::new(LIMITS);
        (1..=5).for_each(|sequence| push(&mut history, sequence, 10, now));
        assert_eq!(kept(&history), [3, 4, 5]);
        assert_eq!(history.frame(id(2)), None);
        push(&mut history, 6, 85, now);
        assert_eq!(kept(&history), [5, 6]);
        push(&mut history, 7, 101, now);
        assert_eq!(kept(&history), [5, 6], "too large to be kept");
        let later = now + Duration::from_secs(30);
        push(&mut history, 8, 5, later);
        let expiry = history.next_deadline().expect("something is kept");
        assert_eq!(expiry, now + Duration::from_secs(60));
        history.expire(expiry);
        assert_eq!(kept(&history), [8]);
        assert_eq!(history.bytes, 5);
    }

    #[test]
    fn off_keeps_nothing() {
        let mut history = History::new(HistoryLimits {
            age_max: None,
            ..LIMITS
        });
        push(&mut history, 1, 1, Instant::now());
        assert!(kept(&history).is_empty());
        assert_eq!(history.next_deadline(), None);
    }
}
