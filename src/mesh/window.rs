//! Which messages of one origin are there: all up to the floor is there or given up, a bitmap tells of what
//! lies above. Pure.

use std::time::Instant;

/// Messages of one origin that may be out of order; a multiple of 64.
pub(super) const WINDOW: u32 = 1024;
/// How far before the first message of an origin that is heard its earlier ones are still taken.
const LOOK_BACK: u32 = 256;

/// What is there of one origin.
#[derive(Debug)]
pub(super) struct Window {
    /// Everything up to here is there or given up.
    floor: u32,
    /// The highest known to exist, at most `floor + WINDOW`.
    highest: u32,
    /// From `floor + 1` on: whether it is there. Empty while nothing is out of order.
    bits: Vec<u64>,
    /// What is missing below is no gap: it was published before this node knew the origin.
    counted_from: u32,
    /// Since when something up to there has been missing.
    hole: Option<(Instant, u32)>,
    heard_at: Instant,
}

impl Window {
    /// `first` is the first message that must not be missed.
    pub(super) fn new(first: u32, now: Instant) -> Self {
        let floor = first.saturating_sub(1).saturating_sub(LOOK_BACK);
        Self {
            floor,
            highest: floor,
            bits: Vec::new(),
            counted_from: first,
            hole: None,
            heard_at: now,
        }
    }

    pub(super) fn contains(&self, sequence: u32) -> bool {
        sequence <= self.floor || self.is_set(sequence - self.floor - 1)
    }

    pub(super) fn floor(&self) -> u32 {
        self.floor
    }

    /// The highest that is there.
    fn highest_there(&self) -> u32 {
        let Some(last) = self.bits.last() else {
            return self.floor;
        };
        // The last word may reach beyond the last sequence there is.
        self.floor + (self.bits.len() as u32 * 64 - last.leading_zeros())
    }

    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Since when something that is missing now has been missing.
    pub(super) fn missing_since(&self) -> Option<Instant> {
        self.hole.map(|(since, _)| since)
    }

    /// What was published before this message is no gap.
    pub(super) fn count_from(&mut self, sequence: u32) {
        self.counted_from = self.counted_from.max(sequence);
    }

    /// Takes a message that is not there. Returns how many had to be given up for it.
    pub(super) fn insert(&mut self, sequence: u32, now: Instant) -> u32 {
        debug_assert!(!self.contains(sequence));
        self.heard_at = now;
        let offset = sequence - self.floor - 1;
        let given_up = match offset.checked_sub(WINDOW - 1) {
            None | Some(0) => 0,
            Some(excess) => self.raise(excess),
        };
        let offset = sequence - self.floor - 1;
        self.highest = self.highest.max(sequence);
        let word = (offset / 64) as usize;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (offset % 64);
        let there = self.leading();
        self.raise(there);
        self.watch(now);
        given_up
    }

    /// Somebody has all up to this message, or says so.
    pub(super) fn learn(&mut self, sequence: u32, now: Instant) {
        let highest = sequence.min(self.floor.saturating_add(WINDOW));
        self.highest = self.highest.max(highest);
        self.watch(now);
    }

    /// Gives up what has been missing for longest. Returns how many of those are counted. What nothing but the
    /// word of a neighbor tells of may still come: it is counted, and taken all the same.
    pub(super) fn give_up(&mut self, now: Instant) -> u32 {
        let Some((_, up_to)) = self.hole.take() else {
            return 0;
        };
        let highest_there = self.highest_there();
        let known = highest_there.max(self.counted_from.saturating_sub(1));
        let told = up_to.saturating_sub(known);
        let missed = self.raise(up_to.min(highest_there).saturating_sub(self.floor));
        self.raise(self.leading());
        if up_to > highest_there {
            self.counted_from = self.counted_from.max(up_to.saturating_add(1));
        }
        if self.highest <= up_to {
            self.highest = self.highest_there();
        }
        self.watch(now);
        missed + told
    }

    fn is_set(&self, offset: u32) -> bool {
        let word = self.bits.get((offset / 64) as usize);
        word.is_some_and(|word| word & (1 << (offset % 64)) != 0)
    }

    /// How many from the floor on are there.
    fn leading(&self) -> u32 {
        let full = self
            .bits
            .iter()
            .take_while(|word| **word == u64::MAX)
            .count();
        let rest = self.bits.get(full).map_or(0, |word| word.trailing_ones());
        full as u32 * 64 + rest
    }

    /// Raises the floor. Returns how many of those it passes were missing, and are counted.
    fn raise(&mut self, by: u32) -> u32 {
        let new_floor = self.floor.saturating_add(by);
        let first = self.floor.max(self.counted_from.saturating_sub(1));
        let missing = new_floor.saturating_sub(first);
        let inside = by.min(self.bits.len() as u32 * 64);
        let there = (0..inside)
            .filter(|offset| self.floor + 1 + offset > first && self.is_set(*offset))
            .count() as u32;
        let words = (by / 64) as usize;
        self.bits.drain(..words.min(self.bits.len()));
        if !by.is_multiple_of(64) {
            let mut carry = 0;
            for word in self.bits.iter_mut().rev() {
                let next = *word << (64 - by % 64);
                *word = (*word >> (by % 64)) | carry;
                carry = next;
            }
        }
        while self.bits.last() == Some(&0) {
            self.bits.pop();
        }
        if self.bits.is_empty() {
            self.bits = Vec::new();
        }
        self.floor = new_floor;
        self.highest = self.highest.max(new_floor);
        missing - there
    }

    /// Starts or ends the time of what is missing.
    fn watch(&mut self, now: Instant) {
        match self.hole {
            Some((_, up_to)) if up_to > self.floor => {}
            _ if self.highest > self.floor => self.hole = Some((now, self.highest)),
            _ => self.hole = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_highest_is_known_up_to_the_last_sequence_there_is() {
        let now = Instant::now();
        for highest in u32::MAX - 70..=u32::MAX {
            let mut window = Window::new(highest, now);
            window.insert(highest, now);
            window.insert(highest - 2, now);
            assert_eq!(window.highest_there(), highest);
        }
    }

    proptest! {
        #[test]
        fn a_window_is_a_set(sequences in prop::collection::vec(1u32..3000, 1..400)) {
            let now = Instant::now();
            let mut window = Window::new(sequences[0], now);
            let mut model = BTreeSet::new();
            for sequence in sequences {
                if window.contains(sequence) {
                    prop_assert!(model.contains(&sequence) || sequence <= window.floor);
                } else {
                    window.insert(sequence, now);
                    prop_assert!(model.insert(sequence));
                }
                for sequence in &model {
                    prop_assert!(window.contains(*sequence));
                }
                prop_assert!(window.bits.len() <= (WINDOW / 64) as usize);
                prop_assert!(window.highest - window.floor <= WINDOW);
            }
        }
    }
}
