//! Options that say where the node listens and whom it dials.

use clap::Args;
use wsmesh::config::{BindAddress, PeerOption};

use super::{proxy::ProxyChoice, typed::typed};

#[derive(Debug, Args)]
pub(super) struct AddressOptions {
    /// Listen on this address (host:port, ip:port, [ipv6]:port)
    ///
    /// A name with several addresses,
    /// as localhost often is, listens on all of them. Port 0 lets the system choose; the log
    /// says which port it is. With wss:// in front TLS is spoken there: see --tls-cert. May be
    /// repeated or given as a list with commas. Without it the node only dials, and --peers is
    /// required.
    #[arg(
        short,
        long,
        env = "WSMESH_BIND",
        value_name = "ADDR",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<BindAddress>())]
    pub(super) bind: Vec<BindAddress>,

    /// Dial these peers (ws:// or wss://host[:port][/path][?query])
    ///
    /// A list with
    /// commas, and may be repeated; an empty item is an error, the same URL twice is dialed
    /// once, and a comma inside a URL is written %2C. A peer that cannot be reached, or is lost,
    /// is dialed again for ever, less and less often. A URL that leads to this node itself is
    /// left alone. With dns+ in front (dns+ws://mesh.example:8080), all addresses of the name are
    /// dialed, up to 16, and its changes are followed: see --resolve-interval.
    #[arg(
        short,
        long,
        env = "WSMESH_PEERS",
        value_name = "URL",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<PeerOption>())]
    pub(super) peers: Vec<PeerOption>,

    /// Dial through this proxy (http://host:port, socks5://host:port, off)
    ///
    /// With [user:password@] before the host where it wants to know who asks, best in the
    /// environment, where others do not see it. It resolves the names of peers. Without the option
    /// HTTPS_PROXY says it for wss://, and ALL_PROXY for both, but never for this machine itself.
    /// NO_PROXY names who is dialed directly.
    #[arg(long, env = "WSMESH_PROXY", value_name = "URL")]
    #[arg(value_parser = typed::<ProxyChoice>())]
    pub(super) proxy: Option<ProxyChoice>,
}
