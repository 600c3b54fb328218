//! Messages as lines on standard output.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, RawFd};

use jiff::Timestamp;
use log::warn;
use wsmesh::config::limits::OUTPUT_BUFFER_BYTES;
use wsmesh::{Framing, Output, Received};

use super::backlog::{Backlog, Flushed};
use super::destination::Destination;
use super::finish;
use super::format::{Format, Style};

/// Writes each message received to standard output, in a format of choice.
#[derive(Debug)]
pub(crate) struct StdoutOutput {
    destination: Destination,
    style: Style,
    /// The time of the messages of this turn.
    time: Option<Timestamp>,
    /// Whether the other end is gone. The descriptor is kept all the same: its number must not
    /// be given to another while a poll knows it.
    closed: bool,
    backlog: Backlog,
    /// Lines dropped since the destination kept up for the last time.
    dropped: u64,
}

impl StdoutOutput {
    /// Opens standard output.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub(crate) fn open(format: Format, framing: Framing) -> io::Result<StdoutOutput> {
        let stdout = io::stdout();
        let style = Style {
            format,
            framing,
            has_colours: stdout.is_terminal()
                && are_colours_wanted(|name| std::env::var(name).ok()),
        };
        let destination = Destination::new(stdout.as_fd())?;
        Ok(StdoutOutput::to(destination, style))
    }

    fn to(destination: Destination, style: Style) -> StdoutOutput {
        StdoutOutput {
            destination,
            style,
            time: None,
            closed: false,
            backlog: Backlog::new(OUTPUT_BUFFER_BYTES),
            dropped: 0,
        }
    }

    /// Gives what is left half a second to go. For the end of the program, when nothing is kept
    /// waiting any more.
    pub(crate) fn finish(&mut self) {
        if !finish(|| self.flush()) {
            let dropped = self.dropped;
            warn!(
                target: "wsmesh",
                "standard output did not take the last messages; {dropped} were dropped before"
            );
        }
    }
}

impl Output for StdoutOutput {
    fn message(&mut self, received: &Received<'_>) {
        if self.closed {
            return;
        }
        // A turn may gather more than the bound: only what the destination refuses is dropped.
        if self.backlog.is_full() && self.flush() && self.backlog.is_full() {
            if self.dropped == 0 {
                warn!(target: "wsmesh", "standard output is not read: messages are dropped there");
            }
            self.dropped += 1;
            return;
        }
        if !self.closed {
            let time = *self.time.get_or_insert_with(Timestamp::now);
            self.style.write(self.backlog.line(), received, time);
        }
    }

    fn flush(&mut self) -> bool {
        self.time = None;
        if self.backlog.is_empty() {
            return false;
        }
        match self.backlog.flush(|bytes| self.destination.write(bytes)) {
            Flushed::Stalled => return true,
            Flushed::All => {}
            Flushed::Closed(error) => {
                warn!(
                    target: "wsmesh",
                    "standard output is closed, messages are no longer written: {error}"
                );
                self.closed = true;
            }
        }
        if self.dropped > 0 {
            warn!(target: "wsmesh", "standard output missed {} messages", self.dropped);
            self.dropped = 0;
        }
        false
    }

    fn descriptor(&self) -> Option<RawFd> {
        self.destination.descriptor()
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

/// On a terminal that can show them, unless somebody has said otherwise (<https://no-color.org>).
fn are_colours_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_refused && variable("TERM").is_some_and(|terminal| terminal != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use wsmesh::{Message, PeerName};

    #[test]
    fn colours_can_be_refused() {
        let wanted = |variables: &[(&str, &str)]| {
            are_colours_wanted(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let xterm = ("TERM", "xterm");
        assert!(wanted(&[xterm]) && wanted(&[xterm, ("NO_COLOR", "")]));
        assert!(!wanted(&[xterm, ("NO_COLOR", "1")]));
        assert!(!wanted(&[("TERM", "dumb")]) && !wanted(&[]));
    }

    fn send(output: &mut StdoutOutput, text: &str) {
        output.message(&Received {
            from: PeerName::Accepted("127.0.0.1:1".parse().unwrap()),
            path: "/",
            message: &Message::text(text),
        });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_nobody_reads_is_bounded_and_arrives_in_whole_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output =
            StdoutOutput::to(Destination::new(writer.as_fd()).unwrap(), Style::default());
        drop(writer);
        let text = "x".repeat(1000);
        let sent = 5000;
        for _ in 0..sent {
            send(&mut output, &text);
            output.flush();
        }
        assert!(output.flush(), "the pipe is full");
        assert!(output.dropped > 0);
        let kept = sent - output.dropped as usize;

        let got = std::thread::spawn(move || {
            let mut got = String::new();
            reader.read_to_string(&mut got).map(|_| got)
        });
        output.finish();
        assert_eq!(output.dropped, 0, "counted anew after it was said");
        send(&mut output, "and on");
        output.finish();
        drop(output);

        let got = got.join().unwrap().unwrap();
        let line = format!("127.0.0.1:1 {text}");
        assert_eq!(got.lines().filter(|got| *got == line).count(), kept);
        assert_eq!(got.lines().count(), kept + 1);
        assert!(got.ends_with("127.0.0.1:1 and on\n"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_turn_may_gather_more_than_the_bound() {
        let mut file = tempfile();
        let mut output =
            StdoutOutput::to(Destination::new(file.as_fd()).unwrap(), Style::default());
        let text = "x".repeat(OUTPUT_BUFFER_BYTES);
        for _ in 0..3 {
            send(&mut output, &text);
        }
        assert!(!output.flush());
        let mut got = String::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut got).unwrap();
        assert_eq!(got.lines().count(), 3);
    }

    #[test]
    fn a_closed_output_is_left_alone() {
        let (reader, writer) = io::pipe().unwrap();
        let mut output =
            StdoutOutput::to(Destination::new(writer.as_fd()).unwrap(), Style::default());
        drop((reader, writer));
        send(&mut output, "nobody hears this");
        assert!(!output.flush());
        assert!(output.closed);
        let descriptor = output.descriptor();
        send(&mut output, "nor this");
        assert!(output.backlog.is_empty());
        assert_eq!(output.descriptor(), descriptor);
    }

    /// A file without a name.
    #[cfg(target_os = "linux")]
    fn tempfile() -> std::fs::File {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(std::env::temp_dir())
            .unwrap()
    }
}
