//! Messages as lines on standard output.

use std::io::{self, Write};
use std::os::fd::{AsFd, RawFd};

use log::warn;
use wsmesh::config::limits::OUTPUT_BUFFER_BYTES;
use wsmesh::{Excerpt, Message, Output, PeerName, Printable, Received};

use super::backlog::{Backlog, Flushed};
use super::destination::Destination;
use super::finish;

/// Bytes of a binary message that are shown.
const HEX_BYTES_MAX: usize = 32;

/// Writes each message received as one line to standard output.
///
/// `{who} {text}` for text, `{who} [binary, {length} bytes] {hex}` for bytes, of which the first
/// 32 are shown. `who` is the URL of a peer that was dialed, or the address of one that was
/// accepted, or the short id of the node at which a message was published; the latter two are followed by
/// the path, which is the channel, unless that is `/`. What peers chose goes through [`Printable`].
#[derive(Debug)]
pub(crate) struct StdoutOutput {
    destination: Destination,
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
    pub(crate) fn open() -> io::Result<StdoutOutput> {
        Destination::new(io::stdout().as_fd()).map(StdoutOutput::to)
    }

    fn to(destination: Destination) -> StdoutOutput {
        StdoutOutput {
            destination,
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
            write_line(self.backlog.line(), received).expect("a Vec takes everything");
        }
    }

    fn flush(&mut self) -> bool {
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
}

fn write_line(line: &mut Vec<u8>, received: &Received<'_>) -> io::Result<()> {
    write!(line, "{}", received.from)?;
    let is_in_url = matches!(received.from, PeerName::Dialed(_));
    if !is_in_url && received.path != "/" {
        write!(line, "{}", Excerpt(received.path))?;
    }
    match received.message {
        Message::Text(text) => writeln!(line, " {}", Printable(text.as_str())),
        Message::Binary(bytes) => {
            write!(line, " [binary, {} bytes]", bytes.len())?;
            for (at, byte) in bytes.iter().take(HEX_BYTES_MAX).enumerate() {
                let before = if at == 0 { " " } else { "" };
                write!(line, "{before}{byte:02x}")?;
            }
            let cut = bytes.len() > HEX_BYTES_MAX;
            writeln!(line, "{}", if cut { "…" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn line(from: &str, path: &str, message: Message) -> String {
        let url;
        let from = match (from.parse(), from.parse()) {
            (Ok(address), _) => PeerName::Accepted(address),
            (_, Ok(id)) => PeerName::Origin(id),
            _ => {
                url = from.parse().unwrap();
                PeerName::Dialed(&url)
            }
        };
        let mut line = Vec::new();
        let message = &message;
        write_line(
            &mut line,
            &Received {
                from,
                path,
                message,
            },
        )
        .unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_says_who_and_what() {
        assert_eq!(
            line("127.0.0.1:5321", "/", Message::text("hello")),
            "127.0.0.1:5321 hello\n"
        );
        assert_eq!(
            line("[::1]:5321", "/sensors", Message::text("")),
            "[::1]:5321/sensors \n"
        );
        assert_eq!(
            line("ws://host/sensors", "/sensors", Message::text("hi")),
            "ws://host/sensors hi\n"
        );
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(line(id, "/", Message::text("hi")), "01234567 hi\n");
        assert_eq!(
            line(id, "/\u{7}", Message::text("hi")),
            "01234567/\\u{7} hi\n"
        );
    }

    #[test]
    fn bytes_are_shown_in_hex_up_to_a_bound() {
        let bytes = |count: u8| Message::binary((0..count).collect::<Vec<_>>());
        let peer = "127.0.0.1:1";
        assert_eq!(line(peer, "/", bytes(0)), "127.0.0.1:1 [binary, 0 bytes]\n");
        assert_eq!(
            line(peer, "/", bytes(3)),
            "127.0.0.1:1 [binary, 3 bytes] 000102\n"
        );
        let shown = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        assert_eq!(
            line(peer, "/", bytes(32)),
            format!("127.0.0.1:1 [binary, 32 bytes] {shown}\n")
        );
        assert_eq!(
            line(peer, "/", bytes(33)),
            format!("127.0.0.1:1 [binary, 33 bytes] {shown}…\n")
        );
    }

    #[test]
    fn a_peer_cannot_forge_lines_or_steer_the_terminal() {
        let text = "x\r\n127.0.0.1:1 forged\u{1b}[2J\u{9b}2J\u{202e}";
        assert_eq!(
            line("127.0.0.1:2", "/\n\u{1b}]0;x\u{7}", Message::text(text)),
            "127.0.0.1:2/\\n\\u{1b}]0;x\\u{7} \
             x\\r\\n127.0.0.1:1 forged\\u{1b}[2J\\u{9b}2J\\u{202e}\n"
        );
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
        let mut output = StdoutOutput::to(Destination::new(writer.as_fd()).unwrap());
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
        let mut output = StdoutOutput::to(Destination::new(file.as_fd()).unwrap());
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
        let mut output = StdoutOutput::to(Destination::new(writer.as_fd()).unwrap());
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
