//! Many nodes that start at once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::site::{Site, connections, degrees, wait_joined};
use crate::support::eventually;

/// Without a dial for so long the nodes have settled.
const QUIET_FOR: Duration = Duration::from_secs(3);
/// Neighbors that a node soon has at least; it goes on looking until there are five.
const DEGREE_MIN: usize = 3;
/// Neighbors that a node takes in at most, and those that it may have dialed before it knew.
const DEGREE_MAX: usize = 12 + 2;
/// Connections that a node opens until all is settled: to each peer, again to those that did not listen yet,
/// and to see at which addresses others can be reached.
const DIALS_MAX: usize = 30;

/// Free ports, all different.
fn addresses(count: usize) -> Vec<SocketAddr> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: Vec<_> = (0..count).map(listen).collect();
    let addresses = listeners.iter();
    addresses
        .map(|listener| listener.local_addr().expect("a bound socket"))
        .collect()
}

/// Starts nodes at these addresses at the same time, all with the same peers, and waits until they have
/// become one mesh and dial no more.
fn settled(addresses: &[SocketAddr], peers: &[SocketAddr]) -> Vec<Site> {
    let peers: Vec<_> = peers.iter().map(|peer| format!("ws://{peer}/")).collect();
    let sites: Vec<_> = std::thread::scope(|scope| {
        let start = |address| {
            let peers = &peers;
            scope.spawn(move || Site::start_at(address, &["-v"], peers))
        };
        let starting: Vec<_> = addresses.iter().copied().map(start).collect();
        let started = starting.into_iter().map(|thread| thread.join());
        started.map(|site| site.expect("it starts")).collect()
    });
    let begun = Instant::now();
    wait_joined(&sites.iter().collect::<Vec<_>>(), sites.len());
    let joined_after = begun.elapsed();
    let (mut before, mut since) = (Vec::new(), Instant::now());
    eventually("nobody dials", || {
        let dials: Vec<_> = sites.iter().map(dials).collect();
        if dials != before {
            (before, since) = (dials, Instant::now());
        }
        since.elapsed() > QUIET_FOR
    });
    let settled_after = since - begun;
    println!(
        "joined after {joined_after:.1?}, settled after {settled_after:.1?}, dials {before:?}"
    );
    assert!(before.iter().all(|dials| *dials <= DIALS_MAX));
    sites
}

/// How often a node has dialed another, or itself.
fn dials(site: &Site) -> usize {
    let is_dial = |line: &str| {
        let has_opened = line.contains("neighbor ws://") && line.contains(" is to say hello");
        has_opened || line.contains("cannot reach peer") || line.contains("is this node itself")
    };
    let lines = site.node().stderr.all();
    lines.iter().filter(|line| is_dial(line)).count()
}

#[test]
fn nodes_that_all_dial_one_another_keep_one_connection_for_each_pair() {
    const NODES: usize = 10;
    let addresses = addresses(NODES);
    let sites = settled(&addresses, &addresses);
    let pairs = (0..NODES).flat_map(|a| (a + 1..NODES).map(move |b| (a, b)));
    assert_eq!(connections(&sites), pairs.collect::<Vec<_>>());
    sites
        .iter()
        .for_each(|site| site.node().assert_no_error_logged());
}

#[test]
fn nodes_that_know_only_the_first_two_spread_over_all() {
    const NODES: usize = 30;
    let addresses = addresses(NODES);
    let sites = settled(&addresses, &addresses[..2]);
    let connections = connections(&sites);
    let degrees = degrees(&connections, NODES);
    println!("degrees {degrees:?}");
    assert!(
        degrees
            .iter()
            .all(|degree| (DEGREE_MIN..=DEGREE_MAX).contains(degree))
    );
    let is_double = |pair: &[(usize, usize)]| pair[0] == pair[1];
    assert!(!connections.windows(2).any(is_double), "{connections:?}");
    sites
        .iter()
        .for_each(|site| site.node().assert_no_error_logged());
}
