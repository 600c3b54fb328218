//! Two thousand plain peers at five nodes.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::site::{Site, wait_joined, wait_tree};
use crate::support::{Frame, Raw, need_descriptors};

const NODES: usize = 5;
const PEERS: usize = 2000;
const MESSAGES: usize = 400;
/// Between two messages of any publisher: 100 a second.
const INTERVAL: Duration = Duration::from_millis(10);
/// All is delivered within this time after it was published.
const DELIVERED: Duration = Duration::from_secs(60);

/// A plain peer, and what it has heard.
struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
    /// Of each publisher, the number of the message that is to come next.
    next: [usize; NODES],
    heard: usize,
}

impl Peer {
    fn connect(site: &Site) -> Peer {
        let raw = Raw::upgraded(site.address(), "/load");
        let stream = raw.sender();
        stream.set_nonblocking(true).expect("O_NONBLOCK");
        Peer {
            stream: TcpStream::from_std(stream),
            received: Vec::new(),
            next: [0; NODES],
            heard: 0,
        }
    }

    #[track_caller]
    fn send(&mut self, frame: Frame) {
        let bytes = frame.masked().encode();
        let sent = self.stream.write(&bytes);
        assert_eq!(sent.expect("the socket has room"), bytes.len());
    }

    /// Reads what is there; each publisher's messages have to come in order and without a gap.
    fn read(&mut self, buffer: &mut [u8]) {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the node has hung up"),
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let mut at = 0;
        while let Some((frame, len, _)) = Frame::decode(&self.received[at..]) {
            at += len;
            match frame.opcode {
                Frame::TEXT => self.hear(&frame.payload_text()),
                Frame::PING => self.send(Frame::pong(frame.payload)),
                _ => panic!("{frame:?}"),
            }
        }
        self.received.drain(..at);
    }

    fn hear(&mut self, text: &str) {
        let (publisher, number) = text.split_once(' ').expect("two numbers");
        let publisher: usize = publisher.parse().expect("a number");
        let number: usize = number.parse().expect("a number");
        let next = &mut self.next[publisher];
        assert_eq!(number, *next, "of publisher {publisher}");
        *next += 1;
        self.heard += 1;
    }
}

#[test]
fn every_plain_peer_of_five_nodes_hears_everything_in_order() {
    need_descriptors(PEERS as u64 + 500);
    let mut sites: Vec<Site> = Vec::new();
    for _ in 0..NODES {
        let peers: Vec<_> = sites.iter().take(2).map(Site::url).collect();
        sites.push(Site::start(&[], &peers));
    }
    wait_joined(&sites.iter().collect::<Vec<_>>(), NODES);
    // On the way to a tree, one message may overtake another.
    wait_tree(&sites);
    let begun = Instant::now();
    let connect = |index: usize| Peer::connect(&sites[index % NODES]);
    let mut peers: Vec<_> = (0..PEERS).map(connect).collect();
    println!("{PEERS} peers after {:.1?}", begun.elapsed());
    let mut poll = Poll::new().expect("a poll");
    for (index, peer) in peers.iter_mut().enumerate() {
        let registered =
            poll.registry()
                .register(&mut peer.stream, Token(index), Interest::READABLE);
        registered.expect("a socket can be polled");
    }

    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 << 10]);
    let begun = Instant::now();
    let mut published = 0;
    // The first peer of each node publishes, and does not hear itself.
    let expected = |index: usize| match index {
        0..NODES => MESSAGES - MESSAGES / NODES,
        _ => MESSAGES,
    };
    let total: usize = (0..PEERS).map(expected).sum();
    let mut heard = 0;
    while heard < total {
        let due = begun + INTERVAL * published as u32;
        let until_due = due.saturating_duration_since(Instant::now());
        if published < MESSAGES && until_due.is_zero() {
            let (publisher, number) = (published % NODES, published / NODES);
            let frame = Frame::text(format!("{publisher} {number}"));
            peers[publisher].send(frame);
            published += 1;
            continue;
        }
        let timeout = match published {
            MESSAGES => DELIVERED,
            _ => until_due,
        };
        poll.poll(&mut events, Some(timeout)).expect("a poll");
        for event in &events {
            let peer = &mut peers[event.token().0];
            let before = peer.heard;
            peer.read(&mut buffer);
            heard += peer.heard - before;
        }
        let late = begun.elapsed().saturating_sub(INTERVAL * MESSAGES as u32);
        assert!(late < DELIVERED, "{heard} of {total} deliveries");
    }
    println!("{total} deliveries after {:.1?}", begun.elapsed());

    // Nothing comes twice: what is published now comes next.
    let last = MESSAGES / NODES;
    peers[0].send(Frame::text(format!("0 {last}")));
    let mut missing = PEERS - 1;
    while missing > 0 {
        poll.poll(&mut events, Some(DELIVERED)).expect("a poll");
        assert!(
            !events.is_empty(),
            "{missing} have not heard the last message"
        );
        for event in &events {
            let peer = &mut peers[event.token().0];
            let before = peer.heard;
            peer.read(&mut buffer);
            missing -= peer.heard - before;
        }
    }
    for (index, peer) in peers.iter().enumerate() {
        assert_eq!(peer.heard, expected(index) + usize::from(index > 0));
    }
    for site in &sites {
        site.node().assert_no_error_logged();
    }
}
