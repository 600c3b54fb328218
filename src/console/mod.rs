//! The standard streams of the program, read and written without ever waiting.
//!
//! The node is one thread: a terminal stopped with Ctrl-S or a pipe that nobody reads must not
//! stop it. So both streams are written without blocking, what does not go is kept up to a
//! bound, what exceeds the bound is dropped in whole lines and counted, and a stream that was
//! closed is left alone.
//!
//! - `destination`: a stream that takes what it can and never waits
//! - `backlog`: the lines that wait for it, bounded
//! - `output`: messages on standard output
//! - `format`: what is written of each
//! - `source`: standard input, which is not waited for either
//! - `logging`: log records as lines
//! - `log_stream`: standard error, where they go
//! - `repeats`: how often each of them may come

mod backlog;
mod destination;
mod format;
mod log_stream;
mod logging;
mod output;
mod repeats;
mod source;

use std::time::Duration;

pub(crate) use format::Format;
pub(crate) use log_stream::{LogFormat, LogStream};
pub(crate) use logging::{LogBounds, start_logging};
pub(crate) use output::StdoutOutput;
pub(crate) use source::StdinInput;

/// How often, and how far apart, the rest is tried when the program ends.
const FINISH_TRIES: u32 = 25;
const FINISH_PAUSE: Duration = Duration::from_millis(20);

/// Calls `flush` until it leaves nothing, for half a second at most. Says whether it succeeded.
fn finish(mut flush: impl FnMut() -> bool) -> bool {
    for _ in 0..FINISH_TRIES {
        if !flush() {
            return true;
        }
        std::thread::sleep(FINISH_PAUSE);
    }
    !flush()
}
