//! What has been done to a node, kept beside it, and what its counters say of that.

use std::iter::Sum;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use crate::support::{Metrics, Node, eventually_some_within};
use crate::wire;

/// A node is done with whom it has closed after that, however busy the machine is.
const SETTLING_MAX: Duration = Duration::from_secs(60);

/// How the connection of a peer ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// With a Close of its own.
    ByPeer,
    /// Without a word.
    Lost,
    /// It was too slow.
    Slow,
    /// What it said was wrong.
    Wrong,
    /// It said too much.
    Rate,
}

/// What connections do to the counters of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    accepted: u64,
    opened: u64,
    refused: u64,
    answered: u64,
    /// By [`End`].
    closed: [u64; 5],
    /// Messages that may have been dropped.
    dropped_max: u64,
}

impl Account {
    /// Somebody who knocks, and comes no further.
    pub(crate) const KNOCK: Account = Account {
        accepted: 1,
        ..Account::NOTHING
    };
    /// … and hears that this was no request.
    pub(crate) const NONSENSE: Account = Account {
        answered: 1,
        ..Account::KNOCK
    };
    /// … and hears that only others may come in.
    pub(crate) const STRANGER: Account = Account {
        refused: 1,
        ..Account::NONSENSE
    };
    /// A peer that stays.
    pub(crate) const PEER: Account = Account {
        opened: 1,
        ..Account::KNOCK
    };
    /// A neighbor that the node has dialed.
    pub(crate) const DIALED: Account = Account {
        opened: 1,
        ..Account::NOTHING
    };
    const NOTHING: Account = Account {
        accepted: 0,
        opened: 0,
        refused: 0,
        answered: 0,
        closed: [0; 5],
        dropped_max: 0,
    };

    /// A peer that was there already goes.
    pub(crate) fn end(end: End) -> Account {
        let mut account = Account::NOTHING;
        account.closed[end as usize] = 1;
        account
    }

    /// A peer comes and goes.
    pub(crate) fn visit(end: End) -> Account {
        let closed = Account::end(end).closed;
        Account {
            closed,
            ..Account::PEER
        }
    }

    /// A peer comes, is too slow for all of so many messages, and goes.
    pub(crate) fn slow_visit(messages: usize) -> Account {
        Account {
            dropped_max: messages as u64,
            ..Account::visit(End::Slow)
        }
    }

    pub(crate) fn times(self, count: usize) -> Account {
        std::iter::repeat_n(self, count).sum()
    }
}

impl AddAssign for Account {
    fn add_assign(&mut self, other: Account) {
        self.accepted += other.accepted;
        self.opened += other.opened;
        self.refused += other.refused;
        self.answered += other.answered;
        self.dropped_max += other.dropped_max;
        let closed = self.closed.iter_mut().zip(other.closed);
        closed.for_each(|(one, other)| *one += other);
    }
}

impl Sum for Account {
    fn sum<I: Iterator<Item = Account>>(accounts: I) -> Account {
        accounts.fold(Account::NOTHING, |mut sum, account| {
            sum += account;
            sum
        })
    }
}

/// The books of one node, from its start on. It has one neighbor, which stays.
pub(crate) struct Books {
    name: &'static str,
    at: SocketAddr,
    /// How often its counters were asked for, which is a connection and an answer each time.
    looks: u64,
    all: Account,
}

impl Books {
    pub(crate) fn of(name: &'static str, node: &Node) -> Books {
        Books {
            name,
            at: node.status_address(),
            looks: 0,
            all: Account::NOTHING,
        }
    }

    pub(crate) fn add(&mut self, account: Account) {
        self.all += account;
    }

    /// Waits until nothing is under way at the node, and its counters say what was done to it. Returns what they say.
    pub(crate) fn settle(&mut self, neighbors: u64) -> Metrics {
        let started = Instant::now();
        eventually_some_within(2 * SETTLING_MAX, "the books are right", || {
            self.looks += 1;
            let metrics = Metrics::read_as(self.at, wire::MONITOR);
            let faults = self.faults(&metrics, neighbors);
            let is_late = started.elapsed() > SETTLING_MAX;
            assert!(
                !is_late || faults.is_empty(),
                "at {}: {faults:#?}",
                self.name
            );
            faults.is_empty().then_some(metrics)
        })
    }

    /// What the counters say otherwise.
    fn faults(&self, metrics: &Metrics, neighbors: u64) -> Vec<String> {
        let Account {
            accepted,
            opened,
            refused,
            answered,
            closed: [by_peer, lost, slow, wrong, rate],
            dropped_max,
        } = self.all;
        let gone: u64 = self.all.closed.iter().sum();
        let should = [
            (
                "connections{kind=\"plain\",phase=\"open\"}",
                opened - gone - neighbors,
            ),
            ("connections{kind=\"neighbor\",phase=\"open\"}", neighbors),
            ("connections{kind=\"neighbor\",phase=\"hello\"}", 0),
            ("connections{kind=\"unknown\",phase=\"handshake\"}", 0),
            // Who asks.
            ("connections{kind=\"unknown\",phase=\"other\"}", 1),
            ("accepted_total", accepted + self.looks),
            ("requests_answered_total", answered + self.looks - 1),
            ("refused_total{reason=\"access\"}", refused),
            ("refused_total{reason=\"full\"}", 0),
            ("refused_total{reason=\"address\"}", 0),
            ("accept_pauses_total", 0),
            ("peers_opened_total", opened),
            ("peers_closed_total{reason=\"by_peer\"}", by_peer),
            ("peers_closed_total{reason=\"lost\"}", lost),
            ("peers_closed_total{reason=\"slow\"}", slow),
            ("peers_closed_total{reason=\"protocol\"}", wrong),
            ("peers_closed_total{reason=\"rate\"}", rate),
            ("peers_closed_total{reason=\"memory\"}", 0),
            ("peers_closed_total{reason=\"silent\"}", 0),
            ("peers_closed_total{reason=\"rights\"}", 0),
            ("peers_closed_total{reason=\"other\"}", 0),
            ("delays_total", 0),
            ("outbox_bytes", 0),
            ("peers_waiting", 0),
            // Nothing is held but what is kept for others.
            ("held_bytes", metrics.count("history_bytes")),
            ("history_forgotten_total", 0),
            ("duplicates_total", 0),
            ("missed_total", 0),
            ("withheld_total", 0),
            ("ignored_total", 0),
        ];
        let wrong = should.into_iter().filter_map(|(name, should)| {
            let is = metrics.count(name);
            (is != should).then(|| format!("{name} is {is} and should be {should}"))
        });
        let mut wrong: Vec<String> = wrong.collect();
        let (opened, closed) = (
            metrics.count("peers_opened_total"),
            metrics.sum("peers_closed_total"),
        );
        let open = metrics.sum("connections") - 1;
        if opened != closed + open {
            wrong.push(format!(
                "{opened} peers have come, {closed} gone, {open} are there"
            ));
        }
        let dropped = metrics.count("messages_dropped_total");
        if !(slow..=dropped_max).contains(&dropped) {
            wrong.push(format!(
                "{dropped} messages dropped, not {slow} to {dropped_max}"
            ));
        }
        wrong
    }
}
