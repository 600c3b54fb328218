//! Peers that flood, stall, reset or come in crowds: what they cost is bounded, and the others are
//! served as if nothing were.

mod crowds;
mod drips;
mod floods;
mod known;
mod memory;
mod rates;
mod resets;
mod slow;

use crate::support::Raw;

/// The next broadcast of `--message {seq}`.
#[track_caller]
pub(super) fn next_seq(peer: &mut Raw) -> u64 {
    let frame = peer.read_frame();
    frame
        .payload_text()
        .parse()
        .unwrap_or_else(|_| panic!("a number, not {frame:?}"))
}

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
