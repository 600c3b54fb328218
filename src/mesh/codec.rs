//! The binary frames between neighbors: messages, and what is said of messages. Pure.
//!
//! ```text
//! message       1  flags  hops  origin (16)  sequence (4)  length  channel  payload …
//! announcement  2  groups: origin (16)  count (2)  sequence (4) …
//! request       3  the same
//! asked         4  the same
//! offer         5  groups: origin (16)  count (2)  [sequence (4)  age (4)] …
//! ```
//!
//! Numbers are big-endian; an age is in milliseconds. Relaying changes one byte, the hops. A frame of another type
//! is left aside, so that a later version can add some.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use tungstenite::Utf8Bytes;

use crate::{config::limits::CHANNEL_BYTES_MAX, message::Message, node_id::NodeId};

const MESSAGE: u8 = 1;
const ANNOUNCEMENT: u8 = 2;
const REQUEST: u8 = 3;
const ASKED: u8 = 4;
const OFFER: u8 = 5;

/// The payload is text.
const TEXT: u8 = 1;
/// For the neighbor's people only: not relayed, not numbered.
const DIRECT: u8 = 2;
/// Flags that this version knows. The greatest is kept for signatures.
const KNOWN: u8 = TEXT | DIRECT;

const HOPS_AT: usize = 2;
const HEAD_BYTES: usize = 1 + 1 + 1 + 16 + 4 + 1;

/// Ids in one announcement, offer, request or word that something was asked for; what is more goes into another one.
pub(super) const IDS_PER_FRAME_MAX: usize = 1024;

/// Names a message in the whole mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MessageId {
    pub(super) origin: NodeId,
    pub(super) sequence: u32,
}

/// A message that has been there for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) id: MessageId,
    /// Since it first came to a node, as far as the sender knows.
    pub(super) age: Duration,
}

/// A message as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) id: MessageId,
    /// From node to node so often, the way to us included.
    pub(super) hops: u8,
    pub(super) is_direct: bool,
    pub(super) channel: Utf8Bytes,
    pub(super) message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Publication(Publication),
    Announcement(Vec<MessageId>),
    Offer(Vec<Offer>),
    Request(Vec<MessageId>),
    /// The sender has asked another neighbor for these, or has heard in the tree of somebody who has.
    Asked(Vec<MessageId>),
    /// Of a later version.
    Unknown,
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("a frame is shorter than its head")]
    Short,
    #[error("a channel is not a path")]
    Channel,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a list of ids is empty, too long or cut off")]
    Ids,
}

/// Writes a message as its origin sends it.
pub(super) fn encode_publication(
    id: MessageId,
    is_direct: bool,
    channel: &str,
    message: &Message,
) -> Bytes {
    let payload = message.as_bytes();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + channel.len() + payload.len());
    let text = match message {
        Message::Text(_) => TEXT,
        Message::Binary(_) => 0,
    };
    bytes.put_u8(MESSAGE);
    bytes.put_u8(text | if is_direct { DIRECT } else { 0 });
    bytes.put_u8(1);
    bytes.put_u128(id.origin.0);
    bytes.put_u32(id.sequence);
    debug_assert!(channel.len() <= CHANNEL_BYTES_MAX);
    bytes.put_u8(channel.len() as u8);
    bytes.put_slice(channel.as_bytes());
    bytes.put_slice(payload);
    bytes.into()
}

/// The frame of a message as we pass it on: a copy of its own, which keeps nothing else alive.
pub(super) fn passed_on(frame: &[u8]) -> Bytes {
    let mut bytes = frame.to_vec();
    bytes[HOPS_AT] = bytes[HOPS_AT].saturating_add(1);
    bytes.into()
}

/// Bytes of payload in the frame of a message.
pub(super) fn payload_len(frame: &[u8]) -> usize {
    frame.len() - HEAD_BYTES - usize::from(frame[HEAD_BYTES - 1])
}

pub(super) fn encode_announcement(ids: &mut [MessageId]) -> Bytes {
    encode_ids(ANNOUNCEMENT, ids)
}

pub(super) fn encode_request(ids: &mut [MessageId]) -> Bytes {
    encode_ids(REQUEST, ids)
}

pub(super) fn encode_asked(ids: &mut [MessageId]) -> Bytes {
    encode_ids(ASKED, ids)
}

pub(super) fn encode_offer(offers: &mut [Offer]) -> Bytes {
    debug_assert!((1..=IDS_PER_FRAME_MAX).contains(&offers.len()));
    offers.sort_unstable_by_key(|offer| offer.id);
    let mut bytes = Vec::with_capacity(1 + 18 + 8 * offers.len());
    bytes.put_u8(OFFER);
    for group in offers.chunk_by(|a, b| a.id.origin == b.id.origin) {
        bytes.put_u128(group[0].id.origin.0);
        bytes.put_u16(group.len() as u16);
        for offer in group {
            bytes.put_u32(offer.id.sequence);
            bytes.put_u32(u32::try_from(offer.age.as_millis()).unwrap_or(u32::MAX));
        }
    }
    bytes.into()
}

fn encode_ids(kind: u8, ids: &mut [MessageId]) -> Bytes {
    debug_assert!((1..=IDS_PER_FRAME_MAX).contains(&ids.len()));
    ids.sort_unstable();
    let mut bytes = Vec::with_capacity(1 + 18 + 4 * ids.len());
    bytes.put_u8(kind);
    for group in ids.chunk_by(|a, b| a.origin == b.origin) {
        bytes.put_u128(group[0].origin.0);
        bytes.put_u16(group.len() as u16);
        group.iter().for_each(|id| bytes.put_u32(id.sequence));
    }
    bytes.into()
}

/// Reads a frame. The parts of a message share its bytes.
pub(super) fn decode(frame: &Bytes) -> Result<Frame, CodecError> {
    match frame.first() {
        None => Err(CodecError::Short),
        Some(&MESSAGE) => decode_publication(frame).map(Frame::Publication),
        Some(&ANNOUNCEMENT) => decode_ids(&frame[1..]).map(Frame::Announcement),
        Some(&REQUEST) => decode_ids(&frame[1..]).map(Frame::Request),
        Some(&ASKED) => decode_ids(&frame[1..]).map(Frame::Asked),
        Some(&OFFER) => decode_offers(&frame[1..]).map(Frame::Offer),
        Some(_) => Ok(Frame::Unknown),
    }
}

fn decode_publication(frame: &Bytes) -> Result<Publication, CodecError> {
    let mut head = Fields(frame);
    let short = CodecError::Short;
    let [_, flags, hops] = head.take().ok_or(short)?;
    let origin = NodeId(u128::from_be_bytes(head.take().ok_or(short)?));
    let sequence = u32::from_be_bytes(head.take().ok_or(short)?);
    let [length] = head.take().ok_or(short)?;
    let payload_at = HEAD_BYTES + usize::from(length);
    if frame.len() < payload_at {
        return Err(short);
    }
    let channel = Utf8Bytes::try_from(frame.slice(HEAD_BYTES..payload_at))
        .ok()
        .filter(|channel| channel.starts_with('/'))
        .ok_or(CodecError::Channel)?;
    let payload = frame.slice(payload_at..);
    // Flags of a later version change nothing of what this one does.
    let flags = flags & KNOWN;
    let message = if flags & TEXT == 0 {
        Message::Binary(payload)
    } else {
        Message::Text(Utf8Bytes::try_from(payload).map_err(|_| CodecError::NotUtf8)?)
    };
    Ok(Publication {
        id: MessageId { origin, sequence },
        hops,
        is_direct: flags & DIRECT != 0,
        channel,
        message,
    })
}

fn decode_ids(bytes: &[u8]) -> Result<Vec<MessageId>, CodecError> {
    decode_groups(bytes, |id, _| Some(id))
}

fn decode_offers(bytes: &[u8]) -> Result<Vec<Offer>, CodecError> {
    decode_groups(bytes, |id, fields| {
        let age = Duration::from_millis(u32::from_be_bytes(fields.take()?).into());
        Some(Offer { id, age })
    })
}

/// Reads ids by their origins, and what follows each.
fn decode_groups<T>(
    bytes: &[u8],
    read: impl Fn(MessageId, &mut Fields) -> Option<T>,
) -> Result<Vec<T>, CodecError> {
    let mut all = Vec::new();
    let mut fields = Fields(bytes);
    while !fields.0.is_empty() {
        let origin = NodeId(u128::from_be_bytes(fields.take().ok_or(CodecError::Ids)?));
        let count = u16::from_be_bytes(fields.take().ok_or(CodecError::Ids)?);
        if count == 0 || all.len() + usize::from(count) > IDS_PER_FRAME_MAX {
            return Err(CodecError::Ids);
        }
        for _ in 0..count {
            let sequence = u32::from_be_bytes(fields.take().ok_or(CodecError::Ids)?);
            let id = MessageId { origin, sequence };
            all.push(read(id, &mut fields).ok_or(CodecError::Ids)?);
        }
    }
    if all.is_empty() {
        return Err(CodecError::Ids);
    }
    Ok(all)
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(origin: u128, sequence: u32) -> MessageId {
        let origin = NodeId(origin);
        MessageId { origin, sequence }
    }

    /// Frames of version 1, byte for byte: what has once been sent must be understood for ever.
    #[test]
    fn recorded_frames_of_version_1_are_understood() {
        let text = b"\x01\x01\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x05\x02/aHi";
        let publication = Publication {
            id: id(7, 5),
            hops: 3,
            is_direct: false,
            channel: "/a".into(),
            message: Message::text("Hi"),
        };
        let frame = Bytes::from_static(text);
        assert_eq!(decode(&frame), Ok(Frame::Publication(publication)));
        let announcement = b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\x02\0\0\0\x05\0\0\0\x06\
            \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\x01\xff\xff\xff\xff";
        let ids = vec![id(7, 5), id(7, 6), id(8, u32::MAX)];
        let frame = Bytes::from_static(announcement);
        assert_eq!(decode(&frame), Ok(Frame::Announcement(ids.clone())));
        let request = [&b"\x03"[..], &announcement[1..]].concat();
        assert_eq!(decode(&request.into()), Ok(Frame::Request(ids.clone())));
        let asked = [&b"\x04"[..], &announcement[1..]].concat();
        assert_eq!(decode(&asked.into()), Ok(Frame::Asked(ids)));
        let offer = b"\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\x01\0\0\0\x05\0\0\x03\xe8";
        let (id, age) = (id(7, 5), Duration::from_secs(1));
        let frame = Bytes::from_static(offer);
        assert_eq!(decode(&frame), Ok(Frame::Offer(vec![Offer { id, age }])));
    }

    #[test]
    fn what_a_later_version_adds_is_left_aside() {
        assert_eq!(
            decode(&Bytes::from_static(b"\x09later")),
            Ok(Frame::Unknown)
        );
        let mut frame = encode_publication(id(1, 1), false, "/", &Message::text("x")).to_vec();
        frame[1] |= 0xf0;
        let Ok(Frame::Publication(publication)) = decode(&frame.into()) else {
            panic!("not understood")
        };
        assert_eq!(publication.message, Message::text("x"));
    }

    #[test]
    fn passing_on_changes_the_hops_and_nothing_else() {
        let frame = encode_publication(id(1, 2), false, "/c", &Message::binary("data"));
        let passed = passed_on(&frame);
        assert_eq!((frame[HOPS_AT], passed[HOPS_AT]), (1, 2));
        assert_eq!(frame[HOPS_AT + 1..], passed[HOPS_AT + 1..]);
        assert_eq!(payload_len(&passed), 4);
    }

    #[test]
    fn wrong_frames_are_told_apart() {
        for (bytes, error) in [
            (&b""[..], CodecError::Short),
            (b"\x01\x01", CodecError::Short),
            (
                &[&[1u8; HEAD_BYTES - 1][..], b"\x09/a"].concat(),
                CodecError::Short,
            ),
            (
                &[&[1u8; HEAD_BYTES - 1][..], b"\x01a"].concat(),
                CodecError::Channel,
            ),
            (
                &[&[1u8; HEAD_BYTES - 1][..], b"\x01/\xff"].concat(),
                CodecError::NotUtf8,
            ),
            (b"\x02", CodecError::Ids),
            (b"\x02\0\0", CodecError::Ids),
            (&[&b"\x03"[..], &[0u8; 18]].concat(), CodecError::Ids),
            (
                &[&b"\x05"[..], &[0u8; 17], b"\x01\0\0\0\x05\0\0\x03"].concat(),
                CodecError::Ids,
            ),
        ] {
            assert_eq!(
                decode(&Bytes::copy_from_slice(bytes)),
                Err(error),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn messages_survive_the_way(
            origin in any::<u128>(), sequence in any::<u32>(), is_direct in any::<bool>(),
            channel in "/[a-z/]{0,254}", text in any::<Option<String>>(), bytes in any::<Vec<u8>>(),
        ) {
            let message = text.map_or(Message::binary(bytes), Message::text);
            let id = id(origin, sequence);
            let frame = encode_publication(id, is_direct, &channel, &message);
            prop_assert_eq!(payload_len(&frame), message.len());
            let publication = Publication { id, hops: 1, is_direct, channel: channel.into(), message };
            prop_assert_eq!(decode(&frame), Ok(Frame::Publication(publication)));
        }

        #[test]
        fn ids_survive_the_way(
            mut ids in prop::collection::vec((0u128..4, any::<u32>()).prop_map(|(o, s)| id(o, s)), 1..99),
        ) {
            let frame = encode_announcement(&mut ids);
            prop_assert_eq!(decode(&frame), Ok(Frame::Announcement(ids.clone())));
            prop_assert_eq!(decode(&encode_request(&mut ids)), Ok(Frame::Request(ids.clone())));
            prop_assert_eq!(decode(&encode_asked(&mut ids)), Ok(Frame::Asked(ids)));
        }

        #[test]
        fn offers_survive_the_way(
            mut offers in prop::collection::vec((0u128..4, any::<u32>(), any::<u32>()), 1..99)
                .prop_map(|offers| offers.into_iter().map(|(origin, sequence, age)| Offer {
                    id: id(origin, sequence),
                    age: Duration::from_millis(age.into()),
                }).collect::<Vec<_>>()),
        ) {
            let frame = encode_offer(&mut offers);
            prop_assert_eq!(decode(&frame), Ok(Frame::Offer(offers)));
        }

        #[test]
        fn arbitrary_bytes_are_survived(mut bytes in any::<Vec<u8>>(), kind in 0u8..6) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let frame = decode(&bytes.into());
            if let Ok(Frame::Announcement(ids) | Frame::Request(ids) | Frame::Asked(ids)) = frame {
                prop_assert!(ids.len() <= IDS_PER_FRAME_MAX);
            }
        }
    }
}
