//! A simulated kernel: hosts with descriptors, sockets between them, and a poll, in a time of its own.
//!
//! It keeps what a program may rely on and nothing more. An edge is told once, when something has changed, and what
//! is told is how things stand when the poll is asked. A read may bring less than has come, a write may take less
//! than there is room for, both may be interrupted or blocked, as long as an edge follows where the real kernel gives
//! one. What is sent arrives in pieces, later, and in order. A socket that is closed with bytes that nobody has read
//! resets the other end. The same seed makes the same world.
#![cfg_attr(
    not(test),
    allow(dead_code, reason = "fuzzing does not take all of it")
)]

mod calls;
mod end;
mod links;
mod state;

use std::{
    cell::RefCell,
    fmt,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    ops::Range,
    rc::Rc,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};

use self::state::{Id, State};
use super::Readiness;

/// How likely what is rare in life is here, as shares of all calls.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// A call is interrupted by a signal.
    pub(crate) interrupted: f64,
    /// A read or write stops short.
    pub(crate) short: f64,
    /// It has to wait for what comes a moment later.
    pub(crate) blocked: f64,
    /// A connection that is not spared is cut by what lies between: at a write both ends are told, at a read one.
    pub(crate) cut: f64,
    /// How long bytes are under way.
    pub(crate) latency: Range<Duration>,
    /// How many bytes may be under way or unread.
    pub(crate) capacity: Range<usize>,
}

/// All hosts and what is between them.
#[derive(Clone)]
pub(crate) struct World(Rc<RefCell<State>>);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of it would be told with every socket.
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather, now: Instant) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self(Rc::new(RefCell::new(State::new(rng, weather, now))))
    }

    /// A machine at an address that may have so many sockets. With `is_spared`, what it dials is not cut by the weather.
    pub(crate) fn host(&self, ip: IpAddr, descriptors_max: usize, is_spared: bool) -> Host {
        let number = self.0.borrow_mut().add_host(descriptors_max);
        let world = self.clone();
        Host {
            world,
            number,
            ip,
            is_spared,
        }
    }

    /// When something arrives next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.borrow().next()
    }

    /// Lets everything arrive that is due.
    pub(crate) fn advance(&self, now: Instant) {
        self.0.borrow_mut().advance(now);
    }

    /// Changes what is likely from now on.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.0.borrow_mut().weather = weather;
    }

    /// Nothing comes through from one host to another any more, and nobody is told.
    pub(crate) fn cut(&self, from: &Host, to: &Host) {
        self.0.borrow_mut().cut((from.number, to.number));
    }

    /// Everything comes through again.
    pub(crate) fn heal(&self, from: &Host, to: &Host) {
        self.0.borrow_mut().heal((from.number, to.number));
    }

    /// Adds something to what tells two runs apart.
    pub(crate) fn note(&self, what: &'static str, who: u64, value: u64) {
        self.0.borrow_mut().note(what, who, value);
    }

    /// A number for all that has happened.
    pub(crate) fn trace(&self) -> u64 {
        self.0.borrow().trace()
    }

    /// What has happened last, one a line.
    pub(crate) fn last_words(&self) -> String {
        self.0.borrow().last_words()
    }
}

/// What a host sees of one socket of its own; for those who look whether all is well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glimpse {
    pub(crate) token: mio::Token,
    pub(crate) is_listener: bool,
    /// Bytes or an end are there.
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
    /// The poll will tell of it.
    pub(crate) is_queued: bool,
    /// How often it was read, or accepted from.
    pub(crate) reads: u64,
}

/// One machine, with one program on it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    world: World,
    number: usize,
    ip: IpAddr,
    is_spared: bool,
}

impl Host {
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let id = self.state(|state| state.listen(self.number, address))?;
        let world = self.world.clone();
        Ok(Listener { world, id, address })
    }

    /// Starts to connect.
    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<Socket> {
        self.connect_from(self.ip, to, self.is_spared)
    }

    /// Starts to connect from another address than its own, which machines in tests can.
    pub(crate) fn connect_from(
        &self,
        ip: IpAddr,
        to: SocketAddr,
        is_spared: bool,
    ) -> io::Result<Socket> {
        let id = self.state(|state| state.connect(self.number, ip, to, is_spared))?;
        let world = self.world.clone();
        Ok(Socket { world, id })
    }

    /// What is ready, of at most so many sockets.
    pub(crate) fn poll(&self, max: usize) -> Vec<Readiness> {
        self.state(|state| state.poll(self.number, max))
    }

    /// Whether the poll would tell something.
    pub(crate) fn is_ready(&self) -> bool {
        self.state(|state| state.is_ready(self.number))
    }

    pub(crate) fn set_descriptors_max(&self, max: usize) {
        self.state(|state| state.hosts[self.number].descriptors_max = max);
    }

    /// Sockets that are held, without those that listen.
    pub(crate) fn sockets(&self) -> usize {
        self.state(|state| state.hosts[self.number].sockets)
    }

    /// Bytes that its sockets have taken, and given.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.state(|state| {
            let host = &state.hosts[self.number];
            (host.bytes_sent, host.bytes_received)
        })
    }

    /// Calls of any kind.
    pub(crate) fn calls(&self) -> u64 {
        self.state(|state| state.hosts[self.number].calls)
    }

    pub(crate) fn glimpses(&self) -> Vec<Glimpse> {
        self.state(|state| state.glimpses(self.number))
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.world.0.borrow_mut())
    }
}

/// What the poll can tell of.
pub(crate) trait Watched {
    /// Has the poll tell of each change from now on.
    fn watch(&self, token: mio::Token) -> io::Result<()>;
}

/// One end of a connection. To drop it is to close it.
#[derive(Debug)]
pub(crate) struct Socket {
    world: World,
    id: Id,
}

impl Socket {
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world.0.borrow_mut().read(self.id, buffer)
    }

    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.world.0.borrow_mut().write(self.id, slices)
    }

    pub(crate) fn end_writing(&self) -> io::Result<()> {
        self.world.0.borrow_mut().end_writing(self.id)
    }

    /// Closes with a reset, whatever was read.
    pub(crate) fn reset(self) {
        self.world.0.borrow_mut().reset(self.id);
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.world.0.borrow_mut().take_error(self.id)
    }

    pub(crate) fn remote(&self) -> io::Result<SocketAddr> {
        self.world.0.borrow_mut().remote(self.id)
    }
}

impl Watched for Socket {
    fn watch(&self, token: mio::Token) -> io::Result<()> {
        self.world.0.borrow_mut().watch(self.id, token);
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.world.0.borrow_mut().close(self.id);
    }
}

/// A listening socket. To drop it is to close it.
#[derive(Debug)]
pub(crate) struct Listener {
    world: World,
    id: Id,
    address: SocketAddr,
}

impl Listener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (id, remote) = self.world.0.borrow_mut().accept(self.id)?;
        let world = self.world.clone();
        Ok((Socket { world, id }, remote))
    }
}

impl Watched for Listener {
    fn watch(&self, token: mio::Token) -> io::Result<()> {
        self.world.0.borrow_mut().watch(self.id, token);
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.world.0.borrow_mut().close_listener(self.id);
    }
}
