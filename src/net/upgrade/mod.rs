//! The HTTP side of a connection: what a request head asks for and what a response head grants.
//! Pure: bytes in, verdict out; deadlines and buffers belong to the connection.
//!
//! Tungstenite's own handshakes are not used: they drop what is not an upgrade without a reply, check
//! no Host, and have limits of their own.

mod head;
mod refusal;
mod request;
mod response;

pub(crate) use self::{
    head::gather,
    refusal::{Refusal, Status},
    request::{Request, judge_request},
    response::{Dialing, Response, judge_response},
};

/// Names the node that dials, so that a node recognizes itself behind any address.
const NODE_HEADER: &str = "Wsmesh-Node";

/// A random name of a running node. A restart is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(u128);

impl NodeId {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
