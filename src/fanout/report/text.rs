//! A report for people, on a terminal.

use std::fmt;
use std::time::Duration;

use super::quantiles::{COLUMNS, Quantiles};
use super::{Measure, Planned, Reason, Report, words_of};
use crate::config::{Size, Time};
use crate::fanout::load::Outcome;

/// Widest bar of the histogram.
const BAR_WIDTH: f64 = 40.0;
/// Less than this is the system's own.
const SENT_LATE_SHOWN_US: f64 = 1000.0;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan)?;
        if let Some(end) = self.early_end() {
            writeln!(f, "{end}")?;
        }
        writeln!(f)?;
        self.write_connections(f)?;
        if self.connect.opened == 0 {
            // Nothing was asked of anybody.
            return Ok(());
        }
        self.measure.write_to(f, &self.plan)?;
        self.write_server(f)?;
        self.write_kernel(f)?;
        self.write_generator(f)
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = self.urls.join(", ");
        write!(
            f,
            "{} connections to {urls}, ",
            grouped(self.connections as u64)
        )?;
        let size = Size(self.size_bytes);
        let burst = match self.burst {
            1 => format!("{size}"),
            burst => format!("{burst} × {size} at once"),
        };
        let pace = match self.rate_per_second {
            Some(rate) => format!("{rate} messages a second in all"),
            None if self.mode == "echo" => "the next when the last is back".to_owned(),
            None => "the next when all have the last".to_owned(),
        };
        match self.mode.as_str() {
            "publish" if self.senders == 1 => write!(f, "one of them publishes {burst}, {pace}"),
            "publish" => write!(f, "{} of them publish {burst}, {pace}", self.senders),
            "echo" => write!(f, "each sends {burst}, {pace}"),
            "listen" => write!(f, "which listen"),
            _ => write!(f, "which are held"),
        }
    }
}

impl Report {
    /// That it has not done all that was planned.
    pub(super) fn early_end(&self) -> Option<String> {
        (self.outcome != words_of(Outcome::Done)).then(|| format!("Ended early: {}.", self.outcome))
    }

    fn write_connections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connect = &self.connect;
        match connect.handshake_us {
            None => writeln!(f, "connected   none")?,
            Some(handshake) => writeln!(
                f,
                "connected   {} in {}{}; handshake p50 {}, p99 {}, max {}",
                grouped(connect.opened),
                shown_seconds(connect.seconds),
                rate(connect.per_second),
                Micros(handshake.p50),
                Micros(handshake.p99),
                Micros(handshake.max),
            )?,
        }
        write_reasons(f, "failed", &connect.failures)?;
        write_reasons(f, "lost later", &connect.losses)
    }

    fn write_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let a_delivery = server.cpu_us_per_delivery;
        let a_delivery =
            a_delivery.map_or(String::new(), |cost| format!(", {cost:.2} µs a delivery"));
        let a_connection = server.memory_bytes_per_connection.unwrap_or_default();
        writeln!(
            f,
            "server      {} of CPU ({:.0} % of a core){a_delivery}; memory {}, {a_connection:.0} B a connection, {} at the end",
            shown_seconds(server.cpu_seconds),
            server.cpu_share * 100.0,
            Bytes(server.memory_connected_bytes),
            Bytes(server.memory_after_bytes),
        )
    }

    fn write_kernel(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(kernel) = &self.kernel else {
            return Ok(());
        };
        // Less than before is somebody else's doing.
        let a_connection = kernel
            .objects_bytes_per_connection
            .filter(|grown| *grown > 0.0);
        let a_connection = a_connection.map_or(String::new(), |grown| {
            format!("{grown:.0} B of objects a connection; ")
        });
        writeln!(
            f,
            "kernel      {a_connection}in all TCP sockets {} before, {} connected, {} at the end",
            Bytes(kernel.buffers_before_bytes),
            Bytes(kernel.buffers_connected_bytes),
            Bytes(kernel.buffers_after_bytes),
        )
    }

    fn write_generator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(generator) = &self.generator else {
            return Ok(());
        };
        writeln!(
            f,
            "generator   {:.0} % of its core, waited for it {:.0} % of the time; memory {}",
            generator.cpu_share * 100.0,
            generator.waited_share * 100.0,
            Bytes(generator.memory_bytes),
        )?;
        if generator.is_bottleneck {
            writeln!(
                f,
                "            It was so busy itself that slow figures may be its own. Give it a core, or share \
                 the load among several."
            )?;
        }
        Ok(())
    }
}

impl Measure {
    fn write_to(&self, f: &mut fmt::Formatter<'_>, plan: &Planned) -> fmt::Result {
        if self.seconds == 0.0 && self.messages == 0 && self.deliveries == 0 {
            return writeln!(f, "measured    nothing: it ended before the measurement");
        }
        if plan.mode == "idle" {
            return writeln!(f, "held        {}", shown_seconds(self.seconds));
        }
        write!(f, "measured    {}: ", shown_seconds(self.seconds))?;
        let is_sending = plan.senders > 0;
        match (is_sending, self.messages, self.deliveries) {
            (true, 0, _) => writeln!(f, "no message was sent")?,
            (true, sent, 0) => writeln!(f, "{} messages, heard by nobody", grouped(sent))?,
            (false, _, 0) => writeln!(f, "the server has sent nothing")?,
            _ => self.write_deliveries(f, is_sending)?,
        }
        if self.messages > 0 || self.delivery_us.is_some() {
            self.write_faults(f)?;
        }
        if self.delivery_us.is_some() {
            self.write_times(f, plan)?;
            self.write_histogram(f)?;
        }
        Ok(())
    }

    fn write_deliveries(&self, f: &mut fmt::Formatter<'_>, is_sending: bool) -> fmt::Result {
        if is_sending {
            write!(
                f,
                "{} messages, {} of them heard by all; ",
                grouped(self.messages),
                grouped(self.everywhere)
            )?;
        }
        write!(
            f,
            "{} deliveries{}",
            grouped(self.deliveries),
            rate(self.deliveries_per_second)
        )?;
        let bytes = self.bytes_per_second.unwrap_or_default();
        writeln!(f, ", {}/s", Bytes(bytes as u64))
    }

    fn write_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "            ")?;
        let always = [
            ("lost", self.lost),
            ("twice", self.duplicated),
            ("out of order", self.reordered),
            ("damaged", self.corrupted),
        ];
        let sometimes = [
            ("too late, counted as lost", self.overdue),
            ("at connections that did not wait for them", self.unasked),
            ("not of this load test", self.foreign),
        ];
        let sometimes = sometimes.into_iter().filter(|(_, count)| *count > 0);
        for (index, (what, count)) in always.into_iter().chain(sometimes).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} {what}", grouped(count))?;
        }
        writeln!(f)
    }

    fn write_times(&self, f: &mut fmt::Formatter<'_>, plan: &Planned) -> fmt::Result {
        write!(f, "\n{:<22}", "")?;
        for head in COLUMNS {
            write!(f, "{head:>10}")?;
        }
        writeln!(f)?;
        let mut rows = match plan.mode.as_str() {
            "publish" => self.times().to_vec(),
            "echo" => vec![("round trip", self.delivery_us)],
            _ => self.times()[..1].to_vec(),
        };
        let is_worth_it = |late: &Quantiles| late.p99 > SENT_LATE_SHOWN_US;
        rows.push((
            "sent later than meant",
            self.sent_late_us.filter(is_worth_it),
        ));
        for (name, times) in rows {
            let Some(times) = times else { continue };
            write!(f, "{name:<22}")?;
            for figure in times.columns() {
                write!(f, "{:>10}", Micros(figure).to_string())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn write_histogram(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.delivery_histogram.iter().map(|bar| bar.count).max();
        let most = most.unwrap_or(1).max(1) as f64;
        let all = self.deliveries.max(1) as f64;
        writeln!(f)?;
        for bar in &self.delivery_histogram {
            let width = (bar.count as f64 / most * BAR_WIDTH).ceil() as usize;
            let share = bar.count as f64 / all * 100.0;
            let up_to = Micros(bar.up_to_us).to_string();
            writeln!(f, "up to {up_to:>10} {share:>6.2} % {}", "█".repeat(width))?;
        }
        writeln!(f)
    }
}

fn write_reasons(f: &mut fmt::Formatter<'_>, what: &str, reasons: &[Reason]) -> fmt::Result {
    for Reason { reason, count } in reasons {
        writeln!(f, "            {} {what}: {reason}", grouped(*count))?;
    }
    Ok(())
}

fn rate(per_second: Option<f64>) -> String {
    per_second.map_or(String::new(), |rate| {
        format!(", {} a second", grouped(rate as u64))
    })
}

/// With three digits.
pub(super) fn shown_seconds(seconds: f64) -> String {
    match seconds {
        0.0..1.0 => Micros(seconds * 1e6).to_string(),
        1.0..100.0 => format!("{seconds:.1} s"),
        _ => Time(Duration::from_secs_f64(seconds.round().max(0.0))).to_string(),
    }
}

/// A time in the unit that suits it, with three digits.
pub(super) struct Micros(pub(super) f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            micros if micros < 999.5 => (micros, "µs"),
            micros if micros < 999_500.0 => (micros / 1e3, "ms"),
            micros => (micros / 1e6, "s"),
        };
        let decimals = match value {
            _ if value < 9.995 => 2,
            _ if value < 99.95 => 1,
            _ => 0,
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}

/// Bytes in the unit that suits them.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..10_000 => write!(f, "{bytes} B"),
            10_000..1_000_000 => write!(f, "{:.0} KB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

/// With a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::report::tests::report;

    #[test]
    fn where_nothing_was_measured_it_is_said_instead_of_zeros() {
        let refused = |count| Reason {
            reason: "refused".to_owned(),
            count,
        };
        let mut report = report();
        report.outcome = "no connection could be opened".to_owned();
        report.connect.failures = vec![refused(20)];
        let told: Vec<_> = report.to_string().lines().map(str::to_owned).collect();
        assert_eq!(
            told[1..],
            [
                "Ended early: no connection could be opened.",
                "",
                "connected   none",
                "            20 failed: refused"
            ]
        );
        assert_eq!(
            report.failure().as_deref(),
            Some("no connection could be opened: 20 × refused")
        );

        report.connect.opened = 10;
        for (seconds, mode, senders, messages, expected) in [
            (
                0.0,
                "publish",
                1,
                0,
                "nothing: it ended before the measurement",
            ),
            (2.0, "publish", 1, 0, "2.0 s: no message was sent"),
            (0.0, "publish", 1, 2, "0.00 µs: 2 messages, heard by nobody"),
            (2.0, "echo", 10, 7, "2.0 s: 7 messages, heard by nobody"),
            (2.0, "listen", 0, 0, "2.0 s: the server has sent nothing"),
        ] {
            report.measure.seconds = seconds;
            report.measure.messages = messages;
            report.plan.mode = mode.to_owned();
            report.plan.senders = senders;
            let told = report.to_string();
            let expected = format!("\nmeasured    {expected}\n");
            assert!(told.contains(&expected), "{told}");
            assert_eq!(told.contains("0 lost"), messages > 0, "{told}");
            assert!(!told.contains("p50"), "{told}");
        }
    }

    #[test]
    fn figures_are_shown_in_the_unit_that_suits_them() {
        for (micros, shown) in [
            (0.0, "0.00 µs"),
            (12.34, "12.3 µs"),
            (999.6, "1.00 ms"),
            (123_456.0, "123 ms"),
            (2_500_000.0, "2.50 s"),
        ] {
            assert_eq!(Micros(micros).to_string(), shown);
        }
        assert_eq!(Bytes(391).to_string(), "391 B");
        assert_eq!(Bytes(12_345_678).to_string(), "12.3 MB");
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0.25, 10.04, 3600.0].map(shown_seconds),
            ["250 ms", "10.0 s", "1h"]
        );
    }
}
