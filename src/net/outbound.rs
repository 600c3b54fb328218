//! Connections that we open: what the dialer wants, and what becomes of it.

use std::{net::SocketAddr, time::Instant};

use mio::net::TcpStream;

use super::{
    CloseReason, Event, Token,
    connection::{Connection, Notice},
    dialer::{Action, Candidate, DialFailure, DialId, Failure, Outcome, Retry, Tenure},
    network::Network,
    news, socket,
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
        while let Some(action) = self.dialer.poll(now) {
            match action {
                Action::Resolve(dial) => self.resolve(dial, now),
                Action::Connect(dial, candidate) => self.connect(dial, candidate, now),
            }
        }
    }

    /// Takes the answers of the resolver.
    pub(crate) fn on_resolved(&mut self, now: Instant) {
        while let Some(answer) = self.resolver.poll_answer() {
            let addresses = answer
                .addresses
                .map_err(|error| format!("its name does not resolve: {error}"));
            self.settle_name(answer.dial, addresses, now);
        }
    }

    fn resolve(&mut self, dial: DialId, now: Instant) {
        let Some(url) = self.dialer.url(dial) else {
            return;
        };
        if let Err(error) = self.resolver.ask(dial, url.host(), url.port()) {
            let failure = format!("its name cannot be resolved: {error}");
            self.settle_name(dial, Err(failure), now);
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
        let dialing = Dialing::new(url, offer, self.shared.id);
        let stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => {
                let failure = Failure::Other(format!("{address}: {error}"));
                return self.fail(dial, None, failure, now);
            }
        };
        self.shared.counters.dials += 1;
        socket::tune_dialed(&stream, self.shared.limits.unacknowledged_max());
        let token = self.insert(now, |token, turn| {
            Connection::dialed(token, dial, stream, address, dialing, turn)
        });
        self.dialer.on_attempt(dial, token, candidate);
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
            Notice::Message(_) | Notice::Sheds(_) => {}
        }
    }

    /// A connection that we opened has ended.
    pub(super) fn on_dialed_gone(&mut self, dial: DialId, connection: &Connection, now: Instant) {
        if connection.was_open() {
            return self.dialer.on_lost(dial, now, &mut self.rng);
        }
        let remote = connection.remote();
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
                        news::level_of(is_new),
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
