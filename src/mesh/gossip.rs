//! Messages: published, taken in once, passed on, announced, and asked for.
//!
//! A message goes at once to the parent and the children in the tree; all other neighbors hear that it is there.
//! What was announced and does not come is asked for after a while, of the nearest. A request never changes the
//! tree; it is told in the tree, so that of all who are beyond the same loss not each one asks: who has it says so
//! and is not sent it, who lacks it too waits for it to be passed on.
//!
//! What has been there for a while is offered with its age. A node that was not in the mesh yet when it was
//! published takes it for others only, and offers it to them.

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Delivery, Mesh, News, Output, PeerKey, Reach,
    codec::{self, Frame, IDS_PER_FRAME_MAX, MessageId, Offer, Publication},
    control::Role,
    missing::{Announcer, Asked, Came},
    neighbors::SERVED_BURST_KIB,
};
use crate::{message::Message, node_id::NodeId};

/// Announcements are gathered for so long.
const ANNOUNCE_DELAY: Duration = Duration::from_millis(50);
/// What is older is not announced, but offered with its age.
const ANNOUNCED_AGE_MAX: Duration = Duration::from_millis(500);
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
        self.pass_on(id, frame, &[], now, now);
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
            Frame::Announcement(ids) => {
                let age = Duration::ZERO;
                let offers = ids.into_iter().map(|id| Offer { id, age }).collect();
                self.on_offers(from, offers, now);
            }
            Frame::Offer(offers) => self.on_offers(from, offers, now),
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
        } else if self.take(from, id, hops, frame, now) {
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

    /// Takes a message in, and passes it on, if it was not there. Returns whether it is for the people here too.
    fn take(
        &mut self,
        from: PeerKey,
        id: MessageId,
        hops: u8,
        frame: &Bytes,
        now: Instant,
    ) -> bool {
        if id.origin == self.origin {
            // It has come round, or is made up: nobody else knows better what was published here.
            self.standing.duplicates += 1;
            return false;
        }
        if let Some(member) = self.neighbors.member_mut(from) {
            member.to_announce.retain(|announced| *announced != id);
        }
        let came = self.missing.remove(id);
        let announcers = came.iter().flat_map(|came| &came.announcers);
        let born = announcers.clone().find(|it| it.peer == from);
        let born = born.map_or(now, |it| it.born);
        let is_old = self.is_old(born);
        if is_old {
            self.seen.count_after(id, now);
        }
        if !self.seen.insert(id, now) {
            self.standing.duplicates += 1;
            self.patience.on_copy(id, now);
            return false;
        }
        self.patience.on_message(now);
        match &came {
            None => self.patience.on_came(id.origin, Duration::ZERO),
            Some(came) => self.learn_from(id, came, now),
        }
        self.standing.received += 1;
        if hops < self.config.hops_max {
            let others = announcers.map(|it| it.peer);
            let have_it: Vec<_> = others.chain([from]).collect();
            self.pass_on(id, codec::passed_on(frame), &have_it, born, now);
        }
        !is_old
    }

    /// Whether a message was published before this node began.
    fn is_old(&self, born: Instant) -> bool {
        self.begun_at.is_some_and(|at| born < at)
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
    fn pass_on(
        &mut self,
        id: MessageId,
        frame: Bytes,
        have_it: &[PeerKey],
        born: Instant,
        now: Instant,
    ) {
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
        history.push(id, frame.clone(), payload_bytes, born, now);
        let is_old = self.is_old(born);
        let is_kept = self.kept(id).is_some();
        let (parent, is_lost) = (self.tree.parent(), self.tree.is_lost());
        let mut at_once = Vec::new();
        let mut too_small = Vec::new();
        let (mut has_more_to_announce, mut is_full) = (false, false);
        for (peer, member) in self.neighbors.members_mut() {
            if have_it.contains(&peer) || !member.has_use_for(born) {
                continue;
            }
            // Others have to judge by its age whether they were there. A leaf was, and may not know how to ask.
            let is_wanted = member.is_eager || is_lost || parent == Some(peer);
            let can_be_sent = !is_old || member.role == Role::Leaf;
            if payload_bytes > member.message_bytes_max {
                self.standing.withheld += 1;
                if !mem::replace(&mut member.is_known_to_be_small, true) {
                    too_small.push((peer, member.message_bytes_max));
                }
            } else if is_wanted && can_be_sent {
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
            self.announce(now);
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
            self.announce(now);
        }
    }

    fn announce(&mut self, now: Instant) {
        self.timers.announce = None;
        let announcements: Vec<_> = self
            .neighbors
            .members_mut()
            .filter(|(_, member)| !member.to_announce.is_empty())
            .map(|(peer, member)| (peer, mem::take(&mut member.to_announce)))
            .collect();
        for (peer, ids) in announcements {
            let age = |id| {
                let born = self.born(id).unwrap_or(now);
                now.saturating_duration_since(born)
            };
            let offers = ids.into_iter().map(|id| Offer { id, age: age(id) });
            let (old, new): (Vec<_>, Vec<_>) =
                offers.partition(|offer| offer.age > ANNOUNCED_AGE_MAX);
            if !new.is_empty() {
                let mut new: Vec<_> = new.iter().map(|offer| offer.id).collect();
                let frame = codec::encode_announcement(&mut new);
                self.send([peer], Message::Binary(frame));
            }
            self.offer(peer, old);
        }
    }

    /// Tells a neighbor what has been here for a while.
    fn offer(&mut self, to: PeerKey, mut offers: Vec<Offer>) {
        for offers in offers.chunks_mut(IDS_PER_FRAME_MAX) {
            let frame = codec::encode_offer(offers);
            self.send([to], Message::Binary(frame));
        }
    }

    fn on_offers(&mut self, from: PeerKey, mut offers: Vec<Offer>, now: Instant) {
        offers.sort_unstable_by_key(|offer| offer.id);
        let is_torn = self.is_torn(now);
        let mut patience_max = if is_torn {
            PATIENCE_TORN
        } else {
            Duration::MAX
        };
        let mut round_trip = Duration::MAX;
        if let Some(member) = self.neighbors.member_mut(from) {
            round_trip = member.round_trip;
            member
                .to_announce
                .retain(|id| offers.binary_search_by_key(id, |offer| offer.id).is_err());
            if is_torn && now.saturating_duration_since(member.joined_at) < NEW_FOR {
                patience_max = Duration::ZERO;
            }
        }
        for Offer { id, age } in offers {
            if id.origin == self.origin || id.sequence == 0 || self.seen.contains(id) {
                continue;
            }
            let born = now.checked_sub(age).unwrap_or(now);
            let is_kept = self.config.history.age_max.is_some_and(|max| age < max);
            if self.is_old(born) && !is_kept {
                continue;
            }
            let by = Announcer {
                peer: from,
                born,
                round_trip,
                asked: 0,
            };
            let patience = self.patience.duration(id.origin).min(patience_max);
            if !self.missing.on_announced(id, by, patience, now) {
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
        has: impl Fn(MessageId) -> bool,
        now: Instant,
    ) {
        let Some(member) = self.neighbors.member(to) else {
            return;
        };
        let kept = self.own_history.ids().chain(self.history.ids());
        let mut lacking: Vec<_> = kept
            .filter(|(born, id)| !has(*id) && member.has_use_for(*born))
            .collect();
        // As they were published.
        lacking.sort_by_key(|(born, _)| *born);
        if member.role == Role::Leaf {
            // A page in a browser need not know how to ask.
            let frames = lacking.into_iter().filter_map(|(_, id)| self.kept(id));
            for frame in frames.cloned().collect::<Vec<_>>() {
                self.send([to], Message::Binary(frame));
            }
            return;
        }
        let offers = lacking.into_iter().map(|(born, id)| {
            let age = now.saturating_duration_since(born);
            Offer { id, age }
        });
        self.offer(to, offers.collect());
    }

    /// The frame of a message that can still be had here.
    fn kept(&self, id: MessageId) -> Option<&Bytes> {
        let own = self.own_history.frame(id);
        own.or_else(|| self.history.frame(id))
    }

    fn born(&self, id: MessageId) -> Option<Instant> {
        let own = self.own_history.born(id);
        own.or_else(|| self.history.born(id))
    }

    fn is_torn(&self, now: Instant) -> bool {
        let torn_at = self.torn_at;
        torn_at.is_some_and(|at| now.saturating_duration_since(at) < TORN_FOR)
    }
}
