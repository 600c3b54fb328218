//! WebSocket frames by hand (RFC 6455, section 5.2), right or wrong.

use std::fmt;

/// One frame. [`Raw::send_frame`](super::Raw::send_frame) masks as its role demands; to break that
/// rule or any other, send the bytes of [`encode`](Frame::encode) or
/// [`encode_claiming`](Frame::encode_claiming).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// The three reserved bits, RSV1 the highest.
    pub(crate) rsv: u8,
    pub(crate) opcode: u8,
    /// The masking key; a decoded frame has none (its payload is unmasked already and
    /// [`Raw::was_masked`](super::Raw::was_masked) tells).
    pub(crate) mask: Option<[u8; 4]>,
    /// Never masked here.
    pub(crate) payload: Vec<u8>,
}

/// How the length stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LengthForm {
    /// Within the second byte: up to 125.
    Seven,
    /// Two bytes more: up to 65,535.
    Sixteen,
    /// Eight bytes more.
    SixtyFour,
}

impl LengthForm {
    /// The only form that the RFC allows for a length.
    pub(crate) fn minimal(len: u64) -> LengthForm {
        match len {
            0..=125 => LengthForm::Seven,
            126..=0xffff => LengthForm::Sixteen,
            _ => LengthForm::SixtyFour,
        }
    }
}

impl Frame {
    pub(crate) const CONTINUATION: u8 = 0x0;
    pub(crate) const TEXT: u8 = 0x1;
    pub(crate) const BINARY: u8 = 0x2;
    pub(crate) const CLOSE: u8 = 0x8;
    pub(crate) const PING: u8 = 0x9;
    pub(crate) const PONG: u8 = 0xa;

    /// A final frame of any opcode.
    pub(crate) fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            fin: true,
            rsv: 0,
            opcode,
            mask: None,
            payload: payload.into(),
        }
    }

    pub(crate) fn text(payload: impl Into<Vec<u8>>) -> Frame {
        Frame::new(Frame::TEXT, payload)
    }

    pub(crate) fn binary(payload: impl Into<Vec<u8>>) -> Frame {
        Frame::new(Frame::BINARY, payload)
    }

    pub(crate) fn continuation(payload: impl Into<Vec<u8>>) -> Frame {
        Frame::new(Frame::CONTINUATION, payload)
    }

    pub(crate) fn ping(payload: impl Into<Vec<u8>>) -> Frame {
        Frame::new(Frame::PING, payload)
    }

    pub(crate) fn pong(payload: impl Into<Vec<u8>>) -> Frame {
        Frame::new(Frame::PONG, payload)
    }

    pub(crate) fn close(code: u16, reason: &str) -> Frame {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        Frame::new(Frame::CLOSE, payload)
    }

    /// Without FIN: more fragments follow.
    pub(crate) fn unfinished(mut self) -> Frame {
        self.fin = false;
        self
    }

    /// With reserved bits, `0b100` for RSV1.
    pub(crate) fn with_rsv(mut self, rsv: u8) -> Frame {
        self.rsv = rsv;
        self
    }

    /// Masked with a key that is not zero.
    pub(crate) fn masked(mut self) -> Frame {
        self.mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        self
    }

    /// The code of a Close frame; `None` if it carries none.
    #[track_caller]
    pub(crate) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, Frame::CLOSE, "a Close frame, not {self:?}");
        let code = self.payload.get(..2)?;
        Some(u16::from_be_bytes([code[0], code[1]]))
    }

    /// The reason of a Close frame.
    #[track_caller]
    pub(crate) fn close_reason(&self) -> String {
        assert_eq!(self.opcode, Frame::CLOSE, "a Close frame, not {self:?}");
        String::from_utf8_lossy(self.payload.get(2..).unwrap_or_default()).into_owned()
    }

    /// The payload as text.
    pub(crate) fn payload_text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The bytes on the wire.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let len = self.payload.len() as u64;
        self.encode_claiming(len, LengthForm::minimal(len))
    }

    /// The bytes on the wire with a header that claims any length in any form, whatever the
    /// payload really is.
    pub(crate) fn encode_claiming(&self, len: u64, form: LengthForm) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload.len() + 14);
        bytes.push(u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode);
        let masked = u8::from(self.mask.is_some()) << 7;
        match form {
            LengthForm::Seven => bytes.push(masked | (len as u8 & 0x7f)),
            LengthForm::Sixteen => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            LengthForm::SixtyFour => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&len.to_be_bytes());
            }
        }
        match self.mask {
            None => bytes.extend_from_slice(&self.payload),
            Some(key) => {
                bytes.extend_from_slice(&key);
                bytes.extend(
                    self.payload
                        .iter()
                        .zip(key.iter().cycle())
                        .map(|(byte, key)| byte ^ key),
                );
            }
        }
        bytes
    }

    /// Takes one frame off the front of `bytes`, unmasked, with the length it had there and
    /// whether it was masked; `None` if it is not there in full.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Frame, usize, bool)> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (len, mut at) = match second & 0x7f {
            126 => {
                let len = bytes.get(2..4)?;
                (u64::from(u16::from_be_bytes(len.try_into().ok()?)), 4)
            }
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            len => (u64::from(len), 2),
        };
        let is_masked = second & 0x80 != 0;
        let key: [u8; 4] = if is_masked {
            at += 4;
            bytes.get(at - 4..at)?.try_into().ok()?
        } else {
            [0; 4]
        };
        let end = at.checked_add(usize::try_from(len).ok()?)?;
        let payload = bytes
            .get(at..end)?
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        let frame = Frame {
            fin: first & 0x80 != 0,
            rsv: first >> 4 & 0x7,
            opcode: first & 0xf,
            mask: None,
            payload,
        };
        Some((frame, end, is_masked))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.opcode {
            Frame::CONTINUATION => "continuation",
            Frame::TEXT => "text",
            Frame::BINARY => "binary",
            Frame::CLOSE => "close",
            Frame::PING => "ping",
            Frame::PONG => "pong",
            _ => "reserved",
        };
        let shown: String = self.payload_text().chars().take(80).collect();
        write!(
            f,
            "{name}({:#x}) fin={} rsv={:03b} {} bytes {shown:?}",
            self.opcode,
            self.fin,
            self.rsv,
            self.payload.len()
        )
    }
}

#[test]
fn frames_survive_encoding_and_decoding() {
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        let plain = Frame::binary(super::letters(len));
        for sent in [plain.clone(), plain.clone().masked()] {
            let bytes = sent.encode();
            let decoded = Frame::decode(&bytes);
            assert_eq!(
                decoded,
                Some((plain.clone(), bytes.len(), sent.mask.is_some()))
            );
            assert_eq!(Frame::decode(&bytes[..bytes.len() - 1]), None);
        }
    }
    // The examples of RFC 6455, section 5.7.
    assert_eq!(Frame::text("Hello").encode(), b"\x81\x05Hello");
    assert_eq!(
        Frame::text("Hello").masked().encode(),
        [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
        ]
    );
}
