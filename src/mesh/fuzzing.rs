//! Frames of neighbors, fed with arbitrary bytes.

use bytes::Bytes;

use super::{codec::*, control::*};
use crate::fuzzing::assert_printable;

/// A binary frame: what is understood of it can be written again, and then says the same.
pub(crate) fn feed_frame(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    match decode(&frame) {
        Ok(Frame::Publication(publication)) => check_publication(&frame, publication),
        Ok(Frame::Announcement(ids)) => check_ids(ids, encode_announcement, Frame::Announcement),
        Ok(Frame::Request(ids)) => check_ids(ids, encode_request, Frame::Request),
        Ok(Frame::Asked(ids)) => check_ids(ids, encode_asked, Frame::Asked),
        Ok(Frame::Offer(mut offers)) => {
            assert!((1..=IDS_PER_FRAME_MAX).contains(&offers.len()));
            let written = encode_offer(&mut offers);
            assert!(written.len() <= frame.len(), "it has grown");
            assert_eq!(decode(&written), Ok(Frame::Offer(offers)));
        }
        Ok(Frame::Unknown) => assert!(!(1..=5).contains(&frame[0])),
        Err(error) => assert_printable(&error.to_string()),
    }
}

fn check_publication(frame: &Bytes, publication: Publication) {
    assert_eq!(payload_len(frame), publication.message.len());
    let Publication {
        id,
        hops,
        is_direct,
        channel,
        message,
    } = &publication;
    // Hops and the flags of later versions are the sender's, and all else is as we would write it.
    let written = encode_publication(*id, *is_direct, channel, message);
    assert_eq!(written[1], frame[1] & 3);
    assert_eq!(written[3..], frame[3..]);
    let passed = passed_on(frame);
    assert_eq!(passed[3..], frame[3..]);
    let further = Publication {
        hops: hops.saturating_add(1),
        ..publication
    };
    assert_eq!(decode(&passed), Ok(Frame::Publication(further)));
}

fn check_ids(
    mut ids: Vec<MessageId>,
    encode: fn(&mut [MessageId]) -> Bytes,
    frame: fn(Vec<MessageId>) -> Frame,
) {
    assert!((1..=IDS_PER_FRAME_MAX).contains(&ids.len()));
    let written = encode(&mut ids);
    assert_eq!(decode(&written), Ok(frame(ids)));
}

/// A control frame: its bounds hold, and what is understood of it can be written again, and then says the same.
pub(crate) fn feed_control(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let control = match Control::decode(text) {
        Ok(control) => control,
        Err(error) => return drop(error.to_string()),
    };
    assert!(text.len() <= CONTROL_BYTES_MAX);
    match &control {
        Control::Hello(hello) => {
            assert!(hello.urls.len() <= URLS_MAX && hello.ports.len() <= URLS_MAX);
            assert!(hello.have.iter().all(|have| have.len() <= HAVE_MAX));
        }
        Control::Shuffle { urls, .. }
        | Control::Shuffled { urls, .. }
        | Control::Redirect { urls }
        | Control::Leaving { urls } => assert!(urls.len() <= URLS_MAX),
        Control::Beacon(beacon) => assert!(beacon.term <= NUMBER_MAX),
        _ => {}
    }
    if control != Control::Unknown {
        let written = control.encode();
        assert_eq!(
            serde_json::from_str::<Control>(&written).ok(),
            Some(control)
        );
    }
}
