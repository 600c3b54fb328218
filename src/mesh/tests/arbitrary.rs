//! Nodes to which anything may happen, in any order: what must hold all the time, and what must hold once they are
//! left alone.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::table::{Table, url};
use crate::{
    config::{HistoryLimits, MeshConfig},
    mesh::{
        PeerKey,
        codec::{self, MessageId},
        control::{Beacon, Control},
    },
    message::Message,
    node_id::NodeId,
};

const NODES: usize = 6;
/// In all long enough that all find together again, and choose a root.
const QUIET_ROUNDS: usize = 18;
const QUIET_ROUND: Duration = Duration::from_secs(10);
/// Connections of one node to the others: at most two to each, until it is settled which one stays.
const CONNECTIONS_MAX: usize = 2 * (NODES - 1);
const HISTORY: HistoryLimits = HistoryLimits {
    messages_max: 8,
    ..HistoryLimits::DEFAULT
};

#[derive(Clone, Debug)]
enum Step {
    Connect(usize, usize),
    /// Both sides lose all connections between them.
    Part(usize, usize),
    /// One side loses a connection, and the other does not notice.
    Forget(usize, usize),
    /// A node is away for a while: it keeps what it knows.
    Leave(usize),
    Return(usize),
    Publish(usize),
    /// What one neighbor has just sent another is lost.
    Lose(usize, usize),
    /// One neighbor says something that it should not to another.
    Say(usize, usize, Message),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let (one, two) = (0..NODES, 0..NODES);
    let pair = (one, two).prop_filter("two nodes", |(one, two)| one != two);
    let id = (200u128..203, 0u32..40).prop_map(|(origin, sequence)| MessageId {
        origin: NodeId(origin),
        sequence,
    });
    let ids = prop::collection::vec(id.clone(), 1..9);
    let said = prop_oneof![
        id.prop_map(|id| codec::encode_publication(id, false, "/", &Message::text("x"))),
        ids.clone()
            .prop_map(|mut ids| codec::encode_announcement(&mut ids)),
        ids.clone()
            .prop_map(|mut ids| codec::encode_request(&mut ids)),
        ids.prop_map(|mut ids| codec::encode_asked(&mut ids)),
    ]
    .prop_map(Message::Binary);
    let beacon = (0u64..3, 0u128..9, 0u32..9, 0u32..9).prop_map(|(term, root, sequence, hop)| {
        let beacon = Beacon {
            term,
            distance: 7,
            root: NodeId(root),
            sequence,
            hop,
        };
        Message::text(Control::Beacon(beacon).encode())
    });
    let tree = any::<bool>().prop_map(|eager| Message::text(Control::Tree { eager }.encode()));
    let said = prop_oneof![said, beacon, tree];
    prop_oneof![
        4 => pair.clone().prop_map(|(one, two)| Step::Connect(one, two)),
        2 => pair.clone().prop_map(|(one, two)| Step::Part(one, two)),
        2 => pair.clone().prop_map(|(one, two)| Step::Forget(one, two)),
        1 => (0..NODES).prop_map(Step::Leave),
        1 => (0..NODES).prop_map(Step::Return),
        3 => (0..NODES).prop_map(Step::Publish),
        1 => pair.clone().prop_map(|(one, two)| Step::Lose(one, two)),
        2 => (pair, said).prop_map(|((one, two), said)| Step::Say(one, two, said)),
        4 => (0u64..9000).prop_map(Step::Pass),
    ]
}

fn take(table: &mut Table, step: Step) {
    match step {
        Step::Connect(one, two) => {
            if !table.down.contains(&one) && !table.down.contains(&two) {
                table.connect(one, two);
            }
        }
        Step::Part(one, two) => table.part(one, two),
        Step::Forget(one, two) => {
            if let Some(key) = table.connections(one, two).first() {
                table.forget(*key);
            }
        }
        Step::Leave(node) => table.kill(node),
        Step::Return(node) => {
            table.down.remove(&node);
        }
        Step::Publish(node) => table.publish(node, "some"),
        Step::Lose(one, two) => table.drop_frames(one, two),
        Step::Say(one, two, message) => {
            if let Some(key) = table.connections(two, one).first() {
                table.frame(two, *key, message);
            }
        }
        Step::Pass(millis) => table.pass(Duration::from_millis(millis)),
    }
}

/// What must hold whatever has happened.
fn assert_bounded(table: &Table) {
    for (index, node) in table.nodes.iter().enumerate() {
        let standing = node.standing();
        let of_one: BTreeSet<_> = node.neighbors.members().map(|(_, it)| it.id).collect();
        assert!(standing.neighbors <= 2 * of_one.len(), "node {index}");
        assert!(standing.neighbors <= CONNECTIONS_MAX, "node {index}");
        assert!(!of_one.contains(&NodeId(index as u128 + 1)), "itself");
        let parent = standing.parent.map(|it| node.neighbors.member(it));
        assert!(parent.is_none_or(|it| it.is_some()), "node {index}");
        assert!(!standing.is_root || parent.is_none(), "node {index}");
        for history in [&node.own_history, &node.history] {
            assert!(history.ids().count() <= HISTORY.messages_max);
        }
    }
}

/// The node at the other end of what a node takes for the way to the root.
fn parent(table: &Table, node: usize) -> Option<usize> {
    let key: PeerKey = table.nodes[node].standing().parent?;
    (0..NODES).find(|other| table.connections(node, *other).contains(&key))
}

proptest! {
    #[test]
    fn whatever_happens_it_is_bounded_and_once_quiet_there_is_one_tree(
        steps in prop::collection::vec(steps(), 1..80),
    ) {
        let mut table = Table::new();
        for node in 0..NODES {
            let history = HISTORY;
            let config = MeshConfig { history, ..MeshConfig::default() };
            let configured: &[usize] = if node == 0 { &[] } else { &[0] };
            table.add(config, configured);
        }
        for step in steps {
            take(&mut table, step);
            table.settle();
            assert_bounded(&table);
        }
        table.down.clear();
        for _ in 0..QUIET_ROUNDS {
            // The network dials configured peers again and again.
            for node in 1..NODES {
                if !table.nodes[node].neighbors.knows(&url(0)) {
                    table.connect(node, 0);
                }
            }
            table.pass(QUIET_ROUND);
        }
        assert_bounded(&table);

        let roots: Vec<_> = (0..NODES).filter(|node| table.nodes[*node].standing().is_root).collect();
        prop_assert_eq!(roots.len(), 1, "{:?}", roots);
        for node in 0..NODES {
            let way: Vec<_> = std::iter::successors(Some(node), |at| parent(&table, *at)).take(NODES + 1).collect();
            prop_assert_eq!(way.last(), roots.first(), "the way of {} to the root: {:?}", node, way);
            let ids: Vec<_> = table.nodes[node].neighbors.members().map(|(_, it)| it.id).collect();
            let others: BTreeSet<_> = ids.iter().collect();
            prop_assert_eq!(ids.len(), others.len(), "node {} has doubles", node);
        }
        table.publish(NODES - 1, "to all");
        table.pass(Duration::from_secs(3));
        for node in 0..NODES - 1 {
            let heard = table.heard(node);
            prop_assert_eq!(heard.iter().filter(|it| *it == "to all").count(), 1, "node {}", node);
        }
    }
}
