//! Connections that we open: what the dialer wants, and what becomes of it.

use std::{io, net::SocketAddr, time::Instant};

use super::{
    CloseReason, Event, Token,
    connection::{Connection, Notice, Side, Way},
    dialer::{Action, Candidate, DialFailure, DialId, Failure, Outcome, Retry, Tenure},
    network::Network,
    resolver::{Answer, Need},
    tls::Encryption,
    tunnel::Tunnel,
    upgrade::Dialing,
};
use crate::{config::PeerUrl, subprotocol::SUBPROTOCOL};

impl Network {
    /// Dials a peer now, unless that is under way or has led to a connection: a configured one from now on
    /// again and again, another one once.
    pub(crate) fn dial(&mut self, url: &PeerUrl, now: Instant) {
        match self.dialer.dial(url) {
            Ok(()) => self.start_dials(now),
            Err(failure) => self.tell_dial_failed(url.clone(), failure),
        }
    }

    /// Leaves a configured peer alone until [`Self::dial`]. A connection to it stays.
    pub(crate) fn rest(&mut self, url: &PeerUrl) {
        self.dialer.rest(url);
    }

    /// Starts what is due.
    pub(super) fn start_dials(&mut self, now: Instant) {
        self.resolve_names(now);
        while let Some(action) = self.dialer.poll(now) {
            match action {
                Action::Resolve(dial) => self.resolve(dial, now),
                Action::Connect(dial, candidate) => self.connect(dial, candidate, now),
            }
        }
    }

    /// Takes the answers of the resolver.
    pub(crate) fn on_resolved(&mut self, now: Instant) {
        while let Some(Answer { need, addresses }) = self.resolver.poll_answer() {
            match need {
                Need::Dial(dial) => {
                    let addresses = addresses.map_err(|error| self.unresolved(dial, &error));
                    self.settle_name(dial, addresses, now);
                }
                Need::Name(name) => {
                    let addresses = addresses.map_err(|error| error.to_string());
                    self.on_name_resolved(name, addresses, now);
                }
            }
        }
    }

    fn resolve(&mut self, dial: DialId, now: Instant) {
        let Some((host, port)) = self.dialer.place(dial) else {
            return;
        };
        let is_configured = self.dialer.is_configured(dial);
        let need = Need::Dial(dial);
        let asked = self.resolver.ask(need, host, port, is_configured);
        if let Err(error) = asked {
            let failure = format!("its name cannot be resolved: {error}");
            self.settle_name(dial, Err(failure), now);
        }
    }

    fn unresolved(&self, dial: DialId, error: &io::Error) -> String {
        match self.dialer.proxy(dial) {
            Some(proxy) => format!("the name of the proxy {proxy} does not resolve: {error}"),
            None => format!("its name does not resolve: {error}"),
        }
    }

    fn settle_name(
        &mut self,
        dial: DialId,
        addresses: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) {
        let outcome = self.dialer.on_resolved(dial, addresses, now, &mut self.rng);
        self.report(outcome);
    }

    fn connect(&mut self, dial: DialId, candidate: Candidate, now: Instant) {
        let Candidate { address, offer } = candidate;
        let Some(url) = self.dialer.url(dial) else {
            return;
        };
        let is_named = self.dialer.is_configured(dial);
        let token = self.shared.access.token_for(is_named, url.is_tls());
        let dialing = Dialing::new(url, offer, self.shared.id, token);
        let proxy = self.dialer.proxy(dial);
        let tunnel = proxy.map(|proxy| Tunnel::new(proxy, url));
        let encryption = match self.encryption_for(&dialing) {
            Ok(encryption) => encryption,
            Err(what) => return self.fail(dial, None, Failure::Other(what), now),
        };
        let unacknowledged_max = self.shared.limits.unacknowledged_max();
        let stream = match self.kernel.connect(address, None, unacknowledged_max) {
            Ok(stream) => stream,
            Err(error) => {
                let failure = Failure::Other(format!("{address}: {error}"));
                return self.fail(dial, None, failure, now);
            }
        };
        self.shared.counters.dials += 1;
        let token = self.insert(now, |token, turn| {
            let side = Side::Dialed(dial);
            let way = Way { tunnel, encryption };
            Connection::outbound(token, side, stream, way, address, dialing, turn)
        });
        self.dialer.on_attempt(dial, token, candidate);
    }

    /// Opens a connection that has nothing to do with the dialer, from one of our addresses and ports or from any, and
    /// with a `tunnel` through the proxy at that address.
    /// What becomes of it is told by events; nobody tries again.
    ///
    /// # Errors
    /// There is no descriptor or no port for it, the port is in use, there is no such address of ours, or TLS
    /// cannot begin.
    pub(crate) fn open(
        &mut self,
        address: SocketAddr,
        source: Option<SocketAddr>,
        tunnel: Option<Tunnel>,
        dialing: Dialing,
        now: Instant,
    ) -> io::Result<Token> {
        let encryption = self.encryption_for(&dialing).map_err(io::Error::other)?;
        let unacknowledged_max = self.shared.limits.unacknowledged_max();
        let stream = self.kernel.connect(address, source, unacknowledged_max)?;
        self.shared.counters.dials += 1;
        let token = self.insert(now, |token, turn| {
            let side = Side::Client;
            let way = Way { tunnel, encryption };
            Connection::outbound(token, side, stream, way, address, dialing, turn)
        });
        Ok(token)
    }

    /// What a dial needs for TLS, where it is spoken.
    fn encryption_for(&mut self, dialing: &Dialing) -> Result<Option<Box<Encryption>>, String> {
        let host = dialing.tls_host.as_deref();
        host.map(|host| self.tls.connect(host)).transpose()
    }

    pub(super) fn on_dial_progress(
        &mut self,
        dial: DialId,
        token: Token,
        notice: &Notice,
        now: Instant,
    ) {
        match notice {
            Notice::Connected => {
                for other in self.dialer.on_connected(dial, token) {
                    self.end(other, now);
                }
            }
            Notice::Opened => self.dialer.on_opened(dial, token, now),
            Notice::Message(_) | Notice::Asked(..) | Notice::Sheds(_) => {}
        }
    }

    /// A connection that we opened has ended.
    pub(super) fn on_dialed_gone(&mut self, dial: DialId, connection: &Connection, now: Instant) {
        if connection.was_open() {
            return self.dialer.on_lost(dial, now, &mut self.rng);
        }
        let remote = match self.dialer.proxy(dial) {
            Some(proxy) => format!("through the proxy {proxy} ({})", connection.remote()),
            None => connection.remote().to_string(),
        };
        let failure = match connection.reason() {
            Some(CloseReason::Itself) => Failure::Itself,
            Some(reason @ CloseReason::Declined(_)) => {
                Failure::Declined(format!("{remote}: {reason}"))
            }
            Some(reason) => Failure::Other(format!("{remote}: {reason}")),
            None => Failure::Other(format!("{remote}: given up")),
        };
        self.fail(dial, Some(connection.token()), failure, now);
    }

    fn fail(&mut self, dial: DialId, token: Option<Token>, failure: Failure, now: Instant) {
        let outcome = self
            .dialer
            .on_attempt_failed(dial, token, failure, now, &mut self.rng);
        self.report(outcome);
    }

    /// Tells of a dial that led to nothing; of the same failure again, and of what nobody has configured,
    /// only to those who ask for detail.
    fn report(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::GoesOn => {}
            Outcome::Unoffered { url, failure } => log::debug!(
                "cannot reach peer {url}: {failure}; trying again without offering {SUBPROTOCOL}"
            ),
            Outcome::Itself { url, tenure } => {
                let level = match tenure {
                    Tenure::Kept | Tenure::Resting => log::Level::Info,
                    Tenure::Once => log::Level::Debug,
                };
                log::log!(level, "peer {url} is this node itself: leaving it alone");
                self.tell_dial_failed(url, DialFailure::Itself);
            }
            Outcome::Failed {
                url,
                failure,
                retry,
            } => {
                self.shared.counters.dials_failed += 1;
                match retry {
                    Some(Retry { wait, is_new }) => log::log!(
                        level_of_failure(is_new),
                        "cannot reach peer {url}: {failure}; trying again in {:.1} s, then less and less often",
                        wait.as_secs_f64()
                    ),
                    None => log::debug!("cannot reach peer {url}: {failure}"),
                }
                self.tell_dial_failed(url, DialFailure::Unreachable);
            }
        }
    }

    fn tell_dial_failed(&mut self, url: PeerUrl, failure: DialFailure) {
        self.events.push_back(Event::DialFailed { url, failure });
    }
}

/// How loud a failure is told: one that only repeats itself to those who ask for detail.
pub(super) fn level_of_failure(is_new: bool) -> log::Level {
    match is_new {
        true => log::Level::Warn,
        false => log::Level::Debug,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use super::*;
    use crate::{
        config::{Config, limits::DIALS_MAX},
        net::{
            Kind,
            trial::{Client, Trial, opened, wait_among},
        },
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn trial() -> Trial {
        Trial::new(&Config::default(), Instant::now())
    }

    fn url(text: &str) -> PeerUrl {
        text.parse().expect("it is a URL")
    }

    fn dial_failed(event: &Event) -> Option<(PeerUrl, DialFailure)> {
        match event {
            Event::DialFailed { url, failure } => Some((url.clone(), *failure)),
            _ => None,
        }
    }

    #[test]
    fn two_networks_become_neighbors_and_a_dial_is_made_once() {
        let (mut one, mut two) = (trial(), trial());
        let url = two.url("/any?x");
        for _ in 0..3 {
            one.network.dial(&url, one.now);
            let dialed = wait_among("it is dialed", &mut [&mut one, &mut two], opened);
            let accepted = wait_among("it has dialed", &mut [&mut two, &mut one], opened);
            assert_eq!(one.network.kind(dialed), Some(Kind::Neighbor));
            assert_eq!(two.network.kind(accepted), Some(Kind::Neighbor));
            assert_eq!(one.network.dialed_url(dialed), Some(&url));
            assert_eq!(two.network.dialed_url(accepted), None);
            let remote = one.network.remote(dialed).expect("it is there");
            assert_eq!(remote.port(), url.port());

            // It is there already.
            one.network.dial(&url, one.now);
            one.rest();
            assert_eq!(one.network.len(), 1);

            let reason = CloseReason::ByNode(1000, "enough".to_owned());
            two.network.close(accepted, reason, two.now);
            let ended = |event: &Event| match event {
                Event::Closed { peer, kind, .. } if *peer == dialed => Some(*kind),
                _ => None,
            };
            let kind = wait_among("it has ended", &mut [&mut one, &mut two], ended);
            assert_eq!(kind, Kind::Neighbor);
            one.now += HOUR;
            one.rest();
            assert_eq!(one.network.len(), 0, "it is not dialed again");
            assert_eq!(one.network.next_deadline(one.now), None);
            two.wait_closed(accepted);
        }
    }

    #[test]
    fn a_dial_that_fails_is_told_and_not_repeated() {
        let mut trial = trial();
        // Bound and given back: nobody listens there.
        let free = TcpListener::bind("127.7.8.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let url = url(&format!("ws://{free}"));
        for _ in 0..2 {
            trial.network.dial(&url, trial.now);
            let told = trial.wait("the failure", dial_failed);
            assert_eq!(told, (url.clone(), DialFailure::Unreachable));
            trial.now += HOUR;
            trial.rest();
        }
        assert_eq!(trial.network.counters().dials, 2);
        let own = trial.url("/");
        trial.network.dial(&own, trial.now);
        let told = trial.wait("the failure", dial_failed);
        assert_eq!(told, (own, DialFailure::Itself));
    }

    #[test]
    fn more_dials_than_may_be_under_way_fail_at_once() {
        let mut trial = trial();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        for path in 0..DIALS_MAX {
            let url = url(&format!("ws://{address}/{path}"));
            trial.network.dial(&url, trial.now);
        }
        trial.rest();
        let one_more = url(&format!("ws://{address}/more"));
        trial.network.dial(&one_more, trial.now);
        assert_eq!(
            trial.network.poll_event().as_ref().and_then(dial_failed),
            Some((one_more, DialFailure::Unreachable))
        );
        assert_eq!(trial.network.len(), DIALS_MAX);
        // They are given up one day, and then there is room.
        trial.now += HOUR;
        for _ in 0..DIALS_MAX {
            trial.wait("the failure", dial_failed);
        }
        assert_eq!(trial.network.len(), 0);
        let url = url(&format!("ws://{address}/more"));
        trial.network.dial(&url, trial.now);
        trial.rest();
        assert_eq!(trial.network.len(), 1);
    }

    #[test]
    fn a_configured_peer_that_rests_is_dialed_when_it_is_wanted() {
        let mut two = trial();
        let peers = vec![two.url("/")];
        let config = Config {
            peers,
            ..Config::default()
        };
        let mut one = Trial::new(&config, Instant::now());
        one.network.rest(&config.peers[0]);
        one.rest();
        assert_eq!(one.network.len(), 0);
        one.network.dial(&config.peers[0], one.now);
        let dialed = wait_among("it is dialed", &mut [&mut one, &mut two], opened);
        let accepted = wait_among("it has dialed", &mut [&mut two, &mut one], opened);
        // An open connection stays.
        one.network.rest(&config.peers[0]);
        one.rest();
        assert_eq!(one.network.kind(dialed), Some(Kind::Neighbor));
        let reason = CloseReason::ByNode(1000, "enough".to_owned());
        two.network.close(accepted, reason, two.now);
        let closed = |event: &Event| matches!(event, Event::Closed { .. }).then_some(());
        wait_among("it has ended", &mut [&mut one, &mut two], closed);
        one.now += HOUR;
        one.rest();
        assert_eq!(one.network.len(), 0);
    }

    #[test]
    fn a_dialed_plain_peer_is_in_the_channel_of_its_url() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut trial = trial();
        let mut clients = [
            Client::plain(&mut trial, "/x"),
            Client::plain(&mut trial, "/y"),
        ];
        trial
            .network
            .dial(&url(&format!("ws://{address}/x?y")), trial.now);
        let serving = std::thread::spawn(move || {
            let (stream, _) = server.accept().unwrap();
            let mut socket = tungstenite::accept(stream).unwrap();
            let message = socket.read().unwrap();
            (message, socket)
        });
        let token = trial.wait_opened();
        assert_eq!(trial.network.kind(token), Some(Kind::Plain));
        let message = (crate::message::Message::text("hello"), None);
        let mut message = crate::net::Relayed::joined(vec![message], 1000);
        let now = trial.now;
        assert_eq!(trial.network.send_to_channel("/x", &mut message, now), 2);
        let (message, socket) = serving.join().unwrap();
        assert_eq!(message, tungstenite::Message::text("hello"));
        assert_eq!(clients[0].heard(&mut trial), ["hello"]);
        assert_eq!(clients[1].heard(&mut trial), [""; 0]);
        drop(socket);
        trial.wait_closed(token);
        assert_eq!(trial.network.send_to_channel("/x", &mut [], now), 1);
    }
}
