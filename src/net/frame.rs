//! Messages on their way out: encoded once, shared by all who get the same bytes.

use bytes::Bytes;
pub(crate) use tungstenite::protocol::Role;
use tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use super::{memory::SharedFrames, token::Token};
use crate::message::Message;

/// Longest frame header (RFC 6455 §5.2): two bytes, eight of length, four of masking key.
pub(crate) const HEADER_BYTES_MAX: usize = 14;

/// Frames that are sent in one piece.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// How many messages they are.
    pub(crate) messages: u32,
    /// Others may wait for the same bytes, which count by themselves.
    pub(crate) is_shared: bool,
}

/// Messages that go out together, and their frames for the connections that we accepted, which are the
/// same for all of them. Frames of connections that we dialed are masked with a fresh key each
/// (RFC 6455 §5.3).
#[derive(Debug)]
pub(crate) struct Outgoing {
    messages: Vec<Message>,
    unmasked: Option<Piece>,
}

impl Outgoing {
    pub(crate) fn new(message: Message) -> Self {
        Self {
            messages: vec![message],
            unmasked: None,
        }
    }

    pub(crate) fn message_count(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Puts small messages together, as long as their frames have no more than `bytes_max` together: a
    /// burst then costs a peer little more than one message.
    pub(crate) fn joined(messages: Vec<Message>, bytes_max: usize) -> Vec<Self> {
        let mut joined: Vec<Self> = Vec::new();
        let mut bytes = 0;
        for message in messages {
            let frame_bytes = message.len() + HEADER_BYTES_MAX;
            bytes += frame_bytes;
            match joined.last_mut() {
                Some(last) if bytes <= bytes_max => last.messages.push(message),
                _ => {
                    bytes = frame_bytes;
                    joined.push(Self::new(message));
                }
            }
        }
        joined
    }

    /// What to send over connections that we accepted.
    pub(crate) fn unmasked(&mut self) -> &Piece {
        self.unmasked
            .get_or_insert_with(|| encode_all(&self.messages, Role::Server))
    }

    /// What to send over the one connection that gets it, on which we have this role.
    pub(crate) fn piece_for(&mut self, role: Role) -> Piece {
        match role {
            Role::Server => self.unmasked().clone(),
            Role::Client => encode_all(&self.messages, role),
        }
    }

    /// What to queue for one of the connections that get it, on which we have this role.
    pub(crate) fn shared_piece_for(&mut self, role: Role, frames: &SharedFrames) -> Piece {
        if role == Role::Client {
            return self.piece_for(role);
        }
        let mut piece = self.unmasked().clone();
        if !piece.is_shared {
            piece.bytes = frames.counted(piece.bytes);
            piece.is_shared = true;
            self.unmasked = Some(piece.clone());
        }
        piece
    }
}

/// Messages for everyone but the peer that has sent them.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(super) outgoing: Outgoing,
    /// `None`: of somebody who is not connected here.
    pub(super) from: Option<Token>,
}

impl Relayed {
    /// Puts small messages of the same peer together that follow each other, as [`Outgoing::joined`] does.
    pub(crate) fn joined(messages: Vec<(Message, Option<Token>)>, bytes_max: usize) -> Vec<Self> {
        let same_sender = messages.chunk_by(|(_, one), (_, other)| one == other);
        let joined = same_sender.flat_map(|chunk| {
            let from = chunk[0].1;
            let messages = chunk.iter().map(|(message, _)| message.clone()).collect();
            let joined = Outgoing::joined(messages, bytes_max).into_iter();
            joined.map(move |outgoing| Self { outgoing, from })
        });
        joined.collect()
    }
}

fn encode_all(messages: &[Message], role: Role) -> Piece {
    let mut bytes = Vec::new();
    for message in messages {
        let (opcode, payload) = match message.clone() {
            Message::Text(text) => (OpCode::Data(Data::Text), Bytes::from(text)),
            Message::Binary(bytes) => (OpCode::Data(Data::Binary), bytes),
        };
        encode(Frame::message(payload, opcode, true), role, &mut bytes);
    }
    // What does not fit is kept for as long as the piece is, and shared by all peers.
    bytes.shrink_to_fit();
    Piece {
        bytes: bytes.into(),
        messages: u32::try_from(messages.len()).unwrap_or(u32::MAX),
        is_shared: false,
    }
}

/// A ping to send over a connection on which we have this role.
pub(crate) fn ping(payload: [u8; 4], role: Role) -> Bytes {
    let mut bytes = Vec::new();
    let payload = Bytes::copy_from_slice(&payload);
    encode(Frame::ping(payload), role, &mut bytes);
    bytes.into()
}

fn encode(mut frame: Frame, role: Role, bytes: &mut Vec<u8>) {
    frame.header_mut().mask = match role {
        Role::Server => None,
        Role::Client => Some(rand::random()),
    };
    bytes.reserve(frame.len());
    frame
        .format(bytes)
        .expect("a vector takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::token::Generation;

    #[test]
    fn accepted_connections_share_one_frame() {
        let mut outgoing = Outgoing::new(Message::text("hello"));
        let first = outgoing.piece_for(Role::Server).bytes;
        assert_eq!(&first[..], b"\x81\x05hello");
        assert_eq!(
            outgoing.piece_for(Role::Server).bytes.as_ptr(),
            first.as_ptr()
        );
    }

    #[test]
    fn small_messages_go_together_in_order() {
        let large = "0123456789".repeat(4);
        let messages = ["a", "bc", "d", &large, "e"].map(|text| Message::text(text.to_owned()));
        let mut joined = Outgoing::joined(messages.to_vec(), 4 + 3 * HEADER_BYTES_MAX);
        let pieces: Vec<_> = joined
            .iter_mut()
            .map(|o| o.piece_for(Role::Server))
            .collect();
        let bytes: Vec<_> = pieces.iter().map(|piece| &piece.bytes[..]).collect();
        let first: &[u8] = b"\x81\x01a\x81\x02bc\x81\x01d";
        assert_eq!(bytes.len(), 3);
        assert_eq!((bytes[0], bytes[2]), (first, &b"\x81\x01e"[..]));
        assert_eq!(bytes[1].len(), 2 + large.len());
        assert_eq!(pieces.iter().map(|piece| piece.messages).sum::<u32>(), 5);
    }

    #[test]
    fn messages_of_different_peers_stay_apart() {
        let peer = |slot| Some(Token::new(slot, Generation::FIRST));
        let from = [peer(1), peer(1), None, None, peer(2), peer(1)];
        let messages = from.map(|from| (Message::text("x"), from)).to_vec();
        let joined = Relayed::joined(messages, 1000);
        let counts: Vec<_> = joined
            .iter()
            .map(|relayed| (relayed.from, relayed.outgoing.message_count()))
            .collect();
        assert_eq!(
            counts,
            [(peer(1), 2), (None, 2), (peer(2), 1), (peer(1), 1)]
        );
    }

    #[test]
    fn a_ping_is_masked_as_a_message_is() {
        assert_eq!(&ping(*b"ping", Role::Server)[..], b"\x89\x04ping");
        assert_eq!(ping(*b"ping", Role::Client)[..2], [0x89, 0x84]);
    }

    #[test]
    fn dialed_connections_get_a_fresh_key_each() {
        let mut outgoing = Outgoing::new(Message::binary(vec![0u8; 300]));
        let frames: Vec<_> = (0..8)
            .map(|_| outgoing.piece_for(Role::Client).bytes)
            .collect();
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
