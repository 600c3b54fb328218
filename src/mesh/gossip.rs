//! Messages: published, taken in once, passed on, announced, and asked for.
//!
//! A message goes at once to the parent and the children in the tree; all other neighbors hear that it is
//! there. What was announced and does not come is asked for after a while. A request never changes the tree; it
//! is told in the tree, so that of all who are beyond the same loss not each one asks: who has it says so and is
//! not sent it, who lacks it too waits for it to be passed on.

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Delivery, Mesh, News, Output, PeerKey, Reach,
    codec::{self, Frame, IDS_PER_FRAME_MAX, MessageId, Publication},
    control::Role,
    missing::{Asked, Came},
    neighbors::SERVED_BURST_KIB,
    seen::Taken,
};
use crate::{message::Message, node_id::NodeId};

/// Announcements are gathered for so long.
const ANNOUNCE_DELAY: Duration = Duration::from_millis(50);
/// After the tree was torn here: before the first request, at most.
const PATIENCE_TORN: Duration = Duration::from_millis(300);
/// Before the next request for the same message, at least: it may be large; and after the tree was torn.
const PATIENCE_AGAIN: Duration = Duration::from_secs(1);
const PATIENCE_TORN_AGAIN: Duration = Duration::from_millis(250);
/// Before a request for what a neighbor in the tree has asked for: it takes a round trip to get there.
const PATIENCE_NEARBY: Duration = Duration::from_millis(150);
/// For so long after the tree was torn here.
const TORN_FOR: Duration = Duration::from_secs(10);
/// A neighbor that is so new announces what it had before: that does not come by itself.
const NEW_FOR: Duration = Duration::from_secs(1);

impl Mesh {
    /// Publishes a message of this node. The node itself delivers it to its own peers and output.
    /// Returns origin and sequence of the message. The channel is a path of at most
    /// [`CHANNEL_BYTES_MAX`](crate::config::limits::CHANNEL_BYTES_MAX) bytes.
    pub(crate) fn publish(
        &mut self,
        channel: &str,
        message: &Message,
        now: Instant,
    ) -> (NodeId, u32) {
        if self.sequence == u32::MAX {
            self.origin = NodeId(rand::RngExt::random(&mut self.rng));
            self.sequence = 0;
        }
        self.sequence += 1;
        let id = MessageId {
            origin: self.origin,
            sequence: self.sequence,
        };
        self.standing.published += 1;
        self.seen.insert(id, now);
        let frame = codec::encode_publication(id, false, channel, message);
        self.pass_on(id, frame, &[], now);
        (id.origin, id.sequence)
    }

    /// The frame that tells a neighbor's people something which goes no further.
    pub(crate) fn direct(&self, message: &Message) -> Message {
        let id = MessageId {
            origin: self.place.id,
            sequence: 0,
        };
        Message::Binary(codec::encode_publication(id, true, "/", message))
    }

    pub(super) fn on_binary(&mut self, from: PeerKey, frame: Bytes, now: Instant) {
        let decoded = match codec::decode(&frame) {
            Ok(decoded) => decoded,
            Err(error) => return self.ban(from, &error.to_string(), now),
        };
        match decoded {
            Frame::Publication(publication) => self.on_publication(from, publication, &frame, now),
            _ if self.neighbors.member(from).is_none() => {}
            Frame::Announcement(ids) => self.on_announcement(from, ids, now),
            Frame::Request(ids) => self.on_request(from, ids, now),
            Frame::Asked(ids) => self.on_asked(from, &ids, now),
            Frame::Unknown => self.standing.ignored += 1,
        }
    }

    fn on_publication(
        &mut self,
        from: PeerKey,
        publication: Publication,
        frame: &Bytes,
        now: Instant,
    ) {
        let Publication {
            id,
            hops,
            is_direct,
            ..
        } = publication;
        let too_big = publication.message.len() > self.place.message_bytes_max;
        if too_big || hops == 0 || hops > self.config.hops_max || (id.sequence == 0 && !is_direct) {
            self.standing.ignored += 1;
            return;
        }
        let reach = if is_direct {
            Reach::Neighbor(from)
        } else if self.take(from, id, hops, frame, now) == Taken::New {
            Reach::Mesh
        } else {
            return;
        };
        self.outputs.push_back(Output::Deliver(Delivery {
            origin: id.origin,
            sequence: id.sequence,
            channel: publication.channel.as_str().into(),
            message: publication.message,
            reach,
        }));
    }

    /// Takes a message in, and passes it on, if it was not there.
    fn take(
        &mut self,
        from: PeerKey,
        id: MessageId,
        hops: u8,
        frame: &Bytes,
        now: Instant,
    ) -> Taken {
        if id.origin == self.origin {
            // It has come round, or is made up: nobody else knows better what was published here.
            self.standing.duplicates += 1;
            return Taken::Known;
        }
        if let Some(member) = self.neighbors.member_mut(from) {
            member.to_announce.retain(|announced| *announced != id);
        }
        let taken = self.seen.insert(id, now);
        if taken == Taken::Known {
            self.standing.duplicates += 1;
            self.patience.on_copy(id, now);
            return taken;
        }
        self.patience.on_message(now);
        let came = self.missing.remove(id);
        match &came {
            None => self.patience.on_came(id.origin, Duration::ZERO),
            Some(came) => self.learn_from(id, came, now),
        }
        self.standing.received += 1;
        if hops < self.config.hops_max {
            let mut have_it = came.map_or_else(Vec::new, |came| came.announcers);
            have_it.push(from);
            self.pass_on(id, codec::passed_on(frame), &have_it, now);
        }
        taken
    }

    /// A message that was announced shows how long those of its origin take.
    fn learn_from(&mut self, id: MessageId, came: &Came, now: Instant) {
        match came.asked {
            Asked::Nobody => {
                let lag = now.saturating_duration_since(came.announced_at);
                self.patience.on_came(id.origin, lag);
            }
            // What it takes by itself is not to be learnt from it.
            Asked::Nearby => {}
            Asked::Here => self.patience.on_asked(id, came.announced_at),
        }
    }

    /// Keeps a message for others, sends it to those who want it at once, and notes it for the rest; those who have
    /// it get neither. Nobody has what is published here. A leaf does this for nobody else.
    fn pass_on(&mut self, id: MessageId, frame: Bytes, have_it: &[PeerKey], now: Instant) {
        let is_own = id.origin == self.origin;
        if self.config.is_leaf && !is_own {
            return;
        }
        let payload_bytes = codec::payload_len(&frame);
        let history = if is_own {
            &mut self.own_history
        } else {
            &mut self.history
        };
        history.push(id, frame.clone(), payload_bytes, now);
        let is_kept = self.kept(id).is_some();
        let (parent, is_lost) = (self.tree.parent(), self.tree.is_lost());
        let mut at_once = Vec::new();
        let mut too_small = Vec::new();
        let (mut has_more_to_announce, mut is_full) = (false, false);
        for (peer, member) in self.neighbors.members_mut() {
            if have_it.contains(&peer) {
                continue;
            }
            if payload_bytes > member.message_bytes_max {
                self.standing.withheld += 1;
                if !mem::replace(&mut member.is_known_to_be_small, true) {
                    too_small.push((peer, member.message_bytes_max));
                }
            } else if member.is_eager || is_lost || parent == Some(peer) {
                at_once.push(peer);
            } else if is_kept {
                member.to_announce.push(id);
                has_more_to_announce = true;
                is_full |= member.to_announce.len() == IDS_PER_FRAME_MAX;
            }
        }
        if has_more_to_announce && self.timers.announce.is_none() {
            self.timers.announce = Some(now + ANNOUNCE_DELAY);
        }
        self.send(at_once, Message::Binary(frame));
        if is_full {
            self.announce();
        }
        for (from, bytes_max) in too_small {
            let bytes = payload_bytes;
            self.tell(News::Withheld {
                from,
                bytes,
                bytes_max,
            });
        }
    }

    pub(super) fn announce_if_due(&mut self, now: Instant) {
        if self.timers.announce.is_some_and(|at| at <= now) {
            self.announce();
        }
    }

    fn announce(&mut self) {
        self.timers.announce = None;
        let announcements: Vec<_> = self
            .neighbors
            .members_mut()
            .filter(|(_, member)| !member.to_announce.is_empty())
            .map(|(peer, member)| (peer, mem::take(&mut member.to_announce)))
            .collect();
        for (peer, mut ids) in announcements {
            self.send(
                [peer],
                Message::Binary(codec::encode_announcement(&mut ids)),
            );
        }
    }

    fn on_announcement(&mut self, from: PeerKey, mut ids: Vec<MessageId>, now: Instant) {
        ids.sort_unstable();
        let is_torn = self.is_torn(now);
        let mut patience_max = if is_torn {
            PATIENCE_TORN
        } else {
            Duration::MAX
        };
        if let Some(member) = self.neighbors.member_mut(from) {
            member
                .to_announce
                .retain(|id| ids.binary_search(id).is_err());
            if is_torn && now.saturating_duration_since(member.joined_at) < NEW_FOR {
                patience_max = Duration::ZERO;
            }
        }
        let own = self.origin;
        let others = ids.into_iter().filter(|id| id.origin != own);
        for id in others.filter(|id| id.sequence > 0 && !self.seen.contains(*id)) {
            let patience = self.patience.duration(id.origin);
            let patience = patience.min(patience_max);
            if !self.missing.on_announced(id, from, patience, now) {
                self.standing.ignored += 1;
            }
        }
        self.ask_for_missing(now);
    }

    pub(super) fn ask_for_missing(&mut self, now: Instant) {
        let again = if self.is_torn(now) {
            PATIENCE_TORN_AGAIN
        } else {
            PATIENCE_AGAIN
        };
        let requests = self.missing.due(now, again);
        for (peer, ids) in requests.by_peer {
            self.standing.requested += ids.len() as u64;
            for ids in ids.chunks(IDS_PER_FRAME_MAX) {
                let frame = codec::encode_request(&mut ids.to_vec());
                self.send([peer], Message::Binary(frame));
            }
        }
        self.tell_asked(&requests.new, None);
    }

    /// Says in the tree what was asked for: who is beyond the same loss need not ask too.
    fn tell_asked(&mut self, ids: &[MessageId], from: Option<PeerKey>) {
        if self.config.is_leaf {
            // It will not pass them on.
            return;
        }
        let others = self.neighbors.members().map(|(peer, _)| peer);
        let others = others.filter(|peer| Some(*peer) != from);
        let to: Vec<_> = others.filter(|peer| !self.is_spare(*peer)).collect();
        for ids in ids.chunks(IDS_PER_FRAME_MAX) {
            let frame = codec::encode_asked(&mut ids.to_vec());
            self.send(to.iter().copied(), Message::Binary(frame));
        }
    }

    fn on_asked(&mut self, from: PeerKey, ids: &[MessageId], now: Instant) {
        if self.is_spare(from) {
            // It would not pass them on to here.
            self.standing.ignored += 1;
            return;
        }
        let until = now + PATIENCE_NEARBY;
        let (mut have, lacking): (Vec<_>, Vec<_>) =
            ids.iter().partition(|id| self.kept(**id).is_some());
        let lacking = lacking.into_iter();
        let news: Vec<_> = lacking
            .filter(|id| self.missing.put_off(*id, until))
            .collect();
        self.tell_asked(&news, Some(from));
        if !have.is_empty() {
            // It is on its way there, and need not come back.
            let frame = codec::encode_announcement(&mut have);
            self.send([from], Message::Binary(frame));
        }
    }

    fn on_request(&mut self, from: PeerKey, ids: Vec<MessageId>, now: Instant) {
        let kept = ids.into_iter().filter_map(|id| self.kept(id)).cloned();
        let mut frames: Vec<_> = kept.collect();
        let Some(member) = self.neighbors.member_mut(from) else {
            return;
        };
        frames.retain(|frame| {
            let kib = u32::try_from(frame.len() / 1024 + 1).unwrap_or(u32::MAX);
            // One that is larger than all that may be asked for at once takes all of it.
            let kib = kib.min(SERVED_BURST_KIB);
            let is_served = codec::payload_len(frame) <= member.message_bytes_max
                && member.served.take_many(kib, now);
            self.standing.ignored += u64::from(!is_served);
            is_served
        });
        for frame in frames {
            self.send([from], Message::Binary(frame));
        }
    }

    /// Tells a new neighbor what is kept here and it does not have.
    pub(super) fn offer_history(
        &mut self,
        to: PeerKey,
        role: Role,
        has: impl Fn(MessageId) -> bool,
    ) {
        let kept = self.own_history.ids().chain(self.history.ids());
        let mut lacking: Vec<_> = kept.filter(|(_, id)| !has(*id)).collect();
        // As they came.
        lacking.sort_by_key(|(at, _)| *at);
        let lacking = lacking.into_iter().map(|(_, id)| id);
        if role == Role::Leaf {
            // A page in a browser need not know how to ask.
            let frames: Vec<_> = lacking.filter_map(|id| self.kept(id)).cloned().collect();
            for frame in frames {
                self.send([to], Message::Binary(frame));
            }
            return;
        }
        let lacking: Vec<_> = lacking.collect();
        for ids in lacking.chunks(IDS_PER_FRAME_MAX) {
            let frame = codec::encode_announcement(&mut ids.to_vec());
            self.send([to], Message::Binary(frame));
        }
    }

    /// The frame of a message that can still be had here.
    fn kept(&self, id: MessageId) -> Option<&Bytes> {
        let own = self.own_history.frame(id);
        own.or_else(|| self.history.frame(id))
    }

    fn is_torn(&self, now: Instant) -> bool {
        let torn_at = self.torn_at;
        torn_at.is_some_and(|at| now.saturating_duration_since(at) < TORN_FOR)
    }
}
