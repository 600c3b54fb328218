//! The plain peers of an ordeal: how they behave, and what they do next. A good one does all that is right, however
//! slowly its bytes come; the others do what is wrong in a way of their own. Some wait to be dialed.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::SmallRng};
use rustls::ClientConfig;

use super::{
    ledger::Ledger,
    line::Line,
    wire::{self, Heard},
};
use crate::net::simulated::{Host, Watched as _, World};

const MS: Duration = Duration::from_millis(1);
/// In a ping right after the upgrade is granted.
const GRANTED: &[u8] = b"granted";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Upgrade,
    /// A page is asked for, or what is no request at all.
    Bytes(Vec<u8>),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    AtOnce,
    /// So many bytes, every ten milliseconds.
    Slowly(usize),
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// So many messages, one each so many milliseconds, each in so many frames at most.
    Messages {
        count: usize,
        pause: u64,
        fragments: usize,
    },
    /// So many pings at once.
    Pings(usize),
    /// So many bytes that are no frames.
    Garbage(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It stays until the node says Close.
    Stays,
    /// It says Close itself, when all is said.
    Leaves(Instant),
    /// It ends its half, and hears on.
    HalfCloses(Instant),
    Drops(Instant),
    Resets(Instant),
}

/// How a connection begins.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// The peer dials, from and to these.
    Dials(IpAddr, SocketAddr),
    /// … with TLS.
    DialsWithTls(IpAddr, SocketAddr, Arc<ClientConfig>),
    /// The node dials.
    IsDialed,
}

/// What a peer is like.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) node: usize,
    pub(super) way: Way,
    pub(super) channel: &'static str,
    pub(super) connect_at: Instant,
    pub(super) opening: Opening,
    pub(super) reading: Reading,
    pub(super) saying: Saying,
    pub(super) filler_max: usize,
    /// It says nothing new from then on.
    pub(super) quiet_at: Instant,
    /// Bytes that it sends at once; with few it sends them one by one.
    pub(super) chunk: usize,
    pub(super) ending: Ending,
    /// It does all that is right, and nothing cuts its connection.
    pub(super) is_good: bool,
    /// The node drops nothing for it without ending its connection.
    pub(super) is_gapless: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Absent,
    Upgrading,
    Open,
    /// It has sent a Close.
    Closing,
    Gone,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) number: usize,
    pub(super) manner: Manner,
    pub(super) stage: Stage,
    /// Both it and the node know that the upgrade is done.
    pub(super) has_met: bool,
    line: Option<Line>,
    inbox: Vec<u8>,
    outbox: VecDeque<u8>,
    left_to_say: usize,
    say_at: Option<Instant>,
    send_at: Option<Instant>,
    read_at: Option<Instant>,
    end_at: Option<Instant>,
    /// The code of the Close that it has read, and when it has.
    pub(super) close_heard: Option<u16>,
    pub(super) closed_at: Option<Instant>,
    /// The status that it was refused with; 0 if it has not heard all of it.
    pub(super) refused: Option<u16>,
}

impl Peer {
    pub(super) fn new(number: usize, manner: Manner) -> Self {
        let left_to_say = match manner.saying {
            Saying::Messages { count, .. } => count,
            Saying::Pings(_) | Saying::Garbage(_) => 1,
        };
        let end_at = match manner.ending {
            Ending::Stays => None,
            Ending::Leaves(at)
            | Ending::HalfCloses(at)
            | Ending::Drops(at)
            | Ending::Resets(at) => Some(at),
        };
        Self {
            number,
            manner,
            stage: Stage::Absent,
            has_met: false,
            line: None,
            inbox: Vec::new(),
            outbox: VecDeque::new(),
            left_to_say,
            say_at: None,
            send_at: None,
            read_at: None,
            end_at,
            close_heard: None,
            closed_at: None,
            refused: None,
        }
    }

    /// When it does something by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Absent if self.is_dialed() => None,
            Stage::Absent => Some(self.manner.connect_at),
            Stage::Gone => None,
            _ => {
                let times = [self.say_at, self.send_at, self.read_at, self.end_at];
                times.into_iter().flatten().min()
            }
        }
    }

    /// It hears until the node itself says that this is the end.
    pub(super) fn is_staying(&self) -> bool {
        self.manner.ending == Ending::Stays
    }

    /// It waits for the node, or the node has come.
    pub(super) fn is_dialed(&self) -> bool {
        matches!(self.manner.way, Way::IsDialed)
    }

    /// It says nothing more.
    pub(super) fn has_said_all(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Something is ready, or due.
    pub(super) fn act(
        &mut self,
        host: &Host,
        world: &World,
        ledger: &mut Ledger,
        rng: &mut SmallRng,
        now: Instant,
    ) {
        if self.stage == Stage::Absent {
            self.connect(host, ledger, now);
        }
        // What goes wrong with it is seen when it reads.
        let _ = self.line.as_mut().map(Line::flush);
        if take_due(&mut self.read_at, now) || self.manner.reading == Reading::AtOnce {
            self.read(world, ledger, now);
        }
        if take_due(&mut self.say_at, now) {
            self.say(ledger, rng, now);
        }
        if take_due(&mut self.end_at, now) {
            self.end(now);
        }
        self.send_at.take_if(|at| *at <= now);
        if self.send_at.is_none() {
            self.send(now);
        }
    }

    fn connect(&mut self, host: &Host, ledger: &mut Ledger, now: Instant) {
        let is_spared = self.manner.is_good;
        let dial = |ip, address| {
            let socket = host.connect_from(ip, address, is_spared);
            let socket = socket.expect("the outside has descriptors enough");
            let watched = socket.watch(mio::Token(self.number));
            watched.expect("it can be watched");
            socket
        };
        let line = match &self.manner.way {
            Way::Dials(ip, address) => Line::clear(dial(*ip, *address)),
            Way::DialsWithTls(ip, address, config) => {
                Line::encrypted(dial(*ip, *address), Arc::clone(config))
            }
            Way::IsDialed => return,
        };
        self.begin(line, ledger, now);
    }

    /// It is connected, or about to be.
    pub(super) fn begin(&mut self, line: Line, ledger: &mut Ledger, now: Instant) {
        let Manner {
            node,
            channel,
            filler_max,
            ..
        } = self.manner;
        self.line = Some(line);
        ledger.add_publisher(self.number, node, channel, filler_max);
        self.stage = Stage::Upgrading;
        match &self.manner.opening {
            Opening::Upgrade if self.is_dialed() => {}
            Opening::Upgrade => self.outbox.extend(wire::request(channel)),
            Opening::Bytes(bytes) => self.outbox.extend(bytes),
            Opening::Nothing => {}
        }
        if let Reading::Slowly(_) = self.manner.reading {
            self.read_at = Some(now + 10 * MS);
        }
        if self.manner.reading == Reading::Never {
            // Who never reads does not wait for the answer either.
            self.say_at = Some(now + 10 * MS);
        }
    }

    fn read(&mut self, world: &World, ledger: &mut Ledger, now: Instant) {
        let max = match self.manner.reading {
            Reading::AtOnce => usize::MAX,
            Reading::Slowly(bytes) => {
                self.read_at = Some(now + 10 * MS);
                bytes
            }
            Reading::Never => return,
        };
        let mut buffer = [0; 4096];
        let mut taken = 0;
        let mut is_end = false;
        while taken < max {
            let Some(line) = &mut self.line else { return };
            let len = buffer.len().min(max - taken);
            match line.read(&mut buffer[..len]) {
                Ok(0) => {
                    is_end = true;
                    break;
                }
                Ok(len) => {
                    taken += len;
                    self.inbox.extend(&buffer[..len]);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::NotConnected => break,
                    kind => {
                        let is_cut_off = kind == ErrorKind::UnexpectedEof;
                        let is_fine = self.manner.is_good && self.stage != Stage::Upgrading;
                        assert!(!is_cut_off || !is_fine, "TLS has no end: {self:?}");
                        if kind == ErrorKind::InvalidData && self.stage == Stage::Upgrading {
                            // Who may not come in hears so in TLS as far as that has come.
                            self.refused = Some(503);
                        }
                        is_end = true;
                        break;
                    }
                },
            }
        }
        self.work(world, ledger, now);
        if is_end {
            self.on_end(now);
        }
    }

    fn work(&mut self, world: &World, ledger: &mut Ledger, now: Instant) {
        if self.stage == Stage::Upgrading {
            let is_open = match self.is_dialed() {
                true => self.grant(world, ledger, now),
                false => self.open(world, ledger, now),
            };
            if !is_open {
                return;
            }
        }
        if self.refused.is_some() {
            return self.inbox.clear();
        }
        let is_masked = self.is_dialed();
        while let Some(Heard { opcode, payload }) = wire::take_frame(&mut self.inbox, is_masked) {
            match opcode {
                wire::TEXT => {
                    let text = String::from_utf8(payload).expect("a text is UTF-8");
                    world.note("heard", self.number as u64, text.len() as u64);
                    assert_eq!(self.close_heard, None, "nothing follows a Close");
                    ledger.hear(self.number, &text, self.manner.is_gapless);
                }
                wire::PING => {
                    let pong = self.frame(wire::PONG, true, &payload);
                    self.outbox.extend(pong);
                }
                wire::PONG if payload == GRANTED => {
                    self.has_met = true;
                    ledger.listens_since(self.number, now);
                }
                // Binary messages come of garbage.
                wire::PONG | wire::BINARY => {}
                wire::CLOSE => {
                    let code = payload
                        .get(..2)
                        .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    world.note("close", self.number as u64, u64::from(code));
                    self.close_heard = Some(code);
                    self.closed_at = Some(now);
                    if self.stage == Stage::Open {
                        let frame = self.frame(wire::CLOSE, true, &payload);
                        self.outbox.extend(frame);
                        self.stage = Stage::Closing;
                        self.say_at = None;
                    }
                }
                opcode => panic!("a node does not send {opcode}"),
            }
        }
    }

    /// Takes the answer of the node. Returns whether it is the right one.
    fn open(&mut self, world: &World, ledger: &mut Ledger, now: Instant) -> bool {
        let Some(status) = wire::take_response(&mut self.inbox) else {
            return false;
        };
        world.note("status", self.number as u64, u64::from(status));
        if status != 101 {
            self.refused = Some(status);
            self.end_at.get_or_insert(now + 50 * MS);
            self.stage = Stage::Closing;
            return false;
        }
        self.stage = Stage::Open;
        self.has_met = true;
        let Manner { node, channel, .. } = self.manner;
        ledger.add_listener(self.number, node, channel, Some(now));
        self.say_at = Some(now);
        true
    }

    /// Takes the request of the node, and grants it. When that has heard so, it answers a ping.
    fn grant(&mut self, world: &World, ledger: &mut Ledger, now: Instant) -> bool {
        let Some(request) = wire::take_head(&mut self.inbox) else {
            return false;
        };
        world.note("asked", self.number as u64, request.len() as u64);
        if self.manner.opening != Opening::Upgrade {
            // It has said what it says already.
            self.stage = Stage::Closing;
            self.refused = Some(0);
            return false;
        }
        self.stage = Stage::Open;
        self.outbox.extend(wire::grant(&request, ""));
        let frame = self.frame(wire::PING, true, GRANTED);
        self.outbox.extend(frame);
        let Manner { node, channel, .. } = self.manner;
        ledger.add_listener(self.number, node, channel, None);
        self.say_at = Some(now);
        true
    }

    fn frame(&self, opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
        match self.is_dialed() {
            true => wire::frame_of_server(opcode, is_last, payload),
            false => wire::frame(opcode, is_last, payload),
        }
    }

    /// A message in so many frames, with a ping among them.
    fn fragments(&self, payload: &[u8], count: usize) -> Vec<u8> {
        let len = payload.len().div_ceil(count).max(1);
        let pieces: Vec<_> = payload.chunks(len).collect();
        let mut frames = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let opcode = match index {
                0 => wire::TEXT,
                _ => wire::CONTINUATION,
            };
            frames.extend(self.frame(opcode, index + 1 == pieces.len(), piece));
            if index + 1 < pieces.len() {
                frames.extend(self.frame(wire::PING, true, b"between"));
            }
        }
        frames
    }

    fn say(&mut self, ledger: &mut Ledger, rng: &mut SmallRng, now: Instant) {
        if self.left_to_say == 0 || now >= self.manner.quiet_at || self.stage == Stage::Closing {
            return;
        }
        self.left_to_say -= 1;
        match self.manner.saying {
            Saying::Messages {
                pause, fragments, ..
            } => {
                let text = ledger.say(self.number, now);
                let frames = match rng.random_range(1..=fragments) {
                    1 => self.frame(wire::TEXT, true, text.as_bytes()),
                    count => self.fragments(text.as_bytes(), count),
                };
                self.outbox.extend(frames);
                self.say_at = Some(now + MS * rng.random_range(0..=2 * pause) as u32);
            }
            Saying::Pings(count) => {
                let ping = self.frame(wire::PING, true, &[b'x'; 125]);
                self.outbox.extend(ping.repeat(count));
            }
            Saying::Garbage(len) => {
                self.outbox.extend((0..len).map(|_| rng.random::<u8>()));
            }
        }
    }

    fn send(&mut self, now: Instant) {
        let mut budget = self.manner.chunk;
        while budget > 0 && !self.outbox.is_empty() {
            let Some(line) = &mut self.line else { return };
            let (bytes, _) = self.outbox.as_slices();
            let bytes = &bytes[..bytes.len().min(budget)];
            match line.write(bytes) {
                Ok(len) => {
                    self.outbox.drain(..len);
                    budget -= len;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::NotConnected => return,
                    _ => {
                        // It hears what there is to hear first, if it listens.
                        self.outbox.clear();
                        if self.manner.reading != Reading::AtOnce {
                            self.vanish();
                        }
                        return;
                    }
                },
            }
        }
        if !self.outbox.is_empty() {
            self.send_at = Some(now + MS);
        } else if self.is_dialed() && self.stage == Stage::Closing && self.close_heard.is_some() {
            // It is the server that ends the connection (RFC 6455 §7.1.1).
            self.vanish();
        }
    }

    fn end(&mut self, now: Instant) {
        if self.stage == Stage::Absent || self.stage == Stage::Gone {
            return;
        }
        match self.manner.ending {
            _ if self.refused.is_some() => self.vanish(),
            Ending::Stays => {}
            Ending::Leaves(_) if self.outbox.is_empty() && self.stage == Stage::Open => {
                let code = 1000_u16.to_be_bytes();
                let frame = self.frame(wire::CLOSE, true, &code);
                self.outbox.extend(frame);
                self.stage = Stage::Closing;
            }
            Ending::Leaves(_) if self.stage == Stage::Closing => {}
            Ending::Leaves(_) => {
                self.left_to_say = 0;
                self.end_at = Some(now + 20 * MS);
            }
            Ending::HalfCloses(_) => {
                self.left_to_say = 0;
                self.outbox.clear();
                // It may not even be connected yet.
                let _ = self.line.as_mut().map(Line::end_writing);
            }
            Ending::Drops(_) => self.vanish(),
            Ending::Resets(_) => {
                if let Some(line) = self.line.take() {
                    line.reset();
                }
                self.vanish();
            }
        }
    }

    fn on_end(&mut self, now: Instant) {
        if self.stage == Stage::Upgrading {
            self.refused.get_or_insert(0);
        }
        if self.manner.is_good && self.has_met {
            let has_closed = self.stage == Stage::Closing && self.close_heard.is_some();
            assert!(
                has_closed,
                "a good peer hears a Close before the end: {self:?}"
            );
        }
        if self.stage == Stage::Closing && !self.outbox.is_empty() {
            self.send(now);
        }
        self.vanish();
    }

    fn vanish(&mut self) {
        self.line = None;
        self.outbox.clear();
        self.stage = Stage::Gone;
    }
}

/// Whether it is time; once.
fn take_due(at: &mut Option<Instant>, now: Instant) -> bool {
    at.take_if(|at| *at <= now).is_some()
}
