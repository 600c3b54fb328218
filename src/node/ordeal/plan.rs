//! What a seed makes of an ordeal: how many nodes with which limits, which peers, which weather, what befalls them.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::SmallRng};

use super::{
    course::place_of,
    peer::{Ending, Manner, Opening, Reading, Saying},
};
use crate::{
    Config,
    config::{Limits, PeerUrl, Rate, SlowPeer},
    net::simulated::Weather,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Time in which peers come and say something.
const BUSY: Duration = Duration::from_secs(12);
/// Nodes find one another within that time: they dial and greet, some of them twice.
const SETTLING: Duration = Duration::from_secs(5);
/// Time in which the last of it arrives.
const QUIET: Duration = Duration::from_secs(4);
/// No ordeal lasts longer than that.
const END: Duration = Duration::from_secs(60);
const PORT: u16 = 8080;

/// What befalls a node.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// So many descriptors are left.
    Exhaust {
        node: usize,
        left: usize,
    },
    Relieve {
        node: usize,
    },
    /// SIGHUP.
    Reload {
        node: usize,
    },
    /// SIGINT.
    Interrupt {
        node: usize,
    },
    /// SIGTERM.
    Drain {
        node: usize,
    },
    /// Another thread stops it.
    Stop {
        node: usize,
    },
    Weather(Weather),
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) weather: Weather,
    pub(super) configs: Vec<Config>,
    pub(super) manners: Vec<Manner>,
    pub(super) deeds: Vec<(Instant, Deed)>,
    /// From then on what is said at one node is to be heard at all.
    pub(super) settled_at: Instant,
    pub(super) end: Instant,
}

impl Plan {
    pub(super) fn draw(rng: &mut SmallRng, start: Instant) -> Self {
        let count = pick(rng, &[1, 1, 1, 2, 3]);
        let configs: Vec<_> = (0..count).map(|node| draw_config(rng, node)).collect();
        let quiet_at = start + BUSY;
        let manners = (0..rng.random_range(2..24))
            .map(|number| draw_manner(rng, &configs, number, start))
            .collect();
        let mut deeds = Vec::new();
        for node in 0..count {
            for _ in 0..rng.random_range(0..3) {
                let from = start + BUSY.mul_f64(rng.random());
                let until = from + MS * rng.random_range(10..3000);
                let left = rng.random_range(0..3);
                deeds.push((from, Deed::Exhaust { node, left }));
                deeds.push((until.min(quiet_at), Deed::Relieve { node }));
            }
            if rng.random_bool(0.3) {
                let at = start + BUSY.mul_f64(rng.random());
                deeds.push((at, Deed::Reload { node }));
            }
            let stop = match rng.random_range(0..3) {
                0 => Deed::Interrupt { node },
                1 => Deed::Drain { node },
                _ => Deed::Stop { node },
            };
            deeds.push((quiet_at + QUIET, stop));
        }
        let weather = draw_weather(rng);
        for _ in 0..rng.random_range(0..3) {
            let at = start + BUSY.mul_f64(rng.random());
            deeds.push((at, Deed::Weather(draw_weather(rng))));
        }
        deeds.sort_by_key(|(at, _)| *at);
        Self {
            weather,
            configs,
            manners,
            deeds,
            settled_at: start + SETTLING,
            end: start + END,
        }
    }
}

fn pick<T: Copy>(rng: &mut SmallRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

fn draw_weather(rng: &mut SmallRng) -> Weather {
    let share = |rng: &mut SmallRng| pick(rng, &[0.0, 0.0, 0.01, 0.2]);
    let least = pick(rng, &[16 * 1024, 16 * 1024, 128 * 1024]);
    Weather {
        interrupted: share(rng),
        short: share(rng),
        blocked: share(rng),
        cut: pick(rng, &[0.0, 0.0, 0.002]),
        latency: Duration::ZERO..MS * pick(rng, &[0, 1, 3]),
        capacity: least..2 * least,
    }
}

fn url(node: usize) -> PeerUrl {
    let url = format!("ws://10.0.0.{}:{PORT}", node + 1);
    url.parse().expect("it is a URL")
}

/// A node of which nothing is said but where it is and whom it dials.
pub(super) fn plain_config(node: usize, dials: impl Iterator<Item = usize>) -> Config {
    let bind = format!("10.0.0.{}:{PORT}", node + 1);
    Config {
        binds: vec![bind.parse().expect("it is an address")],
        peers: dials.map(url).collect(),
        interval: None,
        ..Config::default()
    }
}

fn draw_config(rng: &mut SmallRng, node: usize) -> Config {
    let mut config = Config {
        interval: pick(rng, &[None, Some(SECOND), Some(10 * SECOND)]),
        slow_peer: pick(
            rng,
            &[
                SlowPeer::Disconnect,
                SlowPeer::Disconnect,
                SlowPeer::DropOldest,
                SlowPeer::DropNewest,
            ],
        ),
        limits: Limits {
            connections_max: pick(rng, &[4, 1000]),
            handshake_timeout: pick(rng, &[SECOND, 10 * SECOND]),
            outbox_bytes_max: 512 * 1024,
            message_bytes_max: 64 * 1024,
            publish_rate_max: pick(
                rng,
                &[None, Some(Rate::closing(200)), Some(Rate::delaying(200))],
            ),
            ping_interval: pick(rng, &[None, Some(SECOND), Some(5 * SECOND)]),
            close_timeout: pick(rng, &[SECOND, 5 * SECOND]),
            drain: pick(rng, &[None, Some(SECOND), Some(10 * SECOND)]),
            retry_max: 2 * SECOND,
            ..Limits::default()
        },
        // Every node dials all before it; some dial one another at once.
        ..plain_config(node, 0..node)
    };
    if node == 0 && rng.random_bool(0.3) {
        config.peers.push(url(1));
    }
    config.check().expect("it is configured well");
    config
}

fn draw_manner(rng: &mut SmallRng, configs: &[Config], number: usize, start: Instant) -> Manner {
    let node = rng.random_range(0..configs.len());
    let (_, address) = place_of(&configs[node]);
    let is_good = rng.random_bool(0.5);
    let connect_at = start + BUSY.mul_f64(rng.random::<f64>() * 0.8);
    let later = |rng: &mut SmallRng| connect_at + MS * rng.random_range(0..6000);
    let mut manner = Manner {
        node,
        address,
        ip: IpAddr::from([10, 9, (number / 3) as u8, 1]),
        channel: pick(rng, &["/", "/a"]),
        connect_at,
        opening: Opening::Upgrade,
        reading: Reading::AtOnce,
        saying: Saying::Messages {
            count: pick(rng, &[0, 3, 20, 60]),
            pause: pick(rng, &[20, 100]),
            fragments: pick(rng, &[1, 1, 3]),
        },
        filler_max: pick(rng, &[10, 300, 5000]),
        quiet_at: start + BUSY,
        chunk: usize::MAX,
        ending: Ending::Stays,
        is_good,
        is_gapless: is_good || configs[node].slow_peer == SlowPeer::Disconnect,
    };
    if is_good {
        if rng.random_bool(0.3) {
            manner.ending = Ending::Leaves(later(rng));
        }
        if rng.random_bool(0.2) {
            // Its bytes come one by one.
            manner.chunk = 1;
            manner.filler_max = 10;
            manner.saying = Saying::Messages {
                count: 3,
                pause: 200,
                fragments: 1,
            };
        }
        return manner;
    }
    draw_vice(rng, &mut manner);
    let at = later(rng);
    manner.ending = pick(
        rng,
        &[
            Ending::Stays,
            Ending::Leaves(at),
            Ending::HalfCloses(at),
            Ending::Drops(at),
            Ending::Resets(at),
        ],
    );
    manner
}

/// Makes a peer one that is not good.
fn draw_vice(rng: &mut SmallRng, manner: &mut Manner) {
    let flood = Saying::Messages {
        count: 3000,
        pause: 0,
        fragments: 1,
    };
    match rng.random_range(0..11) {
        0 => manner.opening = Opening::Nothing,
        1 => {
            let bytes = (0..rng.random_range(1..2000)).map(|_| rng.random());
            manner.opening = Opening::Bytes(bytes.collect());
        }
        2 => {
            let page = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            let padding = "X: y\r\n".repeat(rng.random_range(0..4000));
            let head = page.replace("\r\n\r\n", &format!("\r\n{padding}\r\n"));
            manner.opening = Opening::Bytes(head.into_bytes());
        }
        3 => manner.reading = Reading::Never,
        4 => {
            manner.reading = Reading::Slowly(rng.random_range(1..200));
        }
        5 => {
            manner.saying = flood;
            manner.filler_max = 100;
        }
        6 => {
            manner.saying = flood;
            manner.filler_max = 100;
            manner.reading = Reading::Never;
        }
        7 => manner.saying = Saying::Garbage(rng.random_range(1..5000)),
        8 => {
            manner.saying = Saying::Pings(rng.random_range(1..5000));
            manner.reading = pick(rng, &[Reading::Never, Reading::AtOnce, Reading::Slowly(50)]);
        }
        // What it says is larger than the node takes.
        9 => manner.filler_max = 200_000,
        _ => {}
    }
    if rng.random_bool(0.2) {
        manner.chunk = rng.random_range(1..20);
    }
}
