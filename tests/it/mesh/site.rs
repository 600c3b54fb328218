//! A node with an address of its own, which a test can kill and start again there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::QUIET;
use super::member::Member;
use crate::support::{DEADLINE, Frame, Node, Raw, eventually_some};

/// A node that runs, or did. Its output is that of its present life.
pub(super) struct Site {
    node: Node,
    address: SocketAddr,
    options: Vec<String>,
}

impl Site {
    /// Starts it on a free port of 127.0.0.1, with these peers, and waits until it listens.
    #[track_caller]
    pub(super) fn start(options: &[&str], peers: &[String]) -> Site {
        Site::start_at((Ipv4Addr::LOCALHOST, 0).into(), options, peers)
    }

    /// … at another address of this machine.
    #[track_caller]
    pub(super) fn start_at(address: SocketAddr, options: &[&str], peers: &[String]) -> Site {
        let mut options: Vec<String> = QUIET.iter().chain(options).map(|o| o.to_string()).collect();
        if !peers.is_empty() {
            options.extend(["--peers".to_owned(), peers.join(",")]);
        }
        let node = launch(address, &options);
        Site {
            address: node.address(),
            node,
            options,
        }
    }

    /// Kills it with SIGKILL.
    pub(super) fn kill(&mut self) {
        self.node.kill();
    }

    /// Starts it again at the same address.
    #[track_caller]
    pub(super) fn restart(&mut self) {
        self.node = launch(self.address, &self.options);
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// Publishes these texts in the channel `/`, as a plain peer that comes and goes; when this returns, the
    /// node has taken them.
    #[track_caller]
    pub(super) fn publish<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>) {
        let mut peer = Raw::upgraded(self.address, "/");
        peer.send_frames(texts.into_iter().map(|text| Frame::text(text.as_ref())));
        peer.sync();
    }

    /// Ports of the neighbors that it has dialed and is connected to, as its log says.
    fn dialed_ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        // What is logged as a detail never became a neighbor.
        let lines = self.node.stderr.all().into_iter();
        for line in lines.filter(|line| !line.contains(" DEBUG ")) {
            let Some((_, rest)) = line.split_once("neighbor ws://127.0.0.1:") else {
                continue;
            };
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            let port = digits.unwrap_or_default().parse().expect("a port");
            if rest.contains(" connected") {
                ports.push(port);
            } else if rest.contains(" closed: ") {
                let place = ports.iter().position(|open| *open == port);
                ports.remove(place.expect("it was connected"));
            }
        }
        ports
    }

    /// How often it has printed which message.
    pub(super) fn heard(&self) -> BTreeMap<String, usize> {
        let mut heard = BTreeMap::new();
        for line in self.node.stdout.all() {
            *heard.entry(text_of(&line).to_owned()).or_default() += 1;
        }
        heard
    }

    /// Waits until it has printed all of these.
    #[track_caller]
    pub(super) fn wait_heard(&self, texts: &BTreeSet<String>) {
        self.wait_heard_within(DEADLINE, texts);
    }

    /// … with a deadline of its own.
    #[track_caller]
    pub(super) fn wait_heard_within(&self, deadline: Duration, texts: &BTreeSet<String>) {
        let is_wanted = |line: &str| texts.contains(text_of(line));
        let stdout = &self.node.stdout;
        let found = stdout.try_wait_until(deadline, texts.len(), is_wanted);
        if found.is_err() {
            let heard = self.heard();
            let missing: Vec<_> = texts.iter().filter(|t| !heard.contains_key(*t)).collect();
            panic!("{} has not heard {missing:?}", self.address);
        }
    }

    /// Asserts that it has printed each of these, and no message more than once.
    #[track_caller]
    pub(super) fn assert_heard_once(&self, texts: &BTreeSet<String>) {
        let heard = self.heard();
        let missing: Vec<_> = texts.iter().filter(|t| !heard.contains_key(*t)).collect();
        let repeated: Vec<_> = heard.iter().filter(|(_, count)| **count > 1).collect();
        assert!(
            missing.is_empty() && repeated.is_empty(),
            "{}: missing {missing:?}, more than once {repeated:?}",
            self.address
        );
    }
}

/// Starts a node that listens there.
#[track_caller]
fn launch(address: SocketAddr, options: &[String]) -> Node {
    let bind = ["--bind".to_owned(), address.to_string()];
    let options: Vec<_> = bind.iter().chain(options).collect();
    // Some connection of another test may just have got the port for its own end.
    eventually_some(&format!("{address} is free"), || {
        let mut node = Node::with(&options);
        let is_said = |line: &str| line.contains("listening on ");
        node.stderr.try_wait_until(DEADLINE, 1, is_said).ok()?;
        node.wait_listening(1);
        Some(node)
    })
}

/// The text of a line of output: what follows who has sent it.
fn text_of(line: &str) -> &str {
    line.split_once(' ').map_or("", |(_, text)| text)
}

/// Waits until what the first `speakers` of these nodes publish reaches all of them: publishes at one after
/// the other until it does.
#[track_caller]
pub(super) fn wait_joined(sites: &[&Site], speakers: usize) {
    static PROBES: AtomicUsize = AtomicUsize::new(0);
    for site in &sites[..speakers] {
        eventually_some(&format!("{} is heard everywhere", site.address), || {
            let probe = format!("probe {}", PROBES.fetch_add(1, Ordering::Relaxed));
            site.publish([&probe]);
            let others = sites.iter().filter(|other| other.address != site.address);
            let mut others = others.map(|other| {
                let is_probe = |line: &str| text_of(line) == probe;
                let stdout = &other.node.stdout;
                stdout.try_wait_until(Duration::from_secs(1), 1, is_probe)
            });
            others.all(|heard| heard.is_ok()).then_some(())
        });
    }
}

/// Waits until the nodes have agreed on a tree: before, they send every message to every neighbor.
#[track_caller]
pub(super) fn wait_tree(sites: &[Site]) {
    for site in sites {
        Member::join(site.address, rand::random(), "leaf").hear("beacon");
    }
}

/// The connections between these nodes, as the logs of those who have dialed say: pairs of places in the
/// list, the lesser first. Two connections between the same two are there twice.
pub(super) fn connections(sites: &[Site]) -> Vec<(usize, usize)> {
    let place_of = |port| sites.iter().position(|site| site.address.port() == port);
    let mut connections = Vec::new();
    for (from, site) in sites.iter().enumerate() {
        let reached = site.dialed_ports().into_iter().filter_map(place_of);
        connections.extend(reached.map(|to| (from.min(to), from.max(to))));
    }
    connections.sort_unstable();
    connections
}

/// How many connections each of so many nodes has.
pub(super) fn degrees(connections: &[(usize, usize)], nodes: usize) -> Vec<usize> {
    let mut degrees = vec![0; nodes];
    for (a, b) in connections {
        degrees[*a] += 1;
        degrees[*b] += 1;
    }
    degrees
}

/// Whether these connections join all of the nodes in `among`, without going through others.
pub(super) fn join(connections: &[(usize, usize)], among: &BTreeSet<usize>) -> bool {
    let mut reached: BTreeSet<_> = among.first().copied().into_iter().collect();
    loop {
        let before = reached.len();
        for (a, b) in connections {
            if among.contains(a)
                && among.contains(b)
                && (reached.contains(a) || reached.contains(b))
            {
                reached.extend([*a, *b]);
            }
        }
        if reached.len() == before {
            return reached == *among;
        }
    }
}
