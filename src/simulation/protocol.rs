//! What runs on a node: the mesh, or something to compare it with.

use std::{fmt, net::IpAddr, time::Instant};

use crate::{
    config::PeerUrl,
    mesh::{DialFailure, Ending, Mesh, Output, PeerKey, Side, Standing},
    message::Message,
};

/// The channel of all publications.
pub(super) const CHANNEL: &str = "/";

/// A protocol without I/O, driven as the mesh is: see [`Mesh`].
pub(super) trait Protocol: fmt::Debug {
    fn on_opened(&mut self, peer: PeerKey, side: Side, remote: IpAddr, now: Instant);
    fn on_frame(&mut self, peer: PeerKey, frame: Message, now: Instant);
    fn on_closed(&mut self, peer: PeerKey, ending: Ending, now: Instant);
    fn on_dial_failed(&mut self, url: &PeerUrl, failure: DialFailure, now: Instant);
    fn publish(&mut self, message: &Message, now: Instant);
    fn expire(&mut self, now: Instant);
    fn next_deadline(&self) -> Option<Instant>;
    fn poll_output(&mut self) -> Option<Output>;
    fn standing(&self) -> Standing;
    /// The connections that it believes in.
    fn members(&self) -> Vec<PeerKey>;

    /// Length of all that it holds, written out without the digits of numbers: grows with what it holds.
    fn held_bytes(&self) -> usize {
        struct Count(usize);
        impl fmt::Write for Count {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 += text.bytes().filter(|byte| !byte.is_ascii_digit()).count();
                Ok(())
            }
        }
        let mut count = Count(0);
        let written = fmt::Write::write_fmt(&mut count, format_args!("{self:?}"));
        debug_assert!(written.is_ok());
        count.0
    }
}

impl Protocol for Mesh {
    fn on_opened(&mut self, peer: PeerKey, side: Side, remote: IpAddr, now: Instant) {
        Self::on_opened(self, peer, side, remote, now);
    }

    fn on_frame(&mut self, peer: PeerKey, frame: Message, now: Instant) {
        Self::on_frame(self, peer, frame, now);
    }

    fn on_closed(&mut self, peer: PeerKey, ending: Ending, now: Instant) {
        Self::on_closed(self, peer, ending, now);
    }

    fn on_dial_failed(&mut self, url: &PeerUrl, failure: DialFailure, now: Instant) {
        Self::on_dial_failed(self, url, failure, now);
    }

    fn publish(&mut self, message: &Message, now: Instant) {
        Self::publish(self, CHANNEL, message, now);
    }

    fn expire(&mut self, now: Instant) {
        Self::expire(self, now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Self::next_deadline(self)
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn standing(&self) -> Standing {
        Self::standing(self)
    }

    fn members(&self) -> Vec<PeerKey> {
        Self::members(self).collect()
    }
}
