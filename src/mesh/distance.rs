//! How far this node stands from the others. Whom it has met is a random sample of the mesh, so a node that is
//! near to those is near to the middle of all. Pure.

use std::{collections::VecDeque, time::Duration};

use super::control::DISTANCE_UNKNOWN;
use crate::node_id::NodeId;

/// With fewer nodes chance says more than distance: more are looked for.
const SAMPLE_GOOD: usize = 16;
/// For so long. Who has found no more by then takes what there is, but fewer than this say nothing.
pub(super) const SEARCH: Duration = Duration::from_secs(120);
const SAMPLE_MIN: usize = 3;
/// Of more, those that were met last count.
const SAMPLE_MAX: usize = 64;

/// Round trips to the nodes that were met last, each node once: who is met again is not more of the mesh.
#[derive(Debug, Default)]
pub(super) struct Distance {
    round_trips: VecDeque<(NodeId, Duration)>,
}

impl Distance {
    /// A node has answered a hello after so long: less than its time-out.
    pub(super) fn on_round_trip(&mut self, to: NodeId, round_trip: Duration) {
        self.round_trips.retain(|(known, _)| *known != to);
        self.round_trips.push_back((to, round_trip));
        if self.round_trips.len() > SAMPLE_MAX {
            self.round_trips.pop_front();
        }
    }

    /// Whether more nodes must be met to say how far it is.
    pub(super) fn is_vague(&self) -> bool {
        self.round_trips.len() < SAMPLE_GOOD
    }

    /// In milliseconds of a round trip, as a beacon tells it: at the most, so that nobody is thought near by chance
    /// who has met few. The mean of `n` round trips is off by half of itself and the root of `n`; twice that is on
    /// top. `is_search_over`: no more are looked for.
    pub(super) fn millis(&self, is_search_over: bool) -> u32 {
        let count = self.round_trips.len();
        if count < SAMPLE_MIN || (self.is_vague() && !is_search_over) {
            return DISTANCE_UNKNOWN;
        }
        let sum: Duration = self.round_trips.iter().map(|(_, it)| *it).sum();
        let at_most = (sum / count as u32).mul_f64(1.0 + (count as f64).sqrt().recip());
        u32::try_from(at_most.as_millis()).unwrap_or(DISTANCE_UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(round_trips: impl IntoIterator<Item = (u128, u64)>) -> Distance {
        let mut distance = Distance::default();
        for (id, millis) in round_trips {
            distance.on_round_trip(NodeId(id), Duration::from_millis(millis));
        }
        distance
    }

    #[test]
    fn few_say_something_once_no_more_are_found() {
        let few = met([(1, 10), (2, 20), (3, 30), (4, 40)]);
        assert_eq!(few.millis(false), DISTANCE_UNKNOWN);
        assert_eq!(few.millis(true), 25 + 25 / 2, "the mean and its error");
        assert_eq!(
            met([(1, 10), (2, 20)]).millis(true),
            DISTANCE_UNKNOWN,
            "too few"
        );
        let many = met((0..16).map(|id| (id, 40)));
        assert_eq!(many.millis(false), 40 + 40 / 4);
    }

    #[test]
    fn who_is_met_again_counts_once_and_as_it_is_now() {
        let same = met((0..100).map(|_| (1, 10)));
        assert!(same.is_vague());
        let others = (2..10).map(|id| (id, 30));
        let again = met([(1, 990)].into_iter().chain(others).chain([(1, 30)]));
        assert_eq!(again.millis(true), 40);
    }

    #[test]
    fn a_node_that_has_moved_is_found_elsewhere() {
        let before = (0..100).map(|id| (id, 10));
        let after = (100..200).map(|id| (id, 160));
        assert_eq!(met(before.chain(after)).millis(false), 160 + 160 / 8);
    }
}
