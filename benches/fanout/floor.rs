//! The floor: what fan-out costs when a server does nothing else.
//!
//! One thread, one poll, blocking nowhere. It upgrades without checking, answers pings, and writes
//! one ready-made frame to each socket. It has no deadlines, no bounds, no policy for a peer that
//! does not keep up, and it validates nothing. A server that does its duty can come close to
//! these figures, not below them, except by combining writes. What a peer publishes it passes on
//! in one write, all frames of one read together: there it combines them, too. With keys it speaks TLS, and encrypts
//! the frame for each connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::Outcome;
use crate::command::{self, ServerCommand};
use crate::keys::Keys;
use crate::secure::{self, Wire};
use crate::wire;

/// Connections have the tokens from 0; these two are out of their way.
const LISTENER: Token = Token(usize::MAX - 1);
const STDIN: Token = Token(usize::MAX - 2);

/// Events taken from the poll at once.
const EVENTS_MAX: usize = 1024;

/// One buffer serves all reads.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// As many connections as may wait for `accept`; bursts of them are the generator's habit.
const BACKLOG: i32 = 4096;

struct Connection {
    stream: Wire,
    is_open: bool,
    /// What has come of a head or a frame that is not complete; empty almost always.
    partial: Vec<u8>,
    /// What the socket has not taken yet; empty almost always.
    unsent: Vec<u8>,
}

/// Serves until standard input ends.
pub(crate) fn run(keys: Option<&Keys>) -> Outcome<()> {
    let tls = keys.map(secure::server).transpose()?;
    let mut poll = Poll::new()?;
    let mut listener = listen()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let stdin = io::stdin().as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&stdin), STDIN, Interest::READABLE)?;
    println!("listening on {}", listener.local_addr()?);

    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut connections = Slab::<Connection>::new();
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let mut published = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, tls.as_ref(), &poll, &mut connections)?,
                STDIN => match command::next()? {
                    Some(command) => broadcast(command, &mut connections),
                    None => return Ok(()),
                },
                Token(slot) => {
                    let Some(connection) = connections.get_mut(slot) else {
                        continue;
                    };
                    let outcome = if event.is_writable() {
                        connection.send_rest()
                    } else {
                        Ok(())
                    };
                    if outcome
                        .and_then(|()| connection.receive(&mut buffer, &mut published))
                        .is_err()
                    {
                        connections.remove(slot);
                    }
                    if !published.is_empty() {
                        relay(&published, slot, &mut connections);
                        published.clear();
                    }
                }
            }
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    // Linux lets accepted sockets inherit it, which spares a system call for each.
    socket.set_tcp_nodelay(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn accept(
    listener: &TcpListener,
    tls: Option<&Arc<ServerConfig>>,
    poll: &Poll,
    connections: &mut Slab<Connection>,
) -> io::Result<()> {
    loop {
        let (stream, _) = match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            result => result?,
        };
        let entry = connections.vacant_entry();
        let token = Token(entry.key());
        let connection = entry.insert(Connection {
            stream: Wire::accepted(stream, tls)?,
            is_open: false,
            partial: Vec::new(),
            unsent: Vec::new(),
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(connection.stream.stream(), token, interest)?;
    }
}

fn broadcast(command: ServerCommand, connections: &mut Slab<Connection>) {
    let frame = |bytes| wire::server_frame(wire::TEXT, wire::text(bytes).as_bytes());
    // A failure shows as an event of that connection, which removes it.
    match command {
        ServerCommand::Broadcast { count, bytes } => {
            let frame = frame(bytes);
            for _ in 0..count {
                for (_, connection) in &mut *connections {
                    let _ = connection.send(&frame);
                }
            }
        }
        ServerCommand::Coalesce { count, bytes } => {
            let frames = frame(bytes).repeat(count);
            for (_, connection) in &mut *connections {
                let _ = connection.send(&frames);
            }
        }
        ServerCommand::Await { .. } => {}
    }
}

fn relay(frames: &[u8], publisher: usize, connections: &mut Slab<Connection>) {
    for (slot, connection) in connections {
        if slot != publisher {
            // A failure shows as an event of that connection.
            let _ = connection.send(frames);
        }
    }
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        match self.stream.write(bytes) {
            Ok(sent) => self.unsent.extend_from_slice(&bytes[sent..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.unsent.extend_from_slice(bytes);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn send_rest(&mut self) -> io::Result<()> {
        self.stream.send_encrypted()?;
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent)
    }

    /// Reads what there is; a short read means that there is no more.
    fn receive(&mut self, buffer: &mut [u8], published: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let received = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if self.partial.is_empty() {
                self.take(&mut buffer[..received], published)?;
            } else {
                let mut bytes = std::mem::take(&mut self.partial);
                bytes.extend_from_slice(&buffer[..received]);
                self.take(&mut bytes, published)?;
            }
            if received < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Answers what is complete in `bytes`, or adds it to what is `published`, and keeps the rest.
    fn take(&mut self, mut bytes: &mut [u8], published: &mut Vec<u8>) -> io::Result<()> {
        if !self.is_open {
            let Some(length) = wire::head_length(bytes) else {
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            let (head, rest) = bytes.split_at_mut(length);
            self.upgrade(head)?;
            bytes = rest;
        }
        let mut taken = 0;
        while let Some((opcode, place)) = wire::unmask_in_place(&mut bytes[taken..]) {
            let frame = &mut bytes[taken..][place.clone()];
            match opcode {
                wire::PING => self.send(wire::answer_ping(frame))?,
                wire::TEXT | wire::BINARY => published.extend_from_slice(frame),
                _ => {}
            }
            taken += place.end;
        }
        self.partial.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    fn upgrade(&mut self, head: &[u8]) -> io::Result<()> {
        let response = wire::response_head(head).ok_or(ErrorKind::InvalidData)?;
        self.is_open = true;
        self.send(response.as_bytes())
    }
}
