//! A load test against a server that is made up here, with a clock that the test moves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load::{Action, Epoch, Load, Outcome, Phase};
use super::payload::{self, Stamp};
use super::plan::{Mode, Plan};
use crate::message::Message;

const MS: Duration = Duration::from_millis(1);

/// What the server does with the deliveries of a message, by its count.
type Habit = fn(delivery: usize) -> Deed;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Delivers it after 1 ms.
    Deliver,
    Lose,
    /// Delivers it again after 1 ms more.
    Repeat,
    /// Delivers it so much later.
    Hold(Duration),
    Damage,
}

struct Test {
    load: Load,
    plan: Plan,
    now: Instant,
    start: Instant,
    habit: Habit,
    open: Vec<usize>,
    /// What the server sends when.
    mail: BTreeMap<(Instant, usize), (usize, Message)>,
    posted: usize,
    delivered: usize,
    /// Connections whose sockets take no more.
    stuck: Vec<usize>,
    sent_at: Vec<Instant>,
}

impl Test {
    fn new(change: impl FnOnce(&mut Plan), habit: Habit) -> Self {
        let mut plan = Plan {
            urls: vec!["ws://localhost:8080".parse().unwrap()],
            connections: 11,
            warm_up: 10 * MS,
            duration: 100 * MS,
            patience: 50 * MS,
            ..Plan::default()
        };
        change(&mut plan);
        assert_eq!(plan.check(), Ok(()));
        let now = Instant::now();
        let wall = Duration::from_secs(1_000_000);
        Self {
            load: Load::new(&plan, 7, Epoch { now, wall }),
            plan,
            now,
            start: now,
            habit,
            open: Vec::new(),
            mail: BTreeMap::new(),
            posted: 0,
            delivered: 0,
            stuck: Vec::new(),
            sent_at: Vec::new(),
        }
    }

    /// Does all that is to be done now, then what is next.
    fn step(&mut self) {
        loop {
            let stuck = &self.stuck;
            let Some(action) = self
                .load
                .poll(self.now, |connection| !stuck.contains(&connection))
            else {
                break;
            };
            match action {
                Action::Open(connection) => {
                    self.open.push(connection);
                    self.load.on_opened(connection, self.now + MS);
                }
                Action::Send(sender, message) => {
                    self.sent_at.push(self.now);
                    self.relay(sender, &message);
                }
            }
        }
        let mail = self.mail.keys().next().map(|(at, _)| *at);
        let next = [self.load.next_deadline(self.now), mail];
        if let Some(next) = next.into_iter().flatten().min() {
            self.pass_until(next);
        }
    }

    fn pass_until(&mut self, time: Instant) {
        self.now = self.now.max(time);
        while let Some(first) = self
            .mail
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let (connection, message) = first.remove();
            if self.open.contains(&connection) {
                self.load.on_message(connection, &message, self.now);
            }
        }
    }

    fn relay(&mut self, sender: usize, message: &Message) {
        for connection in self.open.clone() {
            if (connection == sender) != (self.plan.mode == Mode::Echo) {
                continue;
            }
            let deed = (self.habit)(self.delivered);
            self.delivered += 1;
            let at = self.now + MS;
            match deed {
                Deed::Deliver => self.post(at, connection, message.clone()),
                Deed::Lose => {}
                Deed::Repeat => {
                    self.post(at, connection, message.clone());
                    self.post(at + MS, connection, message.clone());
                }
                Deed::Hold(time) => self.post(at + time, connection, message.clone()),
                Deed::Damage => {
                    let mut bytes = message.as_bytes().to_vec();
                    *bytes.last_mut().unwrap() ^= 1;
                    self.post(at, connection, Message::binary(bytes));
                }
            }
        }
    }

    fn post(&mut self, at: Instant, connection: usize, message: Message) {
        self.posted += 1;
        self.mail.insert((at, self.posted), (connection, message));
    }

    fn run(&mut self) {
        for _ in 0..100_000 {
            if self.load.phase() == Phase::Close {
                return;
            }
            self.step();
        }
        panic!("it does not end: {:?}", self.load.phase());
    }

    fn run_until(&mut self, phase: Phase) {
        while self.load.phase() < phase {
            self.step();
        }
    }

    fn hang_up(&mut self, connection: usize) {
        self.open.retain(|open| *open != connection);
        self.load.on_closed(connection, "gone".to_owned(), self.now);
    }

    /// What was sent while it was measured, heard by all, heard, and lost.
    fn counts(&self) -> [u64; 4] {
        let messages = &self.load.messages;
        [
            messages.sent,
            messages.everywhere,
            messages.heard,
            messages.lost.deliveries,
        ]
    }

    fn p(&self, quantile: f64) -> Duration {
        let delivery = self.load.messages.delivery.histogram();
        Duration::from_nanos(delivery.value_at_quantile(quantile))
    }
}

#[test]
fn a_closed_loop_sends_the_next_when_all_have_the_last() {
    let mut test = Test::new(|_| {}, |_| Deed::Deliver);
    test.run();
    assert_eq!(test.load.outcome(), Outcome::Done);
    // One each millisecond, of which those of the first ten do not count.
    assert_eq!(test.counts(), [100, 100, 1000, 0]);
    assert_eq!(test.sent_at.len(), 110);
    assert_eq!(test.load.connections.opened, 11);
    assert!(test.p(1.0) < MS * 101 / 100, "{:?}", test.p(1.0));
    assert_eq!(test.load.measured(test.now), 100 * MS);
}

#[test]
fn what_a_server_does_wrong_is_seen() {
    let cases: [(Habit, [u64; 4]); 4] = [
        (
            |count| {
                if count == 500 {
                    Deed::Lose
                } else {
                    Deed::Deliver
                }
            },
            [1, 0, 0, 0],
        ),
        (
            |count| {
                if count == 500 {
                    Deed::Repeat
                } else {
                    Deed::Deliver
                }
            },
            [0, 1, 0, 0],
        ),
        (
            |count| {
                if count == 500 {
                    Deed::Hold(20 * MS)
                } else {
                    Deed::Deliver
                }
            },
            [0, 0, 1, 0],
        ),
        (
            |count| {
                if count == 500 {
                    Deed::Damage
                } else {
                    Deed::Deliver
                }
            },
            [1, 0, 0, 1],
        ),
    ];
    for (habit, expected) in cases {
        let mut test = Test::new(|plan| plan.rate = Some(1000), habit);
        test.run();
        let messages = &test.load.messages;
        let lost = messages.lost.deliveries;
        assert_eq!(
            [lost, messages.again, messages.late, messages.corrupted],
            expected
        );
        assert_eq!(messages.everywhere + messages.lost.messages, messages.sent);
        assert_eq!(messages.heard, 10 * messages.sent - lost);
    }
}

#[test]
fn a_server_that_holds_everything_up_is_seen_from_the_intended_times() {
    // The sender can send nothing for 50 of 100 ms: a closed loop sees one slow message, an open one all
    // those that were due meanwhile.
    let held_up = |rate| {
        let mut test = Test::new(|plan| plan.rate = rate, |_| Deed::Deliver);
        test.run_until(Phase::Measure);
        let begin = test.now;
        while test.load.phase() < Phase::Drain {
            test.step();
            if (20 * MS..25 * MS).contains(&(test.now - begin)) {
                test.stuck = vec![0];
                test.step();
                test.stuck.clear();
                test.pass_until(begin + 70 * MS);
            }
        }
        test.run();
        test
    };
    let open = held_up(Some(1000));
    assert!(
        open.load.messages.sent.abs_diff(100) <= 1,
        "{:?}",
        open.counts()
    );
    assert_eq!(open.load.messages.lost.deliveries, 0);
    assert!(
        open.p(0.75) > 20 * MS && open.p(1.0) > 45 * MS,
        "{:?}",
        open.p(0.75)
    );
    let late = open.load.messages.sent_late.histogram().max();
    assert!(Duration::from_nanos(late) > 45 * MS);
    let closed = held_up(None);
    assert!(
        closed.load.messages.sent < 60 && closed.p(0.9) < 2 * MS,
        "{:?}",
        closed.counts()
    );
}

#[test]
fn bursts_go_at_once_and_the_number_of_messages_is_kept() {
    let mut test = Test::new(
        |plan| {
            plan.burst = 8;
            plan.messages = Some(20);
            plan.warm_up = Duration::ZERO;
        },
        |_| Deed::Deliver,
    );
    test.run();
    assert_eq!(test.counts(), [20, 20, 200, 0]);
    let times: Vec<_> = test
        .sent_at
        .iter()
        .map(|at| *at - test.sent_at[0])
        .collect();
    assert_eq!(
        (times[7], times[8], times[19]),
        (Duration::ZERO, MS, 2 * MS)
    );
}

#[test]
fn several_publishers_hear_each_other_and_an_echo_only_itself() {
    let mut test = Test::new(|plan| plan.publishers = 3, |_| Deed::Deliver);
    test.run();
    assert_eq!(test.counts(), [300, 300, 3000, 0]);
    let mut test = Test::new(|plan| plan.mode = Mode::Echo, |_| Deed::Deliver);
    test.run();
    assert_eq!(test.counts(), [1100, 1100, 1100, 0]);
}

#[test]
fn who_leaves_is_told_and_not_waited_for() {
    let mut test = Test::new(
        |plan| plan.patience = Duration::from_secs(3600),
        |_| Deed::Deliver,
    );
    test.run_until(Phase::Measure);
    test.step();
    test.hang_up(5);
    test.run();
    assert_eq!(test.load.outcome(), Outcome::Done);
    let [sent, everywhere, heard, lost] = test.counts();
    assert!(
        sent > 90 && sent - everywhere <= 1 && lost <= 1,
        "{:?}",
        test.counts()
    );
    assert!(heard > 9 * 90);
    assert_eq!(
        test.load.connections.losses.sorted(),
        [("gone".to_owned(), 1)]
    );
}

#[test]
fn without_a_sender_or_a_listener_it_ends() {
    let mut test = Test::new(|_| {}, |_| Deed::Deliver);
    test.run_until(Phase::Measure);
    test.hang_up(0);
    assert_eq!(
        (test.load.phase(), test.load.outcome()),
        (Phase::Close, Outcome::NoSenderLeft)
    );
    let mut test = Test::new(|plan| plan.connections = 2, |_| Deed::Deliver);
    test.run_until(Phase::WarmUp);
    test.hang_up(1);
    assert_eq!(test.load.outcome(), Outcome::NobodyLeft);

    let mut test = Test::new(|_| {}, |_| Deed::Deliver);
    for connection in 0..11 {
        let action = test.load.poll(test.now, |_| true);
        assert_eq!(action, Some(Action::Open(connection)));
        test.load
            .on_failed(connection, "refused".to_owned(), test.now);
    }
    assert_eq!(test.load.poll(test.now, |_| true), None);
    assert_eq!(test.load.outcome(), Outcome::NobodyConnected);
    assert_eq!(test.load.connections.failures.count(), 11);
}

#[test]
fn an_interrupted_load_test_has_lost_nothing() {
    let mut test = Test::new(|plan| plan.rate = Some(1000), |_| Deed::Hold(5 * MS));
    test.run_until(Phase::Measure);
    let begin = test.now;
    while test.now < begin + 40 * MS {
        test.step();
    }
    test.load.interrupt(test.now);
    assert_eq!(test.load.poll(test.now, |_| true), None);
    assert_eq!(test.load.outcome(), Outcome::Interrupted);
    let [sent, everywhere, _, lost] = test.counts();
    assert!(sent >= 40 && everywhere >= 30 && everywhere < sent && lost == 0);
    let measured = test.load.measured(test.now + 1000 * MS);
    assert!((40 * MS..45 * MS).contains(&measured), "{measured:?}");
    assert!(test.start < begin);
}

#[test]
fn who_listens_hears_another_load_test() {
    let mut listener = Test::new(|plan| plan.mode = Mode::Listen, |_| Deed::Deliver);
    listener.run_until(Phase::Measure);
    let stamp = |sequence, at| Stamp {
        run: 99,
        source: 0,
        sequence,
        at_ns: Duration::from_secs(1_000_000).as_nanos() as u64 + at,
    };
    let at = listener.now;
    for (sequence, connection) in [(4, 1), (5, 1), (7, 1), (7, 1), (3, 2)] {
        let sent = (at - listener.start).as_nanos() as u64;
        let text = payload::encode(&stamp(sequence, sent), 100);
        listener
            .load
            .on_message(connection, &Message::text(text), at + 3 * MS);
    }
    listener
        .load
        .on_message(2, &Message::text("Message to client 2"), at + 4 * MS);
    listener.run();
    let messages = &listener.load.messages;
    assert_eq!(
        (messages.heard, messages.foreign, messages.again),
        (5, 1, 1)
    );
    assert_eq!(messages.lost.deliveries, 1, "the sixth at the first");
    assert!(listener.p(1.0).abs_diff(3 * MS) < MS / 100);
}

#[test]
fn a_server_that_makes_messages_up_does_no_harm() {
    for mode in Mode::ALL {
        let mut test = Test::new(|plan| plan.mode = *mode, |_| Deed::Deliver);
        test.run_until(Phase::Measure);
        for source in [11, (1 << 24) - 1] {
            for sequence in [0, 5, u32::MAX - 1, u32::MAX] {
                for run in [7, 8] {
                    let stamp = Stamp {
                        run,
                        source,
                        sequence,
                        at_ns: 0,
                    };
                    let text = payload::encode(&stamp, 100);
                    test.load.on_message(3, &Message::text(text), test.now);
                }
            }
        }
        test.run();
        assert_eq!(test.load.outcome(), Outcome::Done, "{mode}");
        assert_eq!(test.load.messages.overdue, 0);
    }
}

#[test]
fn what_an_interrupted_listener_has_missed_is_told() {
    let mut test = Test::new(|plan| plan.mode = Mode::Listen, |_| Deed::Deliver);
    test.run_until(Phase::Measure);
    for sequence in [4, 6] {
        let stamp = Stamp {
            run: 99,
            source: 0,
            sequence,
            at_ns: 0,
        };
        let text = payload::encode(&stamp, 100);
        test.load.on_message(1, &Message::text(text), test.now);
    }
    test.load.interrupt(test.now);
    assert_eq!(test.load.messages.lost.deliveries, 1);
}
