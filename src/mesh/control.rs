//! The control frames between neighbors: JSON in text frames, so that a page in a browser can take part
//! with a few lines. Unknown keys and unknown types are left aside. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::node_id::NodeId;

/// The versions of the protocol that this node speaks.
pub(super) const VERSION_MIN: u32 = 1;
pub(super) const VERSION_MAX: u32 = 1;

/// Longest control frame: a hello with all that it may hold.
pub(super) const CONTROL_BYTES_MAX: usize = 32 * 1024;
/// URLs in one frame.
pub(super) const URLS_MAX: usize = 8;
/// Bytes of a URL.
pub(super) const URL_BYTES_MAX: usize = 255;
/// Origins of which a hello tells what is held.
pub(super) const HAVE_MAX: usize = 256;
/// Greatest number that every JSON parser reads exactly (RFC 8259 §6).
pub(super) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The distance of a root that does not know how far it stands from the others.
pub(super) const DISTANCE_UNKNOWN: u32 = u32::MAX;

/// What part a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Relays.
    #[default]
    Peer,
    /// Relays for nobody.
    Leaf,
    /// Only wants to know who is there.
    Probe,
}

/// The first frame each way: who is there, and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Versions spoken, from … to.
    pub(super) min: u32,
    pub(super) max: u32,
    #[serde(with = "id_text")]
    pub(super) id: NodeId,
    pub(super) network: String,
    #[serde(default)]
    pub(super) role: Role,
    /// URLs at which the node says it can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) urls: Vec<String>,
    /// Ports at which it can perhaps be reached, at the address that it comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<u16>,
    /// Neighbors now, and how many it takes.
    #[serde(default)]
    pub(super) degree: u32,
    #[serde(default)]
    pub(super) degree_max: u32,
    /// Largest payload that it takes, in bytes; 0 if not told.
    #[serde(default)]
    pub(super) max_message: u64,
    /// Please make room: it has been without any neighbor for a while, or it probes whether two parts of
    /// the mesh can be joined.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) urgent: bool,
    /// To who has dialed: there is another connection that you have dialed, before this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) known: bool,
    /// By origin, up to which sequence it has everything. Absent: it begins now, and wants nothing from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) have: Option<BTreeMap<String, u32>>,
    /// Milliseconds since it has begun: a leaf wants nothing from before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) age: Option<u64>,
}

/// The root's sign of life, which builds the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beacon {
    pub(super) term: u64,
    /// How far the root stood from the others when it became the root: milliseconds of a round trip.
    #[serde(default = "unknown", skip_serializing_if = "is_unknown")]
    pub(super) distance: u32,
    #[serde(with = "id_text")]
    pub(super) root: NodeId,
    pub(super) sequence: u32,
    /// From the root to the sender.
    pub(super) hop: u32,
}

fn unknown() -> u32 {
    DISTANCE_UNKNOWN
}

fn is_unknown(distance: &u32) -> bool {
    *distance == DISTANCE_UNKNOWN
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Control {
    Hello(Hello),
    /// Who has dialed has got the hello of the other side, which sees by this how long a round trip takes.
    Met,
    Beacon(Beacon),
    /// Whether the sender wants messages at once, or announcements.
    Tree {
        eager: bool,
    },
    /// Addresses on a random walk; the last one on it answers.
    Shuffle {
        id: u64,
        ttl: u8,
        urls: Vec<String>,
    },
    /// The answer, on the same way back.
    Shuffled {
        id: u64,
        urls: Vec<String>,
    },
    /// Full: try these.
    Redirect {
        urls: Vec<String>,
    },
    /// The sender is about to go: try these in its place. It passes messages on to the last.
    Leaving {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        urls: Vec<String>,
    },
    /// The answer: the sender has looked for another way.
    Noted,
    /// Whether a dial to this address of the receiver has found it.
    Reached {
        url: String,
        ok: bool,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// Why a control frame cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ControlError {
    #[error("a control frame has more than {CONTROL_BYTES_MAX} bytes")]
    Long,
    #[error("a control frame is not as it should be: {0}")]
    Json(String),
    #[error("a control frame has more of {0} than allowed")]
    Many(&'static str),
}

impl Control {
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and lists of them are always JSON")
    }

    /// Reads a frame and checks every bound that does not depend on who sends it.
    pub(super) fn decode(text: &str) -> Result<Self, ControlError> {
        if text.len() > CONTROL_BYTES_MAX {
            return Err(ControlError::Long);
        }
        let control: Self =
            serde_json::from_str(text).map_err(|error| ControlError::Json(error.to_string()))?;
        let many = |what| Err(ControlError::Many(what));
        match &control {
            Self::Hello(hello) => {
                if hello.urls.len() > URLS_MAX || hello.ports.len() > URLS_MAX {
                    return many("addresses");
                }
                if hello
                    .have
                    .as_ref()
                    .is_some_and(|have| have.len() > HAVE_MAX)
                {
                    return many("origins");
                }
            }
            Self::Shuffle { urls, .. }
            | Self::Shuffled { urls, .. }
            | Self::Redirect { urls }
            | Self::Leaving { urls }
                if urls.len() > URLS_MAX =>
            {
                return many("addresses");
            }
            Self::Beacon(beacon) if beacon.term > NUMBER_MAX => return many("terms"),
            _ => {}
        }
        Ok(control)
    }
}

/// Ids as text, which all JSON parsers read alike.
mod id_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::node_id::NodeId;

    pub(super) fn serialize<S: Serializer>(id: &NodeId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NodeId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            min: 1,
            max: 1,
            id: NodeId(10),
            network: "default".to_owned(),
            role: Role::Peer,
            urls: Vec::new(),
            ports: vec![8080],
            degree: 2,
            degree_max: 12,
            max_message: 1024,
            urgent: false,
            known: false,
            have: None,
            age: None,
        }
    }

    /// Frames of version 1 as text: what has once been sent must be understood for ever.
    #[test]
    fn recorded_frames_of_version_1_are_understood() {
        let id = "0000000000000000000000000000000a";
        let recorded = [
            (
                format!(
                    r#"{{"type":"hello","min":1,"max":1,"id":"{id}","network":"default","role":"peer","ports":[8080],"degree":2,"degree_max":12,"max_message":1024}}"#
                ),
                Control::Hello(hello()),
            ),
            (
                format!(
                    r#"{{"type":"hello","min":1,"max":3,"id":"{id}","network":"x","role":"leaf","have":{{"{id}":7}},"age":250,"later":[1]}}"#
                ),
                Control::Hello(Hello {
                    max: 3,
                    network: "x".to_owned(),
                    role: Role::Leaf,
                    ports: Vec::new(),
                    degree: 0,
                    degree_max: 0,
                    max_message: 0,
                    have: Some(BTreeMap::from([(id.to_owned(), 7)])),
                    age: Some(250),
                    ..hello()
                }),
            ),
            (
                format!(
                    r#"{{"type":"hello","min":1,"max":1,"id":"{id}","network":"default","role":"peer","ports":[8080],"degree":2,"degree_max":12,"max_message":1024,"known":true}}"#
                ),
                Control::Hello(Hello {
                    known: true,
                    ..hello()
                }),
            ),
            (
                format!(r#"{{"type":"beacon","term":3,"root":"{id}","sequence":9,"hop":2}}"#),
                Control::Beacon(Beacon {
                    term: 3,
                    distance: u32::MAX,
                    root: NodeId(10),
                    sequence: 9,
                    hop: 2,
                }),
            ),
            (
                format!(
                    r#"{{"type":"beacon","term":3,"distance":41,"root":"{id}","sequence":9,"hop":0}}"#
                ),
                Control::Beacon(Beacon {
                    term: 3,
                    distance: 41,
                    root: NodeId(10),
                    sequence: 9,
                    hop: 0,
                }),
            ),
            (r#"{"type":"met"}"#.to_owned(), Control::Met),
            (
                r#"{"type":"tree","eager":false}"#.to_owned(),
                Control::Tree { eager: false },
            ),
            (
                r#"{"type":"shuffle","id":7,"ttl":4,"urls":["ws://a:1/"]}"#.to_owned(),
                Control::Shuffle {
                    id: 7,
                    ttl: 4,
                    urls: vec!["ws://a:1/".to_owned()],
                },
            ),
            (
                r#"{"type":"shuffled","id":7,"urls":[]}"#.to_owned(),
                Control::Shuffled {
                    id: 7,
                    urls: Vec::new(),
                },
            ),
            (
                r#"{"type":"redirect","urls":["ws://a:1/"]}"#.to_owned(),
                Control::Redirect {
                    urls: vec!["ws://a:1/".to_owned()],
                },
            ),
            (
                r#"{"type":"leaving","urls":["ws://a:1/"]}"#.to_owned(),
                Control::Leaving {
                    urls: vec!["ws://a:1/".to_owned()],
                },
            ),
            (
                r#"{"type":"leaving"}"#.to_owned(),
                Control::Leaving { urls: Vec::new() },
            ),
            (r#"{"type":"noted"}"#.to_owned(), Control::Noted),
            (
                r#"{"type":"reached","url":"ws://a:1/","ok":true}"#.to_owned(),
                Control::Reached {
                    url: "ws://a:1/".to_owned(),
                    ok: true,
                },
            ),
        ];
        for (text, control) in recorded {
            assert_eq!(Control::decode(&text).as_ref(), Ok(&control), "{text}");
            assert_eq!(Control::decode(&control.encode()), Ok(control));
        }
    }

    #[test]
    fn what_a_later_version_adds_is_left_aside() {
        let later = r#"{"type":"later","with":{"more":1}}"#;
        assert_eq!(Control::decode(later), Ok(Control::Unknown));
    }

    #[test]
    fn bounds_are_checked() {
        let long = " ".repeat(CONTROL_BYTES_MAX + 1);
        assert_eq!(Control::decode(&long), Err(ControlError::Long));
        let many = Control::Redirect {
            urls: vec![String::new(); URLS_MAX + 1],
        };
        assert_eq!(
            Control::decode(&many.encode()),
            Err(ControlError::Many("addresses"))
        );
        let have = (0..=HAVE_MAX).map(|n| (n.to_string(), 1)).collect();
        let hello = Control::Hello(Hello {
            have: Some(have),
            ..hello()
        });
        assert_eq!(
            Control::decode(&hello.encode()),
            Err(ControlError::Many("origins"))
        );
        let beacon = Beacon {
            term: NUMBER_MAX + 1,
            distance: 0,
            root: NodeId(1),
            sequence: 1,
            hop: 0,
        };
        let beacon = Control::Beacon(beacon).encode();
        assert_eq!(Control::decode(&beacon), Err(ControlError::Many("terms")));
        assert!(matches!(Control::decode("{}"), Err(ControlError::Json(_))));
        let deep = "[".repeat(CONTROL_BYTES_MAX);
        assert!(matches!(Control::decode(&deep), Err(ControlError::Json(_))));
    }

    /// The greatest hello that this node can send is one that it takes.
    #[test]
    fn a_full_hello_fits() {
        let url = "u".repeat(URL_BYTES_MAX);
        let have = (0..HAVE_MAX)
            .map(|n| (NodeId(n as u128).to_string(), u32::MAX))
            .collect::<BTreeMap<_, _>>();
        let full = Hello {
            urls: vec![url; URLS_MAX],
            ports: vec![u16::MAX; URLS_MAX],
            network: "n".repeat(64),
            have: Some(have),
            age: Some(u64::MAX),
            ..hello()
        };
        assert!(Control::decode(&Control::Hello(full).encode()).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_survived(text in any::<String>(), json in "[\\[\\]{}\":,a-z0-9]{0,99}") {
            let _ = Control::decode(&text);
            let _ = Control::decode(&json);
            let _ = Control::decode(&format!("{{\"type\":\"hello\",{json}}}"));
        }
    }
}
