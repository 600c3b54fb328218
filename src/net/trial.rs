//! A network on real sockets and with a time of its own, and a client that turns with it: for tests.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Waker};
use rand::{SeedableRng, rngs::SmallRng};
use tungstenite::{Message as Frame, WebSocket};

use super::{
    CloseReason, Entrance, Event, Kernel, Kind, Network, Readiness, Source, Token, frame::Role,
};
use crate::{
    config::{Config, PeerUrl},
    message::Message,
    node_id::NodeId,
};

/// Turns after which what a test waits for will not come: ten seconds and more.
const TURNS_MAX: usize = 5000;
/// How long a turn waits for something to do.
const PATIENCE: Duration = Duration::from_millis(2);

/// Ends what a client is to hear.
const END: &str = "that was all";

/// A node that means nothing: what it receives is kept for the test.
pub(super) struct Trial {
    poll: Poll,
    ready: Events,
    pub(super) network: Network,
    pub(super) now: Instant,
    pub(super) events: VecDeque<Event>,
    address: SocketAddr,
}

impl Trial {
    /// Listens on a free port.
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Source::Waker.into()).expect("a waker");
        let registry = poll.registry().try_clone().expect("a descriptor is left");
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        let (id, refusals_max) = (NodeId::random(&mut rng), 1);
        let kernel = Kernel::new(registry);
        let mut network = Network::new(config, id, refusals_max, kernel, Arc::new(waker), rng);
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = network
            .kernel
            .listen(any_port, Duration::from_secs(9))
            .expect("a port is free");
        let address = network
            .add_listener(socket, false, Entrance::Peers)
            .expect("it can be polled");
        Self {
            poll,
            ready: Events::with_capacity(64),
            network,
            now,
            events: VecDeque::new(),
            address,
        }
    }

    /// The URL of a channel of this node.
    pub(super) fn url(&self, path: &str) -> PeerUrl {
        let url = format!("ws://{}{path}", self.address);
        url.parse().expect("it is a URL")
    }

    /// Somebody who is connected and has said nothing.
    pub(super) fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("it listens")
    }

    /// One turn of the loop, as the node makes them.
    pub(super) fn turn(&mut self) {
        let patience = Some(PATIENCE).filter(|_| !self.network.has_work());
        let patience = patience.unwrap_or_default();
        self.poll
            .poll(&mut self.ready, Some(patience))
            .expect("the poll works");
        for ready in self.ready.iter().map(Readiness::from) {
            match ready.source {
                Source::Connection(token) => {
                    self.network.on_connection_ready(token, ready, self.now);
                }
                Source::Listener(index) => self.network.on_listener_ready(index),
                _ => self.network.on_resolved(self.now),
            }
        }
        self.network.accept(self.now);
        self.network.begin_reading(self.now);
        while self.network.read(self.now) {
            self.keep_events();
        }
        self.network.expire(self.now);
        self.network.flush(self.now);
        self.keep_events();
    }

    fn keep_events(&mut self) {
        self.events
            .extend(std::iter::from_fn(|| self.network.poll_event()));
    }

    /// Takes turns until an event is as wanted, and returns what is wanted of it; others are dropped.
    #[track_caller]
    pub(super) fn wait<T>(&mut self, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
        wait_among(what, &mut [self], wanted)
    }

    /// Waits until a connection is open.
    #[track_caller]
    pub(super) fn wait_opened(&mut self) -> Token {
        self.wait("a connection is open", opened)
    }

    /// Waits until the network has decided to close a connection.
    #[track_caller]
    pub(super) fn wait_closing(&mut self, token: Token) {
        for _ in 0..TURNS_MAX {
            self.turn();
            let connection = self.network.connections.get(token.slot());
            if connection.is_none_or(|connection| connection.reason().is_some()) {
                return;
            }
        }
        panic!("not in time: the connection is closing");
    }

    /// Takes some turns in which nothing should happen.
    #[track_caller]
    pub(super) fn rest(&mut self) {
        for _ in 0..20 {
            self.turn();
        }
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    /// Waits until a connection has ended, and returns what it was and why it ended.
    #[track_caller]
    pub(super) fn wait_closed(&mut self, token: Token) -> (Kind, CloseReason) {
        self.wait("the connection has ended", |event| match event {
            Event::Closed {
                peer, kind, reason, ..
            } if *peer == token => Some((*kind, reason.clone())),
            _ => None,
        })
    }
}

pub(super) fn opened(event: &Event) -> Option<Token> {
    match event {
        Event::Opened(token) => Some(*token),
        _ => None,
    }
}

/// Takes turns in all networks until an event of the first one is as wanted. Its other events are dropped.
#[track_caller]
pub(super) fn wait_among<T>(
    what: &str,
    trials: &mut [&mut Trial],
    wanted: impl Fn(&Event) -> Option<T>,
) -> T {
    for _ in 0..TURNS_MAX {
        while let Some(event) = trials[0].events.pop_front() {
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
        trials.iter_mut().for_each(|trial| trial.turn());
    }
    panic!("not in time: {what}");
}

/// A peer that has dialed a [`Trial`].
pub(super) struct Client {
    pub(super) socket: WebSocket<TcpStream>,
    /// How the network calls it.
    pub(super) token: Token,
}

impl Client {
    #[track_caller]
    pub(super) fn plain(trial: &mut Trial, path: &str) -> Self {
        Self::dial(trial, path, "")
    }

    #[track_caller]
    pub(super) fn neighbor(trial: &mut Trial, path: &str) -> Self {
        Self::dial(trial, path, "Sec-WebSocket-Protocol: wsmesh.v1\r\n")
    }

    #[track_caller]
    fn dial(trial: &mut Trial, path: &str, fields: &str) -> Self {
        let mut stream = trial.dial();
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("SO_RCVTIMEO");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        );
        let sent = stream.write_all(request.as_bytes());
        sent.expect("the kernel takes a request");
        let token = trial.wait_opened();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        let socket = WebSocket::from_raw_socket(stream, Role::Client, None);
        Self { socket, token }
    }

    /// All texts that were sent to it so far.
    #[track_caller]
    pub(super) fn heard(&mut self, trial: &mut Trial) -> Vec<String> {
        let (token, now) = (self.token, trial.now);
        trial.network.answer(token, Message::text(END), now);
        trial.network.flush(now);
        let mut heard = Vec::new();
        loop {
            match self.socket.read().expect("a message") {
                Frame::Text(text) if text.as_str() == END => return heard,
                Frame::Text(text) => heard.push(text.as_str().to_owned()),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends a text.
    #[track_caller]
    pub(super) fn say(&mut self, text: String) {
        let sent = self.socket.send(Frame::text(text));
        sent.expect("the kernel takes a frame");
    }
}
