//! The load: many peers in one process, raw frames over one poll.
//!
//! It checks everything that comes (count, length and content of every message to every peer) and
//! still costs less than most servers. Whether it ever was the bottleneck is for the driver to
//! say, which prints its share of a core beside each figure.
//!
//! Why not the program's own load test: it looks at each message by itself, and a server makes its broadcasts without
//! what that looks for. Of 1 KiB from one peer to 1,000 it takes as much of a core, 5.8 µs a delivery and 5.4 here; of
//! 100 × 64 B at once 0.37 µs, and 0.06 here, where the server needs 0.09: the load would be what is measured.
//! (2026-11-28, both against the same node on the other core of a busy machine, medians of three and four rounds.)

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;
use socket2::{Domain, SockRef, Socket, Type};

use crate::Outcome;
use crate::command::{self, GeneratorCommand};
use crate::keys::Keys;
use crate::secure::Wire;
use crate::wire::{self, ServerFrameHead};

/// Peers have the tokens from 0.
const STDIN: Token = Token(usize::MAX);

/// Events taken from the poll at once.
const EVENTS_MAX: usize = 4096;

/// Takes a whole burst to a peer in one read.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Peers that connect at once: enough to keep the server busy, and fewer than the backlog of any
/// server, the runtime's default of 128 included.
const HANDSHAKES_MAX: usize = 100;

/// Rest between two polls while there is something to do.
///
/// A server that wakes its receivers pays for it, a third of a delivery; over a network it wakes
/// nobody. While the generator rests, what arrives is only marked as ready.
const NAP: Duration = Duration::from_micros(50);

/// Speaks to the driver until standard input ends.
pub(crate) fn run(keys: Option<&Keys>) -> Outcome<()> {
    let mut poll = Poll::new()?;
    let stdin = io::stdin().as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&stdin), STDIN, Interest::READABLE)?;
    println!("ready");

    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let mut load = Load {
        tls: keys.map(Keys::client).transpose()?,
        ..Load::default()
    };
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                STDIN => match command::next()? {
                    Some(command) => load.start(command, &poll)?,
                    None => return Ok(()),
                },
                // Events of connections that have been dropped may still be in the batch.
                Token(slot) if slot < load.peers.len() => load.on_ready(slot, &mut buffer)?,
                Token(_) => {}
            }
        }
        load.proceed(&poll)?;
        if !matches!(load.task, Task::None) {
            thread::sleep(NAP);
        }
    }
}

#[derive(Default)]
struct Load {
    /// What peers speak TLS with, if they do.
    tls: Option<Arc<ClientConfig>>,
    peers: Vec<Peer>,
    /// Never read from.
    stalled: Vec<BlockingStream>,
    /// Never read from either: nobody hears what it has published itself.
    publisher: Option<BlockingStream>,
    task: Task,
    /// Peers that have done their part of the task.
    finished: usize,
}

#[derive(Default)]
enum Task {
    #[default]
    None,
    Connect {
        server: SocketAddr,
        until: usize,
    },
    Expect {
        count: usize,
        content: Vec<u8>,
    },
    Ping {
        rounds_left: usize,
    },
}

struct Peer {
    stream: Wire,
    phase: Phase,
    /// Frames received for the present task.
    received: usize,
}

enum Phase {
    /// The head is still to be sent: the connection is not up.
    Connecting,
    /// Bytes of the response so far.
    Upgrading(Vec<u8>),
    /// Between frames, with what there is of the next head.
    Head(Vec<u8>),
    /// Within a frame of this opcode.
    Payload { opcode: u8, at: usize, left: usize },
}

impl Load {
    fn start(&mut self, command: GeneratorCommand, poll: &Poll) -> Outcome<()> {
        match command {
            GeneratorCommand::Connect { server, count } => {
                self.finished = self.peers.len();
                self.task = Task::Connect {
                    server,
                    until: self.peers.len() + count,
                };
            }
            GeneratorCommand::Stall {
                server,
                buffer_bytes,
            } => {
                self.stalled.push(upgraded(server, Some(buffer_bytes))?);
                println!("done");
            }
            GeneratorCommand::Publisher { server } => {
                let publisher = upgraded(server, None)?;
                publisher.set_nodelay(true)?;
                self.publisher = Some(publisher);
                println!("done");
            }
            GeneratorCommand::Publish { count, bytes } => {
                let publisher = self.publisher.as_mut().ok_or("there is no publisher")?;
                let frame = wire::client_frame(wire::TEXT, wire::text(bytes).as_bytes());
                publisher.write_all(&frame.repeat(count))?;
            }
            GeneratorCommand::Expect { count, bytes } => {
                self.begin_round();
                self.task = Task::Expect {
                    count,
                    content: wire::text(bytes).into_bytes(),
                };
                println!("ready");
            }
            GeneratorCommand::Ping { rounds } => {
                self.task = Task::Ping {
                    rounds_left: rounds,
                };
                self.send_pings()?;
            }
            GeneratorCommand::Drop => {
                // A reset leaves neither side with a connection that waits to be forgotten.
                for mut peer in self.peers.drain(..) {
                    SockRef::from(&*peer.stream.stream()).set_linger(Some(Duration::ZERO))?;
                }
                self.stalled.clear();
                self.publisher = None;
                self.task = Task::None;
                println!("done");
            }
        }
        self.proceed(poll)
    }

    /// Goes on with the task after a batch of events, and says when it is done.
    fn proceed(&mut self, poll: &Poll) -> Outcome<()> {
        match &mut self.task {
            Task::None => return Ok(()),
            &mut Task::Connect { server, until } => {
                while self.peers.len() < until && self.peers.len() < self.finished + HANDSHAKES_MAX
                {
                    self.connect(server, poll)?;
                }
                if self.finished < until {
                    return Ok(());
                }
            }
            Task::Expect { .. } => {
                if self.finished < self.peers.len() {
                    return Ok(());
                }
            }
            Task::Ping { rounds_left } => {
                if self.finished < self.peers.len() {
                    return Ok(());
                }
                *rounds_left -= 1;
                if *rounds_left > 0 {
                    return self.send_pings();
                }
            }
        }
        self.task = Task::None;
        println!("done");
        Ok(())
    }

    fn begin_round(&mut self) {
        self.finished = 0;
        for peer in &mut self.peers {
            peer.received = 0;
        }
    }

    fn connect(&mut self, server: SocketAddr, poll: &Poll) -> Outcome<()> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let token = Token(self.peers.len());
        let mut peer = Peer {
            stream: Wire::dialed(stream, self.tls.as_ref())?,
            phase: Phase::Connecting,
            received: 0,
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(peer.stream.stream(), token, interest)?;
        peer.request_upgrade(server)?;
        self.peers.push(peer);
        Ok(())
    }

    fn send_pings(&mut self) -> Outcome<()> {
        self.begin_round();
        let ping = wire::client_frame(wire::PING, wire::PING_PAYLOAD);
        for peer in &mut self.peers {
            if peer.stream.write(&ping)? != ping.len() {
                return Err("a socket has no room for a ping".into());
            }
        }
        Ok(())
    }

    fn on_ready(&mut self, slot: usize, buffer: &mut [u8]) -> Outcome<()> {
        let peer = &mut self.peers[slot];
        if let (Phase::Connecting, &Task::Connect { server, .. }) = (&peer.phase, &self.task) {
            peer.request_upgrade(server)?;
        }
        peer.stream.send_encrypted()?;
        loop {
            let received = match peer.stream.read(buffer) {
                Ok(0) => return Err(format!("peer {slot}: the server has hung up").into()),
                Ok(received) => received,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(format!("peer {slot}: {error}").into()),
            };
            self.finished += usize::from(peer.take(&buffer[..received], &self.task)?);
            if received < buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Peer {
    fn request_upgrade(&mut self, server: SocketAddr) -> Outcome<()> {
        let head = wire::request_head(server);
        match self.stream.write(head.as_bytes()) {
            Ok(sent) if sent == head.len() => self.phase = Phase::Upgrading(Vec::new()),
            Ok(_) => return Err("a socket has no room for the head".into()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::NotConnected
                ) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Takes what was read, and says whether the peer's part of the task is now done.
    fn take(&mut self, mut bytes: &[u8], task: &Task) -> Outcome<bool> {
        let mut is_finished = false;
        if let Phase::Upgrading(response) = &mut self.phase {
            response.extend_from_slice(bytes);
            let Some(length) = wire::head_length(response) else {
                return Ok(false);
            };
            if !wire::is_upgrade_granted(&response[..length]) {
                let response = String::from_utf8_lossy(response);
                return Err(format!("the upgrade was refused: {response}").into());
            }
            if response.len() > length {
                return Err("frames before any was asked for".into());
            }
            self.phase = Phase::Head(Vec::new());
            return Ok(true);
        }
        while !bytes.is_empty() {
            match &mut self.phase {
                Phase::Head(partial) if partial.is_empty() => match ServerFrameHead::read(bytes)? {
                    Some((head, length)) => {
                        bytes = &bytes[length..];
                        self.phase = Phase::of(&head, task)?;
                    }
                    None => {
                        partial.extend_from_slice(bytes);
                        bytes = &[];
                    }
                },
                Phase::Head(partial) => {
                    partial.push(bytes[0]);
                    bytes = &bytes[1..];
                    if let Some((head, _)) = ServerFrameHead::read(partial)? {
                        self.phase = Phase::of(&head, task)?;
                    }
                }
                Phase::Payload { opcode, at, left } => {
                    let length = bytes.len().min(*left);
                    let (payload, rest) = bytes.split_at(length);
                    if task.content(*opcode)?.get(*at..*at + length) != Some(payload) {
                        return Err("a message is not what was sent".into());
                    }
                    bytes = rest;
                    *at += length;
                    *left -= length;
                    if *left == 0 {
                        self.phase = Phase::Head(Vec::new());
                        self.received += 1;
                        is_finished |= self.received == task.frames();
                    }
                }
                Phase::Connecting | Phase::Upgrading(_) => {
                    return Err("bytes before the upgrade".into());
                }
            }
        }
        if self.received > task.frames() {
            return Err(format!("{} messages, {} were sent", self.received, task.frames()).into());
        }
        Ok(is_finished)
    }
}

impl Phase {
    fn of(head: &ServerFrameHead, task: &Task) -> Outcome<Self> {
        let left = usize::try_from(head.payload_bytes)?;
        if left != task.content(head.opcode)?.len() {
            return Err(format!("a message of {left} bytes, which nobody has sent").into());
        }
        Ok(Self::Payload {
            opcode: head.opcode,
            at: 0,
            left,
        })
    }
}

impl Task {
    /// What a frame of this opcode has to carry now.
    fn content(&self, opcode: u8) -> Outcome<&[u8]> {
        match self {
            Self::Expect { content, .. } if opcode == wire::TEXT => Ok(content),
            Self::Ping { .. } if opcode == wire::PONG => Ok(wire::PING_PAYLOAD),
            _ => Err(format!("unexpected frame of opcode {opcode:#x}").into()),
        }
    }

    /// Frames that each peer gets in the present round.
    fn frames(&self) -> usize {
        match self {
            Self::Expect { count, .. } => *count,
            Self::Ping { .. } => 1,
            Self::None | Self::Connect { .. } => 0,
        }
    }
}

/// A peer that upgrades and never reads again.
fn upgraded(server: SocketAddr, buffer_bytes: Option<usize>) -> Outcome<BlockingStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if let Some(buffer_bytes) = buffer_bytes {
        // Before the connection is made, so that the window is small from the start.
        socket.set_recv_buffer_size(buffer_bytes)?;
    }
    socket.connect(&server.into())?;
    let mut stream = BlockingStream::from(socket);
    stream.write_all(wire::request_head(server).as_bytes())?;
    let mut response = Vec::new();
    let mut byte = [0];
    while wire::head_length(&response).is_none() {
        stream.read_exact(&mut byte)?;
        response.push(byte[0]);
    }
    if !wire::is_upgrade_granted(&response) {
        return Err("an upgrade was refused".into());
    }
    Ok(stream)
}
