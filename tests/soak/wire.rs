//! How peers of the soak come in: another WebSocket implementation, in clear and with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// What those show who stay.
pub(crate) const LISTENER: &str = "listener-for-all-the-time";
pub(crate) const PUBLISHER: &str = "publisher-for-all-the-time";
pub(crate) const MONITOR: &str = "monitor-for-all-the-time";
pub(crate) const NEIGHBOR: &str = "neighbor-for-all-the-time";

/// What is fed and not flushed goes in one write, up to here: a whole flood, so that however slow the machine is, it comes
/// faster than it may.
const WRITE_BYTES: usize = 64 << 10;

pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

pub(crate) type Socket = WebSocketStream<Box<dyn Wire>>;

/// The two addresses of the node.
pub(crate) struct Door {
    clear: SocketAddr,
    encrypted: SocketAddr,
    connector: TlsConnector,
}

impl Door {
    pub(crate) fn new(
        clear: SocketAddr,
        encrypted: SocketAddr,
        config: Arc<rustls::ClientConfig>,
    ) -> Door {
        let connector = TlsConnector::from(config);
        Door {
            clear,
            encrypted,
            connector,
        }
    }

    pub(crate) fn address(&self, is_encrypted: bool) -> SocketAddr {
        if is_encrypted {
            self.encrypted
        } else {
            self.clear
        }
    }

    pub(crate) async fn connect(&self, is_encrypted: bool) -> TcpStream {
        let socket = TcpStream::connect(self.address(is_encrypted)).await;
        let socket = socket.expect("the node accepts");
        socket.set_nodelay(true).expect("TCP_NODELAY");
        socket
    }

    /// A socket into which little fits while nobody reads it.
    pub(crate) async fn connect_narrow(&self, is_encrypted: bool) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a descriptor is left");
        socket.set_recv_buffer_size(64 << 10).expect("SO_RCVBUF");
        let socket = socket.connect(self.address(is_encrypted)).await;
        socket.expect("the node accepts")
    }

    pub(crate) async fn enter(
        &self,
        is_encrypted: bool,
        path: &str,
        token: &str,
    ) -> Result<Socket, Error> {
        let socket = self.connect(is_encrypted).await;
        self.upgrade(socket, is_encrypted, path, token).await
    }

    pub(crate) async fn upgrade(
        &self,
        socket: TcpStream,
        is_encrypted: bool,
        path: &str,
        token: &str,
    ) -> Result<Socket, Error> {
        let mut request = format!("ws://localhost{path}").into_client_request()?;
        let bearer = format!("Bearer {token}")
            .parse()
            .expect("a value of a header");
        request.headers_mut().insert("authorization", bearer);
        // Thousands of them are in this process.
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(WRITE_BYTES);
        let socket: Box<dyn Wire> = if is_encrypted {
            let name = ServerName::try_from("localhost").expect("a name");
            Box::new(self.connector.connect(name, socket).await?)
        } else {
            Box::new(socket)
        };
        let (socket, _) = client_async_with_config(request, socket, Some(config)).await?;
        Ok(socket)
    }

    /// Whether a token lets somebody in.
    pub(crate) async fn admits(&self, token: &str) -> bool {
        match self.enter(false, "/door", token).await {
            Ok(_) => true,
            Err(Error::Http(answer)) => {
                assert_eq!(answer.status().as_u16(), 401);
                false
            }
            Err(error) => panic!("neither in nor refused: {error}"),
        }
    }
}

/// Makes the end of a connection a reset.
pub(crate) fn end_with_reset(socket: &TcpStream) {
    let socket = socket2::SockRef::from(socket);
    socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}
