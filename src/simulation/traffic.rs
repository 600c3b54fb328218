//! Bytes on the wire, by what they are for.

use serde::Serialize;

use crate::message::Message;

/// First byte of the baselines' frames that carry a payload; their others are greater.
pub(super) const BASELINE_PAYLOAD: u8 = 0xf0;
/// … that announce one.
pub(super) const BASELINE_ANNOUNCEMENT: u8 = 0xf1;
/// … that ask for one.
pub(super) const BASELINE_REQUEST: u8 = 0xf2;
/// … that change the tree.
pub(super) const BASELINE_PRUNE: u8 = 0xf3;

/// First bytes of the mesh's binary frames.
const MESSAGE: u8 = 1;
const ANNOUNCEMENT: u8 = 2;
const REQUEST: u8 = 3;
const ASKED: u8 = 4;
const OFFER: u8 = 5;

/// Bytes of an upgrade request with its answer.
pub(super) const UPGRADE_BYTES: u64 = 420;

/// What was sent, in bytes with the WebSocket headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Traffic {
    pub(super) payload: u64,
    /// Announcements, offers, requests and what is said of them.
    pub(super) announcements: u64,
    /// Everything else: hello, beacons, shuffles, pings, upgrades.
    pub(super) control: u64,
    pub(super) frames: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, message: &Message, bytes: u64) {
        let class = match (message, message.as_bytes().first()) {
            (Message::Binary(_), Some(&(MESSAGE | BASELINE_PAYLOAD))) => &mut self.payload,
            (
                Message::Binary(_),
                Some(
                    &(ANNOUNCEMENT
                    | REQUEST
                    | ASKED
                    | OFFER
                    | BASELINE_ANNOUNCEMENT
                    | BASELINE_REQUEST),
                ),
            ) => &mut self.announcements,
            _ => &mut self.control,
        };
        *class += bytes;
        self.frames += 1;
    }

    /// What came since an earlier state.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            payload: self.payload - earlier.payload,
            announcements: self.announcements - earlier.announcements,
            control: self.control - earlier.control,
            frames: self.frames - earlier.frames,
        }
    }
}

/// Bytes of a frame on the wire: payload and WebSocket header, which a dialer masks.
pub(super) fn frame_bytes(payload: usize, is_masked: bool) -> u64 {
    let length = match payload {
        0..=125 => 0,
        126..=65_535 => 2,
        _ => 8,
    };
    let mask = if is_masked { 4 } else { 0 };
    2 + length + mask + payload as u64
}
