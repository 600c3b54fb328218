//! The course of a measurement as rows for a spreadsheet.

use super::Report;

const HEAD: &str = "seconds,deliveries,everywhere,last_mean_us,last_max_us";

impl Report {
    /// One row for each interval of the measurement: when it begins, deliveries in it, messages that were
    /// heard by everyone in it, and the mean and the longest time that this took.
    pub fn to_csv(&self) -> String {
        let rows = self.measure.course.iter().map(|point| {
            format!(
                "{},{},{},{},{}\n",
                point.seconds,
                point.deliveries,
                point.everywhere,
                point.last_mean_us,
                point.last_max_us
            )
        });
        std::iter::once(format!("{HEAD}\n")).chain(rows).collect()
    }
}
