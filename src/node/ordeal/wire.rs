//! What the peers of an ordeal say and hear: requests, and frames of a client.

/// Opcodes (RFC 6455 §5.2).
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A frame of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) fn request(path: &str) -> Vec<u8> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    request.into_bytes()
}

/// A masked frame.
pub(super) fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [7, 0, 255, 42];
    let mut frame = vec![opcode | if is_last { 0x80 } else { 0 }];
    match payload.len() {
        len @ ..=125 => frame.push(0x80 | len as u8),
        len @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

/// A message in so many frames, with a ping among them.
pub(super) fn fragments(payload: &[u8], count: usize) -> Vec<u8> {
    let len = payload.len().div_ceil(count).max(1);
    let pieces: Vec<_> = payload.chunks(len).collect();
    let mut frames = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { CONTINUATION };
        frames.extend(frame(opcode, index + 1 == pieces.len(), piece));
        if index + 1 < pieces.len() {
            frames.extend(frame(PING, true, b"between"));
        }
    }
    frames
}

/// Takes the head of a response, once it is whole: its status.
pub(super) fn take_head(inbox: &mut Vec<u8>) -> Option<u16> {
    let end = inbox.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = inbox.drain(..end);
    let head: Vec<u8> = head.collect();
    let status = head.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// Takes a frame, once it is whole.
pub(super) fn take_frame(inbox: &mut Vec<u8>) -> Option<Heard> {
    let &[first, second, ..] = &inbox[..] else {
        return None;
    };
    assert_eq!(first & 0xf0, 0x80, "a node sends whole messages");
    let (len, head_len) = match second {
        126 => (
            u16::from_be_bytes(inbox.get(2..4)?.try_into().ok()?) as usize,
            4,
        ),
        127 => (
            u64::from_be_bytes(inbox.get(2..10)?.try_into().ok()?) as usize,
            10,
        ),
        len => (len as usize, 2),
    };
    assert!(second < 0x80, "a server does not mask");
    if inbox.len() < head_len + len {
        return None;
    }
    let payload = inbox.drain(..head_len + len).skip(head_len).collect();
    let opcode = first & 0x0f;
    Some(Heard { opcode, payload })
}
