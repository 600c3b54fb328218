//! Many nodes that start at once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::site::{Site, connections, degrees, wait_joined};
use crate::support::eventually;

/// Free ports, all different.
fn addresses(count: usize) -> Vec<SocketAddr> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: Vec<_> = (0..count).map(listen).collect();
    let addresses = listeners
        .iter()
        .map(|l| l.local_addr().expect("a bound socket"));
    addresses.collect()
}

/// Starts nodes at these addresses at the same time, all with the same peers.
fn start_at_once(addresses: &[SocketAddr], peers: &[SocketAddr]) -> Vec<Site> {
    let peers: Vec<_> = peers.iter().map(|peer| format!("ws://{peer}/")).collect();
    std::thread::scope(|scope| {
        let start = |address| {
            let peers = &peers;
            scope.spawn(move || Site::start_at(address, &["-v"], peers))
        };
        let starting: Vec<_> = addresses.iter().copied().map(start).collect();
        let started = starting
            .into_iter()
            .map(|thread| thread.join().expect("it starts"));
        started.collect()
    })
}

fn dials(site: &Site) -> usize {
    let lines = site.node().stderr.all();
    let is_dial = |line: &&String| {
        line.contains("neighbor ws://") && line.contains(" is to say hello")
            || line.contains("cannot reach peer")
            || line.contains("is this node itself")
    };
    lines.iter().filter(is_dial).count()
}

#[test]
fn ten_nodes_with_the_same_list_of_all_settle() {
    let addresses = addresses(10);
    let sites = start_at_once(&addresses, &addresses);
    let pairs: Vec<_> = (0..10)
        .flat_map(|a| (a + 1..10).map(move |b| (a, b)))
        .collect();
    wait_joined(&sites.iter().collect::<Vec<_>>(), sites.len());
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        println!(
            "{:?} {:?} {}",
            sites.iter().map(dials).collect::<Vec<_>>(),
            degrees(&connections(&sites), 10),
            connections(&sites).len()
        );
    }
    println!("{}", sites[4].node().stderr.tail(60));
    eventually("each pair has one connection", || {
        connections(&sites) == pairs
    });
}

#[test]
fn thirty_nodes_with_the_same_first_peers_settle() {
    let addresses = addresses(30);
    let sites = start_at_once(&addresses, &addresses[..2]);
    wait_joined(&sites.iter().collect::<Vec<_>>(), 3);
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        println!(
            "{:?} {:?} {}",
            sites.iter().map(dials).collect::<Vec<_>>(),
            degrees(&connections(&sites), 30),
            connections(&sites).len()
        );
    }
    println!("{}", sites[4].node().stderr.tail(60));
    println!("{}", sites[0].node().stderr.tail(160));
}
