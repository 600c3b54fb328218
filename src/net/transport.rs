//! The socket of one connection: receiving into the buffer that the loop shares, sending the outbox, with TLS
//! between the two or without. A connection without pays for it with a look at a pointer.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use super::{
    kernel::Stream,
    outbox::Outbox,
    tls::{Encryption, Incoming},
};

/// What one attempt to receive brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    Bytes(usize),
    Nothing,
    /// A step of the TLS handshake, and no bytes.
    Step,
    /// The peer sends no more.
    End,
    /// Where TLS is spoken, a request of HTTP has come in clear. From now on it is answered so.
    ClearHttp,
    /// TLS does not come about, or not go on, in words for the log. What the peer hears of it waits to be
    /// sent; nothing else can be.
    TlsFailed(String),
}

#[derive(Debug)]
pub(crate) struct Transport {
    stream: Stream,
    encryption: Option<Box<Encryption>>,
    pub(crate) outbox: Outbox,
    /// There may be more to receive. The poll tells only once (it is edge-triggered), so this is kept.
    is_readable: bool,
    /// The poll has announced an end or an error, which no read that merely empties the socket shows.
    is_end_announced: bool,
    is_read_ended: bool,
    /// With TLS the peer says that it sends no more, and did not.
    is_cut_off: bool,
    /// The socket takes more, as far as is known.
    is_writable: bool,
    is_write_ended: bool,
    /// Why nothing can be sent any more.
    write_error: Option<io::Error>,
}

impl Transport {
    pub(crate) fn new(stream: Stream, encryption: Option<Box<Encryption>>) -> Self {
        Self {
            stream,
            encryption,
            outbox: Outbox::default(),
            is_readable: false,
            is_end_announced: false,
            is_read_ended: false,
            is_cut_off: false,
            is_writable: true,
            is_write_ended: false,
            write_error: None,
        }
    }

    /// Speaks TLS from now on, where it is to be spoken. Nothing may wait to be sent.
    pub(crate) fn encrypt(&mut self, encryption: Option<Box<Encryption>>) {
        self.encryption = encryption;
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn set_readable(&mut self, is_end: bool) {
        self.is_readable = true;
        self.is_end_announced |= is_end;
    }

    /// The poll has said that the other side sends no more, or that there is an error.
    pub(crate) fn is_end_announced(&self) -> bool {
        self.is_end_announced
    }

    pub(crate) fn is_read_ended(&self) -> bool {
        self.is_read_ended
    }

    /// The peer has gone without the word that TLS asks for, or somebody has cut it off.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// TLS is not up yet, so nobody can be told anything.
    pub(crate) fn is_handshaking(&self) -> bool {
        let encryption = self.encryption.as_ref();
        encryption.is_some_and(|encryption| encryption.is_handshaking())
    }

    /// What the peer makes TLS hold before the handshake is over.
    pub(crate) fn handshake_bytes(&self) -> usize {
        let encryption = self.encryption.as_ref();
        encryption.map_or(0, |encryption| encryption.handshake_bytes())
    }

    /// Something waits that can be sent as soon as the socket takes it. When that has failed nothing does, be it encrypted
    /// already.
    pub(crate) fn has_pending(&self) -> bool {
        match &self.encryption {
            _ if self.has_failed() => false,
            None => !self.outbox.is_empty(),
            Some(encryption) => encryption.has_pending(&self.outbox),
        }
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
        match &self.encryption {
            Some(encryption) if !encryption.has_failed() => self.receive_encrypted(buffer),
            _ => self.receive_clear(buffer),
        }
    }

    fn receive_clear(&mut self, buffer: &mut [u8]) -> io::Result<Receipt> {
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

    fn receive_encrypted(&mut self, buffer: &mut [u8]) -> io::Result<Receipt> {
        let Some(encryption) = &mut self.encryption else {
            return Ok(Receipt::Nothing);
        };
        let received = encryption.receive(&mut self.stream, buffer, self.is_end_announced);
        self.is_readable = !received.is_drained || self.is_end_announced;
        Ok(match received.what {
            Incoming::Bytes(len) => Receipt::Bytes(len),
            Incoming::Step => Receipt::Step,
            Incoming::Nothing if received.is_drained => {
                self.is_readable = false;
                return self.write_error.take().map_or(Ok(Receipt::Nothing), Err);
            }
            Incoming::Nothing => Receipt::Nothing,
            Incoming::End { is_announced } => {
                self.is_readable = false;
                self.is_read_ended = true;
                self.is_cut_off = !is_announced;
                Receipt::End
            }
            Incoming::Http => {
                self.encryption = None;
                Receipt::ClearHttp
            }
            Incoming::Failed(what) => {
                self.outbox = Outbox::default();
                Receipt::TlsFailed(what)
            }
            Incoming::Lost(error) => return Err(error),
        })
    }

    /// Whether bytes can go to the socket without being queued.
    pub(crate) fn is_free(&self) -> bool {
        self.outbox.is_empty() && self.encryption.is_none() && self.is_writable()
    }

    /// Sends what the socket takes of `bytes`, past the outbox; returns how many that are, and adds them to `counted`
    /// even if it fails then. The rest has to be queued. Only for a transport that [is free](Self::is_free).
    pub(crate) fn send_past(&mut self, bytes: &[u8], counted: &mut u64) -> io::Result<usize> {
        debug_assert!(self.is_free());
        let Self {
            stream,
            is_writable,
            ..
        } = self;
        until_blocked(is_writable, counted, |sent| {
            let rest = &bytes[sent..];
            (!rest.is_empty()).then(|| retry_interrupted(|| stream.write(rest)))
        })
    }

    /// Sends what the socket takes of the outbox, and adds the bytes to `counted` even if it fails then. What is left
    /// goes when the poll says that the socket takes more.
    pub(crate) fn flush(&mut self, counted: &mut u64) -> io::Result<()> {
        let Self { stream, outbox, .. } = self;
        if let Some(encryption) = &mut self.encryption {
            let sent = encryption.send(stream, outbox)?;
            self.is_writable &= !sent.is_blocked;
            *counted += sent.bytes as u64;
            return Ok(());
        }
        until_blocked(&mut self.is_writable, counted, |_| {
            let write = |slices: &[IoSlice<'_>]| {
                retry_interrupted(|| match slices {
                    [slice] => stream.write(slice),
                    slices => stream.write_vectored(slices),
                })
            };
            (!outbox.is_empty()).then(|| outbox.write_to(write))
        })?;
        Ok(())
    }

    /// Tells the peer of TLS, if the socket takes it at once, that this is the end: nobody waits any more.
    pub(crate) fn end_encryption(&mut self) {
        if !self.is_write_ended
            && let Some(encryption) = &mut self.encryption
            && !encryption.is_handshaking()
        {
            encryption.close();
            // An error means that nobody hears it; of what is counted nothing waits.
            let _ = self.flush(&mut 0);
        }
    }

    /// Nothing can be sent any more. The error shows when all that was received before is read.
    pub(crate) fn give_up_writing(&mut self, error: io::Error) {
        self.outbox = Outbox::default();
        self.is_writable = false;
        self.is_end_announced = true;
        self.is_readable = true;
        self.write_error = Some(error);
    }

    /// Tells the peer that nothing more will come, as soon as the socket takes that. To drop a socket with unread
    /// input instead would make the kernel reset it, and the peer could lose what was sent last (RFC 9112 §9.6).
    pub(crate) fn end_writing(&mut self) {
        if !self.is_write_ended {
            if let Some(encryption) = &mut self.encryption {
                encryption.close();
                // An error means that nobody hears it; of what is counted nothing waits.
                if self.flush(&mut 0).is_ok() && !self.is_writable {
                    return;
                }
            }
            self.is_write_ended = true;
            // The peer may be gone already, and then there is nobody to tell.
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
    }
}

/// Writes until there is nothing more, which `write` says when it is told how much was written so far, or until the
/// socket takes no more. Returns the bytes written, which `counted` counts even if an error follows.
fn until_blocked(
    is_writable: &mut bool,
    counted: &mut u64,
    mut write: impl FnMut(usize) -> Option<io::Result<usize>>,
) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(written) = write(sent) {
        match written {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                sent += written;
                *counted += written as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *is_writable = false;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_an_error_is_counted() {
        let (mut is_writable, mut counted) = (true, 0);
        let sent = until_blocked(&mut is_writable, &mut counted, |sent| {
            Some(match sent {
                0 => Ok(5),
                _ => Err(ErrorKind::ConnectionReset.into()),
            })
        });
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(counted, 5);
    }
}
