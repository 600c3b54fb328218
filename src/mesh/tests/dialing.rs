//! What is dialed, how often, and what comes of it.

use std::time::Duration;

use super::table::{Table, url};
use crate::{
    config::MeshConfig,
    mesh::{Ending, Output, PeerKey, Side},
    message::Message,
};

const SECOND: Duration = Duration::from_secs(1);

fn hello(network: &str, more: &str) -> Message {
    let id = 99;
    Message::text(format!(
        r#"{{"type":"hello","min":1,"max":1,"id":"{id:032x}","network":"{network}"{more}}}"#
    ))
}

/// A node with a neighbor that says it can be reached there.
fn claimed(claim: &str) -> Table {
    let mut table = Table::with_nodes(1);
    let key = table.connect_stranger(0);
    let claims = format!(r#","urls":["{claim}"]"#);
    table.frame(0, key, hello("default", &claims));
    table
}

/// Does what is due and returns how often something is dialed.
fn dials(table: &mut Table) -> usize {
    let now = table.now;
    let node = &mut table.nodes[0];
    node.wake_upkeep(now);
    node.expire(now);
    let outputs = std::iter::from_fn(|| node.poll_output());
    let dials = outputs.filter(|output| matches!(output, Output::Dial(_)));
    dials.count()
}

#[test]
fn an_address_is_checked_by_one_dial_however_often_one_looks() {
    let mut table = claimed(&url(1).to_string());
    assert_eq!(dials(&mut table), 1);
    // It has come about, and the hello is still on its way: nobody would tell of another dial.
    let (key, now) = (PeerKey(7000), table.now);
    table.nodes[0].on_opened(
        key,
        Side::Dialed(url(1)),
        std::net::IpAddr::from([10, 0, 0, 2]),
        now,
    );
    assert_eq!(dials(&mut table), 0);
    table.frame(0, key, hello("default", ""));
    table.nodes[0].on_closed(key, Ending::ByUs, now);
    assert_eq!(dials(&mut table), 0, "it is verified");
}

#[test]
fn an_address_that_leads_back_is_checked_once() {
    let mut table = claimed(&url(0).to_string());
    table.pass(120 * SECOND);
    assert_eq!(table.dials.get(&url(0).to_string()), Some(&1));
}

/// Lets every dial lead to somebody who answers so, or not at all. Returns how many dials there are.
fn dials_answered_by(table: &mut Table, answer: Option<&Message>) -> usize {
    let mut count = 0;
    for key in 7000..7200 {
        let now = table.now;
        for _ in 0..dials(table) {
            count += 1;
            let key = PeerKey(key);
            table.nodes[0].on_opened(
                key,
                Side::Dialed(url(1)),
                std::net::IpAddr::from([10, 0, 0, 2]),
                now,
            );
            match answer {
                Some(answer) => table.frame(0, key, answer.clone()),
                None => {
                    table.now += 11 * SECOND;
                    dials(table);
                }
            }
            let now = table.now;
            table.nodes[0].on_closed(key, Ending::ByUs, now);
        }
        table.now += SECOND;
    }
    count
}

#[test]
fn an_address_where_somebody_unwanted_is_is_dialed_once_in_a_while() {
    let answers = [
        Some(hello("other", "")),
        Some(Message::text("{}")),
        Some(Message::binary(vec![1])),
        None,
    ];
    for answer in &answers {
        let mut table = claimed(&url(1).to_string());
        let count = dials_answered_by(&mut table, answer.as_ref());
        assert_eq!(count, 1, "to check it: {answer:?}");
        let mut table = Table::with_nodes(1);
        let key = table.connect_stranger(0);
        table.frame(0, key, hello("default", ""));
        let told = url(1);
        let shuffle = format!(r#"{{"type":"shuffle","id":1,"ttl":1,"urls":["{told}"]}}"#);
        table.frame(0, key, Message::text(shuffle));
        let count = dials_answered_by(&mut table, answer.as_ref());
        assert_eq!(count, 1, "to have enough neighbors: {answer:?}");
    }
}

#[test]
fn who_is_alone_asks_a_full_peer_again_soon() {
    let mut table = Table::with_nodes(13);
    for node in 1..13 {
        table.connect(node, 0);
        table.pass(SECOND);
    }
    let late = table.add(MeshConfig::default(), &[0]);
    // All that it can be told of is of no use to it.
    table.undialable.extend(1..late);
    table.connect(late, 0);
    table.pass(SECOND);
    assert!(table.rests.contains(&url(0)), "it is full");
    table.pass(60 * SECOND);
    assert!(table.nodes[late].standing().neighbors > 0);
}

#[test]
fn silent_hosts_do_not_keep_others_from_being_dialed() {
    let mut table = Table::with_nodes(1);
    let key = table.connect_stranger(0);
    table.frame(0, key, hello("default", ""));
    for id in 1..=4 {
        let urls: Vec<_> = (0..8).map(|n| url(8 * id + n).to_string()).collect();
        let shuffle = format!(r#"{{"type":"shuffle","id":{id},"ttl":1,"urls":{urls:?}}}"#);
        let now = table.now;
        // What it leads to is not carried out: nobody answers.
        table.nodes[0].on_frame(key, Message::text(shuffle), now);
    }
    let mut dialed = Vec::new();
    for _ in 0..4 {
        dialed.push(dials(&mut table));
        assert_eq!(dials(&mut table), 0, "four at once are enough");
        let soon = table.nodes[0].next_deadline().unwrap();
        assert!(soon <= table.now + SECOND, "it goes on by itself");
        table.now += SECOND;
    }
    assert_eq!(dialed, [4, 4, 4, 0], "and a dozen in all");
}
