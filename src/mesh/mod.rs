//! The mesh protocol without I/O: what a node says to its neighbors and does with what they say.
//!
//! Input by `on_*`, [`Mesh::publish`] and [`Mesh::expire`], each with the time; after any of them take the
//! outputs with [`Mesh::poll_output`] until there are none, and call [`Mesh::expire`] again at
//! [`Mesh::next_deadline`]. Knows no sockets, no clock and no randomness of its own: the same inputs give
//! the same outputs, in a node and in a simulation.

use std::{net::IpAddr, time::Instant};

use rand::rngs::Xoshiro256PlusPlus;

use crate::{
    config::{MeshConfig, PeerUrl},
    message::Message,
    node_id::NodeId,
};

/// Names one connection to a neighbor, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerKey(pub(crate) u64);

/// What the mesh has to know of its node beside the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: NodeId,
    /// Peers to dial and keep (`--peers`). The network dials them by itself, again and again, unless it is
    /// told to rest.
    pub(crate) configured: Vec<PeerUrl>,
    /// Ports that the node listens on, for those who dial it back.
    pub(crate) ports: Vec<u16>,
    /// Largest payload, in bytes.
    pub(crate) message_bytes_max: usize,
}

/// Who opened a connection to a neighbor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// We did, by this URL.
    Dialed(PeerUrl),
    Accepted,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The neighbor said with this code that it goes.
    ByPeer(Option<u16>),
    /// We closed it.
    ByUs,
    /// It broke, or was given up as silent.
    Lost,
}

/// Why a dial led to no neighbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialFailure {
    Unreachable,
    /// The URL leads to this node itself.
    Itself,
    /// A WebSocket endpoint that does not speak the subprotocol.
    Plain,
}

/// Where a message was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In the whole mesh.
    Mesh,
    /// By a neighbor, for its direct peers: its periodic broadcast.
    Neighbor(PeerKey),
}

/// A message for the people and programs at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) origin: NodeId,
    pub(crate) sequence: u32,
    /// Path, starts with `/`.
    pub(crate) channel: Box<str>,
    pub(crate) message: Message,
    pub(crate) reach: Reach,
}

/// What the node should do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// Send the same frame to each of these.
    Send { to: Vec<PeerKey>, frame: Message },
    /// Hand it to the plain peers of the channel and to the node's own output. Never of what was published here.
    Deliver(Delivery),
    /// Dial this, once. A configured peer: now, and again and again from now on.
    Dial(PeerUrl),
    /// Do not dial this configured peer until told to: there is another connection to it, or it is full.
    Rest(PeerUrl),
    /// Close the connection with this code and reason. Nothing is sent on it afterwards; what still comes
    /// from it is taken.
    Close {
        peer: PeerKey,
        code: u16,
        reason: String,
    },
    /// Something that a person should hear of.
    Tell(News),
}

/// Something that a person should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The first neighbor, or the first again.
    Joined,
    /// The last neighbor is gone.
    Alone,
    /// So many messages of this node were missed for longer than histories hold.
    Gap { origin: NodeId, missed: u32 },
}

impl News {
    pub(crate) fn level(&self) -> log::Level {
        match self {
            Self::Joined | Self::Alone => log::Level::Info,
            Self::Gap { .. } => log::Level::Warn,
        }
    }
}

impl std::fmt::Display for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Joined => write!(f, "joined the mesh"),
            Self::Alone => write!(f, "no neighbor left"),
            Self::Gap { origin, missed } => {
                write!(
                    f,
                    "{missed} messages of node {} were missed",
                    origin.short()
                )
            }
        }
    }
}

/// What a mesh counts, and how it stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Neighbors that have said hello.
    pub(crate) neighbors: usize,
    /// Connections that have not.
    pub(crate) greeting: usize,
    pub(crate) is_root: bool,
    pub(crate) root: Option<NodeId>,
    pub(crate) parent: Option<PeerKey>,
    /// Hops to the root.
    pub(crate) hop: u32,
    pub(crate) published: u64,
    /// Messages of others taken in for the first time.
    pub(crate) received: u64,
    /// Messages that were there already.
    pub(crate) duplicates: u64,
    /// Messages of others that were missed for good.
    pub(crate) missed: u64,
    /// What was asked for because it had been announced and did not come.
    pub(crate) requested: u64,
    /// Frames that were left aside: unknown, wrong, or too many.
    pub(crate) ignored: u64,
}

/// The state of one node in the mesh.
#[derive(Debug)]
pub(crate) struct Mesh {
    config: MeshConfig,
    place: Place,
    rng: Xoshiro256PlusPlus,
}

impl Mesh {
    pub(crate) fn new(config: MeshConfig, place: Place, rng: Xoshiro256PlusPlus) -> Self {
        Self { config, place, rng }
    }

    /// A connection has negotiated [`SUBPROTOCOL`](crate::subprotocol::SUBPROTOCOL).
    pub(crate) fn on_opened(&mut self, peer: PeerKey, side: Side, remote: IpAddr, now: Instant) {
        todo!()
    }

    /// A WebSocket message of a neighbor.
    pub(crate) fn on_frame(&mut self, peer: PeerKey, frame: Message, now: Instant) {
        todo!()
    }

    /// A connection is gone, whoever has closed it.
    pub(crate) fn on_closed(&mut self, peer: PeerKey, ending: Ending, now: Instant) {
        todo!()
    }

    /// What [`Output::Dial`] asked for, or a configured peer, could not be had as a neighbor.
    pub(crate) fn on_dial_failed(&mut self, url: &PeerUrl, failure: DialFailure, now: Instant) {
        todo!()
    }

    /// Publishes a message of this node. The node itself delivers it to its own peers and output.
    /// Returns origin and sequence of the message.
    pub(crate) fn publish(
        &mut self,
        channel: &str,
        message: &Message,
        now: Instant,
    ) -> (NodeId, u32) {
        todo!()
    }

    /// The frame that tells a neighbor's people something which goes no further.
    pub(crate) fn direct(&self, message: &Message) -> Message {
        todo!()
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        todo!()
    }

    /// When [`Self::expire`] is to be called; `None`: only after another input.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }

    /// Takes the next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    pub(crate) fn standing(&self) -> Standing {
        todo!()
    }
}
