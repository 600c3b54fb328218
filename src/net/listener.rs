//! The listening sockets: accepting in portions, and pausing when descriptors are used up.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::kernel::{self, Stream};

/// When accepting is tried again if nothing has given a descriptor back meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    Peers,
    /// For those who look at what the node does.
    Status,
}

#[derive(Debug)]
struct Listener {
    socket: kernel::Listener,
    address: SocketAddr,
    is_tls: bool,
    entrance: Entrance,
    /// By which the poll knows it.
    index: usize,
    /// There may be more to accept; the poll tells only once.
    is_ready: bool,
}

/// All listening sockets of a node.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    listeners: Vec<Listener>,
    /// Descriptors or memory are used up; accepting waits until then.
    paused_until: Option<Instant>,
    /// Where to look first, so that a flooded listener does not starve the others.
    first: usize,
}

/// What one attempt to accept brought.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection {
        stream: Stream,
        remote: SocketAddr,
        is_tls: bool,
        entrance: Entrance,
        /// Only this machine can connect there.
        is_local: bool,
    },
    /// Nothing to accept now.
    Nothing,
    /// A connection was gone before it was accepted.
    Lost(io::Error),
    /// No more can be accepted for now.
    Exhausted(io::Error),
}

impl Listeners {
    pub(crate) fn add(
        &mut self,
        socket: kernel::Listener,
        is_tls: bool,
        entrance: Entrance,
    ) -> io::Result<SocketAddr> {
        let address = socket.local_addr()?;
        self.listeners.push(Listener {
            socket,
            address,
            is_tls,
            entrance,
            index: self.count(),
            is_ready: false,
        });
        Ok(address)
    }

    pub(crate) fn count(&self) -> usize {
        self.listeners.len()
    }

    /// The addresses of those that are for this, and whether TLS is spoken there.
    pub(crate) fn addresses(&self, entrance: Entrance) -> impl Iterator<Item = (SocketAddr, bool)> {
        let listeners = self.listeners.iter();
        let listeners = listeners.filter(move |listener| listener.entrance == entrance);
        listeners.map(|listener| (listener.address, listener.is_tls))
    }

    /// The poll says that there is something to accept.
    pub(crate) fn on_ready(&mut self, index: usize) {
        let mut listeners = self.listeners.iter_mut();
        if let Some(listener) = listeners.find(|listener| listener.index == index) {
            listener.is_ready = true;
        }
    }

    /// Something has given a descriptor back: trying again is worth it.
    pub(crate) fn on_descriptor_freed(&mut self, now: Instant) {
        if let Some(until) = &mut self.paused_until {
            *until = now;
        }
    }

    /// When to try again after a pause.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.paused_until.filter(|_| self.is_any_ready())
    }

    /// Whether there is something to accept right now.
    pub(crate) fn is_pending(&self) -> bool {
        self.paused_until.is_none() && self.is_any_ready()
    }

    /// Closes the sockets that are for this; connections not yet accepted are refused by the kernel.
    pub(crate) fn close(&mut self, entrance: Entrance) {
        self.listeners
            .retain(|listener| listener.entrance != entrance);
    }

    pub(crate) fn accept(&mut self, now: Instant) -> Accepted {
        if self.paused_until.is_some_and(|until| until > now) {
            return Accepted::Nothing;
        }
        for _ in 0..self.listeners.len() {
            let index = self.first % self.listeners.len();
            self.first = index + 1;
            let listener = &mut self.listeners[index];
            if !listener.is_ready {
                continue;
            }
            match listener.socket.accept() {
                Ok((stream, remote)) => {
                    self.paused_until = None;
                    let Listener {
                        is_tls, entrance, ..
                    } = *listener;
                    return Accepted::Connection {
                        stream,
                        remote,
                        is_tls,
                        entrance,
                        is_local: listener.address.ip().is_loopback(),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listener.is_ready = false;
                    self.paused_until = None;
                }
                Err(error) if is_loss(&error) => return Accepted::Lost(error),
                Err(error) => {
                    self.paused_until = Some(now + PAUSE);
                    return Accepted::Exhausted(error);
                }
            }
        }
        Accepted::Nothing
    }

    fn is_any_ready(&self) -> bool {
        self.listeners.iter().any(|listener| listener.is_ready)
    }
}

/// Whether accept(2) failed because of the one connection. Everything else will last: descriptors or
/// memory are used up, or the system does not let us.
fn is_loss(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
