//! Which messages this node has, so that each is taken in once, and which are missing. Pure.
//!
//! What stays missing for longer than histories hold is a gap, and is reported.
//!
//! Origins are kept in two generations: one that is heard of moves into the young one; when that is full
//! or has aged, it becomes the old one, and what was there is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::{Duration, Instant},
};

use super::{codec::MessageId, control::HAVE_MAX, window::Window};
use crate::node_id::NodeId;

/// Origins in one generation. Both together take less than 20 MB if every window is in use.
const ORIGINS_MAX: usize = 32 * 1024;
/// Age of a generation, at least: as long as a history holds a message, it must be known that it was there.
const GENERATION_AGE: Duration = Duration::from_secs(60 * 60);

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

    /// Takes a message in. Returns whether it is new, and neither there already nor too old to tell.
    pub(super) fn insert(&mut self, id: MessageId, now: Instant) -> bool {
        let window = self.window(id.origin, now, || Window::new(id.sequence, now));
        if window.contains(id.sequence) {
            return false;
        }
        let given_up = window.insert(id.sequence, now);
        let has_hole = window.missing_since().is_some();
        self.note(id.origin, has_hole, given_up, now);
        true
    }

    /// Nothing up to this message of the origin is a gap: it was published before this node began.
    pub(super) fn count_after(&mut self, id: MessageId, now: Instant) {
        let first = id.sequence.saturating_add(1);
        let window = self.window(id.origin, now, || Window::new(first, now));
        window.count_from(first);
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
        window.learn(id.sequence, now);
        let has_hole = window.missing_since().is_some();
        self.note(id.origin, has_hole, 0, now);
    }

    /// By origin, up to where everything is there: of those heard of last.
    pub(super) fn have(&self) -> BTreeMap<String, u32> {
        let mut windows: Vec<_> = self.young.iter().chain(&self.old).collect();
        if windows.len() > HAVE_MAX {
            windows.select_nth_unstable_by_key(HAVE_MAX, |(id, window)| {
                (std::cmp::Reverse(window.heard_at()), **id)
            });
            windows.truncate(HAVE_MAX);
        }
        let have = windows.into_iter();
        have.map(|(id, window)| (id.to_string(), window.floor()))
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
                .filter_map(|origin| self.peek(*origin)?.missing_since());
            self.look_at = holes.map(|since| since + self.patience).min();
        }
        mem::take(&mut self.gaps)
    }

    fn give_up_late(&mut self, now: Instant) {
        let late: Vec<_> = self
            .holes
            .iter()
            .copied()
            .filter(|origin| {
                let since = self.peek(*origin).and_then(Window::missing_since);
                since.is_none_or(|since| since + self.patience <= now)
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
            let given_up = window.give_up(now);
            let has_hole = window.missing_since().is_some();
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
            let gap = self.gaps.entry(origin).or_default();
            *gap = gap.saturating_add(given_up);
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
    use super::{super::window::WINDOW, *};

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
            taken.collect()
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
        assert_eq!(test.seen.have(), BTreeMap::from([(ORIGIN.to_string(), 6)]));
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
    fn what_was_before_this_node_began_is_not_missed() {
        for sequences in [[5, 9, 12], [12, 9, 5]] {
            let mut test = Test::new();
            test.seen.count_after(id(9), test.now);
            assert_eq!(test.insert(sequences), [true; 3]);
            let gaps = [(); 2].map(|()| {
                test.now += PATIENCE;
                test.gap()
            });
            assert_eq!(gaps.iter().sum::<u32>(), 2, "10 and 11");
        }
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
        let have = BTreeMap::from([(ORIGIN.to_string(), 3)]);
        assert_eq!(test.seen.have(), have);
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
        let have = BTreeMap::from([(ORIGIN.to_string(), 1)]);
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
}
