//! Crowds that begin a handshake and never finish it, on the simulated kernel: how many turns somebody else waits
//! beside them, and who has to go when there is no room.

use std::{
    io::{ErrorKind, IoSlice, Read as _, Write as _},
    mem,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};
use rustls::ClientConnection;

use super::{
    certificate::{Certificate, NAME},
    member::{MANY, Member, place_of},
    wire,
};
use crate::{
    Config,
    config::{
        Limits, TlsConfig,
        limits::{
            HANDSHAKE_BYTES_PER_TURN, HANDSHAKE_READ_BYTES, TLS_ADVANCES_PER_SECOND, TLS_STEP_BYTES,
        },
    },
    net::simulated::{Host, Socket, Weather, World},
};

/// Turns that follow one event; more is a livelock.
const TURNS_MAX: usize = 1000;
/// Who connects and asks at once is read in the same turn.
const TURNS_OF_A_GUEST: usize = 1;

/// Turns that a crowd takes to be read once: fewer than what anybody may be left unread for.
const CROWD_TURNS: usize = 12;

/// A node, and where others come from.
struct Scene {
    world: World,
    outside: Host,
    member: Member,
    address: SocketAddr,
    now: Instant,
}

/// Somebody who has connected.
struct Guest {
    socket: Socket,
    heard: Vec<u8>,
    has_ended: bool,
}

impl Guest {
    fn say(&self, bytes: &[u8]) {
        let said = self.socket.write(&[IoSlice::new(bytes)]);
        assert_eq!(said.expect("there is room"), bytes.len());
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while !self.has_ended {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.has_ended = true,
                Ok(len) => self.heard.extend(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.has_ended = true,
            }
        }
    }

    /// The status of the answer.
    fn status(&mut self) -> Option<u16> {
        self.listen();
        wire::take_response(&mut self.heard)
    }
}

impl Scene {
    fn new(bind: &str, tls: TlsConfig, limits: Limits) -> Self {
        let calm = Weather {
            interrupted: 0.0,
            short: 0.0,
            blocked: 0.0,
            cut: 0.0,
            latency: Duration::ZERO..Duration::ZERO,
            capacity: 64 * 1024..64 * 1024 + 1,
        };
        let now = Instant::now();
        let world = World::new(0, calm, now);
        let config = Config {
            binds: vec![bind.parse().expect("it is an address")],
            tls,
            limits,
            ..Config::default()
        };
        config.check().expect("it is configured well");
        let (_, address) = place_of(&config);
        let mut rng = SmallRng::seed_from_u64(0);
        Self {
            outside: world.host(IpAddr::from([10, 9, 0, 1]), MANY, true),
            member: Member::new(&config, &world, true, &mut rng, now),
            world,
            address,
            now,
        }
    }

    /// In clear, and with so many places for those who have not upgraded yet.
    fn in_clear(handshakes_max: usize) -> Self {
        let limits = Limits {
            handshakes_max,
            ..Limits::default()
        };
        Self::new("10.0.0.1:8080", TlsConfig::default(), limits)
    }

    /// Somebody connects, and says something at once.
    fn come(&self, from: [u8; 4], words: &[u8]) -> Guest {
        let socket = self.outside.connect_from(from.into(), self.address, true);
        self.world.advance(self.now);
        let guest = Guest {
            socket: socket.expect("it listens"),
            heard: Vec::new(),
            has_ended: false,
        };
        if !words.is_empty() {
            guest.say(words);
        }
        guest
    }

    fn turn(&mut self) {
        self.world.advance(self.now);
        self.member.turn(|_| {}, usize::MAX, self.now);
        self.world.advance(self.now);
    }

    /// Lets the node do all that it has to.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.world.advance(self.now);
            if !self.member.is_due(self.now) {
                return;
            }
            self.turn();
        }
        panic!("it comes to no end");
    }

    /// Turns until something has come about.
    fn turns_until(&mut self, mut has_come: impl FnMut() -> bool) -> usize {
        for turns in 1..TURNS_MAX {
            self.turn();
            if has_come() {
                return turns;
            }
        }
        panic!("it does not come about");
    }
}

const FLOOD: [u8; 4] = [203, 0, 113, 7];
/// In the network of the flood, and elsewhere.
const OTHERS: [[u8; 4]; 2] = [[203, 0, 113, 8], [198, 51, 100, 1]];

#[test]
fn who_asks_beside_a_crowd_that_drips_waits_for_no_more_than_a_turn() {
    let mut scene = Scene::in_clear(4096);
    let reads_of_a_turn = HANDSHAKE_BYTES_PER_TURN / HANDSHAKE_READ_BYTES;
    let flood: Vec<_> = (0..CROWD_TURNS * reads_of_a_turn)
        .map(|_| scene.come(FLOOD, b"GET / HT"))
        .collect();
    scene.settle();
    for other in OTHERS {
        flood.iter().for_each(|guest| guest.say(b"T"));
        let mut guest = scene.come(other, &wire::request("/"));
        let turns = scene.turns_until(|| guest.status() == Some(101));
        assert!(turns <= TURNS_OF_A_GUEST, "{turns}");
        // The crowd has its turns, too.
        scene.settle();
    }
}

/// What somebody says first who speaks TLS.
fn hello(certificate: &Certificate) -> Vec<u8> {
    let name = NAME.try_into().expect("it is a name");
    let mut client = ClientConnection::new(certificate.of_peer(), name).expect("it can begin");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("it is written");
    hello
}

#[test]
fn who_begins_tls_beside_a_crowd_that_does_no_more_than_that_waits_for_no_more_than_a_turn() {
    let certificate = Certificate::new(std::iter::empty());
    let tls = certificate.of_node();
    let mut scene = Scene::new("wss://10.0.0.1:8443", tls, Limits::default());
    let steps_of_a_turn = HANDSHAKE_BYTES_PER_TURN / TLS_STEP_BYTES;
    let hello = hello(&certificate);
    for other in OTHERS {
        let mut flood: Vec<_> = (0..CROWD_TURNS * steps_of_a_turn)
            .map(|_| scene.come(FLOOD, &[]))
            .collect();
        scene.settle();
        flood.iter().for_each(|guest| guest.say(&hello));
        let mut guest = scene.come(other, &hello);
        let turns = scene.turns_until(|| {
            guest.listen();
            !guest.heard.is_empty()
        });
        // A crowd that is new as well has the first turn.
        assert!(turns <= TURNS_OF_A_GUEST + 1, "{turns}");
        assert!(count_answered(&mut flood) <= turns * steps_of_a_turn);
        scene.settle();
        assert_eq!(count_answered(&mut flood), flood.len());
    }
}

/// Somebody who speaks TLS goes on as far as it is answered.
fn go_on(client: &mut ClientConnection, guest: &mut Guest) {
    guest.listen();
    let heard = mem::take(&mut guest.heard);
    let mut unread = &heard[..];
    while !unread.is_empty() {
        client.read_tls(&mut unread).expect("it is in memory");
        client.process_new_packets().expect("it is TLS");
    }
    let mut said = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut said).expect("it is in memory");
    }
    if !said.is_empty() {
        guest.say(&said);
    }
}

#[test]
fn who_begins_tls_again_and_again_and_never_goes_on_is_answered_by_and_by() {
    let certificate = Certificate::new(std::iter::empty());
    let tls = certificate.of_node();
    let mut scene = Scene::new("wss://10.0.0.1:8443", tls, Limits::default());
    let hello = hello(&certificate);
    let at_once = 2 * TLS_ADVANCES_PER_SECOND;
    let mut flood = Vec::new();
    for _ in 0..at_once + 100 {
        flood.push(scene.come(FLOOD, &hello));
        scene.settle();
    }
    assert_eq!(count_answered(&mut flood), at_once);
    // Elsewhere nobody waits, and many come one after the other, because they go on.
    let elsewhere = OTHERS[1];
    for _ in 0..at_once + 1 {
        let name = NAME.try_into().expect("it is a name");
        let client = ClientConnection::new(certificate.of_peer(), name);
        let mut client = client.expect("it can begin");
        client
            .writer()
            .write_all(&wire::request("/"))
            .expect("it is in memory");
        let mut guest = scene.come(elsewhere, &[]);
        let mut answer = [0; 12];
        for _ in 0..3 {
            go_on(&mut client, &mut guest);
            scene.settle();
        }
        go_on(&mut client, &mut guest);
        let read = client.reader().read(&mut answer);
        assert_eq!(read.expect("there is an answer"), answer.len());
        assert_eq!(&answer, b"HTTP/1.1 101");
    }
    assert_eq!(count_answered(&mut flood), at_once);
    scene.now += Duration::from_millis(100);
    scene.settle();
    let more = TLS_ADVANCES_PER_SECOND / 10;
    assert_eq!(count_answered(&mut flood), at_once + more);
    // Who has gone takes nothing of what there is for those who wait.
    flood.truncate(at_once + more + 20);
    scene.settle();
    assert_eq!(scene.member.node.network.len(), flood.len());
    for _ in 0..2 {
        scene.now += Duration::from_millis(100);
        scene.settle();
    }
    assert_eq!(count_answered(&mut flood), flood.len());
}

/// Half of all places for each of two networks, which then have all of them.
fn floods(scene: &mut Scene, networks: RangeInclusive<u8>, of_each: usize) -> Vec<Guest> {
    let mut flood = Vec::new();
    for network in networks {
        for _ in 0..of_each {
            flood.push(scene.come([203, 0, network, 1], b"GET"));
        }
    }
    scene.settle();
    flood
}

fn count_answered(guests: &mut [Guest]) -> usize {
    guests.iter_mut().for_each(Guest::listen);
    guests
        .iter()
        .filter(|guest| !guest.heard.is_empty())
        .count()
}

fn count_ended(guests: &mut [Guest]) -> usize {
    guests.iter_mut().for_each(Guest::listen);
    guests.iter().filter(|guest| guest.has_ended).count()
}

#[test]
fn a_crowd_that_has_taken_all_places_gives_way_to_who_has_none() {
    let mut scene = Scene::in_clear(8);
    let mut flood = floods(&mut scene, 1..=2, 4);
    for round in 1..=3 {
        let mut guest = scene.come([198, 51, 100, round], &[]);
        scene.settle();
        guest.say(&wire::request("/"));
        scene.settle();
        assert_eq!(guest.status(), Some(101));
        // The oldest of who has most, in turns.
        assert_eq!(count_ended(&mut flood), 1, "round {round}");
        assert!(flood[0].has_ended);
        assert_eq!(flood.remove(0).status(), Some(503));
        // Its place is taken again.
        let again = floods(&mut scene, 1..=1, 1);
        flood.extend(again);
    }
}

#[test]
fn a_crowd_does_not_make_others_give_way() {
    let mut scene = Scene::in_clear(8);
    // The first of all has less than the crowds, however long it is there.
    let mut slow = scene.come([198, 51, 100, 1], b"GET");
    let mut flood = floods(&mut scene, 1..=2, 4);
    flood.extend(floods(&mut scene, 1..=2, 4));
    slow.listen();
    assert!(!slow.has_ended);
    let places = flood.len() - count_ended(&mut flood);
    assert_eq!(places, 7);
    slow.say(&wire::request("/")[3..]);
    scene.settle();
    assert_eq!(slow.status(), Some(101));
}

#[test]
fn an_address_that_has_all_places_of_its_network_gives_way_to_its_neighbor() {
    let mut scene = Scene::in_clear(8);
    let mut flood: Vec<_> = (0..3)
        .map(|_| scene.come([203, 0, 113, 1], b"GET"))
        .collect();
    flood.extend((0..3).map(|_| scene.come([203, 0, 113, 2], b"GET")));
    scene.settle();
    assert_eq!(count_ended(&mut flood), 0);
    let mut guest = scene.come([203, 0, 113, 3], &wire::request("/"));
    scene.settle();
    assert_eq!(guest.status(), Some(101));
    assert_eq!(count_ended(&mut flood), 1);
    // One that has as many as they finds no room.
    flood.retain(|guest| !guest.has_ended);
    let mut more: Vec<_> = (0..4)
        .map(|_| scene.come([203, 0, 113, 4], b"GET"))
        .collect();
    scene.settle();
    assert_eq!(more.last_mut().expect("there is one").status(), Some(429));
}
