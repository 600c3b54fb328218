//! What a node publishes of a stream of bytes, such as its standard input: read as fast as those who hear it take it.

use std::time::{Duration, Instant};

use super::relay::{Relay, Turn};
use crate::{
    config::{
        Channel, Limits, Size,
        limits::{FEED_MESSAGES_PER_TURN, FEED_PATIENCE, FEED_PORTION_BYTES, high_water_bytes},
    },
    feed::{Fed, Feed, Input},
    framing::Framing,
    net::Network,
};

/// How messages are made of a stream, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntakeConfig {
    /// Where they are published.
    pub channel: Channel,
    /// How they are told apart.
    pub framing: Framing,
    /// Whether they are binary. Otherwise they are text, as far as they are UTF-8.
    pub is_binary: bool,
    /// Whether the node stops at the end of the stream, once all is sent.
    pub stops_at_end: bool,
}

/// The stream, and how far it is.
#[derive(Debug)]
pub(super) struct Intake {
    feed: Feed<'static>,
    channel: Channel,
    stops_at_end: bool,
    /// Whether somebody is dialed, without whom nobody would hear it.
    dials: bool,
    message_bytes_max: usize,
    /// Bytes that wait for a peer before no more is read.
    mark_bytes: usize,
    /// Nothing is read, because somebody has still to take what was.
    is_paused: bool,
    is_ended: bool,
    waiting: Waiting,
    too_big: u64,
}

/// How long somebody was waited for.
#[derive(Debug, Default)]
struct Waiting {
    since: Option<Instant>,
    /// The least that waited since.
    least_bytes: usize,
}

impl Waiting {
    /// Whether it is worth waiting for this many bytes to become fewer.
    fn is_worth(&mut self, bytes: usize, now: Instant) -> bool {
        match self.since {
            Some(since) if bytes >= self.least_bytes => now < since + FEED_PATIENCE,
            _ => {
                (self.since, self.least_bytes) = (Some(now), bytes);
                true
            }
        }
    }
}

impl Intake {
    pub(super) fn new(
        input: Box<dyn Input + Send>,
        config: IntakeConfig,
        limits: &Limits,
        dials: bool,
    ) -> Self {
        let IntakeConfig {
            channel,
            framing,
            is_binary,
            stops_at_end,
        } = config;
        let message_bytes_max = limits.message_bytes_max;
        Self {
            feed: Feed::new(input, framing, is_binary, message_bytes_max),
            channel,
            stops_at_end,
            dials,
            message_bytes_max,
            mark_bytes: mark_bytes(limits),
            is_paused: false,
            is_ended: false,
            waiting: Waiting::default(),
            too_big: 0,
        }
    }

    /// Others hold from now on.
    pub(super) fn set_limits(&mut self, limits: &Limits) {
        self.mark_bytes = mark_bytes(limits);
    }

    pub(super) fn feed(&mut self) -> &mut Feed<'static> {
        &mut self.feed
    }

    /// Publishes a portion, if those who hear it take it. Returns whether the node is to stop.
    pub(super) fn work(&mut self, relay: &mut Relay, turn: &mut Turn<'_>) -> bool {
        if self.is_ended {
            return self.stops_at_end && self.is_sent(turn.network, turn.now);
        }
        self.is_paused = self.must_wait(relay, turn);
        let mut bytes = 0;
        for _ in 0..FEED_MESSAGES_PER_TURN {
            if self.is_paused || bytes >= FEED_PORTION_BYTES {
                return false;
            }
            match self.feed.poll() {
                Fed::Message(message) => {
                    bytes += message.len();
                    relay.publish(self.channel.as_str(), message, turn);
                }
                Fed::Nothing => return false,
                Fed::TooBig => self.on_too_big(),
                Fed::Broken(what) => {
                    log::error!("{what}");
                    self.end();
                }
                Fed::End => {
                    log::info!("standard input has ended");
                    self.end();
                }
            }
            if self.is_ended {
                return false;
            }
        }
        false
    }

    /// Whether there is something to do without waiting. What was sent at the end of the turn may have been all that was
    /// waited for, and then no event tells of it.
    pub(super) fn has_work(&self, network: &Network) -> bool {
        match (self.is_ended, self.is_paused) {
            (true, _) => {
                let is_asked = self.waiting.since.is_some();
                self.stops_at_end && (!is_asked || network.waiting_bytes() == 0)
            }
            (false, true) => self.waiting.since.is_some() && !self.is_congested(network),
            (false, false) => self.feed.has_more(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let is_waiting = self.is_paused || (self.is_ended && self.stops_at_end);
        let since = self.waiting.since.filter(|_| is_waiting)?;
        Some(since + FEED_PATIENCE)
    }

    fn end(&mut self) {
        self.is_ended = true;
        self.waiting = Waiting::default();
    }

    fn must_wait(&mut self, relay: &Relay, turn: &Turn<'_>) -> bool {
        if self.dials && !relay.has_listeners(turn.network) {
            self.waiting = Waiting::default();
            return true;
        }
        if !self.is_congested(turn.network) {
            self.waiting = Waiting::default();
            return false;
        }
        let bytes = turn.network.most_waiting(self.channel.as_str());
        // Who takes nothing for so long is not waited for: what becomes of it is said by the limit of its outbox.
        self.waiting.is_worth(bytes, turn.now)
    }

    fn is_congested(&self, network: &Network) -> bool {
        network.most_waiting(self.channel.as_str()) > self.mark_bytes
    }

    fn is_sent(&mut self, network: &Network, now: Instant) -> bool {
        match network.waiting_bytes() {
            0 => true,
            bytes if self.waiting.is_worth(bytes, now) => false,
            bytes => {
                let patience: Duration = FEED_PATIENCE;
                log::warn!("{bytes} bytes were not taken within {patience:?}: stopping");
                true
            }
        }
    }

    /// The first is told, and then each time when they have become ten times as many.
    fn on_too_big(&mut self) {
        self.too_big += 1;
        let max = Size(self.message_bytes_max);
        let level = match self.too_big.ilog10() > (self.too_big - 1).checked_ilog10().unwrap_or(0)
            || self.too_big == 1
        {
            true => log::Level::Warn,
            false => log::Level::Debug,
        };
        log::log!(
            level,
            "a message on standard input is larger than --max-message {max} and left out; so far: {}",
            self.too_big
        );
    }
}

/// Bytes that may wait for a peer: the next message, as large as it may be, still fits.
fn mark_bytes(limits: &Limits) -> usize {
    let room = limits
        .outbox_bytes_max
        .saturating_sub(limits.message_bytes_max)
        / 2;
    high_water_bytes(limits.outbox_bytes_max).min(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_something_is_waited_for_and_who_takes_nothing_is_not() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut waiting = Waiting::default();
        assert!(waiting.is_worth(100, start));
        assert!(waiting.is_worth(100, start + FEED_PATIENCE - second));
        assert!(waiting.is_worth(99, start + FEED_PATIENCE - second));
        assert!(waiting.is_worth(120, start + FEED_PATIENCE));
        assert!(waiting.is_worth(99, start + 2 * FEED_PATIENCE - 2 * second));
        assert!(!waiting.is_worth(99, start + 2 * FEED_PATIENCE - second));
        assert!(waiting.is_worth(98, start + 2 * FEED_PATIENCE));
    }
}
