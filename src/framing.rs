//! How messages follow one another in a stream of bytes: in both directions, and without I/O.

use bytes::Bytes;

use crate::config::choice;

/// Bytes that say how long a message is, in [`Framing::Length`].
const LENGTH_BYTES: usize = 4;

/// What is kept of memory between two messages.
const KEPT_BYTES: usize = 64 * 1024;

/// How messages are told apart in a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// A line feed ends each.
    #[default]
    Lines,
    /// A zero byte ends each.
    Nul,
    /// Before each stands its length in bytes: four bytes, the most significant first.
    Length,
    /// They are not told apart: a whole stream is one message.
    Raw,
}

choice!(
    Framing,
    "framing",
    Lines = "lines",
    Nul = "nul",
    Length = "length",
    Raw = "raw"
);

impl Framing {
    /// Adds a message to a stream. One that has the mark of the framing in itself looks like several.
    pub fn encode(self, message: &[u8], stream: &mut Vec<u8>) {
        if self == Self::Length {
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            stream.extend_from_slice(&length.to_be_bytes());
        }
        stream.extend_from_slice(message);
        stream.extend(self.mark());
    }

    /// What ends a message.
    fn mark(self) -> Option<u8> {
        match self {
            Self::Lines => Some(b'\n'),
            Self::Nul => Some(0),
            Self::Length | Self::Raw => None,
        }
    }
}

/// What a stream of bytes consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A message.
    Message(Bytes),
    /// A message that is larger than it may be; what there is of it is skipped.
    TooBig,
    /// The stream has ended within a message, of which so many bytes are there.
    CutOff(usize),
}

/// Finds the messages in a stream of bytes that comes in portions of any size. Holds one message at most.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    message_bytes_max: usize,
    /// What there is of the message under way, its length included.
    held: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Gathering,
    /// Passing over a message that is too large, up to its mark.
    Skipping,
    /// … so many bytes.
    SkippingBytes(usize),
}

impl Decoder {
    /// For messages of so many bytes at most.
    pub fn new(framing: Framing, message_bytes_max: usize) -> Self {
        Self {
            framing,
            message_bytes_max,
            held: Vec::new(),
            state: State::Gathering,
        }
    }

    /// Works through bytes up to the next piece, and takes what it has worked through off `unread`. With no piece, all
    /// is worked through.
    pub fn next(&mut self, unread: &mut &[u8]) -> Option<Piece> {
        while !unread.is_empty() {
            let piece = match (self.state, self.framing.mark()) {
                (State::SkippingBytes(left), _) => {
                    let passed = left.min(unread.len());
                    *unread = &unread[passed..];
                    self.state = match left - passed {
                        0 => State::Gathering,
                        left => State::SkippingBytes(left),
                    };
                    None
                }
                (_, Some(mark)) => self.next_marked(mark, unread),
                (State::Skipping, None) => {
                    *unread = &[];
                    None
                }
                (State::Gathering, None) if self.framing == Framing::Raw => self.gather(unread),
                (State::Gathering, None) => self.next_measured(unread),
            };
            if piece.is_some() {
                return piece;
            }
        }
        None
    }

    /// The stream has ended: what is left of it. Without a mark the last message is one, too.
    pub fn end(&mut self) -> Option<Piece> {
        match (self.state, self.framing) {
            (State::SkippingBytes(_), _) => None,
            (State::Gathering, Framing::Length) if !self.held.is_empty() => {
                Some(Piece::CutOff(self.held.len().saturating_sub(LENGTH_BYTES)))
            }
            (State::Gathering, _) if !self.held.is_empty() => Some(self.message()),
            _ => None,
        }
    }

    fn next_marked(&mut self, mark: u8, unread: &mut &[u8]) -> Option<Piece> {
        let Some(end) = unread.iter().position(|byte| *byte == mark) else {
            return match self.state {
                State::Gathering => self.gather(unread),
                _ => {
                    *unread = &[];
                    None
                }
            };
        };
        let mut part = &unread[..end];
        *unread = &unread[end + 1..];
        if self.state == State::Skipping {
            self.state = State::Gathering;
            return None;
        }
        let too_big = self.gather(&mut part);
        // This was all of it.
        self.state = State::Gathering;
        too_big.or_else(|| Some(self.message()))
    }

    fn next_measured(&mut self, unread: &mut &[u8]) -> Option<Piece> {
        self.hold(LENGTH_BYTES, unread);
        let length = self.held.first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.message_bytes_max {
            self.held.clear();
            self.state = State::SkippingBytes(length);
            return Some(Piece::TooBig);
        }
        self.hold(LENGTH_BYTES + length, unread);
        if self.held.len() < LENGTH_BYTES + length {
            return None;
        }
        self.held.drain(..LENGTH_BYTES);
        Some(self.message())
    }

    /// Takes bytes until so many are held.
    fn hold(&mut self, count: usize, unread: &mut &[u8]) {
        let wanted = count.saturating_sub(self.held.len()).min(unread.len());
        self.held.extend_from_slice(&unread[..wanted]);
        *unread = &unread[wanted..];
    }

    /// Takes all bytes as a part of the message under way.
    fn gather(&mut self, unread: &mut &[u8]) -> Option<Piece> {
        let part = std::mem::take(unread);
        if self.held.len() + part.len() > self.message_bytes_max {
            self.held.clear();
            self.state = State::Skipping;
            return Some(Piece::TooBig);
        }
        self.held.extend_from_slice(part);
        None
    }

    fn message(&mut self) -> Piece {
        let message = Bytes::copy_from_slice(&self.held);
        self.held.clear();
        self.held.shrink_to(KEPT_BYTES);
        Piece::Message(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 8;

    /// All pieces of a stream that comes in portions of these sizes, in turn.
    fn decode(framing: Framing, stream: &[u8], portions: &[usize]) -> Vec<Piece> {
        let mut decoder = Decoder::new(framing, MAX);
        let mut pieces = Vec::new();
        let mut rest = stream;
        let mut sizes = portions.iter().cycle();
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| *size);
            let (mut unread, left) = rest.split_at(size.min(rest.len()));
            rest = left;
            pieces.extend(std::iter::from_fn(|| decoder.next(&mut unread)));
            assert!(unread.is_empty());
        }
        pieces.extend(decoder.end());
        assert!(decoder.held.len() <= MAX + LENGTH_BYTES);
        pieces
    }

    fn message(text: &str) -> Piece {
        Piece::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_mark_ends_a_message_and_the_end_does_too() {
        for (framing, stream) in [
            (Framing::Lines, "a\n\nb\rc\nd"),
            (Framing::Nul, "a\0\0b\rc\0d"),
        ] {
            let expected = ["a", "", "b\rc", "d"].map(message);
            assert_eq!(decode(framing, stream.as_bytes(), &[]), expected);
        }
        assert_eq!(decode(Framing::Lines, b"a\n", &[]), [message("a")]);
        assert_eq!(decode(Framing::Lines, b"", &[]), []);
    }

    #[test]
    fn a_length_goes_before_a_message() {
        let stream = b"\0\0\0\x02hi\0\0\0\0\0\0\0\x01\n";
        let expected = ["hi", "", "\n"].map(message);
        assert_eq!(decode(Framing::Length, stream, &[]), expected);
        let cut = &stream[..stream.len() - 1];
        assert_eq!(decode(Framing::Length, cut, &[])[2], Piece::CutOff(0));
        assert_eq!(decode(Framing::Length, b"\0\0", &[]), [Piece::CutOff(0)]);
        let expected = [Piece::CutOff(1)];
        assert_eq!(decode(Framing::Length, b"\0\0\0\x02h", &[]), expected);
    }

    #[test]
    fn all_is_one_message_unless_it_is_nothing() {
        assert_eq!(decode(Framing::Raw, b"a\n\0b", &[]), [message("a\n\0b")]);
        assert_eq!(decode(Framing::Raw, b"", &[]), []);
    }

    #[test]
    fn what_is_too_big_is_skipped_and_what_follows_is_not() {
        let stream = b"12345678\n123456789\nok\n123456789";
        let expected = [
            message("12345678"),
            Piece::TooBig,
            message("ok"),
            Piece::TooBig,
        ];
        let stream_of_lengths = b"\0\0\0\x09123456789\0\0\0\x02ok";
        let expected_of_lengths = [Piece::TooBig, message("ok")];
        for portions in [&[][..], &[1], &[3, 7]] {
            assert_eq!(decode(Framing::Lines, stream, portions), expected);
            let pieces = decode(Framing::Length, stream_of_lengths, portions);
            assert_eq!(pieces, expected_of_lengths);
            let pieces = decode(Framing::Raw, b"123456789", portions);
            assert_eq!(pieces, [Piece::TooBig]);
        }
        let cut = b"\xff\xff\xff\xffx";
        assert_eq!(decode(Framing::Length, cut, &[]), [Piece::TooBig]);
    }

    proptest! {
        /// However the bytes come, they are the same messages.
        #[test]
        fn portions_do_not_matter(
            framing in prop::sample::select(Framing::ALL),
            stream in prop::collection::vec(prop_oneof![Just(0), Just(b'\n'), Just(3), any::<u8>()], 0..80),
            portions in prop::collection::vec(1usize..9, 1..9),
        ) {
            let whole = decode(framing, &stream, &[]);
            prop_assert_eq!(decode(framing, &stream, &portions), whole);
        }

        #[test]
        fn what_is_encoded_is_decoded(
            framing in prop::sample::select(&[Framing::Lines, Framing::Nul, Framing::Length]),
            messages in prop::collection::vec(prop::collection::vec(1u8..=9, 0..=MAX), 0..9),
            portions in prop::collection::vec(1usize..9, 1..9),
        ) {
            let mut stream = Vec::new();
            messages.iter().for_each(|message| framing.encode(message, &mut stream));
            let expected: Vec<_> = messages
                .into_iter()
                .map(|message| Piece::Message(message.into()))
                .collect();
            prop_assert_eq!(decode(framing, &stream, &portions), expected);
        }
    }
}
