//! What the node is told anew while it runs: at SIGHUP.

use std::{fmt, mem, time::Instant};

use super::{Node, listen, stopping::State};
use crate::config::{Config, PeerOption, Reloaded};

/// Where a configuration is told anew.
pub(super) struct Orders(Box<dyn FnMut() -> Result<Config, String> + Send>);

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").finish_non_exhaustive()
    }
}

impl Node {
    /// At SIGHUP, takes over what `source` says then, as far as a node can while it runs: peers and limits, who may come in,
    /// and the files that are named. What has to wait for the next start is named in the log. An error of `source`, or
    /// of what it says, is logged, and everything stays as it was.
    pub fn reload_from(&mut self, source: impl FnMut() -> Result<Config, String> + Send + 'static) {
        self.orders = Some(Orders(Box::new(source)));
    }

    pub(super) fn reload(&mut self, now: Instant) {
        if self.state != State::Running {
            return log::info!("SIGHUP: the node is stopping, nothing is read again");
        }
        let result = match self.orders.take() {
            Some(mut orders) => {
                let result = orders.0().and_then(|config| self.reconfigure(config, now));
                self.orders = Some(orders);
                result
            }
            None if !self.network.has_files() => {
                return log::info!("SIGHUP: nothing to read again, going on");
            }
            None => self
                .network
                .load_files(false)
                .map_err(|error| error.to_string()),
        };
        match result {
            Ok(()) => {
                log::info!("SIGHUP: all files are read again, for new connections");
                self.tell_pin();
            }
            Err(error) => log::error!("SIGHUP: {error}; what was read before stays in force"),
        }
    }

    /// Takes over what can be; after an error everything is as it was.
    fn reconfigure(&mut self, config: Config, now: Instant) -> Result<(), String> {
        let (config, _) = listen::fit_to_descriptors(config.without_repeats());
        let Reloaded {
            config,
            in_force,
            waiting,
        } = self.config.reloaded(config);
        config.check().map_err(|error| error.to_string())?;
        let reconfigured = self.network.reconfigure(&config, now);
        reconfigured.map_err(|error| error.to_string())?;
        self.relay.reconfigure(&config);
        self.status.reconfigure(&config);
        self.memory.set_max(config.limits.memory_bytes_max);
        self.mailbox.set_limits(&config.limits);
        if let Some(intake) = &mut self.intake {
            intake.set_limits(&config.limits);
        }
        let before = mem::replace(&mut self.config, config);
        tell_peers(&before, &self.config);
        if !in_force.is_empty() {
            log::info!("SIGHUP: in force from now on: {}", in_force.join(", "));
        }
        for option in waiting {
            log::warn!(
                "SIGHUP: {option} cannot change while the node runs: the new value waits for the next start"
            );
        }
        Ok(())
    }
}

/// Tells whom the node dials that it did not, and the reverse.
fn tell_peers(before: &Config, now: &Config) {
    let of = |config: &Config| -> Vec<PeerOption> {
        let peers = config.peers.iter().cloned().map(PeerOption::One);
        let named = config.named_peers.iter().cloned().map(PeerOption::Named);
        peers.chain(named).collect()
    };
    let (before, now) = (of(before), of(now));
    for peer in now.iter().filter(|peer| !before.contains(peer)) {
        log::info!("SIGHUP: peer {peer} is dialed from now on");
    }
    for peer in before.iter().filter(|peer| !now.contains(peer)) {
        log::info!(
            "SIGHUP: peer {peer} is not dialed any more; as a neighbor it stays while it is of use, else it is closed"
        );
    }
}
