//! A neighbor by hand: it speaks `wsmesh.v1` through no code of ours, as well or as badly as a test wants.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Frame, Raw};

/// Types of the binary frames.
pub(super) const MESSAGE: u8 = 1;
pub(super) const ANNOUNCEMENT: u8 = 2;
pub(super) const REQUEST: u8 = 3;
pub(super) const ASKED: u8 = 4;

/// The payload of a message is text.
pub(super) const TEXT: u8 = 1;

/// A connection that has negotiated the subprotocol, and who says to be at its end.
pub(super) struct Member {
    pub(super) raw: Raw,
    pub(super) id: u128,
}

impl Member {
    /// Connects; says nothing yet.
    #[track_caller]
    pub(super) fn connect(address: SocketAddr, id: u128) -> Member {
        Member::over(Raw::connect(address), address, id)
    }

    /// … over a connection of the test's choice.
    #[track_caller]
    pub(super) fn over(mut raw: Raw, address: SocketAddr, id: u128) -> Member {
        let offer = "\r\nSec-WebSocket-Protocol: wsmesh.v1\r\n\r\n";
        raw.send(Raw::request(address, "/").replace("\r\n\r\n", offer));
        let head = raw.expect_upgraded();
        assert!(
            head.contains("wsmesh.v1"),
            "the subprotocol is selected: {head}"
        );
        Member { raw, id }
    }

    /// Connects and says hello; the other side has answered when this returns.
    #[track_caller]
    pub(super) fn join(address: SocketAddr, id: u128, role: &str) -> Member {
        let mut member = Member::connect(address, id);
        member.say(&member.hello(role));
        let hello = member.hear("hello");
        assert_eq!(hello["network"], "default");
        member
    }

    /// The hello of a node that begins now.
    pub(super) fn hello(&self, role: &str) -> Value {
        json!({
            "type": "hello", "min": 1, "max": 1, "id": format!("{:032x}", self.id),
            "network": "default", "role": role,
        })
    }

    /// Sends a control frame.
    #[track_caller]
    pub(super) fn say(&mut self, control: &Value) {
        self.raw.send_frame(Frame::text(control.to_string()));
    }

    /// Reads until a control frame of this type comes, and answers pings.
    #[track_caller]
    pub(super) fn hear(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.raw.read_frame();
            match frame.opcode {
                Frame::TEXT => {}
                Frame::PING => {
                    self.raw.send_frame(Frame::pong(frame.payload));
                    continue;
                }
                _ => continue,
            }
            let control: Value = serde_json::from_slice(&frame.payload).expect("JSON");
            if control["type"] == kind {
                return control;
            }
        }
    }

    /// The frame of a message that this member publishes in the channel `/`.
    pub(super) fn message(&self, sequence: u32, text: &str) -> Frame {
        message(self.id, sequence, text)
    }
}

/// The frame of a message in the channel `/`, as its origin sends it.
pub(super) fn message(origin: u128, sequence: u32, text: &str) -> Frame {
    let mut bytes = vec![MESSAGE, TEXT, 1];
    bytes.extend(origin.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(b"\x01/");
    bytes.extend(text.as_bytes());
    Frame::binary(bytes)
}

/// A frame that announces or asks for these messages of one origin.
pub(super) fn ids(kind: u8, origin: u128, sequences: impl IntoIterator<Item = u32>) -> Frame {
    let sequences: Vec<_> = sequences.into_iter().collect();
    let mut bytes = vec![kind];
    bytes.extend(origin.to_be_bytes());
    bytes.extend((sequences.len() as u16).to_be_bytes());
    sequences
        .iter()
        .for_each(|sequence| bytes.extend(sequence.to_be_bytes()));
    Frame::binary(bytes)
}
