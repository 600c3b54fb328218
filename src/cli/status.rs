//! Options that say where the node shows what it does.

use clap::Args;
use wsmesh::config::{Count, StatusAddress, StatusConfig};

use super::typed::typed;

#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    /// Show what the node does there (port, host:port)
    ///
    /// A page in a browser at /, /metrics for Prometheus, /healthz and /readyz, and JSON at /peers and
    /// /mesh. A port alone is one of this machine. Any other address needs --token-file, and who looks
    /// needs a token with the right `status`. With wss:// in front TLS is spoken there.
    #[arg(long, env = "WSMESH_STATUS", value_name = "ADDR")]
    #[arg(value_parser = typed::<StatusAddress>())]
    status: Option<StatusAddress>,

    /// Neighbors without which the node is not ready
    ///
    /// Below it /readyz of --status answers 503. The first node of a mesh has none.
    #[arg(long, env = "WSMESH_READY_NEIGHBORS", value_name = "N")]
    #[arg(value_parser = typed::<Count>(), default_value_t = Count(0))]
    ready_neighbors: Count,
}

impl From<StatusOptions> for StatusConfig {
    fn from(options: StatusOptions) -> Self {
        Self {
            bind: options.status,
            ready_neighbors: options.ready_neighbors.0,
        }
    }
}
