//! What an outbox has counted, counted again, and what waits in it; for tests that look whether all is well.

use super::{Entry, Outbox};

impl Outbox {
    /// Whether what it says that waits is what waits.
    pub(crate) fn is_account_right(&self) -> bool {
        let entries = || self.first.iter().chain(&self.rest);
        let bytes: usize = entries().map(|entry| entry.bytes.len()).sum();
        let answer_bytes: usize = entries().map(Entry::answer_cost).sum();
        let is_first_there = self.first.is_some() || self.first_sent == 0 && self.rest.is_empty();
        is_first_there
            && bytes == self.pending_bytes + self.first_sent
            && answer_bytes == self.answer_bytes
    }

    /// Takes up to so many bytes out of it, as a socket would.
    pub(crate) fn take(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        self.write_to(|slices| {
            for slice in slices {
                let room = bytes_max - taken.len();
                taken.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            Ok(taken.len())
        })
        .expect("nothing fails here");
        taken
    }

    /// Takes all that waits in it.
    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while !self.is_empty() {
            all.extend(self.take(usize::MAX));
        }
        all
    }
}
