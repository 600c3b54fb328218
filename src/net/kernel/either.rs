//! A socket of the operating system or a simulated one: what the network has in tests instead of the one kind that
//! the program knows.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr},
};

use mio::{
    Interest, Registry,
    event::Source,
    net::{TcpListener, TcpStream},
};

use super::simulated::{self, Watched};

#[derive(Debug)]
pub(crate) enum Either<R, S> {
    Real(R),
    Simulated(S),
}

pub(crate) type Stream = Either<TcpStream, simulated::Socket>;
pub(crate) type Listener = Either<TcpListener, simulated::Listener>;

impl Stream {
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Real(stream) => stream.shutdown(how),
            Self::Simulated(socket) => socket.end_writing(),
        }
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Real(stream) => stream.take_error(),
            Self::Simulated(socket) => Ok(socket.take_error()),
        }
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Real(stream) => stream.peer_addr(),
            Self::Simulated(socket) => socket.remote(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Real(stream) => stream.read(buffer),
            Self::Simulated(socket) => socket.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Real(stream) => stream.write(bytes),
            Self::Simulated(socket) => socket.write(&[IoSlice::new(bytes)]),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Real(stream) => stream.write_vectored(slices),
            Self::Simulated(socket) => socket.write(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Listener {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Real(listener) => listener.local_addr(),
            Self::Simulated(listener) => Ok(listener.address()),
        }
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Real(listener) => {
                let (stream, remote) = listener.accept()?;
                Ok((Stream::Real(stream), remote))
            }
            Self::Simulated(listener) => {
                let (socket, remote) = listener.accept()?;
                Ok((Stream::Simulated(socket), remote))
            }
        }
    }
}

impl<R: Source, S: Watched> Source for Either<R, S> {
    fn register(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Real(real) => real.register(registry, token, interests),
            Self::Simulated(simulated) => simulated.watch(token),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.register(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Real(real) => real.deregister(registry),
            Self::Simulated(_) => Ok(()),
        }
    }
}
