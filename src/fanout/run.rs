//! The loop of a load test: one thread, one poll, the connections of [`crate::net`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Waker};
use rand::{SeedableRng, rngs::SmallRng};

use super::load::{Action, Epoch, Load, Phase};
use super::plan::{Plan, PlanError};
use super::ports::{Ports, TRIES_MAX};
use super::process::{KernelMemory, Usage, port_range};
use super::report::Report;
use super::targets::{Tried, targets};
use crate::config::{Config, Limits, PeerUrl};
use crate::net::{
    CloseReason, Dialing, Event, FilesError, Kernel, Network, Readiness, Source, Token,
};
use crate::node_id::NodeId;
use crate::signals::Signals;

/// Events taken from the poll at once.
const EVENTS_PER_TURN: usize = 256;
/// Bytes that wait for a server before no more is sent to it for now.
const PENDING_BYTES_MAX: usize = 256 * 1024;
/// The largest message that is taken in, unless larger ones are sent.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A response head may be larger than what a node takes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How often it is told how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// How far a load test is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// The share of it that is done, where that is known.
    pub share: Option<f64>,
    /// Connections that are open.
    pub connections: usize,
    /// Messages heard by anybody.
    pub deliveries: u64,
    /// … a second, since it was told last.
    pub deliveries_per_second: f64,
    /// Of the deliveries so far.
    pub latency_p99: Duration,
    /// Of the present phase, where that is known.
    pub left: Option<Duration>,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plan contradicts itself.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Certificates or keys are missing, wrong or do not fit.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A name without address.
    #[error("{url}: its name does not resolve: {error}")]
    Name {
        /// What was asked for.
        url: PeerUrl,
        /// Why not.
        error: io::Error,
    },
    /// An address that we cannot connect from.
    #[error("--source {address}: it is not an address that this machine can connect from: {error}")]
    Source {
        /// What was asked for.
        address: IpAddr,
        /// Why not.
        error: io::Error,
    },
    /// IPv4 does not reach IPv6, nor the other way round.
    #[error(
        "{url} is at {addresses}, which --source {sources} cannot reach: give addresses that are all IPv4, or all \
         IPv6, as the server's is"
    )]
    Family {
        /// What was asked for.
        url: PeerUrl,
        /// Where it is.
        addresses: Box<str>,
        /// What was to be connected from.
        sources: Box<str>,
    },
    /// A server beyond this machine.
    #[error(
        "{url} is {address}, which is not this machine: a load test takes its server's whole attention, and \
         many connections at once look like an attack. If the server is yours to load, say so with \
         --i-own-this-server"
    )]
    Consent {
        /// What was asked for.
        url: PeerUrl,
        /// Where it is.
        address: SocketAddr,
    },
    /// Nobody accepts connections.
    #[error("{url}: no address of it accepts a connection: {tried}. Is the server running?")]
    NoAnswer {
        /// What was asked for.
        url: PeerUrl,
        /// Where it should be.
        tried: Tried,
    },
    /// A process that cannot be looked at.
    #[error("--pid {pid}: {}", of_process(error))]
    Process {
        /// Its number.
        pid: u32,
        /// Why not.
        error: io::Error,
    },
    /// The system does not let us.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// What was used, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) servers: Usage,
    /// `None` where the kernel does not tell.
    pub(super) own: Option<Usage>,
    pub(super) kernel: Option<KernelMemory>,
}

/// Before anything, with all connections open, and when messages are measured no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Samples {
    pub(super) before: Sample,
    pub(super) connected: Option<Sample>,
    pub(super) measured: Option<Sample>,
}

/// Carries out a plan, and reports. Ctrl-C ends it early, with a report of what there is.
///
/// # Errors
/// The plan cannot be carried out; nothing was sent then.
pub fn run(plan: &Plan, on_progress: &mut dyn FnMut(Progress)) -> Result<Report, LoadError> {
    plan.check()?;
    let targets = targets(plan)?;
    for pid in &plan.servers {
        Usage::of(&[*pid]).map_err(|error| LoadError::Process { pid: *pid, error })?;
    }
    let mut bench = Bench::new(plan, targets)?;
    bench.run(on_progress)?;
    Ok(bench.report())
}

struct Bench<'a> {
    plan: &'a Plan,
    targets: Vec<(PeerUrl, SocketAddr)>,
    /// Header lines of each request.
    fields: String,
    poll: Poll,
    network: Network,
    signals: Signals,
    load: Load,
    /// The token of each connection, and the connection of each slot.
    tokens: Vec<Option<Token>>,
    by_slot: Vec<usize>,
    ports: Ports,
    samples: Samples,
    started_at: SystemTime,
    told_at: Instant,
    told_deliveries: u64,
    closing_until: Option<Instant>,
}

impl<'a> Bench<'a> {
    fn new(plan: &'a Plan, targets: Vec<(PeerUrl, SocketAddr)>) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Source::Waker.into())?);
        let registry = poll.registry().try_clone()?;
        let message_bytes_max = MESSAGE_BYTES_MAX.max(plan.size_bytes);
        let config = Config {
            limits: Limits {
                handshake_timeout: plan.handshake_timeout,
                head_bytes_max: HEAD_BYTES_MAX,
                message_bytes_max,
                // Never reached: what waits is looked at before something is sent.
                outbox_bytes_max: 4 * (PENDING_BYTES_MAX + message_bytes_max),
                ping_interval: plan.ping_interval,
                ..Limits::default()
            },
            tls: plan.tls.clone(),
            ..Config::default()
        };
        let rng = SmallRng::from_rng(&mut rand::rng());
        let id = NodeId::random(&mut rand::rng());
        let kernel = Kernel::new(registry);
        let mut network = Network::new(&config, id, 0, kernel, waker, rng);
        network.load_files(plan.urls.iter().any(PeerUrl::is_tls))?;
        let signals = Signals::new(poll.registry(), &[])?;
        let now = clock();
        let started_at = SystemTime::now();
        let since_1970 = started_at.duration_since(SystemTime::UNIX_EPOCH);
        let epoch = Epoch {
            now,
            wall: since_1970.unwrap_or_default(),
        };
        Ok(Self {
            plan,
            targets,
            fields: plan.field_lines(),
            poll,
            network,
            signals,
            load: Load::new(plan, rand::random(), epoch),
            tokens: vec![None; plan.connections],
            by_slot: Vec::new(),
            ports: Ports::new(&plan.sources, &port_range(), rand::random()),
            samples: Samples {
                before: sample(plan, now)?,
                connected: None,
                measured: None,
            },
            started_at,
            told_at: now,
            told_deliveries: 0,
            closing_until: None,
        })
    }

    fn run(&mut self, on_progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let mut ready = Events::with_capacity(EVENTS_PER_TURN);
        let mut timeout = Some(Duration::ZERO);
        loop {
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => ready.clear(),
                result => result?,
            }
            let now = clock();
            self.turn(&ready, now);
            if now >= self.told_at + PROGRESS_INTERVAL {
                on_progress(self.progress(now));
                self.told_at = now;
                self.told_deliveries = self.load.messages.heard;
            }
            if let Some(until) = self.closing_until
                && (self.network.len() == 0 || now >= until)
            {
                return Ok(());
            }
            timeout = Some(self.timeout(now));
        }
    }

    fn turn(&mut self, ready: &Events, now: Instant) {
        for ready in ready.iter().map(Readiness::from) {
            match ready.source {
                Source::Connection(token) => self.network.on_connection_ready(token, ready, now),
                Source::Signals if self.signals.is_stop_pending() => self.load.interrupt(now),
                _ => {}
            }
        }
        self.network.begin_reading(now);
        while self.network.read(now) {
            self.handle_events();
        }
        self.network.expire(now);
        self.handle_events();
        self.act(now);
        self.network.flush(now);
        self.handle_events();
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.network.poll_event() {
            // What a turn has read may have waited for some of it: the time is read again for each.
            let now = clock();
            match event {
                Event::Message(token, message) => {
                    self.load
                        .on_message(self.by_slot[token.slot()], &message, now);
                }
                Event::Opened(token) => self.load.on_opened(self.by_slot[token.slot()], now),
                Event::NotOpened(token, reason) => {
                    let connection = self.gone(token);
                    let reason = self.where_and_why(connection, &reason);
                    self.load.on_failed(connection, reason, now);
                }
                Event::Closed { peer, reason, .. } => {
                    let connection = self.gone(peer);
                    let reason = self.where_and_why(connection, &reason);
                    self.load.on_closed(connection, reason, now);
                }
                // There is nothing for the dialer to do.
                Event::DialFailed { .. }
                | Event::Configured(_)
                | Event::Connected(_)
                | Event::Asked(..) => {}
            }
        }
    }

    /// With several servers, which of them it was.
    fn where_and_why(&self, connection: usize, reason: &CloseReason) -> String {
        match &self.targets[..] {
            [_] => reason.to_string(),
            targets => {
                let (url, _) = &targets[connection % targets.len()];
                format!("{url}: {reason}")
            }
        }
    }

    fn gone(&mut self, token: Token) -> usize {
        let connection = self.by_slot[token.slot()];
        self.tokens[connection] = None;
        connection
    }

    /// Does what the load says, and looks at the processes when it goes from one phase to the next.
    fn act(&mut self, now: Instant) {
        loop {
            let (tokens, network) = (&self.tokens, &self.network);
            let has_room = |connection: usize| {
                tokens[connection]
                    .is_some_and(|token| network.pending_bytes(token) < PENDING_BYTES_MAX)
            };
            let Some(action) = self.load.poll(now, has_room) else {
                break;
            };
            match action {
                Action::Open(connection) => self.open(connection, now),
                Action::Send(connection, message) => {
                    let token = self.tokens[connection];
                    self.network.send_each(token, message, now);
                }
            }
        }
        let phase = self.load.phase();
        if phase >= Phase::Measure && self.samples.connected.is_none() {
            self.samples.connected = sample(self.plan, now).ok();
        }
        if phase == Phase::Close && self.closing_until.is_none() {
            self.samples.measured = sample(self.plan, now).ok();
            self.close(now);
        }
    }

    fn open(&mut self, connection: usize, now: Instant) {
        let place = self.ports.next_address();
        let mut tries_left = place.map_or(1, |_| TRIES_MAX);
        let opened = loop {
            let source = place.map(|place| self.ports.next_port(place));
            tries_left -= 1;
            match self.connect(connection, source, now) {
                Err(error) if is_taken(&error) && tries_left > 0 => {}
                opened => break opened,
            }
        };
        match opened {
            Ok(token) => {
                let slot = token.slot();
                if slot >= self.by_slot.len() {
                    self.by_slot.resize(slot + 1, usize::MAX);
                }
                self.by_slot[slot] = connection;
                self.tokens[connection] = Some(token);
            }
            Err(error) => self.load.on_failed(connection, explain(&error), now),
        }
    }

    fn connect(
        &mut self,
        connection: usize,
        source: Option<SocketAddr>,
        now: Instant,
    ) -> io::Result<Token> {
        let (url, address) = &self.targets[connection % self.targets.len()];
        let dialing = Dialing::of_client(url, &self.plan.subprotocols, &self.fields);
        self.network.open(*address, source, None, dialing, now)
    }

    fn close(&mut self, now: Instant) {
        self.closing_until = Some(now + Limits::default().close_timeout);
        for token in self.tokens.iter().flatten() {
            let reason = CloseReason::ByNode(1000, "the load test is over".to_owned());
            self.network.close(*token, reason, now);
        }
    }

    fn timeout(&self, now: Instant) -> Duration {
        if self.network.has_work() {
            return Duration::ZERO;
        }
        let deadlines = [
            self.network.next_deadline(now),
            self.load.next_deadline(now),
            self.closing_until,
            Some(self.told_at + PROGRESS_INTERVAL),
        ];
        let next = deadlines.into_iter().flatten().min();
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    fn progress(&self, now: Instant) -> Progress {
        let delivery = self.load.messages.delivery.histogram();
        let deliveries = self.load.messages.heard;
        let since_told = now.saturating_duration_since(self.told_at);
        Progress {
            phase: self.load.phase(),
            share: self.load.progress(now),
            connections: self.load.open(),
            deliveries,
            deliveries_per_second: (deliveries - self.told_deliveries) as f64
                / since_told.as_secs_f64(),
            latency_p99: Duration::from_nanos(delivery.value_at_quantile(0.99)),
            left: self.load.left(now),
        }
    }

    fn report(self) -> Report {
        Report::new(self.plan, &self.load, &self.samples, self.started_at)
    }
}

/// Why a process cannot be looked at.
fn of_process(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such process".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "it belongs to somebody else: run the load test as the same user".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Whether another port may do.
fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable};
    matches!(error.kind(), AddrInUse | AddrNotAvailable)
}

/// What a person can do about it.
fn explain(error: &io::Error) -> String {
    if is_taken(error) {
        "no port is left to connect from: each address of --source has ports of its own".to_owned()
    } else if error.raw_os_error() == Some(libc::EMFILE) {
        "no descriptor is left: raise `ulimit -n`".to_owned()
    } else {
        error.to_string()
    }
}

fn sample(plan: &Plan, at: Instant) -> io::Result<Sample> {
    Ok(Sample {
        at,
        servers: Usage::of(&plan.servers)?,
        own: Usage::of(&[std::process::id()]).ok(),
        kernel: KernelMemory::now(),
    })
}

/// Reads the clock: at the start, once a turn, and when something was received.
fn clock() -> Instant {
    Instant::now()
}
