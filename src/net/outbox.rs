//! What is queued for one peer: a bounded queue of frames, shared with the other peers where the bytes
//! are the same. Pure: the transport asks for slices and says how much of them went.

use std::{collections::VecDeque, io::IoSlice};

use bytes::Bytes;

use crate::config::SlowPeer;

/// Slices that fit on the stack; a longer queue is worth one allocation.
const SLICES_ON_STACK: usize = 16;
/// What one `writev` takes (IOV_MAX on Linux and macOS).
const SLICES_MAX: usize = 1024;

/// What a frame costs beside its bytes: its place in the queue and its allocation. Counted against the
/// bound, or a flood of tiny frames would take many times what the bound says.
const ENTRY_BYTES: usize = 64;

/// Whether a frame may be dropped while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A message.
    Data,
    /// An HTTP head, a ping or a pong: the protocol breaks without it.
    Control,
    /// A Close, the last frame of all.
    Close,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    kind: Kind,
}

/// What became of a message that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    Queued,
    /// Queued, and so many older messages were dropped for it.
    Displaced(usize),
    /// Not queued, and so many messages were dropped in vain or are now, itself included.
    Dropped(usize),
    /// The policy is to disconnect: the message is not queued, and none may follow.
    Overflow,
}

/// A queue of frames. Its count of pending bytes is all that waits in user space for this peer.
///
/// The first entry stands inline: most of the time there is at most one, and then a message costs a
/// peer no allocation.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    first: Option<Entry>,
    rest: VecDeque<Entry>,
    /// Bytes of the first entry that were already sent.
    first_sent: usize,
    pending_bytes: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// What the queue takes of memory: its frames, shared or not, and their places.
    pub(crate) fn held_bytes(&self) -> usize {
        self.pending_bytes + self.len() * ENTRY_BYTES
    }

    /// Queues what must not be dropped. Bounded by its callers: what answers a peer is only produced
    /// by reading from it, and reading pauses at the high-water mark.
    pub(crate) fn push_control(&mut self, bytes: Bytes) {
        self.push(Entry {
            bytes,
            kind: Kind::Control,
        });
    }

    /// Queues a Close. It stays the last: messages that are queued while none of it is sent go before
    /// it.
    pub(crate) fn push_close(&mut self, bytes: Bytes) {
        self.push(Entry {
            bytes,
            kind: Kind::Close,
        });
    }

    /// Whether a Close waits of which nothing is sent yet.
    pub(crate) fn has_unsent_close(&self) -> bool {
        match self.rest.back() {
            Some(last) => last.kind == Kind::Close,
            None => self
                .first
                .as_ref()
                .is_some_and(|first| first.kind == Kind::Close && self.first_sent == 0),
        }
    }

    /// Queues a message, unless the queue would then hold more than `bytes_max`.
    pub(crate) fn push_data(&mut self, bytes: Bytes, bytes_max: usize, policy: SlowPeer) -> Pushed {
        let entry = Entry {
            bytes,
            kind: Kind::Data,
        };
        let is_over =
            |outbox: &Self| outbox.held_bytes() + entry.bytes.len() + ENTRY_BYTES > bytes_max;
        if !is_over(self) {
            self.push(entry);
            return Pushed::Queued;
        }
        match policy {
            SlowPeer::Disconnect => Pushed::Overflow,
            SlowPeer::DropNewest => Pushed::Dropped(1),
            SlowPeer::DropOldest => {
                let mut dropped = 0;
                while is_over(self) {
                    if !self.drop_oldest_data() {
                        return Pushed::Dropped(dropped + 1);
                    }
                    dropped += 1;
                }
                self.push(entry);
                Pushed::Displaced(dropped)
            }
        }
    }

    /// Forgets everything but a frame that is partly sent, and returns how many messages went with it.
    pub(crate) fn clear_unsent(&mut self) -> usize {
        let is_data = |entry: &Entry| entry.kind == Kind::Data;
        let mut dropped = self.rest.iter().filter(|entry| is_data(entry)).count();
        self.rest = VecDeque::new();
        if self.first_sent == 0 {
            dropped += usize::from(self.first.take().as_ref().is_some_and(is_data));
        }
        self.pending_bytes = self
            .first
            .as_ref()
            .map_or(0, |e| e.bytes.len() - self.first_sent);
        dropped
    }

    /// Hands the pending bytes to `write` as slices, in order, and forgets as many as it took.
    /// Returns what `write` returned. Does nothing when nothing is pending.
    pub(crate) fn write_to(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let Some(first) = &self.first else {
            return Ok(0);
        };
        let first = IoSlice::new(&first.bytes[self.first_sent..]);
        let count = self.len().min(SLICES_MAX);
        let rest = self
            .rest
            .iter()
            .take(count - 1)
            .map(|entry| IoSlice::new(&entry.bytes));
        let written = if count <= SLICES_ON_STACK {
            let mut slices = [IoSlice::new(&[]); SLICES_ON_STACK];
            slices[0] = first;
            slices[1..]
                .iter_mut()
                .zip(rest)
                .for_each(|(slot, slice)| *slot = slice);
            write(&slices[..count])?
        } else {
            let slices: Vec<_> = std::iter::once(first).chain(rest).collect();
            write(&slices)?
        };
        self.advance(written);
        Ok(written)
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    fn push(&mut self, entry: Entry) {
        self.pending_bytes += entry.bytes.len();
        let close = match entry.kind {
            Kind::Data if self.has_unsent_close() => self.pop_last(),
            _ => None,
        };
        for entry in [Some(entry), close].into_iter().flatten() {
            if self.first.is_none() {
                self.first = Some(entry);
            } else {
                self.rest.push_back(entry);
            }
        }
    }

    fn pop_last(&mut self) -> Option<Entry> {
        self.rest.pop_back().or_else(|| self.first.take())
    }

    fn advance(&mut self, mut written: usize) {
        debug_assert!(written <= self.pending_bytes);
        self.pending_bytes -= written;
        while let Some(first) = &self.first {
            let left = first.bytes.len() - self.first_sent;
            if written < left {
                self.first_sent += written;
                return;
            }
            written -= left;
            self.first_sent = 0;
            self.first = self.rest.pop_front();
        }
        // Drained: a burst leaves no memory behind.
        self.rest = VecDeque::new();
    }

    /// Drops the oldest message of which nothing was sent yet.
    fn drop_oldest_data(&mut self) -> bool {
        let first_goes = self.first_sent == 0
            && self
                .first
                .as_ref()
                .is_some_and(|first| first.kind == Kind::Data);
        let dropped = if first_goes {
            std::mem::replace(&mut self.first, self.rest.pop_front())
        } else {
            let oldest = self.rest.iter().position(|entry| entry.kind == Kind::Data);
            oldest.and_then(|index| self.rest.remove(index))
        };
        self.pending_bytes -= dropped.as_ref().map_or(0, |entry| entry.bytes.len());
        dropped.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A bound with room for so many frames of so many bytes together.
    fn room(frames: usize, bytes: usize) -> usize {
        frames * ENTRY_BYTES + bytes
    }

    fn frame(byte: u8, len: usize) -> Bytes {
        Bytes::from(vec![byte; len])
    }

    /// Takes up to `max` bytes out of the outbox, as a socket would.
    fn take(outbox: &mut Outbox, max: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        outbox
            .write_to(|slices| {
                for slice in slices {
                    let room = max - taken.len();
                    taken.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                Ok(taken.len())
            })
            .expect("the closure does not fail");
        taken
    }

    #[test]
    fn the_message_that_overflows_counts() {
        let mut outbox = Outbox::default();
        assert_eq!(
            outbox.push_data(frame(1, 6), room(2, 10), SlowPeer::Disconnect),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_data(frame(2, 4), room(2, 10), SlowPeer::Disconnect),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_data(frame(3, 1), room(3, 10), SlowPeer::Disconnect),
            Pushed::Overflow
        );
        assert_eq!(outbox.pending_bytes(), 10);
    }

    #[test]
    fn tiny_frames_count_with_what_they_cost() {
        let mut outbox = Outbox::default();
        let mut frames = 0;
        while outbox.push_data(frame(1, 2), 1 << 20, SlowPeer::Disconnect) == Pushed::Queued {
            frames += 1;
        }
        assert!(frames * size_of::<Entry>() < 1 << 20, "{frames} frames");
        assert_eq!(outbox.held_bytes(), room(frames, 2 * frames));
    }

    #[test]
    fn drop_newest_keeps_what_waits() {
        let mut outbox = Outbox::default();
        assert_eq!(
            outbox.push_data(frame(1, 8), room(2, 10), SlowPeer::DropNewest),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_data(frame(2, 8), room(2, 10), SlowPeer::DropNewest),
            Pushed::Dropped(1)
        );
        assert_eq!(take(&mut outbox, 100), vec![1; 8]);
    }

    #[test]
    fn drop_oldest_spares_control_frames_and_the_frame_under_way() {
        let mut outbox = Outbox::default();
        let policy = SlowPeer::DropOldest;
        assert_eq!(
            outbox.push_data(frame(1, 4), room(3, 12), policy),
            Pushed::Queued
        );
        assert_eq!(take(&mut outbox, 1), vec![1]);
        outbox.push_control(frame(2, 2));
        assert_eq!(
            outbox.push_data(frame(3, 5), room(3, 12), policy),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_data(frame(4, 6), room(3, 12), policy),
            Pushed::Displaced(1)
        );
        assert_eq!(
            take(&mut outbox, 100),
            [vec![1; 3], vec![2; 2], vec![4; 6]].concat()
        );
    }

    #[test]
    fn a_close_stays_the_last_until_a_part_of_it_is_sent() {
        let mut outbox = Outbox::default();
        let policy = SlowPeer::Disconnect;
        outbox.push_close(frame(9, 2));
        assert!(outbox.has_unsent_close());
        for byte in 1..=2 {
            assert_eq!(
                outbox.push_data(frame(byte, 2), 1000, policy),
                Pushed::Queued
            );
        }
        assert_eq!(take(&mut outbox, 5), [1, 1, 2, 2, 9]);
        assert!(!outbox.has_unsent_close());
        assert_eq!(take(&mut outbox, 5), [9]);
    }

    #[test]
    fn drop_oldest_gives_up_when_nothing_can_be_dropped() {
        let mut outbox = Outbox::default();
        outbox.push_control(frame(1, 9));
        assert_eq!(
            outbox.push_data(frame(2, 4), room(2, 10), SlowPeer::DropOldest),
            Pushed::Dropped(1)
        );
        assert_eq!(outbox.pending_bytes(), 9);
    }

    #[test]
    fn clearing_keeps_the_frame_under_way() {
        let mut outbox = Outbox::default();
        for byte in 1..=3 {
            assert_eq!(
                outbox.push_data(frame(byte, 4), room(3, 12), SlowPeer::Disconnect),
                Pushed::Queued
            );
        }
        assert_eq!(take(&mut outbox, 2), vec![1; 2]);
        assert_eq!(outbox.clear_unsent(), 2);
        assert_eq!(outbox.pending_bytes(), 2);
        assert_eq!(take(&mut outbox, 100), vec![1; 2]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_burst_leaves_in_one_write_and_no_memory_behind() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            assert_eq!(
                outbox.push_data(frame(1, 64), room(100, 6400), SlowPeer::Disconnect),
                Pushed::Queued
            );
        }
        assert_eq!(take(&mut outbox, 6400).len(), 6400);
        assert!(outbox.is_empty());
        assert_eq!(outbox.rest.capacity(), 0);
    }

    proptest! {
        /// Whatever is pushed and however it is taken: bytes come out in order, none is lost, and the
        /// account agrees with what is there.
        #[test]
        fn bytes_come_out_as_they_went_in(
            pushes in prop::collection::vec((any::<bool>(), 1usize..40), 1..60),
            takes in prop::collection::vec(0usize..200, 1..60),
        ) {
            let mut outbox = Outbox::default();
            let (mut expected, mut seen) = (Vec::new(), Vec::new());
            let mut takes = takes.into_iter().cycle();
            for (index, (control, len)) in pushes.into_iter().enumerate() {
                let bytes = frame(index as u8, len);
                if control {
                    outbox.push_control(bytes.clone());
                    expected.extend_from_slice(&bytes);
                } else if outbox.push_data(bytes.clone(), room(5, 90), SlowPeer::DropNewest) == Pushed::Queued {
                    expected.extend_from_slice(&bytes);
                }
                if index % 3 == 0 {
                    seen.extend(take(&mut outbox, takes.next().unwrap_or(1)));
                }
                prop_assert_eq!(outbox.pending_bytes(), expected.len() - seen.len());
            }
            while !outbox.is_empty() {
                seen.extend(take(&mut outbox, 64));
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
