//! The design that most articles teach, as a server to compare with: tokio-tungstenite with its
//! defaults on the default runtime, a task per connection, and a map from address to the sending
//! end of an unbounded channel behind a mutex. A broadcast locks the map and sends to each; what a
//! peer publishes goes to each other one in the same way.
//!
//! It is pinned to one core like the other servers, for which the runtime starts one worker: the
//! figures are without what its threads would cost each other.
//!
//! The one thing changed is TCP_NODELAY, which all servers here set: without it the kernel holds
//! small frames back and a burst looks cheap.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::command::{self, ServerCommand};
use crate::wire;

type Peers = Arc<Mutex<HashMap<SocketAddr, UnboundedSender<Message>>>>;

/// Serves until standard input ends.
pub(crate) fn run() -> io::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    let peers = Peers::default();
    tokio::spawn(accept(listener, Arc::clone(&peers)));

    // The broadcast runs on the runtime, as one driven by an interval would; only waiting for the
    // driver needs a thread.
    let (sender, mut commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(Some(command)) = command::next() {
            if sender.send(command).is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            broadcast(command, &peers);
        }
    })
    .await
    .map_err(io::Error::other)
}

async fn accept(listener: TcpListener, peers: Peers) {
    while let Ok((stream, address)) = listener.accept().await {
        tokio::spawn(converse(stream, address, Arc::clone(&peers)));
    }
}

async fn converse(stream: TcpStream, address: SocketAddr, peers: Peers) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let socket = tokio_tungstenite::accept_async(stream).await?;
    let (mut outgoing, mut incoming) = socket.split();
    let (sender, mut messages) = mpsc::unbounded_channel();
    lock(&peers).insert(address, sender);
    loop {
        tokio::select! {
            Some(message) = messages.recv() => if outgoing.send(message).await.is_err() { break },
            received = incoming.next() => match received {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    relay(&message, address, &peers);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    lock(&peers).remove(&address);
    Ok(())
}

fn broadcast(command: ServerCommand, peers: &Peers) {
    let ServerCommand::Broadcast { count, bytes } = command else {
        return;
    };
    for _ in 0..count {
        let message = Message::text(wire::text(bytes));
        for peer in lock(peers).values() {
            // The task of a peer that has gone takes it out of the map.
            let _ = peer.send(message.clone());
        }
    }
}

fn relay(message: &Message, publisher: SocketAddr, peers: &Peers) {
    for (&address, peer) in &*lock(peers) {
        if address != publisher {
            let _ = peer.send(message.clone());
        }
    }
}

fn lock(peers: &Peers) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, UnboundedSender<Message>>> {
    peers.lock().expect("no holder of the lock panics")
}
