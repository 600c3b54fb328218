//! What two nodes agree on before they speak.

/// The WebSocket subprotocol of neighbors.
pub(crate) const SUBPROTOCOL: &str = "wsmesh.v1";
