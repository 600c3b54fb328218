//! What a seed makes of an ordeal: how many nodes with which limits, which peers, which weather, what befalls them.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::SmallRng};

use super::{
    certificate::Certificate,
    member::place_of,
    peer::{Ending, Manner, Opening, Reading, Saying, Way},
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
const TLS_PORT: u16 = 8443;

/// Somebody that a link leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Node(usize),
    /// Where the peers are that are not good.
    Elsewhere,
}

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
    /// Nothing comes through, one way.
    Cut(Place, Place),
    Heal(Place, Place),
}

/// Peers that a node dials, one after the other.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Their numbers.
    pub(super) peers: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) weather: Weather,
    pub(super) configs: Vec<Config>,
    pub(super) manners: Vec<Manner>,
    pub(super) servers: Vec<Server>,
    pub(super) deeds: Vec<(Instant, Deed)>,
    /// From then on what is said at one node is to be heard at all.
    pub(super) settled_at: Instant,
    pub(super) end: Instant,
}

impl Plan {
    pub(super) fn draw(rng: &mut SmallRng, start: Instant, certificate: &Certificate) -> Self {
        let count = pick(rng, &[1, 1, 1, 2, 3]);
        let certificate = rng.random_bool(0.4).then_some(certificate);
        let mut configs: Vec<_> = (0..count)
            .map(|node| draw_config(rng, node, certificate))
            .collect();
        let quiet_at = start + BUSY;
        let mut manners: Vec<_> = (0..rng.random_range(2..24))
            .map(|number| draw_manner(rng, &configs, number, start, certificate))
            .collect();
        let mut servers = Vec::new();
        for (node, config) in configs.iter_mut().enumerate() {
            if !rng.random_bool(0.4) {
                continue;
            }
            let address = SocketAddr::from(([10, 9, 200, node as u8], PORT));
            let url = format!("ws://{address}/a");
            config.peers.push(url.parse().expect("it is a URL"));
            let first = manners.len();
            for _ in 0..rng.random_range(1..4) {
                let mut manner = draw_manner_of(rng, config, node, manners.len(), start);
                (manner.way, manner.channel) = (Way::IsDialed, "/a");
                manners.push(manner);
            }
            let peers = (first..manners.len()).collect();
            servers.push(Server { address, peers });
        }
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
        let healed_at = draw_cuts(rng, count, start, &mut deeds);
        deeds.sort_by_key(|(at, _)| *at);
        Self {
            weather,
            configs,
            manners,
            servers,
            deeds,
            settled_at: healed_at + SETTLING,
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

/// Cuts links between nodes, and to those elsewhere, one way or both. Returns when those between nodes are whole again.
fn draw_cuts(
    rng: &mut SmallRng,
    nodes: usize,
    start: Instant,
    deeds: &mut Vec<(Instant, Deed)>,
) -> Instant {
    let mut healed_at = start;
    for one in 0..nodes {
        let others = (0..one).map(Place::Node).chain([Place::Elsewhere]);
        for other in others {
            if !rng.random_bool(0.2) {
                continue;
            }
            let from = start + MS * rng.random_range(0..6000);
            let until = from + MS * rng.random_range(50..6000);
            if let Place::Node(_) = other {
                healed_at = healed_at.max(until);
            }
            let ways = [(Place::Node(one), other), (other, Place::Node(one))];
            let ways = pick(rng, &[&ways[..], &ways[..1], &ways[1..]]);
            for (here, there) in ways.iter().copied() {
                deeds.push((from, Deed::Cut(here, there)));
                deeds.push((until, Deed::Heal(here, there)));
            }
        }
    }
    healed_at
}

/// The addresses that nodes may have.
pub(super) fn addresses() -> impl Iterator<Item = String> {
    (0..3).map(|node| format!("10.0.0.{}", node + 1))
}

fn url(node: usize, is_tls: bool) -> PeerUrl {
    let url = match is_tls {
        false => format!("ws://10.0.0.{}:{PORT}", node + 1),
        true => format!("wss://10.0.0.{}:{TLS_PORT}", node + 1),
    };
    url.parse().expect("it is a URL")
}

/// A node of which nothing is said but where it is and whom it dials.
pub(super) fn plain_config(node: usize, dials: impl Iterator<Item = usize>) -> Config {
    let bind = format!("10.0.0.{}:{PORT}", node + 1);
    Config {
        binds: vec![bind.parse().expect("it is an address")],
        peers: dials.map(|other| url(other, false)).collect(),
        interval: None,
        ..Config::default()
    }
}

fn draw_config(rng: &mut SmallRng, node: usize, certificate: Option<&Certificate>) -> Config {
    let speaks_tls = certificate.is_some() && rng.random_bool(0.5);
    let mut config = Config {
        // Every node dials all before it; some dial one another at once.
        peers: (0..node).map(|other| url(other, speaks_tls)).collect(),
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
        ..plain_config(node, std::iter::empty())
    };
    if let Some(certificate) = certificate {
        let bind = format!("wss://10.0.0.{}:{TLS_PORT}", node + 1);
        config.binds.push(bind.parse().expect("it is an address"));
        config.tls = certificate.of_node();
    }
    if node == 0 && rng.random_bool(0.3) {
        config.peers.push(url(1, speaks_tls));
    }
    config.check().expect("it is configured well");
    config
}

fn draw_manner(
    rng: &mut SmallRng,
    configs: &[Config],
    number: usize,
    start: Instant,
    certificate: Option<&Certificate>,
) -> Manner {
    let node = rng.random_range(0..configs.len());
    let mut manner = draw_manner_of(rng, &configs[node], node, number, start);
    if let (Some(certificate), Way::Dials(ip, address)) = (certificate, &manner.way)
        && rng.random_bool(0.5)
    {
        let address = SocketAddr::new(address.ip(), TLS_PORT);
        manner.way = Way::DialsWithTls(*ip, address, certificate.of_peer());
    }
    manner
}

fn draw_manner_of(
    rng: &mut SmallRng,
    config: &Config,
    node: usize,
    number: usize,
    start: Instant,
) -> Manner {
    let (_, address) = place_of(config);
    let is_good = rng.random_bool(0.5);
    let connect_at = start + BUSY.mul_f64(rng.random::<f64>() * 0.8);
    let later = |rng: &mut SmallRng| connect_at + MS * rng.random_range(0..6000);
    let mut manner = Manner {
        node,
        way: Way::Dials(IpAddr::from([10, 9, (number / 3) as u8, 1]), address),
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
        is_gapless: is_good || config.slow_peer == SlowPeer::Disconnect,
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
