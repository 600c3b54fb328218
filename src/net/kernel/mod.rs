//! What the network has of the operating system: sockets, and word of which are ready. Nothing else here opens
//! or registers one, so that what stands behind it can be another thing than the real one.

use std::{io, net::SocketAddr, time::Duration};

pub(crate) use mio::net::{TcpListener as Listener, TcpStream as Stream};
use mio::{Interest, Registry, event::Event};

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
}

impl Kernel {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry }
    }

    /// Opens a listening socket.
    ///
    /// # Errors
    /// The address is not ours, or in use.
    pub(crate) fn listen(
        &self,
        address: SocketAddr,
        unacknowledged_max: Duration,
    ) -> io::Result<Listener> {
        socket::listen(address, unacknowledged_max)
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
        let stream = match source {
            Some(source) => socket::connect_from(source, address)?,
            None => Stream::connect(address)?,
        };
        socket::tune_dialed(&stream, unacknowledged_max);
        Ok(stream)
    }

    /// Sets the options of an accepted connection.
    pub(crate) fn tune_accepted(&self, stream: &Stream, unacknowledged_max: Duration) {
        socket::tune_accepted(stream, unacknowledged_max);
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
