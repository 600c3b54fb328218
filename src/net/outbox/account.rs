//! Counts again what an outbox has counted; for tests that look whether all is well.

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
}
