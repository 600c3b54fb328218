use std::time::Duration;

use super::table::Table;
use crate::{
    config::{HistoryLimits, MeshConfig},
    mesh::{
        News, Output, Reach,
        codec::{self, Frame, MessageId},
        control::Role,
        tree,
    },
    message::Message,
};

const SECOND: Duration = Duration::from_secs(1);

/// Nodes in a row, with a tree. They stay in it: nobody can dial them.
fn row(count: usize) -> Table {
    let mut table = Table::with_nodes(count);
    table.undialable.extend(0..count);
    for node in 1..count {
        table.connect(node, node - 1);
    }
    table.pass(20 * SECOND);
    table
}

#[test]
fn what_is_published_anywhere_is_heard_everywhere_else_once_and_at_once() {
    let mut table = row(4);
    for (node, text) in [(0, "first"), (3, "last"), (1, "second"), (1, "second")] {
        table.publish(node, text);
    }
    table.settle();
    assert_eq!(table.heard(0), ["second", "second", "last"]);
    assert_eq!(table.heard(2).len(), 4);
    table.pass(5 * SECOND);
    let counts: Vec<_> = (0..4).map(|node| table.deliveries[node].len()).collect();
    assert_eq!(counts, [3, 2, 4, 3]);
    assert!(
        table
            .nodes
            .iter()
            .all(|node| node.standing().duplicates == 0)
    );
}

#[test]
fn a_loop_is_cut_by_the_tree() {
    let mut table = row(5);
    table.connect(4, 0);
    table.connect(2, 0);
    table.pass(20 * SECOND);
    for n in 0..50 {
        table.publish(n % 5, &n.to_string());
        table.pass(SECOND / 10);
    }
    table.pass(3 * SECOND);
    assert!((0..5).all(|node| table.deliveries[node].len() == 40));
    let duplicates: u64 = table
        .nodes
        .iter()
        .map(|node| node.standing().duplicates)
        .sum();
    assert_eq!(duplicates, 0);
    let roots: Vec<_> = table
        .nodes
        .iter()
        .map(|node| node.standing().root)
        .collect();
    assert!(roots[0].is_some() && roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn before_there_is_a_tree_messages_arrive_all_the_same() {
    let mut table = Table::with_nodes(3);
    for (from, to) in [(1, 0), (2, 1), (0, 2)] {
        table.connect(from, to);
    }
    table.settle();
    table.publish(0, "early");
    table.settle();
    assert_eq!(
        (table.heard(1), table.heard(2)),
        (vec!["early".to_owned()], vec!["early".to_owned()])
    );
}

#[test]
fn channels_and_kinds_survive() {
    let mut table = row(2);
    let now = table.now;
    table.nodes[0].publish("/sensors", &Message::binary(vec![1, 2]), now);
    table.nodes[0].publish("/alerts", &Message::text("fire"), now);
    table.settle();
    let heard: Vec<_> = table.deliveries[1]
        .iter()
        .map(|d| (&*d.channel, d.message.clone()))
        .collect();
    assert_eq!(
        heard,
        [
            ("/sensors", Message::binary(vec![1, 2])),
            ("/alerts", Message::text("fire"))
        ]
    );
}

#[test]
fn a_direct_message_goes_no_further() {
    let mut table = row(3);
    let frame = table.nodes[0].direct(&Message::text("hello"));
    let key = table.connections(1, 0)[0];
    for _ in 0..2 {
        table.frame(1, key, frame.clone());
    }
    table.settle();
    assert_eq!(table.heard(1), ["hello", "hello"], "it has no number");
    assert_eq!(table.deliveries[1][0].reach, Reach::Neighbor(key));
    assert!(table.heard(2).is_empty());
}

#[test]
fn what_was_missed_during_an_outage_arrives() {
    let mut table = row(3);
    table.publish(0, "before");
    table.pass(SECOND);
    table.part(0, 1);
    table.settle();
    for text in ["one", "two"] {
        table.publish(0, text);
    }
    table.publish(2, "three");
    table.pass(30 * SECOND);
    table.connect(1, 0);
    table.pass(3 * SECOND);
    assert_eq!(table.heard(2), ["before", "one", "two"]);
    assert_eq!(table.heard(0), ["three"]);
    assert_eq!(table.nodes[2].standing().missed, 0);
}

#[test]
fn what_others_publish_does_not_displace_what_this_node_has() {
    let mut table = row(3);
    table.part(0, 1);
    table.settle();
    table.publish(1, "own");
    for n in 0..300 {
        table.publish(2, &n.to_string());
    }
    table.pass(SECOND);
    table.connect(1, 0);
    table.pass(5 * SECOND);
    assert!(table.heard(0).contains(&"own".to_owned()));
    assert_eq!(table.heard(0).len(), 257);
}

#[test]
fn a_leaf_gets_what_it_missed_in_the_order_in_which_it_came() {
    let mut table = row(2);
    let is_leaf = true;
    let leaf = table.add(
        MeshConfig {
            is_leaf,
            ..MeshConfig::default()
        },
        &[],
    );
    table.undialable.insert(leaf);
    table.connect(leaf, 1);
    table.pass(2 * SECOND);
    table.part(leaf, 1);
    table.settle();
    for (node, text) in [(0, "theirs"), (1, "own")] {
        table.publish(node, text);
        table.pass(SECOND);
    }
    table.connect(leaf, 1);
    table.settle();
    assert_eq!(table.heard(leaf), ["theirs", "own"]);
}

#[test]
fn a_leaf_that_comes_back_hears_nothing_from_before_it_began() {
    let mut table = row(2);
    let leaf = table.add(
        MeshConfig {
            is_leaf: true,
            ..MeshConfig::default()
        },
        &[],
    );
    table.undialable.insert(leaf);
    table.publish(0, "before");
    table.pass(SECOND);
    table.connect(leaf, 1);
    table.pass(SECOND);
    table.part(leaf, 1);
    table.settle();
    table.publish(0, "meanwhile");
    table.pass(SECOND);
    table.connect(leaf, 1);
    table.pass(SECOND);
    assert_eq!(table.heard(leaf), ["meanwhile"]);
}

#[test]
fn who_begins_hears_what_is_published_from_then_on() {
    let mut table = row(2);
    table.publish(0, "old");
    table.pass(SECOND);
    let new = table.add(MeshConfig::default(), &[]);
    table.connect(new, 1);
    table.settle();
    table.publish(0, "new");
    table.pass(70 * SECOND);
    assert_eq!(table.heard(new), ["new"]);
    assert_eq!(
        table.nodes[new].standing().missed,
        0,
        "nothing was promised before"
    );
}

#[test]
fn who_begins_beside_one_that_has_only_begun_hears_nothing_from_before() {
    let mut table = Table::with_nodes(4);
    table.connect(1, 0);
    table.pass(SECOND);
    (1..=12).for_each(|n| table.publish(0, &n.to_string()));
    table.pass(SECOND);
    // The third begins, and is alone before it has got any of it for others. Then the fourth comes.
    let (_, key) = table.connect(2, 1);
    table.settle();
    table.cut(key);
    table.connect(3, 2);
    table.pass(2 * SECOND);
    table.connect(3, 1);
    table.pass(5 * SECOND);
    table.publish(0, "13");
    table.pass(5 * SECOND);
    assert_eq!(table.heard(3), ["13"]);
}

#[test]
fn what_a_second_neighbor_has_since_the_first_was_met_is_not_from_before() {
    let mut table = Table::with_nodes(4);
    table.undialable.extend(0..4);
    table.connect(2, 1);
    table.pass(10 * SECOND);
    table.publish(2, "before");
    table.pass(SECOND);
    table.connect(3, 0);
    table.pass(SECOND / 5);
    table.publish(1, "first of this one");
    table.publish(2, "after");
    table.pass(SECOND / 5);
    table.connect(3, 1);
    table.pass(5 * SECOND);
    assert_eq!(table.heard(3), ["first of this one", "after"]);
}

#[test]
fn who_begins_beside_one_that_knows_little_hears_nothing_from_before_of_others() {
    let mut table = row(2);
    (1..=12).for_each(|n| table.publish(0, &n.to_string()));
    table.pass(SECOND);
    // Two begin beside each other, and know nobody else for a while.
    let first = table.add(MeshConfig::default(), &[]);
    let second = table.add(MeshConfig::default(), &[]);
    table.connect(first, second);
    table.pass(5 * SECOND);
    table.publish(0, "13");
    table.pass(SECOND);
    table.connect(second, 1);
    table.pass(5 * SECOND);
    for node in [first, second] {
        assert_eq!(table.heard(node), ["13"], "{node}");
    }
}

#[test]
fn who_begins_between_two_parts_carries_what_each_has_missed_of_the_other() {
    let mut table = row(3);
    table.publish(0, "known to all");
    table.pass(SECOND);
    table.kill(1);
    table.settle();
    table.publish(0, "left");
    table.publish(2, "right");
    table.pass(SECOND);
    let new = table.add(MeshConfig::default(), &[]);
    table.undialable.insert(new);
    table.connect(new, 0);
    table.pass(SECOND / 2);
    table.connect(new, 2);
    table.pass(3 * SECOND);
    assert_eq!(table.heard(2), ["known to all", "left"]);
    assert_eq!(table.heard(0), ["right"]);
    assert!(
        table.heard(new).is_empty(),
        "it was not there when that was published"
    );
}

#[test]
fn a_lost_frame_is_asked_for_at_a_neighbor_that_has_announced_it() {
    let mut table = row(3);
    table.connect(2, 0);
    table.pass(10 * SECOND);
    // Somebody's parent goes deaf: everything else about the connection stays.
    let deaf = (1..3).find(|node| table.nodes[*node].standing().hop == 1);
    let deaf = deaf.expect("somebody has a parent");
    let publisher = (0..3)
        .find(|node| table.nodes[*node].standing().is_root)
        .expect("a root");
    table.publish(publisher, "lost on one way");
    table.drop_frames(publisher, deaf);
    table.pass(3 * SECOND);
    assert_eq!(table.heard(deaf), ["lost on one way"]);
    assert!(table.nodes[deaf].standing().requested > 0);
}

#[test]
fn a_leaf_publishes_and_hears_but_relays_nothing() {
    let mut table = Table::with_nodes(2);
    table.undialable.extend(0..2);
    let leaf = table.add(
        MeshConfig {
            is_leaf: true,
            ..MeshConfig::default()
        },
        &[],
    );
    table.connect(leaf, 0);
    table.connect(leaf, 1);
    table.pass(20 * SECOND);
    table.publish(0, "from 0");
    table.publish(leaf, "from the leaf");
    table.pass(10 * SECOND);
    assert_eq!(table.heard(1), ["from the leaf"]);
    assert_eq!(table.heard(leaf), ["from 0"]);
    assert!(!table.nodes[leaf].standing().is_root);
    let role = |node: usize| {
        table.nodes[node]
            .neighbors
            .members()
            .next()
            .expect("the leaf")
            .1
            .role
    };
    assert_eq!((role(0), role(1)), (Role::Leaf, Role::Leaf));
}

#[test]
fn hops_are_bounded() {
    let mut table = Table::new();
    for _ in 0..5 {
        table.add(
            MeshConfig {
                hops_max: 2,
                ..MeshConfig::default()
            },
            &[],
        );
    }
    table.undialable.extend(0..5);
    for node in 1..5 {
        table.connect(node, node - 1);
    }
    table.pass(SECOND);
    table.publish(0, "so far");
    table.pass(5 * SECOND);
    let heard: Vec<_> = (1..5).map(|node| table.heard(node).len()).collect();
    assert_eq!(heard, [1, 1, 0, 0]);
}

#[test]
fn a_message_that_a_neighbor_does_not_take_is_withheld_and_counted() {
    let mut table = row(2);
    let key = table.connections(0, 1)[0];
    table.nodes[0]
        .neighbors
        .member_mut(key)
        .expect("a neighbor")
        .message_bytes_max = 3;
    table.publish(0, "four");
    table.publish(0, "more");
    table.publish(0, "has");
    table.settle();
    assert_eq!(table.heard(1), ["has"]);
    assert_eq!(table.nodes[0].standing().withheld, 2);
    let withheld = |news: &&News| {
        matches!(
            news,
            News::Withheld {
                bytes: 4,
                bytes_max: 3,
                ..
            }
        )
    };
    assert_eq!(
        table.news[0].iter().filter(withheld).count(),
        1,
        "told once"
    );
}

#[test]
fn the_roots_place_is_taken_when_it_is_gone() {
    let mut table = Table::with_nodes(4);
    for (from, to) in [(1, 0), (2, 1), (3, 2), (0, 3), (0, 2)] {
        table.connect(from, to);
    }
    table.pass(20 * SECOND);
    let root = (0..4)
        .find(|node| table.nodes[*node].standing().is_root)
        .expect("a root");
    table.kill(root);
    table.pass(tree::PERIOD * 5);
    let others: Vec<_> = (0..4).filter(|node| *node != root).collect();
    let roots: Vec<_> = others
        .iter()
        .map(|node| table.nodes[*node].standing().root)
        .collect();
    assert!(roots.iter().all(|other| *other == roots[0]), "{roots:?}");
    assert_ne!(roots[0], table.nodes[root].standing().root);
    table.publish(others[0], "after");
    table.settle();
    assert!(
        others[1..]
            .iter()
            .all(|node| table.heard(*node) == ["after"])
    );
}

#[test]
fn sequences_that_are_used_up_begin_anew_under_another_name() {
    let mut table = row(2);
    table.nodes[0].sequence = u32::MAX - 1;
    (0..4).for_each(|n| table.publish(0, &n.to_string()));
    table.settle();
    assert_eq!(table.heard(1), ["0", "1", "2", "3"]);
    let origins: Vec<_> = table.deliveries[1].iter().map(|d| d.origin).collect();
    assert!(origins[0] != origins[3]);
}

#[test]
fn a_large_message_is_served_to_who_asks_for_it() {
    let mut table = Table::new();
    let history = HistoryLimits {
        bytes_max: 1 << 30,
        ..HistoryLimits::DEFAULT
    };
    for _ in 0..2 {
        let node = table.add(
            MeshConfig {
                history,
                ..MeshConfig::default()
            },
            &[],
        );
        table.nodes[node].place.message_bytes_max = 1 << 30;
    }
    table.connect(1, 0);
    table.pass(10 * SECOND);
    table.part(0, 1);
    table.settle();
    table.publish(0, &"x".repeat(5 << 20));
    table.connect(1, 0);
    table.pass(10 * SECOND);
    assert_eq!(table.deliveries[1].len(), 1);
}

#[test]
fn nobody_tells_a_node_what_it_has_published_itself() {
    let mut table = Table::with_nodes(2);
    let own = table.nodes[0].origin;
    let key = table.connect_stranger(0);
    let hello = format!(
        r#"{{"type":"hello","min":1,"max":1,"id":"{:032x}","network":"default","have":{{"{own}":{}}}}}"#,
        99,
        u32::MAX
    );
    table.frame(0, key, Message::text(hello));
    let id = MessageId {
        origin: own,
        sequence: 1,
    };
    let forged = codec::encode_publication(id, false, "/", &Message::text("forged"));
    table.frame(0, key, Message::Binary(forged));
    table.connect(1, 0);
    table.pass(SECOND);
    table.publish(0, "true");
    table.pass(SECOND);
    assert_eq!(
        (table.heard(0), table.heard(1)),
        (vec![], vec!["true".to_owned()])
    );
}

#[test]
fn all_of_a_burst_is_announced() {
    const BURST: usize = 2500;
    let mut table = Table::with_nodes(1);
    let key = table.connect_stranger(0);
    let hello = r#"{"type":"hello","min":1,"max":1,"id":"0000000000000000000000000000000f","network":"default"}"#;
    table.frame(0, key, Message::text(hello));
    table.frame(0, key, Message::text(r#"{"type":"tree","eager":false}"#));
    table.pass(15 * SECOND);
    assert!(table.nodes[0].standing().is_root);
    (0..BURST).for_each(|n| table.publish(0, &n.to_string()));
    table.now += SECOND;
    let now = table.now;
    let node = &mut table.nodes[0];
    node.expire(now);
    let mut announced = 0;
    while let Some(output) = node.poll_output() {
        let Output::Send { frame, .. } = output else {
            continue;
        };
        if let Message::Binary(frame) = frame {
            announced += match codec::decode(&frame) {
                Ok(Frame::Announcement(ids)) => ids.len(),
                Ok(Frame::Offer(offers)) => offers.len(),
                _ => 0,
            };
        }
    }
    assert_eq!(announced, BURST);
}

#[test]
fn who_has_lost_its_parent_is_heard_at_once() {
    let mut table = row(4);
    table.connect(3, 0);
    table.pass(20 * SECOND);
    let standing = |node: &usize| table.nodes[*node].standing();
    let root = (0..4).find(|node| standing(node).is_root).unwrap();
    let far = (0..4).find(|node| standing(node).hop == 2).unwrap();
    let is_its_parent = |node: usize| {
        let parent = standing(&far).parent.unwrap();
        table.connections(far, node).contains(&parent)
    };
    let mut near = (0..4).filter(|node| standing(node).hop == 1);
    let orphan = near.find(|node| !is_its_parent(*node)).unwrap();
    table.part(orphan, root);
    table.settle();
    table.publish(orphan, "still here");
    table.settle();
    for node in (0..4).filter(|node| *node != orphan) {
        assert_eq!(table.heard(node), ["still here"], "{node}");
    }
}
