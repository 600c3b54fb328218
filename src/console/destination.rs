//! A stream of the process that takes what it can and never waits.
//!
//! The descriptors 0 to 2 are shared with the shell and with whatever else runs on the terminal,
//! so switching them to non-blocking would break those. What helps depends on what the
//! descriptor is:
//!
//! - A **pipe or terminal** is opened once more through `/proc/self/fd`, which gives a file
//!   description of our own that may be non-blocking. Linux only.
//! - A **socket** (standard error of a systemd unit, say) cannot be opened like that, but it
//!   can be told with each call not to wait.
//! - A **file** or a device like `/dev/null` does not keep its writers waiting, apart from the
//!   disk.
//!
//! Where the first way is barred (another system, a terminal that belongs to another user,
//! `/proc` not mounted), writing may block: a terminal that was stopped stops the node.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

/// Where lines go; written without waiting.
#[derive(Debug)]
pub(super) struct Destination {
    file: File,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file description of our own, non-blocking: a pipe or a terminal.
    NonBlocking,
    /// Written with `MSG_DONTWAIT`.
    Socket,
    /// Written as it is.
    Plain,
}

impl Destination {
    /// The way to write to a descriptor without waiting, or the next best.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub(super) fn new(descriptor: BorrowedFd<'_>) -> io::Result<Destination> {
        let file = File::from(descriptor.try_clone_to_owned()?);
        let type_of = file.metadata()?.file_type();
        if type_of.is_socket() {
            let kind = Kind::Socket;
            return Ok(Destination { file, kind });
        }
        if (type_of.is_fifo() || file.is_terminal())
            && let Some(file) = reopen(&file)
        {
            let kind = Kind::NonBlocking;
            return Ok(Destination { file, kind });
        }
        let kind = Kind::Plain;
        Ok(Destination { file, kind })
    }

    /// Writes a part of `bytes`, as much as goes at once.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Socket => {
                socket2::SockRef::from(&self.file).send_with_flags(bytes, libc::MSG_DONTWAIT)
            }
            Kind::NonBlocking | Kind::Plain => self.file.write(bytes),
        }
    }

    /// What a poll can wait for: becomes writable when more is taken.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        match self.kind {
            Kind::NonBlocking | Kind::Socket => Some(self.file.as_raw_fd()),
            // The poll refuses files, and needs no telling that they are writable.
            Kind::Plain => None,
        }
    }
}

/// A non-blocking file description of our own for the same pipe or terminal.
fn reopen(file: &File) -> Option<File> {
    if !cfg!(target_os = "linux") {
        // Elsewhere /dev/fd gives the same file description again.
        return None;
    }
    OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// Writes until the destination takes no more.
    fn fill(destination: &mut Destination) -> usize {
        let mut total = 0;
        loop {
            match destination.write(&[b'x'; 4096]) {
                Ok(count) => total += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return total;
                }
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_never_waits_and_stays_blocking_for_others() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut destination = Destination::new(writer.as_fd()).unwrap();
        assert_eq!(destination.kind, Kind::NonBlocking);
        assert!(destination.descriptor().is_some());
        let total = fill(&mut destination);
        assert!(total > 0);

        let thread = std::thread::spawn(move || {
            let mut got = vec![0; total + 1];
            reader.read_exact(&mut got).unwrap();
        });
        // Blocks until the thread has made room; would fail had we switched this description.
        (&writer).write_all(b"y").unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_closed_pipe_is_an_error_and_no_signal() {
        let (reader, writer) = io::pipe().unwrap();
        let mut destination = Destination::new(writer.as_fd()).unwrap();
        drop(reader);
        let error = destination.write(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_socket_never_waits() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let mut destination = Destination::new(writer.as_fd()).unwrap();
        assert_eq!(destination.kind, Kind::Socket);
        assert!(destination.descriptor().is_some());
        fill(&mut destination);
        drop(reader);
        assert!(destination.write(b"x").is_err());
    }

    #[test]
    fn the_null_device_is_written_plainly() {
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let mut destination = Destination::new(null.as_fd()).unwrap();
        assert_eq!(destination.kind, Kind::Plain);
        assert_eq!(destination.descriptor(), None);
        assert_eq!(destination.write(b"abc").unwrap(), 3);
    }
}
