//! tokio-tungstenite as a peer that speaks the protocol of `tests/peers/README.md`.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::Lines;

/// Where the connections' tasks take the messages to send.
type Connections = Arc<Mutex<Vec<UnboundedSender<Message>>>>;

/// Starts it on a thread of its own; it listens if there is no `url` to dial, and ends when the
/// sender of commands is dropped.
pub(super) fn start(url: Option<&str>) -> (UnboundedSender<String>, Lines) {
    let (commands, heard) = unbounded_channel();
    let events = Lines::default();
    let (url, said) = (url.map(str::to_owned), events.clone());
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(run(url, heard, said));
    });
    (commands, events)
}

async fn run(url: Option<String>, mut heard: UnboundedReceiver<String>, events: Lines) {
    let connections = Connections::default();
    if url.is_none() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port of 127.0.0.1");
        let port = listener.local_addr().expect("a bound socket").port();
        events.push(format!("listening {port}"));
        tokio::spawn(accept(listener, connections.clone(), events.clone()));
    }
    while let Some(line) = heard.recv().await {
        let mut words = line.splitn(2, ' ');
        let command = words.next().unwrap_or_default();
        let rest = words.next().unwrap_or_default();
        match command {
            "connect" => {
                for _ in 0..rest.parse().expect("connect N") {
                    let url = url.clone().expect("a peer that dials");
                    tokio::spawn(dial(url, connections.clone(), events.clone()));
                }
            }
            "all" => {
                for connection in connections.lock().expect("no panic").iter() {
                    // Closed meanwhile: its own event says so.
                    let _ = connection.send(Message::text(rest));
                }
            }
            _ => {
                let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let index: usize = number.parse().expect("the number of a connection");
                let connection = connections.lock().expect("no panic")[index].clone();
                for message in messages(command, number, rest, &events) {
                    // Closed meanwhile: its own event says so.
                    let _ = connection.send(message);
                }
            }
        }
    }
}

/// The messages that a command about one connection asks for.
fn messages(command: &str, number: &str, rest: &str, events: &Lines) -> Vec<Message> {
    match command {
        "text" => vec![Message::text(rest)],
        "binary" => {
            let digits: Vec<char> = rest.chars().collect();
            let byte = |pair: &[char]| {
                u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("HEX")
            };
            vec![Message::binary(
                digits.chunks(2).map(byte).collect::<Vec<u8>>(),
            )]
        }
        "large" => {
            let (kind, size) = rest.split_once(' ').expect("large I KIND SIZE");
            let text = crate::support::letters(size.parse().expect("SIZE"));
            events.push(format!(
                "sent {number} {kind} {size} {}",
                crc32(text.as_bytes())
            ));
            vec![match kind {
                "binary" => Message::binary(text.into_bytes()),
                _ => Message::text(text),
            }]
        }
        "burst" => {
            let (count, words) = rest.split_once(' ').expect("burst I COUNT WORDS");
            let count: usize = count.parse().expect("COUNT");
            (0..count)
                .map(|at| Message::text(format!("{words} {at}")))
                .collect()
        }
        "ping" => vec![Message::Ping(rest.to_owned().into())],
        "close" if rest.is_empty() => vec![Message::Close(None)],
        "close" => {
            let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let code: u16 = code.parse().expect("CODE");
            vec![Message::Close(Some(CloseFrame {
                code: code.into(),
                reason: reason.to_owned().into(),
            }))]
        }
        _ => panic!("unknown command {command}"),
    }
}

#[allow(
    clippy::result_large_err,
    reason = "the type of the callback is tungstenite's"
)]
async fn accept(listener: TcpListener, connections: Connections, events: Lines) {
    while let Ok((stream, _)) = listener.accept().await {
        let (connections, events) = (connections.clone(), events.clone());
        tokio::spawn(async move {
            let mut path = String::new();
            let callback = |request: &Request, response: Response| {
                path = request.uri().to_string();
                Ok(response)
            };
            match tokio_tungstenite::accept_hdr_async(stream, callback).await {
                Ok(socket) => serve(socket, &path, connections, events).await,
                Err(error) => events.push(format!("failed accept {error}")),
            }
        });
    }
}

async fn dial(url: String, connections: Connections, events: Lines) {
    match tokio_tungstenite::connect_async(&url).await {
        Ok((socket, _)) => {
            let path = url.splitn(4, '/').nth(3).unwrap_or_default();
            serve(socket, &format!("/{path}"), connections, events).await;
        }
        Err(error) => events.push(format!("failed connect {error}")),
    }
}

/// One connection until it is closed.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    path: &str,
    connections: Connections,
    events: Lines,
) {
    let (outgoing, mut queued) = unbounded_channel();
    let number = {
        let mut connections = connections.lock().expect("no panic");
        connections.push(outgoing);
        connections.len() - 1
    };
    events.push(format!("open {number} {path}"));
    let mut code = 1006;
    let mut reason = String::new();
    loop {
        tokio::select! {
            message = queued.recv() => match message {
                Some(message) => {
                    if let Err(error) = socket.send(message).await {
                        events.push(format!("failed {number} {error}"));
                    }
                }
                // The test is over.
                None => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let shown = if text.len() <= 100 { text.as_str() } else { "" };
                    events.push(format!(
                        "text {number} {} {} {shown}", text.len(), crc32(text.as_bytes())
                    ));
                }
                Some(Ok(Message::Binary(bytes))) => {
                    let shown: String = if bytes.len() <= 100 {
                        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
                    } else {
                        String::new()
                    };
                    events.push(format!("binary {number} {} {} {shown}", bytes.len(), crc32(&bytes)));
                }
                Some(Ok(Message::Pong(payload))) => {
                    events.push(format!("pong {number} {}", String::from_utf8_lossy(&payload)));
                }
                Some(Ok(Message::Close(frame))) => {
                    (code, reason) = match frame {
                        Some(frame) => (frame.code.into(), frame.reason.to_string()),
                        None => (1005, String::new()),
                    };
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    events.push(format!("failed {number} {error}"));
                    break;
                }
                None => break,
            },
        }
    }
    events.push(format!("closed {number} {code} {reason}"));
}

/// CRC-32 as the other implementations compute it.
fn crc32(bytes: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    format!("{:08x}", !crc)
}

#[test]
fn crc32_is_the_one_of_zlib() {
    assert_eq!(crc32(b"123456789"), "cbf43926");
}
