//! A peer that sends for ever.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Raw, eventually};

/// Sends the same bytes again and again until the connection ends, and never reads.
pub(crate) struct Flood {
    sent: Arc<AtomicUsize>,
    /// The flooding connection, should the test want to read after all.
    pub(crate) peer: Raw,
}

impl Flood {
    pub(crate) fn start(mut peer: Raw, first: Vec<u8>, again: Vec<u8>) -> Flood {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let mut sender = peer.sender();
        peer.send(first);
        // Large writes, so that the flood costs the machine little on this side.
        let again = again.repeat((256 << 10) / again.len() + 1);
        std::thread::spawn(move || {
            let mut at = 0;
            loop {
                match sender.write(&again[at..]) {
                    Ok(len) => {
                        // A part is continued, or the frames would be garbage.
                        at = (at + len) % again.len();
                        counter.fetch_add(len, Ordering::Relaxed);
                    }
                    // The node reads no more, and that is its right.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
        Flood { sent, peer }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until the node reads no more of it. A shorter halt may be the kernel's, which drops and
    /// repeats segments when a buffer runs over.
    #[track_caller]
    pub(crate) fn wait_halt(&self) {
        let (mut sent, mut since) = (0, Instant::now());
        eventually("the node reads no more", || {
            if self.sent() != sent {
                (sent, since) = (self.sent(), Instant::now());
            }
            since.elapsed() > Duration::from_secs(1)
        });
    }

    #[track_caller]
    pub(crate) fn wait_sent(&self, bytes: usize) {
        eventually("the flood is under way", || self.sent() >= bytes);
    }
}
