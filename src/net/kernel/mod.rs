//! What the network has of the operating system: sockets, and word of which are ready. Nothing else here opens
//! or registers one. In tests and for fuzzing there is a simulated kernel beside the real one; the program knows the real one only.

#[cfg(any(test, fuzzing))]
mod either;
#[cfg(any(test, fuzzing))]
pub(crate) mod simulated;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

#[cfg(not(any(test, fuzzing)))]
pub(crate) use mio::net::{TcpListener as Listener, TcpStream as Stream};
use mio::{Interest, Registry, event::Event};

#[cfg(any(test, fuzzing))]
pub(crate) use self::either::{Listener, Stream};
use super::{socket, token::Source};

/// The poll says that something is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub(crate) source: Source,
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
    /// The other side sends no more, or the socket has failed.
    pub(crate) is_end: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        Self {
            source: event.token().into(),
            is_readable: event.is_readable(),
            is_writable: event.is_writable(),
            is_end: event.is_read_closed() || event.is_error(),
        }
    }
}

/// Where sockets come from.
#[derive(Debug)]
pub(crate) struct Kernel {
    registry: Registry,
    /// Listening sockets that were open already, until somebody wants to listen there.
    passed: Vec<(SocketAddr, TcpListener)>,
    #[cfg(any(test, fuzzing))]
    simulated: Option<simulated::Host>,
}

impl Kernel {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            passed: Vec::new(),
            #[cfg(any(test, fuzzing))]
            simulated: None,
        }
    }

    /// … that has these listening sockets already.
    pub(crate) fn with_sockets(self, sockets: Vec<TcpListener>) -> Self {
        let sockets = sockets.into_iter();
        // Only what is no socket has no address.
        let passed = sockets.filter_map(|socket| Some((socket.local_addr().ok()?, socket)));
        Self {
            passed: passed.collect(),
            ..self
        }
    }

    /// Where sockets listen that nobody has wanted yet.
    pub(crate) fn passed(&self) -> impl Iterator<Item = SocketAddr> {
        self.passed.iter().map(|(address, _)| *address)
    }

    /// The sockets are those of a simulated host; nothing is registered with the real poll.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn simulated(registry: Registry, host: simulated::Host) -> Self {
        Self {
            registry,
            passed: Vec::new(),
            simulated: Some(host),
        }
    }

    /// Opens a listening socket, or takes the one that is open there.
    ///
    /// # Errors
    /// The address is not ours, or in use.
    pub(crate) fn listen(
        &mut self,
        address: SocketAddr,
        unacknowledged_max: Duration,
    ) -> io::Result<Listener> {
        #[cfg(any(test, fuzzing))]
        if let Some(host) = &self.simulated {
            return host.listen(address).map(Listener::Simulated);
        }
        let mut passed = self.passed();
        let place = passed.position(|passed| is_same(passed, address));
        drop(passed);
        let listener = match place {
            Some(place) => {
                let (address, socket) = self.passed.swap_remove(place);
                log::info!("{address} is open already, and taken over");
                socket::take_over(socket, unacknowledged_max)?
            }
            None => socket::listen(address, unacknowledged_max)?,
        };
        #[cfg(any(test, fuzzing))]
        let listener = Listener::Real(listener);
        Ok(listener)
    }

    /// Starts to connect, from one of our addresses and ports or from any.
    ///
    /// # Errors
    /// There is no descriptor or no port for it, or no way to there; the port is in use, or the address is not ours.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        source: Option<SocketAddr>,
        unacknowledged_max: Duration,
    ) -> io::Result<Stream> {
        #[cfg(any(test, fuzzing))]
        if let Some(host) = &self.simulated {
            return host.connect(address).map(Stream::Simulated);
        }
        let stream = socket::connect(address, source, unacknowledged_max)?;
        #[cfg(any(test, fuzzing))]
        let stream = Stream::Real(stream);
        Ok(stream)
    }

    /// Has the poll tell once of each change: that there is something to accept.
    pub(crate) fn watch_listener(&self, listener: &mut Listener, source: Source) -> io::Result<()> {
        self.registry
            .register(listener, source.into(), Interest::READABLE)
    }

    /// Has the poll tell once of each change: that more has come, that more can be sent, that it has ended.
    pub(crate) fn watch_stream(&self, stream: &mut Stream, source: Source) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(stream, source.into(), interest)
    }
}

/// Whether two addresses are one to listen on.
pub(crate) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

/// The options of an accepted connection that it did not inherit.
pub(crate) fn tune_accepted(stream: &Stream, unacknowledged_max: Duration) {
    #[cfg(any(test, fuzzing))]
    let stream = match stream {
        Stream::Real(stream) => stream,
        Stream::Simulated(_) => return,
    };
    socket::tune_accepted(stream, unacknowledged_max);
}
