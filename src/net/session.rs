//! The WebSocket protocol of one connection: received bytes in, messages out, answers into the outbox.
//! Pure: there is no socket here, only tungstenite on a stream that this file makes up.
//!
//! Tungstenite never holds bytes back on the way out (what it writes is queued at once), and at the end
//! of a received message it holds none on the way in, because bytes are handed to it frame by frame.
//! That makes the outbox the only account of what waits for the peer, and lets a session that rests between two
//! messages do without: a context of tungstenite takes more memory than all else of an idle connection.

use std::{
    io::{self, Read, Write},
    mem,
};

use bytes::Bytes;
use tungstenite::{
    Error, Message as Frame,
    error::ProtocolError,
    protocol::{CloseFrame, WebSocketContext},
};

use super::{
    close::CloseReason,
    contexts::{Contexts, KEPT_BYTES},
    frame::{HEADER_BYTES_MAX, Role},
    outbox::Outbox,
};
use crate::message::Message;

/// What a session makes of received bytes, one thing at a time.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Step {
    Message(Message),
    Pong(Bytes),
    /// The peer's Close; the answer is queued by the next step if ours was not sent before.
    Close(CloseReason),
    /// All bytes are worked through, and more may come.
    Drained,
    /// Both sides have sent their Close, and it is up to us to end the connection.
    Finished,
    /// The connection is of no more use. Where the reason has a code, a Close was queued.
    Broken(CloseReason),
}

/// One WebSocket connection after the upgrade.
#[derive(Debug)]
pub(crate) struct Session {
    /// While a message or the end is under way.
    context: Option<Box<WebSocketContext>>,
    framing: Framing,
    role: Role,
    message_bytes_max: usize,
}

impl Session {
    pub(crate) fn new(role: Role, message_bytes_max: usize) -> Self {
        Self {
            context: None,
            framing: Framing::default(),
            role,
            message_bytes_max,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Works through received bytes up to the next thing worth telling, and takes what it has worked
    /// through off `unread`; `end` tells that the peer will send no more after them.
    pub(crate) fn step(
        &mut self,
        unread: &mut &[u8],
        end: bool,
        outbox: &mut Outbox,
        contexts: &mut Contexts,
    ) -> Step {
        if unread.is_empty() && !end && self.context.is_none() {
            return Step::Drained;
        }
        let (context, framing) = self.parts(contexts);
        let mut wire = Wire {
            unread,
            end,
            framing,
            outbox,
        };
        let reason = match next_frame(context, &mut wire) {
            Ok(step) => return step,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.rest(contexts);
                return Step::Drained;
            }
            Err(Error::ConnectionClosed) => return Step::Finished,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return Step::Broken(CloseReason::Vanished);
            }
            Err(Error::Capacity(_)) => CloseReason::TooBig(self.message_bytes_max),
            Err(Error::Utf8(_)) => CloseReason::NotUtf8,
            Err(Error::Protocol(error)) => CloseReason::Protocol(error.to_string()),
            Err(error) => CloseReason::Protocol(error.to_string()),
        };
        self.close(&reason, outbox, contexts);
        Step::Broken(reason)
    }

    /// Queues a Close, unless one was queued before.
    pub(crate) fn close(
        &mut self,
        reason: &CloseReason,
        outbox: &mut Outbox,
        contexts: &mut Contexts,
    ) {
        let Some((code, reason)) = reason.frame() else {
            return;
        };
        let (context, framing) = self.parts(contexts);
        let mut wire = Wire {
            unread: &mut &[][..],
            end: false,
            framing,
            outbox,
        };
        let reason = reason.into();
        // The stream takes everything; an error only tells that the session has ended already.
        let _ = context.close(&mut wire, Some(CloseFrame { code, reason }));
    }

    /// What a message takes that has come in part. A frame has its place as soon as its header is there.
    pub(crate) fn held_bytes(&self) -> usize {
        self.framing.message_bytes
    }

    fn parts(&mut self, contexts: &mut Contexts) -> (&mut WebSocketContext, &mut Framing) {
        let (role, message_bytes_max) = (self.role, self.message_bytes_max);
        let context = self
            .context
            .get_or_insert_with(|| contexts.take(role, message_bytes_max));
        (context, &mut self.framing)
    }

    /// Between two messages a context is as good as new.
    fn rest(&mut self, contexts: &mut Contexts) {
        if !self.framing.is_at_rest() {
            return;
        }
        let context = self.context.take_if(|context| context.can_write());
        let is_grown = mem::take(&mut self.framing.is_grown);
        if let Some(context) = context.filter(|_| !is_grown) {
            contexts.give_back(self.role, context);
        }
    }
}

/// The next frame that is worth telling. Pings are answered by tungstenite, with the next call.
fn next_frame(context: &mut WebSocketContext, wire: &mut Wire<'_, '_>) -> Result<Step, Error> {
    loop {
        match context.read(wire)? {
            Frame::Text(text) => return Ok(Step::Message(Message::Text(text))),
            Frame::Binary(bytes) => return Ok(Step::Message(Message::Binary(bytes))),
            Frame::Pong(payload) => return Ok(Step::Pong(payload)),
            Frame::Close(frame) => return Ok(Step::Close(by_peer(frame))),
            Frame::Ping(_) | Frame::Frame(_) => {}
        }
    }
}

fn by_peer(frame: Option<CloseFrame>) -> CloseReason {
    let (code, reason) = frame.map_or((None, String::new()), |frame| {
        (Some(frame.code.into()), frame.reason.as_str().to_owned())
    });
    CloseReason::ByPeer(code, reason)
}

/// The stream that tungstenite sees: reading consumes what was received, writing queues.
struct Wire<'a, 'b> {
    unread: &'a mut &'b [u8],
    end: bool,
    framing: &'a mut Framing,
    outbox: &'a mut Outbox,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return if self.end {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let offered = &self.unread[..self.unread.len().min(buffer.len())];
        let taken = self.framing.take(offered);
        buffer[..taken].copy_from_slice(&offered[..taken]);
        *self.unread = &self.unread[taken..];
        Ok(taken)
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbox.push_control(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Follows frame boundaries, and nothing else, in the bytes that go to tungstenite.
#[derive(Debug, Default)]
struct Framing {
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The last data frame was not final: tungstenite holds a part of a message.
    is_mid_message: bool,
    /// A frame has made tungstenite's buffer larger than is worth keeping.
    is_grown: bool,
    /// What the message under way takes of memory, as far as its frames have announced.
    message_bytes: usize,
    payload_left: u64,
}

impl Framing {
    /// How many of `bytes` belong to the frame under way; it counts them as taken.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.payload_left == 0 {
            let Some(byte) = bytes.get(taken) else {
                return taken;
            };
            self.header[usize::from(self.header_len)] = *byte;
            self.header_len += 1;
            taken += 1;
            if usize::from(self.header_len) == self.header_size() {
                self.end_header();
                if self.payload_left == 0 {
                    self.end_frame();
                    return taken;
                }
            }
        }
        let payload = (bytes.len() - taken).min(self.payload_left.try_into().unwrap_or(usize::MAX));
        self.payload_left -= payload as u64;
        if self.payload_left == 0 {
            self.end_frame();
        }
        taken + payload
    }

    /// Neither a frame nor a message is under way.
    fn is_at_rest(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0 && !self.is_mid_message
    }

    fn length_size(&self) -> usize {
        match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    /// Bytes of the header under way, as far as is known.
    fn header_size(&self) -> usize {
        if self.header_len < 2 {
            return 2;
        }
        let mask_size = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + self.length_size() + mask_size
    }

    fn end_header(&mut self) {
        self.header_len = 0;
        self.payload_left = match self.length_size() {
            0 => u64::from(self.header[1] & 0x7f),
            size => self.header[2..2 + size]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let is_control = self.header[0] & 0x08 != 0;
        if !is_control {
            let was_mid_message = self.is_mid_message;
            self.is_mid_message = self.header[0] & 0x80 == 0;
            let payload = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
            // A part is copied to those before it, and room for more grows by doubling.
            let copies = 1 + usize::from(was_mid_message || self.is_mid_message);
            let bytes = payload.saturating_mul(copies);
            self.message_bytes = self.message_bytes.saturating_add(bytes);
        }
        self.is_grown |= self.payload_left > KEPT_BYTES;
    }

    fn end_frame(&mut self) {
        if !self.is_mid_message {
            self.message_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE_BYTES_MAX: usize = 1 << 20;

    /// A masked frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..126 => bytes.push(0x80 | len as u8),
            len @ 126..0x10000 => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        let key = [1, 2, 3, 4];
        bytes.extend_from_slice(&key);
        bytes.extend(
            payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        bytes
    }

    struct Peer {
        session: Session,
        outbox: Outbox,
        contexts: Contexts,
        heard: Vec<String>,
    }

    impl Peer {
        fn new() -> Self {
            let session = Session::new(Role::Server, MESSAGE_BYTES_MAX);
            Self {
                session,
                outbox: Outbox::default(),
                contexts: Contexts::default(),
                heard: Vec::new(),
            }
        }

        /// Works through all bytes and returns how it ended.
        fn receive(&mut self, mut bytes: &[u8], end: bool) -> Step {
            loop {
                let (outbox, contexts) = (&mut self.outbox, &mut self.contexts);
                self.heard
                    .push(match self.session.step(&mut bytes, end, outbox, contexts) {
                        Step::Message(Message::Text(text)) => format!("text {text}"),
                        Step::Message(Message::Binary(bytes)) => format!("binary {}", bytes.len()),
                        Step::Pong(payload) => format!("pong {payload:?}"),
                        Step::Close(reason) => format!("close {reason}"),
                        step => return step,
                    });
            }
        }
    }

    #[test]
    fn what_came_before_an_error_is_heard_and_the_error_is_answered() {
        let mut peer = Peer::new();
        let bytes = [
            frame(0x81, b"one"),
            frame(0x82, &[7; 200]),
            frame(0x83, b""),
        ]
        .concat();
        assert!(matches!(
            peer.receive(&bytes, false),
            Step::Broken(CloseReason::Protocol(_))
        ));
        assert_eq!(peer.heard, ["text one", "binary 200"]);
        assert_eq!(peer.outbox.take_all()[2..4], 1002u16.to_be_bytes());
    }

    #[test]
    fn a_ping_is_answered_and_a_close_ends_the_session() {
        let mut peer = Peer::new();
        assert_eq!(peer.receive(&frame(0x89, b"hi"), false), Step::Drained);
        assert_eq!(peer.outbox.take_all(), b"\x8a\x02hi");
        assert_eq!(
            peer.receive(&frame(0x88, &1000u16.to_be_bytes()), false),
            Step::Finished
        );
        assert_eq!(peer.heard, ["close closed by peer with code 1000"]);
        assert_eq!(peer.outbox.take_all(), [0x88, 2, 3, 232]);
    }

    #[test]
    fn what_is_answered_to_a_message_goes_before_the_answer_to_a_close() {
        let mut peer = Peer::new();
        let bytes = [frame(0x81, b"one"), frame(0x88, b"")].concat();
        let mut unread = &bytes[..];
        let (outbox, contexts) = (&mut peer.outbox, &mut peer.contexts);
        let first = peer.session.step(&mut unread, false, outbox, contexts);
        assert_eq!(first, Step::Message(Message::text("one")));
        peer.outbox.push_control(Bytes::from_static(b"answer"));
        assert_eq!(peer.receive(unread, false), Step::Finished);
        assert_eq!(peer.outbox.take_all(), b"answer\x88\0");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_1007() {
        let mut peer = Peer::new();
        assert_eq!(
            peer.receive(&frame(0x81, &[0xff]), false),
            Step::Broken(CloseReason::NotUtf8)
        );
        assert_eq!(peer.outbox.take_all()[2..4], 1007u16.to_be_bytes());
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_with_1009() {
        let mut peer = Peer::new();
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&(MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        let reason = CloseReason::TooBig(MESSAGE_BYTES_MAX);
        assert_eq!(peer.receive(&header, false), Step::Broken(reason));
        assert_eq!(peer.outbox.take_all()[2..4], 1009u16.to_be_bytes());
    }

    #[test]
    fn an_end_without_a_close_is_told() {
        let mut peer = Peer::new();
        assert_eq!(
            peer.receive(&frame(0x81, b"x"), true),
            Step::Broken(CloseReason::Vanished)
        );
        assert_eq!(peer.heard, ["text x"]);
    }

    #[test]
    fn between_messages_and_only_there_a_session_does_without_a_context() {
        let mut peer = Peer::new();
        let large = frame(0x82, &[1; 100_000]);
        let (head, tail) = large.split_at(50_000);
        assert_eq!(peer.receive(head, false), Step::Drained);
        assert!(peer.session.context.is_some());
        assert_eq!(peer.receive(tail, false), Step::Drained);
        assert!(peer.session.context.is_none());
        assert_eq!(peer.receive(&frame(0x01, b"open "), false), Step::Drained);
        assert!(peer.session.context.is_some());
        assert_eq!(peer.receive(&frame(0x80, b"end"), false), Step::Drained);
        assert!(peer.session.context.is_none());
        assert_eq!(peer.heard, ["binary 100000", "text open end"]);
    }

    #[test]
    fn a_message_takes_its_place_with_its_header_and_leaves_it_when_it_is_whole() {
        let mut peer = Peer::new();
        let mut hear = |bytes: &[u8]| {
            assert_eq!(peer.receive(bytes, false), Step::Drained);
            peer.session.held_bytes()
        };
        let whole = frame(0x82, &[7; 1000]);
        assert_eq!(hear(&whole[..3]), 0, "nobody knows yet");
        assert_eq!(hear(&whole[3..8]), 1000);
        assert_eq!(hear(&whole[8..]), 0);
        // A part is kept beside the message that it becomes part of.
        assert_eq!(hear(&frame(0x02, &[7; 300])), 600);
        assert_eq!(hear(&frame(0x89, b"ping")), 600);
        assert_eq!(hear(&frame(0x00, &[7; 50])), 700);
        assert_eq!(hear(&frame(0x80, &[7; 10])), 0);
        assert_eq!(hear(&frame(0x89, b"ping")), 0);
    }

    proptest! {
        /// However the bytes are cut, the same is heard.
        #[test]
        fn the_cuts_do_not_matter(
            messages in prop::collection::vec((0usize..4, prop::collection::vec(any::<u8>(), 0..300)), 1..12),
            cuts in prop::collection::vec(1usize..200, 1..40),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &messages {
                match kind {
                    0 => bytes.extend(frame(0x82, payload)),
                    1 => bytes.extend(frame(0x89, &payload[..payload.len().min(125)])),
                    2 => {
                        bytes.extend(frame(0x02, payload));
                        bytes.extend(frame(0x8a, b"unasked"));
                        bytes.extend(frame(0x80, payload));
                    }
                    _ => bytes.extend(frame(0x81, format!("{payload:?}").as_bytes())),
                }
            }
            let mut whole = Peer::new();
            prop_assert_eq!(whole.receive(&bytes, false), Step::Drained);
            // Two that hear the same one after the other, each with the contexts that the other has left.
            let (mut one, mut other) = (Peer::new(), Peer::new());
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (part, left) = rest.split_at((*cut).min(rest.len()));
                prop_assert_eq!(one.receive(part, false), Step::Drained);
                mem::swap(&mut one.contexts, &mut other.contexts);
                prop_assert_eq!(other.receive(part, false), Step::Drained);
                mem::swap(&mut one.contexts, &mut other.contexts);
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            let sent = whole.outbox.take_all();
            for mut peer in [one, other] {
                prop_assert_eq!(&whole.heard, &peer.heard);
                prop_assert_eq!(&sent, &peer.outbox.take_all());
                prop_assert!(peer.session.framing.is_at_rest());
            }
        }

        /// No bytes make a session panic, and after the end it is over.
        #[test]
        fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut peer = Peer::new();
            if peer.receive(&bytes, false) == Step::Drained {
                prop_assert_ne!(peer.receive(&[], true), Step::Drained);
            }
        }
    }
}
