//! The node: the one loop, and the only place where connections and what messages mean come together.
//!
//! A turn of the loop: wait until something is ready or due → take the time once → act on what is ready →
//! read each connection that has something, once → do what is due → flush → sleep. Nothing in it blocks,
//! and each step is bounded, so that no peer can make another wait for long.

mod broadcast;
mod error;
mod handle;
mod listen;
mod output;
mod signals;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Waker, unix::SourceFd};

use self::{broadcast::Broadcast, handle::Mailbox, signals::Signals};
pub use self::{
    error::{RunError, StartError},
    handle::{BroadcastError, Handle},
    output::{Output, Received},
};
use crate::{
    config::Config,
    message::Message,
    net::{CloseReason, Event, Network, Source, Token},
    node_id::NodeId,
    printable::Excerpt,
};

/// Events taken from the poll at once; more wait for the next turn. Few enough that the connections are
/// still in the cache when they are answered.
const EVENTS_PER_TURN: usize = 256;

/// A mesh node: listens, dials, broadcasts, and hands what it receives to an [`Output`].
#[derive(Debug)]
pub struct Node {
    poll: Poll,
    network: Network,
    mailbox: Arc<Mailbox>,
    signals: Option<Signals>,
    broadcast: Broadcast,
    echo: bool,
    shutdown_timeout: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// Closing, until all peers have answered or this time has come.
    Stopping {
        until: Instant,
    },
}

impl Node {
    /// Checks the configuration and opens every address to listen on.
    ///
    /// # Errors
    /// The configuration contradicts itself, or an address cannot be listened on.
    pub fn new(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let poll = Poll::new().map_err(StartError::Poll)?;
        let waker = Waker::new(poll.registry(), Source::Waker.into()).map_err(StartError::Poll)?;
        let waker = Arc::new(waker);
        let registry = poll.registry().try_clone().map_err(StartError::Poll)?;
        let (config, refusals_max) = listen::fit_to_descriptors(config);
        let id = NodeId::random();
        let mut network = Network::new(&config, id, refusals_max, registry, Arc::clone(&waker));
        let name = listen::open(&config, &mut network)?;
        Ok(Self {
            poll,
            network,
            mailbox: Arc::new(Mailbox::new(waker, &config.limits)),
            signals: None,
            broadcast: Broadcast::new(&config, name),
            echo: config.echo,
            shutdown_timeout: config.limits.shutdown_timeout,
            state: State::Running,
        })
    }

    /// The addresses that the node listens on, with the ports that the system has picked.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.network.listening_addresses()
    }

    /// What other threads use to reach the node.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.mailbox))
    }

    /// Stops on SIGINT and SIGTERM as [`Handle::stop`] does; the second one ends the process at once
    /// with status 1. SIGHUP is logged and otherwise left for later.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        self.signals = Some(Signals::new(self.poll.registry())?);
        Ok(())
    }

    /// Runs until it is told to stop and all peers have answered their Close, or the time for that is
    /// over.
    ///
    /// # Errors
    /// The system's poll fails.
    pub fn run(mut self, output: &mut dyn Output) -> Result<(), RunError> {
        let mut ready = Events::with_capacity(EVENTS_PER_TURN);
        self.watch_output(output);
        for address in self.network.listening_addresses() {
            log::info!("listening on {address}");
        }
        let mut timeout = Some(Duration::ZERO);
        loop {
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => ready.clear(),
                result => result.map_err(RunError)?,
            }
            let now = Instant::now();
            self.turn(&ready, now, output);
            if let State::Stopping { until } = self.state {
                let left = self.network.len();
                if left == 0 || now >= until {
                    if left > 0 {
                        log::warn!("{left} connections did not end in time");
                    }
                    return Ok(());
                }
            }
            timeout = self.timeout(now);
        }
    }

    fn turn(&mut self, ready: &Events, now: Instant, output: &mut dyn Output) {
        self.network.counters().turns += 1;
        let mut is_woken = false;
        for event in ready {
            match Source::from(event.token()) {
                Source::Connection(token) => self.network.on_connection_ready(token, event, now),
                Source::Listener(index) => self.network.on_listener_ready(index),
                Source::Waker => is_woken = true,
                Source::Signals => self.on_signals(now),
                // The flush at the end of the turn is all that it takes.
                Source::Output => {}
            }
        }
        // Broadcasts of other threads come after all that the poll knows of the sockets.
        if is_woken {
            self.on_wake(now);
        }
        self.network.accept(now);
        self.network.begin_reading();
        while self.network.read(now) {
            self.handle_events(now, output);
        }
        self.network.expire(now);
        self.broadcast_if_due(now);
        self.network.flush(now);
        self.handle_events(now, output);
        output.flush();
        self.mailbox.publish(*self.network.counters());
    }

    /// How long the poll may sleep: until something is due, and for ever if nothing is.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.network.has_work() {
            return Some(Duration::ZERO);
        }
        let stop = match self.state {
            State::Running => self.broadcast.next_deadline(),
            State::Stopping { until } => Some(until),
        };
        let next = [self.network.next_deadline(now), stop]
            .into_iter()
            .flatten()
            .min();
        next.map(|next| next.saturating_duration_since(now))
    }

    fn handle_events(&mut self, now: Instant, output: &mut dyn Output) {
        while let Some(event) = self.network.poll_event() {
            match event {
                Event::Opened(peer) => {
                    if let Some((name, path)) = self.network.describe(peer) {
                        log::info!("peer {name} connected{}", OnPath(path));
                    }
                }
                Event::Message(peer, message) => self.on_message(peer, message, now, output),
                Event::Closed {
                    name,
                    reason,
                    is_unanswered,
                    round_trip,
                    ..
                } => {
                    let level = match reason {
                        CloseReason::Slow(_) => log::Level::Warn,
                        _ => log::Level::Info,
                    };
                    log::log!(
                        level,
                        "peer {name} closed: {reason}{}{}",
                        if is_unanswered {
                            ", and did not answer the Close"
                        } else {
                            ""
                        },
                        RoundTrip(round_trip)
                    );
                }
                Event::DialFailed { .. } => {}
            }
        }
    }

    fn on_message(&mut self, peer: Token, message: Message, now: Instant, output: &mut dyn Output) {
        if let Some((from, path)) = self.network.describe(peer) {
            output.message(&Received {
                from,
                path,
                message: &message,
            });
        }
        if self.echo {
            self.network.answer(peer, message, now);
        }
    }

    fn on_wake(&mut self, now: Instant) {
        self.network.on_resolved(now);
        let mut messages = self.mailbox.take_messages();
        if !messages.plain.is_empty() {
            self.network.send_to_all(now, &mut messages);
        }
        if self.mailbox.is_stopping() {
            self.stop(now);
        }
    }

    fn on_signals(&mut self, now: Instant) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        if signals.is_stop_pending() {
            self.stop(now);
        }
    }

    fn stop(&mut self, now: Instant) {
        if self.state != State::Running {
            return;
        }
        self.state = State::Stopping {
            until: now + self.shutdown_timeout,
        };
        self.network.stop(now);
        log::info!("stopping: connections to close: {}", self.network.len());
    }

    fn broadcast_if_due(&mut self, now: Instant) {
        if self.state == State::Running && self.broadcast.is_due(now) {
            self.broadcast.send(&mut self.network, now);
        }
    }

    /// Asks the poll to tell when a blocked output takes more.
    fn watch_output(&mut self, output: &mut dyn Output) {
        let Some(descriptor) = output.descriptor() else {
            return;
        };
        let source = Source::Output.into();
        let mut descriptor = SourceFd(&descriptor);
        // A regular file cannot be polled, and need not be: it always takes more.
        if let Err(error) =
            self.poll
                .registry()
                .register(&mut descriptor, source, Interest::WRITABLE)
        {
            log::debug!("standard output is not polled: {error}");
        }
    }
}

/// The path of a connection, where it is worth telling.
struct OnPath<'a>(&'a str);

impl std::fmt::Display for OnPath<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            "/" => Ok(()),
            path => write!(f, " on {}", Excerpt(path)),
        }
    }
}

/// How long a peer took to answer its last ping, if it ever was pinged.
struct RoundTrip(Option<Duration>);

impl std::fmt::Display for RoundTrip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(round_trip) => write!(f, " (last round trip {round_trip:.1?})"),
        }
    }
}
