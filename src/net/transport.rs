//! The socket of one connection: receiving into the buffer that the loop shares, sending the outbox.
//! This is where encryption will stand between the two.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::outbox::Outbox;

/// What one attempt to receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    Bytes(usize),
    Nothing,
    /// The peer sends no more.
    End,
}

#[derive(Debug)]
pub(crate) struct Transport {
    stream: TcpStream,
    pub(crate) outbox: Outbox,
    /// There may be more to receive. The poll tells only once (it is edge-triggered), so this is kept.
    is_readable: bool,
    /// The poll has announced an end or an error, which no read that merely empties the socket shows.
    is_end_announced: bool,
    is_read_ended: bool,
    /// The socket takes more, as far as is known.
    is_writable: bool,
    is_write_ended: bool,
    /// Why nothing can be sent any more.
    write_error: Option<io::Error>,
}

impl Transport {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            outbox: Outbox::default(),
            is_readable: false,
            is_end_announced: false,
            is_read_ended: false,
            is_writable: true,
            is_write_ended: false,
            write_error: None,
        }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn set_readable(&mut self, is_end: bool) {
        self.is_readable = true;
        self.is_end_announced |= is_end;
    }

    pub(crate) fn is_read_ended(&self) -> bool {
        self.is_read_ended
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.is_readable
    }

    pub(crate) fn set_writable(&mut self) {
        self.is_writable = true;
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable && self.write_error.is_none()
    }

    pub(crate) fn is_write_ended(&self) -> bool {
        self.is_write_ended
    }

    /// Nothing can be sent any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.write_error.is_some()
    }

    /// Receives once. A read that does not fill the buffer has emptied the socket.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Receipt> {
        if self.has_failed() {
            // Answers to what was received after that have nowhere to go.
            self.outbox = Outbox::default();
        }
        match retry_interrupted(|| self.stream.read(buffer)) {
            Ok(0) => {
                self.is_readable = false;
                self.is_read_ended = true;
                Ok(Receipt::End)
            }
            Ok(len) => {
                self.is_readable = len == buffer.len() || self.is_end_announced;
                Ok(Receipt::Bytes(len))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                self.write_error.take().map_or(Ok(Receipt::Nothing), Err)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends what the socket takes of the outbox; returns the bytes sent. What is left goes when the
    /// poll says that the socket takes more.
    pub(crate) fn flush(&mut self) -> io::Result<usize> {
        let Self { stream, outbox, .. } = self;
        let mut sent = 0;
        while !outbox.is_empty() {
            let written = outbox.write_to(|slices| {
                retry_interrupted(|| match slices {
                    [slice] => stream.write(slice),
                    slices => stream.write_vectored(slices),
                })
            });
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_writable = false;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Nothing can be sent any more. The error shows when all that was received before is read.
    pub(crate) fn give_up_writing(&mut self, error: io::Error) {
        self.outbox = Outbox::default();
        self.is_writable = false;
        self.is_end_announced = true;
        self.is_readable = true;
        self.write_error = Some(error);
    }

    /// Tells the peer that nothing more will come. To drop a socket with unread input instead would
    /// make the kernel reset it, and the peer could lose what was sent last (RFC 9112 §9.6).
    pub(crate) fn end_writing(&mut self) {
        if !self.is_write_ended {
            self.is_write_ended = true;
            // The peer may be gone already, and then there is nobody to tell.
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
    }
}

fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
