//! Times and sizes as people write them: `1h 30m`, `500ms`, `off`, `64KiB`.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use jiff::fmt::friendly::{SpanParser, SpanPrinter};

use super::limits::{DURATION_MAX, DURATION_MIN};
use crate::printable::Printable;

/// A time as people write it, with a unit: `10s`, `500ms`, `2m`, `1h 30m`. From a millisecond to
/// a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem| TimeError {
            typed: text.to_owned(),
            problem,
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(error(TimeProblem::Empty));
        }
        let number = text.strip_prefix(['-', '+']).unwrap_or(text);
        if number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Err(error(TimeProblem::UnitMissing));
        }
        let duration = SpanParser::new()
            .parse_duration(text)
            .map_err(|_| error(TimeProblem::NotADuration))?;
        if duration.is_negative() {
            return Err(error(TimeProblem::Negative));
        }
        let duration = duration.unsigned_abs();
        if duration < DURATION_MIN {
            return Err(error(TimeProblem::TooShort));
        }
        if duration > DURATION_MAX {
            return Err(error(TimeProblem::TooLong));
        }
        Ok(Time(duration))
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&SpanPrinter::new().unsigned_duration_to_string(&self.0))
    }
}

/// A [`Time`] or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(pub Option<Duration>);

impl FromStr for Every {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "off" => Ok(Every(None)),
            text => text.parse().map(|Time(duration)| Every(Some(duration))),
        }
    }
}

impl Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => Time(duration).fmt(f),
            None => f.pad("off"),
        }
    }
}

/// Why a text is not a [`Time`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}", Printable(typed))]
pub struct TimeError {
    typed: String,
    problem: TimeProblem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum TimeProblem {
    #[error("is empty; write for example 10s")]
    Empty,
    #[error("has no unit; write for example 500ms, 10s or 2m")]
    UnitMissing,
    #[error("is not a time; write for example 500ms, 10s, 2m or 1h 30m")]
    NotADuration,
    #[error("is negative")]
    Negative,
    #[error("is too short: at least {}", Time(DURATION_MIN))]
    TooShort,
    #[error("is too long: at most a year")]
    TooLong,
}

/// A number of things as people write it: digits only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub usize);

impl FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim().parse().map(Count);
        number.map_err(|_| CountError(text.to_owned()))
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a [`Count`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a whole number, or too large", Printable(.0))]
pub struct CountError(String);

/// A size in bytes as people write it: `512`, `512B`, `64KiB`, `1MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

/// Units by descending size, those with powers of two first: the order of preference when a
/// size is displayed.
const UNITS: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem| SizeError {
            typed: text.to_owned(),
            problem,
        };
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        if number.is_empty() {
            return Err(error(SizeProblem::NotASize));
        }
        let factor = match unit {
            "" => Some(1),
            unit => UNITS
                .iter()
                .find_map(|(name, factor)| name.eq_ignore_ascii_case(unit).then_some(*factor)),
        };
        let factor = factor.ok_or_else(|| error(SizeProblem::NotASize))?;
        number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Size)
            .ok_or_else(|| error(SizeProblem::TooLarge))
    }
}

impl Display for Size {
    /// In the greatest unit that keeps the size a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        f.pad(&format!("{}{unit}", self.0 / factor))
    }
}

/// Why a text is not a [`Size`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}", Printable(typed))]
pub struct SizeError {
    typed: String,
    problem: SizeProblem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum SizeProblem {
    #[error("is not a size; write a whole number with a unit, for example 512B, 64KiB or 1MiB")]
    NotASize,
    #[error("is too large for this machine")]
    TooLarge,
}
