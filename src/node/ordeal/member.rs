//! A node in a simulated world: it turns when the world or its own clock wants it to, and after every turn it is looked
//! whether all is well.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::Poll;
use rand::rngs::SmallRng;

use super::watch::{LATE_MAX, Watch};
use crate::{
    Config, Received,
    net::{
        Kernel, Readiness, Source,
        simulated::{Host, World},
    },
    node::{Next, Node, handle::Handle},
    signals::Arrived,
};

/// Descriptors of a machine that lacks none.
pub(super) const MANY: usize = 100_000;

/// A node and what is known of it.
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) handle: Handle,
    pub(super) host: Host,
    watch: Watch,
    /// When it wakes by itself.
    wake_at: Option<Instant>,
    /// Its next turn is not before then: it is busy elsewhere.
    pub(super) busy_until: Instant,
    pub(super) is_woken: bool,
    pub(super) arrived: Arrived,
    /// When it was told to stop, and until when it has to be gone.
    stops_until: Option<Instant>,
    pub(super) has_ended: bool,
}

impl Member {
    /// With `is_spared`, the weather cuts none of the connections that it dials.
    pub(super) fn new(
        config: &Config,
        world: &World,
        is_spared: bool,
        rng: &mut SmallRng,
        now: Instant,
    ) -> Self {
        let (ip, _) = place_of(config);
        let host = world.host(ip, MANY, is_spared);
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("a descriptor is left");
        let kernel = Kernel::simulated(registry, host.clone());
        let refusals_max = 2;
        let node = Node::on(poll, kernel, config, refusals_max, rng, now);
        let node = node.expect("it is configured well");
        Self {
            handle: node.handle(),
            node,
            host,
            watch: Watch::default(),
            wake_at: Some(now),
            busy_until: now,
            is_woken: false,
            arrived: Arrived::default(),
            stops_until: None,
            has_ended: false,
        }
    }

    /// SIGINT has come.
    pub(super) fn interrupt(&mut self, now: Instant) {
        self.arrived.is_stop = true;
        self.stop(Duration::ZERO, now);
    }

    /// SIGTERM has come.
    pub(super) fn drain(&mut self, now: Instant) {
        self.arrived.is_drain = true;
        self.stop(self.node.config.limits.drain.unwrap_or_default(), now);
    }

    pub(super) fn stop(&mut self, over: Duration, now: Instant) {
        let until = now + over + self.node.config.limits.shutdown_timeout + LATE_MAX;
        self.stops_until.get_or_insert(until);
    }

    fn has_arrived(&self) -> bool {
        self.is_woken || self.arrived != Arrived::default()
    }

    /// When it is to turn next.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.has_ended {
            return None;
        }
        let is_ready = self.has_arrived() || self.host.is_ready();
        let ready_at = is_ready.then_some(self.busy_until);
        let wake_at = self.wake_at.map(|at| at.max(self.busy_until));
        [ready_at, wake_at].into_iter().flatten().min()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|next| next <= now)
    }

    /// One turn, with word of so many sockets at most. `hear` gets what the output hears.
    pub(super) fn turn(
        &mut self,
        mut hear: impl FnMut(&str),
        events_max: usize,
        now: Instant,
    ) -> Next {
        let Self { node, host, .. } = self;
        let arrived = std::mem::take(&mut self.arrived);
        if arrived != Arrived::default() {
            node.on_signals(arrived, now);
        }
        let mut ready = host.poll(events_max);
        if std::mem::take(&mut self.is_woken) {
            ready.push(Readiness {
                source: Source::Waker,
                is_readable: true,
                is_writable: false,
                is_end: false,
            });
        }
        let told = ready.len();
        let mut output = |received: &Received<'_>| {
            hear(&String::from_utf8_lossy(received.message.as_bytes()));
        };
        let next = node.turn(ready, now, &mut output);
        self.watch.check(node, host, next, told, now);
        match next {
            Next::Wait(patience) => self.wake_at = patience.map(|patience| now + patience),
            Next::End => self.has_ended = true,
        }
        if let Some(until) = self.stops_until {
            assert!(self.has_ended || now <= until, "it does not end in time");
        }
        next
    }
}

/// Where a node listens.
pub(super) fn place_of(config: &Config) -> (IpAddr, SocketAddr) {
    let bind = config.binds.first().expect("a node listens");
    let ip: IpAddr = bind.host().parse().expect("it is an address");
    (ip, SocketAddr::new(ip, bind.port()))
}
