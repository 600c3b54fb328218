//! What the peers of an ordeal say and hear: requests and their answers, frames of either side.

use tungstenite::handshake::derive_accept_key;

use crate::subprotocol::SUBPROTOCOL;

/// Opcodes (RFC 6455 §5.2).
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A frame of a node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) fn request(path: &str) -> Vec<u8> {
    request_with(path, "")
}

/// Asks for the upgrade to a neighbor.
pub(super) fn request_of_neighbor() -> Vec<u8> {
    request_with("/", &format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"))
}

fn request_with(path: &str, fields: &str) -> Vec<u8> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{fields}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    request.into_bytes()
}

/// Grants the upgrade that is asked for; `fields` are further ones.
pub(super) fn grant(request: &str, fields: &str) -> Vec<u8> {
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then(|| value.trim())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{fields}\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    response.into_bytes()
}

/// What a neighbor says first.
pub(super) fn hello(id: u8) -> Vec<u8> {
    let hello = format!(
        r#"{{"type":"hello","min":1,"max":1,"id":"{id:032x}","network":"default","degree":1,"degree_max":9}}"#
    );
    hello.into_bytes()
}

/// A message that a neighbor passes on: of which origin, and its number there.
pub(super) fn publication(origin: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 1];
    frame.extend(u128::from(origin).to_be_bytes());
    frame.extend(sequence.to_be_bytes());
    frame.extend([2, b'/', b'a']);
    frame.extend(payload);
    frame
}

/// A masked frame, as a client sends it.
pub(super) fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [7, 0, 255, 42];
    let mut frame = head(opcode, is_last, payload.len());
    frame[1] |= 0x80;
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

/// A frame as a server sends it.
pub(super) fn frame_of_server(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(opcode, is_last, payload.len());
    frame.extend(payload);
    frame
}

fn head(opcode: u8, is_last: bool, len: usize) -> Vec<u8> {
    let mut head = vec![opcode | if is_last { 0x80 } else { 0 }];
    match len {
        ..=125 => head.push(len as u8),
        126..=0xffff => {
            head.push(126);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend((len as u64).to_be_bytes());
        }
    }
    head
}

/// Takes the head of a request or a response, once it is whole.
pub(super) fn take_head(inbox: &mut Vec<u8>) -> Option<String> {
    let end = inbox.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head: Vec<u8> = inbox.drain(..end).collect();
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Takes the head of a response: its status.
pub(super) fn take_response(inbox: &mut Vec<u8>) -> Option<u16> {
    let head = take_head(inbox)?;
    head.split(' ').nth(1)?.parse().ok()
}

/// Takes a frame, once it is whole; `is_masked`: it is of a client.
pub(super) fn take_frame(inbox: &mut Vec<u8>, is_masked: bool) -> Option<Heard> {
    let &[first, second, ..] = &inbox[..] else {
        return None;
    };
    assert_eq!(first & 0xf0, 0x80, "a node sends whole messages");
    assert_eq!(
        second >= 0x80,
        is_masked,
        "a client masks, and a server does not"
    );
    let (len, head_len) = match second & 0x7f {
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
    let key_len = if is_masked { 4 } else { 0 };
    let key = inbox.get(head_len..head_len + key_len)?.to_vec();
    let head_len = head_len + key_len;
    if inbox.len() < head_len + len {
        return None;
    }
    let mut payload: Vec<u8> = inbox.drain(..head_len + len).skip(head_len).collect();
    let masked = payload.iter_mut().zip(key.iter().cycle());
    masked.for_each(|(byte, key)| *byte ^= key);
    let opcode = first & 0x0f;
    Some(Heard { opcode, payload })
}
