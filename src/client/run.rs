//! The loop of a client: one thread, one poll, one connection.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Registry, Waker};
use rand::{SeedableRng, rngs::SmallRng};
use signal_hook::consts::SIGCONT;

use super::{ClientError, Connect};
use crate::{
    config::{Config, HeaderField, ProxyUrl, limits::CLIENT_PENDING_BYTES_MAX},
    message::Message,
    net::{CloseReason, Dialing, Event, Kernel, Network, Readiness, Source, Token, Tunnel},
    node_id::NodeId,
    signals::Signals,
};

/// Events taken from the poll at once: there are few sources.
const EVENTS_PER_TURN: usize = 16;
/// Code of a Close after which nothing is left to be said (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;
/// How often something is tried again that no event tells of.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What is to be done with a connection.
pub(super) trait Errand {
    /// Lets the poll tell of what else the errand waits for.
    fn register(&self, registry: &Registry);

    /// Something of that is ready, or may be; `is_end`: it has ended or failed.
    fn on_ready(&mut self, is_end: bool);

    /// The server has sent a message.
    fn on_message(&mut self, message: Message);

    /// Whether messages can be taken in.
    fn takes_more(&self) -> bool {
        true
    }

    /// Goes on with what can be done now.
    fn work(&mut self, link: &mut Link<'_>) -> Progress;

    /// Does what can be done without a connection. Whether nothing is left.
    fn settle(&mut self) -> bool {
        true
    }

    /// Somebody wants it to end now.
    fn interrupt(&mut self) -> Result<(), String>;

    /// The server has closed the connection though the errand was not done.
    fn is_done_early(&self) -> bool {
        false
    }

    /// What was done so far, for the words of an error.
    fn standing(&self) -> String;
}

/// How far an errand is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// An event will tell.
    Waits,
    /// The server has to take some of what waits for it.
    Congested,
    /// Nothing tells: it is to be tried again after a while.
    Retries,
    /// Nothing is to be done before that.
    Until(Instant),
    /// There is more to do at once.
    HasMore,
    /// All is done.
    Done,
    /// It cannot be done.
    Failed(String),
}

/// The open connection.
pub(super) struct Link<'a> {
    network: &'a mut Network,
    token: Token,
    now: Instant,
}

impl Link<'_> {
    pub(super) fn send(&mut self, message: Message) {
        self.network.send_each([self.token], message, self.now);
    }

    /// The time of the turn.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Whether the server has to take some of what was sent first.
    pub(super) fn is_congested(&self) -> bool {
        is_congested(self.network, self.token)
    }
}

fn is_congested(network: &Network, token: Token) -> bool {
    network.pending_bytes(token) > CLIENT_PENDING_BYTES_MAX
}

/// Where the connection is.
enum Stage {
    /// The name is being resolved.
    Resolving(Receiver<io::Result<Vec<SocketAddr>>>),
    /// One address after the other is tried, and why those before did not do.
    Connecting {
        left: VecDeque<SocketAddr>,
        address: SocketAddr,
        token: Token,
        is_connected: bool,
        failures: Vec<String>,
    },
    Open(Token),
    /// We have sent a Close.
    Closing,
    Gone,
}

pub(super) struct Client<'a> {
    connect: &'a Connect,
    errand: &'a mut dyn Errand,
    poll: Poll,
    network: Network,
    signals: Signals,
    stage: Stage,
    deadline: Option<Instant>,
    progress: Progress,
    /// Why it has failed, or will have when the connection is gone.
    failure: Option<ClientError>,
}

/// Does an errand. Ctrl-C ends it early.
pub(super) fn run(connect: &Connect, errand: &mut dyn Errand) -> Result<(), ClientError> {
    connect.check()?;
    let system = |error: io::Error| ClientError::Failed(format!("cannot start: {error}"));
    let poll = Poll::new().map_err(system)?;
    let waker = Waker::new(poll.registry(), Source::Waker.into()).map_err(system)?;
    let waker = Arc::new(waker);
    let registry = poll.registry().try_clone().map_err(system)?;
    let config = Config {
        limits: connect.limits(),
        tls: connect.tls.clone(),
        ..Config::default()
    };
    let rng = SmallRng::from_rng(&mut rand::rng());
    let id = NodeId::random(&mut rand::rng());
    let kernel = Kernel::new(registry);
    let mut network = Network::new(&config, id, 0, kernel, Arc::clone(&waker), rng);
    network.load_files(connect.url.is_tls())?;
    let signals = Signals::new(poll.registry(), &[SIGCONT]).map_err(system)?;
    errand.register(poll.registry());
    let now = clock();
    let client = Client {
        stage: Stage::Resolving(resolve(connect, waker).map_err(system)?),
        connect,
        errand,
        poll,
        network,
        signals,
        deadline: connect.timeout.map(|timeout| now + timeout),
        progress: Progress::Waits,
        failure: None,
    };
    client.run()
}

/// Asks for the addresses on a thread of its own, because the system's resolver can only block.
fn resolve(
    connect: &Connect,
    waker: Arc<Waker>,
) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
    let (host, port) = match proxy_of(connect) {
        Some(proxy) => (proxy.host().to_owned(), proxy.port()),
        None => (connect.url.host().to_owned(), connect.url.port()),
    };
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let addresses = (host, port).to_socket_addrs().map(Iterator::collect);
        // It may have ended meanwhile, and then nobody wants to know.
        let _ = sender.send(addresses);
        let _ = waker.wake();
    })?;
    Ok(receiver)
}

fn proxy_of(connect: &Connect) -> Option<&ProxyUrl> {
    connect.proxies.proxy_for(&connect.url)
}

impl Client<'_> {
    fn run(mut self) -> Result<(), ClientError> {
        let mut ready = Events::with_capacity(EVENTS_PER_TURN);
        let mut timeout = Some(Duration::ZERO);
        loop {
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => ready.clear(),
                result => result.map_err(|error| ClientError::Failed(error.to_string()))?,
            }
            let now = clock();
            self.turn(&ready, now);
            let is_over = self.deadline.is_some_and(|deadline| now >= deadline);
            if matches!(self.stage, Stage::Gone) && (self.errand.settle() || is_over) {
                return self.failure.map_or(Ok(()), Err);
            }
            if is_over {
                return Err(self.timed_out(now));
            }
            timeout = self.timeout(now);
        }
    }

    fn turn(&mut self, ready: &Events, now: Instant) {
        for event in ready {
            let ready = Readiness::from(event);
            match ready.source {
                Source::Connection(token) => self.network.on_connection_ready(token, ready, now),
                Source::Signals => self.on_signals(now),
                Source::Input | Source::Output => self.errand.on_ready(ready.is_end),
                Source::Waker => self.on_resolved(now),
                Source::Listener(_) => {}
            }
        }
        if self.errand.takes_more() {
            self.network.begin_reading(now);
            while self.network.read(now) {
                self.handle_events(now);
            }
            // Of who is not read it cannot be said that it is silent.
            self.network.expire(now);
        }
        self.handle_events(now);
        self.work(now);
        self.network.flush(now);
        self.handle_events(now);
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let has_work = self.network.has_work() && self.errand.takes_more();
        let goes_on = match (&self.stage, &self.progress) {
            (Stage::Open(_), Progress::HasMore) => true,
            // What was sent at the end of the turn may have been all, and then no event tells of it.
            (Stage::Open(token), Progress::Congested) => !is_congested(&self.network, *token),
            _ => false,
        };
        if has_work || goes_on {
            return Some(Duration::ZERO);
        }
        let takes_more = self.errand.takes_more();
        let of_network = self.network.next_deadline(now).filter(|_| takes_more);
        let of_errand = match (&self.stage, &self.progress) {
            (Stage::Open(_), Progress::Until(due)) => Some(*due),
            _ => None,
        };
        let next = [of_network, self.deadline, of_errand];
        let next = next.into_iter().flatten().min();
        let next = next.map(|next| next.saturating_duration_since(now));
        let is_gone = matches!(self.stage, Stage::Gone);
        match is_gone || self.progress == Progress::Retries {
            true => Some(next.map_or(AGAIN_AFTER, |next| next.min(AGAIN_AFTER))),
            false => next,
        }
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.network.poll_event() {
            match event {
                Event::Connected(connected) => {
                    if let Stage::Connecting {
                        token,
                        is_connected,
                        ..
                    } = &mut self.stage
                    {
                        *is_connected = *token == connected;
                    }
                }
                Event::Opened(token) => self.stage = Stage::Open(token),
                Event::Message(_, message) => self.errand.on_message(message),
                Event::NotOpened(_, reason) => self.on_not_opened(&reason, now),
                Event::Closed {
                    reason,
                    is_unanswered,
                    ..
                } => self.on_closed(&reason, is_unanswered),
                // There is nothing for the dialer to do.
                Event::DialFailed { .. } | Event::Configured(_) | Event::Asked(..) => {}
            }
        }
    }

    fn on_resolved(&mut self, now: Instant) {
        let Stage::Resolving(answer) = &self.stage else {
            return;
        };
        let Ok(answer) = answer.try_recv() else {
            return;
        };
        match answer {
            Ok(addresses) => self.try_next(addresses.into(), Vec::new(), now),
            Err(error) => {
                let of = proxy_of(self.connect).map_or(String::new(), |it| format!(" of {it}"));
                self.fail(format!("the name{of} does not resolve: {error}"));
            }
        }
    }

    /// Connects to the first address that is left.
    fn try_next(
        &mut self,
        mut left: VecDeque<SocketAddr>,
        mut failures: Vec<String>,
        now: Instant,
    ) {
        let connect = self.connect;
        while let Some(address) = left.pop_front() {
            let fields = HeaderField::lines(&connect.fields, connect.token.as_deref());
            let dialing = Dialing::of_client(&connect.url, &connect.subprotocols, &fields);
            let tunnel = proxy_of(connect).map(|proxy| Tunnel::new(proxy, &connect.url));
            match self.network.open(address, None, tunnel, dialing, now) {
                Ok(token) => {
                    self.stage = Stage::Connecting {
                        left,
                        address,
                        token,
                        is_connected: false,
                        failures,
                    };
                    return;
                }
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
        if failures.is_empty() {
            failures.push("its name has no address".to_owned());
        }
        self.fail(failures.join("; "));
    }

    fn on_not_opened(&mut self, reason: &CloseReason, now: Instant) {
        let stage = std::mem::replace(&mut self.stage, Stage::Gone);
        let Stage::Connecting {
            left,
            address,
            is_connected,
            mut failures,
            ..
        } = stage
        else {
            return;
        };
        failures.push(match proxy_of(self.connect) {
            Some(proxy) => format!("through the proxy {proxy} ({address}): {reason}"),
            None => format!("{address}: {reason}"),
        });
        // Who has answered is who was meant.
        let left = if is_connected { VecDeque::new() } else { left };
        self.try_next(left, failures, now);
    }

    fn on_closed(&mut self, reason: &CloseReason, is_unanswered: bool) {
        let was_closing = matches!(self.stage, Stage::Closing);
        self.stage = Stage::Gone;
        let is_normal = matches!(reason, CloseReason::ByPeer(None | Some(NORMAL), _));
        if (was_closing && is_normal) || self.errand.is_done_early() || self.failure.is_some() {
            return;
        }
        let standing = self.errand.standing();
        let what = match reason {
            _ if is_unanswered => "the server has not answered our Close".to_owned(),
            CloseReason::ByNode(..) => {
                "the server has ended the connection instead of answering our Close".to_owned()
            }
            reason => reason.to_string(),
        };
        self.fail(format!("{what}{standing}"));
    }

    fn on_signals(&mut self, now: Instant) {
        let arrived = self.signals.take();
        if arrived.is_continued {
            self.errand.on_ready(false);
        }
        if arrived.is_end() {
            if let Err(what) = self.errand.interrupt() {
                self.failure = Some(ClientError::Failed(what));
            }
            self.close(now);
        }
    }

    fn work(&mut self, now: Instant) {
        let Stage::Open(token) = self.stage else {
            return;
        };
        let network = &mut self.network;
        self.progress = self.errand.work(&mut Link {
            network,
            token,
            now,
        });
        match &self.progress {
            Progress::Waits
            | Progress::Congested
            | Progress::Retries
            | Progress::Until(_)
            | Progress::HasMore => {}
            Progress::Done => self.close(now),
            Progress::Failed(what) => {
                self.failure = Some(ClientError::Failed(what.clone()));
                self.close(now);
            }
        }
    }

    /// Says goodbye, or gives up if there is nobody yet to say it to.
    fn close(&mut self, now: Instant) {
        match self.stage {
            Stage::Open(token) => {
                let reason = CloseReason::ByNode(NORMAL, String::new());
                self.network.close(token, reason, now);
                self.stage = Stage::Closing;
            }
            Stage::Closing => {}
            _ => self.stage = Stage::Gone,
        }
    }

    fn fail(&mut self, what: String) {
        let url = &self.connect.url;
        self.failure
            .get_or_insert(ClientError::Failed(format!("{url}: {what}")));
        self.stage = Stage::Gone;
    }

    fn timed_out(&mut self, now: Instant) -> ClientError {
        let Self { connect, stage, .. } = self;
        let doing = match stage {
            Stage::Resolving(_) => "the name is not resolved",
            Stage::Connecting { .. } => "there is no connection",
            Stage::Open(_) => "it is not done",
            Stage::Closing => "the server has not answered our Close",
            Stage::Gone => "the output does not take the rest",
        };
        let timeout = connect.timeout.unwrap_or_default();
        let standing = self.errand.standing();
        let what = format!("{}: {doing} within {timeout:?}{standing}", connect.url);
        // A last word, as far as the socket takes it.
        self.close(now);
        if self.errand.takes_more() {
            self.network.flush(now);
        }
        ClientError::TimedOut(what)
    }
}

/// Reads the clock: at the start, and once a turn.
fn clock() -> Instant {
    Instant::now()
}
