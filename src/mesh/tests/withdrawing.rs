//! Nodes that say that they go, and what the others make of it.

use std::time::Duration;

use super::table::Table;
use crate::mesh::control::Control;

const SECOND: Duration = Duration::from_secs(1);

/// All know the tree.
const SETTLED: Duration = Duration::from_secs(40);

fn withdraw(table: &mut Table, node: usize) {
    let now = table.now;
    table.nodes[node].withdraw(now);
}

/// So many nodes, each connected with all others.
fn meshed(count: usize) -> Table {
    let mut table = Table::with_nodes(count);
    for to in 0..count {
        for from in to + 1..count {
            table.connect(from, to);
            table.settle();
        }
    }
    table.pass(SETTLED);
    table
}

fn root(table: &Table) -> usize {
    let mut nodes = table.nodes.iter();
    nodes
        .position(|node| node.standing().is_root)
        .expect("a root")
}

#[test]
fn nobody_goes_by_a_node_that_leaves_and_its_own_messages_still_reach_all() {
    for leaver in 0..5 {
        let mut table = meshed(5);
        withdraw(&mut table, leaver);
        assert!(!table.nodes[leaver].is_withdrawn(), "nobody knows yet");
        table.settle();
        assert!(table.nodes[leaver].is_withdrawn());
        let key_of = |table: &Table, node: usize| table.connections(node, leaver)[0];
        let publish = |table: &mut Table, by: usize, text: &str| {
            table.publish(by, text);
            table.settle();
            for node in (0..5).filter(|node| *node != by) {
                assert_eq!(table.heard(node).last().map(String::as_str), Some(text));
            }
        };
        // At once, while perhaps there is no root.
        publish(&mut table, leaver, "of the one that goes");
        publish(&mut table, (leaver + 1) % 5, "to the one that goes");
        // A new root is there long before anybody could have missed the beacons of the old one.
        table.pass(3 * SECOND);
        assert_ne!(root(&table), leaver);
        for node in (0..5).filter(|node| *node != leaver) {
            let parent = table.nodes[node].standing().parent;
            assert_ne!(parent, Some(key_of(&table, node)), "node {node}");
            assert!(parent.is_some() || table.nodes[node].standing().is_root);
        }
        publish(&mut table, leaver, "again of the one that goes");
        publish(&mut table, (leaver + 2) % 5, "again to the one that goes");
        // Nothing is missed when it is gone.
        table.kill(leaver);
        let (by, others) = ((leaver + 1) % 5, [2, 3, 4].map(|step| (leaver + step) % 5));
        table.publish(by, "without it");
        table.settle();
        for node in others {
            assert_eq!(
                table.heard(node).last().map(String::as_str),
                Some("without it")
            );
        }
        let duplicates: u64 = table.nodes.iter().map(|it| it.standing().duplicates).sum();
        assert!(duplicates < 30, "{duplicates}");
    }
}

#[test]
fn who_has_no_other_way_goes_on_by_the_node_that_leaves_and_finds_another() {
    let mut table = Table::with_nodes(3);
    table.connect(1, 0);
    table.connect(2, 1);
    table.settle();
    // They do not know of each other yet, and nobody looks for anybody until time passes.
    assert_eq!(table.connections(0, 2), []);
    withdraw(&mut table, 1);
    table.publish(0, "by the one that goes");
    table.publish(2, "back by it");
    table.settle();
    assert_eq!(table.heard(2), ["by the one that goes"]);
    assert_eq!(table.heard(0), ["back by it"]);
    // It has told where they find one another, as far as it knows.
    table.pass(5 * SECOND);
    assert_eq!(table.connections(0, 2).len(), 1);
    table.kill(1);
    table.publish(0, "without it");
    table.settle();
    assert_eq!(
        table.heard(2).last().map(String::as_str),
        Some("without it")
    );
}

#[test]
fn a_node_that_leaves_looks_for_nobody_and_waits_only_for_those_who_are_there() {
    let mut table = meshed(3);
    withdraw(&mut table, 0);
    // One is gone before it has heard of it, the other knows.
    table.part(0, 1);
    table.settle();
    assert!(table.nodes[0].is_withdrawn());
    let dials = table.dials_by.get(&0).copied();
    table.kill(1);
    table.kill(2);
    table.pass(120 * SECOND);
    assert_eq!(table.nodes[0].standing().neighbors, 0);
    assert_eq!(table.dials_by.get(&0).copied(), dials);
}

#[test]
fn to_leave_twice_or_to_send_beacons_after_it_is_left_aside() {
    let mut table = meshed(3);
    let ignored = table.nodes[1].standing().ignored;
    let key = table.connections(1, 0)[0];
    for _ in 0..2 {
        table.frame(
            1,
            key,
            crate::message::Message::text(r#"{"type":"leaving"}"#),
        );
    }
    let beacon = table.nodes[2].tree.beacon().expect("there is a root");
    let beacon = Control::Beacon(beacon).encode();
    table.frame(1, key, crate::message::Message::text(beacon));
    assert_eq!(table.nodes[1].standing().ignored, ignored + 2);
}
