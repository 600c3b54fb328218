//! One end of a simulated connection: what has come, what is under way, what the poll has to tell.

use std::{collections::VecDeque, io, net::SocketAddr, time::Instant};

use super::state::Id;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Connected,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) host: usize,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) other: Id,
    /// Where that is.
    pub(super) other_host: usize,
    pub(super) phase: Phase,
    /// A program holds its descriptor; until it is accepted, nobody does.
    pub(super) is_held: bool,
    pub(super) is_spared: bool,
    /// What can be read.
    pub(super) received: VecDeque<u8>,
    /// Nothing will come after that.
    pub(super) is_ended: bool,
    /// What has happened to it, to be told once.
    pub(super) error: Option<i32>,
    pub(super) is_broken: bool,
    /// A read has told that there will be nothing more.
    pub(super) is_end_read: bool,
    /// Bytes sent that the other end has not read.
    pub(super) under_way: usize,
    pub(super) capacity: usize,
    /// A write has found no room: the poll is to tell when there is.
    pub(super) wants_room: bool,
    pub(super) is_writing_ended: bool,
    /// Nothing that is sent later arrives before that.
    pub(super) arrives_at: Instant,
    pub(super) token: Option<mio::Token>,
    pub(super) is_queued: bool,
    pub(super) reads: u64,
}

impl End {
    pub(super) fn is_readable(&self) -> bool {
        !self.received.is_empty() || self.has_ended()
    }

    /// As in the real kernel, a third of the room must be free.
    pub(super) fn is_writable(&self) -> bool {
        let has_room = 3 * (self.capacity - self.under_way) >= self.capacity;
        self.is_broken || self.phase == Phase::Connected && has_room
    }

    pub(super) fn has_ended(&self) -> bool {
        self.is_ended || self.is_broken
    }

    /// There is something that no read has told.
    pub(super) fn has_news(&self) -> bool {
        !self.received.is_empty() || self.has_ended() && !self.is_end_read
    }

    /// The error, if it was not told yet.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take().map(io::Error::from_raw_os_error)
    }

    pub(super) fn break_with(&mut self, error: i32) {
        if !self.is_broken {
            self.is_broken = true;
            self.error = Some(error);
        }
    }
}
