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
            match self.measure.delivery_us.map(|times| times.p99) {
                None => missed.push("no delivery was timed".to_owned()),
                Some(p99) if p99 > micros(max) => missed.push(format!(
                    "p99 of a delivery {:.3} ms, {} at most",
                    p99 / 1e3,
                    Time(max)
                )),
                Some(_) => {}
            }
        }
        match missed.is_empty() {
            true => Verdict::Met,
            false if self.is_generator_the_bottleneck() => Verdict::Unclear(missed),
            false => Verdict::Missed(missed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::report::quantiles::Quantiles;
    use crate::fanout::report::tests::report;

    const ZERO: Quantiles = Quantiles {
        min: 0.0,
        mean: 0.0,
        p50: 0.0,
        p90: 0.0,
        p99: 0.0,
        p999: 0.0,
        max: 0.0,
    };

    #[test]
    fn what_is_missed_is_named_with_what_was_wanted() {
        let mut report = report();
        assert_eq!(report.judge(&Bounds::default()), Verdict::Met);
        let bounds = Bounds {
            lost: Some(2),
            failed: Some(0),
            p99: Some(Duration::from_millis(5)),
        };
        let p99 = |p99| Some(Quantiles { p99, ..ZERO });
        report.measure.delivery_us = p99(5000.0);
        report.measure.lost = 1;
        report.measure.corrupted = 1;
        assert_eq!(report.judge(&bounds), Verdict::Met, "all at the bound");
        report.measure.delivery_us = p99(5001.0);
        report.measure.lost = 2;
        report.connect.lost = 1;
        let missed = [
            "3 deliveries lost or damaged, 2 at most",
            "1 connections failed or lost, 0 at most",
            "p99 of a delivery 5.001 ms, 5ms at most",
        ];
        let missed = missed.map(str::to_owned).to_vec();
        assert_eq!(report.judge(&bounds), Verdict::Missed(missed.clone()));
        if let Some(generator) = &mut report.generator {
            generator.is_bottleneck = true;
        }
        assert_eq!(report.judge(&bounds), Verdict::Unclear(missed));
        report.connect.lost = 0;
        report.measure.lost = 0;
        report.measure.delivery_us = p99(1.0);
        assert_eq!(
            report.judge(&bounds),
            Verdict::Met,
            "though the generator was busy"
        );
    }

    #[test]
    fn nothing_delivered_is_not_fast() {
        let bounds = Bounds {
            p99: Some(Duration::from_secs(1)),
            ..Bounds::default()
        };
        let missed = vec!["no delivery was timed".to_owned()];
        assert_eq!(report().judge(&bounds), Verdict::Missed(missed));
    }
}
