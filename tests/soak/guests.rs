//! Those who come and go: peers that do as they should, and some that do not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Barrier, Semaphore};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::books::{Account, End};
use crate::listening::{CHANNEL, Ear};
use crate::wire::{self, Door, Socket};

/// What guests do, in turn.
const SORTS: usize = 12;
/// The sort that does not read.
const SLOW: usize = 4;

/// More than node and kernel keep for one that does not read.
const TORRENT_MESSAGES: usize = 100;
const TORRENT_BYTES: usize = 60_000;
/// So many at once. A neighbor has the bound of everybody, and is to stay.
const TORRENT_PORTION: usize = 10;
/// Five times what a peer may publish in a second.
const FLOOD_MESSAGES: usize = 5 * PUBLISH_RATE_MAX;
pub(crate) const PUBLISH_RATE_MAX: usize = 100;
/// After so much silence, who was too slow does not wait for more.
const FORGOTTEN: Duration = Duration::from_secs(10);
const SAID: usize = 20;

/// Much for some who do not read.
#[derive(Clone)]
pub(crate) struct Torrent {
    path: String,
    /// All who do not read are there.
    begin: Arc<Barrier>,
    /// It is over.
    end: Arc<Semaphore>,
}

impl Torrent {
    pub(crate) fn for_guests(guests: usize, round: usize) -> Torrent {
        let slow = (0..guests).filter(|index| index % SORTS == SLOW).count();
        Torrent {
            path: format!("/torrent/{round}"),
            begin: Arc::new(Barrier::new(slow + 1)),
            end: Arc::new(Semaphore::new(0)),
        }
    }

    /// Pours it in at one node, as fast as it comes out at the other.
    pub(crate) async fn pour(&self, door: &Door, token: &str, far_door: &Door) {
        let source = door.enter(false, &self.path, token).await;
        let mut source = source.expect("it is let in");
        let mouth = far_door.enter(true, &self.path, token).await;
        let mut mouth = mouth.expect("it is let in");
        self.begin.wait().await;
        let message = Message::binary(vec![7; TORRENT_BYTES]);
        for _ in 0..TORRENT_MESSAGES / TORRENT_PORTION {
            for _ in 0..TORRENT_PORTION {
                let sent = source.send(message.clone()).await;
                sent.expect("the node takes it");
            }
            for _ in 0..TORRENT_PORTION {
                assert!(hear(&mut mouth).await == message, "it is what was said");
            }
        }
        self.end.close();
        leave(source).await;
        leave(mouth).await;
    }
}

pub(crate) struct Guest<'a> {
    pub(crate) door: &'a Door,
    pub(crate) token: &'a str,
    pub(crate) round: usize,
    pub(crate) index: usize,
}

impl Guest<'_> {
    /// Comes, does what is of its sort, and goes. Returns what that does to the counters of the node.
    pub(crate) async fn visit(&self, torrent: &Torrent) -> Account {
        match self.index % SORTS {
            0 => {
                leave(self.listen(false).await).await;
                Account::visit(End::ByPeer)
            }
            sort @ (1 | 2) => {
                drop(self.listen(sort == 2).await);
                Account::visit(End::Lost)
            }
            3 => {
                self.converse().await;
                Account::visit(End::ByPeer).times(2)
            }
            SLOW => {
                self.read_too_late(torrent).await;
                Account::slow_visit(TORRENT_MESSAGES)
            }
            5 => {
                self.flood().await;
                Account::visit(End::Rate)
            }
            6 => {
                self.say_what_is_wrong().await;
                Account::visit(End::Wrong)
            }
            7 => {
                self.come_without_token().await;
                Account::STRANGER
            }
            8 => {
                self.begin_and_reset().await;
                Account::KNOCK
            }
            9 => {
                self.begin_and_end().await;
                Account::KNOCK
            }
            10 => {
                self.speak_nonsense().await;
                match self.is_encrypted() {
                    // With whom TLS does not come about there is no way to answer.
                    true => Account::KNOCK,
                    false => Account::NONSENSE,
                }
            }
            _ => {
                self.reset_in_a_message().await;
                Account::visit(End::Lost)
            }
        }
    }

    /// One of the listeners is in clear, one with TLS, and so on.
    fn is_encrypted(&self) -> bool {
        self.index / SORTS % 2 == 1
    }

    async fn enter(&self, path: &str) -> Socket {
        let socket = self.door.enter(self.is_encrypted(), path, self.token).await;
        socket.expect("a guest is let in")
    }

    /// Hears what those hear who stay, for a while.
    async fn listen(&self, ends_with_reset: bool) -> Socket {
        let socket = self.door.connect(self.is_encrypted()).await;
        if ends_with_reset {
            wire::end_with_reset(&socket);
        }
        let socket = self
            .door
            .upgrade(socket, self.is_encrypted(), CHANNEL, self.token);
        let mut socket = socket.await.expect("a guest is let in");
        let mut ear = Ear::default();
        for _ in 0..SAID / 4 {
            ear.hear(&socket.next().await.expect("messages").expect("messages"));
        }
        socket
    }

    /// Says something to a guest of its own, who hears all of it.
    async fn converse(&self) {
        let path = format!("/talk/{}/{}", self.round, self.index);
        let (mut one, mut other) = (self.enter(&path).await, self.enter(&path).await);
        for number in 0..SAID {
            let text = Message::text(format!("{number} of {SAID}"));
            one.send(text.clone()).await.expect("the node takes it");
            if number % 3 == 0 {
                continue;
            }
            other.send(text).await.expect("the node takes it");
        }
        for number in 0..SAID {
            assert_eq!(
                hear(&mut other).await,
                Message::text(format!("{number} of {SAID}"))
            );
            if number % 3 != 0 {
                assert_eq!(
                    hear(&mut one).await,
                    Message::text(format!("{number} of {SAID}"))
                );
            }
        }
        leave(one).await;
        leave(other).await;
    }

    /// What does not fit is not waited for: the node ends it, and it sees no gap before that.
    async fn read_too_late(&self, torrent: &Torrent) {
        let socket = self.door.connect_narrow(self.is_encrypted()).await;
        let path = &torrent.path;
        let socket = self
            .door
            .upgrade(socket, self.is_encrypted(), path, self.token);
        let mut socket = socket.await.expect("a guest is let in");
        torrent.begin.wait().await;
        // It is closed, and never has a permit.
        let _ = torrent.end.acquire().await;
        let mut heard = 0;
        // Of a socket that the node has dropped, its kernel may forget the rest, and say nothing more.
        while let Ok(Some(Ok(message))) = tokio::time::timeout(FORGOTTEN, socket.next()).await {
            match message {
                Message::Close(close) => {
                    assert_eq!(close.map(|close| close.code), Some(CloseCode::Again));
                }
                _ => heard += usize::from(message.is_binary()),
            }
        }
        assert!(heard < TORRENT_MESSAGES, "nobody has waited for it");
    }

    /// Publishes faster than it may, and is told so or cut off.
    async fn flood(&self) {
        // A channel of its own: nobody else is to hear all that.
        let path = format!("/flood/{}/{}", self.round, self.index);
        let mut socket = self.enter(&path).await;
        for number in 0..FLOOD_MESSAGES {
            if socket
                .feed(Message::text(number.to_string()))
                .await
                .is_err()
            {
                break;
            }
        }
        // It may be cut off already.
        let _ = socket.flush().await;
        expect_end(socket, CloseCode::Policy).await;
    }

    async fn say_what_is_wrong(&self) {
        let path = "/wrong";
        let mut socket = self.enter(path).await;
        let too_long = Message::binary(vec![0; (64 << 10) + 1]);
        // It may be cut off before the end.
        let _ = socket.send(too_long).await;
        expect_end(socket, CloseCode::Size).await;
    }

    async fn come_without_token(&self) {
        let stranger = "who-is-nobody-at-all-here";
        match self.door.enter(self.is_encrypted(), "/", stranger).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 401),
            Err(error) => panic!("no refusal: {error}"),
            Ok(_) => panic!("a stranger was let in"),
        }
    }

    /// The first bytes of what is said where it knocks.
    fn beginning(&self) -> &'static [u8] {
        match (self.is_encrypted(), self.index / SORTS % 3) {
            (_, 0) => b"",
            (false, _) => b"GET / HTTP/1.1\r\nHost: no",
            // A record of the handshake that says how long it is, and a part of it.
            (true, _) => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        }
    }

    async fn begin_and_reset(&self) {
        let mut socket = self.door.connect(self.is_encrypted()).await;
        wire::end_with_reset(&socket);
        socket.write_all(self.beginning()).await.expect("it fits");
    }

    async fn begin_and_end(&self) {
        let mut socket = self.door.connect(self.is_encrypted()).await;
        socket.write_all(self.beginning()).await.expect("it fits");
        socket.shutdown().await.expect("it is there");
        to_end(&mut socket).await;
    }

    async fn speak_nonsense(&self) {
        let mut socket = self.door.connect(self.is_encrypted()).await;
        // The node may have had enough before the end.
        let _ = socket.write_all(&b"\x01nonsense\r\n\r\n".repeat(100)).await;
        to_end(&mut socket).await;
    }

    async fn reset_in_a_message(&self) {
        let mut socket = self.door.connect(false).await;
        wire::end_with_reset(&socket);
        let token = self.token;
        let head = format!(
            "GET /part HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Authorization: Bearer {token}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("it fits");
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 101");
        // Masked with zeros; 30,000 bytes are to come.
        let mut part = vec![0x82, 0x80 | 126, 0x75, 0x30, 0, 0, 0, 0];
        part.resize(10_000, 1);
        socket.write_all(&part).await.expect("it fits");
    }
}

async fn hear(socket: &mut Socket) -> Message {
    loop {
        let message = socket.next().await.expect("a message").expect("a message");
        if !message.is_ping() {
            return message;
        }
    }
}

/// Closes as a peer should.
async fn leave(mut socket: Socket) {
    socket.close(None).await.expect("the node is there");
    while let Some(Ok(_)) = socket.next().await {}
}

/// The node closes it with this code, unless the end of the connection overtakes that.
async fn expect_end(mut socket: Socket, code: CloseCode) {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(close) = message {
            assert_eq!(close.map(|close| close.code), Some(code));
        }
    }
}

async fn to_end(socket: &mut tokio::net::TcpStream) {
    let mut buffer = [0; 1024];
    while socket.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
}
