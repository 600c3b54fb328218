//! How all connections stand; for tests that look whether all is well.

use super::{
    connection::{Connection, Inspection, Side},
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

    /// What is counted of connections beside them, is what they are.
    #[track_caller]
    pub(crate) fn assert_counts(&self) {
        let count = |is: &dyn Fn(&Connection) -> bool| {
            let connections = self.connections.iter();
            connections.filter(|(_, connection)| is(connection)).count()
        };
        let accepted = count(&|one| one.side() == Side::Accepted);
        assert_eq!(self.shared.admission.admitted(), accepted, "admitted");
        let handshaking = count(&Connection::is_handshaking);
        assert_eq!(
            self.shared.admission.handshaking(),
            handshaking,
            "handshaking"
        );
        let refused = count(&|one| one.side() == Side::Refused);
        assert_eq!(self.refusals, refused, "refused");
        let looking = count(&|one| matches!(one.side(), Side::Status { .. }));
        assert_eq!(self.status_connections, looking, "who look at the node");

        let counters = &self.shared.counters;
        let peers = count(&Connection::was_open) as u64;
        assert_eq!(counters.peers, peers, "peers");
        assert_eq!(
            counters.opened - counters.closed,
            peers,
            "peers come and gone"
        );
        let waiting = count(&|one| one.pending_bytes() > 0) as u64;
        assert_eq!(
            counters.peers_waiting, waiting,
            "peers that something waits for"
        );
        let pending = self.connections.iter().map(|(_, one)| one.pending_bytes());
        assert_eq!(
            counters.outbox_bytes,
            pending.sum::<usize>() as u64,
            "bytes that wait"
        );
        let named = [
            counters.closed_by_peer,
            counters.closed_lost,
            counters.closed_slow,
            counters.closed_memory,
            counters.closed_silent,
            counters.closed_protocol,
            counters.closed_rate,
        ];
        assert!(
            named.iter().sum::<u64>() <= counters.closed,
            "why peers are gone"
        );
    }
}
