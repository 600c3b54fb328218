//! Whom to dial for ever: those who are configured by URL, and those to whom names lead as they change.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use super::{
    Event,
    names::{Followed, NameId},
    network::Network,
    outbound::level_of_failure,
    resolver::Need,
};
use crate::config::PeerUrl;

impl Network {
    /// Whoever is configured, by URL or by name, each once.
    pub(super) fn wanted(&self) -> Vec<PeerUrl> {
        let mut wanted = self.configured.clone();
        for url in self.names.peers() {
            if !wanted.contains(&url) {
                wanted.push(url);
            }
        }
        wanted
    }

    /// Dials those who are configured again and again from now on, and no others. Connections stay.
    pub(super) fn keep_dialing(&mut self, now: Instant) {
        let wanted = self.wanted();
        self.dialer.keep(&wanted);
        self.events.push_back(Event::Configured(wanted));
        self.start_dials(now);
    }

    /// Follows names from now on.
    pub(crate) fn follow(&mut self, names: &[PeerUrl], now: Instant) {
        self.names.follow(names, now);
    }

    /// Asks for the names that are due.
    pub(super) fn resolve_names(&mut self, now: Instant) {
        while let Some((name, host, port)) = self.names.poll(now) {
            if let Err(error) = self.resolver.ask(Need::Name(name), host, port, true) {
                self.on_name_resolved(name, Err(error.to_string()), now);
            }
        }
    }

    /// A name was resolved, or could not be.
    pub(super) fn on_name_resolved(
        &mut self,
        name: NameId,
        answer: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) {
        match self.names.on_resolved(name, answer, now, &mut self.rng) {
            Followed::AsBefore => {}
            Followed::Changed {
                url,
                come,
                gone,
                left_out,
            } => {
                log::info!(
                    "peers dns+{url}: {} dialed from now on, {} no more{}",
                    Addresses(&come),
                    Addresses(&gone),
                    LeftOut(left_out)
                );
                self.keep_dialing(now);
            }
            Followed::Failed {
                url,
                failure,
                kept,
                wait,
                is_new,
            } => log::log!(
                level_of_failure(is_new),
                "peers dns+{url}: the name does not resolve: {failure}; {kept} addresses are known from before; trying \
                 again in {:.1} s, then less and less often",
                wait.as_secs_f64()
            ),
        }
    }
}

/// Some addresses, as people read them.
struct Addresses<'a>(&'a [IpAddr]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else {
            return f.write_str("none");
        };
        write!(f, "{first}")?;
        rest.iter().try_for_each(|address| write!(f, ", {address}"))
    }
}

/// How many addresses are too many.
struct LeftOut(usize);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, "; {count} more are left to the mesh to find"),
        }
    }
}
