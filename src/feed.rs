//! Messages from a stream of bytes, such as standard input, for a loop that must not wait for them.

use std::{
    fmt,
    io::{self, ErrorKind},
    os::fd::RawFd,
};

use bytes::Bytes;
use mio::{Interest, Registry, unix::SourceFd};
use tungstenite::Utf8Bytes;

use crate::{
    config::limits::FEED_PORTION_BYTES,
    framing::{Decoder, Framing, Piece},
    message::Message,
    net::Source,
};

/// Where the bytes come from. Called from the loop, so it must never block.
pub trait Input {
    /// Takes bytes that are there, as many as fit; none are the end.
    ///
    /// # Errors
    /// `WouldBlock`: there are none now. All others are the end, too.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Descriptor that becomes readable when there are bytes again. Where there is none, or one that cannot be
    /// polled, as of a file, there are always some.
    fn descriptor(&self) -> Option<RawFd>;
}

/// What has come.
#[derive(Debug)]
pub(crate) enum Fed {
    Message(Message),
    /// A message that is larger than it may be, and is left out.
    TooBig,
    /// Nothing now; it may be that there is more, see [`Feed::has_more`].
    Nothing,
    /// Nothing any more.
    End,
    /// … though it was not to be the end.
    Broken(String),
}

/// Messages from an [`Input`].
pub(crate) struct Feed<'a> {
    input: Box<dyn Input + Send + 'a>,
    decoder: Decoder,
    /// Whether messages are binary. Otherwise they are text, as far as they are UTF-8.
    is_binary: bool,
    buffer: Box<[u8]>,
    /// What of the buffer is not worked through.
    unread: std::ops::Range<usize>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There may be something to read.
    Ready,
    /// The poll tells when there is.
    Waiting,
    Ended,
}

impl fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<'a> Feed<'a> {
    pub(crate) fn new(
        input: Box<dyn Input + Send + 'a>,
        framing: Framing,
        is_binary: bool,
        message_bytes_max: usize,
    ) -> Self {
        Self {
            input,
            decoder: Decoder::new(framing, message_bytes_max),
            is_binary,
            buffer: vec![0; FEED_PORTION_BYTES].into(),
            unread: 0..0,
            state: State::Ready,
        }
    }

    /// Lets the poll tell when there is something to read.
    pub(crate) fn register(&self, registry: &Registry) {
        let Some(descriptor) = self.input.descriptor() else {
            return;
        };
        let source = Source::Input.into();
        let mut descriptor = SourceFd(&descriptor);
        if let Err(error) = registry.register(&mut descriptor, source, Interest::READABLE) {
            log::debug!("standard input is not polled: {error}");
        }
    }

    /// The poll says that there is something to read, or it may be so for another reason.
    pub(crate) fn on_ready(&mut self) {
        if self.state == State::Waiting {
            self.state = State::Ready;
        }
    }

    /// Whether there may be something without waiting.
    pub(crate) fn has_more(&self) -> bool {
        self.state == State::Ready || !self.unread.is_empty()
    }

    /// What comes next. Reads once at most.
    pub(crate) fn poll(&mut self) -> Fed {
        if self.unread.is_empty() && self.state == State::Ready {
            match self.input.read(&mut self.buffer) {
                Ok(0) => return self.end(),
                Ok(count) => self.unread = 0..count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => return Fed::Nothing,
                    ErrorKind::WouldBlock => self.state = State::Waiting,
                    _ => {
                        self.state = State::Ended;
                        return Fed::Broken(format!("cannot read standard input: {error}"));
                    }
                },
            }
        }
        let mut unread = &self.buffer[self.unread.clone()];
        let piece = self.decoder.next(&mut unread);
        self.unread.start = self.unread.end - unread.len();
        match piece {
            Some(piece) => self.fed(piece),
            None if self.state == State::Ended => Fed::End,
            None => Fed::Nothing,
        }
    }

    fn end(&mut self) -> Fed {
        self.state = State::Ended;
        let last = self.decoder.end();
        last.map_or(Fed::End, |piece| self.fed(piece))
    }

    fn fed(&self, piece: Piece) -> Fed {
        match piece {
            Piece::Message(bytes) => Fed::Message(self.message(bytes)),
            Piece::TooBig => Fed::TooBig,
            Piece::CutOff(bytes) => Fed::Broken(format!(
                "standard input has ended within a message, after {bytes} bytes of it"
            )),
        }
    }

    /// What is not UTF-8 cannot be text, and is not lost for it.
    fn message(&self, bytes: Bytes) -> Message {
        match self.is_binary {
            true => Message::Binary(bytes),
            false => match Utf8Bytes::try_from(bytes.clone()) {
                Ok(text) => Message::Text(text),
                Err(_) => Message::Binary(bytes),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Portions one after the other; `None` is a time without any.
    struct Portions(VecDeque<Option<&'static [u8]>>);

    impl Input for Portions {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                None => Ok(0),
                Some(None) => Err(ErrorKind::WouldBlock.into()),
                Some(Some(bytes)) => {
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    Ok(bytes.len())
                }
            }
        }

        fn descriptor(&self) -> Option<RawFd> {
            None
        }
    }

    fn feed(is_binary: bool, portions: &[Option<&'static [u8]>]) -> Feed<'static> {
        let input = Portions(portions.iter().copied().collect());
        Feed::new(Box::new(input), Framing::Lines, is_binary, 10)
    }

    #[track_caller]
    fn expect(feed: &mut Feed<'_>, expected: Message) {
        match feed.poll() {
            Fed::Message(message) => assert_eq!(message, expected),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_come_as_they_are_there() {
        let mut feed = feed(false, &[Some(b"one\ntw"), None, Some(b"o\n\xff\nend")]);
        assert!(feed.has_more());
        expect(&mut feed, Message::text("one"));
        assert!(matches!(feed.poll(), Fed::Nothing) && feed.has_more());
        assert!(matches!(feed.poll(), Fed::Nothing) && !feed.has_more());
        feed.on_ready();
        assert!(feed.has_more());
        expect(&mut feed, Message::text("two"));
        expect(&mut feed, Message::binary(vec![0xff]));
        assert!(matches!(feed.poll(), Fed::Nothing));
        expect(&mut feed, Message::text("end"));
        assert!(matches!(feed.poll(), Fed::End) && !feed.has_more());
        feed.on_ready();
        assert!(!feed.has_more(), "the end is the end");
    }

    #[test]
    fn binary_is_binary_and_too_much_is_left_out() {
        let mut feed = feed(true, &[Some(b"one\n12345678901\nx\n")]);
        expect(&mut feed, Message::binary("one"));
        assert!(matches!(feed.poll(), Fed::TooBig));
        expect(&mut feed, Message::binary("x"));
        assert!(matches!(feed.poll(), Fed::End));
    }
}
