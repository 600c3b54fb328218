//! Two halves of a mesh, and one cable between them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::proxy::{Cable, Proxy};
use super::site::{Site, wait_joined, wait_tree};

/// Where the nodes are: not where connections seem to come from, so that nobody is verified by dialing back.
/// Nothing else takes ports there, the other test of this file has another one.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 2);
/// The halves are one mesh within this time after the cable is mended: it is dialed every second at least.
const REJOINED: Duration = Duration::from_secs(10);

/// A node that soon notices when a neighbor is silent. With one neighbor that it has dialed itself it looks
/// for no others.
fn site(address: SocketAddr, more: &[&str], peers: &[String]) -> Site {
    let options = [
        ["--ping-interval", "200ms"],
        ["--handshake-timeout", "500ms"],
        ["--retry-max", "1s"],
        ["--degree", "1"],
    ];
    Site::start_at(address, &[options.as_flattened(), more].concat(), peers)
}

/// Different ones, known before anybody listens there.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let bound = [(); N].map(|()| TcpListener::bind((HERE, 0)).expect("a free port"));
    bound.map(|listener| listener.local_addr().expect("a bound socket"))
}

fn texts(when: &str, places: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    let places = places.into_iter();
    places.map(|place| format!("{when} at {place}")).collect()
}

fn publish(sites: &[Site], texts: &BTreeSet<String>) {
    for text in texts {
        let (_, place) = text.rsplit_once(' ').expect("its place is its last word");
        sites[place.parse::<usize>().expect("a number")].publish([text]);
    }
}

#[test]
fn halves_that_were_cut_apart_tell_each_other_what_they_missed() {
    let cable = Cable::default();
    let addresses: [_; 7] = free_addresses();
    // One side dials on one way, the other side on another.
    let there = Proxy::start(addresses[0], &cable);
    let back = Proxy::start(addresses[4], &cable);
    let url = |place: usize| format!("ws://{}/", addresses[place]);
    // Everybody dials somebody on its own side, and so never looks for a way past the cable.
    let peers = [
        vec![url(1)],
        vec![url(2)],
        vec![url(0)],
        vec![url(4), there.url()],
        vec![url(5)],
        vec![url(3)],
        vec![url(0), back.url()],
    ];
    let started = addresses.into_iter().zip(&peers);
    let sites: Vec<_> = started
        .map(|(address, peers)| site(address, &[], peers))
        .collect();
    let all = || 0..sites.len();
    let halves = [vec![0, 1, 2, 6], vec![3, 4, 5]];
    wait_joined(&sites.iter().collect::<Vec<_>>(), sites.len());
    wait_tree(&sites);
    let mut published = texts("together", all());
    publish(&sites, &published);
    for site in &sites {
        site.wait_heard(&published);
    }

    cable.cut();
    let unnoticed = texts("unnoticed", all());
    publish(&sites, &unnoticed);
    published.extend(unnoticed);
    for dialer in [3, 6] {
        let stderr = &sites[dialer].node().stderr;
        stderr.wait_for("nothing received for");
        stderr.wait_for("cannot reach peer");
    }
    let apart = texts("apart", all());
    publish(&sites, &apart);
    for half in &halves {
        for place in half {
            let own = apart.iter().filter(|text| {
                let (_, at) = text.rsplit_once(' ').expect("its place is its last word");
                half.iter().any(|place| place.to_string() == at)
            });
            sites[*place].wait_heard(&own.cloned().collect());
            let others = halves
                .iter()
                .flatten()
                .filter(|other| !half.contains(other));
            for other in others {
                assert!(
                    !sites[*place]
                        .heard()
                        .contains_key(&format!("apart at {other}"))
                );
            }
        }
    }
    published.extend(apart);

    cable.mend();
    let mended = Instant::now();
    for site in &sites {
        site.wait_heard(&published);
    }
    let rejoined_after = mended.elapsed();
    println!("the halves have told each other all after {rejoined_after:.1?}");
    assert!(rejoined_after < REJOINED);

    let afterwards = texts("again", all());
    publish(&sites, &afterwards);
    published.extend(afterwards);
    for site in &sites {
        site.wait_heard(&published);
    }
    for site in &sites {
        site.assert_heard_once(&published);
        site.node().assert_no_error_logged();
        assert!(!site.node().stderr.contain(" were missed"));
    }
}

#[test]
fn what_lies_beyond_the_history_is_reported() {
    let options = ["--history-messages", "5", "--history", "10s"];
    let cable = Cable::default();
    let a = site((ELSEWHERE, 0).into(), &options, &[]);
    let way = Proxy::start(a.address(), &cable);
    let b = site((ELSEWHERE, 0).into(), &options, &[way.url()]);
    wait_joined(&[&a, &b], 2);
    cable.cut();
    let texts: Vec<_> = (0..20).map(|n| format!("number {n}")).collect();
    a.publish(&texts);
    b.node().stderr.wait_for("cannot reach peer");
    cable.mend();
    let (lost, kept) = texts.split_at(15);
    b.wait_heard(&kept.iter().cloned().collect());
    b.node().stderr.wait_for("15 messages of node ");
    b.node().stderr.wait_for(" were missed");
    let heard = b.heard();
    assert!(lost.iter().all(|text| !heard.contains_key(text)));
}
