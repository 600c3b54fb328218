//! What a node is told about the mesh.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use super::choice::choice;
use super::limits::{
    ADVERTISED_URLS_MAX, DEGREE_CEILING, DEGREE_MAX_DEFAULT, DEGREE_SPREAD, HISTORY_BYTES_CEILING,
    HISTORY_BYTES_FLOOR, HISTORY_MESSAGES_CEILING,
};
use super::{ConfigError, PeerUrl, check_count, check_duration, check_size};
use crate::printable::Printable;

/// How a node takes part in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfig {
    /// Name of the mesh (`--network`). Nodes of another name are refused. Default `default`.
    pub network: NetworkName,
    /// URLs at which others reach this node (`--advertise`). Without one the node is found only where a
    /// neighbor that dials it back proves its address. The same URL twice is told once.
    pub advertise: Vec<PeerUrl>,
    /// Neighbors that the node looks for by itself (`--degree`). Default 5. It takes some more
    /// ([`Self::degree_max`]), and keeps every configured peer beside them.
    pub degree: usize,
    /// How often a message may be passed on from node to node (`--hops`). Default 64.
    pub hops_max: u8,
    /// What is kept to fill gaps of others.
    pub history: HistoryLimits,
    /// Whether the node relays for nobody (`--leaf`): it dials, publishes and is served.
    pub is_leaf: bool,
}

impl MeshConfig {
    /// Neighbors that are taken in at most, beside those that cannot be dialed.
    pub fn degree_max(&self) -> usize {
        (self.degree * DEGREE_SPREAD).max(DEGREE_MAX_DEFAULT)
    }

    /// Checks each value against its bounds.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (history, hops_max) = (&self.history, usize::from(self.hops_max));
        let advertised: HashSet<_> = self.advertise.iter().collect();
        if advertised.len() > ADVERTISED_URLS_MAX {
            return Err(ConfigError::Advertised {
                count: advertised.len(),
            });
        }
        if let Some(url) = self.advertise.iter().find(|url| is_nowhere(url)) {
            return Err(ConfigError::AdvertisedNowhere { url: url.clone() });
        }
        check_count("--degree", self.degree, DEGREE_CEILING)?;
        check_count("--hops", hops_max, usize::from(u8::MAX))?;
        check_duration("--history", history.age_max)?;
        check_count(
            "--history-messages",
            history.messages_max,
            HISTORY_MESSAGES_CEILING,
        )?;
        check_size(
            "--history-bytes",
            history.bytes_max,
            HISTORY_BYTES_FLOOR,
            HISTORY_BYTES_CEILING,
        )
    }
}

/// Whether the host is an address that stands for no host in particular.
fn is_nowhere(url: &PeerUrl) -> bool {
    let address = url.host().parse();
    address.is_ok_and(|address: IpAddr| address.is_unspecified())
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            network: NetworkName("default".to_owned()),
            advertise: Vec::new(),
            degree: 5,
            hops_max: 64,
            history: HistoryLimits::DEFAULT,
            is_leaf: false,
        }
    }
}

/// Bounds of the messages that a node keeps to fill the gaps of others; the first one reached counts. What the node
/// has published itself and what others have are bounded each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// How long a message is kept (`--history`). Default 60 s; `None` (`off`) keeps nothing, so that what is
    /// lost on the way stays lost.
    pub age_max: Option<Duration>,
    /// How many messages (`--history-messages`). Default 256.
    pub messages_max: usize,
    /// How many bytes of messages (`--history-bytes`). Default 1 MiB.
    pub bytes_max: usize,
}

impl HistoryLimits {
    /// The defaults, usable in constants.
    pub const DEFAULT: Self = Self {
        age_max: Some(Duration::from_secs(60)),
        messages_max: 256,
        bytes_max: 1024 * 1024,
    };
}

/// The name of a mesh: 1 to 64 printable ASCII characters, no space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkName(String);

impl NetworkName {
    /// Longest name in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`NetworkName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no name of a network: 1 to {} letters, digits and signs of ASCII, without spaces",
    Printable(.0),
    NetworkName::BYTES_MAX
)]
pub struct NetworkNameError(String);

impl FromStr for NetworkName {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_valid = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NetworkNameError(text.to_owned()))
        }
    }
}

/// Who hears the periodic broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BroadcastScope {
    /// Every directly connected peer, neighbor or plain.
    #[default]
    Peers,
    /// Everyone in the mesh: it is published in the channel `/`.
    Mesh,
}

choice!(BroadcastScope, "scope", Peers = "peers", Mesh = "mesh");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_networks() {
        let longest = "x".repeat(NetworkName::BYTES_MAX);
        for text in ["default", "a", "site-7/blue!", &longest] {
            let name: NetworkName = text.parse().unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
        }
        for text in ["", "two words", "tab\t", "grün", &(longest + "x")] {
            let error = text.parse::<NetworkName>().unwrap_err().to_string();
            let shown = Printable(text).to_string();
            let expected = format!("`{shown}` is no name of a network: 1 to 64 ");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_node_takes_more_neighbors_than_it_looks_for() {
        let degree_max = |degree| {
            let config = MeshConfig {
                degree,
                ..MeshConfig::default()
            };
            config.degree_max()
        };
        assert_eq!([1, 5, 8, 64].map(degree_max), [12, 12, 16, 128]);
    }
}
