//! What the calls of a host do.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
};

use rand::RngExt;

use super::{
    end::{End, Phase},
    state::{Arrival, Id, ListenerState, State},
};

/// Pieces that the bytes of one write arrive in, at most.
const PIECES_MAX: usize = 3;

/// Ports that are connected from.
const PORT_FIRST: u16 = 32_768;
const PORTS: Id = 28_000;

fn failed<T>(error: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(error))
}

impl State {
    pub(super) fn listen(&mut self, host: usize, address: SocketAddr) -> io::Result<Id> {
        let mut listeners = self.listeners.values();
        if listeners.any(|listener| listener.address == address) {
            return failed(libc::EADDRINUSE);
        }
        let id = self.add_id();
        self.listeners.insert(id, ListenerState::new(host, address));
        Ok(id)
    }

    pub(super) fn connect(
        &mut self,
        host: usize,
        ip: IpAddr,
        to: SocketAddr,
        is_spared: bool,
    ) -> io::Result<Id> {
        self.take_descriptor(host)?;
        let port = PORT_FIRST + (self.next_id % PORTS) as u16;
        let from = SocketAddr::new(ip, port);
        let id = self.add_end(host, from, to, 0, is_spared);
        self.end(id)?.is_held = true;
        let when = self.next_arrival_of(id);
        let link = (host, self.host_at(to).unwrap_or(host));
        self.send(when, link, Arrival::Call { from: id, to });
        Ok(id)
    }

    pub(super) fn accept(&mut self, listener: Id) -> io::Result<(Id, SocketAddr)> {
        let Some(state) = self.listeners.get_mut(&listener) else {
            return failed(libc::EBADF);
        };
        state.accepts += 1;
        let host = state.host;
        self.begin_call(host)?;
        // As in the real kernel: first the descriptor, then a look whether somebody is there.
        self.take_descriptor(host)?;
        let state = self.listeners.get_mut(&listener);
        let Some(id) = state.and_then(|state| state.backlog.pop_front()) else {
            self.hosts[host].sockets -= 1;
            return failed(libc::EWOULDBLOCK);
        };
        if self.end(id)?.is_broken && self.happens(0.5) {
            self.hosts[host].sockets -= 1;
            self.ends.remove(&id);
            return failed(libc::ECONNABORTED);
        }
        self.note("accept", listener, id);
        let end = self.end(id)?;
        end.is_held = true;
        Ok((id, end.remote))
    }

    pub(super) fn read(&mut self, id: Id, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.end(id)?;
        end.reads += 1;
        let (host, waiting) = (end.host, end.received.len());
        self.begin_call(host)?;
        let (blocked, short, cut) = (self.weather.blocked, self.weather.short, self.weather.cut);
        let end = self.end(id)?;
        if end.phase == Phase::Connecting && !end.is_broken {
            return failed(libc::ENOTCONN);
        }
        let is_spared = end.is_spared || end.is_broken;
        if !is_spared && self.happens(cut) {
            // Nothing comes through any more, and the other side is not told.
            self.note("timeout", id, 0);
            self.break_end(id, libc::ETIMEDOUT);
        }
        let end = self.end(id)?;
        if waiting == 0 {
            end.is_end_read = end.has_ended();
            return match end.take_error() {
                Some(error) => Err(error),
                None if end.has_ended() => Ok(0),
                None => failed(libc::EWOULDBLOCK),
            };
        }
        if self.happens(blocked) {
            self.queue(id);
            return failed(libc::EWOULDBLOCK);
        }
        let mut len = waiting.min(buffer.len());
        if len > 1 && self.happens(short) {
            // The rest has come a moment later.
            len = self.rng.random_range(1..len);
            self.queue(id);
        }
        let end = self.end(id)?;
        for (place, byte) in buffer.iter_mut().zip(end.received.drain(..len)) {
            *place = byte;
        }
        let other = end.other;
        self.hosts[host].bytes_received += len as u64;
        self.note("read", id, len as u64);
        let link = self.link_of(id);
        match self.cuts.contains_key(&link) {
            true => self.hold_back(link, Arrival::Room(other, len)),
            false => self.make_room(other, len),
        }
        Ok(len)
    }

    pub(super) fn make_room(&mut self, id: Id, len: usize) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.under_way -= len;
            if end.wants_room && end.is_writable() {
                end.wants_room = false;
                self.queue(id);
            }
        }
    }

    pub(super) fn write(&mut self, id: Id, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let host = self.end(id)?.host;
        self.begin_call(host)?;
        let (blocked, short, cut) = (self.weather.blocked, self.weather.short, self.weather.cut);
        let end = self.end(id)?;
        if let Some(error) = end.take_error() {
            return Err(error);
        }
        if end.is_broken || end.is_writing_ended {
            return failed(libc::EPIPE);
        }
        if end.phase == Phase::Connecting {
            return failed(libc::ENOTCONN);
        }
        let (other, is_spared) = (end.other, end.is_spared);
        let room = end.capacity - end.under_way;
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if room == 0 {
            end.wants_room = true;
            self.note("full", id, 0);
            return failed(libc::EWOULDBLOCK);
        }
        if !is_spared && self.happens(cut) {
            self.note("cut", id, other);
            self.break_end(id, libc::ECONNRESET);
            self.break_end(other, libc::ECONNRESET);
            return failed(libc::ECONNRESET);
        }
        if self.happens(blocked) {
            self.end(id)?.wants_room = true;
            self.note("blocked", id, 0);
            self.make_room(id, 0);
            return failed(libc::EWOULDBLOCK);
        }
        let mut len = wanted.min(room);
        if len > 1 && self.happens(short) {
            len = self.rng.random_range(1..len);
        }
        let end = self.end(id)?;
        end.under_way += len;
        end.wants_room |= len < wanted && end.under_way == end.capacity;
        self.hosts[host].bytes_sent += len as u64;
        self.note("write", id, len as u64);
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.deliver(id, other, &bytes[..len]);
        Ok(len)
    }

    /// Sends bytes on their way, in some pieces.
    fn deliver(&mut self, from: Id, to: Id, mut bytes: &[u8]) {
        for left in (0..PIECES_MAX).rev() {
            let is_last = left == 0 || bytes.len() < 2 || self.rng.random_bool(0.7);
            let len = match is_last {
                true => bytes.len(),
                false => self.rng.random_range(1..bytes.len()),
            };
            let (piece, rest) = bytes.split_at(len);
            let when = self.next_arrival_of(from);
            let link = self.link_of(from);
            self.send(when, link, Arrival::Bytes(to, piece.to_vec(), from));
            bytes = rest;
            if is_last {
                break;
            }
        }
    }

    pub(super) fn end_writing(&mut self, id: Id) -> io::Result<()> {
        let end = self.end(id)?;
        if end.is_broken || end.phase == Phase::Connecting {
            return failed(libc::ENOTCONN);
        }
        if !end.is_writing_ended {
            end.is_writing_ended = true;
            let other = end.other;
            let (when, link) = (self.next_arrival_of(id), self.link_of(id));
            self.send(when, link, Arrival::Fin(other, id));
        }
        Ok(())
    }

    pub(super) fn take_error(&mut self, id: Id) -> Option<io::Error> {
        self.ends.get_mut(&id).and_then(End::take_error)
    }

    pub(super) fn remote(&mut self, id: Id) -> io::Result<SocketAddr> {
        let end = self.end(id)?;
        match end.phase {
            Phase::Connecting => failed(libc::ENOTCONN),
            Phase::Connected => Ok(end.remote),
        }
    }

    /// The program lets go of a socket.
    pub(super) fn close(&mut self, id: Id) {
        let Some(end) = self.ends.remove(&id) else {
            return;
        };
        self.note("close", id, end.received.len() as u64);
        if end.is_held {
            self.hosts[end.host].sockets -= 1;
        }
        if end.is_broken || end.phase == Phase::Connecting {
            return;
        }
        let when = (self.now + self.latency()).max(end.arrives_at);
        let link = (end.host, end.other_host);
        if !end.received.is_empty() {
            self.send(when, link, Arrival::Reset(end.other));
        } else if !end.is_writing_ended {
            self.send(when, link, Arrival::Fin(end.other, id));
        }
    }

    /// As if there were something that nobody has read.
    pub(super) fn reset(&mut self, id: Id) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.received.push_back(0);
        }
    }

    pub(super) fn close_listener(&mut self, id: Id) {
        let Some(listener) = self.listeners.remove(&id) else {
            return;
        };
        for end in listener.backlog {
            self.reset(end);
            self.close(end);
        }
    }

    fn begin_call(&mut self, host: usize) -> io::Result<()> {
        self.hosts[host].calls += 1;
        match self.happens(self.weather.interrupted) {
            true => failed(libc::EINTR),
            false => Ok(()),
        }
    }

    fn take_descriptor(&mut self, host: usize) -> io::Result<()> {
        let host = &mut self.hosts[host];
        if host.sockets >= host.descriptors_max {
            return failed(libc::EMFILE);
        }
        host.sockets += 1;
        Ok(())
    }

    fn end(&mut self, id: Id) -> io::Result<&mut End> {
        match self.ends.get_mut(&id) {
            Some(end) => Ok(end),
            None => failed(libc::EBADF),
        }
    }
}
