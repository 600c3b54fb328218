//! How much memory may be taken by what peers make a node hold, and who gives it up.
//!
//! Looked at after each flush: at the end of a turn it is within its bound, and during one above it by no more than the
//! turn takes in.

use std::time::Instant;

use super::relay::Relay;
use crate::{config::Size, counters::Counters, net::Network};

#[derive(Debug)]
pub(super) struct Memory {
    bytes_max: Option<usize>,
    held_bytes: usize,
    /// Of them, those of messages that are kept for others.
    history_bytes: usize,
    forgotten: u64,
}

impl Memory {
    pub(super) fn new(bytes_max: Option<usize>) -> Self {
        Self {
            bytes_max,
            held_bytes: 0,
            history_bytes: 0,
            forgotten: 0,
        }
    }

    /// Another bound holds from now on.
    pub(super) fn set_max(&mut self, bytes_max: Option<usize>) {
        self.bytes_max = bytes_max;
    }

    /// While all together hold too much, who holds most gives it up: a connection is closed, of the messages that are
    /// kept for others one is forgotten. Returns whether a connection was closed, so that there is something to flush.
    pub(super) fn keep_within(
        &mut self,
        network: &mut Network,
        relay: &mut Relay,
        now: Instant,
    ) -> bool {
        self.look(network, relay);
        let Some(bytes_max) = self.bytes_max.filter(|max| self.held_bytes > *max) else {
            return false;
        };
        let (held_bytes, max) = (self.held_bytes, Size(bytes_max));
        log::warn!(
            "{held_bytes} bytes held for peers, more than --memory {max}: who holds most is closed with 1013"
        );
        let mut holders = network.holders();
        let mut is_any_closed = false;
        while self.held_bytes > bytes_max {
            let kept = relay.history_bytes();
            match holders.pop() {
                Some((bytes, peer)) if bytes >= kept => {
                    let rest = network.shed(peer, now);
                    is_any_closed = true;
                    if rest > 0 {
                        holders.push((rest, peer));
                    }
                }
                Some(holder) => {
                    holders.push(holder);
                    self.forget_oldest(relay);
                }
                None if kept > 0 => self.forget_oldest(relay),
                None => break,
            }
            self.look(network, relay);
        }
        is_any_closed
    }

    fn look(&mut self, network: &Network, relay: &Relay) {
        self.history_bytes = relay.history_bytes();
        self.held_bytes = network.held_bytes() + self.history_bytes;
    }

    /// Adds what is counted here.
    pub(super) fn count(&self, counters: &mut Counters) {
        counters.held_bytes = self.held_bytes as u64;
        counters.history_bytes = self.history_bytes as u64;
        counters.forgotten = self.forgotten;
    }

    fn forget_oldest(&mut self, relay: &mut Relay) {
        relay.forget_oldest();
        self.forgotten += 1;
    }
}
