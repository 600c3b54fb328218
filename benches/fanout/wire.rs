//! The bytes that every role must agree on: the upgrade, the frames and the content of a message.
//!
//! Written out by hand so that neither the floor nor the generator pays for a WebSocket library.

use std::net::SocketAddr;

/// Opcode of a text message.
pub(crate) const TEXT: u8 = 0x1;
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
        let (payload_bytes, length) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), SERVER_HEAD_BYTES_MAX),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
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

/// Head of a short masked frame: two bytes and the key.
const CLIENT_HEAD_BYTES: usize = 6;

/// Unmasks the payload of the client's frame at the start of `bytes`, and says its opcode and how
/// long it is; `None` when more is needed. Payloads over 125 bytes are not understood: the floor
/// hears pings and Closes only.
pub(crate) fn unmask_client_frame(bytes: &mut [u8]) -> Option<(u8, usize)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    let (opcode, payload_bytes) = (*first & 0x0F, usize::from(*second & !MASKED));
    let (key, rest) = rest.split_first_chunk_mut::<4>()?;
    let payload = rest.get_mut(..payload_bytes)?;
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    Some((opcode, CLIENT_HEAD_BYTES + payload_bytes))
}

/// Turns an unmasked ping into its pong where it stands, without a copy.
pub(crate) fn pong_in_place(ping: &mut [u8]) -> &[u8] {
    const HEAD_AT: usize = CLIENT_HEAD_BYTES - 2;
    ping[HEAD_AT] = FIN | PONG;
    ping[HEAD_AT + 1] = ping[1] & !MASKED;
    &ping[HEAD_AT..]
}
