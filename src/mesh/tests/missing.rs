//! What does not come: when it is asked for, and what is told of it.

use std::time::Duration;

use super::table::{self, Table};
use crate::{
    config::{HistoryLimits, MeshConfig},
    mesh::{
        GAP_NEWS_INTERVAL, GAPS_UNTOLD_MAX, News, Output, PeerKey, Side,
        codec::{self, MessageId, Offer},
    },
    message::Message,
    node_id::NodeId,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Of the neighbor of [`node_with_neighbor`], as the root.
const BEACON: &str =
    r#"{"type":"beacon","term":9,"root":"0000000000000000000000000000000f","sequence":1,"hop":0}"#;

/// A node and its neighbor, which is the test itself.
fn node_with_neighbor() -> (Table, PeerKey) {
    configured_with_neighbor(MeshConfig::default())
}

fn configured_with_neighbor(config: MeshConfig) -> (Table, PeerKey) {
    let mut table = Table::new();
    table.add(config, &[]);
    let key = neighbor(&mut table, NodeId(0xf));
    (table, key)
}

fn neighbor(table: &mut Table, id: NodeId) -> PeerKey {
    let key = table.connect_stranger(0);
    let hello = format!(r#"{{"type":"hello","min":1,"max":1,"id":"{id}","network":"default"}}"#);
    table.frame(0, key, Message::text(hello));
    key
}

/// To whom the node sends this frame now.
fn receivers(table: &mut Table, wanted: &Message) -> Vec<PeerKey> {
    let mut receivers = Vec::new();
    while let Some(output) = table.nodes[0].poll_output() {
        if let Output::Send { to, frame } = output
            && frame == *wanted
        {
            receivers.extend(to);
        }
    }
    receivers
}

fn publication(origin: NodeId, sequence: u32) -> Message {
    let id = MessageId { origin, sequence };
    let frame = codec::encode_publication(id, false, "/", &Message::text("some"));
    Message::Binary(frame)
}

/// What becomes of [`publication`] of origin 100.
fn passed_on(sequence: u32) -> Message {
    let frame = publication(NodeId(100), sequence);
    Message::Binary(codec::passed_on(frame.as_bytes()))
}

#[test]
fn what_the_history_does_not_hold_is_reported() {
    let mut table = Table::new();
    let history = HistoryLimits {
        messages_max: 2,
        ..HistoryLimits::DEFAULT
    };
    for _ in 0..2 {
        table.add(
            MeshConfig {
                history,
                ..MeshConfig::default()
            },
            &[],
        );
    }
    table.connect(1, 0);
    table.pass(SECOND);
    table.publish(0, "0");
    table.pass(SECOND);
    table.part(0, 1);
    table.settle();
    (1..=5).for_each(|n| table.publish(0, &n.to_string()));
    table.connect(1, 0);
    table.pass(3 * SECOND);
    assert_eq!(table.heard(1), ["0", "4", "5"]);
    table.pass(61 * SECOND);
    assert_eq!(table.nodes[1].standing().missed, 3);
    assert!(
        table.news[1]
            .iter()
            .any(|news| matches!(news, News::Gap { missed: 3, .. }))
    );
}

#[test]
fn what_more_is_missed_of_an_origin_is_told_with_the_rest() {
    const TOO_FAR: u32 = 3000;
    let (mut table, key) = node_with_neighbor();
    let origins: Vec<_> = (100..).map(NodeId).take(GAPS_UNTOLD_MAX + 2).collect();
    let mut hear = |origins: &[NodeId], sequence| {
        for origin in origins {
            table.frame(0, key, publication(*origin, sequence));
        }
        let now = table.now;
        table.nodes[0].expire(now);
        table.settle();
    };
    hear(&origins, 1);
    // The first that is missed is told at once, and what comes after it later.
    let (first, others) = origins.split_at(1);
    let (told, left_out) = others.split_at(GAPS_UNTOLD_MAX);
    hear(first, TOO_FAR);
    for sequence in [TOO_FAR, 2 * TOO_FAR] {
        hear(told, sequence);
    }
    hear(left_out, TOO_FAR);
    table.pass(2 * GAP_NEWS_INTERVAL);
    let gaps = table.news[0].iter().filter_map(|news| match news {
        News::Gap { origin, missed } => Some((*origin, *missed)),
        _ => None,
    });
    let gaps: Vec<_> = gaps.collect();
    let of: Vec<_> = gaps.iter().map(|(origin, _)| *origin).collect();
    assert_eq!(of, origins[..=GAPS_UNTOLD_MAX]);
    let total: u64 = gaps.iter().map(|(_, missed)| u64::from(*missed)).sum();
    let of_first = u64::from(gaps[0].1);
    let all = table.nodes[0].standing().missed;
    assert_eq!(
        total,
        all - of_first,
        "as much was left out as of the first"
    );
}

#[test]
fn an_origin_that_is_missed_again_and_again_breaks_nothing() {
    let (mut table, key) = node_with_neighbor();
    for round in 0..2 {
        for sequence in [1, u32::MAX] {
            table.frame(0, key, publication(NodeId(100), sequence));
        }
        // So many that the first one is forgotten.
        for origin in 0..70_000 {
            let origin = NodeId(1000 + 100_000 * round + origin);
            table.frame(0, key, publication(origin, 1));
        }
    }
    table.pass(SECOND);
    let gap = News::Gap {
        origin: NodeId(100),
        missed: u32::MAX,
    };
    assert!(table.news[0].contains(&gap), "{:?}", table.news[0]);
}

/// Messages of an origin that come at these times, without having been announced: the node learns to expect the next
/// one soon. Announces that.
fn announce_next(table: &mut Table, by: PeerKey, announcer: PeerKey, gap: Duration) -> MessageId {
    let origin = NodeId(100);
    for sequence in 1..=50 {
        table.frame(0, by, publication(origin, sequence));
        table.pass(gap);
    }
    let sequence = 51;
    let id = MessageId { origin, sequence };
    let announcement = codec::encode_announcement(&mut [id]);
    table.frame(0, announcer, Message::Binary(announcement));
    id
}

#[test]
fn where_messages_follow_closely_the_next_is_given_longer() {
    for (gap, wait) in [(100, 100), (10, 250)] {
        let (mut table, key) = node_with_neighbor();
        announce_next(&mut table, key, key, gap * MILLISECOND);
        table.pass((wait - 1) * MILLISECOND);
        assert_eq!(table.nodes[0].standing().requested, 0, "every {gap} ms");
        table.pass(MILLISECOND);
        assert_eq!(table.nodes[0].standing().requested, 1, "every {gap} ms");
    }
}

#[test]
fn of_those_who_have_a_message_the_nearest_is_asked() {
    let mut table = Table::new();
    table.add(MeshConfig::default(), &[]);
    let hello = |id: u128| {
        let id = NodeId(id);
        Message::text(format!(
            r#"{{"type":"hello","min":1,"max":1,"id":"{id}","network":"default"}}"#
        ))
    };
    let met = || Message::text(r#"{"type":"met"}"#);
    // Two that have dialed, and show how far they are, and one that was dialed.
    let [far, near] = [40, 20].map(|millis| {
        let key = neighbor(&mut table, NodeId(millis));
        table.pass(millis as u32 * MILLISECOND);
        table.frame(0, key, met());
        key
    });
    let (dialed, url) = (PeerKey(99), table::url(9));
    let address: std::net::IpAddr = url.host().parse().expect("an address");
    table.nodes[0].on_opened(dialed, Side::Dialed(url), address, table.now);
    table.pass(10 * MILLISECOND);
    table.settle();
    table.frame(0, dialed, hello(10));
    assert_eq!(receivers(&mut table, &met()), [dialed]);

    let of = |sequence| MessageId {
        origin: NodeId(100),
        sequence,
    };
    let mut ids = [of(1)];
    let announcement = Message::Binary(codec::encode_announcement(&mut ids));
    for key in [far, near, dialed] {
        table.frame(0, key, announcement.clone());
    }
    let request = Message::Binary(codec::encode_request(&mut ids));
    let mut asked = Vec::new();
    while asked.len() < 4 {
        table.now = table.nodes[0].next_deadline().expect("it has not come");
        let now = table.now;
        table.nodes[0].expire(now);
        asked.extend(receivers(&mut table, &request));
    }
    assert_eq!(asked, [dialed, near, far, dialed]);
}

#[test]
fn what_is_from_before_is_asked_for_while_histories_may_hold_it() {
    let id = MessageId {
        origin: NodeId(100),
        sequence: 1,
    };
    for (seconds, requested) in [(59, 1), (60, 0)] {
        let (mut table, key) = node_with_neighbor();
        let age = seconds * SECOND;
        let offer = codec::encode_offer(&mut [Offer { id, age }]);
        table.frame(0, key, Message::Binary(offer));
        table.pass(SECOND);
        let asked = table.nodes[0].standing().requested;
        assert_eq!(asked, requested, "published {seconds} s ago");
    }
}

#[test]
fn what_is_from_before_is_no_gap() {
    let (mut table, key) = node_with_neighbor();
    let (origin, age) = (NodeId(100), 10 * SECOND);
    let offered = [1, 5].map(|sequence| MessageId { origin, sequence });
    let offer = codec::encode_offer(&mut offered.map(|id| Offer { id, age }));
    table.frame(0, key, Message::Binary(offer));
    for id in offered {
        table.frame(0, key, publication(origin, id.sequence));
    }
    table.pass(150 * SECOND);
    assert!(table.heard(0).is_empty());
    assert_eq!(table.nodes[0].standing().missed, 0);
}

#[test]
fn what_was_asked_for_in_the_tree_is_not_asked_for_at_once() {
    let (mut table, parent) = node_with_neighbor();
    let [child, other] = [16, 17].map(|id| neighbor(&mut table, NodeId(id)));
    table.frame(0, parent, Message::text(BEACON));
    for (key, eager) in [(child, true), (other, false)] {
        let tree = format!(r#"{{"type":"tree","eager":{eager}}}"#);
        table.frame(0, key, Message::text(tree));
    }
    let id = announce_next(&mut table, parent, other, 100 * MILLISECOND);
    let asked = || Message::Binary(codec::encode_asked(&mut [id]));
    table.pass(99 * MILLISECOND);

    let ignored = table.nodes[0].standing().ignored;
    table.frame(0, other, asked());
    assert_eq!(
        table.nodes[0].standing().ignored,
        ignored + 1,
        "not in the tree"
    );
    table.frame(0, parent, asked());
    assert_eq!(receivers(&mut table, &asked()), [child]);
    table.frame(0, child, asked());
    table.pass(149 * MILLISECOND);
    assert_eq!(table.nodes[0].standing().requested, 0);
    table.pass(MILLISECOND);
    assert_eq!(table.nodes[0].standing().requested, 1, "it was in vain");
}

#[test]
fn who_asks_for_what_is_there_hears_that_it_is_and_does_not_send_it_back() {
    let (mut table, parent) = node_with_neighbor();
    let [child, other] = [16, 17].map(|id| neighbor(&mut table, NodeId(id)));
    table.frame(0, parent, Message::text(BEACON));
    table.settle();
    let id = |sequence| MessageId {
        origin: NodeId(100),
        sequence,
    };
    let announced = |sequence| Message::Binary(codec::encode_announcement(&mut [id(sequence)]));
    table.frame(0, parent, publication(NodeId(100), 1));
    assert_eq!(
        receivers(&mut table, &passed_on(1)),
        [child, other],
        "all are new, and want it at once"
    );
    let asked = codec::encode_asked(&mut [id(1), id(2)]);
    table.frame(0, child, Message::Binary(asked));
    assert_eq!(receivers(&mut table, &announced(1)), [child]);

    table.frame(0, parent, announced(2));
    table.frame(0, child, publication(NodeId(100), 2));
    assert_eq!(receivers(&mut table, &passed_on(2)), [other]);
}

#[test]
fn who_lacks_a_message_says_so_in_the_tree_but_not_as_a_leaf() {
    for is_leaf in [false, true] {
        let (mut table, parent) = configured_with_neighbor(MeshConfig {
            is_leaf,
            ..MeshConfig::default()
        });
        let announcer = neighbor(&mut table, NodeId(16));
        table.frame(0, parent, Message::text(BEACON));
        table.frame(
            0,
            announcer,
            Message::text(r#"{"type":"tree","eager":false}"#),
        );
        let id = announce_next(&mut table, parent, announcer, 100 * MILLISECOND);
        table.now += 100 * MILLISECOND;
        let now = table.now;
        table.nodes[0].expire(now);
        assert_eq!(table.nodes[0].standing().requested, 1);
        let asked = Message::Binary(codec::encode_asked(&mut [id]));
        let told = if is_leaf { vec![] } else { vec![parent] };
        assert_eq!(receivers(&mut table, &asked), told);
    }
}
