//! TLS for the floor and for the generator: what any small server would put around a library, and no more.
//!
//! The library is the one of wsmesh with the same settings, so that what is compared is what stands around it.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::Outcome;
use crate::keys::{Keys, NAME};

/// What the floor accepts connections with.
pub(crate) fn server(keys: &Keys) -> Outcome<Arc<ServerConfig>> {
    let chain = vec![CertificateDer::from_pem_file(keys.cert())?];
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(keys.key())?)?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A socket, with TLS around what goes over it or without.
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<Box<Connection>>,
}

impl Wire {
    pub(crate) fn accepted(
        stream: TcpStream,
        config: Option<&Arc<ServerConfig>>,
    ) -> io::Result<Self> {
        let begin = |config| ServerConnection::new(Arc::clone(config)).map_err(io::Error::other);
        let tls = config.map(begin).transpose()?;
        let tls = tls.map(|tls| Box::new(tls.into()));
        Ok(Self { stream, tls })
    }

    pub(crate) fn dialed(
        stream: TcpStream,
        config: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let begin = |config| {
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)
        };
        let tls = config.map(begin).transpose()?;
        let tls = tls.map(|tls| Box::new(tls.into()));
        Ok(Self { stream, tls })
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends what is encrypted and was not taken before. A socket that takes no more, or is not connected yet, is
    /// tried again when it is ready.
    pub(crate) fn send_encrypted(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for Wire {
    /// With TLS, less than the buffer means that the socket is empty, too.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.read(buffer);
        };
        let mut len = 0;
        while len < buffer.len() {
            match tls.reader().read(&mut buffer[len..]) {
                Ok(0) => return Ok(len),
                Ok(read) => {
                    len += read;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match tls.read_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && len > 0 => return Ok(len),
                Err(error) => return Err(error),
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            // Of the handshake.
            while tls.wants_write() {
                tls.write_tls(&mut self.stream)?;
            }
        }
        Ok(len)
    }
}

impl Write for Wire {
    /// With TLS, what the socket does not take at once waits here.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.write(bytes);
        };
        let written = match tls.writer().write(bytes)? {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            written => Ok(written),
        };
        self.send_encrypted()?;
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
