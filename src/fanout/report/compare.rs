//! Two load tests beside each other.

use std::fmt;

use super::Report;

/// What one load test shows, what the other, and the ratio.
#[derive(Debug)]
pub struct Comparison<'a> {
    one: &'a Report,
    other: &'a Report,
}

struct Row {
    name: String,
    one: f64,
    other: f64,
}

impl<'a> Comparison<'a> {
    /// Of the other by the one.
    pub fn of(one: &'a Report, other: &'a Report) -> Self {
        Self { one, other }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut row = |name: &str, of: &dyn Fn(&Report) -> Option<f64>| {
            if let (Some(one), Some(other)) = (of(self.one), of(self.other)) {
                let name = name.to_owned();
                rows.push(Row { name, one, other });
            }
        };
        row("connections", &|report| Some(report.connect.opened as f64));
        row("connections failed or lost", &|report| {
            Some((report.connect.failed + report.connect.lost) as f64)
        });
        row("connections a second", &|report| report.connect.per_second);
        row("handshake p50, µs", &|report| {
            Some(report.connect.handshake_us?.p50)
        });
        row("handshake p99, µs", &|report| {
            Some(report.connect.handshake_us?.p99)
        });
        row("messages", &|report| Some(report.measure.messages as f64));
        row("deliveries", &|report| {
            Some(report.measure.deliveries as f64)
        });
        row("deliveries a second", &|report| {
            report.measure.deliveries_per_second
        });
        row("lost", &|report| Some(report.measure.lost as f64));
        row("twice", &|report| Some(report.measure.duplicated as f64));
        row("out of order", &|report| {
            Some(report.measure.reordered as f64)
        });
        row("damaged", &|report| Some(report.measure.corrupted as f64));
        for (place, (name, _)) in self.one.measure.times().into_iter().enumerate() {
            let times = |report: &Report| report.measure.times()[place].1;
            row(&format!("{name} p50, µs"), &|report| {
                Some(times(report)?.p50)
            });
            row(&format!("{name} p99, µs"), &|report| {
                Some(times(report)?.p99)
            });
        }
        row("server CPU a delivery, µs", &|report| {
            report.server.as_ref()?.cpu_us_per_delivery
        });
        row("server memory a connection, B", &|report| {
            report.server.as_ref()?.memory_bytes_per_connection
        });
        row("kernel objects a connection, B", &|report| {
            report.kernel.as_ref()?.objects_bytes_per_connection
        });
        row("generator's share of its core", &|report| {
            Some(report.generator.as_ref()?.cpu_share)
        });
        rows
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, report) in [("a", self.one), ("b", self.other)] {
            writeln!(f, "{place}: {}, {}", report.time, report.plan)?;
            if let Some(end) = report.early_end() {
                writeln!(f, "   {end}")?;
            }
        }
        writeln!(f, "\n{:<32} {:>14} {:>14} {:>8}", "", "a", "b", "b / a")?;
        for Row { name, one, other } in self.rows() {
            // Nothing by nothing is no ratio.
            let ratio = match one != 0.0 {
                true => format!("{:.3}", other / one),
                false => "–".to_owned(),
            };
            writeln!(
                f,
                "{name:<32} {:>14} {:>14} {ratio:>8}",
                Figure(one),
                Figure(other)
            )?;
        }
        for (place, report) in [("a", self.one), ("b", self.other)] {
            if report.is_generator_the_bottleneck() {
                writeln!(
                    f,
                    "In {place} the generator was so busy that slow figures may be its own."
                )?;
            }
        }
        Ok(())
    }
}

/// With decimals where they matter.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0 {
            value if value == value.trunc() => 0,
            value if value < 100.0 => 2,
            _ => 1,
        };
        f.pad(&format!("{:.decimals$}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::report::tests::report;

    #[test]
    fn which_has_ended_early_is_told() {
        let (whole, mut part) = (report(), report());
        part.outcome = "interrupted".to_owned();
        let told = Comparison::of(&whole, &part).to_string();
        let lines: Vec<_> = told.lines().collect();
        assert!(lines[1].starts_with("b: "), "{told}");
        assert_eq!(lines[2], "   Ended early: interrupted.");
        assert_eq!(told.matches("Ended early").count(), 1);
    }
}
