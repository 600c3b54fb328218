//! The report: what each server needed, then each target and whether it is met.

use std::fmt;

use crate::measure::Series;

/// What one server needed in one scenario.
#[derive(Clone, Default)]
pub(crate) struct Column {
    /// In the unit of the row; empty when there is nothing to measure.
    pub(crate) values: Series,
    /// Shares of a core that its generator used meanwhile.
    pub(crate) generator_shares: Series,
}

/// One scenario: the floor, the article's design, wsmesh.
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

const SERVERS: [&str; 3] = ["floor", "article", "wsmesh"];

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
}

impl Report {
    /// One server must need at most `wanted` times what another needs.
    pub(crate) fn ratio(&mut self, row: &Row, this: usize, other: usize, wanted: f64) {
        let (values, others) = (&row.columns[this].values, &row.columns[other].values);
        let ratio = values.over(others).median();
        self.targets.push(Target {
            name: format!(
                "{}, {} peers: {} / {}",
                row.name, row.peers, SERVERS[this], SERVERS[other]
            ),
            value: format!("{ratio:.3}"),
            minimum: format!("{:.3}", values.minimum() / others.minimum()),
            wanted: format!("{wanted:.3}"),
            is_met: ratio <= wanted,
        });
    }

    /// One server must need at most `wanted`.
    pub(crate) fn at_most(&mut self, row: &Row, this: usize, wanted: f64) {
        let value = row.columns[this].values.median();
        self.targets.push(Target {
            name: format!(
                "{}, {} peers: {} {}",
                row.name, row.peers, SERVERS[this], row.unit
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
        for server in SERVERS {
            write!(f, " {server:>20}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:<30} {:>6} {:<12}", row.name, row.peers, row.unit)?;
            for column in &row.columns {
                write!(f, " {:>20}", column.to_string())?;
            }
            writeln!(f)?;
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

/// With a decimal where it matters.
fn figure(value: f64) -> String {
    let decimals = usize::from(value > 0.0 && value < 100.0);
    format!("{value:.decimals$}")
}
