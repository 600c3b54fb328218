//! How all connections stand; for tests that look whether all is well.

use super::{
    connection::{Connection, Inspection},
    network::Network,
};
use crate::config::Limits;

impl Network {
    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn inspect(&self) -> impl Iterator<Item = Inspection> {
        let connections = self.connections.iter();
        connections.map(|(_, connection)| Connection::inspect(connection, &self.shared.limits))
    }
}
