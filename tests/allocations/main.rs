//! How often the node asks for memory when it relays a message: as often for a thousand peers as for ten.
//!
//! A program of its own, since its allocator counts. The peers are bare sockets with buffers that they had
//! before, so that all that is counted is the node's.

use std::{
    alloc::System,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wsmesh::{Config, Node, Received, config::Limits};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A text message of so many bytes.
const MESSAGE_BYTES: usize = 1024;
/// Before it is counted, and then.
const WARM_UP: usize = 100;
const MESSAGES: usize = 200;
/// What chance may add to a message: memory that the node grows once in a while.
const TOLERANCE: f64 = 0.5;

fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    let timeout = Some(Duration::from_secs(30));
    stream.set_read_timeout(timeout).expect("it is not zero");
    stream.write_all(REQUEST).expect("it fits");
    let mut tail = [0; 4];
    while tail != *b"\r\n\r\n" {
        tail.rotate_left(1);
        stream.read_exact(&mut tail[3..]).expect("an answer");
    }
    stream
}

/// FIN and text, masked with zeros, 16 bits of length (RFC 6455 §5.2).
fn published() -> Vec<u8> {
    let length = u16::try_from(MESSAGE_BYTES).expect("it is small");
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(frame.len() + MESSAGE_BYTES, b'x');
    frame
}

/// Allocations for each message that one peer publishes and so many others hear.
fn allocations(peers: usize) -> f64 {
    let config = Config {
        binds: vec!["127.0.0.1:0".parse().expect("an address")],
        interval: None,
        limits: Limits {
            connections_per_address_max: peers + 1,
            publish_rate_max: None,
            publish_bytes_max: None,
            // None is due while it is counted.
            ping_interval: None,
            ..Limits::default()
        },
        ..Config::default()
    };
    let node = Node::new(config).expect("the address is free");
    let (handle, address) = (node.handle(), node.local_addresses()[0]);
    let serving = thread::spawn(move || node.run(&mut |_: &Received<'_>| {}));

    let mut readers: Vec<_> = (0..peers).map(|_| connect(address)).collect();
    let mut publisher = connect(address);
    let frame = published();
    let mut heard = vec![0; 4 + MESSAGE_BYTES];
    let mut publish = |times| {
        for _ in 0..times {
            publisher.write_all(&frame).expect("the node reads");
            for reader in &mut readers {
                reader.read_exact(&mut heard).expect("it is relayed");
                assert_eq!(
                    (heard[0], heard[4], heard.last()),
                    (0x81, b'x', Some(&b'x'))
                );
            }
        }
    };
    publish(WARM_UP);
    let region = Region::new(ALLOCATOR);
    publish(MESSAGES);
    let change = region.change();
    handle.stop();
    serving
        .join()
        .expect("it does not panic")
        .expect("it ends well");
    (change.allocations + change.reallocations) as f64 / MESSAGES as f64
}

#[test]
fn a_message_takes_as_many_allocations_for_a_thousand_peers_as_for_ten() {
    let counted: Vec<_> = [10, 100, 1000]
        .map(|peers| (peers, allocations(peers)))
        .into();
    println!("allocations a message, by peers: {counted:?}");
    let (_, few) = counted[0];
    for (peers, many) in &counted {
        assert!(
            (many - few).abs() <= TOLERANCE,
            "{peers} peers: {counted:?}"
        );
    }
}
