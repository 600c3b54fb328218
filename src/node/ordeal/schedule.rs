//! A whole connection fed with any bytes: they are read as a schedule of what its peer sends in which pieces, and of
//! what the kernel and the clock do meanwhile.

use std::{
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};

use super::{
    course::{MANY, Member, place_of},
    wire,
};
use crate::{
    Config,
    config::Limits,
    net::simulated::{Host, Socket, Weather, World},
    node::Next,
};

/// Connections that a schedule may have at a time.
const SOCKETS_MAX: usize = 4;
/// Turns that may follow one step; more is a livelock.
const TURNS_MAX: usize = 1000;
/// Time between the last step and the end of the node.
const PATIENCE: Duration = Duration::from_secs(30);

struct Course {
    world: World,
    outside: Host,
    address: SocketAddr,
    member: Member,
    sockets: Vec<Socket>,
    now: Instant,
}

/// Follows a schedule to its end, and looks after every turn whether all is well.
///
/// Each step is a byte that says what, one that says how much, and for some the bytes that are meant.
pub(super) fn follow(schedule: &[u8]) {
    let mut course = Course::new();
    let mut rest = schedule;
    while let [what, much, after @ ..] = rest {
        rest = course.step(*what, *much, after);
        course.settle();
    }
    course.finish();
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
    fn new() -> Self {
        let now = Instant::now();
        let world = World::new(0, weather(0), now);
        let config = Config {
            binds: vec!["10.0.0.1:8080".parse().expect("it is an address")],
            limits: Limits {
                outbox_bytes_max: 16 * 1024,
                message_bytes_max: 4096,
                handshake_timeout: Duration::from_secs(2),
                ping_interval: Some(Duration::from_secs(2)),
                ..Limits::default()
            },
            ..Config::default()
        };
        config.check().expect("it is configured well");
        let (_, address) = place_of(&config);
        let mut rng = SmallRng::seed_from_u64(0);
        Self {
            outside: world.host(IpAddr::from([10, 9, 0, 1]), MANY, false),
            member: Member::new(&config, &world, &mut rng, now),
            world,
            address,
            sockets: Vec::new(),
            now,
        }
    }

    /// Does one step; returns what is left of the schedule.
    fn step<'a>(&mut self, what: u8, much: u8, after: &'a [u8]) -> &'a [u8] {
        let len = usize::from(much);
        let (meant, left) = after.split_at(len.min(after.len()));
        match what % 12 {
            0 => self.send(meant),
            1 => {
                self.connect();
                self.send(&wire::request(["/", "/a"][len % 2]));
            }
            2 => self.send(&wire::frame(wire::TEXT, true, &vec![b'x'; 4 * len])),
            3 => {
                self.send(&wire::frame(much & 0x0f, much & 0x80 != 0, meant));
                return left;
            }
            4 => self.read(16 * len),
            5 => {
                if let Some(socket) = self.sockets.last() {
                    // It may not even be connected.
                    let _ = socket.end_writing();
                }
            }
            6 => {
                if let Some(socket) = self.sockets.pop() {
                    socket.reset();
                }
            }
            7 => drop(self.sockets.pop()),
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
            _ if len.is_multiple_of(16) => self.member.interrupt(self.now),
            _ => {
                let others = self.sockets.len().min(1);
                self.sockets.rotate_left(others);
            }
        }
        if what.is_multiple_of(12) { left } else { after }
    }

    fn connect(&mut self) {
        if self.sockets.len() < SOCKETS_MAX
            && let Ok(socket) = self.outside.connect(self.address)
        {
            self.sockets.push(socket);
            self.settle();
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.sockets.is_empty() {
            self.connect();
        }
        if let Some(socket) = self.sockets.last() {
            // What is not taken is lost, which makes another thing of what follows.
            let _ = socket.write(&[IoSlice::new(bytes)]);
        }
    }

    fn read(&mut self, len: usize) {
        if let Some(socket) = self.sockets.last() {
            // What the node says is looked at elsewhere.
            let _ = socket.read(&mut vec![0; len]);
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
            if self.member.turn(None, 256, self.now) == Next::End {
                return;
            }
        }
        panic!("it comes to no end");
    }

    fn finish(mut self) {
        self.member.host.set_descriptors_max(MANY);
        self.member.interrupt(self.now);
        self.sleep(PATIENCE);
        assert!(self.member.has_ended, "it does not end");
    }
}
