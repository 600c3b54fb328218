//! Whether memory is flat, by what it was after each round.

use std::fmt;

/// What memory may be above the most of the warm-up. Rounds differ in what happens at the same moment, and that moves
/// the peak.
const GROWTH_PERCENT_MAX: u64 = 20;
const GROWTH_BYTES_MAX: u64 = 4 << 20;
/// What all rounds after the warm-up may add to one another, by the trend through them. Each does the same as the one
/// before, so what is lost in one is lost in all, and no noise goes one way for hours: in an hour of some thousand
/// rounds with a thousand guests each, 2 bytes a guest are more than this.
const RISE_BYTES_MAX: f64 = (2 << 20) as f64;
/// Fewer rounds have no trend.
const TREND_ROUNDS_MIN: usize = 12;

/// Resident bytes of a process after each round.
#[derive(Default)]
pub(crate) struct Resident {
    warming: Vec<u64>,
    warm: Vec<u64>,
}

impl Resident {
    pub(crate) fn add(&mut self, bytes: u64, is_warm: bool) {
        let list = match is_warm {
            true => &mut self.warm,
            false => &mut self.warming,
        };
        list.push(bytes);
    }

    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<String> {
        let (warming, warm) = (most(&self.warming), most(&self.warm));
        let bound = warming + warming * GROWTH_PERCENT_MAX / 100 + GROWTH_BYTES_MAX;
        if warm > bound {
            return Some(format!("it has grown beyond {bound} bytes: {self}"));
        }
        let has_risen = self.warm.len() >= TREND_ROUNDS_MIN && self.rise() > RISE_BYTES_MAX;
        has_risen.then(|| format!("it rises: {self}"))
    }

    /// The trend through what it was when it was warm, from the first round to the last: the median of the slopes
    /// between any two rounds (Theil and Sen), which single rounds do not move.
    fn rise(&self) -> f64 {
        let warm = &self.warm;
        let pairs = (1..warm.len()).flat_map(|later| (0..later).map(move |first| (first, later)));
        let slopes = pairs.map(|(first, later)| {
            (warm[later] as f64 - warm[first] as f64) / (later - first) as f64
        });
        let mut slopes: Vec<f64> = slopes.collect();
        slopes.sort_by(f64::total_cmp);
        let median = slopes.get(slopes.len() / 2).copied().unwrap_or_default();
        median * warm.len().saturating_sub(1) as f64
    }
}

fn most(bytes: &[u64]) -> u64 {
    bytes.iter().copied().max().unwrap_or_default()
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes at most in the {} rounds of the warm-up, {} in the {} after it, with a trend of {:+.0} from the first \
             of these to the last",
            most(&self.warming),
            self.warming.len(),
            most(&self.warm),
            self.warm.len(),
            self.rise()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many rounds whose bytes go up and down by a megabyte, and rise by so many each.
    fn noisy(rounds: u64, lost: u64) -> Resident {
        let mut resident = Resident::default();
        for round in 0..rounds {
            let noise = ((round * 2_654_435_761) >> 7) % (1 << 20);
            let bytes = (20 << 20) + noise + round * lost;
            resident.add(bytes, round >= rounds / 4);
        }
        resident
    }

    #[test]
    fn what_is_lost_in_each_round_shows_in_the_noise() {
        for (rounds, lost, is_flat) in [
            (4, 0, true),
            (20, 0, true),
            (400, 0, true),
            // 2 and 10 bytes of each of a thousand guests.
            (400, 2_000, true),
            (400, 10_000, false),
            // It comes and goes as well, and has its limit.
            (20, 500_000, false),
            (4, 8 << 20, false),
        ] {
            let resident = noisy(rounds, lost);
            let fault = resident.fault();
            assert_eq!(fault.is_none(), is_flat, "{rounds} {lost}: {resident}");
        }
    }
}
