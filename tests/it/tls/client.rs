//! A client that speaks TLS with the library that the program has, too, but by itself: for what no
//! well-behaved client does.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tungstenite::{Message, WebSocket};

use crate::support::DEADLINE;

/// A socket that sends no more than some bytes at once.
pub(super) struct Trickle {
    pub(super) socket: TcpStream,
    piece: usize,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(&bytes[..bytes.len().min(self.piece)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

pub(super) type Stream = StreamOwned<ClientConnection, Trickle>;

/// Connects; the handshake happens with the first byte that is sent or received.
#[track_caller]
pub(super) fn connect(address: SocketAddr, config: Arc<ClientConfig>, piece: usize) -> Stream {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_nodelay(true).expect("TCP_NODELAY");
    socket
        .set_read_timeout(Some(DEADLINE))
        .expect("SO_RCVTIMEO");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(config, name).expect("a client");
    StreamOwned::new(tls, Trickle { socket, piece })
}

/// Connects and upgrades.
#[track_caller]
pub(super) fn upgrade(address: SocketAddr, config: Arc<ClientConfig>) -> WebSocket<Stream> {
    upgrade_in_pieces(address, config, usize::MAX)
}

/// … with so many bytes in each segment.
#[track_caller]
pub(super) fn upgrade_in_pieces(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    piece: usize,
) -> WebSocket<Stream> {
    let stream = connect(address, config, piece);
    let url = format!("wss://localhost:{}/", address.port());
    match tungstenite::client(url, stream) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("no upgrade: {error}"),
    }
}

/// Says a text and hears it back.
#[track_caller]
pub(super) fn assert_echoed(socket: &mut WebSocket<Stream>, text: &str) {
    socket.send(Message::text(text)).expect("it takes it");
    assert_eq!(socket.read().expect("an echo"), Message::text(text));
}
