//! A node that goes while all talk: it lets its peers go one by one, and nothing is lost or heard twice.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use rand::rngs::SmallRng;

use super::{
    certificate::Certificate,
    course::{Course, run_plan},
    member::place_of,
    peer::{Ending, Manner, Opening, Reading, Saying, Way},
    plan::{Deed, Plan, plain_config},
};
use crate::{config::limits::DRAIN_PER_PEER, net::simulated::Weather};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The nodes stand in a line, and the one between the others goes.
const MIDDLE: usize = 1;
const PEERS: [usize; 3] = [5, 24, 5];
const DRAIN_AT: Duration = Duration::from_secs(9);
const QUIET_AT: Duration = Duration::from_secs(14);
const STOP_AT: Duration = Duration::from_secs(18);

fn draw(_: &mut SmallRng, start: Instant, _: &Certificate) -> Plan {
    let configs: Vec<_> = (0..3usize)
        .map(|node| plain_config(node, node.checked_sub(1).into_iter()))
        .collect();
    let manner = |node: usize, number: usize| {
        let (_, address) = place_of(&configs[node]);
        Manner {
            node,
            way: Way::Dials(IpAddr::from([10, 9, node as u8, 1]), address),
            channel: "/",
            connect_at: start + 20 * MS * number as u32,
            opening: Opening::Upgrade,
            reading: Reading::AtOnce,
            saying: Saying::Messages {
                count: 1000,
                pause: 400,
                fragments: 1,
            },
            filler_max: 300,
            quiet_at: start + QUIET_AT,
            chunk: usize::MAX,
            ending: Ending::Stays,
            is_good: true,
            is_gapless: true,
        }
    };
    let manners = PEERS.iter().enumerate();
    let manners = manners.flat_map(|(node, count)| (0..*count).map(move |number| (node, number)));
    let stop = |node| (start + STOP_AT, Deed::Interrupt { node });
    Plan {
        weather: Weather {
            interrupted: 0.01,
            short: 0.01,
            blocked: 0.01,
            cut: 0.0,
            latency: Duration::ZERO..3 * MS,
            capacity: 64 * 1024..128 * 1024,
        },
        servers: Vec::new(),
        manners: manners.map(|(node, number)| manner(node, number)).collect(),
        deeds: vec![
            (start + DRAIN_AT, Deed::Drain { node: MIDDLE }),
            stop(0),
            stop(2),
        ],
        configs,
        settled_at: start + 5 * SECOND,
        end: start + 60 * SECOND,
    }
}

/// When the peers of a node heard the Close, from the first on.
fn closes(course: &Course, node: usize) -> Vec<Duration> {
    let peers = course.peers.iter().filter(|peer| peer.manner.node == node);
    let mut times: Vec<_> = peers
        .map(|peer| peer.closed_at.expect("it hears a Close"))
        .collect();
    times.sort_unstable();
    let first = times[0];
    times.into_iter().map(|at| at - first).collect()
}

#[test]
fn peers_are_let_go_one_by_one_and_nothing_is_lost() {
    for seed in 0..10 {
        run_plan(seed, draw, |course| {
            let closes = closes(course, MIDDLE);
            let count = closes.len();
            let time = DRAIN_PER_PEER * count as u32;
            let last = closes[count - 1];
            assert!(last < time + 50 * MS, "seed {seed}: {last:?}");
            assert!(last > time / 2, "seed {seed}: {last:?}");
            // No more than the two ends of neighboring parts of the time lie near each other.
            let crowd = closes.iter().map(|at| {
                let near = closes.iter().filter(|it| **it >= *at);
                near.filter(|it| **it < *at + DRAIN_PER_PEER / 2).count()
            });
            assert!(crowd.max() <= Some(3), "seed {seed}: {closes:?}");
            for others in [0, 2] {
                let at_once = self::closes(course, others);
                assert!(at_once.last() < Some(&(50 * MS)), "{at_once:?}");
            }
        });
    }
}
