//! What the queue of a run holds.

use super::{connection::EndId, network::Attempt};

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The next of what this end has sent is at the other one.
    Arrive(EndId),
    /// A node's protocol has something due.
    Wake(u32),
    /// An end looks whether the other one is still there.
    KeepAlive(EndId),
    /// An end has waited long enough for the answer to its Close.
    CloseTimeout(EndId),
    /// A dialer's upgrade request is at the host that it dials.
    Request(u32, Attempt),
    /// A dial has failed: nobody listens there.
    Refused(u32, Attempt),
    /// A dial has taken too long.
    DialTimeout(u32, Attempt),
    /// A configured peer is dialed again.
    Redial(u32, Attempt),
}
