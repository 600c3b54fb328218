//! What is to be measured, how often, and in which order the servers have their turns.

use std::time::Duration;

use clap::ValueEnum;

use crate::Outcome;
use crate::subject::Cost;
use crate::table::Column;

/// Segments that a peer acknowledges at once after a pause; then it starts to save
/// acknowledgements. A sample of broadcasts stays within, a stream starts beyond.
pub(crate) const QUICK_ACKNOWLEDGEMENTS: usize = 16;

/// One thing to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Accepting and upgrading connections.
    Accept,
    /// One message to all, of three sizes.
    Broadcast,
    /// One message to all, again and again.
    Stream,
    /// A hundred small messages to all at once.
    Burst,
    /// What a peer publishes, to all others: what that costs, and how soon everyone has it.
    Relay,
    /// Accepting, relaying and the memory of idle peers, with the servers that people would pick instead.
    Rivals,
    /// One message to all over TLS, and the memory of peers, beside a floor that speaks TLS.
    Tls,
    /// A message on its way from node to node.
    Hop,
    /// Answering pings.
    Ping,
    /// Memory of idle peers, and what broadcasts leave behind.
    Memory,
    /// One peer that never reads, among others that do.
    Stalled,
    /// Many peers and nothing to do.
    Idle,
}

/// How much of it.
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) peers: Vec<usize>,
    /// Rounds that count, beside the first that is thrown away.
    pub(crate) rounds: usize,
    /// Deliveries that a broadcast is repeated for, so that a sample is some tens of milliseconds.
    pub(crate) deliveries: usize,
    /// Messages of which it is measured how soon everyone has them: enough that one in a hundred is more than one.
    pub(crate) served: usize,
    /// Answered pings of a sample.
    pub(crate) pings: usize,
    pub(crate) stalled_messages: usize,
    pub(crate) idle: Duration,
}

impl Plan {
    pub(crate) fn full() -> Self {
        Self {
            scenarios: Scenario::value_variants().to_vec(),
            peers: vec![1000, 8000],
            rounds: 9,
            deliveries: 16_000,
            served: 300,
            pings: 40_000,
            stalled_messages: 3000,
            idle: Duration::from_secs(10),
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            peers: vec![1000],
            rounds: 3,
            deliveries: 8000,
            served: 100,
            pings: 8000,
            idle: Duration::from_secs(3),
            ..Self::full()
        }
    }

    pub(crate) fn smoke() -> Self {
        Self {
            peers: vec![20],
            rounds: 1,
            deliveries: 40,
            served: 20,
            pings: 40,
            stalled_messages: 100,
            idle: Duration::from_millis(100),
            ..Self::full()
        }
    }

    /// How often a message to all is repeated for one sample.
    pub(crate) fn times(&self, peers: usize) -> usize {
        (self.deliveries / peers).clamp(1, QUICK_ACKNOWLEDGEMENTS)
    }

    pub(crate) fn has(&self, scenario: Scenario) -> bool {
        self.scenarios.contains(&scenario)
    }
}

/// Longest work of one alternative in all rounds: a slow one has fewer of them, one at least.
const PATIENCE: Duration = Duration::from_secs(8);

/// Runs `count` alternatives in turns, rotated from round to round, and gives for each the time
/// per unit of work in microseconds. The first round only warms up. An alternative may pass.
pub(crate) fn in_turns(
    rounds: usize,
    count: usize,
    units: usize,
    mut work: impl FnMut(usize) -> Outcome<Option<Cost>>,
) -> Outcome<Vec<Column>> {
    let mut columns = vec![Column::default(); count];
    let mut spent = vec![Duration::ZERO; count];
    for round in 0..=rounds {
        for turn in 0..count {
            let which = (round + turn) % count;
            let column = &mut columns[which];
            if spent[which] > PATIENCE && column.values.count() > 0 {
                continue;
            }
            let Some(cost) = work(which)? else { continue };
            spent[which] += cost.elapsed;
            if round > 0 {
                let microseconds = cost.cpu.as_secs_f64() * 1e6 / units as f64;
                column.values.push(microseconds);
                column.elapsed.push(cost.elapsed.as_secs_f64());
                column.generator_shares.push(cost.generator_share);
            }
        }
    }
    Ok(columns)
}
