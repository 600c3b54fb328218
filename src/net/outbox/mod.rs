//! What is queued for one peer: a bounded queue of frames, shared with the other peers where the bytes
//! are the same. Pure: the transport asks for slices and says how much of them went.

mod entry;

use std::{collections::VecDeque, io::IoSlice, mem};

use bytes::Bytes;

pub(crate) use self::entry::Purpose;
use self::entry::{ENTRY_BYTES, Entry};
use super::frame::Piece;
use crate::config::SlowPeer;

/// Slices that fit on the stack; a longer queue is worth one allocation.
const SLICES_ON_STACK: usize = 16;
/// What one `writev` takes (IOV_MAX on Linux and macOS).
const SLICES_MAX: usize = 1024;

/// What became of messages that were pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    Queued,
    /// Queued, and so many older messages were dropped for it.
    Displaced(usize),
    /// Not queued: dropped, perhaps with older ones in vain, so many in all.
    Dropped(usize),
    /// The policy is to disconnect: nothing is queued, and nothing may follow.
    Overflow,
}

/// A queue of frames. What waits in user space for this peer is in it, all of it.
///
/// The first entry stands inline: most of the time there is at most one, and then a message costs a
/// peer no allocation.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Outbox {
    first: Option<Entry>,
    rest: VecDeque<Entry>,
    /// Bytes of the first entry that were already sent.
    first_sent: usize,
    pending_bytes: usize,
    answer_bytes: usize,
    own_bytes: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Bytes that are still to be sent.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// What the queue takes of memory: its frames, shared or not, and their places.
    pub(crate) fn held_bytes(&self) -> usize {
        self.pending_bytes + self.len() * ENTRY_BYTES
    }

    /// What it takes of memory that no other outbox shares. The first frame takes all of it until the last byte is sent.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// … and what others may share.
    pub(crate) fn shared_bytes(&self) -> usize {
        let all = self.pending_bytes + self.first_sent + self.len() * ENTRY_BYTES;
        all - self.own_bytes
    }

    /// The part of the held bytes that the peer itself has caused.
    pub(crate) fn answer_bytes(&self) -> usize {
        let first_is_answer = self
            .first
            .as_ref()
            .is_some_and(|first| first.purpose != Purpose::Message);
        self.answer_bytes - if first_is_answer { self.first_sent } else { 0 }
    }

    /// Whether a message of so many bytes can be queued within a bound.
    pub(crate) fn fits(&self, bytes: usize, bytes_max: usize) -> bool {
        self.held_bytes() + bytes + ENTRY_BYTES <= bytes_max
    }

    /// Queues what must not be dropped. Bounded by its callers: what answers a peer is only produced
    /// by reading from it, and reading pauses at the high-water mark.
    pub(crate) fn push_control(&mut self, bytes: Bytes) {
        self.push(Entry::control(bytes));
    }

    /// Queues a control frame before all that waits, but for the first frame, of which a part may be
    /// sent: a ping that waited behind a long queue would measure the queue and not the peer.
    pub(crate) fn push_urgent(&mut self, bytes: Bytes) {
        let entry = Entry::control(bytes);
        if self.is_empty() {
            return self.push(entry);
        }
        self.pending_bytes += entry.bytes.len();
        self.answer_bytes += entry.answer_cost();
        self.own_bytes += entry.own_cost();
        self.rest.push_front(entry);
    }

    /// Queues messages, unless the queue would then hold more than `bytes_max`.
    pub(crate) fn push_messages(
        &mut self,
        piece: Piece,
        purpose: Purpose,
        bytes_max: usize,
        policy: SlowPeer,
    ) -> Pushed {
        let mut dropped = 0;
        while !self.fits(piece.bytes.len(), bytes_max) {
            match (policy, self.oldest()) {
                (SlowPeer::Disconnect, _) => return Pushed::Overflow,
                (SlowPeer::DropOldest, Some(oldest)) => dropped += self.drop_at(oldest),
                _ => return Pushed::Dropped(dropped + piece.messages as usize),
            }
        }
        self.push(Entry::new(piece, purpose));
        match dropped {
            0 => Pushed::Queued,
            dropped => Pushed::Displaced(dropped),
        }
    }

    /// Queues messages of which the first bytes were sent already, and not all. Nothing else may wait.
    pub(crate) fn push_rest(&mut self, piece: Piece, purpose: Purpose, sent: usize) {
        debug_assert!(self.is_empty() && sent < piece.bytes.len());
        self.push(Entry::new(piece, purpose));
        self.first_sent = sent;
        self.pending_bytes -= sent;
    }

    /// Forgets everything but the first entry if a part of it is sent (a peer that read it would lose count
    /// of the frames otherwise) or if it is control (it may be the response head). Returns how many
    /// messages are lost with it.
    pub(crate) fn clear(&mut self) -> usize {
        let is_under_way = self.first_sent > 0;
        let kept = self
            .first
            .take_if(|first| is_under_way || !first.is_droppable());
        let dropped = self.first.iter().chain(&self.rest);
        let dropped = dropped.map(|entry| entry.messages as usize).sum();
        *self = Self {
            pending_bytes: kept
                .as_ref()
                .map_or(0, |entry| entry.bytes.len() - self.first_sent),
            answer_bytes: kept.as_ref().map_or(0, Entry::answer_cost),
            own_bytes: kept.as_ref().map_or(0, Entry::own_cost),
            first_sent: self.first_sent,
            first: kept,
            rest: VecDeque::new(),
        };
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
        self.answer_bytes += entry.answer_cost();
        self.own_bytes += entry.own_cost();
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.rest.push_back(entry);
        }
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
            self.answer_bytes -= first.answer_cost();
            self.own_bytes -= first.own_cost();
            self.first_sent = 0;
            self.first = self.rest.pop_front();
        }
        // Drained: a burst leaves no memory behind.
        self.rest = VecDeque::new();
    }

    /// The place of the oldest messages of which nothing was sent yet; the first entry is at 0.
    fn oldest(&self) -> Option<usize> {
        let is_under_way = self.first_sent > 0;
        let entries = self.first.iter().chain(&self.rest).enumerate();
        let mut waiting = entries.skip(usize::from(is_under_way));
        waiting.find_map(|(index, entry)| entry.is_droppable().then_some(index))
    }

    /// Drops an entry and returns how many messages it was.
    fn drop_at(&mut self, index: usize) -> usize {
        let dropped = match index {
            0 => mem::replace(&mut self.first, self.rest.pop_front()),
            index => self.rest.remove(index - 1),
        };
        dropped.map_or(0, |dropped| {
            self.pending_bytes -= dropped.bytes.len();
            self.answer_bytes -= dropped.answer_cost();
            self.own_bytes -= dropped.own_cost();
            dropped.messages as usize
        })
    }
}

#[cfg(any(test, fuzzing))]
mod account;

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

    /// One message.
    fn message(byte: u8, len: usize) -> Piece {
        let bytes = frame(byte, len);
        Piece {
            bytes,
            messages: 1,
            is_shared: false,
        }
    }

    #[test]
    fn the_message_that_overflows_counts() {
        let mut outbox = Outbox::default();
        assert_eq!(
            outbox.push_messages(
                message(1, 6),
                Purpose::Message,
                room(2, 10),
                SlowPeer::Disconnect
            ),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_messages(
                message(2, 4),
                Purpose::Message,
                room(2, 10),
                SlowPeer::Disconnect
            ),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_messages(
                message(3, 1),
                Purpose::Message,
                room(3, 10),
                SlowPeer::Disconnect
            ),
            Pushed::Overflow
        );
        assert_eq!(outbox.pending_bytes(), 10);
    }

    #[test]
    fn tiny_frames_count_with_what_they_cost() {
        let mut outbox = Outbox::default();
        let mut frames = 0;
        while outbox.push_messages(
            message(1, 2),
            Purpose::Message,
            1 << 20,
            SlowPeer::Disconnect,
        ) == Pushed::Queued
        {
            frames += 1;
        }
        assert!(frames * size_of::<Entry>() < 1 << 20, "{frames} frames");
        assert_eq!(outbox.held_bytes(), room(frames, 2 * frames));
    }

    #[test]
    fn drop_newest_keeps_what_waits() {
        let mut outbox = Outbox::default();
        assert_eq!(
            outbox.push_messages(
                message(1, 8),
                Purpose::Message,
                room(2, 10),
                SlowPeer::DropNewest
            ),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_messages(
                message(2, 8),
                Purpose::Message,
                room(2, 10),
                SlowPeer::DropNewest
            ),
            Pushed::Dropped(1)
        );
        assert_eq!(outbox.take(100), vec![1; 8]);
    }

    #[test]
    fn what_is_dropped_is_counted_in_messages() {
        let mut outbox = Outbox::default();
        let mut push = |messages, policy| {
            let bytes = frame(1, 10);
            let is_shared = false;
            let piece = Piece {
                bytes,
                messages,
                is_shared,
            };
            outbox.push_messages(piece, Purpose::Message, room(2, 20), policy)
        };
        assert_eq!(push(3, SlowPeer::DropOldest), Pushed::Queued);
        assert_eq!(push(4, SlowPeer::DropOldest), Pushed::Queued);
        assert_eq!(push(5, SlowPeer::DropOldest), Pushed::Displaced(3));
        assert_eq!(push(6, SlowPeer::DropNewest), Pushed::Dropped(6));
        assert_eq!(outbox.clear(), 9);
    }

    #[test]
    fn drop_oldest_spares_control_frames_and_the_frame_under_way() {
        let mut outbox = Outbox::default();
        let policy = SlowPeer::DropOldest;
        assert_eq!(
            outbox.push_messages(message(1, 4), Purpose::Message, room(3, 12), policy),
            Pushed::Queued
        );
        assert_eq!(outbox.take(1), vec![1]);
        outbox.push_control(frame(2, 2));
        assert_eq!(
            outbox.push_messages(message(3, 5), Purpose::Message, room(3, 12), policy),
            Pushed::Queued
        );
        assert_eq!(
            outbox.push_messages(message(4, 6), Purpose::Message, room(3, 12), policy),
            Pushed::Displaced(1)
        );
        assert_eq!(
            outbox.take(100),
            [vec![1; 3], vec![2; 2], vec![4; 6]].concat()
        );
    }

    #[test]
    fn the_rest_of_what_was_sent_past_the_queue_goes_first_and_stays() {
        let mut outbox = Outbox::default();
        outbox.push_rest(message(1, 10), Purpose::Message, 4);
        assert_eq!(outbox.pending_bytes(), 6);
        let policy = SlowPeer::DropOldest;
        for (byte, pushed) in [(2, Pushed::Queued), (3, Pushed::Displaced(1))] {
            let message = message(byte, 4);
            let result = outbox.push_messages(message, Purpose::Message, room(2, 10), policy);
            assert_eq!(result, pushed);
        }
        assert_eq!(outbox.take(100), [vec![1; 6], vec![3; 4]].concat());
        assert_eq!((outbox.pending_bytes(), outbox.held_bytes()), (0, 0));
    }

    #[test]
    fn drop_oldest_gives_up_when_nothing_can_be_dropped() {
        let mut outbox = Outbox::default();
        outbox.push_control(frame(1, 9));
        assert_eq!(
            outbox.push_messages(
                message(2, 4),
                Purpose::Message,
                room(2, 10),
                SlowPeer::DropOldest
            ),
            Pushed::Dropped(1)
        );
        assert_eq!(outbox.pending_bytes(), 9);
    }

    #[test]
    fn clearing_keeps_the_frame_under_way() {
        let mut outbox = Outbox::default();
        for byte in 1..=3 {
            assert_eq!(
                outbox.push_messages(
                    message(byte, 4),
                    Purpose::Message,
                    room(3, 12),
                    SlowPeer::Disconnect
                ),
                Pushed::Queued
            );
        }
        assert_eq!(outbox.take(2), vec![1; 2]);
        assert_eq!(outbox.clear(), 2);
        assert_eq!(outbox.pending_bytes(), 2);
        assert_eq!(outbox.take(100), vec![1; 2]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_burst_leaves_in_one_write_and_no_memory_behind() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            assert_eq!(
                outbox.push_messages(
                    message(1, 64),
                    Purpose::Message,
                    room(100, 6400),
                    SlowPeer::Disconnect
                ),
                Pushed::Queued
            );
        }
        assert_eq!(outbox.take(6400).len(), 6400);
        assert!(outbox.is_empty());
        assert_eq!(outbox.rest.capacity(), 0);
    }

    #[test]
    fn what_is_urgent_waits_for_one_frame_at_most() {
        let mut outbox = Outbox::default();
        for byte in 1..=3 {
            let (message, purpose) = (message(byte, 2), Purpose::Message);
            let pushed = outbox.push_messages(message, purpose, room(3, 6), SlowPeer::Disconnect);
            assert_eq!(pushed, Pushed::Queued);
        }
        outbox.push_urgent(frame(9, 2));
        assert_eq!(outbox.take(100), [1, 1, 9, 9, 2, 2, 3, 3]);
        outbox.push_urgent(frame(9, 2));
        assert_eq!(outbox.take(100), [9, 9]);
        assert_eq!((outbox.answer_bytes(), outbox.held_bytes()), (0, 0));
    }

    #[test]
    fn answers_are_counted_apart_until_they_are_gone() {
        let mut outbox = Outbox::default();
        let mut push = |purpose, piece| {
            let pushed = outbox.push_messages(piece, purpose, room(9, 99), SlowPeer::Disconnect);
            assert_eq!(pushed, Pushed::Queued);
        };
        push(Purpose::Message, message(1, 10));
        push(Purpose::Answer, message(2, 10));
        outbox.push_control(frame(3, 2));
        assert_eq!(outbox.answer_bytes(), room(2, 12));
        outbox.take(15);
        assert_eq!(outbox.answer_bytes(), room(2, 7));
        outbox.take(5);
        assert_eq!(outbox.answer_bytes(), room(1, 2));
        outbox.take(2);
        assert_eq!((outbox.answer_bytes(), outbox.held_bytes()), (0, 0));
    }

    #[test]
    fn clearing_keeps_a_response_head_that_was_not_sent_yet() {
        let mut outbox = Outbox::default();
        outbox.push_control(frame(1, 4));
        let pushed = outbox.push_messages(
            message(2, 4),
            Purpose::Message,
            room(2, 8),
            SlowPeer::Disconnect,
        );
        assert_eq!(pushed, Pushed::Queued);
        assert_eq!(outbox.clear(), 1);
        assert_eq!(outbox.take(100), [1; 4]);
    }

    proptest! {
        /// Whatever is pushed and however it is taken: bytes come out in order, none is lost, and the
        /// account agrees with what is there.
        #[test]
        fn bytes_come_out_as_they_went_in(
            pushes in prop::collection::vec((any::<bool>(), any::<bool>(), 1usize..40), 1..60),
            takes in prop::collection::vec(0usize..200, 1..60),
        ) {
            let mut outbox = Outbox::default();
            let (mut expected, mut seen) = (Vec::new(), Vec::new());
            let mut takes = takes.into_iter().cycle();
            for (index, (control, is_shared, len)) in pushes.into_iter().enumerate() {
                let bytes = frame(index as u8, len);
                if control {
                    outbox.push_control(bytes.clone());
                    expected.extend_from_slice(&bytes);
                } else if outbox.push_messages(Piece { is_shared, ..message(index as u8, len) }, Purpose::Message, room(5, 90), SlowPeer::DropNewest) == Pushed::Queued {
                    expected.extend_from_slice(&bytes);
                }
                if index % 3 == 0 {
                    seen.extend(outbox.take(takes.next().unwrap_or(1)));
                }
                prop_assert_eq!(outbox.pending_bytes(), expected.len() - seen.len());
                prop_assert_eq!((outbox.own_bytes(), outbox.shared_bytes()), held(&outbox));
            }
            let mut cleared = outbox.clone();
            cleared.clear();
            prop_assert_eq!((cleared.own_bytes(), cleared.shared_bytes()), held(&cleared));
            while !outbox.is_empty() {
                seen.extend(outbox.take(64));
            }
            prop_assert_eq!(seen, expected);
            prop_assert_eq!((outbox.own_bytes(), outbox.shared_bytes()), (0, 0));
        }
    }

    /// What the entries take that are there, own and shared.
    fn held(outbox: &Outbox) -> (usize, usize) {
        let entries = outbox.first.iter().chain(&outbox.rest);
        entries.fold((0, 0), |(own, shared), entry| match entry.is_shared {
            true => (own + ENTRY_BYTES, shared + entry.bytes.len()),
            false => (own + ENTRY_BYTES + entry.bytes.len(), shared),
        })
    }
}
