//! Times and sizes as people write them: `1h 30m`, `500ms`, `off`, `64KiB`.

use std::fmt::{self, Display};
use std::num::IntErrorKind;
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
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
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

/// Why a text is not an [`Every`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; or write off")]
pub struct EveryError(TimeError);

impl FromStr for Every {
    type Err = EveryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "off" => Ok(Every(None)),
            text => match text.parse() {
                Ok(Time(duration)) => Ok(Every(Some(duration))),
                Err(error) => Err(EveryError(error)),
            },
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
    #[error("is negative; write for example 10s")]
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
        let number = text.trim();
        let error = |problem| CountError {
            typed: text.to_owned(),
            problem,
        };
        // `usize::from_str` takes a leading plus.
        if number.starts_with('+') {
            return Err(error(CountProblem::NotANumber));
        }
        number.parse().map(Count).map_err(|fault| {
            error(match fault.kind() {
                IntErrorKind::PosOverflow => CountProblem::TooLarge,
                _ if number.parse::<i128>().is_ok() => CountProblem::Negative,
                _ => CountProblem::NotANumber,
            })
        })
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a [`Count`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}", Printable(typed))]
pub struct CountError {
    typed: String,
    problem: CountProblem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum CountProblem {
    #[error("is not a whole number; write for example 8")]
    NotANumber,
    #[error("is negative; write for example 8")]
    Negative,
    #[error("is too large for this machine")]
    TooLarge,
}

/// A [`Count`] or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpTo(pub Option<usize>);

impl FromStr for UpTo {
    type Err = UpToError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "off" => Ok(UpTo(None)),
            _ => match text.parse() {
                Ok(Count(count)) => Ok(UpTo(Some(count))),
                Err(error) => Err(UpToError(error)),
            },
        }
    }
}

impl Display for UpTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => Count(count).fmt(f),
            None => f.pad("off"),
        }
    }
}

/// Why a text is not an [`UpTo`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; or write off")]
pub struct UpToError(CountError);

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

/// A [`Size`] or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeUpTo(pub Option<usize>);

impl FromStr for SizeUpTo {
    type Err = SizeUpToError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "off" => Ok(SizeUpTo(None)),
            _ => match text.parse() {
                Ok(Size(size)) => Ok(SizeUpTo(Some(size))),
                Err(error) => Err(SizeUpToError(error)),
            },
        }
    }
}

impl Display for SizeUpTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) => Size(size).fmt(f),
            None => f.pad("off"),
        }
    }
}

/// Why a text is not a [`SizeUpTo`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; or write off")]
pub struct SizeUpToError(SizeError);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> Duration {
        text.parse::<Time>().unwrap().0
    }

    #[test]
    fn times_as_people_write_them() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("10 s", 10_000),
            (" 10s ", 10_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("8760h", 365 * 24 * 3_600_000),
        ] {
            assert_eq!(time(text), Duration::from_millis(milliseconds), "{text}");
        }
        assert_eq!("off".parse(), Ok(Every(None)));
        assert_eq!("2s".parse(), Ok(Every(Some(Duration::from_secs(2)))));
    }

    #[test]
    fn what_is_no_time_is_told_why() {
        for (text, expected) in [
            ("", "`` is empty; write for example 10s"),
            ("10", "`10` has no unit; write for example 500ms, 10s or 2m"),
            ("-1", "`-1` has no unit"),
            ("1.5", "`1.5` has no unit"),
            ("0s", "`0s` is too short: at least 1ms"),
            ("999us", "`999us` is too short"),
            ("-5s", "`-5s` is negative; write for example 10s"),
            ("8761h", "`8761h` is too long: at most a year"),
            (
                "99999999999999999999h",
                "`99999999999999999999h` is not a time",
            ),
            ("10 parsecs", "`10 parsecs` is not a time"),
            ("soon\n", r"`soon\n` is not a time"),
            ("off", "`off` is not a time"),
        ] {
            let error = text.parse::<Time>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        assert!("OFF!".parse::<Every>().is_err());
    }

    #[test]
    fn counts_may_be_switched_off() {
        assert_eq!("off".parse(), Ok(UpTo(None)));
        assert_eq!(" 50 ".parse(), Ok(UpTo(Some(50))));
        assert_eq!("off".parse(), Ok(SizeUpTo(None)));
        assert_eq!("64KiB".parse(), Ok(SizeUpTo(Some(64 << 10))));
        let error = "much".parse::<SizeUpTo>().unwrap_err().to_string();
        assert!(error.ends_with("; or write off"), "{error}");
        let error = "50/s".parse::<UpTo>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`50/s` is not a whole number; write for example 8; or write off"
        );
    }

    #[test]
    fn what_is_no_count_is_told_why() {
        for (text, expected) in [
            ("", "`` is not a whole number; write for example 8"),
            ("1.5", "`1.5` is not a whole number"),
            ("+1", "`+1` is not a whole number"),
            ("--hops", "`--hops` is not a whole number"),
            (" -1", "` -1` is negative; write for example 8"),
            (
                "18446744073709551616",
                "`18446744073709551616` is too large",
            ),
        ] {
            let error = text.parse::<Count>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("1MiB", 1 << 20),
            ("1MB", 1_000_000),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_why() {
        for (text, expected) in [
            (
                "",
                "`` is not a size; write a whole number with a unit, for example 512B,",
            ),
            ("KiB", "`KiB` is not a size"),
            ("1.5MiB", "`1.5MiB` is not a size"),
            ("-1", "`-1` is not a size"),
            ("+1", "`+1` is not a size"),
            ("1K", "`1K` is not a size"),
            (
                "18446744073709551616",
                "`18446744073709551616` is too large",
            ),
            (
                "18014398509481984KiB",
                "`18014398509481984KiB` is too large",
            ),
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_shown_as_they_would_be_written() {
        for (shown, expected) in [
            (Size(0).to_string(), "0B"),
            (Size(1023).to_string(), "1023B"),
            (Size(65_536).to_string(), "64KiB"),
            (Size((4 << 20) + 65_536).to_string(), "4160KiB"),
            (Size(1_000_000).to_string(), "1MB"),
            (Time(Duration::from_millis(1_500)).to_string(), "1s 500ms"),
            (Time(Duration::from_secs(30)).to_string(), "30s"),
            (Every(None).to_string(), "off"),
            (Count(7).to_string(), "7"),
            (UpTo(Some(7)).to_string(), "7"),
            (UpTo(None).to_string(), "off"),
        ] {
            assert_eq!(shown, expected);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = (text.parse::<Time>(), text.parse::<Every>());
            let _ = (text.parse::<Size>(), text.parse::<Count>());
        }

        #[test]
        fn near_misses_never_panic(text in "[-+]?[0-9.]{0,25} ?(ms|s|m|h|d|KiB|GB|off)?") {
            let _ = (text.parse::<Every>(), text.parse::<Size>(), text.parse::<Count>());
        }

        #[test]
        fn a_time_shown_is_the_time(milliseconds in 1..=DURATION_MAX.as_millis() as u64) {
            let every = Every(Some(Duration::from_millis(milliseconds)));
            prop_assert_eq!(every.to_string().parse(), Ok(every));
        }

        #[test]
        fn a_size_shown_is_the_size(bytes in any::<usize>()) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
            prop_assert_eq!(Count(bytes).to_string().parse(), Ok(Count(bytes)));
        }
    }
}
