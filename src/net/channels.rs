//! Which plain peers are in which channel, so that a message for a few of them does not touch all
//! connections. Pure. One entry for each open plain connection, so bounded as they are.

use std::collections::HashMap;

/// The slots of plain peers by channel. Each peer keeps its place in its channel, so that leaving a large
/// one costs no search.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    by_path: HashMap<Box<str>, Vec<u32>>,
}

impl Channels {
    /// A peer has come. Returns its place.
    pub(crate) fn join(&mut self, path: &str, slot: usize) -> u32 {
        if !self.by_path.contains_key(path) {
            self.by_path.insert(path.into(), Vec::with_capacity(1));
        }
        let Some(peers) = self.by_path.get_mut(path) else {
            return 0;
        };
        peers.push(slot as u32);
        (peers.len() - 1) as u32
    }

    /// A peer has gone. Returns the slot of the one that has taken its place, if any has.
    pub(crate) fn leave(&mut self, path: &str, place: u32) -> Option<usize> {
        let peers = self.by_path.get_mut(path)?;
        let place = place as usize;
        debug_assert!(place < peers.len());
        if place < peers.len() {
            peers.swap_remove(place);
        }
        let successor = peers.get(place).map(|slot| *slot as usize);
        if peers.is_empty() {
            self.by_path.remove(path);
        } else if peers.len() < peers.capacity() / 4 {
            peers.shrink_to(2 * peers.len());
        }
        successor
    }

    /// The slots of all peers of a channel.
    pub(crate) fn peers(&self, path: &str) -> &[u32] {
        self.by_path.get(path).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_kept_of_a_channel_that_nobody_is_in() {
        let mut channels = Channels::default();
        let places = [7, 8].map(|slot| channels.join("/a", slot));
        assert_eq!(places, [0, 1]);
        assert_eq!(channels.peers("/a"), [7, 8]);
        assert_eq!(channels.peers("/"), [0; 0]);
        assert_eq!(channels.leave("/a", 0), Some(8));
        assert_eq!(channels.leave("/a", 0), None);
        assert!(channels.by_path.is_empty());
    }

    #[test]
    fn a_channel_that_was_large_gives_its_memory_back() {
        let mut channels = Channels::default();
        for slot in 0..1000 {
            channels.join("/", slot);
        }
        for place in (1..1000).rev() {
            channels.leave("/", place);
        }
        assert!(channels.by_path["/"].capacity() < 8);
    }

    proptest! {
        /// Whoever comes and goes, each channel has those that are in it, at the places they know.
        #[test]
        fn everybody_is_where_it_believes_to_be(
            steps in prop::collection::vec((any::<bool>(), 0usize..40, 0usize..3), 1..200),
        ) {
            let paths = ["/", "/a", "/b"];
            let mut channels = Channels::default();
            let mut peers: HashMap<usize, (usize, u32)> = HashMap::new();
            for (is_coming, slot, path) in steps {
                match peers.get(&slot).copied() {
                    None if is_coming => {
                        let place = channels.join(paths[path], slot);
                        peers.insert(slot, (path, place));
                    }
                    Some((path, place)) if !is_coming => {
                        peers.remove(&slot);
                        if let Some(successor) = channels.leave(paths[path], place) {
                            peers.get_mut(&successor).expect("it is there").1 = place;
                        }
                    }
                    _ => {}
                }
                for (slot, (path, place)) in &peers {
                    let found = channels.peers(paths[*path])[*place as usize];
                    prop_assert_eq!(found as usize, *slot);
                }
                let count = paths.map(|path| channels.peers(path).len()).iter().sum::<usize>();
                prop_assert_eq!(count, peers.len());
            }
        }
    }
}
