//! Connections that we open: what the dialer wants, and what becomes of it.

use std::{net::SocketAddr, time::Instant};

use mio::net::TcpStream;

use super::{
    CloseReason, Token,
    connection::{Connection, Notice},
    dialer::{Action, Outcome},
    network::Network,
    news, socket,
    upgrade::Dialing,
};

impl Network {
    /// Starts what is due.
    pub(super) fn dial(&mut self, now: Instant) {
        while let Some(action) = self.dialer.poll(now) {
            match action {
                Action::Resolve(peer) => self.resolve(peer, now),
                Action::Connect(peer, address) => self.connect(peer, address, now),
            }
        }
    }

    /// Takes the answers of the resolver.
    pub(crate) fn on_resolved(&mut self, now: Instant) {
        while let Some(answer) = self.resolver.poll_answer() {
            let addresses = answer
                .addresses
                .map_err(|error| format!("its name does not resolve: {error}"));
            let outcome = self
                .dialer
                .on_resolved(answer.peer, addresses, now, &mut self.rng);
            self.report(answer.peer, outcome);
        }
    }

    fn resolve(&mut self, peer: usize, now: Instant) {
        let url = self.dialer.url(peer);
        if let Err(error) = self.resolver.ask(peer, url.host(), url.port()) {
            let failure = format!("its name cannot be resolved: {error}");
            let outcome = self
                .dialer
                .on_resolved(peer, Err(failure), now, &mut self.rng);
            self.report(peer, outcome);
        }
    }

    fn connect(&mut self, peer: usize, address: SocketAddr, now: Instant) {
        let stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => return self.fail(peer, None, Some(format!("{address}: {error}")), now),
        };
        self.shared.counters.dials += 1;
        socket::tune_dialed(&stream, self.shared.limits.unacknowledged_max());
        let dialing = Dialing::new(self.dialer.url(peer), self.shared.id);
        let token = self.insert(now, |token, turn| {
            Connection::dialed(token, peer, stream, address, dialing, turn)
        });
        self.dialer.on_attempt(peer, token, address);
    }

    pub(super) fn on_dial_progress(
        &mut self,
        peer: usize,
        token: Token,
        notice: &Notice,
        now: Instant,
    ) {
        match notice {
            Notice::Connected => {
                for other in self.dialer.on_connected(peer, token) {
                    self.end(other, now);
                }
            }
            Notice::Opened => self.dialer.on_opened(peer, now),
            Notice::Message(_) | Notice::Sheds(_) => {}
        }
    }

    /// A connection that we opened has ended.
    pub(super) fn on_dialed_gone(&mut self, peer: usize, connection: &Connection, now: Instant) {
        if connection.was_open() {
            return self.dialer.on_lost(peer, now, &mut self.rng);
        }
        let failure = match connection.reason() {
            Some(CloseReason::Itself) => None,
            Some(reason) => Some(format!("{}: {reason}", connection.remote())),
            None => Some(format!("{}: given up", connection.remote())),
        };
        self.fail(peer, Some(connection.token()), failure, now);
    }

    fn fail(&mut self, peer: usize, token: Option<Token>, failure: Option<String>, now: Instant) {
        let outcome = self
            .dialer
            .on_attempt_failed(peer, token, failure, now, &mut self.rng);
        self.report(peer, outcome);
    }

    /// Tells of a dial that led to nothing; of the same failure again only to those who ask for detail.
    fn report(&mut self, peer: usize, outcome: Outcome) {
        let url = self.dialer.url(peer);
        match outcome {
            Outcome::GoesOn => {}
            Outcome::Itself => log::info!("peer {url} is this node itself: leaving it alone"),
            Outcome::Failed {
                failure,
                wait,
                is_new,
            } => {
                self.shared.counters.dials_failed += 1;
                let level = news::level_of(is_new);
                let wait = wait.as_secs_f64();
                log::log!(
                    level,
                    "cannot reach peer {url}: {failure}; trying again in {wait:.1} s, then less and less often"
                );
            }
        }
    }
}
