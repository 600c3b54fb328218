//! Ordeals of many seeds, and schedules of any bytes.

use proptest::prelude::*;

use super::{
    course::{Outcome, run},
    schedule,
};

/// How many seeds are run when nothing else is asked for.
const SEEDS: u64 = 200;

/// Beside those, others that have found something once.
const TELLING: [u64; 2] = [1155, 8779];

/// The seeds to run.
fn seeds() -> Vec<u64> {
    let Ok(asked) = std::env::var("WSMESH_ORDEAL") else {
        return (0..SEEDS).chain(TELLING).collect();
    };
    let (first, last) = asked.split_once("..").unwrap_or((&asked, ""));
    let first = first.parse().expect("WSMESH_ORDEAL is a seed, or FROM..TO");
    let last = last.parse().unwrap_or(first + 1);
    (first..last).collect()
}

#[test]
fn nodes_stand_what_befalls_them() {
    let outcomes: Vec<Outcome> = seeds().into_iter().map(run).collect();
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    println!(
        "{} ordeals: {} turns, {} deliveries, {} good peers ({} dialed, {} with TLS), {} of them heard 1001, {} pauses, \
         {} too slow",
        outcomes.len(),
        sum(|outcome| outcome.turns),
        sum(|outcome| outcome.deliveries),
        sum(|outcome| outcome.good_peers as u64),
        sum(|outcome| outcome.good_dialed as u64),
        sum(|outcome| outcome.good_with_tls as u64),
        sum(|outcome| outcome.good_closed as u64),
        sum(|outcome| outcome.accept_pauses),
        sum(|outcome| outcome.closed_slow),
    );
}

#[test]
fn the_same_seed_makes_the_same_ordeal() {
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever a peer sends, in whatever pieces, and whatever happens to its connection meanwhile.
    #[test]
    fn a_connection_stands_any_bytes(schedule in proptest::collection::vec(any::<u8>(), 0..300)) {
        schedule::follow(&schedule);
    }
}
