//! A node among well-behaved peers and strangers who are not, for as long as one likes: what the two leave behind
//! in it does not grow, and the former miss nothing.
//!
//! A binary of its own, so that it has the machine to itself. It runs in rounds, each of which does the same: half of
//! the peers stay all the time and hear two publishers; the other half comes, each does one thing that peers do or
//! should not do, and goes. Then only those who stay may be left, and the node is measured: its memory, its descriptors,
//! and all that it counts against what was done to it. A second node is its neighbor all the time, and misses nothing.
//!
//! `SOAK_SECONDS=3600` is for whoever changes something that could leak. Without it, it runs for two minutes under
//! `CI=true`, and otherwise for some seconds with few peers.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic at once"
)]

#[path = "../it/tls/authority.rs"]
#[allow(dead_code, reason = "not every program takes every tool")]
mod authority;
mod books;
mod guests;
mod listening;
mod memory;
#[path = "../it/support/mod.rs"]
mod support;
mod wire;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use authority::{Authority, text};
use books::{Account, Books, End};
use guests::{Guest, PUBLISH_RATE_MAX, Torrent};
use memory::Resident;
use support::{Metrics, Node, Scratch, eventually, need_descriptors};
use wire::Door;

/// How long, and with how many peers.
struct Scale {
    time: Duration,
    peers: usize,
}

impl Scale {
    fn of_environment() -> Scale {
        let seconds = std::env::var("SOAK_SECONDS").ok();
        let seconds = seconds.map(|typed| {
            let seconds = typed.parse();
            seconds.unwrap_or_else(|_| panic!("SOAK_SECONDS={typed}: it is a number of seconds"))
        });
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        let (seconds, peers) = match (seconds, is_ci) {
            (Some(seconds), _) => (seconds, 2000),
            (None, true) => (120, 2000),
            (None, false) => (5, 200),
        };
        let time = Duration::from_secs(seconds);
        Scale { time, peers }
    }
}

/// Rounds, however short the time is: some to warm up, and as many to compare with them.
const ROUNDS_MIN: usize = 4;
/// The part of the time in which memory may grow: until allocator and kernel have had the worst of all that a round
/// does at once.
const WARM_UP: u32 = 4;
/// Nothing in a round takes so long, on the slowest machine.
const ROUND_MAX: Duration = Duration::from_secs(180);

/// The node with the files that it reads again, and its neighbor.
struct Soaked {
    node: Node,
    beyond: Node,
    /// Descriptors of the node when it had no connection yet.
    bare: usize,
    authority: Authority,
    scratch: Scratch,
}

impl Soaked {
    fn start(peers: usize) -> Soaked {
        let (authority, scratch) = (Authority::new("soak"), Scratch::new("soak"));
        fs::write(scratch.join("tokens"), tokens(0)).unwrap();
        let mut command = command("--bind 127.0.0.1:0 --bind wss://127.0.0.1:0");
        command.args(authority.local("node").options());
        command.args(["--token-file", text(&scratch.join("tokens"))]);
        // Little enough for floods to reach it in each round.
        command.args(["--max-publish-rate", &PUBLISH_RATE_MAX.to_string()]);
        // On a busy machine a thousand guests who all come at once are late with their requests, which is not the node's.
        command.args(["--handshake-timeout", "2m"]);
        command.args(["--max-connections-per-address", &(3 * peers).to_string()]);
        let mut node = Node::start_with_stdout(command, Stdio::null());
        let url = format!("ws://{}", node.wait_listening(2)[0]);
        node.status_address();
        let bare = node.descriptors();

        // Nobody can dial it by guessing where it is, so that all its connections are known here.
        let mut command = self::command("--bind wss://127.0.0.1:0");
        command.args(authority.local("beyond").options());
        fs::write(scratch.join("neighbor"), wire::NEIGHBOR).unwrap();
        let token = scratch.join("neighbor");
        command.args(["--peers", &url, "--peer-token-file", text(&token)]);
        let mut beyond = Node::start_with_stdout(command, Stdio::null());
        beyond.wait_listening(1);
        Soaked {
            node,
            beyond,
            bare,
            authority,
            scratch,
        }
    }

    /// Where peers come in: at the node, and beyond it.
    fn doors(&mut self) -> [Arc<Door>; 2] {
        let [clear, encrypted] = *self.node.wait_listening(2) else {
            panic!("it listens twice")
        };
        let far = self.beyond.wait_listening(1)[0];
        [(clear, encrypted), (far, far)].map(|(clear, encrypted)| {
            let config = self.authority.client_config();
            Arc::new(Door::new(clear, encrypted, config))
        })
    }

    /// Other tokens and another certificate; those who are there stay. Returns who has come in meanwhile.
    async fn reload(&self, door: &Door, round: usize) -> Account {
        fs::write(self.scratch.join("tokens"), tokens(round)).unwrap();
        let renewed = self.authority.local("renewed");
        fs::copy(renewed.cert, self.authority.file("node.pem")).unwrap();
        fs::copy(renewed.key, self.authority.file("node.key")).unwrap();
        self.node.signal("HUP");
        let mut account = Account::visit(End::Lost);
        while !door.admits(&token(round)).await {
            account += Account::STRANGER;
        }
        assert!(
            !door.admits(&token(round - 1)).await,
            "a token that is gone admits nobody"
        );
        account += Account::STRANGER;
        account
    }
}

/// What both nodes are told.
fn command(options: &str) -> Command {
    let mut command = Node::command(options.split(' '));
    // Little enough for slow readers to reach it in each round, and enough for a neighbor to stay.
    command.args(
        "--max-message 65536 --outbox 4194304 --interval off --status 127.0.0.1:0".split(' '),
    );
    // A line for each of a million peers tells nobody anything.
    let levels = "warn,wsmesh::node=info,wsmesh::node::relay=warn";
    command.env("RUST_LOG", levels);
    command
}

/// What guests of a round show.
fn token(round: usize) -> String {
    format!("guest-of-the-round-{round:012}")
}

fn tokens(round: usize) -> String {
    format!(
        "{}\n{} publish\n{} neighbor\n{} status\n{}\n",
        wire::LISTENER,
        wire::PUBLISHER,
        wire::NEIGHBOR,
        wire::MONITOR,
        token(round)
    )
}

/// What one of the two nodes has, and what it says of that.
struct Side {
    name: &'static str,
    books: Books,
    /// Descriptors when nobody is there but its neighbor.
    empty: usize,
    staying: usize,
    resident: Resident,
}

impl Side {
    /// Waits until the two are neighbors.
    fn open(name: &'static str, node: &Node, neighbor: Account, empty: usize) -> Side {
        let mut books = Books::of(name, node);
        books.add(neighbor);
        books.settle(1);
        Side {
            name,
            books,
            empty,
            staying: 0,
            resident: Resident::default(),
        }
    }

    /// Some come and stay.
    fn welcome(&mut self, count: usize) {
        self.staying += count;
        self.books.add(Account::PEER.times(count));
    }

    /// Waits until only those are left who stay, and all accounts agree.
    fn settle(&mut self, node: &Node) -> Metrics {
        let metrics = self.books.settle(1);
        let should = self.empty + self.staying;
        // The connection that has asked may not be closed yet.
        eventually(&format!("{should} descriptors at {}", self.name), || {
            node.descriptors() == should
        });
        metrics
    }

    /// They go again.
    fn part(&mut self, node: &Node) -> Metrics {
        let gone = std::mem::take(&mut self.staying);
        self.books.add(Account::end(End::ByPeer).times(gone));
        self.settle(node)
    }
}

#[test]
fn a_node_is_after_it_all_as_it_was_before() {
    let scale = Scale::of_environment();
    need_descriptors(2 * scale.peers as u64 + 500);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(soak(&scale));
}

async fn soak(scale: &Scale) {
    let mut soaked = Soaked::start(scale.peers);
    let doors = soaked.doors();
    let bare = soaked.bare;
    let mut here = Side::open("the node", &soaked.node, Account::PEER, bare + 1);
    // One listener less, and one connection.
    let mut there = Side::open("its neighbor", &soaked.beyond, Account::DIALED, bare);

    let is_over = Arc::new(AtomicBool::new(false));
    let [near, far] = [scale.peers / 2, scale.peers / 50];
    let mut listeners = JoinSet::new();
    for index in 0..near + far {
        let (door, is_encrypted) = match index < near {
            true => (&doors[0], index % 2 == 1),
            false => (&doors[1], true),
        };
        let socket = door
            .enter(is_encrypted, listening::CHANNEL, wire::LISTENER)
            .await;
        let mut socket = socket.expect("a listener is let in");
        listeners.spawn(async move { listening::hear_all(&mut socket).await });
    }
    let mut publishers = JoinSet::new();
    for number in 0..listening::PUBLISHERS {
        let (door, is_over) = (Arc::clone(&doors[0]), Arc::clone(&is_over));
        publishers.spawn(async move { listening::publish(&door, number, &is_over).await });
    }
    here.welcome(near + listening::PUBLISHERS);
    there.welcome(far);
    here.settle(&soaked.node);
    there.settle(&soaked.beyond);

    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < scale.time || rounds < ROUNDS_MIN {
        rounds += 1;
        let round = round(&soaked, &doors, rounds, scale.peers / 2);
        let done = tokio::time::timeout(ROUND_MAX, round).await;
        let account =
            done.unwrap_or_else(|_| panic!("round {rounds} is not done within {ROUND_MAX:?}"));
        let gone = listeners.try_join_next();
        assert!(gone.is_none(), "round {rounds}: a listener goes: {gone:?}");
        here.books.add(account);
        there.books.add(Account::visit(End::ByPeer));
        let is_warm = started.elapsed() >= scale.time / WARM_UP && rounds > ROUNDS_MIN / 2;
        for (side, node) in [(&mut here, &soaked.node), (&mut there, &soaked.beyond)] {
            side.settle(node);
            side.resident.add(node.resident_bytes(), is_warm);
        }
        if rounds.is_power_of_two() || rounds.is_multiple_of(50) {
            println!(
                "after {rounds} rounds and {:?}: {}",
                started.elapsed(),
                here.resident
            );
        }
    }

    is_over.store(true, Ordering::Relaxed);
    let mut published = publishers.join_all().await;
    published.sort_unstable();
    let published: Vec<u64> = published.into_iter().map(|(_, count)| count).collect();
    let heard = tokio::time::timeout(ROUND_MAX, listeners.join_all()).await;
    let heard = heard.expect("all hear the last message");
    assert_eq!(heard.len(), near + far);
    assert!(
        heard.iter().all(|heard| heard[..] == published),
        "{published:?} are not all of {heard:?}"
    );
    let all = here.part(&soaked.node).count("published_total");
    let delivered = there.part(&soaked.beyond).count("delivered_total");
    println!(
        "{rounds} rounds of {} guests in {:?}; {published:?} messages to {near} listeners and to {far} beyond, {delivered} of \
         all {all} that were published there",
        scale.peers / 2,
        started.elapsed(),
    );
    assert_eq!(delivered, all, "messages at the neighbor");
    for (side, node) in [(&here, &soaked.node), (&there, &soaked.beyond)] {
        println!("{}: {}", side.name, side.resident);
        let fault = side.resident.fault();
        assert!(fault.is_none(), "{}: {fault:?}", side.name);
        node.assert_no_error_logged();
    }
    soaked.beyond.stop();
    here.books.add(Account::end(End::ByPeer));
    here.books.settle(0);
    soaked.node.stop();
}

/// Lets guests of all sorts in at once, and waits until they have gone. Returns what that does to the node.
async fn round(soaked: &Soaked, doors: &[Arc<Door>; 2], round: usize, guests: usize) -> Account {
    let mut account = soaked.reload(&doors[0], round).await;
    let torrent = Torrent::for_guests(guests, round);
    let mut crowd = JoinSet::new();
    for index in 0..guests {
        let (door, torrent) = (Arc::clone(&doors[0]), torrent.clone());
        crowd.spawn(async move {
            let guest = Guest {
                door: &door,
                token: &token(round),
                round,
                index,
            };
            guest.visit(&torrent).await
        });
    }
    let [door, far] = doors.clone();
    crowd.spawn(async move {
        torrent.pour(&door, &token(round), &far).await;
        Account::visit(End::ByPeer)
    });
    while let Some(guest) = crowd.join_next().await {
        account += guest.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    account
}
