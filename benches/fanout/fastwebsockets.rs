//! fastwebsockets as a server to compare with: a task per connection on a runtime of one thread, and a broadcast
//! channel of tokio that all of them hear.
//!
//! The upgrade is the floor's, not its own, which would bring hyper along: its figures for accepting a connection are
//! too good.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, after_handshake_split,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, broadcast};

use crate::wire;

/// Messages that a connection may lag behind.
const CHANNEL_MESSAGES: usize = 4096;

#[derive(Clone)]
struct Published {
    by: SocketAddr,
    opcode: OpCode,
    payload: Bytes,
}

/// Serves until standard input ends.
pub(crate) fn run() -> io::Result<()> {
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(serve())
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    let (channel, _) = broadcast::channel(CHANNEL_MESSAGES);
    loop {
        let (stream, address) = listener.accept().await?;
        tokio::spawn(converse(stream, address, channel.clone()));
    }
}

async fn converse(
    mut stream: TcpStream,
    address: SocketAddr,
    channel: broadcast::Sender<Published>,
) -> Result<(), WebSocketError> {
    stream.set_nodelay(true)?;
    upgrade(&mut stream).await?;
    let (incoming, outgoing) = stream.into_split();
    let (incoming, outgoing) =
        after_handshake_split(incoming, outgoing, fastwebsockets::Role::Server);
    let mut incoming = FragmentCollectorRead::new(incoming);
    // Both halves below write, one at a time: they are the same task.
    let outgoing = Mutex::new(outgoing);
    let mut messages = channel.subscribe();

    // Reading is not begun anew for each message: it would lose the part of a frame that has come.
    let receive = async {
        loop {
            let mut answer = |frame| async { outgoing.lock().await.write_frame(frame).await };
            let frame = incoming.read_frame(&mut answer).await?;
            match frame.opcode {
                OpCode::Text | OpCode::Binary => {
                    let payload = Bytes::copy_from_slice(&frame.payload);
                    // It fails when nobody listens, which is no trouble.
                    let _ = channel.send(Published {
                        by: address,
                        opcode: frame.opcode,
                        payload,
                    });
                }
                OpCode::Close => return Ok(()),
                _ => {}
            }
        }
    };
    let send = async {
        // A connection that lags behind is closed.
        while let Ok(message) = messages.recv().await {
            if message.by != address {
                let payload = Payload::Borrowed(&message.payload);
                let frame = Frame::new(true, message.opcode, None, payload);
                outgoing.lock().await.write_frame(frame).await?;
            }
        }
        Ok(())
    };
    tokio::select! {
        outcome = receive => outcome,
        outcome = send => outcome,
    }
}

async fn upgrade(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while wire::head_length(&head).is_none() {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let response = wire::response_head(&head).ok_or(io::ErrorKind::InvalidData)?;
    stream.write_all(response.as_bytes()).await
}
