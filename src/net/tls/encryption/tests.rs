use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use rustls::{
    RootCertStore, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    version::{TLS12, TLS13},
};

use super::*;

const BUFFER_BYTES: usize = 32 * 1024;

/// One direction of a connection in memory, which takes and gives as little at a time as a test wants.
struct Pipe {
    bytes: VecDeque<u8>,
    room: usize,
    piece: usize,
    is_ended: bool,
}

impl Pipe {
    fn new(room: usize, piece: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            room,
            piece,
            is_ended: false,
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && !self.is_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.piece).min(self.bytes.len());
        buffer[..len]
            .iter_mut()
            .zip(self.bytes.drain(..len))
            .for_each(|(place, byte)| *place = byte);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.room - self.bytes.len());
        if len == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.bytes.extend(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One end of a connection.
struct End {
    encryption: Encryption,
    outbox: Outbox,
    heard: Vec<u8>,
    ended: Option<Incoming>,
}

impl End {
    fn new(encryption: Encryption) -> Self {
        Self {
            encryption,
            outbox: Outbox::default(),
            heard: Vec::new(),
            ended: None,
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.outbox.push_control(Bytes::copy_from_slice(bytes));
    }

    /// Receives what there is, as the loop would; returns whether anything came.
    fn receive(&mut self, pipe: &mut Pipe, buffer_bytes: usize) -> bool {
        let mut buffer = vec![0; buffer_bytes];
        let before = pipe.bytes.len();
        while self.ended.is_none() {
            let received = self.encryption.receive(pipe, &mut buffer, false);
            match received.what {
                Incoming::Bytes(len) => self.heard.extend(&buffer[..len]),
                Incoming::Nothing | Incoming::Step => {}
                end => {
                    self.ended = Some(end);
                    return true;
                }
            }
            // A short read says so already; what is left then would raise an event of its own.
            if received.is_drained && pipe.bytes.is_empty() && !pipe.is_ended {
                break;
            }
        }
        pipe.bytes.len() < before
    }

    /// Returns the bytes on the wire.
    fn send(&mut self, pipe: &mut Pipe) -> usize {
        let (before, pending_bytes) = (pipe.bytes.len(), self.outbox.pending_bytes());
        let sent = self.encryption.send(pipe, &mut self.outbox);
        let sent = sent.expect("a pipe does not fail");
        assert_eq!(sent.bytes, pending_bytes - self.outbox.pending_bytes());
        pipe.bytes.len() - before
    }
}

/// Two ends and what lies between them.
struct Pair {
    client: End,
    server: End,
    up: Pipe,
    down: Pipe,
    buffer_bytes: usize,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion, room: usize, piece: usize) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from(key))
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            client: End::new(Encryption::dialing(Arc::new(client), name).unwrap()),
            server: End::new(Encryption::accepting(Arc::new(server)).unwrap()),
            up: Pipe::new(room, piece),
            down: Pipe::new(room, piece),
            buffer_bytes: BUFFER_BYTES,
        }
    }

    fn wide(version: &'static SupportedProtocolVersion) -> Self {
        Self::new(version, usize::MAX, usize::MAX)
    }

    /// Lets both go on until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let sent = self.client.send(&mut self.up) + self.server.send(&mut self.down);
            let buffer_bytes = self.buffer_bytes;
            let heard = [
                self.server.receive(&mut self.up, buffer_bytes),
                self.client.receive(&mut self.down, buffer_bytes),
            ];
            if sent == 0 && heard == [false; 2] {
                return;
            }
        }
    }

    fn connected(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair = Self::wide(version);
        pair.settle();
        assert!(!pair.client.encryption.is_handshaking());
        assert!(!pair.server.encryption.is_handshaking());
        pair
    }
}

#[track_caller]
fn assert_end(what: Option<&Incoming>, announced: bool) {
    let is_such =
        |what| matches!(what, &Incoming::End { is_announced } if is_announced == announced);
    assert!(what.is_some_and(is_such), "{what:?}");
}

#[test]
fn what_waits_for_the_handshake_arrives_after_it_whatever_the_pieces() {
    for version in [&TLS12, &TLS13] {
        for (room, piece, buffer_bytes) in [
            (usize::MAX, usize::MAX, BUFFER_BYTES),
            (usize::MAX, 1, BUFFER_BYTES),
            (1, 1, BUFFER_BYTES),
            (100, 7, 1),
            (usize::MAX, usize::MAX, 3),
        ] {
            let mut pair = Pair::new(version, room, piece);
            pair.buffer_bytes = buffer_bytes;
            let (up, down) = (vec![1; 40_000], vec![2; 50_000]);
            pair.client.say(&up);
            assert!(pair.client.encryption.has_pending(&pair.client.outbox));
            assert!(
                !pair.server.encryption.has_pending(&pair.server.outbox),
                "it waits for the client"
            );
            pair.server.say(&down[..1]);
            assert!(
                !pair.server.encryption.has_pending(&pair.server.outbox),
                "… whatever it has to say"
            );
            pair.server.say(&down[1..]);
            pair.settle();
            assert_eq!(pair.server.heard, up);
            assert_eq!(pair.client.heard, down);
            for end in [&pair.client, &pair.server] {
                assert!(end.outbox.is_empty() && !end.encryption.has_pending(&end.outbox));
            }
        }
    }
}

#[test]
fn little_is_encrypted_ahead_of_a_peer_that_does_not_read() {
    let mut pair = Pair::connected(&TLS13);
    pair.down = Pipe::new(1000, usize::MAX);
    let message = vec![7; 1 << 20];
    for _ in 0..4 {
        pair.server.say(&message);
    }
    for _ in 0..3 {
        pair.server.send(&mut pair.down);
        assert!(pair.server.encryption.has_pending(&pair.server.outbox));
        let ahead = 4 * message.len() - pair.server.outbox.pending_bytes();
        assert!(ahead <= 1000 + TLS_SEND_BYTES_MAX, "{ahead}");
    }
    pair.settle();
    assert_eq!(pair.client.heard.len(), 4 * message.len());
}

#[test]
fn small_messages_share_a_record() {
    let mut pair = Pair::connected(&TLS13);
    for _ in 0..100 {
        pair.server.say(b"0123456789");
    }
    let bytes = pair.server.send(&mut pair.down);
    assert_eq!(bytes, 1000 + 5 + 1 + 16, "a head, the type and the seal");
}

#[test]
fn an_end_is_announced_or_was_cut_off() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.server.say(b"last words");
        pair.server.send(&mut pair.down);
        pair.server.encryption.close();
        pair.settle();
        assert_eq!(pair.client.heard, b"last words");
        assert_end(pair.client.ended.as_ref(), true);
        // The other half is still there.
        pair.client.say(b"understood");
        pair.settle();
        assert_eq!(pair.server.heard, b"understood");
        pair.server.say(b"too late");
        assert!(!pair.server.encryption.has_pending(&pair.server.outbox));

        pair.up.is_ended = true;
        pair.settle();
        assert_end(pair.server.ended.as_ref(), false);
    }
}

#[test]
fn an_end_behind_a_part_of_a_record_is_not_overlooked() {
    let mut pair = Pair::connected(&TLS13);
    pair.up.bytes.extend([0x17, 3, 3, 0, 32, 7]);
    pair.up.is_ended = true;
    let mut buffer = [0; 100];
    let received = pair
        .server
        .encryption
        .receive(&mut pair.up, &mut buffer, true);
    assert_end(Some(&received.what), false);
}

#[test]
fn an_end_within_the_handshake_is_one() {
    let mut pair = Pair::wide(&TLS13);
    pair.client.send(&mut pair.up);
    pair.up.bytes.truncate(100);
    pair.up.is_ended = true;
    pair.server.receive(&mut pair.up, BUFFER_BYTES);
    assert_end(pair.server.ended.as_ref(), false);
    pair.server.encryption.close();
    assert_eq!(
        pair.server.send(&mut pair.down),
        0,
        "there is nobody to tell"
    );
}

#[test]
fn what_came_before_a_forged_record_is_heard() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.client.say(b"genuine");
        pair.client.send(&mut pair.up);
        pair.up
            .bytes
            .extend([0x17, 3, 3, 0, 32].iter().chain(&[9; 32]));
        pair.server.receive(&mut pair.up, BUFFER_BYTES);
        assert_eq!(pair.server.heard, b"genuine");
        assert!(matches!(pair.server.ended, Some(Incoming::Failed(_))));
        assert!(pair.server.encryption.has_failed());
        // The peer hears of it, and nothing else.
        pair.server.say(b"not this");
        pair.settle();
        let heard_of_it = |end: &Option<Incoming>| match end {
            Some(Incoming::Failed(what)) => what.contains("BadRecordMac"),
            _ => false,
        };
        assert!(heard_of_it(&pair.client.ended), "{:?}", pair.client.ended);
        assert_eq!(pair.client.heard, b"");
    }
}

#[test]
fn what_is_no_tls_is_told_apart() {
    let hears = |bytes: &[u8]| {
        let mut pair = Pair::wide(&TLS13);
        pair.up.bytes.extend(bytes);
        pair.server.receive(&mut pair.up, BUFFER_BYTES);
        pair.server.ended
    };
    assert!(matches!(hears(b"G"), Some(Incoming::Http)));
    assert!(matches!(
        hears(b"GET / HTTP/1.1\r\n\r\n"),
        Some(Incoming::Http)
    ));
    let garbage = hears(&[0; 100]);
    assert!(
        matches!(&garbage, Some(Incoming::Failed(what)) if what.contains("not TLS")),
        "{garbage:?}"
    );

    let answers = |bytes: &[u8]| {
        let mut pair = Pair::wide(&TLS13);
        pair.down.bytes.extend(bytes);
        pair.client.receive(&mut pair.down, BUFFER_BYTES);
        match pair.client.ended {
            Some(Incoming::Failed(what)) => what,
            end => panic!("{end:?}"),
        }
    };
    assert!(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n").contains("dial ws://"));
    assert!(answers(b"SSH-2.0-OpenSSH_9.2\r\n").contains("not TLS"));
    assert!(answers(crate::net::tls::REFUSAL).contains("can take nobody in now"));
}

#[test]
fn a_handshake_without_end_is_broken_off() {
    let mut pair = Pair::wide(&TLS13);
    // A ClientHello of 64 KiB less one, in records of a byte each.
    let hello = [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat(0));
    for byte in hello.take(20_000) {
        pair.up.bytes.extend([0x16, 3, 1, 0, 1, byte]);
    }
    pair.server.receive(&mut pair.up, BUFFER_BYTES);
    let end = pair.server.ended;
    assert!(
        matches!(&end, Some(Incoming::Failed(what)) if what.contains("buffer full")),
        "{end:?}"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..3000), is_up: bool) {
        let mut pair = if is_up { Pair::connected(&TLS13) } else { Pair::wide(&TLS12) };
        pair.up.bytes.extend(&bytes);
        pair.down.bytes.extend(&bytes);
        pair.settle();
    }

    #[test]
    fn records_of_arbitrary_content_are_survived(
        kind in 0x13u8..0x19,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        is_up: bool,
    ) {
        let mut pair = if is_up { Pair::connected(&TLS12) } else { Pair::wide(&TLS13) };
        let head = [kind, 3, 3, (bytes.len() >> 8) as u8, bytes.len() as u8];
        for pipe in [&mut pair.up, &mut pair.down] {
            pipe.bytes.extend(head.iter().chain(&bytes));
        }
        pair.settle();
    }
}
