//! What two sides agree on before they speak.

/// The WebSocket subprotocol of neighbors.
pub(crate) const SUBPROTOCOL: &str = "wsmesh.v1";

/// What a plain peer may offer: it changes nothing. Browsers insist that one of the subprotocols is selected that a
/// page offers, and a page that shows a token offers some.
pub(crate) const PLAIN_SUBPROTOCOL: &str = "wsmesh.plain";

/// What a token begins with that is shown among the subprotocols: browsers let a page choose no other field.
pub(crate) const TOKEN_SUBPROTOCOL: &str = "wsmesh.token.";
