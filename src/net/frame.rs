//! A message on its way out: encoded once, shared by all who get the same bytes.

use bytes::Bytes;
use tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use super::session::Role;
use crate::message::Message;

/// A message and its frame for the connections that we accepted, which is the same for all of them.
/// Frames of connections that we dialed are masked with a fresh key each (RFC 6455 §5.3).
#[derive(Debug)]
pub(crate) struct Outgoing {
    opcode: OpCode,
    payload: Bytes,
    unmasked: Option<Bytes>,
}

impl Outgoing {
    pub(crate) fn new(message: Message) -> Self {
        let (opcode, payload) = match message {
            Message::Text(text) => (OpCode::Data(Data::Text), Bytes::from(text)),
            Message::Binary(bytes) => (OpCode::Data(Data::Binary), bytes),
        };
        Self {
            opcode,
            payload,
            unmasked: None,
        }
    }

    /// The bytes to send over a connection on which we have this role.
    pub(crate) fn frame_for(&mut self, role: Role) -> Bytes {
        match role {
            Role::Server => self
                .unmasked
                .get_or_insert_with(|| encode(self.opcode, self.payload.clone(), None))
                .clone(),
            Role::Client => encode(self.opcode, self.payload.clone(), Some(rand::random())),
        }
    }
}

fn encode(opcode: OpCode, payload: Bytes, mask: Option<[u8; 4]>) -> Bytes {
    let mut frame = Frame::message(payload, opcode, true);
    frame.header_mut().mask = mask;
    let mut bytes = Vec::with_capacity(frame.len());
    frame
        .format(&mut bytes)
        .expect("a vector takes all that is written to it");
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_share_one_frame() {
        let mut outgoing = Outgoing::new(Message::text("hello"));
        let first = outgoing.frame_for(Role::Server);
        assert_eq!(&first[..], b"\x81\x05hello");
        assert_eq!(outgoing.frame_for(Role::Server).as_ptr(), first.as_ptr());
    }

    #[test]
    fn dialed_connections_get_a_fresh_key_each() {
        let mut outgoing = Outgoing::new(Message::binary(vec![0u8; 300]));
        let frames: Vec<_> = (0..8).map(|_| outgoing.frame_for(Role::Client)).collect();
        for frame in &frames {
            assert_eq!(frame[..4], [0x82, 0xfe, 1, 44]);
            let key = &frame[4..8];
            assert!(
                frame[8..]
                    .iter()
                    .zip(key.iter().cycle())
                    .all(|(byte, key)| byte ^ key == 0)
            );
        }
        assert!(frames.iter().any(|frame| frame[4..8] != frames[0][4..8]));
    }
}
