//! How much may come in a second, and what happens to who sends more.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use super::{
    Count, Size,
    choice::{ChoiceError, choice},
};

/// What happens to a peer that sends too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooFast {
    /// Its connection is closed with 1008.
    #[default]
    Close,
    /// It is not read until it is within the rate again, so that it has to wait. Nothing is lost.
    Delay,
}

choice!(TooFast, "answer", Close = "close", Delay = "delay");

/// So much a second, with twice as much at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How much.
    pub per_second: usize,
    /// What happens to who sends more.
    pub too_fast: TooFast,
}

impl Rate {
    /// Who sends more is closed.
    pub const fn closing(per_second: usize) -> Self {
        Self {
            per_second,
            too_fast: TooFast::Close,
        }
    }

    /// Who sends more has to wait.
    pub const fn delaying(per_second: usize) -> Self {
        Self {
            per_second,
            too_fast: TooFast::Delay,
        }
    }
}

/// A [`Rate`] of messages or `off`, as people write it: `5000`, `5000,delay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRate(pub Option<Rate>);

/// A [`Rate`] of bytes or `off`, as people write it: `1MiB`, `1MiB,delay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRate(pub Option<Rate>);

impl FromStr for MessageRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        parse(text, |amount| Ok(amount.parse::<Count>()?.0)).map(Self)
    }
}

impl FromStr for ByteRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        parse(text, |amount| Ok(amount.parse::<Size>()?.0)).map(Self)
    }
}

fn parse(
    text: &str,
    amount: impl FnOnce(&str) -> Result<usize, RateError>,
) -> Result<Option<Rate>, RateError> {
    if text.trim() == "off" {
        return Ok(None);
    }
    let (per_second, too_fast) = match text.split_once(',') {
        None => (text, TooFast::default()),
        Some((per_second, answer)) => (per_second, answer.trim().parse()?),
    };
    Ok(Some(Rate {
        per_second: amount(per_second)?,
        too_fast,
    }))
}

impl Display for MessageRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, |rate| Count(rate).to_string(), f)
    }
}

impl Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, |rate| Size(rate).to_string(), f)
    }
}

fn show(
    rate: Option<Rate>,
    amount: impl FnOnce(usize) -> String,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let Some(rate) = rate else {
        return f.pad("off");
    };
    let amount = amount(rate.per_second);
    match rate.too_fast {
        TooFast::Close => f.pad(&amount),
        TooFast::Delay => f.pad(&format!("{amount},{}", rate.too_fast)),
    }
}

/// Why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// What stands there is no number of messages.
    #[error("{0}; or write off")]
    Count(#[from] super::CountError),
    /// What stands there is no number of bytes.
    #[error("{0}; or write off")]
    Size(#[from] super::SizeError),
    /// What stands behind the comma is no answer.
    #[error(transparent)]
    Answer(#[from] ChoiceError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_people_write_them() {
        for (text, rate, shown) in [
            ("off", None, "off"),
            ("50", Some(Rate::closing(50)), "50"),
            (" 50 , close", Some(Rate::closing(50)), "50"),
            ("50,delay", Some(Rate::delaying(50)), "50,delay"),
        ] {
            assert_eq!(text.parse(), Ok(MessageRate(rate)), "{text}");
            assert_eq!(MessageRate(rate).to_string(), shown);
        }
        let rate = ByteRate(Some(Rate::delaying(64 << 20)));
        assert_eq!("64MiB,delay".parse(), Ok(rate));
        assert_eq!(rate.to_string(), "64MiB,delay");
    }

    #[test]
    fn what_is_no_rate_is_told_why() {
        let error = |text: &str| text.parse::<MessageRate>().unwrap_err().to_string();
        assert_eq!(
            error("50/s"),
            "`50/s` is not a whole number; write for example 8; or write off"
        );
        assert_eq!(
            error("50,wait"),
            "`wait` is no answer; expected close or delay"
        );
        assert!(error(",delay").starts_with("`` is not a whole number"));
        let error = "fast,delay".parse::<ByteRate>().unwrap_err().to_string();
        assert!(error.starts_with("`fast` is not a size; ") && error.ends_with("; or write off"));
    }
}
