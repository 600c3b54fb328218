//! Whether what was wanted is met.

use std::time::Duration;

use super::{Report, micros};
use crate::config::Time;

/// What a load test is to show; `None`: nothing is wanted of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Deliveries that may be lost, or be damaged (`--max-lost`).
    pub lost: Option<u64>,
    /// Connections that may fail, or not last (`--max-failed`).
    pub failed: Option<u64>,
    /// The time within which 99 % of the deliveries are made (`--max-p99`).
    pub p99: Option<Duration>,
}

/// Whether a load test shows what it is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does. What a busy generator adds is included, so it does without that too.
    Met,
    /// It does not, in these points.
    Missed(Vec<String>),
    /// It does not, but the generator was so busy that this may be its own fault.
    Unclear(Vec<String>),
}

impl Report {
    /// Judges what was measured.
    pub fn judge(&self, bounds: &Bounds) -> Verdict {
        let mut missed = Vec::new();
        let damaged = self.measure.lost + self.measure.corrupted;
        if let Some(max) = bounds.lost.filter(|max| damaged > *max) {
            missed.push(format!(
                "{damaged} deliveries lost or damaged, {max} at most"
            ));
        }
        let failed = self.connect.failed + self.connect.lost;
        if let Some(max) = bounds.failed.filter(|max| failed > *max) {
            missed.push(format!(
                "{failed} connections failed or lost, {max} at most"
            ));
        }
        if let Some(max) = bounds.p99 {
            let p99 = self.measure.delivery_us.p99;
            if self.measure.deliveries == 0 {
                missed.push("nothing was delivered".to_owned());
            } else if p99 > micros(max) {
                missed.push(format!(
                    "p99 of a delivery {:.3} ms, {} at most",
                    p99 / 1e3,
                    Time(max)
                ));
            }
        }
        match missed.is_empty() {
            true => Verdict::Met,
            false if self.is_generator_the_bottleneck() => Verdict::Unclear(missed),
            false => Verdict::Missed(missed),
        }
    }
}
