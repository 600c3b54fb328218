//! What becomes of a configuration that is told anew while the node runs: what is in force at once, and what has to wait
//! for the next start.

use super::{Config, Limits, MeshConfig, StatusConfig};

/// A configuration that is told anew, as far as it can be in force.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// What is in force from now on.
    pub(crate) config: Config,
    /// Options whose value has changed, and is in force.
    pub(crate) in_force: Vec<&'static str>,
    /// Options whose value has changed, and is not until the next start.
    pub(crate) waiting: Vec<&'static str>,
}

impl Reloaded {
    /// Takes over a value if it is another one.
    fn take<T: PartialEq>(
        &mut self,
        option: &'static str,
        place: fn(&mut Config) -> &mut T,
        new: T,
    ) {
        let current = place(&mut self.config);
        if *current != new {
            *current = new;
            if self.in_force.last() != Some(&option) {
                self.in_force.push(option);
            }
        }
    }

    /// Leaves a value as it is.
    fn leave<T: PartialEq>(&mut self, option: &'static str, current: &T, new: &T) {
        if current != new {
            self.waiting.push(option);
        }
    }
}

impl Config {
    /// What becomes of this one when `new` is told. Whether its values fit each other is still to be checked.
    pub(crate) fn reloaded(&self, new: Config) -> Reloaded {
        let Config {
            binds,
            peers,
            named_peers,
            proxies,
            interval,
            message,
            broadcast_scope,
            relay,
            mesh,
            echo,
            slow_peer,
            access,
            tls,
            status,
            restart_notice,
            limits,
        } = new;
        let mut reloaded = Reloaded {
            config: self.clone(),
            in_force: Vec::new(),
            waiting: Vec::new(),
        };
        let it = &mut reloaded;
        it.take("--peers", |config| &mut config.peers, peers);
        it.take("--peers", |config| &mut config.named_peers, named_peers);
        it.take("--proxy", |config| &mut config.proxies, proxies);
        it.take("--relay", |config| &mut config.relay, relay);
        it.take("--echo", |config| &mut config.echo, echo);
        it.take("--slow-peer", |config| &mut config.slow_peer, slow_peer);
        it.take(
            "--restart-notice",
            |config| &mut config.restart_notice,
            restart_notice,
        );
        take_access(it, access);
        take_tls(it, tls);
        take_limits(it, limits);
        it.leave("--bind", &self.binds, &binds);
        it.leave("--interval", &self.interval, &interval);
        it.leave("--message", &self.message, &message);
        it.leave("--broadcast-scope", &self.broadcast_scope, &broadcast_scope);
        leave_mesh(it, &self.mesh, &mesh);
        let StatusConfig {
            bind,
            ready_neighbors,
        } = status;
        it.leave("--status", &self.status.bind, &bind);
        it.take(
            "--ready-neighbors",
            |config| &mut config.status.ready_neighbors,
            ready_neighbors,
        );
        reloaded
    }
}

fn leave_mesh(it: &mut Reloaded, current: &MeshConfig, new: &MeshConfig) {
    let MeshConfig {
        network,
        advertise,
        degree,
        hops_max,
        history,
        is_leaf,
    } = new;
    it.leave("--network", &current.network, network);
    it.leave("--advertise", &current.advertise, advertise);
    it.leave("--degree", &current.degree, degree);
    it.leave("--hops", &current.hops_max, hops_max);
    it.leave("--history", &current.history.age_max, &history.age_max);
    it.leave(
        "--history-messages",
        &current.history.messages_max,
        &history.messages_max,
    );
    it.leave(
        "--history-bytes",
        &current.history.bytes_max,
        &history.bytes_max,
    );
    it.leave("--leaf", &current.is_leaf, is_leaf);
}

/// Takes over the fields of a part of the configuration, each with the option that sets it.
macro_rules! take {
    ($it:ident, $part:ident, $($option:literal $field:ident),* $(,)?) => {
        $($it.take($option, |config| &mut config.$part.$field, $field);)*
    };
}

fn take_access(it: &mut Reloaded, new: super::AccessConfig) {
    let super::AccessConfig {
        token_file,
        token_in_url,
        peer_token_file,
        allow,
        deny,
        trusted_proxies,
        introducing_proxies,
        origins,
    } = new;
    take!(it, access,
        "--token-file" token_file,
        "--token-in-url" token_in_url,
        "--peer-token-file" peer_token_file,
        "--allow" allow,
        "--deny" deny,
        "--trust-forwarded-for" trusted_proxies,
        "--proxy-protocol" introducing_proxies,
        "--allow-origin" origins,
    );
}

fn take_tls(it: &mut Reloaded, new: super::TlsConfig) {
    let super::TlsConfig {
        cert,
        key,
        client_ca,
        ca,
        pins,
        client_cert,
        client_key,
    } = new;
    take!(it, tls,
        "--tls-cert" cert,
        "--tls-key" key,
        "--tls-client-ca" client_ca,
        "--tls-ca" ca,
        "--tls-pin" pins,
        "--tls-client-cert" client_cert,
        "--tls-client-key" client_key,
    );
}

fn take_limits(it: &mut Reloaded, new: Limits) {
    let Limits {
        connections_max,
        connections_per_address_max,
        connections_per_network_max,
        handshakes_max,
        handshake_timeout,
        head_bytes_max,
        message_bytes_max,
        publish_rate_max,
        publish_bytes_max,
        publish_rate_per_address_max,
        publish_bytes_per_address_max,
        handshake_rate_max,
        outbox_bytes_max,
        memory_bytes_max,
        ping_interval,
        close_timeout,
        drain,
        shutdown_timeout,
        resolve_interval,
        retry_min,
        retry_max,
    } = new;
    // Neighbors have been told, and do not send larger ones.
    let current = it.config.limits.message_bytes_max;
    it.leave("--max-message", &current, &message_bytes_max);
    take!(it, limits,
        "--max-connections" connections_max,
        "--max-connections-per-address" connections_per_address_max,
        "--max-connections-per-network" connections_per_network_max,
        "--max-handshakes" handshakes_max,
        "--handshake-timeout" handshake_timeout,
        "--max-head" head_bytes_max,
        "--max-publish-rate" publish_rate_max,
        "--max-publish-bytes" publish_bytes_max,
        "--max-publish-rate-per-address" publish_rate_per_address_max,
        "--max-publish-bytes-per-address" publish_bytes_per_address_max,
        "--max-handshake-rate" handshake_rate_max,
        "--outbox" outbox_bytes_max,
        "--memory" memory_bytes_max,
        "--ping-interval" ping_interval,
        "--close-timeout" close_timeout,
        "--drain" drain,
        "--shutdown-timeout" shutdown_timeout,
        "--resolve-interval" resolve_interval,
        "--retry-min" retry_min,
        "--retry-max" retry_max,
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn running() -> Config {
        Config {
            binds: vec!["localhost:0".parse().unwrap()],
            peers: vec!["ws://a".parse().unwrap()],
            ..Config::default()
        }
    }

    #[test]
    fn what_is_told_again_as_it_was_changes_nothing() {
        let reloaded = running().reloaded(running());
        assert_eq!(reloaded.config, running());
        assert_eq!((reloaded.in_force, reloaded.waiting), (vec![], vec![]));
    }

    #[test]
    fn what_can_be_is_in_force_at_once_and_the_rest_is_named() {
        let mut new = running();
        new.binds.clear();
        new.peers = vec!["ws://b".parse().unwrap()];
        new.limits.connections_max = 7;
        new.limits.message_bytes_max = 8;
        new.limits.drain = None;
        new.access.token_file = Some("tokens".into());
        new.mesh.network = "another".parse().unwrap();
        new.mesh.history.bytes_max = 9999;
        new.interval = Some(Duration::from_secs(1));
        new.status.ready_neighbors = 3;
        let reloaded = running().reloaded(new.clone());
        let in_force = [
            "--peers",
            "--token-file",
            "--max-connections",
            "--drain",
            "--ready-neighbors",
        ];
        assert_eq!(reloaded.in_force, in_force);
        let waiting = [
            "--max-message",
            "--bind",
            "--interval",
            "--network",
            "--history-bytes",
        ];
        assert_eq!(reloaded.waiting, waiting);
        let expected = Config {
            binds: running().binds,
            interval: running().interval,
            mesh: running().mesh,
            limits: Limits {
                message_bytes_max: running().limits.message_bytes_max,
                ..new.limits.clone()
            },
            ..new
        };
        assert_eq!(reloaded.config, expected);
    }
}
