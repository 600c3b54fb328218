//! What the mesh tells people: events worth a line, and figures.

use std::{fmt, time::Duration};

use super::PeerKey;
use crate::{config::PeerUrl, node_id::NodeId};

/// Something that a person should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// There is a neighbor at the other end of this connection.
    Met(PeerKey),
    /// The first neighbor, or the first again.
    Joined,
    /// The last neighbor is gone.
    Alone,
    /// A message has more bytes than the neighbor takes: it was not passed on to it, nor are further ones.
    Withheld {
        from: PeerKey,
        bytes: usize,
        bytes_max: usize,
    },
    /// Others can reach this node there.
    Reached(PeerUrl),
    /// So many messages of this node were missed for longer than histories hold.
    Gap { origin: NodeId, missed: u32 },
}

impl News {
    pub(crate) fn level(&self) -> log::Level {
        match self {
            Self::Met(_) | Self::Joined | Self::Alone | Self::Reached(_) => log::Level::Info,
            Self::Withheld { .. } | Self::Gap { .. } => log::Level::Warn,
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met(_) => write!(f, "connected to a neighbor"),
            Self::Joined => write!(f, "joined the mesh"),
            Self::Alone => write!(f, "no neighbor left"),
            Self::Withheld {
                bytes, bytes_max, ..
            } => write!(
                f,
                "a message of {bytes} bytes was not passed on to a neighbor that takes {bytes_max}, nor are others like it; \
                 give all nodes the same --max-message"
            ),
            Self::Reached(url) => write!(f, "others can reach this node at {url}"),
            Self::Gap { origin, missed } => {
                let origin = origin.short();
                match missed {
                    1 => write!(f, "a message of node {origin} was missed"),
                    _ => write!(f, "{missed} messages of node {origin} were missed"),
                }
            }
        }
    }
}

/// How a neighbor stands to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tied {
    pub(crate) peer: PeerKey,
    pub(crate) id: NodeId,
    pub(crate) is_leaf: bool,
    /// Messages come by it.
    pub(crate) is_parent: bool,
    /// It wants messages from this node at once.
    pub(crate) is_eager: bool,
    /// As the first words on the connection have shown; [`Duration::MAX`] if they have not.
    pub(crate) round_trip: Duration,
}

/// What a mesh counts, and how it stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Neighbors that have said hello.
    pub(crate) neighbors: usize,
    /// As many as it looks for.
    pub(crate) neighbors_wanted: usize,
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
    /// Messages that were not passed on to a neighbor because it takes no such large ones.
    pub(crate) withheld: u64,
    /// Frames that were left aside: unknown, wrong, or too many.
    pub(crate) ignored: u64,
}
