//! A node among well-behaved peers and strangers who are not, for as long as one likes: what the two leave behind
//! in it does not grow, and the former miss nothing.
//!
//! A binary of its own, so that it has the machine to itself. It runs in rounds, each of which does the same: half of
//! the peers stay all the time and hear two publishers; the other half comes, each does one thing that peers do or
//! should not do, and goes. Then only those who stay may be left, and the node is measured.
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
mod guests;
mod listening;
#[path = "../it/support/mod.rs"]
mod support;
mod wire;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use authority::{Authority, text};
use guests::{Guest, Torrent};
use support::{Node, Scratch, eventually, need_descriptors};
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
/// What memory may be above the most of the warm-up. Rounds differ in what happens at the same moment, and that moves
/// the peak; but each does the same as the one before, so what is lost in one is lost in all of them: in an hour of
/// some hundred rounds with a thousand guests each, 50 bytes a guest are more than this.
const GROWTH_PERCENT_MAX: u64 = 20;
const GROWTH_BYTES_MAX: u64 = 4 << 20;
/// Nothing in a round takes so long, on the slowest machine.
const ROUND_MAX: Duration = Duration::from_secs(180);

/// The node with the files that it reads again.
struct Soaked {
    node: Node,
    authority: Authority,
    scratch: Scratch,
}

impl Soaked {
    fn start(peers: usize) -> Soaked {
        let (authority, scratch) = (Authority::new("soak"), Scratch::new("soak"));
        let files = authority.local("node");
        fs::write(scratch.join("tokens"), tokens(0)).unwrap();
        let mut command =
            Node::command("--interval off --bind 127.0.0.1:0 --bind wss://127.0.0.1:0".split(' '));
        command.args(files.options());
        command.args(["--token-file", text(&scratch.join("tokens"))]);
        // Little enough for slow readers and floods to reach it in each round.
        command.args("--max-message 65536 --outbox 1048576 --max-publish-rate 500".split(' '));
        // On a busy machine a thousand guests who all come at once are late with their requests, which is not the node's.
        command.args(["--handshake-timeout", "2m"]);
        command.args(["--max-connections-per-address", &(3 * peers).to_string()]);
        // A line for each of a million peers tells nobody anything.
        command.env(
            "RUST_LOG",
            "warn,wsmesh::node=info,wsmesh::node::relay=warn",
        );
        let mut node = Node::start_with_stdout(command, std::process::Stdio::null());
        node.wait_listening(2);
        Soaked {
            node,
            authority,
            scratch,
        }
    }

    fn door(&mut self) -> Arc<Door> {
        let [clear, encrypted] = *self.node.wait_listening(2) else {
            panic!("it listens twice")
        };
        let config = self.authority.client_config();
        Arc::new(Door::new(clear, encrypted, config))
    }

    /// Other tokens and another certificate; those who are there stay.
    async fn reload(&self, door: &Door, round: usize) {
        fs::write(self.scratch.join("tokens"), tokens(round)).unwrap();
        let renewed = self.authority.local("renewed");
        fs::copy(renewed.cert, self.authority.file("node.pem")).unwrap();
        fs::copy(renewed.key, self.authority.file("node.key")).unwrap();
        self.node.signal("HUP");
        while !door.admits(&token(round)).await {
            tokio::task::yield_now().await;
        }
        assert!(
            !door.admits(&token(round - 1)).await,
            "a token that is gone admits nobody"
        );
    }

    /// Waits until only those are left who were there before.
    fn wait_descriptors(&self, before: usize) {
        eventually("all guests are gone", || self.node.descriptors() == before);
    }
}

/// What guests of a round show.
fn token(round: usize) -> String {
    format!("guest-of-the-round-{round:012}")
}

fn tokens(round: usize) -> String {
    format!(
        "{}\n{} publish\n{}\n",
        wire::LISTENER,
        wire::PUBLISHER,
        token(round)
    )
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
    let door = soaked.door();
    let empty = soaked.node.descriptors();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut listeners = JoinSet::new();
    for index in 0..scale.peers / 2 {
        let socket = door
            .enter(index % 2 == 1, listening::CHANNEL, wire::LISTENER)
            .await;
        let mut socket = socket.expect("a listener is let in");
        listeners.spawn(async move { listening::hear_all(&mut socket).await });
    }
    let mut publishers = JoinSet::new();
    for number in 0..listening::PUBLISHERS {
        let (door, is_over) = (Arc::clone(&door), Arc::clone(&is_over));
        publishers.spawn(async move { listening::publish(&door, number, &is_over).await });
    }
    let staying = empty + scale.peers / 2 + listening::PUBLISHERS;
    soaked.wait_descriptors(staying);

    let started = Instant::now();
    let (mut warm, mut later, mut rounds) = (0, 0, 0);
    while started.elapsed() < scale.time || rounds < ROUNDS_MIN {
        rounds += 1;
        let round = round(&soaked, &door, rounds, scale.peers / 2);
        let done = tokio::time::timeout(ROUND_MAX, round).await;
        done.unwrap_or_else(|_| panic!("round {rounds} is not done within {ROUND_MAX:?}"));
        soaked.wait_descriptors(staying);
        let resident = soaked.node.resident_bytes();
        let is_warm_up = started.elapsed() < scale.time / WARM_UP || rounds <= ROUNDS_MIN / 2;
        let most = if is_warm_up { &mut warm } else { &mut later };
        *most = resident.max(*most);
        if rounds.is_power_of_two() || rounds.is_multiple_of(50) {
            println!(
                "after {rounds} rounds and {:?}: {resident} bytes",
                started.elapsed()
            );
        }
    }

    is_over.store(true, Ordering::Relaxed);
    let mut published = publishers.join_all().await;
    published.sort_unstable();
    let published: Vec<u64> = published.into_iter().map(|(_, count)| count).collect();
    let heard = tokio::time::timeout(ROUND_MAX, listeners.join_all()).await;
    let heard = heard.expect("all hear the last message");
    assert_eq!(heard.len(), scale.peers / 2);
    assert!(
        heard.iter().all(|heard| heard[..] == published),
        "{published:?} are not all of {heard:?}"
    );
    println!(
        "{rounds} rounds of {} guests in {:?}; {published:?} messages to {} listeners; \
         {warm} bytes at most while it warmed up, {later} after that",
        scale.peers / 2,
        started.elapsed(),
        heard.len()
    );
    let bound = warm + warm * GROWTH_PERCENT_MAX / 100 + GROWTH_BYTES_MAX;
    assert!(
        later <= bound,
        "{later} bytes after {rounds} rounds, {warm} when it was warm"
    );
    soaked.wait_descriptors(empty);
    soaked.node.assert_no_error_logged();
    soaked.node.stop();
}

/// Lets guests of all sorts in at once, and waits until they have gone.
async fn round(soaked: &Soaked, door: &Arc<Door>, round: usize, guests: usize) {
    soaked.reload(door, round).await;
    let torrent = Torrent::for_guests(guests, round);
    let mut crowd = JoinSet::new();
    for index in 0..guests {
        let (door, torrent) = (Arc::clone(door), torrent.clone());
        crowd.spawn(async move {
            let guest = Guest {
                door: &door,
                token: &token(round),
                round,
                index,
            };
            guest.visit(&torrent).await;
        });
    }
    let door = Arc::clone(door);
    crowd.spawn(async move { torrent.pour(&door, &token(round)).await });
    while let Some(guest) = crowd.join_next().await {
        guest.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
}
