//! What must hold after every turn of a node, whatever its peers do.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    config::limits::LINGER_TIMEOUT,
    net::{
        Inspection, Source, Stage, Token,
        simulated::{Glimpse, Host},
    },
    node::{Next, Node},
};

/// Turns that something readable may be left unread.
const UNREAD_TURNS_MAX: u32 = 16;
/// Turns in a row for which nothing was ready and in which nothing was done.
const IDLE_TURNS_MAX: u32 = 3;
/// Control frames and one burst may be queued beyond the bound of an outbox.
const HELD_SLACK_BYTES: usize = 256 * 1024;
/// A turn may come so much later than it was due.
pub(super) const LATE_MAX: Duration = Duration::from_millis(10);
/// Descriptors are tried again after a pause.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What was seen of a connection before.
#[derive(Clone, Copy, Debug)]
struct Seen {
    stage: Stage,
    since: Instant,
    reads: u64,
    unread_turns: u32,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<Token, Seen>,
    idle_turns: u32,
    calls: u64,
}

impl Watch {
    /// Looks at a node after a turn in which so many sockets were `ready`.
    pub(super) fn check(
        &mut self,
        node: &mut Node,
        host: &Host,
        next: Next,
        ready: usize,
        now: Instant,
    ) {
        self.check_accounts(node, host);
        let sleeps = match next {
            Next::Wait(patience) => patience.is_none_or(|patience| !patience.is_zero()),
            Next::End => return,
        };
        self.check_idle(host, ready, sleeps);
        let glimpses: BTreeMap<_, _> = host.glimpses().into_iter().map(by_source).collect();
        let inspections: Vec<_> = node.network.inspect().collect();
        for inspection in &inspections {
            let source = Source::Connection(inspection.token).into();
            let glimpse = glimpses.get(&source).expect("a connection has a socket");
            self.check_connection(node, inspection, glimpse, sleeps, now);
        }
        let is_left = |token: &Token| inspections.iter().any(|left| left.token == *token);
        self.seen.retain(|token, _| is_left(token));
        if let Next::Wait(patience) = next {
            check_accepting(&glimpses, patience);
        }
    }

    /// No socket without a slot and no slot without a socket; and each byte is counted once.
    fn check_accounts(&self, node: &mut Node, host: &Host) {
        assert_eq!(node.network.len(), host.sockets(), "slots and sockets");
        let counters = *node.network.counters();
        let (sent, received) = host.bytes();
        let counted = (counters.bytes_sent, counters.bytes_received);
        match node.network.tls().has_files() {
            false => assert_eq!(counted, (sent, received), "bytes sent and received"),
            // What TLS adds is not counted, and what is encrypted already counts as sent.
            true => assert!(counted.1 <= received, "bytes received"),
        }
        assert_eq!(counters.connections, host.sockets() as u64, "connections");
        let held_max = node.config.limits.memory_bytes_max.unwrap_or(usize::MAX);
        assert!(counters.held_bytes <= held_max as u64, "memory");
        node.network.assert_counts();
    }

    /// With nothing ready and nothing due the node sleeps.
    fn check_idle(&mut self, host: &Host, ready: usize, sleeps: bool) {
        let is_idle = ready == 0 && !sleeps && host.calls() == self.calls;
        self.idle_turns = if is_idle { self.idle_turns + 1 } else { 0 };
        self.calls = host.calls();
        assert!(
            self.idle_turns <= IDLE_TURNS_MAX,
            "turns without anything to do"
        );
    }

    fn check_connection(
        &mut self,
        node: &Node,
        inspection: &Inspection,
        glimpse: &Glimpse,
        sleeps: bool,
        now: Instant,
    ) {
        let Inspection {
            token,
            stage,
            is_paused,
            pending_bytes,
            ..
        } = *inspection;
        assert!(inspection.is_account_right, "outbox of {token:?}");
        let limits = node.network.limits();
        let held_max = limits.outbox_bytes_max + HELD_SLACK_BYTES;
        assert!(inspection.held_bytes <= held_max, "{inspection:?}");

        let fresh = Seen {
            stage,
            since: now,
            reads: glimpse.reads,
            unread_turns: 0,
        };
        let seen = self.seen.entry(token).or_insert(fresh);
        if seen.stage != stage {
            *seen = fresh;
        }
        let is_to_be_read = glimpse.is_readable && !is_paused && stage != Stage::Connecting;
        seen.unread_turns = match is_to_be_read && seen.reads == glimpse.reads {
            true => seen.unread_turns + 1,
            false => 0,
        };
        seen.reads = glimpse.reads;
        assert!(
            seen.unread_turns <= UNREAD_TURNS_MAX,
            "starved: {inspection:?}"
        );

        // What nobody will tell is done before sleeping.
        if sleeps && !glimpse.is_queued {
            assert!(!is_to_be_read, "asleep, and unread: {inspection:?}");
            let is_to_be_sent = pending_bytes > 0
                && glimpse.is_writable
                && stage != Stage::Connecting
                && !inspection.is_in_tls_handshake
                && !inspection.has_failed;
            assert!(
                !is_to_be_sent,
                "asleep, and unsent: {inspection:?}, {glimpse:?}"
            );
        }

        let time_max = match stage {
            Stage::Connecting | Stage::Upgrading => Some(limits.handshake_timeout),
            Stage::Closing => Some(2 * limits.close_timeout + LINGER_TIMEOUT),
            Stage::Open => None,
        };
        if let Some(time_max) = time_max {
            let time_max = time_max + LATE_MAX;
            assert!(now - seen.since <= time_max, "overdue: {inspection:?}");
        }
    }
}

fn by_source(glimpse: Glimpse) -> (mio::Token, Glimpse) {
    (glimpse.token, glimpse)
}

/// Who waits to be accepted is not forgotten.
fn check_accepting(glimpses: &BTreeMap<mio::Token, Glimpse>, patience: Option<Duration>) {
    let waiting = glimpses.values().filter(|glimpse| glimpse.is_listener);
    for listener in waiting.filter(|glimpse| glimpse.is_readable && !glimpse.is_queued) {
        assert!(
            patience.is_some_and(|patience| patience <= ACCEPT_PAUSE_MAX),
            "somebody waits to be accepted: {listener:?}, and the node sleeps {patience:?}"
        );
    }
}
