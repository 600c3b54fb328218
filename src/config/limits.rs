//! Every bound of a node: the ones an operator can turn ([`Limits`]) and the fixed ones.
//!
//! Owns the defaults, units and consequences, and the relations that hold between fixed bounds
//! (checked when the crate is compiled). Relations between values that a person chose are checked
//! by [`Config::check`](super::Config::check).

use std::time::Duration;

use super::{HistoryLimits, Rate};

/// Connections that the kernel keeps complete but not yet accepted, per listening socket.
/// Beyond it, connecting peers retry their SYN after a second. The kernel caps it at
/// `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Connections accepted in one turn of the loop before everything else gets its share: each costs ten to twenty
/// microseconds, refused or not.
pub const ACCEPTS_PER_TURN: usize = 16;

/// Deadlines that are acted on in one turn of the loop. Those of a crowd that came at once pass at once, too.
pub const DEADLINES_PER_TURN: usize = 32;

/// Bytes of the read buffer that all connections share, and with that what one peer may be read
/// in one turn. Greater favours a few fast peers, smaller favours many.
pub const READ_BUFFER_BYTES: usize = 32 * 1024;

/// Bytes received in one turn of the loop, from all peers together, before timers and signals get
/// their share. Peers left over are first in the next turn.
pub const READ_BYTES_PER_TURN: usize = 512 * 1024;

/// Bytes received in one turn of the loop from accepted connections that have not upgraded yet, from all together and
/// beside [`READ_BYTES_PER_TURN`]. It is a measure of time: what a crowd that connects takes in one turn, all others
/// wait, and so does whoever connects at the same time, for each message that it sends. Addresses take turns.
pub const HANDSHAKE_BYTES_PER_TURN: usize = TLS_STEP_BYTES;

/// What a step of a TLS handshake counts against that, or for a dialed connection against [`READ_BYTES_PER_TURN`]:
/// signing takes a quarter of a millisecond, and half a one with a large key of RSA.
pub const TLS_STEP_BYTES: usize = 32 * 1024;

/// TLS handshakes a second that are answered for one network (a /24 of IPv4, a /48 of IPv6; on this machine one address) and
/// come to nothing, with twice as many at once after a pause. Those beyond it wait for their answer. So many take three
/// percent of one core; of those that do come to an upgrade as many as there are may be answered, twice as many under way at once.
pub const TLS_ADVANCES_PER_SECOND: usize = 100;

/// What any other read before the upgrade counts at least.
pub const HANDSHAKE_READ_BYTES: usize = 2 * 1024;

/// Bytes of what a proxy says with the PROXY protocol of whose connection it passes on. Addresses take some tens of
/// them, and what is known of TLS between client and proxy a few hundred.
pub const INTRODUCTION_BYTES_MAX: usize = 2048;

/// Connections, of those that are there longest without upgrading, among which one is looked for that gives way.
pub const GIVING_WAY_LOOKED_AT_MAX: usize = 64;

/// Bytes that are encrypted ahead of what the socket takes, for one connection with TLS, and wait beside its
/// outbox. More makes large messages cheaper, less keeps more under the account of the outbox.
pub const TLS_SEND_BYTES_MAX: usize = 64 * 1024;

/// Connections to the status listener at once; further ones hear 503. They are counted by themselves, so that a node that
/// is full can still be looked at.
pub const STATUS_CONNECTIONS_MAX: usize = 64;

/// Peers that `/peers` tells of, neighbors first; of the others it tells how many there are.
pub const PEERS_SHOWN_MAX: usize = 256;

/// Slots that are looked at to find them: all that a scrape costs in a node with very many peers.
pub const SLOTS_LOOKED_AT_MAX: usize = 4096;

/// Time until the next address of a name is tried beside the one still connecting (RFC 8305 §5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A dialed connection that held this long starts its backoff anew when it is lost.
pub const RESET_AFTER: Duration = Duration::from_secs(30);

/// Connections beyond the admission limits that are kept until they have read why. Further ones get
/// the same answer but are dropped at once, so that a reset may overtake it.
pub const REFUSALS_MAX: usize = 256;

/// Time a connection that was answered in HTTP is read and discarded, so that the kernel does not take
/// the answer back with a reset. After a Close it is [`Limits::close_timeout`].
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Of the time over which peers are closed, so much for each at most: few are closed sooner than many.
pub const DRAIN_PER_PEER: Duration = Duration::from_millis(100);

/// Addresses of one name that are tried per dial; further ones are ignored.
pub const ADDRESSES_PER_NAME_MAX: usize = 16;

/// Addresses of a name that stands for several peers which are dialed and kept; of more a random choice is, and through
/// them the mesh finds the others.
pub const NAMED_ADDRESSES_MAX: usize = 16;

/// Messages of library calls that wait for the loop. A call that would exceed it is refused.
pub const BROADCAST_QUEUE_MAX: usize = 1024;

/// Admission stops at a limit and resumes when the connections are below this share of it, so
/// that a node at its limit does not alternate with every peer that leaves.
pub const READMIT_PERCENT: usize = 90;

/// Bytes of lines that are kept while standard output does not take them. Further lines are
/// dropped, counted and reported.
pub const OUTPUT_BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes of log lines that are kept while standard error does not take them. Further lines are
/// dropped, counted and reported.
pub const LOG_BUFFER_BYTES: usize = 64 * 1024;

/// Log lines of one place in the program in a minute (`--log-repeats`). Further ones are counted, and told as a sum when the
/// minute is over; if there were any, that place has one line in the next minute. So that whoever causes them cannot
/// fill the disk.
pub const LOG_REPEATS_MAX: usize = 50;

/// Places in the program whose log lines are counted by themselves in a minute. All further ones share one count for each
/// level.
pub const LOG_PLACES_MAX: usize = 256;

/// The supervisor of the process (systemd) hears at this interval at most how many peers there are.
pub const STANDING_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes that are read at once from a stream of messages, such as standard input.
pub const FEED_PORTION_BYTES: usize = 32 * 1024;

/// Messages from such a stream that are published in one turn of the loop. The rest waits for the next turn.
pub const FEED_MESSAGES_PER_TURN: usize = 256;

/// How long such a stream is not read because a peer takes nothing of what waits for it. Then it is read on, and the limit
/// of the peer's outbox has its answer.
pub const FEED_PATIENCE: Duration = Duration::from_secs(10);

/// The largest message that a client sends or takes in, unless it is told otherwise.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that wait for the server of a client before it reads on what is to be sent.
pub const CLIENT_PENDING_BYTES_MAX: usize = 256 * 1024;

/// Bytes of messages that a client hands to its output before it looks whether they are taken.
pub const CLIENT_OUTPUT_BYTES: usize = 64 * 1024;

/// Time that the server of a client has to answer the Close: it works through all that was sent before.
pub const CLIENT_CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The shortest time that may be configured: what the poll can tell apart.
pub const DURATION_MIN: Duration = Duration::from_millis(1);

/// The longest time that may be configured: a year. A longer one is a slip of the pen.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The greatest number of connections that may be configured: the descriptors that Linux grants
/// a process at most by default (`fs.nr_open`).
pub const CONNECTIONS_CEILING: usize = 1 << 20;

/// The least request head that may be configured: an upgrade request of a plain client fits.
pub const HEAD_BYTES_FLOOR: usize = 512;

/// The greatest request head that may be configured.
pub const HEAD_BYTES_CEILING: usize = 1024 * 1024;

/// The greatest message that may be configured: 1 GiB. A frame's header makes the receiver
/// reserve the length that it announces.
pub const MESSAGE_BYTES_CEILING: usize = 1 << 30;

/// Time that sent bytes may stay unacknowledged where pings are off.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Connections of one address that may be upgrading at the same time: half of all, so that one
/// address cannot keep the others out.
pub const fn handshakes_per_address_max(handshakes_max: usize) -> usize {
    handshakes_max.div_ceil(2)
}

/// Accepted connections of one network that have not upgraded yet: so that the addresses of one owner together leave
/// room, too.
pub const fn handshakes_per_network_max(handshakes_max: usize) -> usize {
    (handshakes_max * 3).div_ceil(4)
}

/// Bytes of answers waiting for a peer (pongs, echoes) above which it is not read from, so that what it
/// makes us answer stays bounded too. What one more read makes us answer comes on top.
pub const fn high_water_bytes(outbox_bytes_max: usize) -> usize {
    outbox_bytes_max / 4
}

/// Bytes of small messages that are put together, to be sent or dropped as one. More makes bursts
/// cheaper, less makes dropping finer; four fit into any outbox.
pub const fn joined_bytes_max(outbox_bytes_max: usize) -> usize {
    const BYTES_MAX: usize = 64 * 1024;
    if outbox_bytes_max / 4 < BYTES_MAX {
        outbox_bytes_max / 4
    } else {
        BYTES_MAX
    }
}

/// The least outbox that may be configured: a small message with all that it costs.
pub const OUTBOX_BYTES_FLOOR: usize = 4 * 1024;

/// The greatest outbox that may be configured: two of the greatest messages. A greater one is a slip of
/// the pen.
pub const OUTBOX_BYTES_CEILING: usize = 2 * MESSAGE_BYTES_CEILING;

/// Characters of a token: fewer can be guessed, more are none.
pub const TOKEN_BYTES_MIN: usize = 16;
/// See [`TOKEN_BYTES_MIN`].
pub const TOKEN_BYTES_MAX: usize = 256;

/// Tokens of a node: each of them is compared with whatever is shown.
pub const TOKENS_MAX: usize = 1000;

/// A larger file is none with tokens: so many of the longest ones with as much beside each.
pub const TOKEN_FILE_BYTES_MAX: u64 = (TOKENS_MAX * 2 * TOKEN_BYTES_MAX) as u64;

/// Neighbors that a node with the default degree takes in at most.
pub const DEGREE_MAX_DEFAULT: usize = 12;

/// With a greater degree, so many times as many.
pub const DEGREE_SPREAD: usize = 2;

/// Neighbors that cannot be dialed and are taken in at most, beside the others: few nodes may be there to
/// carry them.
pub const DEGREE_UNDIALABLE_MAX: usize = 32;

/// The greatest degree that may be configured. Every neighbor costs a copy of every announcement.
pub const DEGREE_CEILING: usize = 64;

/// URLs that a node may advertise. Every neighbor hears all of them.
pub const ADVERTISED_URLS_MAX: usize = 4;

/// The greatest number of messages that a history may be configured to keep. Each is announced to every new
/// neighbor.
pub const HISTORY_MESSAGES_CEILING: usize = 1 << 16;

/// The least bytes that a history may be configured to keep: a few small messages. Whoever wants none
/// switches it off.
pub const HISTORY_BYTES_FLOOR: usize = 1024;

/// The most bytes that a history may be configured to keep.
pub const HISTORY_BYTES_CEILING: usize = 1 << 30;

/// The greatest rate of publications that may be configured, a second. Who wants more wants none.
pub const PUBLISH_RATE_CEILING: usize = 1_000_000;

/// The least rate of bytes that may be configured, a second: one read at once is made up for in half a minute.
pub const PUBLISH_BYTES_FLOOR: usize = 1024;

/// The greatest rate of bytes that may be configured, a second. Who wants more wants none.
pub const PUBLISH_BYTES_CEILING: usize = 1 << 30;

/// Longest channel, in bytes: what one byte of a message's head can count.
/// A peer that asks for a longer path hears 414.
pub const CHANNEL_BYTES_MAX: usize = 255;

/// What a message has at most before its payload on the way to a neighbor: type, flags, hops, origin,
/// sequence number, and the channel with its length. Neighbors may send so many bytes more than
/// [`Limits::message_bytes_max`].
pub const MESH_HEAD_BYTES_MAX: usize = 1 + 1 + 1 + 16 + 4 + 1 + CHANNEL_BYTES_MAX;

/// Dials under way at the same time beside those of the configured peers. A further one fails at once.
/// Each takes two descriptors.
pub const DIALS_MAX: usize = 16;

/// Dials of a configured peer that leave our subprotocol out after it was only had without. More spares a
/// strict server requests that it refuses, less finds out sooner that it has become a node.
pub const UNOFFERED_DIALS: u32 = 4;

const _: () = {
    let defaults = Limits::DEFAULT;
    assert!(defaults.connections_max <= CONNECTIONS_CEILING);
    assert!(defaults.connections_per_address_max <= defaults.connections_max);
    assert!(defaults.handshakes_max <= defaults.connections_max);
    assert!(defaults.head_bytes_max >= HEAD_BYTES_FLOOR);
    assert!(defaults.head_bytes_max <= HEAD_BYTES_CEILING);
    assert!(defaults.message_bytes_max <= MESSAGE_BYTES_CEILING);
    assert!(defaults.outbox_bytes_max >= 2 * defaults.message_bytes_max);
    assert!(defaults.retry_min.as_nanos() <= defaults.retry_max.as_nanos());
    assert!(ACCEPTS_PER_TURN <= LISTEN_BACKLOG as usize);
    assert!(PEERS_SHOWN_MAX <= SLOTS_LOOKED_AT_MAX);
    // A head of default size is read in one turn.
    assert!(defaults.head_bytes_max <= READ_BUFFER_BYTES);
    assert!(READ_BUFFER_BYTES <= READ_BYTES_PER_TURN);
    // Every turn has room for some steps of handshakes.
    assert!(4 * TLS_STEP_BYTES <= READ_BYTES_PER_TURN);
    assert!(HANDSHAKE_READ_BYTES <= TLS_STEP_BYTES);
    assert!(READMIT_PERCENT > 0 && READMIT_PERCENT < 100);
    // All addresses of a name get their turn before the handshake's deadline.
    assert!(
        ADDRESSES_PER_NAME_MAX as u128 * ATTEMPT_DELAY.as_millis()
            < defaults.handshake_timeout.as_millis()
    );
    assert!(DURATION_MIN.as_nanos() < DURATION_MAX.as_nanos());
    let history = HistoryLimits::DEFAULT;
    assert!(history.messages_max <= HISTORY_MESSAGES_CEILING);
    assert!(history.bytes_max >= HISTORY_BYTES_FLOOR);
    assert!(history.bytes_max <= HISTORY_BYTES_CEILING);
    assert!(DEGREE_MAX_DEFAULT <= DEGREE_CEILING * DEGREE_SPREAD);
    // Publications of one peer are some nanoseconds apart.
    assert!(PUBLISH_RATE_CEILING <= 1_000_000_000);
    assert!(PUBLISH_BYTES_FLOOR <= PUBLISH_BYTES_CEILING);
    // A program may keep more messages than it logs.
    assert!(LOG_BUFFER_BYTES <= OUTPUT_BUFFER_BYTES);
    // The least outbox has room for a small message on its way through the mesh.
    assert!(2 * MESH_HEAD_BYTES_MAX <= OUTBOX_BYTES_FLOOR);
    // The product of two bounds does not overflow, not even where usize has 32 bits.
    assert!(MESSAGE_BYTES_CEILING <= usize::MAX / 2 - MESH_HEAD_BYTES_MAX);
    assert!(CONNECTIONS_CEILING <= usize::MAX / READMIT_PERCENT);
};

/// The bounds that an operator can turn. Every one has a flag of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections accepted, upgraded or not; dialed ones are bounded by the list of peers. Default
    /// 16384 (`--max-connections`). At the limit further peers hear 503, until the number is below
    /// [`READMIT_PERCENT`] of it. Each costs a descriptor.
    pub connections_max: usize,
    /// Connections accepted from one remote address. Default 4096
    /// (`--max-connections-per-address`). Further ones hear 429. Clients behind one NAT share it, and in IPv6 all of
    /// a subnet (a /64).
    pub connections_per_address_max: usize,
    /// Connections accepted from one network: the 256 addresses of IPv4 that begin alike (a /24), or a /48 of IPv6.
    /// Default 8192 (`--max-connections-per-network`). Further ones hear 429. Not counted on this machine itself.
    pub connections_per_network_max: usize,
    /// Accepted connections that have not upgraded yet. Default 4096 (`--max-handshakes`).
    /// Beyond it one of those that are there longest gives way, whose address and network have more of the places than
    /// who comes; if there is none, who comes hears 503, and beyond half of it from one address, or three quarters from one
    /// network, 429. Keeps peers that connect and say nothing from filling the node.
    pub handshakes_max: usize,
    /// Time from accept, or from the start of a dial, until the upgrade is done; absolute, so
    /// that a head sent byte by byte does not stretch it. Default 10 s (`--handshake-timeout`).
    /// Afterwards the connection is closed.
    pub handshake_timeout: Duration,
    /// Bytes of an HTTP head, request or response. Default 8 KiB (`--max-head`). A longer
    /// request hears 431; a longer response ends the dial.
    pub head_bytes_max: usize,
    /// Bytes of a message received or sent, all its fragments together. Default 1 MiB
    /// (`--max-message`). A peer that sends a longer one is closed with 1009.
    pub message_bytes_max: usize,
    /// Publications a second of one plain peer, with twice as many at once after a pause. Default 5000,
    /// `None` (`off`) for any number (`--max-publish-rate`). A peer that sends more is closed with 1008, or has to wait.
    pub publish_rate_max: Option<Rate>,
    /// Bytes a second of one plain peer, all that it sends once it is upgraded, with twice as many at once after a pause.
    /// Default 64 MiB, and a peer that sends more has to wait; `None` (`off`) for any number (`--max-publish-bytes`).
    pub publish_bytes_max: Option<Rate>,
    /// Publications a second of all plain peers that came from one address (in IPv6 from one /64), as
    /// [`publish_rate_max`](Self::publish_rate_max). Default `None` (`off`): how many share an address, behind a NAT or on a
    /// machine that runs a load test, is not for us to know (`--max-publish-rate-per-address`).
    pub publish_rate_per_address_max: Option<Rate>,
    /// … and bytes. Default `None` (`off`) (`--max-publish-bytes-per-address`).
    pub publish_bytes_per_address_max: Option<Rate>,
    /// Connections a second from one address (in IPv6 from one /64), with twice as many at once after a pause. Default
    /// `None` (`off`): after an outage all who share an address come back at once (`--max-handshake-rate`). Further ones hear
    /// 429 before anything is done for them.
    pub handshake_rate_max: Option<usize>,
    /// Bytes that wait to be sent to one peer, the message that overflows it counted, and 64 bytes
    /// for each frame. Default
    /// 4 MiB (`--outbox`), at least twice [`message_bytes_max`](Self::message_bytes_max). What
    /// happens beyond it is the [`SlowPeer`](super::SlowPeer) policy. A node may need this much
    /// memory for every peer that does not read.
    pub outbox_bytes_max: usize,
    /// Bytes that peers make the node hold, all together: what waits for them (a frame that waits for several once, and 64
    /// bytes for each place in an outbox), heads and messages that have come in part (with the size that they announce,
    /// in fragments twice), and what is kept for others. Default 512 MiB, `None` (`off`) for any number (`--memory`). At least
    /// [`outbox_bytes_max`](Self::outbox_bytes_max). Who holds most is closed with 1013 until the others are within it, at the end
    /// of each turn; during one there may be more by what it takes in: [`READ_BYTES_PER_TURN`] received, and what the
    /// program itself sends, each once for those who share it and once more for every dialed peer.
    pub memory_bytes_max: Option<usize>,
    /// A peer that sent nothing for this long is pinged, and dropped after twice this time
    /// without a byte. Default 30 s, `None` (`off`) never pings; then only bytes that stay unacknowledged for
    /// [`UNACKNOWLEDGED_MAX`] end a connection (`--ping-interval`).
    pub ping_interval: Option<Duration>,
    /// Time a peer has to answer a Close before its connection is dropped. Default 5 s
    /// (`--close-timeout`).
    pub close_timeout: Duration,
    /// Time over which plain peers are closed when the node is to end and has time for it, as after SIGTERM: one by one and
    /// at random, so that they do not come back all at once. Few take less: [`DRAIN_PER_PEER`] for each. Default 10 s,
    /// `None` (`off`) closes all at once (`--drain`).
    pub drain: Option<Duration>,
    /// Time that those who are left then have to go, neighbors too, which are closed when no other peer is left, or after
    /// half of it. Then the node ends without them. Default 5 s (`--shutdown-timeout`).
    pub shutdown_timeout: Duration,
    /// Time until a name that stands for several peers is resolved again, more or less a quarter. Default 30 s
    /// (`--resolve-interval`). One that does not resolve is asked for again as a peer is dialed again that cannot be
    /// reached.
    pub resolve_interval: Duration,
    /// Upper bound of the wait before a peer is dialed for the second time; doubles with every
    /// failure, the wait itself is random between zero and the bound. Default 1 s
    /// (`--retry-min`).
    pub retry_min: Duration,
    /// The bound that the doubling stops at. Default 60 s (`--retry-max`).
    pub retry_max: Duration,
}

impl Limits {
    /// Time without a received byte after which a peer is given up; `None`: never.
    pub fn silence_max(&self) -> Option<Duration> {
        self.ping_interval.map(|interval| 2 * interval)
    }

    /// Time that sent bytes may stay unacknowledged before the kernel gives a connection up.
    pub fn unacknowledged_max(&self) -> Duration {
        self.silence_max().unwrap_or(UNACKNOWLEDGED_MAX)
    }

    /// Whether others have the same rates for plain peers.
    pub(crate) fn has_rates_of(&self, others: &Self) -> bool {
        let rates = |limits: &Self| {
            [
                limits.publish_rate_max,
                limits.publish_bytes_max,
                limits.publish_rate_per_address_max,
                limits.publish_bytes_per_address_max,
            ]
        };
        rates(self) == rates(others)
    }

    /// The defaults, usable in constants.
    pub const DEFAULT: Limits = Limits {
        connections_max: 16384,
        connections_per_address_max: 4096,
        connections_per_network_max: 8192,
        handshakes_max: 4096,
        handshake_timeout: Duration::from_secs(10),
        head_bytes_max: 8 * 1024,
        message_bytes_max: 1024 * 1024,
        publish_rate_max: Some(Rate::closing(5000)),
        publish_bytes_max: Some(Rate::delaying(64 * 1024 * 1024)),
        publish_rate_per_address_max: None,
        publish_bytes_per_address_max: None,
        handshake_rate_max: None,
        outbox_bytes_max: 4 * 1024 * 1024,
        memory_bytes_max: Some(512 * 1024 * 1024),
        ping_interval: Some(Duration::from_secs(30)),
        close_timeout: Duration::from_secs(5),
        drain: Some(Duration::from_secs(10)),
        shutdown_timeout: Duration::from_secs(5),
        resolve_interval: Duration::from_secs(30),
        retry_min: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
