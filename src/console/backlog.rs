//! Lines that wait for their destination, bounded.

use std::io::{self, ErrorKind};

/// Memory that an empty backlog keeps for the next lines.
const KEPT_BYTES: usize = 16 * 1024;

/// Lines on their way to a destination that may take them late or never.
///
/// A line is taken or dropped as a whole. One line may exceed the bound, so that a destination
/// which keeps up gets lines of any length.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    /// How much of `bytes` the destination has taken.
    taken: usize,
    bytes_max: usize,
}

/// What a destination did with a backlog.
#[derive(Debug)]
pub(super) enum Flushed {
    /// It took everything.
    All,
    /// It takes no more for now.
    Stalled,
    /// It takes no more for ever; what was left is gone.
    Closed(io::Error),
}

impl Backlog {
    pub(super) fn new(bytes_max: usize) -> Backlog {
        Backlog {
            bytes: Vec::new(),
            taken: 0,
            bytes_max,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the next line would be one too many.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() - self.taken >= self.bytes_max
    }

    /// The place to append a whole line to, its line feed included. Whoever adds more than
    /// notices asks [`is_full`](Self::is_full) first.
    pub(super) fn line(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Hands over what waits to `write` until it is all gone or `write` takes no more.
    pub(super) fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> Flushed {
        while self.taken < self.bytes.len() {
            match write(&self.bytes[self.taken..]) {
                // No destination says this of a write that is not empty.
                Ok(0) => return self.stalled(),
                Ok(count) => self.taken += count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return self.stalled(),
                    // A disk that is full may have room again.
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => return self.stalled(),
                    _ => {
                        self.clear();
                        return Flushed::Closed(error);
                    }
                },
            }
        }
        self.clear();
        Flushed::All
    }

    fn stalled(&mut self) -> Flushed {
        // Moves less than was taken, so the work stays in proportion to what goes out.
        if self.taken >= self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        Flushed::Stalled
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn put(backlog: &mut Backlog, line: &str) {
        writeln!(backlog.line(), "{line}").unwrap();
    }

    /// Takes `room` bytes in all and then blocks.
    fn narrow(got: &mut Vec<u8>, mut room: usize) -> impl FnMut(&[u8]) -> io::Result<usize> {
        move |bytes| {
            let count = bytes.len().min(room);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            room -= count;
            got.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
    }

    #[test]
    fn keeps_order_and_every_byte_over_partial_writes() {
        let mut backlog = Backlog::new(1024);
        let mut got = Vec::new();
        let mut expected = String::new();
        for number in 0..100 {
            if !backlog.is_full() {
                put(&mut backlog, &format!("line {number}"));
                expected += &format!("line {number}\n");
            }
            backlog.flush(narrow(&mut got, 3));
        }
        assert!(matches!(
            backlog.flush(narrow(&mut got, 4096)),
            Flushed::All
        ));
        assert!(backlog.is_empty());
        assert_eq!(String::from_utf8(got).unwrap(), expected);
    }

    #[test]
    fn is_full_at_the_bound_and_not_before() {
        let mut backlog = Backlog::new(10);
        put(&mut backlog, "12345678");
        assert!(!backlog.is_full(), "9 bytes of 10");
        put(&mut backlog, "a line of any length");
        assert!(backlog.is_full());
        let mut got = Vec::new();
        assert!(matches!(
            backlog.flush(narrow(&mut got, 25)),
            Flushed::Stalled
        ));
        assert!(!backlog.is_full(), "only what still waits counts");
    }

    #[test]
    fn gives_memory_back_after_a_burst() {
        let mut backlog = Backlog::new(1024 * 1024);
        put(&mut backlog, &"x".repeat(1024 * 1024));
        assert!(matches!(
            backlog.flush(|bytes| Ok(bytes.len())),
            Flushed::All
        ));
        assert!(backlog.bytes.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn forgets_everything_when_closed() {
        let mut backlog = Backlog::new(1024);
        put(&mut backlog, "lost");
        let flushed = backlog.flush(|_| Err(ErrorKind::BrokenPipe.into()));
        assert!(matches!(flushed, Flushed::Closed(error) if error.kind() == ErrorKind::BrokenPipe));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_full_disk_is_not_the_end() {
        let mut backlog = Backlog::new(1024);
        put(&mut backlog, "kept");
        let flushed = backlog.flush(|_| Err(ErrorKind::StorageFull.into()));
        assert!(matches!(flushed, Flushed::Stalled));
        let mut got = Vec::new();
        backlog.flush(narrow(&mut got, 100));
        assert_eq!(got, b"kept\n");
    }
}
