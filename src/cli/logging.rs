//! Options that say how much is logged.

use clap::{ArgAction, Args};
use log::LevelFilter;

use super::typed::times;

#[derive(Debug, Args)]
pub(super) struct LoggingOptions {
    /// Log more: -v debug, -vv trace
    ///
    /// In the environment a number. Libraries log warnings and errors only. RUST_LOG, if set,
    /// goes before -v and -q and reaches the libraries too: RUST_LOG=wsmesh=debug,mio=trace.
    #[arg(short, long, env = "WSMESH_VERBOSE", action = ArgAction::Count, value_parser = times())]
    verbose: u8,

    /// Log less: -q warnings, -qq errors, -qqq nothing
    ///
    /// In the environment a number. Why the program ended with status 1 is always said,
    /// but for a second Ctrl-C.
    #[arg(short, long, env = "WSMESH_QUIET", action = ArgAction::Count, value_parser = times())]
    quiet: u8,
}

impl LoggingOptions {
    /// What to log where RUST_LOG does not say.
    pub(super) fn level(&self) -> LevelFilter {
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
