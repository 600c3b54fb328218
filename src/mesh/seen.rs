//! Which messages this node has, so that each is taken in once, and which are missing. Pure.
//!
//! For each origin a window: all up to the floor is there or given up, a bitmap tells of what lies above.
//! What stays missing for longer than histories hold is a gap, and is reported.
//!
//! Origins are kept in two generations: one that is heard of moves into the young one; when that is full
//! or has aged, it becomes the old one, and what was there is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::{Duration, Instant},
};

use super::{codec::MessageId, control::HAVE_MAX};
use crate::node_id::NodeId;

/// Origins in one generation. Both together take less than 20 MB if every window is in use.
const ORIGINS_MAX: usize = 32 * 1024;
/// Age of a generation, at least: as long as a history holds a message, it must be known that it was there.
const GENERATION_AGE: Duration = Duration::from_secs(60 * 60);
/// Messages of one origin that may be out of order; a multiple of 64.
const WINDOW: u32 = 1024;
/// How far before the first message of an origin that is heard its earlier ones are still taken.
const LOOK_BACK: u32 = 256;

#[derive(Debug)]
struct Window {
    /// Everything up to here is there or given up.
    floor: u32,
    /// The highest known to exist, at most `floor + WINDOW`.
    highest: u32,
    /// From `floor + 1` on: whether it is there. Empty while nothing is out of order.
    bits: Vec<u64>,
    /// What is missing below is no gap: it was published before this node knew the origin.
    counted_from: u32,
    /// What comes below is for others only: it was published before this node began.
    heard_from: u32,
    /// Since when something up to there has been missing.
    hole: Option<(Instant, u32)>,
    heard_at: Instant,
}

impl Window {
    /// `first` is the first message that must not be missed.
    fn new(first: u32, heard_from: u32, now: Instant) -> Self {
        let floor = first.saturating_sub(1).saturating_sub(LOOK_BACK);
        Self {
            floor,
            highest: floor,
            bits: Vec::new(),
            counted_from: first,
            heard_from,
            hole: None,
            heard_at: now,
        }
    }

    fn contains(&self, sequence: u32) -> bool {
        sequence <= self.floor || self.is_set(sequence - self.floor - 1)
    }

    fn is_set(&self, offset: u32) -> bool {
        let word = self.bits.get((offset / 64) as usize);
        word.is_some_and(|word| word & (1 << (offset % 64)) != 0)
    }

    /// The highest that is there.
    fn highest_there(&self) -> u32 {
        let Some(last) = self.bits.last() else {
            return self.floor;
        };
        // The last word may reach beyond the last sequence there is.
        self.floor + (self.bits.len() as u32 * 64 - last.leading_zeros())
    }

    /// Returns how many had to be given up for it.
    fn insert(&mut self, sequence: u32, now: Instant) -> u32 {
        debug_assert!(!self.contains(sequence));
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

    /// Gives up what is missing up to there. Returns how many of those are counted. What nothing but the word of
    /// a neighbor tells of may still come: it is counted, and taken all the same.
    fn give_up(&mut self, up_to: u32) -> u32 {
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
        self.hole = None;
        missed + told
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

/// What a message is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    New,
    /// New, but published before this node began: for others only.
    Old,
    /// It was there already, or it is too old to tell.
    Known,
}

#[derive(Debug)]
pub(super) struct Seen {
    young: BTreeMap<NodeId, Window>,
    old: BTreeMap<NodeId, Window>,
    rotated_at: Instant,
    /// Origins of which something is missing.
    holes: BTreeSet<NodeId>,
    /// How many were given up, by origin, since this was last asked.
    gaps: BTreeMap<NodeId, u32>,
    patience: Duration,
    /// When to look for what has been missing for too long: not later than the first such time.
    look_at: Option<Instant>,
}

impl Seen {
    /// What is missing for longer than `patience` is given up.
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            rotated_at: now,
            holes: BTreeSet::new(),
            gaps: BTreeMap::new(),
            patience,
            look_at: None,
        }
    }

    pub(super) fn contains(&self, id: MessageId) -> bool {
        let window = self
            .young
            .get(&id.origin)
            .or_else(|| self.old.get(&id.origin));
        window.is_some_and(|window| window.contains(id.sequence))
    }

    /// Takes a message in.
    pub(super) fn insert(&mut self, id: MessageId, now: Instant) -> Taken {
        let window = self.window(id.origin, now, || Window::new(id.sequence, 0, now));
        if window.contains(id.sequence) {
            return Taken::Known;
        }
        let taken = if id.sequence < window.heard_from {
            Taken::Old
        } else {
            Taken::New
        };
        let given_up = window.insert(id.sequence, now);
        window.heard_at = now;
        let has_hole = window.hole.is_some();
        self.note(id.origin, has_hole, given_up, now);
        taken
    }

    /// Begins with what comes after this message of the origin.
    pub(super) fn begin(&mut self, id: MessageId, now: Instant) {
        let first = id.sequence.saturating_add(1);
        self.window(id.origin, now, || Window::new(first, first, now));
    }

    /// A neighbor has all up to this message. Evidence of what is missing here, and nothing more: it may lie.
    pub(super) fn learn(&mut self, id: MessageId, now: Instant) {
        let window = self
            .young
            .get_mut(&id.origin)
            .or_else(|| self.old.get_mut(&id.origin));
        let Some(window) = window else {
            return;
        };
        let highest = id.sequence.min(window.floor.saturating_add(WINDOW));
        window.highest = window.highest.max(highest);
        window.watch(now);
        let has_hole = window.hole.is_some();
        self.note(id.origin, has_hole, 0, now);
    }

    /// By origin, up to where everything is there, and up to where something is: of those heard of last.
    pub(super) fn have(&self) -> BTreeMap<String, (u32, u32)> {
        let mut windows: Vec<_> = self.young.iter().chain(&self.old).collect();
        if windows.len() > HAVE_MAX {
            windows.select_nth_unstable_by_key(HAVE_MAX, |(id, window)| {
                (std::cmp::Reverse(window.heard_at), **id)
            });
            windows.truncate(HAVE_MAX);
        }
        let have = windows.into_iter();
        have.map(|(id, window)| (id.to_string(), (window.floor, window.highest_there())))
            .collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.look_at.filter(|_| !self.holes.is_empty())
    }

    /// Gives up what has been missing for too long. Returns by origin how many messages were missed since
    /// the last call.
    pub(super) fn expire(&mut self, now: Instant) -> BTreeMap<NodeId, u32> {
        if self.look_at.is_some_and(|at| at <= now) {
            self.give_up_late(now);
            let holes = self
                .holes
                .iter()
                .filter_map(|origin| self.peek(*origin)?.hole);
            self.look_at = holes.map(|(since, _)| since + self.patience).min();
        }
        mem::take(&mut self.gaps)
    }

    fn give_up_late(&mut self, now: Instant) {
        let late: Vec<_> = self
            .holes
            .iter()
            .copied()
            .filter(|origin| {
                let hole = self.peek(*origin).and_then(|window| window.hole);
                hole.is_none_or(|(since, _)| since + self.patience <= now)
            })
            .collect();
        for origin in late {
            let window = self
                .young
                .get_mut(&origin)
                .or_else(|| self.old.get_mut(&origin));
            let Some(window) = window else {
                self.holes.remove(&origin);
                continue;
            };
            let mut given_up = 0;
            if let Some((_, up_to)) = window.hole {
                given_up = window.give_up(up_to);
                window.watch(now);
            }
            let has_hole = window.hole.is_some();
            self.note(origin, has_hole, given_up, now);
        }
    }

    fn peek(&self, origin: NodeId) -> Option<&Window> {
        self.young.get(&origin).or_else(|| self.old.get(&origin))
    }

    fn note(&mut self, origin: NodeId, has_hole: bool, given_up: u32, now: Instant) {
        if has_hole {
            if self.holes.is_empty() {
                self.look_at = Some(now + self.patience);
            }
            self.holes.insert(origin);
        } else {
            self.holes.remove(&origin);
        }
        if given_up > 0 {
            *self.gaps.entry(origin).or_default() += given_up;
        }
    }

    fn window(
        &mut self,
        origin: NodeId,
        now: Instant,
        new: impl FnOnce() -> Window,
    ) -> &mut Window {
        let is_aged =
            now.saturating_duration_since(self.rotated_at) >= GENERATION_AGE.max(self.patience);
        if is_aged || self.young.len() >= ORIGINS_MAX {
            self.rotated_at = now;
            self.old = mem::take(&mut self.young);
            self.holes.retain(|origin| self.old.contains_key(origin));
        }
        let old = &mut self.old;
        let known = || old.remove(&origin).unwrap_or_else(new);
        self.young.entry(origin).or_insert_with(known)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const ORIGIN: NodeId = NodeId(1);

    fn id(sequence: u32) -> MessageId {
        MessageId {
            origin: ORIGIN,
            sequence,
        }
    }

    struct Test {
        seen: Seen,
        now: Instant,
    }

    impl Test {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                seen: Seen::new(PATIENCE, now),
                now,
            }
        }

        fn insert(&mut self, sequences: impl IntoIterator<Item = u32>) -> Vec<bool> {
            let sequences = sequences.into_iter();
            let taken = sequences.map(|sequence| self.seen.insert(id(sequence), self.now));
            taken.map(|taken| taken == Taken::New).collect()
        }

        fn gap(&mut self) -> u32 {
            self.seen
                .expire(self.now)
                .get(&ORIGIN)
                .copied()
                .unwrap_or(0)
        }
    }

    #[test]
    fn each_message_is_new_once() {
        let mut test = Test::new();
        assert_eq!(
            test.insert([1, 2, 2, 5, 5, 3, 4, 3, 6]),
            [true, true, false, true, false, true, true, false, true]
        );
        assert_eq!(
            test.seen.have(),
            BTreeMap::from([(ORIGIN.to_string(), (6, 6))])
        );
        assert_eq!(test.seen.next_deadline(), None, "nothing is missing");
    }

    #[test]
    fn what_stays_missing_is_reported_once_and_not_taken_any_more() {
        let mut test = Test::new();
        test.insert([1, 2, 5]);
        assert_eq!(test.gap(), 0);
        test.now = test.seen.next_deadline().expect("3 and 4 are missing");
        assert_eq!((test.gap(), test.gap()), (2, 0));
        assert_eq!(test.insert([3, 4, 6]), [false, false, true]);
        assert_eq!(test.seen.next_deadline(), None);
    }

    #[test]
    fn what_comes_late_is_no_gap() {
        let mut test = Test::new();
        test.insert([1, 4]);
        test.now += PATIENCE / 2;
        assert_eq!(test.insert([3, 2]), [true, true]);
        test.now += PATIENCE;
        assert_eq!(test.gap(), 0);
    }

    #[test]
    fn a_later_hole_has_its_own_time() {
        let mut test = Test::new();
        test.insert([1, 3]);
        test.now += PATIENCE / 2;
        test.insert([5]);
        test.now += PATIENCE / 2;
        assert_eq!(test.gap(), 1);
        test.now += PATIENCE;
        assert_eq!(test.gap(), 1);
    }

    #[test]
    fn what_was_before_the_first_is_taken_but_not_missed() {
        let mut test = Test::new();
        assert_eq!(test.insert([500, 499, 501]), [true, true, true]);
        test.now += PATIENCE;
        assert_eq!(test.gap(), 0);
        assert_eq!(test.insert([498, 502]), [false, true]);
    }

    #[test]
    fn what_was_before_this_node_began_is_for_others() {
        let mut test = Test::new();
        test.seen.begin(id(9), test.now);
        let taken = [7, 7, 10, 9].map(|sequence| test.seen.insert(id(sequence), test.now));
        assert_eq!(taken, [Taken::Old, Taken::Known, Taken::New, Taken::Old]);
        test.now += PATIENCE;
        assert_eq!(test.gap(), 0);
    }

    #[test]
    fn a_jump_beyond_the_window_is_a_gap_at_once() {
        let mut test = Test::new();
        test.insert([1]);
        test.insert([2 + WINDOW + 100]);
        assert_eq!(test.gap(), 101);
    }

    #[test]
    fn the_word_of_a_neighbor_shows_a_gap_but_takes_nothing_away() {
        let mut test = Test::new();
        test.insert([1]);
        test.seen.learn(id(u32::MAX), test.now);
        assert_eq!(test.insert([2, 3]), [true, true]);
        test.insert([9]);
        let have = BTreeMap::from([(ORIGIN.to_string(), (3, 9))]);
        assert_eq!(test.seen.have(), have);
        test.seen.begin(id(7), test.now);
        assert_eq!(
            test.insert([4]),
            [true],
            "what is known already does not begin anew"
        );
        let mut test = Test::new();
        test.insert([1]);
        test.seen.learn(id(4), test.now);
        test.now += PATIENCE;
        assert_eq!(test.gap(), 3);
    }

    #[test]
    fn what_was_only_told_of_may_still_come_when_it_is_reported() {
        let mut test = Test::new();
        test.insert([1]);
        test.seen.learn(id(u32::MAX), test.now);
        test.now += PATIENCE;
        assert_eq!(test.gap(), WINDOW);
        assert_eq!(test.seen.next_deadline(), None);
        let have = BTreeMap::from([(ORIGIN.to_string(), (1, 1))]);
        assert_eq!(test.seen.have(), have, "it is not passed on as true");
        assert_eq!(test.insert([2, 3, 3]), [true, true, false]);
        test.now += PATIENCE;
        assert_eq!(test.gap(), 0, "it is reported once");
    }

    #[test]
    fn the_last_sequences_are_as_good_as_the_first() {
        for highest in u32::MAX - 70..=u32::MAX {
            let mut test = Test::new();
            assert_eq!(test.insert([highest, highest - 2]), [true, true]);
            let (_, have) = test.seen.have()[&ORIGIN.to_string()];
            assert_eq!(have, highest);
            test.seen.learn(id(u32::MAX), test.now);
            test.now += PATIENCE;
            test.gap();
            assert!(test.seen.contains(id(highest)));
        }
    }

    #[test]
    fn an_origin_is_known_for_as_long_as_histories_hold_what_it_has_published() {
        let mut test = Test::new();
        test.seen = Seen::new(3 * GENERATION_AGE, test.now);
        test.insert([1]);
        for origin in 2..5 {
            test.now += GENERATION_AGE;
            let (origin, sequence) = (NodeId(origin), 1);
            test.seen.insert(MessageId { origin, sequence }, test.now);
        }
        assert_eq!(test.insert([1]), [false]);
    }

    #[test]
    fn origins_are_bounded_and_active_ones_stay() {
        let mut test = Test::new();
        for origin in 0..5 * ORIGINS_MAX as u128 {
            let origin = NodeId(origin + 2);
            test.seen.insert(
                MessageId {
                    origin,
                    sequence: 2,
                },
                test.now,
            );
            if origin.0.is_multiple_of(ORIGINS_MAX as u128 / 2) {
                test.insert([1]);
            }
        }
        assert!(test.seen.young.len() + test.seen.old.len() <= 2 * ORIGINS_MAX);
        assert!(test.seen.holes.len() <= 2 * ORIGINS_MAX);
        assert_eq!(test.insert([1]), [false]);
        assert!(test.seen.have().len() <= HAVE_MAX);
    }

    proptest! {
        #[test]
        fn a_window_is_a_set(sequences in prop::collection::vec(1u32..3000, 0..400)) {
            let mut test = Test::new();
            let mut model = BTreeSet::new();
            for sequence in sequences {
                let is_new = test.insert([sequence])[0];
                let floor = test.seen.young[&ORIGIN].floor;
                if is_new {
                    prop_assert!(model.insert(sequence));
                } else {
                    prop_assert!(model.contains(&sequence) || sequence <= floor);
                }
                for sequence in &model {
                    prop_assert!(test.seen.contains(id(*sequence)));
                }
                let window = &test.seen.young[&ORIGIN];
                prop_assert!(window.bits.len() <= (WINDOW / 64) as usize);
                prop_assert!(window.highest - window.floor <= WINDOW);
            }
        }
    }
}
