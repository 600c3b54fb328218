//! A peer's end of its connection, in clear or with TLS of its own: rustls as a client, on the simulated socket.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use super::certificate;
use crate::net::simulated::Socket;

/// What is encrypted ahead of what the socket takes.
const AHEAD_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Line {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

impl Line {
    pub(super) fn clear(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    pub(super) fn encrypted(socket: Socket, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(certificate::NAME).expect("a name");
        let mut tls = ClientConnection::new(config, name).expect("it is configured well");
        tls.set_buffer_limit(Some(AHEAD_BYTES_MAX));
        let tls = Some(Box::new(tls));
        Self { socket, tls }
    }

    /// As of a socket. `UnexpectedEof`: it has ended without the end of TLS.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else {
                return self.socket.read(buffer);
            };
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            let mut read = tls.read_tls(&mut Wire(&self.socket)).map(drop);
            if read.is_ok() {
                let worked = tls.process_new_packets().map(drop);
                read = worked.map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
            }
            // What it has to say it says as soon as it can, be it why it goes.
            let flushed = self.flush();
            read.and(flushed)?;
        }
    }

    /// As of a socket; what it has taken may still have to be [flushed](Self::flush).
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write(&[IoSlice::new(bytes)]);
        };
        let len = tls.writer().write(bytes)?;
        self.flush()?;
        match len {
            0 => Err(ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }

    /// Sends what is encrypted, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            match tls.write_tls(&mut Wire(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn end_writing(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush()?;
        self.socket.end_writing()
    }

    pub(super) fn reset(self) {
        self.socket.reset();
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

/// The socket, as rustls wants it.
struct Wire<'a>(&'a Socket);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&[IoSlice::new(bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
