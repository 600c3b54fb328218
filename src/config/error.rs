//! Why a configuration cannot work.

use std::path::PathBuf;

use super::{BindAddress, PeerUrl, Size, Subnet, Time, limits};
use crate::printable::Printable;

/// Why a [`Config`](super::Config) cannot work. Names the flags and what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither an address to listen on nor a peer to dial.
    #[error(
        "nothing to do: give an address to listen on (--bind localhost:8080) or peers to dial \
         (--peers ws://localhost:8080), or both"
    )]
    NothingToDo,
    /// A number out of bounds.
    #[error("{flag} {value} is out of bounds: from 1 to {most}")]
    Count {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: usize,
        /// The greatest number allowed; the least is 1.
        most: usize,
    },
    /// A size out of bounds.
    #[error("{flag} {value} is out of bounds: from {least} to {most}")]
    Size {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: Size,
        /// The least size allowed.
        least: Size,
        /// The greatest size allowed.
        most: Size,
    },
    /// A time out of bounds.
    #[error(
        "{flag} {value} is out of bounds: from {} to {}",
        Time(limits::DURATION_MIN),
        Time(limits::DURATION_MAX)
    )]
    Duration {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: Time,
    },
    /// The backoff would start above its end.
    #[error("--retry-min {min} is longer than --retry-max {max}")]
    Retry {
        /// What was given for the start.
        min: Time,
        /// What was given for the end.
        max: Time,
    },
    /// An outbox that cannot hold a message and the one that overflows it.
    #[error(
        "--outbox {outbox} is too small for --max-message {message}: it must hold two messages \
         of that size, so raise --outbox or lower --max-message"
    )]
    Outbox {
        /// What was given for the outbox.
        outbox: Size,
        /// What was given for the message.
        message: Size,
    },
    /// A rate at which the largest message is too much.
    #[error(
        "{flag} {rate} is less than --max-message {message}, so the largest message would be too fast: raise it, \
         lower --max-message, or write {rate},delay"
    )]
    PublishBytes {
        /// The flag.
        flag: &'static str,
        /// What was given.
        rate: Size,
        /// What was given for the message.
        message: Size,
    },
    /// Memory for all that is less than one may take.
    #[error(
        "--memory {memory} is too small for --outbox {outbox}: one slow peer alone would take all of it, so raise \
         --memory or lower --outbox"
    )]
    Memory {
        /// What was given for all.
        memory: Size,
        /// What was given for one.
        outbox: Size,
    },
    /// More own URLs than neighbors remember.
    #[error(
        "--advertise has {count} URLs, at most {} are told to others: leave some out",
        limits::ADVERTISED_URLS_MAX
    )]
    Advertised {
        /// How many were given.
        count: usize,
    },
    /// An own URL at which nobody is.
    #[error(
        "--advertise `{}` names no host: every host takes that for itself; write the name or the \
         address at which others reach this node",
        Printable(&.url.to_string())
    )]
    AdvertisedNowhere {
        /// What was given.
        url: PeerUrl,
    },
    /// An own URL of a node that does not listen.
    #[error(
        "--advertise without --bind: a node that does not listen cannot be reached; give an \
         address to listen on (--bind 0.0.0.0:8080)"
    )]
    AdvertisedUnbound,
    /// An own URL of a node that others do not dial.
    #[error("--advertise with --leaf: others do not dial a leaf; leave one of the two out")]
    LeafAdvertised,
    /// A leaf that nobody connects to the mesh.
    #[error(
        "--leaf without --peers: a leaf is not found by others, so give it nodes to dial \
         (--peers ws://localhost:8080)"
    )]
    LeafAlone,
    /// A name that is to be resolved here, where a proxy resolves names.
    #[error(
        "--peers dns+{0} through a proxy: the proxy resolves names and tells no addresses; leave `dns+` out, or have \
         the name dialed directly (NO_PROXY={1}, or --proxy off)",
        Printable(&.url.to_string()),
        .url.host()
    )]
    NamedThroughProxy {
        /// What was given.
        url: PeerUrl,
    },
    /// A certificate without its key, or the reverse.
    #[error(
        "{given} {} without {missing}: a certificate and its key are needed both (one file may hold \
         them, then give it twice)",
        file.display()
    )]
    TlsUnpaired {
        /// The flag that was given.
        given: &'static str,
        /// What was given.
        file: PathBuf,
        /// The flag that is missing.
        missing: &'static str,
    },
    /// An address to listen on with TLS, and nothing to prove who this is.
    #[error(
        "--bind {bind} without --tls-cert: TLS needs a certificate, so give --tls-cert FILE and \
         --tls-key FILE, or write the address without wss://"
    )]
    TlsCertMissing {
        /// The address.
        bind: BindAddress,
    },
    /// A file for listeners with TLS, of which there are none.
    #[error(
        "{flag} without --bind wss://…: nothing would be encrypted; write --bind wss://HOST:PORT, or \
         leave {flag} out"
    )]
    TlsUnused {
        /// The flag.
        flag: &'static str,
    },
    /// A status page that everybody could look at.
    #[error(
        "--status {bind} is not this machine alone: give --token-file FILE, so that only who shows a token with the \
         right `status` can look, or a port of this machine (--status {})",
        bind.port()
    )]
    StatusOpen {
        /// The address.
        bind: BindAddress,
    },
    /// What makes a node ready, and nowhere to ask.
    #[error(
        "--ready-neighbors without --status: nobody could ask; give --status 9090, or leave it out"
    )]
    ReadyUnused,
    /// Where a token may stand, when there is none.
    #[error(
        "--token-in-url without --token-file: no token is needed here; give a file of tokens, or leave it out"
    )]
    TokenInUrlUnused,
    /// Everybody is said to be a proxy.
    #[error(
        "{flag} {range} believes everybody, so whoever connects could say to be somebody else: name \
         the addresses of your proxy"
    )]
    TrustsEverybody {
        /// Which option says so.
        flag: &'static str,
        /// What was given.
        range: Subnet,
    },
    /// A text for each peer where one text goes to all.
    #[error(
        "--message has {{index}}, the number of the receiving peer, but --broadcast-scope mesh \
         publishes one text for all: write --message without {{index}}, or choose \
         --broadcast-scope peers"
    )]
    PerPeerMessage,
    /// A periodic broadcast that no peer with our own limit would accept.
    #[error(
        "--message can become {rendered} long with its placeholders filled in, more than \
         --max-message {max}"
    )]
    MessageTooLong {
        /// Bytes of the longest rendering.
        rendered: Size,
        /// What was given for the limit.
        max: Size,
    },
}
