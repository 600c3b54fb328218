//! What happens to bytes on their way: bandwidth, jitter, loss, stalls. Pure.

use super::{
    chance::{Ppm, mixed, scaled},
    clock::Moment,
};

/// Bytes of a segment; each is lost by itself.
const SEGMENT_BYTES: u64 = 1_400;

/// Time until a lost segment is sent again, beside the round trip, in microseconds.
pub(super) const RETRANSMISSION: u64 = 200_000;

/// How often the same segment is lost at most.
const LOSSES_MAX: u32 = 6;

/// A link stalls for so long at least, and for so long more at most, in microseconds.
const STALL_MIN: u64 = 1_000_000;
const STALL_SPREAD: u64 = 4_000_000;

/// A jitter is at most this part of the latency.
const JITTER_DIVISOR: u64 = 4;

/// The state of the network, the same everywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Share of segments that are lost.
    pub(super) loss: Ppm,
    /// In each such time every link stalls once, in microseconds; `None`: never.
    pub(super) stall_every: Option<u64>,
    /// Bits a second that a host can send.
    pub(super) bandwidth: u64,
}

impl Weather {
    /// Microseconds until so many bytes have left a host.
    pub(super) fn serialization(self, bytes: u64) -> u64 {
        bytes * 8 * 1_000_000 / self.bandwidth.max(1)
    }

    /// Microseconds from leaving one host to being at the other. Where others of the stream are under way, a lost
    /// segment is probed for after two round trips (RFC 8985 §7.2); alone it waits for its time-out.
    pub(super) fn passage(self, latency: u64, bytes: u64, is_busy: bool, bits: u64) -> u64 {
        let (high, mut low) = (bits >> 32, bits & 0xffff_ffff);
        let jitter = (high * (Self::jitter_max(latency) + 1)) >> 32;
        let segments = bytes.div_ceil(SEGMENT_BYTES).max(1);
        let threshold = (u64::from(self.loss.0) * segments).min(900_000);
        let timeout = RETRANSMISSION + 2 * latency;
        let (mut delay, mut wait) = (0, if is_busy { 4 * latency } else { timeout });
        for _ in 0..LOSSES_MAX {
            if (low * 1_000_000) >> 32 >= threshold {
                break;
            }
            delay += wait;
            wait = (2 * wait).max(timeout);
            low = mixed(low) & 0xffff_ffff;
        }
        latency + jitter + delay
    }

    pub(super) fn jitter_max(latency: u64) -> u64 {
        latency / JITTER_DIVISOR
    }

    /// When what leaves at `at` by this link really leaves.
    pub(super) fn past_stall(self, link: u64, at: Moment) -> Moment {
        let Some(every) = self.stall_every else {
            return at;
        };
        let window = at.0 / every;
        let bits = mixed(link ^ mixed(window));
        let length = STALL_MIN + scaled(mixed(bits), STALL_SPREAD);
        let begins = window * every + scaled(bits, every.saturating_sub(length));
        if (begins..begins + length).contains(&at.0) {
            Moment(begins + length)
        } else {
            at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEATHER: Weather = Weather {
        loss: Ppm(10_000),
        stall_every: Some(60_000_000),
        bandwidth: 10_000_000,
    };

    #[test]
    fn a_byte_takes_its_time() {
        assert_eq!(WEATHER.serialization(1_250), 1_000);
    }

    #[test]
    fn one_in_a_hundred_segments_is_late() {
        let mut late = 0;
        for number in 0..100_000 {
            let passage = WEATHER.passage(40_000, 100, false, mixed(number));
            assert!(passage >= 40_000);
            if passage > 50_000 {
                late += 1;
                assert!(passage >= 320_000);
            }
        }
        assert!((800..1_200).contains(&late), "{late}");
    }

    #[test]
    fn every_link_stalls_once_in_each_window() {
        for link in 0..20 {
            let mut stalled = 0;
            for tenth in 0..600 {
                let at = Moment(tenth * 100_000);
                let end = WEATHER.past_stall(link, at);
                assert!(end.since(at) <= STALL_MIN + STALL_SPREAD);
                assert_eq!(WEATHER.past_stall(link, end), end);
                stalled += u64::from(end > at);
            }
            assert!((9..=51).contains(&stalled), "{stalled}");
        }
    }
}
