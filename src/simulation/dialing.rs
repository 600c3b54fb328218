//! Whom one node dials, and when again: configured peers for ever, others once. Pure; the same rules as in
//! the network of a node.

use super::{
    chance::Chance,
    clock::{Moment, micros},
    connection::EndId,
    geography,
    network::Attempt,
};
use crate::config::{Limits, PeerUrl, limits::RESET_AFTER};

const LIMITS: Limits = Limits::DEFAULT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not dialed until somebody says so.
    Resting,
    /// Dialed again some time; the attempt names the wait.
    Waiting(Attempt),
    /// The dialer's end, once there is a connection.
    Dialing(Attempt, Option<EndId>),
    Connected(EndId, Moment),
    /// Leads to the node itself.
    Itself,
}

#[derive(Debug)]
struct Target {
    url: PeerUrl,
    /// Where it leads to in this network.
    host: Option<u32>,
    is_configured: bool,
    /// Is not to be dialed again by itself.
    rests: bool,
    failures: u32,
    progress: Progress,
}

impl Target {
    /// Exponential backoff with full jitter.
    fn wait(&mut self, chance: &mut Chance) -> u64 {
        let (min, max) = (micros(LIMITS.retry_min), micros(LIMITS.retry_max));
        let ceiling = min.saturating_mul(1 << self.failures.min(30)).min(max);
        if ceiling < max {
            self.failures += 1;
        }
        chance.below(ceiling)
    }

    /// What comes after a failure or a loss: the wait until it is dialed again, if it is.
    fn waits(&mut self, attempt: Attempt, chance: &mut Chance) -> Option<u64> {
        self.progress = Progress::Resting;
        if !self.is_configured || self.rests {
            return None;
        }
        self.progress = Progress::Waiting(attempt);
        Some(self.wait(chance))
    }
}

/// The dials of one node.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    targets: Vec<Target>,
}

/// A dial that has failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) url: PeerUrl,
    /// Microseconds until it is dialed again.
    pub(super) wait: Option<u64>,
}

impl Dialing {
    pub(super) fn new(configured: &[PeerUrl]) -> Self {
        let targets = configured.iter().map(|url| Target {
            is_configured: true,
            ..target(url.clone())
        });
        Self {
            targets: targets.collect(),
        }
    }

    /// A dial of this URL is to start under this name. Returns where it leads to; `None` if it is being
    /// dialed or connected already.
    pub(super) fn dial(&mut self, url: &PeerUrl, attempt: Attempt) -> Option<Option<u32>> {
        let place = self.targets.iter().position(|target| target.url == *url);
        let place = place.unwrap_or_else(|| {
            self.targets.push(target(url.clone()));
            self.targets.len() - 1
        });
        let target = &mut self.targets[place];
        target.rests = false;
        match target.progress {
            Progress::Resting | Progress::Waiting(_) => {
                target.progress = Progress::Dialing(attempt, None);
                Some(target.host)
            }
            _ => None,
        }
    }

    /// The wait is over. Returns the URL if it is still to be dialed.
    pub(super) fn redial(&mut self, wait: Attempt) -> Option<PeerUrl> {
        let is_due = |target: &&Target| target.progress == Progress::Waiting(wait);
        self.targets
            .iter()
            .find(is_due)
            .map(|target| target.url.clone())
    }

    pub(super) fn rest(&mut self, url: &PeerUrl) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.url == *url) {
            target.rests = true;
            if let Progress::Waiting(_) = target.progress {
                target.progress = Progress::Resting;
            }
        }
    }

    fn dialing(&mut self, attempt: Attempt) -> Option<&mut Target> {
        self.targets.iter_mut().find(
            |target| matches!(target.progress, Progress::Dialing(under_way, _) if under_way == attempt),
        )
    }

    /// Where this dial leads to, while it is under way.
    pub(super) fn leads_to(&mut self, attempt: Attempt) -> Option<u32> {
        self.dialing(attempt)?.host
    }

    /// There is a connection; the dialer's end waits for the answer.
    pub(super) fn on_requested(&mut self, attempt: Attempt, end: EndId) {
        if let Some(target) = self.dialing(attempt) {
            target.progress = Progress::Dialing(attempt, Some(end));
        }
    }

    pub(super) fn on_opened(
        &mut self,
        attempt: Attempt,
        end: EndId,
        now: Moment,
    ) -> Option<PeerUrl> {
        let target = self.dialing(attempt)?;
        target.progress = Progress::Connected(end, now);
        Some(target.url.clone())
    }

    /// Ends a dial. Returns the end that waits for an answer, which is to be given up.
    pub(super) fn waiting_end(&mut self, attempt: Attempt) -> Option<EndId> {
        match self.dialing(attempt)?.progress {
            Progress::Dialing(_, end) => end,
            _ => None,
        }
    }

    pub(super) fn on_failed(&mut self, attempt: Attempt, chance: &mut Chance) -> Option<Failed> {
        let target = self.dialing(attempt)?;
        let failed = Failed {
            url: target.url.clone(),
            wait: target.waits(attempt, chance),
        };
        self.forget_done();
        Some(failed)
    }

    /// The URL leads to the node itself. Returns it.
    pub(super) fn on_itself(&mut self, attempt: Attempt) -> Option<PeerUrl> {
        let target = self.dialing(attempt)?;
        target.progress = Progress::Itself;
        let url = target.url.clone();
        if !target.is_configured {
            target.progress = Progress::Resting;
        }
        self.forget_done();
        Some(url)
    }

    /// A connection has ended. Returns the wait until it is dialed again, if it was dialed and is.
    pub(super) fn on_closed(
        &mut self,
        end: EndId,
        wait: Attempt,
        now: Moment,
        chance: &mut Chance,
    ) -> Option<u64> {
        let is_it = |target: &&mut Target| matches!(target.progress, Progress::Connected(at, _) if at == end);
        let target = self.targets.iter_mut().find(is_it)?;
        if let Progress::Connected(_, since) = target.progress
            && now.since(since) >= micros(RESET_AFTER)
        {
            target.failures = 0;
        }
        let wait = target.waits(wait, chance);
        self.forget_done();
        wait
    }

    /// What is not configured is known only while it is dialed or connected.
    fn forget_done(&mut self) {
        self.targets
            .retain(|target| target.is_configured || target.progress != Progress::Resting);
    }
}

fn target(url: PeerUrl) -> Target {
    Target {
        host: geography::host_of(&url),
        url,
        is_configured: false,
        rests: false,
        failures: 0,
        progress: Progress::Resting,
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::Part;
    use super::*;

    fn chance() -> Chance {
        Chance::new(1, Part::Dialing, 0)
    }

    #[test]
    fn a_configured_peer_is_dialed_again_and_another_is_not() {
        let (known, other) = (geography::url(1), geography::url(2));
        let mut dialing = Dialing::new(std::slice::from_ref(&known));
        assert_eq!(dialing.dial(&known, Attempt(1)), Some(Some(1)));
        assert_eq!(dialing.dial(&known, Attempt(2)), None, "under way");
        assert_eq!(dialing.dial(&other, Attempt(3)), Some(Some(2)));
        let failed = dialing.on_failed(Attempt(1), &mut chance()).unwrap();
        assert!(failed.wait.is_some_and(|wait| wait < 1_000_000));
        assert_eq!(dialing.redial(Attempt(1)), Some(known.clone()));
        let failed = dialing.on_failed(Attempt(3), &mut chance()).unwrap();
        assert_eq!((failed.url, failed.wait), (other, None));
        assert_eq!(dialing.targets.len(), 1);
    }

    #[test]
    fn a_peer_at_rest_is_left_alone_until_it_is_wanted() {
        let known = geography::url(1);
        let mut dialing = Dialing::new(std::slice::from_ref(&known));
        dialing.dial(&known, Attempt(1));
        dialing.on_opened(Attempt(1), EndId::new(1, 0, 0), Moment(0));
        dialing.rest(&known);
        let wait = dialing.on_closed(EndId::new(1, 0, 0), Attempt(2), Moment(5), &mut chance());
        assert_eq!(wait, None);
        assert_eq!(dialing.dial(&known, Attempt(3)), Some(Some(1)));
        let failed = dialing.on_failed(Attempt(3), &mut chance()).unwrap();
        assert!(failed.wait.is_some());
        dialing.rest(&known);
        assert_eq!(dialing.redial(Attempt(3)), None);
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_starts_anew_after_a_long_connection() {
        let known = geography::url(1);
        let mut dialing = Dialing::new(std::slice::from_ref(&known));
        let mut chance = chance();
        let longest = |dialing: &mut Dialing, chance: &mut Chance, number: u32| {
            dialing.dial(&known, Attempt(number));
            dialing
                .on_failed(Attempt(number), chance)
                .and_then(|it| it.wait)
        };
        let waits: Vec<_> = (0..200)
            .filter_map(|number| longest(&mut dialing, &mut chance, number))
            .collect();
        assert!(waits.iter().all(|wait| *wait < 60_000_000));
        assert!(waits.iter().any(|wait| *wait > 50_000_000));
        dialing.dial(&known, Attempt(500));
        dialing.on_opened(Attempt(500), EndId::new(1, 0, 0), Moment(0));
        let wait = dialing.on_closed(
            EndId::new(1, 0, 0),
            Attempt(501),
            Moment(31_000_000),
            &mut chance,
        );
        assert!(wait.is_some_and(|wait| wait < 1_000_000));
    }
}
