//! Standard error, written without waiting.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use log::Level;
use wsmesh::config::limits::LOG_BUFFER_BYTES;
use wsmesh::{Printable, Quoted};

use super::backlog::{Backlog, Flushed};
use super::destination::Destination;
use super::finish;
use super::format::Time;

/// What the program itself says, whatever is logged.
pub(super) const OWN_TARGET: &str = "wsmesh";

/// What is written of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A line for programs, of which nothing is lost.
    Json,
}

/// A text that is no [`LogFormat`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no format of the log; expected text or json", Printable(.0))]
pub(crate) struct LogFormatError(String);

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogFormatError(text.to_owned())),
        }
    }
}

impl Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Standard error, shared between the logger and the last words of the program.
///
/// A line that standard error does not take is kept until the next one is logged, up to
/// [`LOG_BUFFER_BYTES`]; beyond that, lines are dropped, counted, and missed in the next line
/// that goes.
#[derive(Debug, Clone)]
pub(crate) struct LogStream {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    destination: Destination,
    format: LogFormat,
    /// Whether the other end is gone.
    closed: bool,
    backlog: Backlog,
    /// Lines dropped and not reported yet.
    dropped: u64,
}

impl LogStream {
    /// Opens standard error.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub(crate) fn open(format: LogFormat) -> io::Result<LogStream> {
        let destination = Destination::new(io::stderr().as_fd())?;
        Ok(LogStream::to(destination, format))
    }

    pub(super) fn to(destination: Destination, format: LogFormat) -> LogStream {
        LogStream {
            shared: Arc::new(Mutex::new(Shared {
                destination,
                format,
                closed: false,
                backlog: Backlog::new(LOG_BUFFER_BYTES),
                dropped: 0,
            })),
        }
    }

    /// What is written of each record.
    pub(super) fn format(&self) -> LogFormat {
        self.lock().format
    }

    /// Writes a line of the program's own: `wsmesh: {what}`, regardless of the log's level.
    pub(crate) fn say(&self, what: impl Display) {
        let mut shared = self.lock();
        let line = shared.format.own_line(Level::Error, &what.to_string());
        shared.line(&line);
    }

    /// Gives what is left half a second to go. For the end of the program.
    pub(crate) fn finish(&self) {
        finish(|| {
            let mut shared = self.lock();
            shared.flush();
            !shared.backlog.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing that is half done here could mislead the next line.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn line(&mut self, line: &str) {
        if self.closed {
            return;
        }
        if self.backlog.is_full() || self.dropped > 0 {
            self.flush();
        }
        if self.backlog.is_full() {
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 {
            let what = format!(
                "{} log lines are missing here, standard error did not take them",
                self.dropped
            );
            self.put(&self.format.own_line(Level::Warn, &what));
            self.dropped = 0;
        }
        self.put(line);
        self.flush();
    }

    fn put(&mut self, line: &str) {
        self.backlog.line().extend_from_slice(line.as_bytes());
    }

    fn flush(&mut self) {
        let flushed = self.backlog.flush(|bytes| self.destination.write(bytes));
        // There is nobody left to tell.
        self.closed |= matches!(flushed, Flushed::Closed(_));
    }
}

/// The logger hands over each record in one piece.
impl Write for LogStream {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lock().line(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One object: `time`, `level`, `target` and `message`.
pub(super) fn json_line(time: Timestamp, level: Level, target: &str, message: &str) -> String {
    let (time, level) = (Time(time), level.as_str().to_ascii_lowercase());
    let (target, message) = (Quoted(target), Quoted(message));
    format!(
        "{{\"time\":\"{time}\",\"level\":\"{level}\",\"target\":{target},\"message\":{message}}}\n"
    )
}

impl LogFormat {
    /// A line of the program's own.
    fn own_line(self, level: Level, what: &str) -> String {
        match self {
            Self::Text => format!("{OWN_TARGET}: {}\n", Printable(what)),
            Self::Json => json_line(Timestamp::now(), level, OWN_TARGET, what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn stream() -> (io::PipeReader, LogStream) {
        let (reader, writer) = io::pipe().unwrap();
        let destination = Destination::new(writer.as_fd()).unwrap();
        (reader, LogStream::to(destination, LogFormat::Text))
    }

    fn log(stream: &LogStream, text: &str) {
        stream.lock().line(&format!("{text}\n"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_stalled_stream_loses_lines_and_says_how_many() {
        let (mut reader, stream) = stream();
        let text = "x".repeat(1000);
        let sent = 1000;
        for _ in 0..sent {
            log(&stream, &text);
        }
        let dropped = stream.lock().dropped;
        assert!(dropped > 0 && dropped < sent);

        let mut pipe_full = vec![0; 32 * 1024];
        reader.read_exact(&mut pipe_full).unwrap();
        let got = std::thread::spawn(move || {
            let mut got = String::from_utf8(pipe_full).unwrap();
            reader.read_to_string(&mut got).map(|_| got)
        });
        while stream.lock().dropped > 0 {
            log(&stream, "after");
        }
        while !stream.lock().backlog.is_empty() {
            stream.lock().flush();
        }
        drop(stream);
        let got = got.join().unwrap().unwrap();
        let missed = got
            .lines()
            .find(|line| line.contains("missing here"))
            .unwrap();
        let missed = missed.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
        assert!(missed >= dropped);
        assert_eq!(
            got.lines().filter(|line| line.ends_with(&text)).count() as u64,
            sent - dropped
        );
    }

    #[test]
    fn a_closed_stream_is_left_alone() {
        let (reader, stream) = stream();
        drop(reader);
        log(&stream, "nobody hears this");
        assert!(stream.lock().closed);
        stream.say("nor this");
        assert!(stream.lock().backlog.is_empty());
    }
}
