//! Standard input, read without ever waiting, and never from the background of a terminal.
//!
//! As with the streams that are written (see `destination`), the descriptor is shared with others and stays as it is: a
//! **pipe or terminal** is opened once more where that goes, which gives a file description of our own that may be
//! non-blocking. All others but **files** are asked before each read whether there is something; only somebody else
//! who reads from the same could then take it away.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, poll};
use wsmesh::Input;

/// Where bytes come from.
#[derive(Debug)]
pub(crate) struct StdinInput {
    file: File,
    /// Whether a read may wait, so that it is to be asked before.
    may_wait: bool,
    is_terminal: bool,
}

impl StdinInput {
    /// Opens standard input.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub(crate) fn open() -> io::Result<StdinInput> {
        StdinInput::of(io::stdin().as_fd())
    }

    fn of(descriptor: BorrowedFd<'_>) -> io::Result<StdinInput> {
        let file = File::from(descriptor.try_clone_to_owned()?);
        let is_terminal = file.is_terminal();
        let is_file = file.metadata()?.is_file();
        let own = match is_file {
            true => None,
            false => reopen(&file),
        };
        Ok(StdinInput {
            may_wait: own.is_none() && !is_file,
            file: own.unwrap_or(file),
            is_terminal,
        })
    }

    /// Whether somebody else has the terminal, who would lose what is typed. Without job control nobody does.
    fn is_in_background(&self) -> bool {
        self.is_terminal
            && rustix::termios::tcgetpgrp(&self.file)
                .is_ok_and(|group| group != rustix::process::getpgrp())
    }

    fn is_ready(&self) -> io::Result<bool> {
        let mut asked = [PollFd::new(&self.file, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Ok(poll(&mut asked, Some(&now))? > 0)
    }
}

impl Input for StdinInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_in_background() || (self.may_wait && !self.is_ready()?) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.file.read(buffer)
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }
}

/// A non-blocking file description of our own for the same pipe, terminal or device.
fn reopen(file: &File) -> Option<File> {
    if !cfg!(target_os = "linux") {
        // Elsewhere /dev/fd gives the same file description again.
        return None;
    }
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn read(input: &mut StdinInput) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 10];
        let count = input.read(&mut buffer)?;
        Ok(buffer[..count].to_vec())
    }

    #[track_caller]
    fn assert_nothing_now(input: &mut StdinInput) {
        assert_eq!(read(input).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_is_not_waited_for_and_stays_as_it_is_for_others() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut input = StdinInput::of(reader.as_fd()).unwrap();
        assert!(!input.may_wait && input.descriptor().is_some());
        assert_nothing_now(&mut input);
        writer.write_all(b"hi").unwrap();
        assert_eq!(read(&mut input).unwrap(), b"hi");
        assert_nothing_now(&mut input);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1];
            reader.read_exact(&mut buffer).map(|()| buffer)
        });
        // Would have failed had we switched this description.
        writer.write_all(b"x").unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), *b"x");
        drop(writer);
        assert_eq!(read(&mut input).unwrap(), b"");
    }

    #[test]
    fn a_socket_is_asked_first() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let mut input = StdinInput::of(reader.as_fd()).unwrap();
        assert!(input.may_wait);
        assert_nothing_now(&mut input);
        writer.write_all(b"hi").unwrap();
        assert_eq!(read(&mut input).unwrap(), b"hi");
        assert_nothing_now(&mut input);
        drop(writer);
        assert_eq!(read(&mut input).unwrap(), b"");
    }

    #[test]
    fn the_null_device_is_at_its_end() {
        let null = File::open("/dev/null").unwrap();
        let mut input = StdinInput::of(null.as_fd()).unwrap();
        assert_eq!(read(&mut input).unwrap(), b"");
    }
}
