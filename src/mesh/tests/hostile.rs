//! What a neighbor may send, and what it costs.

use std::time::Duration;

use proptest::prelude::*;

use super::table::{Table, url};
use crate::{
    config::limits::DEGREE_UNDIALABLE_MAX,
    mesh::{
        News, Output, PeerKey,
        codec::{self, MessageId, Offer},
        control::{Beacon, Control, Hello, Role},
    },
    message::Message,
    node_id::NodeId,
};

const SECOND: Duration = Duration::from_secs(1);

fn hello(id: u128) -> Hello {
    Hello {
        min: 1,
        max: 1,
        id: NodeId(id),
        network: "default".to_owned(),
        role: Role::Peer,
        urls: Vec::new(),
        ports: Vec::new(),
        degree: 0,
        degree_max: 0,
        max_message: 0,
        urgent: false,
        known: false,
        have: None,
        age: None,
    }
}

fn text(control: &Control) -> Message {
    Message::text(control.encode())
}

/// A stranger that has said hello to node 0.
fn stranger(table: &mut Table, id: u128) -> PeerKey {
    let key = table.connect_stranger(0);
    table.frame(0, key, text(&Control::Hello(hello(id))));
    table.settle();
    key
}

fn closes(table: &mut Table, frames: &[Message]) -> Vec<(u16, String)> {
    let key = table.connect_stranger(0);
    for frame in frames {
        table.frame(0, key, frame.clone());
    }
    table.settle();
    std::mem::take(&mut table.closes)
}

#[test]
fn what_breaks_the_protocol_is_closed_with_a_reason() {
    let mut table = Table::with_nodes(1);
    let greeting = text(&Control::Hello(hello(100)));
    let publication = codec::encode_publication(
        MessageId {
            origin: NodeId(100),
            sequence: 1,
        },
        false,
        "/",
        &Message::text("x"),
    );
    for (frames, code, reason) in [
        (
            vec![Message::text("{}")],
            1002,
            "a control frame is not as it should be",
        ),
        (
            vec![Message::Binary(publication)],
            1002,
            "the first frame is not a hello",
        ),
        (
            vec![text(&Control::Tree { eager: true })],
            1002,
            "the first frame is not a hello",
        ),
        (
            vec![greeting.clone(), greeting.clone()],
            1002,
            "a second hello",
        ),
        (
            vec![greeting.clone(), Message::binary(vec![1, 2])],
            1002,
            "a frame is shorter",
        ),
        (
            vec![text(&Control::Hello(Hello {
                min: 2,
                max: 9,
                ..hello(7)
            }))],
            1008,
            "no common version: yours 2 to 9, ours 1 to 1",
        ),
        (
            vec![text(&Control::Hello(hello(1)))],
            1000,
            "this is yourself",
        ),
    ] {
        let closes = closes(&mut table, &frames);
        assert_eq!(closes.len(), 1, "{reason}: {closes:?}");
        assert_eq!(closes[0].0, code);
        assert!(
            closes[0].1.starts_with(reason),
            "{} is not {reason}",
            closes[0].1
        );
    }
    assert_eq!(table.nodes[0].standing().neighbors, 0);
}

#[test]
fn what_a_later_version_may_add_is_left_aside() {
    let mut table = Table::with_nodes(1);
    let key = stranger(&mut table, 100);
    table.frame(0, key, Message::text(r#"{"type":"later","more":[1]}"#));
    table.frame(0, key, Message::binary(vec![77, 1, 2]));
    table.settle();
    assert!(table.closes.is_empty());
    assert_eq!(table.nodes[0].standing().ignored, 2);
}

#[test]
fn silence_instead_of_a_hello_has_an_end() {
    let mut table = Table::with_nodes(1);
    table.connect_stranger(0);
    table.pass(9 * SECOND);
    assert!(table.closes.is_empty());
    table.pass(2 * SECOND);
    assert_eq!(table.closes, [(1013, "no hello in time".to_owned())]);
}

#[test]
fn terms_and_sequences_do_not_jump() {
    let mut table = Table::with_nodes(2);
    table.connect(1, 0);
    table.pass(20 * SECOND);
    let root = table.nodes[0].standing().root;
    let key = stranger(&mut table, 100);
    let beacon = Beacon {
        term: 1 << 40,
        distance: 0,
        root: NodeId(0),
        sequence: 1,
        hop: 0,
    };
    table.frame(0, key, text(&Control::Beacon(beacon)));
    let beacon = Beacon {
        term: 1,
        distance: u32::MAX,
        root: root.expect("there is a root"),
        sequence: 1 << 30,
        hop: 0,
    };
    table.frame(0, key, text(&Control::Beacon(beacon)));
    table.pass(SECOND);
    assert_eq!(table.nodes[0].standing().root, root);
    assert_eq!(table.nodes[0].standing().ignored, 2);
}

#[test]
fn a_flood_of_beacons_is_passed_on_in_small_numbers() {
    let mut table = Table::with_nodes(2);
    table.connect(1, 0);
    table.pass(20 * SECOND);
    let key = stranger(&mut table, 100);
    for n in 0..1000 {
        let beacon = Beacon {
            term: 2 + n,
            distance: 0,
            root: NodeId(1000),
            sequence: 1,
            hop: 0,
        };
        table.frame(0, key, text(&Control::Beacon(beacon)));
    }
    let mut sent = 0;
    while table.nodes[0].poll_output().is_some() {
        sent += 1;
    }
    assert!(sent < 40, "{sent}");
}

#[test]
fn made_up_announcements_cost_a_bounded_number_of_requests() {
    let mut table = Table::with_nodes(1);
    let key = stranger(&mut table, 100);
    for n in 0..200 {
        let mut ids: Vec<_> = (0..1000)
            .map(|s| MessageId {
                origin: NodeId(n),
                sequence: s + 1,
            })
            .collect();
        table.frame(
            0,
            key,
            Message::Binary(codec::encode_announcement(&mut ids)),
        );
    }
    table.pass(300 * SECOND);
    let standing = table.nodes[0].standing();
    assert!(standing.requested <= 8 * 1024, "{standing:?}");
    assert!(standing.ignored >= 100_000);
}

#[test]
fn forged_addresses_have_a_victim_dialed_once() {
    let mut table = Table::with_nodes(1);
    let key = stranger(&mut table, 100);
    let victim = "ws://10.9.9.9:80";
    for n in 0..500 {
        let urls = (0..8).map(|m| format!("{victim}/{n}/{m}")).collect();
        table.frame(
            0,
            key,
            text(&Control::Shuffle {
                id: n,
                ttl: 1,
                urls,
            }),
        );
        table.pass(SECOND);
    }
    let dials: usize = table
        .dials
        .iter()
        .filter(|(url, _)| url.contains("10.9.9.9"))
        .map(|(_, n)| n)
        .sum();
    // Once, and once more after ten minutes at the earliest; four can be under way when the first one fails.
    assert!((1..=8).contains(&dials), "{dials}");
}

#[test]
fn addresses_that_are_no_business_of_ours_are_not_taken() {
    let mut table = Table::with_nodes(1);
    let key = stranger(&mut table, 100);
    let urls = [
        "ws://127.0.0.1:1",
        "ws://localhost:2",
        "http://10.0.0.9",
        "ws://user@10.0.0.9",
        "x",
        &url(0).to_string(),
    ];
    let urls = urls.iter().map(ToString::to_string).collect();
    table.frame(
        0,
        key,
        text(&Control::Shuffle {
            id: 1,
            ttl: 1,
            urls,
        }),
    );
    table.pass(10 * SECOND);
    let others: Vec<_> = table
        .dials
        .keys()
        .filter(|dialed| **dialed != url(0).to_string())
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn strangers_take_no_more_places_than_there_are() {
    let mut table = Table::with_nodes(1);
    for n in 0..200 {
        stranger(&mut table, 100 + n);
        let role = Role::Leaf;
        let key = table.connect_stranger(0);
        table.frame(
            0,
            key,
            text(&Control::Hello(Hello {
                role,
                urgent: true,
                ..hello(1000 + n)
            })),
        );
        let key = table.connect_stranger(0);
        let ports = vec![1];
        table.frame(
            0,
            key,
            text(&Control::Hello(Hello {
                ports,
                urgent: true,
                ..hello(2000 + n)
            })),
        );
        table.settle();
    }
    for _ in 0..10 {
        stranger(&mut table, 100);
    }
    let max = DEGREE_UNDIALABLE_MAX + 12 + 2;
    assert!(table.nodes[0].standing().neighbors <= max);
}

#[test]
fn nobody_tells_a_node_that_an_address_of_others_is_its_own() {
    let mut table = Table::with_nodes(2);
    table.connect(0, 1);
    table.settle();
    let key = stranger(&mut table, 100);
    for url in ["ws://10.9.9.9:9/", &url(1).to_string()] {
        let url = url.to_owned();
        table.frame(0, key, text(&Control::Reached { url, ok: true }));
    }
    table.settle();
    assert_eq!(table.nodes[0].standing().ignored, 2);
    assert!(
        !table.news[0]
            .iter()
            .any(|news| matches!(news, News::Reached(_)))
    );
}

/// Anything that can be said in the name of others than the honest ones, by those who have said hello and those who have not.
fn frames() -> impl Strategy<Value = Message> {
    let id = (50u128..54, 0u32..40).prop_map(|(o, s)| MessageId {
        origin: NodeId(o),
        sequence: s,
    });
    let ids = prop::collection::vec(id.clone(), 1..20);
    let known = prop::sample::select(vec![
        "ws://10.0.0.1:8080/",
        "ws://10.0.0.2:8080/",
        "ws://10.0.0.77:1",
        "nonsense",
    ]);
    let urls = prop::collection::vec(known.prop_map(str::to_owned), 0..8);
    prop_oneof![
        (50u128..58, any::<bool>(), prop::option::of(0u32..40)).prop_map(|(id, urgent, have)| {
            let have = have.map(|n| [(NodeId(1).to_string(), n)].into());
            text(&Control::Hello(Hello {
                urgent,
                have,
                ports: vec![9],
                ..hello(id)
            }))
        }),
        (
            0u64..4,
            prop::sample::select(vec![0, 30, u32::MAX]),
            prop::sample::select(vec![0, 1, 2, 50]),
            0u32..9,
            0u32..9
        )
            .prop_map(|(term, distance, root, sequence, hop)| {
                text(&Control::Beacon(Beacon {
                    term,
                    distance,
                    root: NodeId(root),
                    sequence,
                    hop,
                }))
            }),
        any::<bool>().prop_map(|eager| text(&Control::Tree { eager })),
        (0u64..4, any::<u8>(), urls.clone()).prop_map(|(id, ttl, urls)| text(&Control::Shuffle {
            id,
            ttl,
            urls
        })),
        (0u64..4, urls.clone()).prop_map(|(id, urls)| text(&Control::Shuffled { id, urls })),
        urls.prop_map(|urls| text(&Control::Redirect { urls })),
        any::<bool>().prop_map(|ok| text(&Control::Reached {
            url: "ws://10.0.0.9/".to_owned(),
            ok
        })),
        (id, any::<u8>(), any::<bool>()).prop_map(|(id, hops, direct)| {
            let mut frame =
                codec::encode_publication(id, direct, "/c", &Message::text("x")).to_vec();
            frame[2] = hops;
            Message::Binary(frame.into())
        }),
        ids.clone()
            .prop_map(|mut ids| Message::Binary(codec::encode_announcement(&mut ids))),
        (ids.clone(), any::<u32>()).prop_map(|(ids, age)| {
            let age = Duration::from_millis(age.into());
            let mut offers: Vec<_> = ids.into_iter().map(|id| Offer { id, age }).collect();
            Message::Binary(codec::encode_offer(&mut offers))
        }),
        ids.clone()
            .prop_map(|mut ids| Message::Binary(codec::encode_request(&mut ids))),
        ids.prop_map(|mut ids| Message::Binary(codec::encode_asked(&mut ids))),
        any::<Vec<u8>>().prop_map(Message::binary),
        any::<String>().prop_map(Message::text),
    ]
}

proptest! {
    /// The table asserts what must hold after every step.
    #[test]
    fn whatever_is_said_the_invariants_hold(
        steps in prop::collection::vec((0usize..6, frames(), 0u64..4000), 1..60),
    ) {
        let mut table = Table::with_nodes(2);
        table.connect(0, 1);
        table.settle();
        let mut strangers: Vec<_> = (0..6).map(|_| table.connect_stranger(0)).collect();
        for (who, frame, millis) in steps {
            table.frame(0, strangers[who], frame);
            table.pass(Duration::from_millis(millis));
            if table.is_closing(strangers[who]) {
                strangers[who] = table.connect_stranger(0);
            }
        }
        for node in &table.nodes {
            let standing = node.standing();
            prop_assert!(standing.neighbors <= 16);
            prop_assert!(!standing.is_root || standing.parent.is_none());
            prop_assert!(standing.parent.is_none_or(|parent| node.neighbors.member(parent).is_some()));
        }
        // The two honest ones still reach each other.
        let heard = table.heard(1).len();
        table.publish(0, "honest");
        table.pass(5 * SECOND);
        prop_assert!(table.heard(1)[heard..].contains(&"honest".to_owned()));
    }
}

#[test]
fn who_has_been_told_to_go_is_not_told_again() {
    let mut table = Table::with_nodes(1);
    let greeting = text(&Control::Hello(hello(1000)));
    // Too many say hello at once, and the last one does so nevertheless.
    let last = (0..=256).map(|_| table.connect_stranger(0)).last();
    let last = last.expect("there are many");
    for frame in [greeting, Message::text("{}"), Message::binary(vec![1])] {
        table.frame(0, last, frame);
    }
    table.settle();
    assert_eq!(table.closes.len(), 1);
}

#[test]
fn walks_are_passed_on_in_small_numbers() {
    let mut table = Table::with_nodes(2);
    table.connect(1, 0);
    table.pass(20 * SECOND);
    let strangers: Vec<_> = (0..30).map(|n| stranger(&mut table, 100 + n)).collect();
    let mut sent = 0;
    for (n, key) in strangers.into_iter().enumerate() {
        for m in 0..60 {
            let (id, ttl, urls) = ((n * 100 + m) as u64, 4, Vec::new());
            table.frame(0, key, text(&Control::Shuffle { id, ttl, urls }));
        }
    }
    let honest = table.connections(0, 1)[0];
    while let Some(output) = table.nodes[0].poll_output() {
        if let Output::Send { to, frame } = output
            && to.contains(&honest)
            && matches!(frame, Message::Text(_))
        {
            sent += 1;
        }
    }
    assert!(sent < 48, "it takes {sent} at once from all of us together");
}

#[test]
fn who_was_out_of_reach_once_is_not_so_for_ever() {
    let mut table = Table::with_nodes(1);
    let key = stranger(&mut table, 100);
    let (url, ok) = (url(0).to_string(), false);
    for _ in 0..3 {
        let url = url.clone();
        table.frame(0, key, text(&Control::Reached { url, ok }));
    }
    assert!(table.nodes[0].overlay.is_out_of_reach());
    for _ in 0..400 {
        table.pass(10 * SECOND);
        let beacon = text(&Control::Tree { eager: true });
        table.frame(0, key, beacon);
    }
    assert!(!table.nodes[0].overlay.is_out_of_reach());
}
