//! Forty nodes, of which a third is killed and comes back while others go on publishing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::site::{Site, connections, degrees, wait_joined, wait_tree};
use crate::support::{Frame, Raw, eventually_some_within};

const NODES: usize = 40;
const PUBLISHERS: usize = 10;
const KILLED: usize = 12;
const PEERS_MAX: usize = 3;
/// Neighbors that each node has before some are killed; it looks for five.
const DEGREE_MIN: usize = 4;
/// A node has found so many within this time: mostly by its first random walk, a second after it has joined, or else
/// by the next ones.
const ACQUAINTED: Duration = Duration::from_secs(45);
/// The mesh has put itself together again within this time; in fact it takes a second or two.
const HEALED: Duration = Duration::from_secs(15);

struct Crowd {
    sites: Vec<Site>,
    /// Where publications are made, by plain peers.
    publishers: BTreeMap<usize, Raw>,
    published: BTreeSet<String>,
}

impl Crowd {
    /// Each node dials some of those that were there before.
    fn start(rng: &mut Xoshiro256PlusPlus) -> Crowd {
        let mut sites: Vec<Site> = Vec::new();
        for count in 0..NODES {
            let mut places: Vec<_> = (0..count).collect();
            places.shuffle(rng);
            places.truncate(rng.random_range(1..=PEERS_MAX));
            let peers: Vec<_> = places.iter().map(|place| sites[*place].url()).collect();
            sites.push(Site::start(&["--retry-max", "2s"], &peers));
        }
        let mut places: Vec<_> = (0..NODES).collect();
        places.shuffle(rng);
        places.truncate(PUBLISHERS);
        let publishers = places.into_iter();
        let publishers = publishers
            .map(|at| (at, Raw::upgraded(sites[at].address(), "/")))
            .collect();
        Crowd {
            sites,
            publishers,
            published: BTreeSet::new(),
        }
    }

    /// Publishes a message everywhere but there, and does not wait for anything.
    fn publish(&mut self, when: &str, but: &BTreeSet<usize>) {
        for (place, peer) in &mut self.publishers {
            if !but.contains(place) {
                let text = format!("{when} at {place}");
                peer.send_frame(Frame::text(text.clone()));
                self.published.insert(text);
            }
        }
    }

    /// Waits until those nodes have heard everything, and returns how long that took.
    fn wait_complete(&self, places: &BTreeSet<usize>) -> Duration {
        let begun = Instant::now();
        for place in places {
            self.sites[*place].wait_heard(&self.published);
        }
        begun.elapsed()
    }
}

#[test]
fn what_survivors_publish_reaches_every_survivor_once() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let begun = Instant::now();
    let mut crowd = Crowd::start(&mut rng);
    let everyone: BTreeSet<_> = (0..NODES).collect();
    wait_joined(&crowd.sites.iter().collect::<Vec<_>>(), 3);
    // Whoever knew only those that go would be cut off with them.
    eventually_some_within(ACQUAINTED, "everybody has found neighbors", || {
        let degrees = degrees(&connections(&crowd.sites), NODES);
        let is_enough = |degree: &usize| *degree >= DEGREE_MIN;
        degrees.iter().all(is_enough).then_some(())
    });
    println!("{NODES} nodes are one mesh after {:.1?}", begun.elapsed());
    wait_tree(&crowd.sites);
    println!("they have a tree after {:.1?}", begun.elapsed());
    crowd.publish("with all", &BTreeSet::new());
    crowd.wait_complete(&everyone);

    // Nodes at which something was published may be among those that go.
    let mut victims: Vec<_> = (0..NODES).collect();
    victims.shuffle(&mut rng);
    victims.truncate(KILLED);
    let victims: BTreeSet<_> = victims.into_iter().collect();
    let survivors: BTreeSet<_> = everyone.difference(&victims).copied().collect();
    for (step, victim) in victims.iter().enumerate() {
        crowd.publish(&format!("just before kill {step}"), &victims);
        crowd.sites[*victim].kill();
        crowd.publish(&format!("just after kill {step}"), &victims);
    }
    let healed_after = crowd.wait_complete(&survivors);
    println!("{KILLED} killed: survivors have all after {healed_after:.1?}");

    for (step, victim) in victims.iter().enumerate() {
        crowd.sites[*victim].restart();
        crowd.publish(&format!("restart {step}"), &victims);
    }
    let restarted_after = crowd.wait_complete(&survivors);
    println!("all started again: survivors have all after {restarted_after:.1?}");
    let back = Instant::now();
    for victim in &victims {
        crowd.sites[*victim]
            .node()
            .stderr
            .wait_for("joined the mesh");
    }
    let in_mesh: Vec<_> = survivors.iter().take(1).chain(&victims).collect();
    let in_mesh: Vec<_> = in_mesh
        .into_iter()
        .map(|place| &crowd.sites[*place])
        .collect();
    wait_joined(&in_mesh, 1);
    println!("who was away hears again after {:.1?}", back.elapsed());

    // Behind these nothing is on its way any more.
    let before = std::mem::take(&mut crowd.published);
    crowd.publish("at the end", &victims);
    crowd.wait_complete(&everyone);
    for site in &crowd.sites {
        site.assert_heard_once(&crowd.published);
        site.node().assert_no_error_logged();
    }
    for place in &survivors {
        crowd.sites[*place].assert_heard_once(&before);
    }
    assert!(healed_after < HEALED && restarted_after < HEALED);
}
