//! The HTTP side of a connection: what a request head asks for and what a response head grants.
//! Pure: bytes in, verdict out; deadlines and buffers belong to the connection.
//!
//! Tungstenite's own handshakes are not used: they drop what is not an upgrade without a reply, check
//! no Host, and have limits of their own.

mod claim;
mod forwarded;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod head;
mod refusal;
mod request;
mod response;
mod status;

pub(crate) use self::{
    forwarded::client_of,
    head::gather,
    refusal::{Refusal, Status, TLS_ONLY},
    request::{Form, Request, judge_request},
    response::{Dialing, Expected, Offer, Response, judge_response},
    status::judge_status_request,
};

/// Names the node that dials, so that a node recognizes itself behind any address, and the node that is
/// dialed, so that nodes are told from servers that select any subprotocol without speaking it.
const NODE_HEADER: &str = "Wsmesh-Node";
