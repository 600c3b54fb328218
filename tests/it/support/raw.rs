//! TCP, HTTP and frames by hand: a peer that can break every rule.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{DEADLINE, Frame, eventually_some};

/// The key and the answer of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A TCP connection with everything that has been received and not yet been taken. Every read has
/// the [`DEADLINE`].
pub(crate) struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
    role: Role,
    was_masked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// How the other side ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN.
    Closed,
    /// RST.
    Reset,
}

impl Raw {
    /// Connects.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)
            .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        Raw::new(stream, Role::Client)
    }

    /// Connects with a socket of the test's choice: another source address, a small buffer.
    #[track_caller]
    pub(crate) fn connect_by(address: SocketAddr, prepare: impl FnOnce(&Socket)) -> Raw {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .expect("a socket can be made");
        prepare(&socket);
        socket
            .connect_timeout(&address.into(), DEADLINE)
            .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        Raw::new(socket.into(), Role::Client)
    }

    /// Connects with a small receive buffer and upgrades: a peer for which little fits into the kernel
    /// while it does not read. (With the very least buffer the kernel takes seconds for a megabyte.)
    #[track_caller]
    pub(crate) fn upgraded_narrow(address: SocketAddr, target: &str) -> Raw {
        let mut raw = Raw::connect_by(address, |socket| {
            socket.set_recv_buffer_size(64 << 10).expect("SO_RCVBUF");
        });
        raw.send(Raw::request(address, target).as_bytes());
        raw.expect_upgraded();
        raw
    }

    /// Connects and upgrades with a request that is right in everything.
    #[track_caller]
    pub(crate) fn upgraded(address: SocketAddr, target: &str) -> Raw {
        let mut raw = Raw::connect(address);
        raw.send(Raw::request(address, target).as_bytes());
        raw.expect_upgraded();
        raw
    }

    /// An upgrade request that is right in everything, for tests that then break it.
    pub(crate) fn request(address: SocketAddr, target: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    }

    /// Reads the answer to [`request`](Raw::request) and asserts that it is the right one. Returns
    /// the head; frames that came with it are kept.
    #[track_caller]
    pub(crate) fn expect_upgraded(&mut self) -> String {
        let head = self.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "101, not {head}");
        let accept = header(&head, "sec-websocket-accept");
        assert_eq!(accept.as_deref(), Some(ACCEPT), "in {head}");
        head
    }

    fn new(stream: TcpStream, role: Role) -> Raw {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("SO_SNDTIMEO");
        Raw {
            stream,
            received: Vec::new(),
            role,
            was_masked: false,
        }
    }

    /// The socket itself, for options (`socket2::SockRef::from(raw.stream())` knows many).
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether this side dialed, and so has to mask.
    pub(crate) fn is_client(&self) -> bool {
        self.role == Role::Client
    }

    /// The address of this side, as the node sees it.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket")
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .unwrap_or_else(|error| panic!("sending: {error}"));
    }

    /// Sends bytes to a peer that may have gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a frame, masked if this side is the client.
    #[track_caller]
    pub(crate) fn send_frame(&mut self, frame: Frame) {
        self.send(self.encoded(frame));
    }

    /// Sends frames in one piece.
    #[track_caller]
    pub(crate) fn send_frames(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|f| self.encoded(f)).collect();
        self.send(bytes);
    }

    fn encoded(&self, frame: Frame) -> Vec<u8> {
        match self.role {
            Role::Client => frame.masked().encode(),
            Role::Server => frame.encode(),
        }
    }

    /// Sends a ping and reads until its pong comes, and returns the frames that came first. Then the
    /// node has worked through all that was sent; a pong may overtake the echo of what came just
    /// before it.
    #[track_caller]
    pub(crate) fn sync(&mut self) -> Vec<Frame> {
        const MARK: &[u8] = b"sync";
        self.send_frame(Frame::ping(MARK));
        let started = Instant::now();
        let mut before = Vec::new();
        loop {
            let count = before.len();
            assert!(
                started.elapsed() < DEADLINE,
                "no pong within {DEADLINE:?}, but {count} other frames"
            );
            match self.read_frame() {
                frame if frame == Frame::pong(MARK) => return before,
                frame => before.push(frame),
            }
        }
    }

    /// A second hand on the same connection, to send while this one reads.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor is left")
    }

    /// Ends the sending direction (FIN); receiving goes on.
    pub(crate) fn finish(&mut self) {
        // NotConnected: the other side has reset it already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a RST.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("SO_LINGER");
    }

    /// Reads an HTTP head, up to and with the empty line.
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> String {
        let head = self.read_until(b"\r\n\r\n");
        String::from_utf8(head).expect("a head of UTF-8")
    }

    /// Reads an HTTP answer to its end, which is the end of the connection: head and body.
    #[track_caller]
    pub(crate) fn read_answer(&mut self) -> (String, String) {
        let head = self.read_head();
        let (body, end) = self.read_to_end();
        assert_eq!(end, End::Closed, "after {head}");
        (head, String::from_utf8(body).expect("a body of UTF-8"))
    }

    /// Reads up to and with `mark`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, mark: &[u8]) -> Vec<u8> {
        let what = format!("bytes up to {:?}", String::from_utf8_lossy(mark));
        self.read_where(&what, |received| {
            received
                .windows(mark.len())
                .position(|window| window == mark)
                .map(|at| at + mark.len())
        })
        .unwrap_or_else(|end| panic!("{what}: the connection ended ({end:?})"))
    }

    /// Reads exactly `count` bytes.
    #[track_caller]
    pub(crate) fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let what = format!("{count} bytes");
        self.read_where(&what, |received| (received.len() >= count).then_some(count))
            .unwrap_or_else(|end| panic!("{what}: the connection ended ({end:?})"))
    }

    /// Reads until the other side ends the connection; returns what came before and how it ended.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let end = self
            .read_where("the end of the connection", |_| None)
            .expect_err("only the end ends this");
        (std::mem::take(&mut self.received), end)
    }

    /// Reads the next frame.
    #[track_caller]
    pub(crate) fn read_frame(&mut self) -> Frame {
        self.try_read_frame()
            .unwrap_or_else(|end| panic!("a frame was expected, the connection ended ({end:?})"))
    }

    /// Reads the next frame, or how the connection ended without one.
    #[track_caller]
    pub(crate) fn try_read_frame(&mut self) -> Result<Frame, End> {
        let len = |received: &[u8]| Frame::decode(received).map(|(_, len, _)| len);
        let bytes = self.read_where("a frame", len)?;
        let (frame, _, masked) = Frame::decode(&bytes).expect("it has just been seen");
        self.was_masked = masked;
        Ok(frame)
    }

    /// Whether the last frame that was read came masked.
    pub(crate) fn was_masked(&self) -> bool {
        self.was_masked
    }

    /// Reads frames until a Close comes; returns what came before it, and the Close. It is not
    /// answered yet: see [`finish_close`](Raw::finish_close).
    #[track_caller]
    pub(crate) fn read_to_close(&mut self) -> (Vec<Frame>, Frame) {
        let started = Instant::now();
        let mut before = Vec::new();
        loop {
            let count = before.len();
            assert!(
                started.elapsed() < DEADLINE,
                "no Close within {DEADLINE:?}, but {count} other frames"
            );
            match self.try_read_frame() {
                Ok(frame) if frame.opcode == Frame::CLOSE => return (before, frame),
                Ok(frame) => before.push(frame),
                Err(end) => panic!("no Close, the connection ended ({end:?}) after {before:?}"),
            }
        }
    }

    /// Answers a Close with the same code and waits for the end of the connection.
    #[track_caller]
    pub(crate) fn finish_close(&mut self, close: &Frame) -> End {
        self.send_frame(close.clone());
        if self.role == Role::Server {
            self.finish();
        }
        self.read_to_end().1
    }

    /// Whether the other side has neither sent anything (beyond what was read) nor ended the
    /// connection for `time`. The one wait here that takes its whole time when all is well: keep
    /// it short. Nothing is taken from the connection.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        if !self.received.is_empty() {
            return false;
        }
        self.stream
            .set_read_timeout(Some(time))
            .expect("SO_RCVTIMEO");
        match self.stream.peek(&mut [0; 1]) {
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(_) => false,
        }
    }

    /// Reads until `complete` tells how many bytes make up what is wanted, and takes those.
    #[track_caller]
    fn read_where(
        &mut self,
        what: &str,
        complete: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>, End> {
        let started = Instant::now();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(len) = complete(&self.received) {
                let rest = self.received.split_off(len);
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            let left = DEADLINE.saturating_sub(started.elapsed());
            assert!(
                !left.is_zero(),
                "{what}: not within {DEADLINE:?}; {} bytes are there: {:?}",
                self.received.len(),
                String::from_utf8_lossy(&self.received[..self.received.len().min(300)])
            );
            self.stream
                .set_read_timeout(Some(left))
                .expect("SO_RCVTIMEO");
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(End::Closed),
                Ok(len) => self.received.extend_from_slice(&chunk[..len]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset => return Err(End::Reset),
                    _ => panic!("{what}: {error}"),
                },
            }
        }
    }
}

/// A listening socket that the node dials.
pub(crate) struct RawListener {
    listener: TcpListener,
}

impl RawListener {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) fn bind() -> RawListener {
        RawListener::bind_to((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Listens there.
    #[track_caller]
    pub(crate) fn bind_to(address: SocketAddr) -> RawListener {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        RawListener::of(listener)
    }

    /// Takes a socket that listens already.
    pub(crate) fn of(listener: TcpListener) -> RawListener {
        listener.set_nonblocking(true).expect("O_NONBLOCK");
        RawListener { listener }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket")
    }

    /// `ws://ADDRESS/path`; `path` starts with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address())
    }

    /// Waits for the next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> Raw {
        eventually_some("the node dials", || self.try_accept())
    }

    /// A connection that is there already.
    pub(crate) fn try_accept(&self) -> Option<Raw> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("no O_NONBLOCK");
                Some(Raw::new(stream, Role::Server))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }

    /// Waits for the next connection and upgrades it; returns the request head too.
    #[track_caller]
    pub(crate) fn accept_upgraded(&self) -> (Raw, String) {
        let mut raw = self.accept();
        let head = raw.read_head();
        let answer = answer(&head);
        raw.send(answer);
        (raw, head)
    }
}

/// The right answer to an upgrade request, for tests that then break it.
#[track_caller]
pub(crate) fn answer(request_head: &str) -> String {
    let key = header(request_head, "sec-websocket-key")
        .unwrap_or_else(|| panic!("no Sec-WebSocket-Key in {request_head}"));
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// The value of a header of an HTTP head; `name` in lower case.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.to_ascii_lowercase() == name).then(|| value.trim().to_owned())
    })
}

/// Reads an answer with this status, and something of this reason in its body.
#[track_caller]
pub(crate) fn assert_answered(mut peer: Raw, status: u16, reason: &str) {
    let (head, body) = peer.read_answer();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(body.contains(reason), "{body}");
}
