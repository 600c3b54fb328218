//! Who has said what, and who has heard it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Instant,
};

/// The number of a message among those of its publisher, from 0.
type Number = usize;

/// What a publisher says: the texts are made of its number and theirs, so that each byte of them can be checked.
#[derive(Debug)]
struct Publisher {
    node: usize,
    channel: &'static str,
    filler_max: usize,
    /// When each of its messages was begun.
    said: Vec<Instant>,
}

/// What a listener has heard.
#[derive(Debug)]
pub(super) struct Listener {
    node: usize,
    channel: &'static str,
    /// It certainly hears all that is said later than that.
    since: Option<Instant>,
    /// By publisher: the last one, and all.
    heard: BTreeMap<usize, (Option<Number>, BTreeSet<Number>)>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    publishers: BTreeMap<usize, Publisher>,
    listeners: BTreeMap<usize, Listener>,
    pub(super) deliveries: u64,
}

fn text(publisher: usize, number: Number, filler_max: usize) -> String {
    let mixed = (publisher * 7919 + number * 104_729) % (filler_max + 1);
    let byte = char::from(b'a' + ((publisher + number) % 26) as u8);
    let filler: String = std::iter::repeat_n(byte, mixed).collect();
    format!("p{publisher}-{number}-{filler}")
}

fn parse(text: &str) -> Option<(usize, Number)> {
    let mut parts = text.strip_prefix('p')?.splitn(3, '-');
    let publisher = parts.next()?.parse().ok()?;
    let number = parts.next()?.parse().ok()?;
    Some((publisher, number))
}

impl Ledger {
    pub(super) fn add_publisher(
        &mut self,
        peer: usize,
        node: usize,
        channel: &'static str,
        filler_max: usize,
    ) {
        let said = Vec::new();
        let publisher = Publisher {
            node,
            channel,
            filler_max,
            said,
        };
        self.publishers.insert(peer, publisher);
    }

    pub(super) fn add_listener(
        &mut self,
        peer: usize,
        node: usize,
        channel: &'static str,
        since: Option<Instant>,
    ) {
        let heard = BTreeMap::new();
        let listener = Listener {
            node,
            channel,
            since,
            heard,
        };
        self.listeners.insert(peer, listener);
    }

    /// From now on a listener hears all.
    pub(super) fn listens_since(&mut self, peer: usize, now: Instant) {
        let listener = self.listeners.get_mut(&peer).expect("it was added");
        listener.since.get_or_insert(now);
    }

    /// The next text of a publisher.
    pub(super) fn say(&mut self, peer: usize, now: Instant) -> String {
        let publisher = self.publishers.get_mut(&peer).expect("it was added");
        publisher.said.push(now);
        text(peer, publisher.said.len() - 1, publisher.filler_max)
    }

    /// Who has said a text, if it is of a peer.
    pub(super) fn author(&self, heard: &str) -> Option<(usize, Number)> {
        let (publisher, number) = parse(heard)?;
        let said = self.publishers.get(&publisher);
        let said = said.unwrap_or_else(|| panic!("nobody has said {heard:?}"));
        assert!(number < said.said.len(), "said by nobody yet: {heard:?}");
        let whole = text(publisher, number, said.filler_max);
        assert_eq!(heard, whole, "it was said otherwise");
        Some((publisher, number))
    }

    /// A peer has heard a text.
    pub(super) fn hear(&mut self, peer: usize, heard: &str, is_gapless: bool) {
        let Some((author, number)) = self.author(heard) else {
            // A broadcast, or what has come of garbage.
            return;
        };
        let publisher = &self.publishers[&author];
        let listener = self.listeners.get_mut(&peer).expect("it was added");
        assert_ne!(author, peer, "nobody hears itself");
        assert_eq!(publisher.channel, listener.channel);
        let (last, all) = listener.heard.entry(author).or_default();
        let is_new = all.insert(number);
        assert!(
            is_new,
            "peer {peer} hears message {number} of peer {author} twice"
        );
        // Nodes may hear in another order of one another: what was missed is asked for.
        if let Some(last) = *last
            && publisher.node == listener.node
        {
            let is_next = number == last + 1 || !is_gapless && number > last;
            assert!(
                is_next,
                "peer {peer} hears message {number} of peer {author} after {last}"
            );
        }
        *last = Some(number);
        self.deliveries += 1;
    }

    /// Checks that one peer has heard all that another one has said while it was listening and in that time.
    pub(super) fn check(&self, listener: usize, author: usize, time: Range<Instant>) {
        let (Some(hearing), Some(saying)) =
            (self.listeners.get(&listener), self.publishers.get(&author))
        else {
            return;
        };
        if hearing.channel != saying.channel || listener == author {
            return;
        }
        let since = hearing
            .since
            .expect("who is well-behaved is heard in the end");
        let since = match hearing.node == saying.node {
            true => since,
            false => since.max(time.start),
        };
        let heard = hearing.heard.get(&author);
        let has_heard = |number: usize| heard.is_some_and(|(_, all)| all.contains(&number));
        for (number, said) in saying.said.iter().enumerate() {
            assert!(
                *said <= since || *said >= time.end || has_heard(number),
                "peer {listener} has not heard message {number} of peer {author}"
            );
        }
    }
}
