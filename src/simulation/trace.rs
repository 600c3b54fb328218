//! One number for a whole run: the same seed gives the same, on any machine.

use super::{chance::mixed, clock::Moment};

/// Folds what happens, and when, into 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace(u64);

/// What is folded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Opened = 1,
    Frame,
    Closed,
    DialFailed,
    Delivered,
    Published,
    Started,
    Died,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self(0x9ae1_6a3b_2f90_404f)
    }

    pub(super) fn add(&mut self, at: Moment, mark: Mark, node: u32, detail: u64) {
        let head = at.0 ^ (mark as u64) << 56;
        self.0 = mixed(self.0 ^ head) ^ mixed(u64::from(node) << 32 ^ detail).rotate_left(17);
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

/// A number for the content of a frame: its length and its first and last bytes.
pub(super) fn content(bytes: &[u8]) -> u64 {
    let eight = |bytes: &[u8]| {
        let fold = |number, byte: &u8| number << 8 | u64::from(*byte);
        bytes.iter().take(8).fold(0u64, fold)
    };
    let tail = &bytes[bytes.len().saturating_sub(8)..];
    mixed(bytes.len() as u64 ^ eight(bytes)).rotate_left(9) ^ eight(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_what_happens_counts() {
        let traces = [
            (Moment(1), Mark::Frame, 1, 1),
            (Moment(2), Mark::Frame, 1, 1),
            (Moment(1), Mark::Closed, 1, 1),
            (Moment(1), Mark::Frame, 2, 1),
            (Moment(1), Mark::Frame, 1, 2),
        ];
        let mut values: Vec<u64> = traces
            .iter()
            .map(|(at, mark, node, detail)| {
                let mut trace = Trace::new();
                trace.add(*at, *mark, *node, *detail);
                trace.value()
            })
            .collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), traces.len());
        assert_ne!(content(b"hello"), content(b"hallo"));
    }
}
