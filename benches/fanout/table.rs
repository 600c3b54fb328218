//! The report: what each server needed, then each target and whether it is met.

use std::fmt;

use crate::measure::Series;
use crate::servers::{COMMANDED, FLOOR, SERVERS};

/// What one server needed in one scenario.
#[derive(Clone, Default)]
pub(crate) struct Column {
    /// In the unit of the row; empty when there is nothing to measure.
    pub(crate) values: Series,
    /// Seconds until the last peer was served.
    pub(crate) elapsed: Series,
    /// Shares of a core that its generator used meanwhile.
    pub(crate) generator_shares: Series,
}

impl Column {
    pub(crate) fn of(value: f64) -> Self {
        let mut values = Series::default();
        values.push(value);
        Self {
            values,
            ..Self::default()
        }
    }
}

/// One scenario: a column for each of [`SERVERS`], or for the first of them.
pub(crate) struct Row {
    name: String,
    peers: usize,
    unit: &'static str,
    columns: Vec<Column>,
}

struct Target {
    name: String,
    /// What is judged: the median of the rounds.
    value: String,
    /// The same of the minima, where there are rounds.
    minimum: String,
    wanted: String,
    is_met: bool,
}

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    targets: Vec<Target>,
}

impl Row {
    pub(crate) fn new(
        name: impl Into<String>,
        peers: usize,
        unit: &'static str,
        columns: Vec<Column>,
    ) -> Self {
        Self {
            name: name.into(),
            peers,
            unit,
            columns,
        }
    }

    pub(crate) fn has(&self, server: usize) -> bool {
        let column = self.columns.get(server);
        column.is_some_and(|column| column.values.count() > 0)
    }
}

impl Report {
    /// One server must need at most `wanted` times what another needs.
    pub(crate) fn ratio(&mut self, row: &Row, this: usize, other: usize, wanted: f64) {
        let (values, others) = (&row.columns[this].values, &row.columns[other].values);
        let ratio = values.over(others).median();
        self.targets.push(Target {
            name: format!(
                "{}, {} peers: {} / {}",
                row.name,
                row.peers,
                SERVERS[this].name(),
                SERVERS[other].name()
            ),
            value: format!("{ratio:.3}"),
            minimum: format!("{:.3}", values.minimum() / others.minimum()),
            wanted: format!("{wanted:.3}"),
            is_met: ratio <= wanted,
        });
    }

    /// Whether all is as wanted.
    pub(crate) fn is_met(&self) -> bool {
        self.targets.iter().all(|target| target.is_met)
    }

    /// One server must need at most `wanted`.
    pub(crate) fn at_most(&mut self, row: &Row, this: usize, wanted: f64) {
        let value = row.columns[this].values.median();
        self.targets.push(Target {
            name: format!(
                "{}, {} peers: {} {}",
                row.name,
                row.peers,
                SERVERS[this].name(),
                row.unit
            ),
            value: figure(value),
            minimum: String::new(),
            wanted: figure(wanted),
            is_met: value <= wanted,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nWhat each server needs: median (minimum), and the generator's share of its core"
        )?;
        write!(f, "{:<30} {:>6} {:<12}", "", "peers", "")?;
        for server in &SERVERS[..COMMANDED] {
            write!(f, " {:>20}", server.name())?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:<30} {:>6} {:<12}", row.name, row.peers, row.unit)?;
            for column in row.columns.iter().take(COMMANDED) {
                write!(f, " {:>20}", column.to_string())?;
            }
            writeln!(f)?;
        }
        for row in &self.rows {
            if (COMMANDED..SERVERS.len()).any(|server| row.has(server)) {
                write!(f, "\n{}", Rivals(row))?;
            }
        }
        writeln!(
            f,
            "\n{:<66} {:>8} {:>8} {:>8}",
            "Targets", "median", "minima", "at most"
        )?;
        for target in &self.targets {
            let Target {
                name,
                value,
                minimum,
                wanted,
                is_met,
            } = target;
            let verdict = if *is_met { "met" } else { "NOT MET" };
            writeln!(
                f,
                "{name:<66} {value:>8} {minimum:>8} {wanted:>8}  {verdict}"
            )?;
        }
        Ok(())
    }
}

/// A row with all its servers, one below the other.
struct Rivals<'a>(&'a Row);

impl fmt::Display for Rivals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(row) = self;
        let floor = &row.columns[FLOOR];
        writeln!(f, "### {}, {} peers\n", row.name, row.peers)?;
        writeln!(
            f,
            "| server | {} | minimum | × floor | elapsed × floor | generator, cores | rounds |",
            row.unit
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|")?;
        for (server, column) in SERVERS.iter().zip(&row.columns) {
            if column.values.count() == 0 {
                continue;
            }
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} |",
                server.name(),
                precise(column.values.median()),
                precise(column.values.minimum()),
                precise(column.values.over(&floor.values).median()),
                precise(column.elapsed.over(&floor.elapsed).median()),
                precise(column.generator_shares.median()),
                column.values.count(),
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = self.values.median();
        if median.is_nan() {
            return write!(f, "–");
        }
        let share = self.generator_shares.median();
        if share.is_nan() {
            return f.write_str(&figure(median));
        }
        write!(
            f,
            "{median:.2} ({:.2}) {:>3.0} %",
            self.values.minimum(),
            share * 100.0
        )
    }
}

/// With three digits that matter; nothing where nothing was measured.
fn precise(value: f64) -> String {
    match value {
        value if !value.is_finite() => String::new(),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// With a decimal where it matters.
fn figure(value: f64) -> String {
    let decimals = usize::from(value > 0.0 && value < 100.0);
    format!("{value:.decimals$}")
}
