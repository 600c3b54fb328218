//! What the virtual network promises, whatever is done to it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::simulation::{
    chance::Ppm,
    clock::Moment,
    connection::EndId,
    event::Event,
    network::{Attempt, Happening, Network, Presence},
    queue::Queue,
    weather::Weather,
};
use crate::{mesh::Ending, message::Message};

const HOSTS: u32 = 6;
const SECOND: u64 = 1_000_000;

const CALM: Weather = Weather {
    loss: Ppm(0),
    stall_every: None,
    bandwidth: 10_000_000,
};

const ROUGH: Weather = Weather {
    loss: Ppm(50_000),
    stall_every: Some(20 * SECOND),
    bandwidth: 1_000_000,
};

/// A network with a note of everything that comes out of it.
struct Test {
    network: Network,
    queue: Queue<Event>,
    now: Moment,
    ends: Vec<EndId>,
    sent: BTreeMap<EndIdKey, Vec<(u64, Moment)>>,
    heard: Vec<(Moment, EndId, u32, Happening)>,
    frames: u64,
}

type EndIdKey = u64;

impl Test {
    fn new(weather: Weather, seed: u64) -> Self {
        let mut network = Network::new(HOSTS as usize, weather, seed);
        for (number, host) in network.hosts.iter_mut().enumerate() {
            host.presence = Presence::Up;
            host.part = number as u8 % 2;
        }
        Self {
            network,
            queue: Queue::new(),
            now: Moment::default(),
            ends: Vec::new(),
            sent: BTreeMap::new(),
            heard: Vec::new(),
            frames: 0,
        }
    }

    fn open(&mut self, dialer: u32, acceptor: u32) -> EndId {
        let attempt = Attempt(self.ends.len() as u32);
        let (now, queue) = (self.now, &mut self.queue);
        let end = self.network.open(dialer, acceptor, attempt, now, queue);
        self.ends.extend([end, end.other()]);
        end
    }

    fn send(&mut self, from: EndId, padding: usize) {
        let before = self.network.traffic.frames;
        let mut payload = self.frames.to_be_bytes().to_vec();
        payload.resize(8 + padding, 0);
        let frame = Message::binary(payload);
        let (now, queue) = (self.now, &mut self.queue);
        self.network.send(from, &frame, now, queue);
        if self.network.traffic.frames > before {
            let sent = self.sent.entry(from.key().0).or_default();
            sent.push((self.frames, now));
            self.frames += 1;
        }
    }

    fn run_for(&mut self, micros: u64) {
        let limit = self.now.after(micros);
        while let Some((at, event)) = self.queue.pop_until(limit) {
            assert!(at >= self.now);
            self.now = at;
            match event {
                Event::Arrive(from) => {
                    let (now, queue) = (self.now, &mut self.queue);
                    while let Some((to, host, happening)) = self.network.arrive(from, now, queue) {
                        self.heard.push((now, to, host, happening));
                    }
                }
                Event::KeepAlive(end) => self.decide(end, Network::keep_alive),
                Event::CloseTimeout(end) => self.decide(end, Network::give_up),
                _ => {}
            }
        }
        self.now = limit;
    }

    fn decide(
        &mut self,
        end: EndId,
        what: fn(&mut Network, EndId, Moment, &mut Queue<Event>) -> Happening,
    ) {
        let host = self.network.connections[end.slot as usize].ends[end.side()].host;
        let happening = what(&mut self.network, end, self.now, &mut self.queue);
        self.heard.push((self.now, end, host, happening));
    }

    fn endings(&self) -> Vec<(Moment, EndId, Ending)> {
        let endings = self.heard.iter().filter_map(|(at, end, _, happening)| {
            let Happening::Closed(ending) = happening else {
                return None;
            };
            Some((*at, *end, *ending))
        });
        endings.collect()
    }

    /// Numbers of the frames that came from an end, with the time.
    fn received_from(&self, from: EndId) -> Vec<(u64, Moment)> {
        let of_it = self.heard.iter().filter(|(_, to, ..)| to.other() == from);
        of_it
            .filter_map(|(at, _, _, happening)| {
                let Happening::Frame(frame) = happening else {
                    return None;
                };
                let number = frame.as_bytes().first_chunk().unwrap();
                Some((u64::from_be_bytes(*number), *at))
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open(u32, u32),
    Send(usize, usize),
    Close(usize),
    GiveUp(usize),
    Kill(u32),
    Vanish(u32),
    ComeBack(u32),
    Cut,
    Heal,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..HOSTS, 1..HOSTS).prop_map(|(a, b)| Step::Open(a, (a + b) % HOSTS)),
        20 => (any::<usize>(), 0usize..3_000).prop_map(|(end, size)| Step::Send(end, size)),
        1 => any::<usize>().prop_map(Step::Close),
        1 => any::<usize>().prop_map(Step::GiveUp),
        1 => (0..HOSTS).prop_map(Step::Kill),
        1 => (0..HOSTS).prop_map(Step::Vanish),
        2 => (0..HOSTS).prop_map(Step::ComeBack),
        1 => Just(Step::Cut),
        1 => Just(Step::Heal),
        10 => (0u64..20 * SECOND).prop_map(Step::Pass),
        10 => (0u64..SECOND / 20).prop_map(Step::Pass),
    ]
}

fn perform(test: &mut Test, step: Step) {
    let pick = |test: &Test, number: usize| match test.ends.len() {
        0 => None,
        count => Some(test.ends[number % count]),
    };
    let now = test.now;
    match step {
        Step::Open(a, b) => {
            if !test.network.is_blocked(a, b) {
                test.open(a, b);
            }
        }
        Step::Send(end, size) => {
            if let Some(end) = pick(test, end) {
                test.send(end, size);
            }
        }
        Step::Close(end) => {
            if let Some(end) = pick(test, end) {
                test.network.close(end, 1000, now, &mut test.queue);
            }
        }
        Step::GiveUp(end) => {
            if let Some(end) = pick(test, end) {
                test.decide(end, Network::give_up);
            }
        }
        Step::Kill(host) => {
            if test.network.hosts[host as usize].presence == Presence::Up {
                test.network.end_process(host, now, &mut test.queue);
            }
        }
        Step::Vanish(host) => test.network.vanish(host, now),
        Step::ComeBack(host) => {
            let queue = &mut test.queue;
            test.network.come_back(host, Presence::Up, now, queue);
        }
        Step::Cut => test.network.cut(),
        Step::Heal => test.network.heal(now, &mut test.queue),
        Step::Pass(micros) => test.run_for(micros),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: order is kept, nothing comes twice or from nowhere, nothing is early, nothing
    /// crosses a partition, an end hears of its end once, and every connection ends up freed or alive.
    #[test]
    fn the_network_keeps_its_promises(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut test = Test::new(ROUGH, seed);
        for step in steps {
            let heard = test.heard.len();
            let was_cut = test.network.is_cut;
            perform(&mut test, step);
            if was_cut && test.network.is_cut {
                for (_, to, _, happening) in &test.heard[heard..] {
                    if let Happening::Frame(_) | Happening::Opened(_) = happening {
                        let ends = &test.network.connections[to.slot as usize].ends;
                        prop_assert!(!test.network.is_blocked(ends[0].host, ends[1].host));
                    }
                }
            }
        }
        for from in &test.ends {
            let received = test.received_from(*from);
            let none = Vec::new();
            let sent = test.sent.get(&from.key().0).unwrap_or(&none);
            prop_assert!(received.len() <= sent.len());
            for ((got, at), (number, sent_at)) in received.iter().zip(sent) {
                prop_assert_eq!(got, number, "in order, and without a gap");
                prop_assert!(at.since(*sent_at) >= 5_000, "not faster than the shortest way");
            }
        }
        let endings = test.endings();
        for (_, end, _) in &endings {
            let same = endings.iter().filter(|(_, other, _)| other == end);
            prop_assert_eq!(same.count(), 1);
        }
        for host in 0..HOSTS {
            perform(&mut test, Step::ComeBack(host));
        }
        perform(&mut test, Step::Heal);
        test.run_for(400 * SECOND);
        for host in &test.network.hosts {
            for slot in &host.connections {
                prop_assert!(test.network.connections[*slot as usize].is_open());
            }
        }
    }

    /// When nothing breaks, everything arrives.
    #[test]
    fn every_frame_arrives_in_the_end(
        seed in any::<u64>(),
        sends in prop::collection::vec((any::<usize>(), 0usize..5_000, 0u64..SECOND / 10), 1..100),
        outage in 0u64..20 * SECOND,
    ) {
        let mut test = Test::new(ROUGH, seed);
        let ends = [test.open(0, 1), test.open(1, 2), test.open(0, 3)];
        test.run_for(60 * SECOND);
        for (number, (end, size, pause)) in sends.into_iter().enumerate() {
            if number == 10 {
                test.network.cut();
            }
            let end = ends[end % 3];
            test.send(if size % 2 == 0 { end } else { end.other() }, size);
            test.run_for(pause);
        }
        test.run_for(outage);
        test.network.heal(test.now, &mut test.queue);
        test.run_for(120 * SECOND);
        prop_assert_eq!(test.network.handed_over, test.frames);
        prop_assert_eq!(test.endings().len(), 0);
    }
}

#[test]
fn a_process_that_ends_says_so_after_what_it_has_sent() {
    let mut test = Test::new(CALM, 1);
    let end = test.open(0, 1);
    test.run_for(SECOND);
    test.send(end, 0);
    test.network.end_process(1, test.now, &mut test.queue);
    test.run_for(SECOND);
    assert_eq!(test.received_from(end).len(), 1);
    let endings = test.endings();
    assert_eq!(endings.len(), 1);
    assert_eq!((endings[0].1, endings[0].2), (end.other(), Ending::Lost));
}

#[test]
fn a_host_that_vanishes_is_noticed_by_its_silence() {
    let mut test = Test::new(CALM, 1);
    let end = test.open(0, 1);
    test.run_for(10 * SECOND);
    let gone_at = test.now;
    test.network.vanish(1, test.now);
    test.run_for(200 * SECOND);
    let endings = test.endings();
    assert_eq!(endings.len(), 1);
    let (at, at_end, ending) = endings[0];
    assert_eq!((at_end, ending), (end.other(), Ending::Lost));
    let silence = at.since(gone_at);
    assert!((45 * SECOND..=60 * SECOND).contains(&silence), "{silence}");
}

#[test]
fn an_idle_connection_is_kept_by_pings() {
    let mut test = Test::new(ROUGH, 1);
    test.open(0, 1);
    test.run_for(1_000 * SECOND);
    assert_eq!(test.endings(), []);
    let pings = test.network.traffic.control;
    assert!(pings > 300);
}

#[test]
fn a_close_is_answered_and_what_was_sent_before_arrives() {
    let mut test = Test::new(CALM, 1);
    let end = test.open(0, 1);
    test.run_for(SECOND);
    let from = test.now;
    test.send(end, 0);
    test.network.close(end, 1008, from, &mut test.queue);
    test.send(end, 0);
    test.send(end.other(), 0);
    test.run_for(SECOND);
    assert_eq!(test.received_from(end).len(), 1, "nothing after the Close");
    assert_eq!(test.received_from(end.other()).len(), 1, "still taken");
    let endings: Vec<_> = test.endings();
    assert_eq!(endings[0].1, end.other());
    assert_eq!(endings[0].2, Ending::ByPeer(Some(1008)));
    assert_eq!((endings[1].1, endings[1].2), (end, Ending::ByUs));
    let (there, back) = (endings[0].0.since(from), endings[1].0.since(from));
    assert!(there >= 5_000 && back >= 2 * 5_000);
    assert!(test.network.connection(end).is_none(), "freed");
}

#[test]
fn who_does_not_read_is_closed_when_its_outbox_is_full() {
    let mut test = Test::new(CALM, 1);
    let end = test.open(0, 1);
    test.run_for(SECOND);
    test.network.hosts[0].reads = false;
    let mut sent = 0;
    while test.network.overflows == 0 {
        test.send(end, 64 * 1024);
        sent += 64 * 1024;
        assert!(sent < 6 * 1024 * 1024);
    }
    assert!(sent > 4 * 1024 * 1024);
    test.run_for(10 * SECOND);
    let endings = test.endings();
    assert_eq!((endings[0].1, endings[0].2), (end, Ending::ByUs));
    test.run_for(200 * SECOND);
    assert!(test.network.connection(end).is_none(), "freed");
}

#[test]
fn a_host_that_comes_back_says_that_it_knows_nothing() {
    let mut test = Test::new(CALM, 1);
    let end = test.open(0, 1);
    test.run_for(SECOND);
    test.network.vanish(0, test.now);
    test.send(end, 0);
    test.run_for(5 * SECOND);
    let (now, queue) = (test.now, &mut test.queue);
    test.network.come_back(0, Presence::Up, now, queue);
    test.run_for(SECOND);
    let endings = test.endings();
    assert_eq!((endings[0].1, endings[0].2), (end, Ending::Lost));
    assert_eq!(test.network.handed_over, 0);
}

#[test]
fn a_slow_uplink_delays_what_comes_behind() {
    let mut test = Test::new(CALM, 1);
    let end = test.open(0, 1);
    test.run_for(SECOND);
    let from = test.now;
    test.send(end, 1_250_000);
    test.send(end, 0);
    test.run_for(10 * SECOND);
    let received = test.received_from(end);
    let last = received[1].1.since(from);
    assert!((SECOND..SECOND + 200_000).contains(&last), "{last}");
}
