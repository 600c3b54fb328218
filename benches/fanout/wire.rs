//! The bytes that every role must agree on: the upgrade, the frames and the content of a message.
//!
//! Written out by hand so that neither the floor nor the generator pays for a WebSocket library.

use std::net::SocketAddr;
use std::ops::Range;

use tungstenite::handshake::derive_accept_key;

/// Opcode of a text message.
pub(crate) const TEXT: u8 = 0x1;
/// Opcode of a binary message.
pub(crate) const BINARY: u8 = 0x2;
/// Opcode of a ping.
pub(crate) const PING: u8 = 0x9;
/// Opcode of a pong.
pub(crate) const PONG: u8 = 0xA;

/// Marks the last (here: only) frame of a message.
const FIN: u8 = 0x80;
/// Marks a payload that a client has masked.
const MASKED: u8 = 0x80;

/// The key of the example in RFC 6455 §1.3, the same for every peer: only the server has to hash.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server must answer to [`KEY`].
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What every ping carries and every pong must bring back.
pub(crate) const PING_PAYLOAD: &[u8] = b"are you there?";

/// The head with which a peer asks for the upgrade.
pub(crate) fn request_head(server: SocketAddr) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// The head that grants what a request head asks for, without a look at the rest of it; `None` if it has no key.
pub(crate) fn response_head(request: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"Sec-WebSocket-Key: ";
    let mut lines = request.split(|&byte| byte == b'\n');
    let key = lines.find_map(|line| line.strip_prefix(KEY))?.trim_ascii();
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key)
    ))
}

/// Whether a response head grants the upgrade that [`request_head`] asked for.
pub(crate) fn is_upgrade_granted(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT)
}

/// Length of the HTTP head at the start of `bytes`, its empty line included.
pub(crate) fn head_length(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    bytes
        .windows(END.len())
        .position(|window| window == END)
        .map(|at| at + END.len())
}

/// The text of a message of `bytes` bytes; all roles and all peers have the same.
pub(crate) fn text(bytes: usize) -> String {
    "Message to client 42 from localhost:8080. "
        .chars()
        .cycle()
        .take(bytes)
        .collect()
}

/// The frame of one whole message as a server sends it.
pub(crate) fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | opcode];
    push_length(&mut frame, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// The frame of one whole message as a client sends it. A fixed key serves here: what is measured
/// is the server, which unmasks whatever the key.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![FIN | opcode];
    push_length(&mut frame, MASKED, payload.len());
    frame.extend_from_slice(&KEY);
    frame.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

fn push_length(frame: &mut Vec<u8>, flag: u8, length: usize) {
    if let Ok(length @ 0..=125) = u8::try_from(length) {
        frame.push(flag | length);
    } else if let Ok(length) = u16::try_from(length) {
        frame.push(flag | 126);
        frame.extend_from_slice(&length.to_be_bytes());
    } else {
        frame.push(flag | 127);
        frame.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Head of a frame that came from a server, unmasked.
pub(crate) struct ServerFrameHead {
    pub(crate) opcode: u8,
    pub(crate) payload_bytes: u64,
}

/// Longest head of an unmasked frame: two bytes and a length of eight.
pub(crate) const SERVER_HEAD_BYTES_MAX: usize = 10;

impl ServerFrameHead {
    /// Reads the head at the start of `bytes` and says how long it is; `None` when more is needed.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0xF0 != FIN || second & MASKED != 0 {
            return Err(format!("unexpected frame head {first:#04x} {second:#04x}"));
        }
        let Some((payload_bytes, length)) = lengths(second, rest) else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                opcode: first & 0x0F,
                payload_bytes,
            },
            length,
        )))
    }
}

/// Length of a payload, and of the head without a key, by the second byte of the head and what follows it. `None` when
/// more is needed.
fn lengths(second: u8, rest: &[u8]) -> Option<(u64, usize)> {
    Some(match second {
        126 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 4),
        127 => (
            u64::from_be_bytes(*rest.first_chunk()?),
            SERVER_HEAD_BYTES_MAX,
        ),
        short => (short.into(), 2),
    })
}

/// The key with which a client masks a payload stands between head and payload.
const KEY_BYTES: usize = 4;

/// Turns the frame of a client at the start of `bytes` into that of a server with the same payload, where it stands:
/// its opcode, and where it is now. `None` when more is needed.
pub(crate) fn unmask_in_place(bytes: &mut [u8]) -> Option<(u8, Range<usize>)> {
    let &[first, second, ref rest @ ..] = &*bytes else {
        return None;
    };
    let (payload_bytes, head_bytes) = lengths(second & !MASKED, rest)?;
    let masked_head_bytes = head_bytes + KEY_BYTES;
    let frame_bytes = masked_head_bytes + usize::try_from(payload_bytes).ok()?;
    let frame = bytes.get_mut(..frame_bytes)?;
    let (head, payload) = frame.split_at_mut(masked_head_bytes);
    let key = &head[head_bytes..];
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    head[1] &= !MASKED;
    head.copy_within(..head_bytes, KEY_BYTES);
    Some((first & 0x0F, KEY_BYTES..frame_bytes))
}

/// Turns an unmasked ping into its pong.
pub(crate) fn answer_ping(ping: &mut [u8]) -> &[u8] {
    ping[0] = FIN | PONG;
    ping
}
