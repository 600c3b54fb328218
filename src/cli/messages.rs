//! Options that say what the node sends, and to whom.

use clap::{ArgAction, Args};
use wsmesh::Config;
use wsmesh::config::{BroadcastScope, Every, SlowPeer, Template};

use super::typed::{switch, typed};

#[derive(Debug, Args)]
pub(super) struct MessageOptions {
    /// Time between two broadcasts, or off
    ///
    /// A broadcast goes to whom --broadcast-scope says. The interval is kept to the clock: traffic neither delays
    /// nor bunches broadcasts. With off there are none.
    #[arg(long, env = "WSMESH_INTERVAL", value_name = "TIME")]
    #[arg(value_parser = typed::<Every>(), default_value_t = Every(Config::default().interval))]
    pub(super) interval: Every,

    /// What to broadcast
    ///
    /// {index} becomes the number of the receiving peer, {bind} the
    /// address this node listens on, {seq} the number of the broadcast and {time} its time in
    /// UTC; {{ and }} are the braces themselves. With {index} the text is made for each peer by
    /// itself; without it once for all, which is cheaper with many peers. [default: Message to client
    /// {index} from {bind}, and with --broadcast-scope mesh: Message from {bind}]
    #[arg(long, env = "WSMESH_MESSAGE", value_name = "TEXT")]
    #[arg(value_parser = typed::<Template>())]
    pub(super) message: Option<Template>,

    /// Who hears the broadcast: peers or mesh
    ///
    /// peers: all that are connected to this node, and nobody beyond them. mesh: everyone, once; it
    /// is published in the channel /, the same for all, so that --message must not have {index}.
    #[arg(long, env = "WSMESH_BROADCAST_SCOPE", value_name = "WHO")]
    #[arg(value_parser = typed::<BroadcastScope>(), default_value_t = BroadcastScope::default())]
    pub(super) broadcast_scope: BroadcastScope,

    /// Whether to pass on what peers send: on or off
    ///
    /// What a peer sends (a browser, websocat, a program) goes to all that are connected with the
    /// same path, here and at every other node of the mesh. With off it goes to the output of this
    /// node alone. What others publish is passed on either way.
    #[arg(long, env = "WSMESH_RELAY", value_name = "ON|OFF", action = ArgAction::Set)]
    #[arg(value_parser = switch(), default_value = "on")]
    pub(super) relay: bool,

    /// Also send each message back to the peer that sent it
    ///
    /// Unchanged, in order, text as text and binary as binary; not to other nodes of the mesh. For
    /// debugging and for conformance suites. A dialed server that echoes as well gets it back for
    /// ever.
    #[arg(long, env = "WSMESH_ECHO", value_parser = switch())]
    pub(super) echo: bool,

    /// disconnect, drop-oldest or drop-newest
    ///
    /// What happens to a peer that reads so slowly that its --outbox is full: disconnect closes
    /// it with code 1013, so that it knows; drop-oldest makes room by dropping what has waited
    /// longest; drop-newest drops what does not fit. What is dropped is counted and logged once.
    #[arg(long, env = "WSMESH_SLOW_PEER", value_name = "POLICY")]
    #[arg(value_parser = typed::<SlowPeer>(), default_value_t = SlowPeer::default())]
    pub(super) slow_peer: SlowPeer,
}
