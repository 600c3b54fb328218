//! Options that say how the node takes part in the mesh.

use clap::Args;
use wsmesh::config::{Count, Every, HistoryLimits, MeshConfig, NetworkName, PeerUrl, Size};

use super::typed::{hops, switch, typed};

const HISTORY: HistoryLimits = HistoryLimits::DEFAULT;

#[derive(Debug, Args)]
pub(super) struct MeshOptions {
    /// Name of the mesh
    ///
    /// Only nodes of the same name become neighbors; a node of another one is refused, and both
    /// logs say so. This keeps neighbors from being mixed up, not intruders out.
    #[arg(long, env = "WSMESH_NETWORK", value_name = "NAME")]
    #[arg(value_parser = typed::<NetworkName>(), default_value_t = MeshConfig::default().network)]
    network: NetworkName,

    /// Where others can dial this node
    ///
    /// Up to 4 URLs, as a list with commas or repeated. Needed behind a proxy or a NAT that forwards
    /// a port; otherwise neighbors try the address that they see, with the port of --bind, and hand
    /// it on only if it answers.
    #[arg(
        long,
        env = "WSMESH_ADVERTISE",
        value_name = "URL",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<PeerUrl>())]
    advertise: Vec<PeerUrl>,

    /// Neighbors to look for
    ///
    /// The node looks for others until it has so many, and takes some more that look for it. All of
    /// --peers are dialed and kept beside them. More neighbors find ways around failures sooner and
    /// cost more bandwidth.
    #[arg(long, env = "WSMESH_DEGREE", value_name = "N")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(MeshConfig::default().degree))]
    degree: Count,

    /// How far messages go
    ///
    /// How often a message may have been passed from node to node when it comes here; one from
    /// farther away is left out. Guards against a message that circles for ever, so give all nodes
    /// the same; a mesh is far smaller than the default.
    #[arg(long, env = "WSMESH_HOPS", value_name = "N")]
    #[arg(value_parser = hops(), default_value_t = MeshConfig::default().hops_max)]
    hops: u8,

    /// How long messages are kept for others, or off
    ///
    /// A node that missed something, because a connection broke or it was away for a moment, gets
    /// it from its neighbors if it is not older than this, and among as many as --history-messages
    /// and --history-bytes allow. With off, what is lost on the way stays lost.
    #[arg(long, env = "WSMESH_HISTORY", value_name = "TIME")]
    #[arg(value_parser = typed::<Every>(), default_value_t = Every(HISTORY.age_max))]
    history: Every,

    /// Messages kept for others
    ///
    /// So many of its own, and so many of all other nodes together; the oldest are forgotten first. For n messages a second in the
    /// mesh, keep n times the seconds that a node may be away.
    #[arg(long, env = "WSMESH_HISTORY_MESSAGES", value_name = "N")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(HISTORY.messages_max))]
    history_messages: Count,

    /// Bytes of messages kept for others
    ///
    /// So many of its own, and so many of others. The oldest are forgotten first. A message that is larger is passed on as any other, but
    /// not kept.
    #[arg(long, env = "WSMESH_HISTORY_BYTES", value_name = "SIZE")]
    #[arg(value_parser = typed::<Size>(), default_value_t = Size(HISTORY.bytes_max))]
    history_bytes: Size,

    /// Take part without relaying for other nodes
    ///
    /// A leaf dials --peers, publishes, and serves whoever is connected to it, but other nodes
    /// neither look for it nor rely on it. For small or mobile machines.
    #[arg(long, env = "WSMESH_LEAF", value_parser = switch())]
    leaf: bool,
}

impl From<MeshOptions> for MeshConfig {
    fn from(options: MeshOptions) -> Self {
        Self {
            network: options.network,
            advertise: options.advertise,
            degree: options.degree.0,
            hops_max: options.hops,
            history: HistoryLimits {
                age_max: options.history.0,
                messages_max: options.history_messages.0,
                bytes_max: options.history_bytes.0,
            },
            is_leaf: options.leaf,
        }
    }
}
