//! Names that stand for several peers, and whom they lead to now. Pure: the network asks the resolver and dials.
//!
//! Each is resolved at regular times. Addresses that come are dialed, those that are gone are dialed no more; while a name
//! does not resolve, the last ones hold, and it is asked for again as an unreachable peer is dialed again.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, seq::SliceRandom};

use super::backoff::Backoff;
use crate::config::{Limits, PeerUrl, limits::NAMED_ADDRESSES_MAX};

/// Names one that is followed. Never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameId(u32);

/// What has come of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// The same addresses, or nobody wants to know any more.
    AsBefore,
    Changed {
        /// The name, as it was configured.
        url: PeerUrl,
        come: Vec<IpAddr>,
        gone: Vec<IpAddr>,
        /// So many more it has than are dialed.
        left_out: usize,
    },
    Failed {
        url: PeerUrl,
        failure: String,
        /// So many addresses hold from before.
        kept: usize,
        wait: Duration,
        /// It was another failure than the one before: worth to be told.
        is_new: bool,
    },
}

#[derive(Debug)]
struct Name {
    id: NameId,
    url: PeerUrl,
    /// When it is to be resolved; `None` while it is.
    due: Option<Instant>,
    addresses: Vec<IpAddr>,
    backoff: Backoff,
    /// The failure that was told last.
    reported: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Names {
    all: Vec<Name>,
    next_id: u32,
    interval: Duration,
    retry: (Duration, Duration),
}

impl Names {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            all: Vec::new(),
            next_id: 0,
            interval: limits.resolve_interval,
            retry: (limits.retry_min, limits.retry_max),
        }
    }

    /// These are followed from now on, and no others. Those that are already stay as they are.
    pub(crate) fn follow(&mut self, urls: &[PeerUrl], now: Instant) {
        self.all.retain(|name| urls.contains(&name.url));
        for url in urls {
            if self.all.iter().any(|name| name.url == *url) {
                continue;
            }
            self.all.push(Name {
                id: NameId(self.next_id),
                url: url.clone(),
                due: Some(now),
                addresses: Vec::new(),
                backoff: Backoff::new(self.retry.0, self.retry.1),
                reported: None,
            });
            self.next_id += 1;
        }
    }

    /// Others hold from the next answer on.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        self.interval = limits.resolve_interval;
        self.retry = (limits.retry_min, limits.retry_max);
        for name in &mut self.all {
            name.backoff.set_bounds(limits.retry_min, limits.retry_max);
        }
    }

    /// All that the names lead to now.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerUrl> {
        let all = self.all.iter();
        all.flat_map(|name| name.addresses.iter().map(|address| name.url.at(*address)))
    }

    /// When [`Self::poll`] should be called again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.all.iter().filter_map(|name| name.due).min()
    }

    /// A name that is to be resolved now: its host and port.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(NameId, &str, u16)> {
        let mut names = self.all.iter_mut();
        let name = names.find(|name| name.due.is_some_and(|due| due <= now))?;
        name.due = None;
        Some((name.id, name.url.host(), name.url.port()))
    }

    /// A name was resolved, or could not be.
    pub(crate) fn on_resolved(
        &mut self,
        id: NameId,
        answer: Result<Vec<SocketAddr>, String>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Followed {
        let Some(name) = self.all.iter_mut().find(|name| name.id == id) else {
            return Followed::AsBefore;
        };
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                let percent = rng.random_range(75..125u32);
                name.due = Some(now + self.interval * percent / 100);
                name.backoff.reset();
                name.reported = None;
                name.take(&addresses, rng)
            }
            Ok(_) => name.fail("it has no address".to_owned(), now, rng),
            Err(failure) => name.fail(failure, now, rng),
        }
    }
}

impl Name {
    fn fail(&mut self, failure: String, now: Instant, rng: &mut impl Rng) -> Followed {
        let wait = self.backoff.next(rng);
        self.due = Some(now + wait);
        let is_new = self.reported.as_ref() != Some(&failure);
        self.reported = Some(failure.clone());
        Followed::Failed {
            url: self.url.clone(),
            failure,
            kept: self.addresses.len(),
            wait,
            is_new,
        }
    }

    /// Those that are known and still there stay; where there are too many, chance decides who of the others comes, so
    /// that not all nodes dial the same.
    fn take(&mut self, answer: &[SocketAddr], rng: &mut impl Rng) -> Followed {
        let mut there: Vec<IpAddr> = Vec::new();
        for address in answer.iter().map(|address| address.ip().to_canonical()) {
            if !there.contains(&address) {
                there.push(address);
            }
        }
        let known = &self.addresses;
        let (stay, mut come): (Vec<_>, Vec<_>) =
            there.iter().copied().partition(|it| known.contains(it));
        let room = NAMED_ADDRESSES_MAX - stay.len();
        let left_out = come.len().saturating_sub(room);
        if left_out > 0 {
            come.shuffle(rng);
            come.truncate(room);
        }
        let gone: Vec<_> = known
            .iter()
            .copied()
            .filter(|it| !stay.contains(it))
            .collect();
        if come.is_empty() && gone.is_empty() {
            return Followed::AsBefore;
        }
        self.addresses = stay.into_iter().chain(come.iter().copied()).collect();
        Followed::Changed {
            url: self.url.clone(),
            come,
            gone,
            left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    struct Test {
        names: Names,
        now: Instant,
        rng: StdRng,
    }

    fn url(text: &str) -> PeerUrl {
        text.parse().unwrap()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    impl Test {
        fn new(urls: &[&str]) -> Self {
            let urls: Vec<_> = urls.iter().map(|text| url(text)).collect();
            let mut names = Names::new(&Limits::default());
            let now = Instant::now();
            names.follow(&urls, now);
            let rng = StdRng::seed_from_u64(7);
            Self { names, now, rng }
        }

        /// Waits until a name is to be resolved.
        fn next(&mut self) -> (NameId, String) {
            self.now = self
                .names
                .next_deadline()
                .expect("one is due some time")
                .max(self.now);
            let (id, host, port) = self.names.poll(self.now).expect("one is due");
            (id, format!("{host}:{port}"))
        }

        fn answer(&mut self, id: NameId, texts: &[&str]) -> Followed {
            let addresses = ips(texts).into_iter();
            let addresses = addresses.map(|ip| SocketAddr::new(ip, 8080)).collect();
            self.names
                .on_resolved(id, Ok(addresses), self.now, &mut self.rng)
        }

        fn fail(&mut self, id: NameId, what: &str) -> Followed {
            let failure = Err(what.to_owned());
            self.names.on_resolved(id, failure, self.now, &mut self.rng)
        }

        fn peers(&self) -> Vec<String> {
            self.names.peers().map(|url| url.to_string()).collect()
        }
    }

    #[test]
    fn addresses_are_followed_as_they_come_and_go() {
        let mut test = Test::new(&["ws://mesh.example:8080"]);
        let (id, place) = test.next();
        assert_eq!(place, "mesh.example:8080");
        assert_eq!(test.names.next_deadline(), None, "it is being resolved");
        let changed = |come: &[&str], gone: &[&str]| Followed::Changed {
            url: url("ws://mesh.example:8080"),
            come: ips(come),
            gone: ips(gone),
            left_out: 0,
        };
        // The same address in another form is the same.
        let answer = ["10.0.0.1", "::1", "10.0.0.1", "::ffff:10.0.0.1"];
        assert_eq!(test.answer(id, &answer), changed(&["10.0.0.1", "::1"], &[]));
        assert_eq!(test.peers(), ["ws://10.0.0.1:8080", "ws://[::1]:8080"]);
        let asked_at = test.now;
        let (again, _) = test.next();
        assert_eq!(again, id);
        let waited = test.now - asked_at;
        let interval = Limits::default().resolve_interval;
        assert!(
            waited >= interval * 3 / 4 && waited <= interval * 5 / 4,
            "{waited:?}"
        );
        assert_eq!(test.answer(id, &["::1", "10.0.0.1"]), Followed::AsBefore);
        test.next();
        let followed = test.answer(id, &["::1", "10.0.0.2"]);
        assert_eq!(followed, changed(&["10.0.0.2"], &["10.0.0.1"]));
        assert_eq!(test.peers(), ["ws://[::1]:8080", "ws://10.0.0.2:8080"]);
    }

    #[test]
    fn while_a_name_does_not_resolve_its_addresses_hold_and_it_is_asked_again_and_again() {
        let mut test = Test::new(&["ws://a"]);
        let (id, _) = test.next();
        test.answer(id, &["10.0.0.1"]);
        let (mut told, mut longest) = (0, Duration::ZERO);
        for number in 0..40 {
            test.next();
            let followed = match number % 20 {
                // An answer without an address is none.
                0 => test.answer(id, &[]),
                _ => test.fail(id, "no such name"),
            };
            let Followed::Failed {
                is_new, wait, kept, ..
            } = followed
            else {
                panic!("{followed:?}")
            };
            told += usize::from(is_new);
            longest = longest.max(wait);
            assert_eq!(kept, 1);
        }
        assert_eq!(told, 4, "each time when it is another failure");
        let max = Limits::default().retry_max;
        assert!(longest <= max && longest > max / 2, "{longest:?}");
        assert_eq!(test.peers(), ["ws://10.0.0.1:80"]);
        test.next();
        assert_eq!(test.answer(id, &["10.0.0.1"]), Followed::AsBefore);
    }

    #[test]
    fn of_very_many_addresses_some_are_chosen_and_stay() {
        let many: Vec<String> = (0..100).map(|last| format!("10.0.0.{last}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut test = Test::new(&["ws://a", "ws://b"]);
        let (first, second) = (test.next().0, test.next().0);
        let chosen = |followed| match followed {
            Followed::Changed { come, left_out, .. } => {
                assert_eq!(
                    (come.len(), left_out),
                    (NAMED_ADDRESSES_MAX, 100 - NAMED_ADDRESSES_MAX)
                );
                come.into_iter().collect::<BTreeSet<_>>()
            }
            other => panic!("{other:?}"),
        };
        let one = chosen(test.answer(first, &many));
        let other = chosen(test.answer(second, &many));
        assert_ne!(one, other, "not all dial the same");
        let mut turned = many.clone();
        turned.reverse();
        assert_eq!(test.answer(first, &turned), Followed::AsBefore);
        // Those that are gone make room for others.
        let left: Vec<&str> = many[50..].to_vec();
        let followed = test.answer(first, &left);
        let Followed::Changed { come, gone, .. } = followed else {
            panic!("{followed:?}")
        };
        assert_eq!(come.len(), gone.len());
        assert!(gone.iter().all(|it| one.contains(it)));
    }

    #[test]
    fn a_name_that_is_not_configured_any_more_leads_nowhere() {
        let mut test = Test::new(&["ws://a", "ws://b"]);
        let (first, second) = (test.next().0, test.next().0);
        test.answer(first, &["10.0.0.1"]);
        test.names.follow(&[url("ws://b"), url("ws://c")], test.now);
        assert_eq!(test.peers(), [""; 0]);
        assert_eq!(test.answer(first, &["10.0.0.1"]), Followed::AsBefore);
        // Another one takes no answer that was meant for it.
        assert_eq!(test.next().1, "c:80");
        test.answer(second, &["10.0.0.2"]);
        assert_eq!(test.peers(), ["ws://10.0.0.2:80"]);
    }
}
