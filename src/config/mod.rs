//! What a node is told before it starts: addresses, texts, times and limits.
//!
//! Owns every default and bound, the parsers of what people write, and the relations between
//! values ([`Config::check`]). Knows nothing of the command line, of sockets or of clocks; errors
//! name flags because those are the names that a person knows.

mod access;
mod address;
mod bind_address;
mod channel;
mod choice;
mod error;
mod header_field;
pub mod limits;
mod mesh;
mod peer_option;
mod peer_url;
mod proxy;
mod rate;
mod reload;
mod slow_peer;
mod status;
mod subnet;
mod template;
mod tls;
mod units;

use std::collections::HashSet;
use std::time::Duration;

pub(crate) use access::Origin;
pub use access::{AccessConfig, AllowedOrigin, OriginError};
pub use address::AddressError;
pub use bind_address::BindAddress;
pub(crate) use channel::check_channel;
pub use channel::{Channel, ChannelError};
pub use choice::ChoiceError;
pub(crate) use choice::choice;
pub use error::ConfigError;
pub(crate) use header_field::check_request;
pub use header_field::{HeaderField, HeaderFieldError, RequestError};
pub use limits::Limits;
pub use mesh::{BroadcastScope, HistoryLimits, MeshConfig, NetworkName, NetworkNameError};
pub use peer_option::{PeerOption, PeerOptionError};
pub use peer_url::PeerUrl;
pub use proxy::{Exemptions, ProxyConfig, ProxyKind, ProxyUrl, ProxyUrlError};
pub use rate::{ByteRate, MessageRate, Rate, RateError, TooFast};
pub(crate) use reload::Reloaded;
pub use slow_peer::SlowPeer;
pub use status::{StatusAddress, StatusConfig};
pub use subnet::{Subnet, SubnetError};
pub use template::{Template, TemplateError, Values};
pub use tls::{Pin, PinError, TlsConfig};
pub use units::{
    Count, CountError, Every, EveryError, Size, SizeError, SizeUpTo, SizeUpToError, Time,
    TimeError, UpTo, UpToError,
};

/// Everything that a node is told before it starts.
///
/// ```
/// use wsmesh::Config;
///
/// let config = Config {
///     binds: vec!["localhost:0".parse()?],
///     interval: None,
///     ..Config::default()
/// };
/// config.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Addresses to listen on (`--bind`). None: the node only dials. A name with several
    /// addresses listens on all of them.
    pub binds: Vec<BindAddress>,
    /// Peers to dial and to keep dialing (`--peers`). The same URL twice is dialed once.
    pub peers: Vec<PeerUrl>,
    /// Names that stand for peers (`--peers dns+ws://…`): all addresses of each are dialed and kept, up to
    /// [`NAMED_ADDRESSES_MAX`](limits::NAMED_ADDRESSES_MAX), and its changes are followed.
    pub named_peers: Vec<PeerUrl>,
    /// Proxies that peers are dialed through (`--proxy`). Default: none.
    pub proxies: ProxyConfig,
    /// Time between two periodic broadcasts (`--interval`). Default 10 s, `None` for none.
    pub interval: Option<Duration>,
    /// Text of the periodic broadcast (`--message`).
    pub message: Template,
    /// Who hears the periodic broadcast (`--broadcast-scope`).
    pub broadcast_scope: BroadcastScope,
    /// Whether what plain peers send is published (`--relay`). If not, it goes to the node's output and no
    /// further. Default true.
    pub relay: bool,
    /// How the node takes part in the mesh.
    pub mesh: MeshConfig,
    /// Whether every data message also goes back to the peer that sent it (`--echo`).
    pub echo: bool,
    /// What happens to a peer that does not read what is sent to it (`--slow-peer`).
    pub slow_peer: SlowPeer,
    /// Whom the node lets in, and how it is let in by others.
    pub access: AccessConfig,
    /// How the node proves who it is in TLS, and whom it believes.
    pub tls: TlsConfig,
    /// Where the node shows what it does.
    pub status: StatusConfig,
    /// Whether peers are told that the node will be back, with code 1012 in place of 1001 (`--restart-notice`).
    pub restart_notice: bool,
    /// Bounds of everything that peers can make grow.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            binds: Vec::new(),
            peers: Vec::new(),
            named_peers: Vec::new(),
            proxies: ProxyConfig::default(),
            interval: Some(Duration::from_secs(10)),
            message: Template::default(),
            broadcast_scope: BroadcastScope::default(),
            relay: true,
            mesh: MeshConfig::default(),
            echo: false,
            slow_peer: SlowPeer::default(),
            access: AccessConfig::default(),
            tls: TlsConfig::default(),
            status: StatusConfig::default(),
            restart_notice: false,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Checks each value against its bounds and the values against each other.
    ///
    /// # Errors
    /// The first value found that is out of bounds or contradicts another, by the name of its
    /// flag. A node without `binds` and `peers` has nothing to do and is refused as well.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.binds.is_empty() && !self.dials() {
            return Err(ConfigError::NothingToDo);
        }
        let through_proxy = |url: &&PeerUrl| self.proxies.proxy_for(url).is_some();
        if let Some(url) = self.named_peers.iter().find(through_proxy) {
            return Err(ConfigError::NamedThroughProxy { url: url.clone() });
        }
        self.limits.check()?;
        self.mesh.check()?;
        self.access.check()?;
        let status = self.status.bind.iter().map(|address| &address.0);
        self.tls.check(self.binds.iter().chain(status))?;
        self.status.check(&self.access, &self.tls)?;
        self.check_place()?;
        check_duration("--interval", self.interval)?;
        self.check_message()
    }

    /// What it says with each URL once: the same one twice would be dialed, or told, twice.
    pub(crate) fn without_repeats(mut self) -> Self {
        let named = &mut self.named_peers;
        for urls in [&mut self.peers, named, &mut self.mesh.advertise] {
            let mut known = HashSet::new();
            urls.retain(|url| known.insert(url.clone()));
        }
        self
    }

    /// Whether somebody is dialed who is configured.
    pub(crate) fn dials(&self) -> bool {
        self.configured().next().is_some()
    }

    /// Whoever is configured to be dialed, by URL or by name.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &PeerUrl> {
        self.peers.iter().chain(&self.named_peers)
    }

    /// Whether others can find the node where it says that it is.
    fn check_place(&self) -> Result<(), ConfigError> {
        let is_advertised = !self.mesh.advertise.is_empty();
        match () {
            () if self.mesh.is_leaf && !self.dials() => Err(ConfigError::LeafAlone),
            () if self.mesh.is_leaf && is_advertised => Err(ConfigError::LeafAdvertised),
            () if self.binds.is_empty() && is_advertised => Err(ConfigError::AdvertisedUnbound),
            () => Ok(()),
        }
    }

    /// The longest text that the periodic broadcast can become must fit `--max-message`.
    fn check_message(&self) -> Result<(), ConfigError> {
        if self.interval.is_none() {
            return Ok(());
        }
        if self.broadcast_scope == BroadcastScope::Mesh && self.message.is_per_peer() {
            return Err(ConfigError::PerPeerMessage);
        }
        // A port of 0 becomes another one; a node that does not listen has no address to show
        // that is longer than an IPv6 address with its port.
        let unbound = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".to_owned();
        let binds = self.binds.iter().map(|bind| match bind.port() {
            0 => bind.with_port(u16::MAX).to_string(),
            _ => bind.to_string(),
        });
        let bind = binds.max_by_key(String::len).unwrap_or(unbound);
        let longest = self.message.render(&Values {
            index: self.limits.connections_max,
            bind: &bind,
            seq: u64::MAX,
            time: "2026-11-22T14:05:13.123456789Z",
        });
        if longest.len() > self.limits.message_bytes_max {
            return Err(ConfigError::MessageTooLong {
                rendered: Size(longest.len()),
                max: Size(self.limits.message_bytes_max),
            });
        }
        Ok(())
    }
}

impl Limits {
    /// How fast others may send and come.
    fn check_rates(&self) -> Result<(), ConfigError> {
        let count = |rate: Rate| rate.per_second;
        for (flag, rate) in [
            ("--max-publish-rate", self.publish_rate_max.map(count)),
            (
                "--max-publish-rate-per-address",
                self.publish_rate_per_address_max.map(count),
            ),
            ("--max-handshake-rate", self.handshake_rate_max),
        ] {
            if let Some(rate) = rate {
                check_count(flag, rate, limits::PUBLISH_RATE_CEILING)?;
            }
        }
        for (flag, rate) in [
            ("--max-publish-bytes", self.publish_bytes_max),
            (
                "--max-publish-bytes-per-address",
                self.publish_bytes_per_address_max,
            ),
        ] {
            let Some(rate) = rate else { continue };
            let (least, most) = (limits::PUBLISH_BYTES_FLOOR, limits::PUBLISH_BYTES_CEILING);
            check_size(flag, rate.per_second, least, most)?;
            if rate.too_fast == TooFast::Close && rate.per_second < self.message_bytes_max {
                return Err(ConfigError::PublishBytes {
                    flag,
                    rate: Size(rate.per_second),
                    message: Size(self.message_bytes_max),
                });
            }
        }
        Ok(())
    }

    /// Checks each limit against its bounds and the limits against each other.
    fn check(&self) -> Result<(), ConfigError> {
        for (flag, value) in [
            ("--max-connections", self.connections_max),
            (
                "--max-connections-per-address",
                self.connections_per_address_max,
            ),
            (
                "--max-connections-per-network",
                self.connections_per_network_max,
            ),
            ("--max-handshakes", self.handshakes_max),
        ] {
            check_count(flag, value, limits::CONNECTIONS_CEILING)?;
        }
        self.check_rates()?;
        for (flag, value, least, most) in [
            (
                "--max-head",
                self.head_bytes_max,
                limits::HEAD_BYTES_FLOOR,
                limits::HEAD_BYTES_CEILING,
            ),
            (
                "--max-message",
                self.message_bytes_max,
                1,
                limits::MESSAGE_BYTES_CEILING,
            ),
            (
                "--outbox",
                self.outbox_bytes_max,
                limits::OUTBOX_BYTES_FLOOR,
                limits::OUTBOX_BYTES_CEILING,
            ),
        ] {
            check_size(flag, value, least, most)?;
        }
        for (flag, value) in [
            ("--handshake-timeout", Some(self.handshake_timeout)),
            ("--ping-interval", self.ping_interval),
            ("--close-timeout", Some(self.close_timeout)),
            ("--drain", self.drain),
            ("--shutdown-timeout", Some(self.shutdown_timeout)),
            ("--resolve-interval", Some(self.resolve_interval)),
            ("--retry-min", Some(self.retry_min)),
            ("--retry-max", Some(self.retry_max)),
        ] {
            check_duration(flag, value)?;
        }
        if self.retry_min > self.retry_max {
            return Err(ConfigError::Retry {
                min: Time(self.retry_min),
                max: Time(self.retry_max),
            });
        }
        if self.outbox_bytes_max / 2 < self.message_bytes_max {
            return Err(ConfigError::Outbox {
                outbox: Size(self.outbox_bytes_max),
                message: Size(self.message_bytes_max),
            });
        }
        if let Some(memory) = self
            .memory_bytes_max
            .filter(|max| *max < self.outbox_bytes_max)
        {
            return Err(ConfigError::Memory {
                memory: Size(memory),
                outbox: Size(self.outbox_bytes_max),
            });
        }
        Ok(())
    }
}

/// A number of things of which there is at least one.
pub(crate) fn check_count(
    flag: &'static str,
    value: usize,
    most: usize,
) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Count { flag, value, most })
    }
}

/// A size within its bounds.
pub(crate) fn check_size(
    flag: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Size {
            flag,
            value: Size(value),
            least: Size(least),
            most: Size(most),
        })
    }
}

fn check_duration(flag: &'static str, value: Option<Duration>) -> Result<(), ConfigError> {
    match value {
        Some(value) if !(limits::DURATION_MIN..=limits::DURATION_MAX).contains(&value) => {
            Err(ConfigError::Duration {
                flag,
                value: Time(value),
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with the defaults after a change.
    fn error(change: impl FnOnce(&mut Config)) -> String {
        let mut config = valid();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    fn valid() -> Config {
        Config {
            binds: vec!["localhost:0".parse().unwrap()],
            ..Config::default()
        }
    }

    #[test]
    fn the_defaults_need_only_an_address_or_a_peer() {
        assert_eq!(valid().check(), Ok(()));
        assert_eq!(Config::default().check(), Err(ConfigError::NothingToDo));
        let dialing = Config {
            peers: vec!["ws://localhost".parse().unwrap()],
            ..Config::default()
        };
        assert_eq!(dialing.check(), Ok(()));
    }

    #[test]
    fn values_out_of_bounds_are_named_with_their_flag() {
        for (error, expected) in [
            (
                error(|c| c.limits.connections_max = 0),
                "--max-connections 0 is out of bounds: from 1 to 1048576",
            ),
            (
                error(|c| c.limits.connections_per_address_max = usize::MAX),
                "--max-connections-per-address 18446744073709551615 is out of bounds",
            ),
            (
                error(|c| c.limits.handshakes_max = 0),
                "--max-handshakes 0 is out of bounds",
            ),
            (
                error(|c| c.limits.head_bytes_max = 511),
                "--max-head 511B is out of bounds: from 512B to 1MiB",
            ),
            (
                error(|c| c.limits.message_bytes_max = usize::MAX),
                "--max-message 18446744073709551615B is out of bounds: from 1B to 1GiB",
            ),
            (
                error(|c| c.interval = Some(Duration::ZERO)),
                "--interval 0s is out of bounds: from 1ms to 8760h",
            ),
            (
                error(|c| c.limits.ping_interval = Some(Duration::MAX)),
                "--ping-interval ",
            ),
            (
                error(|c| c.limits.shutdown_timeout = Duration::ZERO),
                "--shutdown-timeout 0s is out of bounds",
            ),
            (
                error(|c| c.limits.publish_rate_max = Some(Rate::closing(0))),
                "--max-publish-rate 0 is out of bounds: from 1 to 1000000",
            ),
            (
                error(|c| c.limits.handshake_rate_max = Some(0)),
                "--max-handshake-rate 0 is out of bounds: from 1 to 1000000",
            ),
            (
                error(|c| c.limits.publish_bytes_max = Some(Rate::delaying(1023))),
                "--max-publish-bytes 1023B is out of bounds: from 1KiB to 1GiB",
            ),
            (
                error(|c| c.mesh.degree = 0),
                "--degree 0 is out of bounds: from 1 to 64",
            ),
            (
                error(|c| c.mesh.hops_max = 0),
                "--hops 0 is out of bounds: from 1 to 255",
            ),
            (
                error(|c| c.mesh.history.age_max = Some(Duration::ZERO)),
                "--history 0s is out of bounds",
            ),
            (
                error(|c| c.mesh.history.messages_max = 65_537),
                "--history-messages 65537 is out of bounds: from 1 to 65536",
            ),
            (
                error(|c| c.mesh.history.bytes_max = 1023),
                "--history-bytes 1023B is out of bounds: from 1KiB to 1GiB",
            ),
        ] {
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn values_that_contradict_each_other_are_both_named() {
        assert_eq!(
            error(|c| c.limits.outbox_bytes_max = 2 * c.limits.message_bytes_max - 1),
            "--outbox 2097151B is too small for --max-message 1MiB: it must hold two messages of \
             that size, so raise --outbox or lower --max-message"
        );
        assert_eq!(
            error(|c| c.limits.publish_bytes_max = Some(Rate::closing(1000 << 10))),
            "--max-publish-bytes 1000KiB is less than --max-message 1MiB, so the largest message would be too fast: \
             raise it, lower --max-message, or write 1000KiB,delay"
        );
        assert_eq!(
            error(|c| c.limits.memory_bytes_max = Some(1 << 20)),
            "--memory 1MiB is too small for --outbox 4MiB: one slow peer alone would take all of it, so \
             raise --memory or lower --outbox"
        );
        assert_eq!(
            error(|c| c.limits.retry_min = Duration::from_secs(61)),
            "--retry-min 1m 1s is longer than --retry-max 1m"
        );
    }

    #[test]
    fn a_node_says_only_where_it_can_be_found() {
        let url = || "ws://node.example/".parse().unwrap();
        let error_of = |c: Config| c.check().unwrap_err().to_string();
        let dialing = || Config {
            peers: vec![url()],
            ..Config::default()
        };
        let mut config = valid();
        config.mesh.advertise = ["ws://a", "ws://b", "ws://c", "ws://d", "ws://a:80/"]
            .map(|url| url.parse().unwrap())
            .to_vec();
        assert_eq!(config.check(), Ok(()), "one of them comes twice");
        config.mesh.advertise.push(url());
        assert!(error_of(config).starts_with("--advertise has 5 URLs, at most 4 are told"));

        let mut config = dialing();
        config.mesh.advertise = vec![url()];
        assert!(error_of(config).starts_with("--advertise without --bind: "));

        assert!(error(|c| c.mesh.is_leaf = true).starts_with("--leaf without --peers: "));
        let mut config = dialing();
        config.mesh.is_leaf = true;
        assert_eq!(config.check(), Ok(()));
        config.binds = valid().binds;
        config.mesh.advertise = vec![url()];
        assert!(error_of(config).starts_with("--advertise with --leaf: "));
    }

    #[test]
    fn the_same_url_twice_is_one_url() {
        let urls = ["ws://b", "ws://a", "ws://A:80/", "ws://b", "ws://c"];
        let urls = urls.map(|url| url.parse::<PeerUrl>().unwrap());
        let distinct = [0, 1, 4].map(|place| urls[place].clone());
        let mut config = valid();
        config.peers = urls.to_vec();
        config.mesh.advertise = urls.to_vec();
        let config = config.without_repeats();
        assert_eq!(config.peers, distinct);
        assert_eq!(config.mesh.advertise, distinct);
    }

    #[test]
    fn what_goes_through_the_mesh_is_the_same_for_all() {
        let error = error(|c| c.broadcast_scope = BroadcastScope::Mesh);
        assert!(error.starts_with("--message has {index}, "), "{error}");
        let mut config = valid();
        config.broadcast_scope = BroadcastScope::Mesh;
        config.interval = None;
        assert_eq!(config.check(), Ok(()), "nothing is broadcast");
        config.interval = valid().interval;
        config.message = "{seq} from {bind}".parse().unwrap();
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn the_broadcast_fits_the_largest_message_in_its_longest_form() {
        let mut config = valid();
        config.message = "{index} {bind} {seq} {time}".parse().unwrap();
        let longest = "16384 localhost:65535 18446744073709551615 2026-11-22T14:05:13.123456789Z";
        config.limits.message_bytes_max = longest.len();
        assert_eq!(config.check(), Ok(()));
        config.limits.message_bytes_max -= 1;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            format!(
                "--message can become {}B long with its placeholders filled in, more than \
                 --max-message {}B",
                longest.len(),
                longest.len() - 1
            )
        );
        config.interval = None;
        assert_eq!(config.check(), Ok(()), "nothing is broadcast");
    }
}
