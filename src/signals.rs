//! Signals as events of the loop.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use mio::{Interest, Registry};
use signal_hook::{
    consts::{SIGCONT, SIGINT, SIGTERM},
    flag,
};

use crate::net::Source;

/// Exit status when a second signal ends the process at once.
const STATUS_INTERRUPTED: i32 = 1;

pub(crate) struct Signals {
    signals: signal_hook_mio::v1_0::Signals,
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

/// What has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// It is to stop: SIGINT.
    pub(crate) is_stop: bool,
    /// It is to stop, and has time for it: SIGTERM.
    pub(crate) is_drain: bool,
    /// It is to read its files again.
    pub(crate) is_reload: bool,
    /// It goes on after it was stopped, or is in the foreground of its terminal now.
    pub(crate) is_continued: bool,
}

impl Arrived {
    /// It is to stop, in one way or the other.
    pub(crate) fn is_end(self) -> bool {
        self.is_stop || self.is_drain
    }
}

impl Signals {
    /// SIGINT and SIGTERM ask to stop; `others` are of these that are told: SIGHUP, SIGCONT.
    pub(crate) fn new(registry: &Registry, others: &[i32]) -> io::Result<Self> {
        // The second signal must end the process even if the loop does not get to it any more, so
        // it does that in the handler. Handlers run in the order of their registration: the first
        // signal finds the flag down and raises it.
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(
                signal,
                STATUS_INTERRUPTED,
                Arc::clone(&is_second),
            )?;
            flag::register(signal, Arc::clone(&is_second))?;
        }
        let handled = [SIGINT, SIGTERM].iter().chain(others);
        let mut signals = signal_hook_mio::v1_0::Signals::new(handled)?;
        registry.register(&mut signals, Source::Signals.into(), Interest::READABLE)?;
        Ok(Self { signals })
    }

    /// Takes the signals that have arrived.
    pub(crate) fn take(&mut self) -> Arrived {
        let mut arrived = Arrived::default();
        for signal in self.signals.pending() {
            match signal {
                SIGINT => arrived.is_stop = true,
                SIGTERM => arrived.is_drain = true,
                SIGCONT => arrived.is_continued = true,
                _ => arrived.is_reload = true,
            }
        }
        arrived
    }

    /// Takes the signals that have arrived. Returns whether one of them asks to stop.
    pub(crate) fn is_stop_pending(&mut self) -> bool {
        self.take().is_end()
    }
}
