//! Whole connections fed with any bytes: they are read as a schedule of what peers send in which pieces, and of what the
//! kernel and the clock do meanwhile.

use std::{
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};

use super::{
    member::{MANY, Member, place_of},
    wire,
};
use crate::{
    Config,
    config::{Limits, Rate, SlowPeer},
    fuzzing::split_choice,
    net::simulated::{Host, Listener, Socket, Weather, World},
    node::Next,
};

/// Connections that a schedule may have at a time.
const LINES_MAX: usize = 4;
/// Turns that may follow one step; more is a livelock.
const TURNS_MAX: usize = 1000;
/// Time between the last step and the end of the node.
const PATIENCE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
/// Where the node dials.
const SERVER: &str = "10.9.0.1:9000";

/// A connection, seen from the other side.
struct Line {
    socket: Socket,
    /// Of one that the node has dialed: what of its request has come.
    asked: Option<Vec<u8>>,
}

struct Course {
    world: World,
    outside: Host,
    server: Listener,
    address: SocketAddr,
    member: Member,
    lines: Vec<Line>,
    published: u32,
    now: Instant,
}

/// Follows a schedule to its end, and looks after every turn whether all is well.
///
/// The first byte says how the node is configured. Each step is a byte that says what, one that says how much, and for
/// some the bytes that are meant.
pub(crate) fn follow(schedule: &[u8]) {
    let (choice, mut rest) = split_choice(schedule);
    let mut course = Course::new(choice);
    while let [what, much, after @ ..] = rest {
        rest = course.step(*what, *much, after);
        course.settle();
    }
    course.finish();
}

fn config(choice: u8) -> Config {
    let has = |bit: u8| choice & bit != 0;
    let url = format!("ws://{SERVER}/a");
    let config = Config {
        binds: vec!["10.0.0.1:8080".parse().expect("it is an address")],
        peers: match has(1) {
            true => vec![url.parse().expect("it is a URL")],
            false => Vec::new(),
        },
        interval: has(2).then_some(SECOND),
        slow_peer: match (has(4), has(8)) {
            (false, _) => SlowPeer::Disconnect,
            (true, false) => SlowPeer::DropOldest,
            (true, true) => SlowPeer::DropNewest,
        },
        echo: has(16),
        limits: Limits {
            connections_max: if has(32) { 2 } else { 1000 },
            outbox_bytes_max: 16 * 1024,
            memory_bytes_max: Some(20 * 1024),
            message_bytes_max: 4096,
            publish_rate_max: match (has(64), has(128)) {
                (false, _) => None,
                (true, false) => Some(Rate::closing(5)),
                (true, true) => Some(Rate::delaying(5)),
            },
            handshake_timeout: 2 * SECOND,
            ping_interval: Some(2 * SECOND),
            close_timeout: SECOND,
            retry_max: 2 * SECOND,
            ..Limits::default()
        },
        ..Config::default()
    };
    config.check().expect("it is configured well");
    config
}

fn weather(bits: u8) -> Weather {
    let share = |bit: u8, share: f64| if bits & bit == 0 { 0.0 } else { share };
    let capacity = if bits & 16 == 0 { 64 * 1024 } else { 64 };
    Weather {
        interrupted: share(1, 0.3),
        short: share(2, 0.5),
        blocked: share(4, 0.3),
        cut: share(8, 0.2),
        latency: Duration::ZERO..Duration::from_millis(u64::from(bits >> 6)),
        capacity: capacity..2 * capacity,
    }
}

impl Course {
    fn new(choice: u8) -> Self {
        let now = Instant::now();
        let world = World::new(0, weather(0), now);
        let config = config(choice);
        let (_, address) = place_of(&config);
        let mut rng = SmallRng::seed_from_u64(0);
        let outside = world.host(IpAddr::from([10, 9, 0, 1]), MANY, false);
        let server = outside.listen(SERVER.parse().expect("it is an address"));
        // What the node dials may be cut, too.
        let is_spared = false;
        Self {
            member: Member::new(&config, &world, is_spared, &mut rng, now),
            server: server.expect("nobody else listens there"),
            outside,
            world,
            address,
            lines: Vec::new(),
            published: 0,
            now,
        }
    }

    /// Does one step; returns what is left of the schedule.
    fn step<'a>(&mut self, what: u8, much: u8, after: &'a [u8]) -> &'a [u8] {
        let len = usize::from(much);
        let (meant, left) = after.split_at(len.min(after.len()));
        match what % 16 {
            0 => {
                self.send(meant);
                return left;
            }
            1 => {
                self.connect();
                self.send(&wire::request(["/", "/a"][len % 2]));
            }
            2 => self.send_frame(wire::TEXT, true, &vec![b'x'; 4 * len]),
            3 => {
                self.send_frame(much & 0x0f, much & 0x80 != 0, meant);
                return left;
            }
            4 => self.read(16 * len),
            5 => {
                if let Some(line) = self.lines.last() {
                    // It may not even be connected.
                    let _ = line.socket.end_writing();
                }
            }
            6 => {
                if let Some(line) = self.lines.pop() {
                    line.socket.reset();
                }
            }
            7 => drop(self.lines.pop()),
            8 => self.sleep(Duration::from_millis(50) * u32::from(much)),
            9 => self.world.set_weather(weather(much)),
            10 => {
                let sockets = self.member.host.sockets();
                let max = if len % 4 == 3 {
                    MANY
                } else {
                    sockets + len % 4
                };
                self.member.host.set_descriptors_max(max);
            }
            11 => self.befall(len % 16),
            12 => self.accept(),
            13 => self.grant(["", "Sec-WebSocket-Protocol: wsmesh.v1\r\n"][len % 2]),
            14 => {
                self.connect();
                self.send(&wire::request_of_neighbor());
                self.send_frame(wire::TEXT, true, &wire::hello(much));
            }
            _ => {
                self.published += 1;
                let publication = wire::publication(much % 4, self.published, meant);
                self.send_frame(wire::BINARY, true, &publication);
                return left;
            }
        }
        after
    }

    fn befall(&mut self, what: usize) {
        let (here, there) = (&self.member.host, &self.outside);
        match what {
            0 => self.member.interrupt(self.now),
            1 => self.world.cut(here, there),
            2 => self.world.cut(there, here),
            3 => self.world.heal(here, there),
            4 => self.world.heal(there, here),
            _ => {
                let others = self.lines.len().min(1);
                self.lines.rotate_left(others);
            }
        }
    }

    fn connect(&mut self) {
        if self.lines.len() < LINES_MAX
            && let Ok(socket) = self.outside.connect(self.address)
        {
            let asked = None;
            self.lines.push(Line { socket, asked });
            self.settle();
        }
    }

    /// Takes one in that the node dials.
    fn accept(&mut self) {
        if self.lines.len() < LINES_MAX
            && let Ok((socket, _)) = self.server.accept()
        {
            let asked = Some(Vec::new());
            self.lines.push(Line { socket, asked });
        }
    }

    /// Answers who has dialed.
    fn grant(&mut self, fields: &str) {
        let Some(Line { socket, asked }) = self.lines.last_mut() else {
            return;
        };
        let Some(asked) = asked else { return };
        let mut buffer = [0; 4096];
        if let Ok(len) = socket.read(&mut buffer) {
            asked.extend(&buffer[..len]);
        }
        let response = wire::grant(&String::from_utf8_lossy(asked), fields);
        self.send(&response);
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.lines.is_empty() {
            self.connect();
        }
        if let Some(line) = self.lines.last() {
            // What is not taken is lost, which makes another thing of what follows.
            let _ = line.socket.write(&[IoSlice::new(bytes)]);
        }
    }

    fn send_frame(&mut self, opcode: u8, is_last: bool, payload: &[u8]) {
        let line = self.lines.last();
        let bytes = match line.is_some_and(|line| line.asked.is_some()) {
            true => wire::frame_of_server(opcode, is_last, payload),
            false => wire::frame(opcode, is_last, payload),
        };
        self.send(&bytes);
    }

    fn read(&mut self, len: usize) {
        if let Some(line) = self.lines.last() {
            // What the node says is looked at elsewhere.
            let _ = line.socket.read(&mut vec![0; len]);
        }
    }

    /// Lets time pass, with every turn that is due.
    fn sleep(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let next = [self.member.next(), self.world.next()];
            let next = next.into_iter().flatten().min();
            match next.filter(|next| *next <= until) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
        }
        self.now = until;
    }

    /// Lets the node turn until nothing is ready or due any more.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.world.advance(self.now);
            if !self.member.is_due(self.now) {
                return;
            }
            if self.member.turn(|_| {}, 256, self.now) == Next::End {
                return;
            }
        }
        panic!("it comes to no end");
    }

    /// The node is to stop, and all its connections to end, whatever their peers do.
    fn finish(mut self) {
        self.member.host.set_descriptors_max(MANY);
        self.member.interrupt(self.now);
        self.sleep(PATIENCE);
        assert!(self.member.has_ended, "it does not end");
        assert_eq!(self.member.host.sockets(), 0, "connections are left");
        let held = self.member.node.network.held_bytes();
        assert_eq!(held, 0, "bytes are held for nobody");
    }
}
