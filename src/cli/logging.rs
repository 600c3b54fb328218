//! Options that say how much is logged, and how.

use clap::{ArgAction, Args};
use log::LevelFilter;
use wsmesh::config::{UpTo, limits::LOG_REPEATS_MAX};

use super::typed::{times, typed};
use crate::console::{LogBounds, LogFormat};

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LoggingOptions {
    /// Log more: -v debug, -vv trace
    ///
    /// In the environment a number. Libraries log warnings and errors only. RUST_LOG, if set,
    /// goes before -v and -q and says it by target: RUST_LOG=warn,wsmesh::net::outbound=debug. Targets are what
    /// --log-format json shows.
    #[arg(short, long, env = "WSMESH_VERBOSE", action = ArgAction::Count, value_parser = times())]
    verbose: u8,

    /// Log less: -q warnings, -qq errors, -qqq nothing
    ///
    /// In the environment a number. Why the program ended with status 1 is always said,
    /// but for a second Ctrl-C.
    #[arg(short, long, env = "WSMESH_QUIET", action = ArgAction::Count, value_parser = times())]
    quiet: u8,

    /// text or json
    ///
    /// How log lines are written to standard error. text: for people, in colours on a terminal unless NO_COLOR is
    /// set. json: an object a line, with time in UTC, level, target and message.
    #[arg(long, env = "WSMESH_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_parser = typed::<LogFormat>(), default_value_t = LogFormat::default())]
    pub(crate) log_format: LogFormat,

    /// Log lines alike in a minute, or off
    ///
    /// Lines are alike that come from the same place in the program, whomever they are about. What comes beyond that is
    /// counted and told when the minute is over, and in the next minute it has one line. So nobody can fill the disk.
    #[arg(long, env = "WSMESH_LOG_REPEATS", value_name = "N")]
    #[arg(value_parser = typed::<UpTo>(), default_value_t = UpTo(Some(LOG_REPEATS_MAX)))]
    log_repeats: UpTo,
}

impl LoggingOptions {
    /// Finds a value that nobody means.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.log_repeats {
            UpTo(Some(0)) => Err(
                "--log-repeats 0: nothing would be logged; at least 1, or -qqq if that is meant"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// How much to log; at which level only where RUST_LOG does not say.
    pub(crate) fn bounds(&self) -> LogBounds {
        LogBounds {
            level: self.level(),
            repeats_max: self.log_repeats.0,
        }
    }

    fn level(&self) -> LevelFilter {
        let level = i16::from(self.verbose) - i16::from(self.quiet);
        match level {
            ..=-3 => LevelFilter::Off,
            -2 => LevelFilter::Error,
            -1 => LevelFilter::Warn,
            0 => LevelFilter::Info,
            1 => LevelFilter::Debug,
            2.. => LevelFilter::Trace,
        }
    }
}
