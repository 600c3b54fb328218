//! Options that bound what peers can make grow.

use clap::Args;
use wsmesh::config::{ByteRate, Count, Every, Limits, MessageRate, Size, SizeUpTo, Time, UpTo};

use super::typed::{switch, time_or_none, typed};

const LIMITS: Limits = Limits::DEFAULT;

#[derive(Debug, Args)]
pub(super) struct LimitOptions {
    /// Connections accepted
    ///
    /// At the limit further peers hear 503, until 10 % have left. Each connection takes a file
    /// descriptor; the system's limit is raised as far as it allows.
    #[arg(long, env = "WSMESH_MAX_CONNECTIONS", value_name = "N")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(LIMITS.connections_max))]
    max_connections: Count,

    /// Connections accepted from one address
    ///
    /// Further ones hear 429. Clients behind one NAT or proxy share it, and in IPv6 all of a subnet
    /// (a /64).
    #[arg(long, env = "WSMESH_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(LIMITS.connections_per_address_max))]
    max_connections_per_address: Count,

    /// Connections accepted from one network
    ///
    /// A network are the 256 addresses of IPv4 that begin alike (a /24), or a /48 of IPv6; this machine
    /// itself is none. Further ones hear 429.
    #[arg(long, env = "WSMESH_MAX_CONNECTIONS_PER_NETWORK", value_name = "N")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(LIMITS.connections_per_network_max))]
    max_connections_per_network: Count,

    /// Connections not upgraded yet
    ///
    /// Connections accepted that have not upgraded to WebSocket yet. Further ones hear 503, and
    /// beyond half of it from one address, or three quarters from one network, 429. Keeps peers that connect and say nothing from
    /// filling the node.
    #[arg(long, env = "WSMESH_MAX_HANDSHAKES", value_name = "N")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(LIMITS.handshakes_max))]
    max_handshakes: Count,

    /// Time to connect and upgrade
    ///
    /// Time until a connection, accepted or dialed, is upgraded to WebSocket, from its very
    /// start. Then it hears 408, even if it is still sending its head byte by byte; a peer that
    /// was dialed is given up and dialed again later.
    #[arg(long, env = "WSMESH_HANDSHAKE_TIMEOUT", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.handshake_timeout))]
    handshake_timeout: Time,

    /// Size of an HTTP head
    ///
    /// Of a request that we receive or of the response to ours. A longer request hears 431, a
    /// longer response ends the dial.
    #[arg(long, env = "WSMESH_MAX_HEAD", value_name = "SIZE")]
    #[arg(value_parser = typed::<Size>(), default_value_t = Size(LIMITS.head_bytes_max))]
    max_head: Size,

    /// Size of a message
    ///
    /// All its fragments together. A peer that sends a longer one is closed
    /// with code 1009.
    #[arg(long, env = "WSMESH_MAX_MESSAGE", value_name = "SIZE")]
    #[arg(value_parser = typed::<Size>(), default_value_t = Size(LIMITS.message_bytes_max))]
    max_message: Size,

    /// Messages a second of one peer, or off
    ///
    /// Of one that is no node of the mesh: a browser, websocat, a program. Twice as many may come
    /// at once after a pause. A peer that sends more is closed with code 1008; with `,delay` behind the
    /// number (5000,delay) it is not read for a while instead, so that it has to wait.
    #[arg(long, env = "WSMESH_MAX_PUBLISH_RATE", value_name = "N")]
    #[arg(value_parser = typed::<MessageRate>(), default_value_t = MessageRate(LIMITS.publish_rate_max))]
    max_publish_rate: MessageRate,

    /// Bytes a second of one peer
    ///
    /// All that it sends once it is upgraded, pings included. Otherwise as --max-publish-rate.
    #[arg(long, env = "WSMESH_MAX_PUBLISH_BYTES", value_name = "SIZE")]
    #[arg(value_parser = typed::<ByteRate>(), default_value_t = ByteRate(LIMITS.publish_bytes_max))]
    max_publish_bytes: ByteRate,

    /// Messages a second of one address
    ///
    /// Of all peers together that came from there, in IPv6 from a subnet (a /64). Off by default: clients
    /// behind one NAT or proxy share it. Otherwise as --max-publish-rate.
    #[arg(long, env = "WSMESH_MAX_PUBLISH_RATE_PER_ADDRESS", value_name = "N")]
    #[arg(value_parser = typed::<MessageRate>(), default_value_t = MessageRate(LIMITS.publish_rate_per_address_max))]
    max_publish_rate_per_address: MessageRate,

    /// Bytes a second of one address
    ///
    /// As --max-publish-bytes, and --max-publish-rate-per-address.
    #[arg(long, env = "WSMESH_MAX_PUBLISH_BYTES_PER_ADDRESS", value_name = "N")]
    #[arg(value_parser = typed::<ByteRate>(), default_value_t = ByteRate(LIMITS.publish_bytes_per_address_max))]
    max_publish_bytes_per_address: ByteRate,

    /// Connections a second of one address
    ///
    /// Twice as many may come at once after a pause. Further ones hear 429, before TLS and before their
    /// request is read. Off by default: after an outage all clients behind one NAT or proxy come back at
    /// once.
    #[arg(long, env = "WSMESH_MAX_HANDSHAKE_RATE", value_name = "N")]
    #[arg(value_parser = typed::<UpTo>(), default_value_t = UpTo(LIMITS.handshake_rate_max))]
    max_handshake_rate: UpTo,

    /// Bytes that may wait for one peer
    ///
    /// The message that overflows it included, and 64 more for each frame (small messages of one
    /// burst go together as one); at least twice --max-message. What happens beyond it is
    /// --slow-peer. Every peer that does not read may cost this much memory.
    #[arg(long, env = "WSMESH_OUTBOX", value_name = "SIZE")]
    #[arg(value_parser = typed::<Size>(), default_value_t = Size(LIMITS.outbox_bytes_max))]
    outbox: Size,

    /// Bytes held for all peers, or off
    ///
    /// What waits for them (what waits for several counts once), messages and heads that have come in
    /// part, and the history; at least --outbox. Beyond it, whoever holds most is closed with code 1013
    /// (an HTTP request hears 503), or the oldest messages of the history are forgotten.
    #[arg(long, env = "WSMESH_MEMORY", value_name = "SIZE")]
    #[arg(value_parser = typed::<SizeUpTo>(), default_value_t = SizeUpTo(LIMITS.memory_bytes_max))]
    memory: SizeUpTo,

    /// Silence before a ping, or off
    ///
    /// A peer that sent nothing for this long is pinged, and dropped after twice this time. With
    /// off, a peer that vanished without a word is noticed only when something is sent to it.
    #[arg(long, env = "WSMESH_PING_INTERVAL", value_name = "TIME")]
    #[arg(value_parser = typed::<Every>(), default_value_t = Every(LIMITS.ping_interval))]
    ping_interval: Every,

    /// Time for a peer to answer a Close
    ///
    /// Then its connection is dropped.
    #[arg(long, env = "WSMESH_CLOSE_TIMEOUT", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.close_timeout))]
    close_timeout: Time,

    /// Time to close peers over, or off
    ///
    /// One by one and at random, so that they do not come back all at once; few take less, a tenth
    /// of a second each. Nobody new is let in meanwhile, and neighbors know that they have to find another way. With
    /// off, or 0, all are closed at once, as after Ctrl-C. A second signal ends the node at once.
    #[arg(long, env = "WSMESH_DRAIN", value_name = "TIME")]
    #[arg(value_parser = time_or_none(), default_value_t = Every(LIMITS.drain))]
    drain: Every,

    /// Tell peers that the node will be back
    ///
    /// When it ends, they are closed with code 1012 (service restart) in place of 1001 (going away).
    #[arg(long, env = "WSMESH_RESTART_NOTICE", value_parser = switch())]
    pub(super) restart_notice: bool,

    /// Time for all peers to go in the end
    ///
    /// After Ctrl-C, or when the time of --drain is over, they have this time to take what is queued and to answer
    /// their Close; then the node ends without them.
    #[arg(long, env = "WSMESH_SHUTDOWN_TIMEOUT", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.shutdown_timeout))]
    shutdown_timeout: Time,

    /// How often names of peers are resolved
    ///
    /// Their addresses are dialed as they come, and no more when they are gone. More or less a
    /// quarter, so that nodes do not ask all at once.
    #[arg(long, env = "WSMESH_RESOLVE_INTERVAL", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.resolve_interval))]
    resolve_interval: Time,

    /// Wait before the first redial, at most
    ///
    /// This bound doubles with each failure. The wait itself is random between zero and the
    /// bound, so that many nodes do not dial at the same moment.
    #[arg(long, env = "WSMESH_RETRY_MIN", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.retry_min))]
    retry_min: Time,

    /// Wait before any redial, at most
    ///
    /// Where the doubling of --retry-min stops.
    #[arg(long, env = "WSMESH_RETRY_MAX", value_name = "TIME")]
    #[arg(value_parser = typed::<Time>(), default_value_t = Time(LIMITS.retry_max))]
    retry_max: Time,
}

impl From<LimitOptions> for Limits {
    fn from(options: LimitOptions) -> Self {
        Self {
            connections_max: options.max_connections.0,
            connections_per_address_max: options.max_connections_per_address.0,
            connections_per_network_max: options.max_connections_per_network.0,
            handshakes_max: options.max_handshakes.0,
            handshake_timeout: options.handshake_timeout.0,
            head_bytes_max: options.max_head.0,
            message_bytes_max: options.max_message.0,
            publish_rate_max: options.max_publish_rate.0,
            publish_bytes_max: options.max_publish_bytes.0,
            publish_rate_per_address_max: options.max_publish_rate_per_address.0,
            publish_bytes_per_address_max: options.max_publish_bytes_per_address.0,
            handshake_rate_max: options.max_handshake_rate.0,
            outbox_bytes_max: options.outbox.0,
            memory_bytes_max: options.memory.0,
            ping_interval: options.ping_interval.0,
            close_timeout: options.close_timeout.0,
            drain: options.drain.0,
            shutdown_timeout: options.shutdown_timeout.0,
            resolve_interval: options.resolve_interval.0,
            retry_min: options.retry_min.0,
            retry_max: options.retry_max.0,
        }
    }
}
