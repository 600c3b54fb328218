use std::{collections::BTreeSet, time::Duration};

use super::table::{Table, url};
use crate::{
    config::{MeshConfig, PeerUrl},
    mesh::{News, Output, PeerKey, Side, control::Control},
    message::Message,
    node_id::NodeId,
};

const SECOND: Duration = Duration::from_secs(1);

fn degrees(table: &Table) -> Vec<usize> {
    table
        .nodes
        .iter()
        .map(|node| node.standing().neighbors)
        .collect()
}

#[test]
fn two_nodes_that_dial_each_other_keep_one_connection_and_lose_nothing() {
    for publishes_before in 0..12 {
        let mut table = Table::with_nodes(2);
        table.connect(0, 1);
        table.connect(1, 0);
        for step in 0..12 {
            if step == publishes_before {
                table.settle();
            }
            table.publish(step % 2, &step.to_string());
            table.now += Duration::from_millis(1);
        }
        table.pass(5 * SECOND);
        assert_eq!(degrees(&table), [1, 1]);
        // What was published before they met belongs to nobody else.
        let late = |node: usize| {
            let heard = table.heard(node);
            let late: Vec<_> = (publishes_before..12).filter(|s| s % 2 != node).collect();
            (
                heard,
                late.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
        };
        for node in 0..2 {
            let (heard, late) = late(node);
            assert!(heard.ends_with(&late), "{heard:?} {late:?}");
        }
        // The one that the greater id has dialed.
        let key = table.connections(1, 0)[0];
        assert!(
            table.nodes[1].neighbors.get(key).expect("there").side != crate::mesh::Side::Accepted
        );
    }
}

#[test]
fn of_two_dials_to_one_node_the_older_stays_and_both_addresses_are_known() {
    for older_for in [Duration::ZERO, 60 * SECOND] {
        let mut table = Table::with_nodes(2);
        let (older, _) = table.connect(0, 1);
        if !older_for.is_zero() {
            table.pass(older_for);
        }
        let alias: PeerUrl = "ws://10.0.0.2:8080/another".parse().expect("a URL");
        table.connect_by(&alias, 0, 1);
        table.settle();
        assert_eq!(table.connections(0, 1), [older]);
        assert_eq!(degrees(&table), [1, 1]);
        let neighbors = &table.nodes[0].neighbors;
        assert!(neighbors.knows(&alias) && neighbors.knows(&url(1)));
        let for_another = |(_, reason): &&(_, String)| reason.starts_with("another connection");
        let closes = table.closes.iter().filter(for_another).count();
        assert_eq!(closes, 1, "{:?}", table.closes);
        table.publish(1, "by the older");
        table.settle();
        assert_eq!(table.heard(0), ["by the older"]);
    }
}

#[test]
fn two_dials_whose_hellos_overtake_each_other_end_in_one_connection() {
    let mut table = Table::with_nodes(2);
    let (first, _) = table.connect(0, 1);
    let alias: PeerUrl = "ws://10.0.0.2:8080/another".parse().expect("a URL");
    table.connect_by(&alias, 0, 1);
    table.settle_but(first);
    table.settle();
    assert_eq!(table.connections(0, 1), [first]);
    assert_eq!(degrees(&table), [1, 1]);
}

#[test]
fn of_two_dials_to_one_node_the_newer_stays_where_the_older_is_not_heard() {
    let mut table = Table::with_nodes(2);
    let (older, _) = table.connect(0, 1);
    table.settle();
    table.now += 11 * SECOND;
    let (newer, _) = table.connect(0, 1);
    table.settle();
    assert!(table.nodes[0].neighbors.member(older).is_none());
    assert!(table.nodes[0].neighbors.member(newer).is_some());
}

#[test]
fn a_connection_that_the_other_side_has_lost_gives_way_to_a_newer_one() {
    let mut table = Table::with_nodes(2);
    let (dead, _) = table.connect(0, 1);
    table.pass(20 * SECOND);
    // Node 1, who was dialed, has lost it, node 0 has not noticed.
    table.forget(dead);
    let (newer, _) = table.connect(0, 1);
    table.settle();
    assert_eq!(degrees(&table), [1, 1]);
    assert!(table.nodes[0].neighbors.member(newer).is_some());
}

#[test]
fn a_connection_that_only_one_side_knows_gives_way() {
    let mut table = Table::with_nodes(2);
    let (_, dead) = table.connect(0, 1);
    table.pass(20 * SECOND);
    // Node 0 has lost it, node 1, the greater, has not noticed.
    table.forget(dead);
    table.connect(0, 1);
    table.pass(SECOND);
    assert_eq!(degrees(&table), [1, 2]);
    table.publish(1, "still heard");
    table.pass(2 * SECOND);
    assert_eq!(table.heard(0), ["still heard"]);
    table.pass(30 * SECOND);
    assert_eq!(degrees(&table), [1, 1]);
    table.publish(1, "again");
    table.settle();
    assert_eq!(table.heard(0), ["still heard", "again"]);
}

#[test]
fn other_networks_are_refused_with_a_reason() {
    let mut table = Table::with_nodes(1);
    let network = "other".parse().unwrap();
    table.add(
        MeshConfig {
            network,
            ..MeshConfig::default()
        },
        &[],
    );
    table.connect(1, 0);
    table.pass(SECOND);
    assert_eq!(degrees(&table), [0, 0]);
    assert_eq!(
        table.closes,
        [(
            1008,
            "another network: `other` wants to join `default`".to_owned()
        )]
    );
    table.publish(0, "secret");
    table.pass(SECOND);
    assert!(table.heard(1).is_empty());
}

#[test]
fn a_full_node_says_whom_else_to_try() {
    let mut table = Table::new();
    for _ in 0..30 {
        let node = table.add(MeshConfig::default(), &[0]);
        if node > 0 {
            table.connect(node, 0);
            table.pass(2 * SECOND);
        }
    }
    table.pass(60 * SECOND);
    let degrees = degrees(&table);
    assert!(
        degrees.iter().all(|degree| (5..=14).contains(degree)),
        "{degrees:?}"
    );
    assert!(table.closes.iter().any(|(code, _)| *code == 1013));
    assert!(
        table.rests.contains(&url(0)),
        "a full peer is not dialed again and again"
    );
    table.publish(7, "to all");
    table.pass(3 * SECOND);
    assert!((0..30).all(|node| node == 7 || table.heard(node) == ["to all"]));
}

#[test]
fn nodes_find_one_another_and_close_the_gap_when_one_dies() {
    let mut table = Table::new();
    table.add(MeshConfig::default(), &[]);
    for node in 1..6 {
        table.add(MeshConfig::default(), &[node - 1]);
        table.connect(node, node - 1);
    }
    table.pass(120 * SECOND);
    let before = degrees(&table);
    assert!(before.iter().all(|degree| *degree >= 4), "{before:?}");
    table.kill(2);
    table.pass(SECOND);
    table.publish(5, "without 2");
    table.pass(2 * SECOND);
    assert!(
        [0, 1, 3, 4]
            .into_iter()
            .all(|node| table.heard(node) == ["without 2"])
    );
}

#[test]
fn those_who_are_left_know_of_one_another_soon() {
    let mut table = Table::with_nodes(3);
    table.connect(1, 0);
    table.connect(2, 1);
    table.pass(4 * SECOND);
    table.kill(1);
    table.pass(SECOND);
    table.publish(0, "still together");
    table.settle();
    assert_eq!(table.heard(2), ["still together"]);
}

#[test]
fn two_halves_that_were_cut_find_together() {
    let mut table = Table::new();
    for node in 0..8 {
        let configured: &[usize] = if node == 0 { &[] } else { &[0] };
        table.add(MeshConfig::default(), configured);
        if node > 0 {
            table.connect(node, 0);
        }
    }
    table.pass(120 * SECOND);
    for one in 0..4 {
        (4..8).for_each(|other| table.part(one, other));
    }
    table.undialable.extend(0..8);
    table.pass(100 * SECOND);
    table.publish(0, "left");
    table.publish(7, "right");
    table.pass(20 * SECOND);
    assert!(table.heard(0).is_empty() && table.heard(4) == ["right"]);
    table.undialable.clear();
    table.pass(120 * SECOND);
    table.publish(1, "one again");
    table.pass(3 * SECOND);
    assert!((0..8).all(|node| node == 1 || table.heard(node).contains(&"one again".to_owned())));
}

#[test]
fn who_cannot_be_dialed_is_told_so_and_not_passed_on() {
    let mut table = Table::new();
    for _ in 0..5 {
        table.add(MeshConfig::default(), &[0]);
    }
    table.undialable.insert(4);
    for node in 1..5 {
        table.connect(node, 0);
    }
    table.pass(120 * SECOND);
    let told: Vec<_> = (0..5)
        .filter(|node| {
            table.news[*node]
                .iter()
                .any(|news| matches!(news, News::Reached(_)))
        })
        .collect();
    assert_eq!(
        told,
        [1, 2, 3],
        "node 0 was configured, node 4 cannot be reached"
    );
    let attempts = table
        .dials
        .get(&url(4).to_string())
        .copied()
        .unwrap_or_default();
    assert!((1..=4).contains(&attempts), "{attempts}");
    assert!(
        table.nodes[4].standing().neighbors >= 3,
        "it dials others itself"
    );
}

#[test]
fn without_neighbors_nothing_is_due() {
    let mut table = Table::with_nodes(2);
    table.publish(0, "to nobody");
    table.pass(200 * SECOND);
    assert!(
        table
            .nodes
            .iter()
            .all(|node| node.next_deadline().is_none())
    );
}

#[test]
fn who_was_stopped_for_a_while_does_not_take_the_others_for_silent() {
    let mut table = Table::with_nodes(5);
    for node in 1..5 {
        (0..node).for_each(|other| {
            table.connect(node, other);
        });
    }
    table.pass(20 * SECOND);
    table.closes.clear();
    table.now += 60 * SECOND;
    table.pass(10 * SECOND);
    assert!(table.closes.is_empty(), "{:?}", table.closes);
    assert_eq!(degrees(&table), [4; 5]);
}

#[test]
fn who_claims_the_root_tells_how_long_others_take_to_answer() {
    let mut table = Table::with_nodes(1);
    for (other, millis) in (1..=16).map(|other| (other, 30 + 20 * (other % 2))) {
        let (key, dialed) = (PeerKey(other), Side::Dialed(url(other as usize)));
        let address: std::net::IpAddr = url(other as usize).host().parse().expect("an address");
        table.nodes[0].on_opened(key, dialed, address, table.now);
        table.now += Duration::from_millis(millis);
        let id = NodeId(100 + u128::from(other));
        let hello =
            format!(r#"{{"type":"hello","min":1,"max":1,"id":"{id}","network":"default"}}"#);
        table.nodes[0].on_frame(key, Message::text(hello), table.now);
    }
    let claim = loop {
        if let Some(Output::Send { frame, .. }) = table.nodes[0].poll_output()
            && let Message::Text(text) = frame
            && let Ok(Control::Beacon(beacon)) = Control::decode(&text)
        {
            break beacon;
        }
        table.now = table.nodes[0].next_deadline().expect("it will claim");
        table.nodes[0].expire(table.now);
    };
    // The mean, and what chance may have taken from it.
    assert_eq!((claim.distance, claim.hop), (50, 0));
}

#[test]
fn a_node_dials_some_only_to_see_how_far_they_are_once_each() {
    let mut table = Table::with_nodes(80);
    (1..80).for_each(|node| {
        table.connect(node, 0);
    });
    table.pass(600 * SECOND);
    let mut all = 0;
    for node in &table.nodes {
        let measured: BTreeSet<_> = node.measured.iter().map(ToString::to_string).collect();
        assert_eq!(measured.len(), node.measured.len(), "twice the same");
        assert!(measured.len() <= 16, "{measured:?}");
        all += measured.len();
    }
    assert!(all > 80, "{all}");
}

#[test]
fn where_all_are_neighbors_nobody_is_dialed_to_see_how_far_it_is() {
    let mut table = Table::with_nodes(5);
    (1..5).for_each(|node| {
        table.connect(node, 0);
    });
    table.pass(300 * SECOND);
    for node in &table.nodes {
        assert_eq!(node.measured, []);
        assert_eq!(node.distance.millis(true), 0, "those at a table are near");
    }
}
