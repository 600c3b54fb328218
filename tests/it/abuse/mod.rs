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

use wsmesh::config::limits::LOG_REPEATS_MAX;

use crate::support::{Node, Raw};

/// The next broadcast of `--message {seq}`.
#[track_caller]
pub(super) fn next_seq(peer: &mut Raw) -> u64 {
    let frame = peer.read_frame();
    frame
        .payload_text()
        .parse()
        .unwrap_or_else(|_| panic!("a number, not {frame:?}"))
}

/// Asserts that it has told of something, and not as often as it has happened.
#[track_caller]
pub(super) fn assert_told_within_bounds(node: &Node, text: &str) {
    let told = node.stderr.count(text);
    // Another minute may have begun, and a sum tells of it once more.
    let most = 2 * (LOG_REPEATS_MAX + 1);
    assert!((1..=most).contains(&told), "{text:?} was told {told} times");
}

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
