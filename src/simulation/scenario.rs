//! What is simulated: size, network, load, and what goes wrong.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{chance::Ppm, ledger::NUMBER_BYTES, weather::Weather};
use crate::config::{Limits, Size, Time, choice, limits::DEGREE_CEILING};
use crate::printable::Printable;

/// The most nodes that can be simulated: what addresses there are.
pub const NODES_CEILING: usize = 1_000_000;

/// The most publications a second.
pub const PUBLISH_RATE_CEILING: usize = 100_000;

/// The shortest time between two stalls of a link: a stall takes up to 5 s.
pub const STALL_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// The longest phase. Longer runs show nothing new.
pub const PHASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A run of the simulator: the same values give the same run, on any machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario {
    /// Nodes, hostile ones included. Default 1000.
    pub nodes: usize,
    /// Configured peers of each node, drawn from all that can be dialed. Default 3.
    pub seeds: usize,
    /// Neighbors that each node looks for. Default 5.
    pub degree: usize,
    /// What runs on the nodes.
    pub protocol: ProtocolKind,
    /// Time between joining and the first measurements. Default by size: 1 to 3 minutes.
    #[serde(serialize_with = "as_text")]
    pub settle: Option<Time>,
    /// Length of the phases of publishing. Default 1 minute; `None`: none.
    #[serde(serialize_with = "as_text")]
    pub duration: Option<Time>,
    /// Publications a second, of all publishers together. Default 10.
    pub publish_rate: usize,
    /// Nodes that publish, in turn. Default 10.
    pub publishers: usize,
    /// Bytes of a publication. Default 256.
    pub payload_bytes: usize,
    /// Share of nodes that die at the moment of a publication, the root among them.
    pub crash: Option<Share>,
    /// Share of nodes that are restarted each minute while others publish.
    pub churn: Option<PerMinute>,
    /// How long one half of the nodes cannot reach the other.
    #[serde(serialize_with = "as_text")]
    pub partition: Option<Time>,
    /// Share of nodes that cannot be dialed. Default none.
    pub undialable: Share,
    /// Share of deaths in which the host goes without a word. Default 10 %.
    pub silent: Share,
    /// Nodes that try to do harm. Default none.
    pub hostile: usize,
    /// Share of segments that are lost. Default 0.1 %.
    pub loss: Share,
    /// In each such time every link stalls once, for 1 to 5 s. Default 24 h; `None`: never.
    #[serde(serialize_with = "as_text")]
    pub stall: Option<Time>,
    /// Bits a second that a host can send. Default 10 million.
    pub bandwidth: usize,
    /// What all chance comes from. Default 1.
    pub seed: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            nodes: 1000,
            seeds: 3,
            degree: 5,
            protocol: ProtocolKind::default(),
            settle: None,
            duration: Some(Time(Duration::from_secs(60))),
            publish_rate: 10,
            publishers: 10,
            payload_bytes: 256,
            crash: None,
            churn: None,
            partition: None,
            undialable: Share(Ppm(0)),
            silent: Share::percent(10),
            hostile: 0,
            loss: Share(Ppm(1_000)),
            stall: Some(Time(Duration::from_secs(24 * 60 * 60))),
            bandwidth: 10_000_000,
            seed: 1,
        }
    }
}

impl Scenario {
    /// Checks each value against its bounds and the values against each other.
    ///
    /// # Errors
    /// The first value that is out of bounds, by the name of its flag.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let message_bytes_max = Limits::DEFAULT.message_bytes_max;
        for (flag, value, least, most) in [
            ("--nodes", self.nodes, 2, NODES_CEILING),
            ("--seeds", self.seeds, 1, 64),
            ("--degree", self.degree, 1, DEGREE_CEILING),
            ("--publish-rate", self.publish_rate, 1, PUBLISH_RATE_CEILING),
            ("--publishers", self.publishers, 1, NODES_CEILING),
            ("--bandwidth", self.bandwidth, 10_000, 1 << 40),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ScenarioError::Count {
                    flag,
                    value,
                    least,
                    most,
                });
            }
        }
        if !(NUMBER_BYTES..=message_bytes_max).contains(&self.payload_bytes) {
            return Err(ScenarioError::Payload {
                given: Size(self.payload_bytes),
            });
        }
        for (flag, value) in [
            ("--settle", self.settle),
            ("--duration", self.duration),
            ("--partition", self.partition),
        ] {
            if let Some(value) = value.filter(|value| value.0 > PHASE_MAX) {
                return Err(ScenarioError::Long { flag, value });
            }
        }
        if let Some(stall) = self.stall.filter(|stall| stall.0 < STALL_INTERVAL_MIN) {
            return Err(ScenarioError::Stall { given: stall });
        }
        if self.hostile * 2 > self.nodes {
            return Err(ScenarioError::Hostile {
                hostile: self.hostile,
                nodes: self.nodes,
            });
        }
        for (flag, share, most) in [
            ("--undialable", Some(self.undialable), 95),
            ("--crash", self.crash, 95),
            ("--churn", self.churn.map(|churn| churn.0), 50),
            ("--loss", Some(self.loss), 20),
        ] {
            if let Some(share) = share.filter(|share| *share > Share::percent(most)) {
                return Err(ScenarioError::Share {
                    flag,
                    share,
                    most: Share::percent(most),
                });
            }
        }
        Ok(())
    }

    /// Time between joining and the first measurements.
    pub(super) fn settle_time(&self) -> Duration {
        self.settle.map_or_else(
            || match self.nodes {
                ..=1_000 => Duration::from_secs(60),
                1_001..=5_000 => Duration::from_secs(120),
                _ => Duration::from_secs(180),
            },
            |settle| settle.0,
        )
    }

    pub(super) fn weather(&self) -> Weather {
        Weather {
            loss: self.loss.0,
            stall_every: self.stall.map(|stall| super::clock::micros(stall.0)),
            bandwidth: self.bandwidth as u64,
        }
    }
}

fn as_text<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Why a [`Scenario`] cannot be run. Names the flag and what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// A number out of bounds.
    #[error("{flag} {value} is out of bounds: from {least} to {most}")]
    Count {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: usize,
        /// The least that is allowed.
        least: usize,
        /// The most that is allowed.
        most: usize,
    },
    /// A payload that is too small to be numbered, or that no node would publish.
    #[error(
        "--payload {given} is out of bounds: from {} to {}",
        Size(NUMBER_BYTES),
        Size(Limits::DEFAULT.message_bytes_max)
    )]
    Payload {
        /// What was given.
        given: Size,
    },
    /// A phase that takes too long.
    #[error("{flag} {value} is too long: at most {}", Time(PHASE_MAX))]
    Long {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: Time,
    },
    /// Links that do nothing but stall.
    #[error(
        "--stall {given} is too short: at least {}, or off",
        Time(STALL_INTERVAL_MIN)
    )]
    Stall {
        /// What was given.
        given: Time,
    },
    /// More hostile nodes than others.
    #[error("--hostile {hostile} is more than half of --nodes {nodes}")]
    Hostile {
        /// Hostile nodes.
        hostile: usize,
        /// All nodes.
        nodes: usize,
    },
    /// A share that leaves nothing to measure.
    #[error("{flag} {share} is too much: at most {most}")]
    Share {
        /// The flag.
        flag: &'static str,
        /// What was given.
        share: Share,
        /// The most that is allowed.
        most: Share,
    },
}

/// What runs on the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolKind {
    /// The protocol of the program.
    #[default]
    Mesh,
    /// Every new message to all neighbors, over the same overlay.
    Flood,
    /// Plumtree as published (Leitão, Pereira, Rodrigues 2007), over the same overlay.
    Plumtree,
}

choice!(
    ProtocolKind,
    "protocol",
    Mesh = "mesh",
    Flood = "flood",
    Plumtree = "plumtree"
);

/// A share of a whole as people write it: `50%`, `0.1%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub(super) Ppm);

impl Share {
    /// So many of a hundred; at most all.
    pub const fn percent(percent: u32) -> Self {
        if percent < 100 {
            Self(Ppm(percent * 10_000))
        } else {
            Self(Ppm(1_000_000))
        }
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", f64::from(self.0.0) / 10_000.0))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim().strip_suffix('%').map(str::trim_end);
        let is_plain = |number: &&str| number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number = number.filter(is_plain);
        let percent = number.and_then(|number| number.parse::<f64>().ok());
        match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
            Some(percent) => Ok(Self(Ppm((percent * 10_000.0).round() as u32))),
            None => Err(ShareError(text.to_owned())),
        }
    }
}

/// A text that is no [`Share`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no share; write 0% to 100%, for example 50% or 0.1%", Printable(.0))]
pub struct ShareError(String);

/// A [`Share`] in each minute as people write it: `5%/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMinute(pub Share);

impl Display for PerMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/min", self.0))
    }
}

impl Serialize for PerMinute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for PerMinute {
    type Err = PerMinuteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = text.trim().strip_suffix("/min");
        share
            .and_then(|share| share.parse().ok())
            .map(Self)
            .ok_or_else(|| PerMinuteError(text.to_owned()))
    }
}

/// A text that is no [`PerMinute`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no share in a minute; write for example 5%/min", Printable(.0))]
pub struct PerMinuteError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_run() {
        assert_eq!(Scenario::default().check(), Ok(()));
    }

    #[test]
    fn shares_as_people_write_them() {
        for (text, ppm) in [("50%", 500_000), ("0.1%", 1_000), ("100 %", 1_000_000)] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.0.0, ppm);
            assert_eq!(share.to_string().parse(), Ok(share));
        }
        for text in ["50", "", "%", "101%", "-1%", "NaN%", "1e1%", "5%/min"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!("5%/min".parse(), Ok(PerMinute(Share::percent(5))));
        let error = "5%".parse::<PerMinute>().unwrap_err().to_string();
        assert!(error.contains("`5%`") && error.contains("5%/min"));
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let base = Scenario::default;
        for (scenario, expected) in [
            (Scenario { nodes: 1, ..base() }, "--nodes 1"),
            (Scenario { seeds: 0, ..base() }, "--seeds 0"),
            (
                Scenario {
                    payload_bytes: 7,
                    ..base()
                },
                "--payload 7B",
            ),
            (
                Scenario {
                    hostile: 501,
                    ..base()
                },
                "--hostile 501",
            ),
            (
                Scenario {
                    crash: Some(Share::percent(100)),
                    ..base()
                },
                "--crash 100%",
            ),
            (
                Scenario {
                    stall: Some(Time(Duration::from_secs(1))),
                    ..base()
                },
                "--stall 1s",
            ),
            (
                Scenario {
                    partition: Some(Time(2 * PHASE_MAX)),
                    ..base()
                },
                "--partition 48h",
            ),
        ] {
            let error = scenario.check().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
