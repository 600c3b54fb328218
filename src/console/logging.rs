//! Log records as lines on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env_logger::{Target, WriteStyle};
use log::{LevelFilter, Record};
use wsmesh::Printable;
use wsmesh::config::limits::LOG_BUFFER_BYTES;

use super::backlog::{Backlog, Flushed};
use super::destination::Destination;
use super::finish;

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
    pub(crate) fn open() -> io::Result<LogStream> {
        Destination::new(io::stderr().as_fd()).map(LogStream::to)
    }

    fn to(destination: Destination) -> LogStream {
        LogStream {
            shared: Arc::new(Mutex::new(Shared {
                destination,
                closed: false,
                backlog: Backlog::new(LOG_BUFFER_BYTES),
                dropped: 0,
            })),
        }
    }

    /// Writes a line of the program's own: `wsmesh: {what}`, regardless of the log's level.
    pub(crate) fn say(&self, what: impl Display) {
        let what = what.to_string();
        self.lock()
            .line(format_args!("wsmesh: {}\n", Printable(&what)));
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
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
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
            let dropped = self.dropped;
            self.put(format_args!(
                "wsmesh: {dropped} log lines are missing here, standard error did not take them\n"
            ));
            self.dropped = 0;
        }
        self.put(line);
        self.flush();
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        let written = self.backlog.line().write_fmt(line);
        written.expect("a Vec takes everything");
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
        self.lock()
            .line(format_args!("{}", String::from_utf8_lossy(line)));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging to `stream`: our own records at `level`, those of the libraries at `warn` at
/// most; or whatever `rust_log` says in the syntax of the `RUST_LOG` variable.
///
/// # Errors
/// What is wrong with `rust_log`.
pub(crate) fn start_logging(
    stream: &LogStream,
    level: LevelFilter,
    rust_log: Option<&str>,
) -> Result<(), env_filter::ParseError> {
    let mut builder = builder(level, rust_log)?;
    let style = if is_colourful() {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    };
    builder
        .write_style(style)
        .target(Target::Pipe(Box::new(stream.clone())))
        .try_init()
        .expect("logging is started once, by main");
    Ok(())
}

fn builder(
    level: LevelFilter,
    rust_log: Option<&str>,
) -> Result<env_logger::Builder, env_filter::ParseError> {
    let mut builder = env_logger::Builder::new();
    builder.format(write_record);
    match rust_log {
        Some(directives) => {
            // env_logger itself would print what is wrong, and panic where it cannot.
            env_filter::Builder::new().try_parse(directives)?;
            builder.parse_filters(directives);
        }
        None => {
            builder.filter_level(level.min(LevelFilter::Warn));
            builder.filter_module("wsmesh", level);
        }
    }
    Ok(builder)
}

/// `[2026-11-22T14:05:13Z INFO  wsmesh] text`
///
/// Whatever a record contains, it stays one line without control characters. Those who log what
/// a peer sent use [`Printable`] themselves; this is the second wall.
fn write_record(line: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = line.timestamp();
    let level = record.level();
    let style = line.default_level_style(level);
    // The library it comes from; which module of it is nobody's business at a terminal.
    let target = record.target().split("::").next().unwrap_or_default();
    let target = Printable(target);
    let text = record.args().to_string();
    let text = Printable(&text);
    writeln!(line, "[{time} {style}{level:<5}{style:#} {target}] {text}")
}

/// Whether standard error is a terminal whose user wants colours (<https://no-color.org>).
fn is_colourful() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !no_color && !dumb
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::{Level, Log};
    use std::io::Read;

    fn log_to(stream: &LogStream, rust_log: Option<&str>) -> env_logger::Logger {
        let mut builder = builder(LevelFilter::Info, rust_log).unwrap();
        let target = Target::Pipe(Box::new(stream.clone()));
        builder
            .write_style(WriteStyle::Never)
            .target(target)
            .build()
    }

    fn log(logger: &env_logger::Logger, text: &str) {
        logger.log(
            &Record::builder()
                .level(Level::Info)
                .target("wsmesh")
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn stream() -> (io::PipeReader, LogStream) {
        let (reader, writer) = io::pipe().unwrap();
        let destination = Destination::new(writer.as_fd()).unwrap();
        (reader, LogStream::to(destination))
    }

    #[test]
    fn a_record_is_one_line_whatever_it_contains() {
        let (mut reader, stream) = stream();
        let logger = log_to(&stream, None);
        log(
            &logger,
            "peer said\n[2026 INFO wsmesh] forged\r\u{1b}[31m\u{9b}1m\u{202e}",
        );
        drop((logger, stream));
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        let (head, text) = got.split_once("] ").unwrap();
        assert!(
            head.starts_with('[') && head.ends_with(" INFO  wsmesh"),
            "{head}"
        );
        assert_eq!(
            text,
            "peer said\\n[2026 INFO wsmesh] forged\\r\\u{1b}[31m\\u{9b}1m\\u{202e}\n"
        );
    }

    #[test]
    fn the_level_is_ours_and_libraries_speak_when_something_is_wrong() {
        let (_reader, stream) = stream();
        let is_on = |rust_log, target, level| {
            let metadata = log::Metadata::builder().target(target).level(level).build();
            log_to(&stream, rust_log).enabled(&metadata)
        };
        assert!(is_on(None, "wsmesh", Level::Info));
        assert!(is_on(None, "wsmesh::net", Level::Info));
        assert!(!is_on(None, "wsmesh", Level::Debug));
        assert!(is_on(None, "mio", Level::Warn));
        assert!(!is_on(None, "mio", Level::Info));
        assert!(is_on(Some("mio=trace"), "mio::poll", Level::Trace));
        assert!(!is_on(Some("mio=trace"), "wsmesh", Level::Error));
        assert!(builder(LevelFilter::Info, Some("wsmesh=loud")).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_stalled_stream_loses_lines_and_says_how_many() {
        let (mut reader, stream) = stream();
        let logger = log_to(&stream, None);
        let text = "x".repeat(1000);
        let sent = 1000;
        for _ in 0..sent {
            log(&logger, &text);
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
            log(&logger, "after");
        }
        while !stream.lock().backlog.is_empty() {
            stream.lock().flush();
        }
        drop((logger, stream));
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
        let logger = log_to(&stream, None);
        log(&logger, "nobody hears this");
        assert!(stream.lock().closed);
        stream.say("nor this");
        assert!(stream.lock().backlog.is_empty());
    }
}
