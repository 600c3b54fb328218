//! The node: the one loop, and the only place where connections and what messages mean come together.
//!
//! A turn of the loop: wait until something is ready or due → take the time once → act on what is ready →
//! read each connection that has something, once → do what is due → flush → sleep. Nothing in it blocks,
//! and each step is bounded, so that no peer can make another wait for long.

mod broadcast;
mod error;
mod handle;
mod intake;
mod listen;
mod memory;
#[cfg(any(test, fuzzing))]
pub(crate) mod ordeal;
mod relay;
mod reloading;
mod status;
mod stopping;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Waker, unix::SourceFd};
use rand::{
    Rng, SeedableRng,
    rngs::{SmallRng, Xoshiro256PlusPlus},
};
use signal_hook::consts::{SIGCONT, SIGHUP};

use self::{
    broadcast::Broadcast,
    handle::{Mailbox, Posted},
    intake::Intake,
    memory::Memory,
    relay::{Relay, Turn},
    reloading::Orders,
    status::Status,
    stopping::State,
};
pub use self::{
    error::{RunError, StartError},
    handle::{BroadcastError, Handle, PublishError},
    intake::IntakeConfig,
};
use crate::{
    config::{Config, PeerUrl},
    feed::Input,
    net::{Entrance, Event, Kernel, Kind, Network, Readiness, Source},
    node_id::NodeId,
    output::Output,
    signals::{Arrived, Signals},
    supervisor::Supervisor,
};

/// Events taken from the poll at once; more wait for the next turn. Few enough that the connections are
/// still in the cache when they are answered.
const EVENTS_PER_TURN: usize = 256;

/// A mesh node: listens, dials, relays, broadcasts, and hands what it receives to an [`Output`].
#[derive(Debug)]
pub struct Node {
    poll: Poll,
    network: Network,
    relay: Relay,
    memory: Memory,
    mailbox: Arc<Mailbox>,
    signals: Option<Signals>,
    supervisor: Supervisor,
    broadcast: Broadcast,
    status: Status,
    intake: Option<Intake>,
    /// What the node is told, as it is in force.
    config: Config,
    /// Where it is told anew.
    orders: Option<Orders>,
    state: State,
}

/// What the loop does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Sleep until something is ready, but so long at most.
    Wait(Option<Duration>),
    End,
}

impl Node {
    /// Checks the configuration and opens every address to listen on.
    ///
    /// # Errors
    /// The configuration contradicts itself, or an address cannot be listened on.
    pub fn new(config: Config) -> Result<Self, StartError> {
        Self::with_sockets(config, Vec::new())
    }

    /// As [`Self::new`], with listening sockets that somebody else has opened and keeps open between two runs, so that
    /// nobody is refused. Each takes the place of the one that the node would open for the same address; what the
    /// configuration says of that address holds for it, too.
    ///
    /// # Errors
    /// As [`Self::new`]; or one of the sockets has an address that the configuration does not name.
    pub fn with_sockets(config: Config, sockets: Vec<TcpListener>) -> Result<Self, StartError> {
        config.check()?;
        let (config, refusals_max) = listen::fit_to_descriptors(config.without_repeats());
        let poll = Poll::new().map_err(StartError::Poll)?;
        let registry = poll.registry().try_clone().map_err(StartError::Poll)?;
        let kernel = Kernel::new(registry).with_sockets(sockets);
        Self::on(
            poll,
            kernel,
            &config,
            refusals_max,
            &mut rand::rng(),
            clock(),
        )
    }

    /// A node whose sockets are those of `kernel`, and whose chances and time others decide.
    fn on(
        poll: Poll,
        kernel: Kernel,
        config: &Config,
        refusals_max: usize,
        rng: &mut impl Rng,
        now: Instant,
    ) -> Result<Self, StartError> {
        let waker = Waker::new(poll.registry(), Source::Waker.into()).map_err(StartError::Poll)?;
        let waker = Arc::new(waker);
        let id = NodeId::random(rng);
        let mut network = Network::new(
            config,
            id,
            refusals_max,
            kernel,
            Arc::clone(&waker),
            SmallRng::from_rng(rng),
        );
        network.load_files(config.configured().any(PeerUrl::is_tls))?;
        network.follow(&config.named_peers, now);
        let name = listen::open(config, &mut network)?;
        // Others guess where to dial us by our ports. With TLS they need the name in the certificate, too.
        let addresses = network.listening_addresses(Entrance::Peers).into_iter();
        let clear = addresses.filter(|(_, is_tls)| !is_tls);
        let ports = clear.map(|(address, _)| address.port()).collect();
        let relay_rng = Xoshiro256PlusPlus::from_rng(rng);
        Ok(Self {
            poll,
            network,
            relay: Relay::new(config, id, ports, relay_rng, now),
            memory: Memory::new(config.limits.memory_bytes_max),
            mailbox: Arc::new(Mailbox::new(waker, &config.limits)),
            signals: None,
            supervisor: Supervisor::default(),
            broadcast: Broadcast::new(config, name),
            status: Status::new(config, id, now),
            intake: None,
            config: config.clone(),
            orders: None,
            state: State::Running,
        })
    }

    /// The addresses that the node listens on, with the ports that the system has picked.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.network.listening_addresses(Entrance::Peers);
        addresses.into_iter().map(|(address, _)| address).collect()
    }

    /// The addresses of the status listener, with the port that the system has picked.
    pub fn status_addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.network.listening_addresses(Entrance::Status);
        addresses.into_iter().map(|(address, _)| address).collect()
    }

    /// What other threads use to reach the node.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.mailbox))
    }

    /// Publishes what comes from a stream, too. Those who hear it are not hurried: while one of them has more waiting than
    /// the high-water mark of its outbox, nothing is read; and while a node that dials has nobody to tell.
    pub fn publish_from(&mut self, input: Box<dyn Input + Send>, config: IntakeConfig) {
        let dials = self.config.dials();
        let intake = Intake::new(input, config, &self.config.limits, dials);
        self.intake = Some(intake);
    }

    /// Tells somebody how the node does, from the first turn of its loop to the last.
    pub fn report_to(&mut self, supervisor: Supervisor) {
        self.supervisor = supervisor;
    }

    /// Stops on SIGINT as [`Handle::stop`] does, and on SIGTERM as [`Handle::drain`]; the second one of them ends the
    /// process at once with status 1. SIGHUP reads the files of tokens and of TLS again, and what
    /// [`Self::reload_from`] names; connections stay, and if a file is wrong, an error is logged and what was read before
    /// stays in force.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        self.signals = Some(Signals::new(self.poll.registry(), &[SIGHUP, SIGCONT])?);
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
        if let Some(intake) = &mut self.intake {
            intake.feed().register(self.poll.registry());
        }
        for (address, is_tls) in self.network.listening_addresses(Entrance::Peers) {
            log::info!(
                "listening on {address}{}",
                if is_tls { " with TLS" } else { "" }
            );
        }
        for (address, is_tls) in self.network.listening_addresses(Entrance::Status) {
            let scheme = if is_tls { "https" } else { "http" };
            log::info!("status at {scheme}://{address}/");
        }
        self.tell_pin();
        for proxy in self.network.proxies() {
            log::info!("dialing through the proxy {proxy}");
        }
        if self.network.is_open_to_all() {
            log::warn!(
                "whoever reaches this node can listen, publish and become a neighbor: to decide who may, give \
                 --token-file FILE, or --bind wss://… with --tls-client-ca FILE; or listen on localhost only"
            );
        }
        let mut timeout = Some(Duration::ZERO);
        loop {
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => ready.clear(),
                result => result.map_err(RunError)?,
            }
            let ready = ready.iter().map(Readiness::from);
            let now = clock();
            let next = self.turn(ready, now, output);
            self.status.on_turn(clock().saturating_duration_since(now));
            match next {
                Next::Wait(patience) => timeout = patience,
                Next::End => return Ok(()),
            }
        }
    }

    /// One turn of the loop, with what the poll has told.
    fn turn(
        &mut self,
        ready: impl IntoIterator<Item = Readiness>,
        now: Instant,
        output: &mut dyn Output,
    ) -> Next {
        self.network.counters().turns += 1;
        let mut is_woken = false;
        for ready in ready {
            match ready.source {
                Source::Connection(token) => self.network.on_connection_ready(token, ready, now),
                Source::Listener(index) => self.network.on_listener_ready(index),
                Source::Waker => is_woken = true,
                Source::Signals => {
                    if let Some(signals) = &mut self.signals {
                        let arrived = signals.take();
                        self.on_signals(arrived, now);
                    }
                }
                // The flush at the end of the turn is all that it takes.
                Source::Output => {}
                Source::Input => self.on_input_ready(),
            }
        }
        // What other threads say comes after all that the poll knows of the sockets.
        if is_woken {
            self.on_wake(now, output);
        }
        self.network.accept(now);
        self.network.begin_reading(now);
        while self.network.read(now) {
            self.handle_events(now, output);
        }
        self.network.expire(now);
        self.handle_events(now, output);
        if self.takes_part() {
            let mut turn = Turn {
                network: &mut self.network,
                output,
                now,
            };
            self.relay.expire(&mut turn);
            if self.broadcast.is_due(now) {
                self.broadcast.send(&mut self.relay, &mut turn);
            }
            if self.state == State::Running
                && let Some(intake) = &mut self.intake
                && intake.work(&mut self.relay, &mut turn)
            {
                self.go(Duration::ZERO, now);
            }
        }
        loop {
            self.relay.send_gathered(&mut self.network, now);
            self.network.flush(now);
            let is_any_closed = self
                .memory
                .keep_within(&mut self.network, &mut self.relay, now);
            let goes_on = self.go_on(now);
            // Those who were lost may be told to others. Each round has fewer who can be.
            if !self.handle_events(now, output) && !is_any_closed && !goes_on {
                break;
            }
        }
        self.network.debug_assert_accounts();
        output.flush();
        self.relay.count(self.network.counters());
        self.memory.count(self.network.counters());
        self.supervisor.on_turn(self.network.counters(), now);
        self.mailbox.report(*self.network.counters());
        self.next(now)
    }

    /// What comes after a turn.
    fn next(&self, now: Instant) -> Next {
        if let State::Stopping { until } = self.state {
            let left = self.network.len();
            if left == 0 || now >= until {
                if left > 0 {
                    log::warn!("{left} connections did not end in time");
                }
                return Next::End;
            }
        }
        Next::Wait(self.timeout(now))
    }

    /// How long the poll may sleep: until something is due, and for ever if nothing is.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let intake = self.intake.as_ref();
        let intake = intake.filter(|_| self.state == State::Running);
        if self.network.has_work() || intake.is_some_and(|intake| intake.has_work(&self.network)) {
            return Some(Duration::ZERO);
        }
        let own = match self.takes_part() {
            true => [
                self.stage_end(),
                self.broadcast.next_deadline(),
                self.relay.next_deadline(),
                intake.and_then(Intake::next_deadline),
            ],
            false => [self.stage_end(), None, None, None],
        };
        let others = [
            self.network.next_deadline(now),
            self.supervisor.next_deadline(),
        ];
        let deadlines = own.into_iter().chain(others);
        let next = deadlines.flatten().min();
        next.map(|next| next.saturating_duration_since(now))
    }

    /// Returns whether there was something to handle.
    fn handle_events(&mut self, now: Instant, output: &mut dyn Output) -> bool {
        let mut turn = Turn {
            network: &mut self.network,
            output,
            now,
        };
        let mut was_any = false;
        while let Some(event) = turn.network.poll_event() {
            match event {
                Event::Asked(from, page, form) => {
                    let answer = self
                        .status
                        .answer(page, form, turn.network, &self.relay, now);
                    turn.network.reply(from, answer, now);
                }
                event => {
                    let opened = match event {
                        Event::Opened(peer) if self.state != State::Running => Some(peer),
                        _ => None,
                    };
                    self.relay.on_event(event, &mut turn);
                    // It was on its way when the others were let go.
                    let late = opened.filter(|peer| turn.network.kind(*peer) == Some(Kind::Plain));
                    if let Some(peer) = late {
                        turn.network.part(peer, now);
                    }
                }
            }
            was_any = true;
        }
        was_any
    }

    fn on_wake(&mut self, now: Instant, output: &mut dyn Output) {
        self.network.on_resolved(now);
        let mut turn = Turn {
            network: &mut self.network,
            output,
            now,
        };
        for posted in self.mailbox.take() {
            match posted {
                Posted::Broadcast(messages) => self.relay.broadcast(messages, &mut turn),
                Posted::Publication(channel, message) => {
                    self.relay.publish(&channel, message, &mut turn);
                }
            }
        }
        if let Some(over) = self
            .mailbox
            .end(self.config.limits.drain.unwrap_or_default())
        {
            self.go(over, now);
        }
    }

    /// There is something to read, or it may be that there is now.
    fn on_input_ready(&mut self) {
        if let Some(intake) = &mut self.intake {
            intake.feed().on_ready();
        }
    }

    fn on_signals(&mut self, arrived: Arrived, now: Instant) {
        if arrived.is_continued {
            self.on_input_ready();
        }
        if arrived.is_reload {
            self.supervisor.on_reloading();
            self.reload(now);
        }
        if arrived.is_stop {
            self.go(Duration::ZERO, now);
        }
        if arrived.is_drain {
            self.go(self.config.limits.drain.unwrap_or_default(), now);
        }
    }

    /// What clients can give as `--tls-pin`.
    fn tell_pin(&self) {
        if let Some(pin) = self.network.tls().own_pin() {
            log::info!("the key of this node in TLS is {pin}");
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

/// Reads the clock: when a node is made, then once a turn, and at its end to see how long it took.
fn clock() -> Instant {
    Instant::now()
}
