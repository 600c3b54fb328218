//! Many times in few figures.

use serde::{Deserialize, Serialize};

use super::rounded;
use crate::fanout::tally::Times;

/// Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Quantiles {
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// Heads of the columns of [`Quantiles::columns`].
pub(super) const COLUMNS: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

impl Quantiles {
    /// What a table shows.
    pub(super) fn columns(&self) -> [f64; COLUMNS.len()] {
        [self.p50, self.p90, self.p99, self.p999, self.max]
    }

    /// `None` if there were none.
    pub(super) fn of(times: &Times) -> Option<Self> {
        let times = times.histogram();
        if times.is_empty() {
            return None;
        }
        let micros = |nanoseconds: u64| rounded(nanoseconds as f64 / 1e3);
        Some(Self {
            min: micros(times.min()),
            mean: rounded(times.mean() / 1e3),
            p50: micros(times.value_at_quantile(0.5)),
            p90: micros(times.value_at_quantile(0.9)),
            p99: micros(times.value_at_quantile(0.99)),
            p999: micros(times.value_at_quantile(0.999)),
            max: micros(times.max()),
        })
    }
}

/// How many times there are up to this one, from the bar before on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bar {
    pub(super) up_to_us: f64,
    pub(super) count: u64,
}

/// Bars of a histogram from the shortest to the longest time, each reaching half as far again as the one
/// before. Empty ones between others are there.
pub(super) fn bars(times: &Times) -> Vec<Bar> {
    let times = times.histogram();
    let mut bars: Vec<Bar> = Vec::new();
    if times.is_empty() {
        return bars;
    }
    let mut up_to = (times.min() as f64).max(1.0);
    for value in times.iter_recorded() {
        while value.value_iterated_to() as f64 > up_to || bars.is_empty() {
            up_to *= 1.5;
            bars.push(Bar {
                up_to_us: rounded(up_to / 1e3),
                count: 0,
            });
        }
        if let Some(bar) = bars.last_mut() {
            bar.count += value.count_since_last_iteration();
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn times(micros: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        for time in micros {
            times.record(Duration::from_micros(time));
        }
        times
    }

    #[test]
    fn quantiles_are_those_of_all_times() {
        let quantiles = Quantiles::of(&times(1..=1000)).unwrap();
        assert_eq!((quantiles.min, quantiles.max.round()), (1.0, 1000.0));
        for (found, expected) in [
            (quantiles.p50, 500.0),
            (quantiles.p90, 900.0),
            (quantiles.p99, 990.0),
            (quantiles.p999, 999.0),
            (quantiles.mean, 500.5),
        ] {
            assert!(
                (found / expected - 1.0f64).abs() < 0.002,
                "{found} for {expected}"
            );
        }
        assert_eq!(Quantiles::of(&times([])), None);
    }

    #[test]
    fn every_time_is_in_one_bar() {
        let few = bars(&times([10, 11, 12, 5000, 5001, 90_000]));
        assert_eq!(few.iter().map(|bar| bar.count).sum::<u64>(), 6);
        assert_eq!(few[0].count, 3);
        assert!(few.last().unwrap().count == 1 && few.len() < 30);
        let edges: Vec<_> = few
            .windows(2)
            .map(|pair| pair[1].up_to_us / pair[0].up_to_us)
            .collect();
        assert!(
            edges.iter().all(|ratio| (ratio - 1.5).abs() < 0.01),
            "{edges:?}"
        );
        assert_eq!(bars(&times([])), []);
        assert_eq!(bars(&times([0, 0])).len(), 1);
    }
}
