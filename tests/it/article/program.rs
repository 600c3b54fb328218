//! The program of the article that wsmesh comes from, written again with tokio-tungstenite: a map
//! of addresses behind a mutex, a task a connection, a broadcast to everyone every few seconds.
//! It dials its peers once and accepts everyone. Here the seconds are short, and what it receives
//! goes to a list instead of the terminal.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::Lines;

type Peers = Arc<Mutex<HashMap<SocketAddr, UnboundedSender<Message>>>>;

/// The running program; it ends, with all its connections, when it is dropped.
pub(super) struct Article {
    /// `ADDRESS TEXT` for every message received.
    pub(super) received: Lines,
    address: SocketAddr,
    peers: Peers,
    /// Its tasks live as long as this.
    _runtime: Runtime,
}

impl Article {
    /// Starts it on a free port of 127.0.0.1 and dials `peers`.
    pub(super) fn start(peers: &[String], interval: Duration) -> Article {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a free port of 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket");
        let received = Lines::default();
        let map = Peers::default();

        runtime.spawn(broadcast(map.clone(), address, interval));
        for url in peers {
            runtime.spawn(dial(url.clone(), map.clone(), received.clone()));
        }
        runtime.spawn(accept(listener, map.clone(), received.clone()));
        Article {
            received,
            address,
            peers: map,
            _runtime: runtime,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// How many peers it has.
    pub(super) fn peer_count(&self) -> usize {
        self.peers.lock().expect("no panic").len()
    }

    /// Lets go of all connections without a Close, as when its machine restarts.
    pub(super) fn lose_all_peers(&self) {
        self.peers.lock().expect("no panic").clear();
    }
}

async fn broadcast(peers: Peers, bind: SocketAddr, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        for (index, sender) in peers.lock().expect("no panic").values().enumerate() {
            let text = format!("Message to client {index} from {bind}");
            // Its task has ended and takes it out of the map.
            let _ = sender.send(Message::text(text));
        }
    }
}

async fn dial(url: String, peers: Peers, received: Lines) {
    let (socket, _) = match tokio_tungstenite::connect_async(&url).await {
        Ok(connected) => connected,
        Err(error) => return received.push(format!("{url} failed: {error}")),
    };
    let address = match socket.get_ref() {
        MaybeTlsStream::Plain(stream) => stream.peer_addr().expect("a connected socket"),
        _ => unreachable!("the URL says ws://"),
    };
    handle(socket, address, peers, received).await;
}

async fn accept(listener: TcpListener, peers: Peers, received: Lines) {
    while let Ok((stream, address)) = listener.accept().await {
        let (peers, received) = (peers.clone(), received.clone());
        tokio::spawn(async move {
            match tokio_tungstenite::accept_async(stream).await {
                Ok(socket) => handle(socket, address, peers, received).await,
                Err(error) => received.push(format!("{address} failed: {error}")),
            }
        });
    }
}

async fn handle<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    address: SocketAddr,
    peers: Peers,
    received: Lines,
) {
    let (sender, mut outgoing) = unbounded_channel();
    peers.lock().expect("no panic").insert(address, sender);
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
                None => break,
            },
            message = socket.next() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    received.push(format!("{address} {message}"));
                }
                Some(Ok(_)) => {}
                None | Some(Err(Error::ConnectionClosed)) => break,
                Some(Err(error)) => {
                    received.push(format!("{address} failed: {error}"));
                    break;
                }
            },
        }
    }
    peers.lock().expect("no panic").remove(&address);
}
