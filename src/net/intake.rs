//! How fast plain peers may send: each of them, and all of an address together. Pure: time is an argument.
//!
//! What a limit does with who sends more is its own choice: the connection is closed, or not read for a while, so that
//! TCP makes the peer wait. Then what has come already is taken, and made up for by waiting: a portion of one read at most.

use std::{hash::Hash, net::IpAddr, time::Instant};

use super::{admission, token::Token};
use crate::{
    config::{ByteRate, Limits, MessageRate, Rate, Subnet, TooFast},
    rate::Rates,
};

/// Who sends: a connection, and the address that it came from if it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) peer: Token,
    pub(crate) address: Option<IpAddr>,
}

/// What becomes of who sends.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pace {
    /// It may go on.
    Fine,
    /// It is not to be read until then.
    Hold(Instant),
    /// It is to be closed: what it sends more of than it may.
    Close(String),
}

impl Pace {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Hold(one), Self::Hold(other)) => Self::Hold(one.max(other)),
            (Self::Fine, pace) | (pace, Self::Fine) => pace,
            (close @ Self::Close(_), _) | (_, close) => close,
        }
    }
}

/// What plain peers have sent lately.
#[derive(Debug)]
pub(crate) struct Intake {
    messages: PerSender,
    bytes: PerSender,
}

impl Intake {
    pub(crate) fn new(limits: &Limits) -> Self {
        let messages = |rate| format!("{} messages", MessageRate(Some(rate_alone(rate))));
        let bytes = |rate| ByteRate(Some(rate_alone(rate))).to_string();
        Self {
            messages: PerSender {
                peer: Limit::new(limits.publish_rate_max, messages),
                address: Limit::new(limits.publish_rate_per_address_max, messages),
            },
            bytes: PerSender {
                peer: Limit::new(limits.publish_bytes_max, bytes),
                address: Limit::new(limits.publish_bytes_per_address_max, bytes),
            },
        }
    }

    pub(crate) fn on_message(&mut self, sender: Sender, now: Instant) -> Pace {
        self.messages.on_sent(sender, 1, now)
    }

    pub(crate) fn on_bytes(&mut self, sender: Sender, bytes: usize, now: Instant) -> Pace {
        self.bytes.on_sent(sender, bytes, now)
    }

    /// Whether somebody has to wait because of what others of its address have sent.
    pub(crate) fn before_read(&self, sender: Sender, now: Instant) -> Pace {
        let Some(place) = sender.place() else {
            return Pace::Fine;
        };
        let limits = [&self.messages.address, &self.bytes.address];
        let until = limits.into_iter().flatten();
        let until = until.filter_map(|limit| limit.rates.overdrawn_until(place, now));
        until.max().map_or(Pace::Fine, Pace::Hold)
    }
}

fn rate_alone(rate: Rate) -> Rate {
    Rate::closing(rate.per_second)
}

impl Sender {
    fn place(self) -> Option<Subnet> {
        self.address.map(admission::place)
    }
}

#[derive(Debug)]
struct PerSender {
    peer: Option<Limit<Token>>,
    address: Option<Limit<Subnet>>,
}

impl PerSender {
    fn on_sent(&mut self, sender: Sender, amount: usize, now: Instant) -> Pace {
        let of_peer = match &mut self.peer {
            None => Pace::Fine,
            Some(limit) => limit.on_sent(sender.peer, amount, now, ""),
        };
        match (&mut self.address, sender.place()) {
            (Some(limit), Some(place)) => {
                of_peer.and(limit.on_sent(place, amount, now, " from one address"))
            }
            _ => of_peer,
        }
    }
}

#[derive(Debug)]
struct Limit<K> {
    too_fast: TooFast,
    rates: Rates<K>,
    words: String,
}

impl<K: Copy + Eq + Hash> Limit<K> {
    fn new(rate: Option<Rate>, words: impl FnOnce(Rate) -> String) -> Option<Self> {
        rate.map(|rate| Self {
            too_fast: rate.too_fast,
            rates: Rates::new(rate.per_second),
            words: words(rate),
        })
    }

    fn on_sent(&mut self, key: K, amount: usize, now: Instant, whose: &str) -> Pace {
        match self.too_fast {
            TooFast::Delay => {
                let until = self.rates.take(key, amount, now);
                until.map_or(Pace::Fine, Pace::Hold)
            }
            TooFast::Close if self.rates.try_take(key, amount, now) => Pace::Fine,
            TooFast::Close => Pace::Close(format!("more than {} a second{whose}", self.words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sender(peer: u64, address: &str) -> Sender {
        Sender {
            peer: Token::from_bits(peer),
            address: Some(address.parse().unwrap()),
        }
    }

    fn intake(change: impl FnOnce(&mut Limits)) -> Intake {
        let mut limits = Limits {
            publish_rate_max: None,
            publish_bytes_max: None,
            ..Limits::default()
        };
        change(&mut limits);
        Intake::new(&limits)
    }

    #[test]
    fn each_limit_has_its_answer() {
        let now = Instant::now();
        let mut intake = intake(|limits| {
            limits.publish_rate_max = Some(Rate::closing(5));
            limits.publish_bytes_max = Some(Rate::delaying(1000));
        });
        let one = sender(1, "192.0.2.1");
        for _ in 0..10 {
            assert_eq!(intake.on_message(one, now), Pace::Fine);
        }
        let words = "more than 5 messages a second".to_owned();
        assert_eq!(intake.on_message(one, now), Pace::Close(words));
        assert_eq!(intake.on_bytes(one, 2000, now), Pace::Fine);
        assert_eq!(intake.on_bytes(one, 500, now), Pace::Hold(now + SECOND / 2));
        // Nobody else is meant.
        let other = sender(2, "192.0.2.1");
        assert_eq!(intake.on_message(other, now), Pace::Fine);
        assert_eq!(intake.before_read(other, now), Pace::Fine);
    }

    #[test]
    fn all_of_an_address_share_what_it_may_send() {
        let now = Instant::now();
        let mut intake = intake(|limits| {
            limits.publish_rate_per_address_max = Some(Rate::delaying(10));
            limits.publish_bytes_per_address_max = Some(Rate::closing(2048));
        });
        let (one, other) = (sender(1, "2001:db8::1"), sender(2, "2001:db8::2:2"));
        for _ in 0..10 {
            assert_eq!(intake.on_message(one, now), Pace::Fine);
            assert_eq!(intake.on_message(other, now), Pace::Fine);
        }
        let until = now + SECOND / 10;
        assert_eq!(intake.before_read(other, now), Pace::Fine);
        assert_eq!(intake.on_message(one, now), Pace::Hold(until));
        assert_eq!(intake.before_read(other, now), Pace::Hold(until));
        assert_eq!(intake.before_read(other, until), Pace::Fine);
        let elsewhere = sender(3, "2001:db8:0:1::1");
        assert_eq!(intake.before_read(elsewhere, now), Pace::Fine);
        assert_eq!(intake.on_bytes(one, 4096, now), Pace::Fine);
        let words = "more than 2KiB a second from one address".to_owned();
        assert_eq!(intake.on_bytes(other, 1, now), Pace::Close(words));
        // Whom we dialed is no stranger of that address.
        let dialed = Sender {
            address: None,
            ..one
        };
        assert_eq!(intake.on_message(dialed, now), Pace::Fine);
        assert_eq!(intake.before_read(dialed, now), Pace::Fine);
    }
}
