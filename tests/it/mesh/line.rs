//! Four nodes in a line, of which any may go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::site::{Site, connections, join, wait_joined, wait_tree};
use crate::support::eventually_some_within;

/// A node hears of others by random walks: the first one a second after it has joined.
const ACQUAINTED: Duration = Duration::from_secs(60);
/// A node that is back is one of the mesh again within this time: it is dialed again after a second at most.
const BACK: Duration = Duration::from_secs(10);

/// A–B–C–D: each has dialed the one before.
fn line() -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    for _ in 0..4 {
        let peers: Vec<_> = sites.last().map(Site::url).into_iter().collect();
        sites.push(Site::start(&["--retry-max", "1s"], &peers));
    }
    sites
}

fn texts(when: &str, places: &BTreeSet<usize>) -> BTreeSet<String> {
    let texts = places.iter().flat_map(|place| {
        let text = move |n| format!("{when} at {place}, {n}");
        (0..5).map(text)
    });
    texts.collect()
}

fn publish(sites: &[Site], texts: &BTreeSet<String>) {
    for (place, site) in sites.iter().enumerate() {
        let at = format!(" at {place}, ");
        let own: Vec<_> = texts.iter().filter(|text| text.contains(&at)).collect();
        if !own.is_empty() {
            site.publish(own);
        }
    }
}

/// Kills one of them and starts it again.
fn lose(victim: usize) {
    let mut sites = line();
    wait_joined(&sites.iter().collect::<Vec<_>>(), sites.len());
    let all: BTreeSet<usize> = (0..sites.len()).collect();
    let others: BTreeSet<usize> = all.iter().copied().filter(|p| *p != victim).collect();
    eventually_some_within(ACQUAINTED, "the others know one another", || {
        join(&connections(&sites), &others).then_some(())
    });
    wait_tree(&sites);
    let mut published = texts("before", &all);
    publish(&sites, &published);
    for site in &sites {
        site.wait_heard(&published);
    }

    sites[victim].kill();
    let lost = Instant::now();
    let meanwhile = texts("without", &others);
    publish(&sites, &meanwhile);
    published.extend(meanwhile);
    for place in &others {
        sites[*place].wait_heard(&published);
    }
    let closed_after = lost.elapsed();

    sites[victim].restart();
    let begun = Instant::now();
    let back = &sites[victim];
    back.node().stderr.wait_for("joined the mesh");
    wait_joined(&sites.iter().collect::<Vec<_>>(), sites.len());
    let back_after = begun.elapsed();
    println!(
        "without {victim}: the gap was closed after {closed_after:.1?}, it was back after {back_after:.1?}"
    );
    assert!(back_after < BACK, "{back_after:?}");

    let afterwards = texts("again", &all);
    publish(&sites, &afterwards);
    back.wait_heard(&afterwards);
    back.assert_heard_once(&afterwards);
    published.extend(afterwards);
    for place in &others {
        sites[*place].wait_heard(&published);
        sites[*place].assert_heard_once(&published);
    }
    for site in &sites {
        site.node().assert_no_error_logged();
    }
}

#[test]
fn whichever_node_goes_the_others_close_the_gap() {
    // All at once: most of the time is waiting.
    std::thread::scope(|scope| {
        for victim in 0..4 {
            scope.spawn(move || lose(victim));
        }
    });
}

/// The middle of a line that has just been made goes and comes back as another node: at first the parts know
/// nobody else.
#[test]
fn two_parts_that_one_node_held_together_lose_nothing() {
    let mut sites = line();
    wait_joined(&sites.iter().collect::<Vec<_>>(), sites.len());
    sites[1].kill();
    let others = BTreeSet::from([0, 2, 3]);
    let apart = texts("apart", &others);
    publish(&sites, &apart);

    sites[1].restart();
    let begun = Instant::now();
    wait_joined(&sites.iter().collect::<Vec<_>>(), sites.len());
    println!("joined after {:.1?}", begun.elapsed());
    for place in &others {
        // What the node in the middle never had comes when the parts get to know one another.
        sites[*place].wait_heard_within(ACQUAINTED, &apart);
        println!("{place} complete after {:.1?}", begun.elapsed());
    }
    for place in others {
        sites[place].assert_heard_once(&apart);
    }
}
