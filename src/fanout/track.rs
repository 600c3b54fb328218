//! What one connection has heard of one source: what was left out, what came late, what came again. Pure.

/// How far behind the highest sequence number a message is still told from one that came before.
const WINDOW: u32 = u128::BITS;

/// What a message is, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Behind all that came before.
    InOrder,
    /// Not heard yet, but one of those behind it was.
    Late,
    /// Heard before, or so long overdue that this cannot be said any more.
    Again,
}

/// Numbers begin with 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// One more than the highest number heard.
    next: u32,
    /// Which of the last [`WINDOW`] before `next` were heard; the lowest bit is the highest number.
    heard: u128,
    /// How many were heard, none of them counted twice.
    count: u32,
    /// The first number that was heard.
    first: u32,
}

impl Track {
    pub(super) fn on_message(&mut self, sequence: u32) -> Arrival {
        if self.count == 0 {
            self.first = sequence;
        }
        if sequence >= self.next {
            let skipped = sequence - self.next;
            self.heard = self.heard.checked_shl(skipped).unwrap_or_default();
            self.heard = self.heard.checked_shl(1).unwrap_or_default() | 1;
            self.next = sequence.saturating_add(1);
            self.count += 1;
            return Arrival::InOrder;
        }
        let behind = self.next - 1 - sequence;
        if behind >= WINDOW || self.heard & 1 << behind != 0 {
            return Arrival::Again;
        }
        self.heard |= 1 << behind;
        self.first = self.first.min(sequence);
        self.count += 1;
        Arrival::Late
    }

    /// Whether a message was heard, as far as the window tells.
    pub(super) fn has(&self, sequence: u32) -> bool {
        let Some(behind) = self.next.checked_sub(sequence + 1) else {
            return false;
        };
        behind >= WINDOW || self.heard & 1 << behind != 0
    }

    /// How many are missing between the first and the last that were heard.
    pub(super) fn gaps(&self) -> u64 {
        if self.count == 0 {
            return 0;
        }
        // The greatest number of all has none behind it.
        u64::from(self.next - self.first).saturating_sub(u64::from(self.count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_is_heard_once_and_what_is_late_is_told() {
        let mut track = Track::default();
        let arrivals = [0, 1, 3, 2, 3, 0, 5].map(|sequence| track.on_message(sequence));
        use Arrival::{Again, InOrder, Late};
        assert_eq!(
            arrivals,
            [InOrder, InOrder, InOrder, Late, Again, Again, InOrder]
        );
        assert_eq!(track.gaps(), 1);
        assert!(track.has(5) && !track.has(4) && !track.has(6));
    }

    #[test]
    fn who_comes_later_has_no_gap_before() {
        let mut track = Track::default();
        track.on_message(1000);
        track.on_message(1001);
        assert_eq!(track.gaps(), 0);
    }

    proptest! {
        /// As if all numbers were remembered, within the window.
        #[test]
        fn it_is_as_a_set_would_say(steps in prop::collection::vec(0u32..300, 1..200)) {
            let mut track = Track::default();
            let mut heard = std::collections::BTreeSet::new();
            for sequence in steps {
                let highest = heard.last().copied();
                let expected = match highest {
                    Some(highest) if highest >= sequence && highest - sequence >= WINDOW => Arrival::Again,
                    Some(highest) if highest >= sequence && heard.contains(&sequence) => Arrival::Again,
                    Some(highest) if highest >= sequence => Arrival::Late,
                    _ => Arrival::InOrder,
                };
                prop_assert_eq!(track.on_message(sequence), expected);
                if expected != Arrival::Again {
                    heard.insert(sequence);
                }
                prop_assert!(track.has(sequence));
            }
            let span = heard.last().unwrap() - heard.first().unwrap() + 1;
            prop_assert_eq!(track.gaps(), u64::from(span) - heard.len() as u64);
        }
    }
}
