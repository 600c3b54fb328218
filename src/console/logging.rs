//! Log records as lines: which of them, and what stands there.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use env_logger::fmt::Formatter;
use env_logger::{Target, WriteStyle};
use jiff::Timestamp;
use log::{LevelFilter, Log, Metadata, Record};
use wsmesh::Printable;

use super::log_stream::{LogFormat, LogStream, OWN_TARGET, json_line};
use super::repeats::{Repeats, Sum, Verdict};

/// Stack of the thread that waits for the end of a minute: it writes some lines.
const STACK_BYTES: usize = 128 * 1024;

/// How much is logged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogBounds {
    /// Our own records; those of the libraries at `warn` at most.
    pub(crate) level: LevelFilter,
    /// Lines of one place in the program in a minute; `None`: any number.
    pub(crate) repeats_max: Option<usize>,
}

/// Starts logging to `stream`; `rust_log` says what at which level, in the syntax of the `RUST_LOG` variable, or if it
/// does not say anything `bounds` do.
///
/// # Errors
/// What is wrong with `rust_log`.
pub(crate) fn start_logging(
    stream: &LogStream,
    bounds: LogBounds,
    rust_log: Option<&str>,
) -> Result<(), String> {
    let style = if is_colourful() {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    };
    let logger = logger(stream, bounds, rust_log, style)?;
    log::set_max_level(logger.shared.inner.filter());
    log::set_boxed_logger(Box::new(logger)).expect("logging is started once, by main");
    Ok(())
}

fn logger(
    stream: &LogStream,
    bounds: LogBounds,
    rust_log: Option<&str>,
    style: WriteStyle,
) -> Result<Logger, String> {
    let mut builder = env_logger::Builder::new();
    match rust_log {
        Some(directives) => {
            check_directives(directives)?;
            builder.parse_filters(directives);
        }
        None => {
            builder.filter_level(bounds.level.min(LevelFilter::Warn));
            builder.filter_module("wsmesh", bounds.level);
        }
    }
    builder.write_style(style);
    builder.target(Target::Pipe(Box::new(stream.clone())));
    let format = stream.format();
    builder.format(match format {
        LogFormat::Text => write_text,
        LogFormat::Json => write_json,
    });
    let inner = builder.build();
    let repeats = bounds.repeats_max.map(Repeats::new).map(Mutex::new);
    let shared = Arc::new(Bounded { inner, repeats });
    Ok(Logger { shared })
}

/// Finds what would be taken for something else than was meant: env_logger itself prints what is wrong, and panics where
/// it cannot.
fn check_directives(directives: &str) -> Result<(), String> {
    let parsed = env_filter::Builder::new().try_parse(directives).map(drop);
    parsed.map_err(|error| error.to_string())?;
    let words = directives.split('/').next().unwrap_or_default().split(',');
    for word in words.map(str::trim).filter(|word| !word.contains('=')) {
        let is_level = word.is_empty() || word.parse::<LevelFilter>().is_ok();
        // The name of a target alone means all of it; a misspelt level would be such a name, and silence the rest.
        if !is_level && word.split("::").next() != Some(OWN_TARGET) {
            return Err(format!(
                "`{word}` is no level; expected off, error, warn, info, debug or trace, or for a target {word}=debug"
            ));
        }
    }
    Ok(())
}

/// What writes records as lines, each place in the program within its bound.
struct Logger {
    shared: Arc<Bounded>,
}

struct Bounded {
    inner: env_logger::Logger,
    /// `None`: there is no bound.
    repeats: Option<Mutex<Repeats>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.shared.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.shared.inner.matches(record) {
            return;
        }
        let Some(mut repeats) = self.shared.lock() else {
            return self.shared.inner.log(record);
        };
        let minute = minute_of(Timestamp::now());
        self.shared.tell(repeats.on_minute(minute));
        match repeats.on_line(record) {
            Verdict::Write => self.shared.inner.log(record),
            Verdict::LeaveOut { is_first: false } => {}
            Verdict::LeaveOut { is_first: true } => self.tell_after(minute),
        }
    }

    /// Tells how much was left out. For the end of the program.
    fn flush(&self) {
        if let Some(mut repeats) = self.shared.lock() {
            self.shared.tell(repeats.take_sums());
        }
    }
}

impl Logger {
    /// Has the sums of this minute told when it is over, also if nothing is logged any more, and without waking the
    /// loop. If there can be no thread for it, they are told before the next line.
    fn tell_after(&self, minute: i64) {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("log".to_owned());
        let _ = thread.stack_size(STACK_BYTES).spawn(move || {
            let mut now = Timestamp::now();
            while minute_of(now) == minute {
                thread::sleep(rest_of_minute(now));
                now = Timestamp::now();
            }
            if let Some(mut repeats) = shared.lock()
                && repeats.is_in(minute)
            {
                shared.tell(repeats.take_sums());
            }
        });
    }
}

impl Bounded {
    fn lock(&self) -> Option<MutexGuard<'_, Repeats>> {
        // A count that is half done is a count all the same.
        let repeats = self.repeats.as_ref()?.lock();
        Some(repeats.unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, sums: Vec<Sum>) {
        for sum in sums {
            self.inner.log(
                &Record::builder()
                    .level(sum.level)
                    .target(&sum.target)
                    .args(format_args!("{}", sum.text))
                    .build(),
            );
        }
    }
}

const MINUTE_MS: i64 = 60_000;

fn minute_of(time: Timestamp) -> i64 {
    time.as_millisecond().div_euclid(MINUTE_MS)
}

fn rest_of_minute(time: Timestamp) -> Duration {
    let rest = MINUTE_MS - time.as_millisecond().rem_euclid(MINUTE_MS);
    Duration::from_millis(rest.unsigned_abs())
}

/// `[2026-11-22T14:05:13Z INFO  wsmesh] text`
///
/// Whatever a record contains, it stays one line without control characters. Those who log what
/// a peer sent use [`Printable`] themselves; this is the second wall.
fn write_text(line: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
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

fn write_json(line: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let text = record.args().to_string();
    line.write_all(json_line(Timestamp::now(), record.level(), record.target(), &text).as_bytes())
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
    use crate::console::destination::Destination;
    use log::Level;
    use std::io::Read;
    use std::os::fd::AsFd;

    const BOUNDS: LogBounds = LogBounds {
        level: LevelFilter::Info,
        repeats_max: None,
    };

    fn log_to(stream: &LogStream, rust_log: Option<&str>) -> Logger {
        logger(stream, BOUNDS, rust_log, WriteStyle::Never).unwrap()
    }

    fn log(logger: &Logger, text: &str) {
        logger.log(
            &Record::builder()
                .level(Level::Info)
                .target("wsmesh")
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn stream_of(format: LogFormat) -> (io::PipeReader, LogStream) {
        let (reader, writer) = io::pipe().unwrap();
        let destination = Destination::new(writer.as_fd()).unwrap();
        (reader, LogStream::to(destination, format))
    }

    fn stream() -> (io::PipeReader, LogStream) {
        stream_of(LogFormat::Text)
    }

    fn read(mut reader: io::PipeReader) -> String {
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        got
    }

    #[test]
    fn a_record_is_one_line_whatever_it_contains() {
        let (reader, stream) = stream();
        let logger = log_to(&stream, None);
        log(
            &logger,
            "peer said\n[2026 INFO wsmesh] forged\r\u{1b}[31m\u{9b}1m\u{202e}",
        );
        drop((logger, stream));
        let got = read(reader);
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
    fn in_json_a_record_is_an_object_of_which_nothing_is_lost() {
        let time = "2026-11-28T14:05:13.123456Z".parse().unwrap();
        assert_eq!(
            json_line(time, Level::Warn, "wsmesh::net", "one"),
            "{\"time\":\"2026-11-28T14:05:13.123Z\",\"level\":\"warn\",\"target\":\"wsmesh::net\",\"message\":\"one\"}\n"
        );
        let (reader, stream) = stream_of(LogFormat::Json);
        let logger = log_to(&stream, None);
        let text = "peer said\n{\"level\":\"forged\"}\r\\u001b \u{1b}[31m\u{202e}";
        log(&logger, text);
        stream.say(text);
        drop((logger, stream));
        let got = read(reader);
        let objects: Vec<serde_json::Value> = got
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(objects.len(), 2, "{got}");
        for (object, level) in objects.iter().zip(["info", "error"]) {
            assert_eq!(object["message"], text);
            assert_eq!(
                (&object["level"], &object["target"]),
                (&level.into(), &"wsmesh".into())
            );
            let time = object["time"].as_str().unwrap();
            assert!(time.parse::<Timestamp>().is_ok() && time.ends_with('Z'));
        }
        let unsafe_ones = |c: char| c.is_control() && c != '\n';
        assert!(!got.contains(unsafe_ones) && !got.contains('\u{202e}'));
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
        let by_target = Some("warn,wsmesh::net::outbound=debug");
        assert!(is_on(by_target, "wsmesh::net::outbound", Level::Debug));
        assert!(!is_on(by_target, "wsmesh::net", Level::Info));
        assert!(is_on(by_target, "wsmesh::node", Level::Warn));
        assert!(is_on(Some("wsmesh::mesh"), "wsmesh::mesh", Level::Trace));
    }

    #[test]
    fn what_is_no_level_is_told() {
        let (_reader, stream) = stream();
        let error = |directives| {
            let logger = logger(&stream, BOUNDS, Some(directives), WriteStyle::Never);
            logger.err().unwrap_or_default()
        };
        for (directives, word) in [
            ("wsmesh=loud", "'loud'"),
            ("warn,wsmesh=loud", "'loud'"),
            ("debgu", "`debgu` is no level; "),
            ("warn, mio ,info", "`mio` is no level; "),
            ("a=b=c", "a=b=c"),
        ] {
            assert!(error(directives).contains(word), "{}", error(directives));
        }
        for right in ["off", "INFO,,mio=warn", "wsmesh::net", "debug/peer"] {
            assert_eq!(error(right), "");
        }
    }

    #[test]
    fn what_comes_again_and_again_is_counted_and_told_at_the_end() {
        let (reader, stream) = stream();
        let bounds = LogBounds {
            repeats_max: Some(2),
            ..BOUNDS
        };
        let logger = logger(&stream, bounds, None, WriteStyle::Never).unwrap();
        // All within a minute, or there are some more lines.
        for _ in 0..1000 {
            log(&logger, "a stranger");
        }
        logger.flush();
        drop((logger, stream));
        let got = read(reader);
        let is_sum = |line: &&str| line.contains("more in the last minute like: a stranger");
        let (sums, lines): (Vec<&str>, Vec<&str>) = got.lines().partition(is_sum);
        let left_out = |line: &&str| -> usize {
            let (_, rest) = line.split_once("] … ").unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        assert!(matches!(lines.len(), 2 | 3) && !sums.is_empty(), "{got}");
        let left_out: usize = sums.iter().map(left_out).sum();
        assert_eq!(lines.len() + left_out, 1000, "{got}");
    }

    #[test]
    fn the_rest_of_a_minute_ends_in_the_next_one() {
        for time in [
            "2026-11-28T14:05:00Z",
            "2026-11-28T14:05:13.123456Z",
            "2026-11-28T14:05:59.999999999Z",
            "1969-12-31T23:59:59.5Z",
        ] {
            let time: Timestamp = time.parse().unwrap();
            let later = time + rest_of_minute(time);
            assert_eq!(minute_of(later), minute_of(time) + 1, "{time}");
            assert!(rest_of_minute(time) <= Duration::from_secs(60));
        }
    }
}
