//! What does not come: when it is asked for, and what is told of it.

use std::time::Duration;

use super::table::Table;
use crate::{
    config::{HistoryLimits, MeshConfig},
    mesh::{
        GAP_NEWS_INTERVAL, GAPS_UNTOLD_MAX, News, PeerKey,
        codec::{self, MessageId},
    },
    message::Message,
    node_id::NodeId,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A node and its neighbor, which is the test itself.
fn node_with_neighbor() -> (Table, PeerKey) {
    let mut table = Table::with_nodes(1);
    let key = table.connect_stranger(0);
    let hello = r#"{"type":"hello","min":1,"max":1,"id":"0000000000000000000000000000000f","network":"default"}"#;
    table.frame(0, key, Message::text(hello));
    (table, key)
}

fn publication(origin: NodeId, sequence: u32) -> Message {
    let id = MessageId { origin, sequence };
    let frame = codec::encode_publication(id, false, "/", &Message::text("some"));
    Message::Binary(frame)
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

#[test]
fn a_row_of_missing_messages_is_given_longer() {
    let (mut table, key) = node_with_neighbor();
    let origin = NodeId(100);
    // They come without having been announced: the node learns to expect them soon.
    (1..=50).for_each(|sequence| table.frame(0, key, publication(origin, sequence)));
    table.settle();
    let mut ids = [51, 52, 53].map(|sequence| MessageId { origin, sequence });
    let announcement = codec::encode_announcement(&mut ids);
    table.frame(0, key, Message::Binary(announcement));
    table.pass(249 * MILLISECOND);
    assert_eq!(table.nodes[0].standing().requested, 2);
    table.pass(MILLISECOND);
    assert_eq!(table.nodes[0].standing().requested, 3);
}
