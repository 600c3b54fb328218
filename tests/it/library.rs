//! The door that other programs use: a configuration, a node, a handle from other threads.

use wsmesh::config::PeerUrl;
use wsmesh::config::limits::{BROADCAST_QUEUE_MAX, REFUSALS_MAX};
use wsmesh::{BroadcastError, Config, Message, Node, StartError};

use crate::support::{Embedded, Frame, Raw, RawListener};

#[test]
fn a_broadcast_reaches_every_peer_in_order_whoever_dialed() {
    let listener = RawListener::bind();
    let mut node = Embedded::listening(|config| {
        config.peers = vec![listener.url("/").parse().unwrap()];
    });
    let (dialed, _) = listener.accept_upgraded();
    let mut peers = vec![
        dialed,
        Raw::upgraded(node.address(), "/"),
        Raw::upgraded(node.address(), "/x"),
    ];
    node.wait_counters("all are there", |c| c.peers == 3);
    let messages: Vec<Message> = (0..100)
        .map(|n| Message::text(format!("message {n}")))
        .collect();
    node.handle().broadcast(messages).unwrap();
    node.handle()
        .broadcast([Message::binary(vec![0, 0xff])])
        .unwrap();
    for peer in &mut peers {
        for n in 0..100 {
            assert_eq!(peer.read_frame(), Frame::text(format!("message {n}")));
        }
        assert_eq!(peer.read_frame(), Frame::binary([0, 0xff]));
    }
    let counters = node.wait_counters("all is sent", |c| c.messages_sent == 303);
    assert_eq!(
        (counters.messages_dropped, counters.messages_received),
        (0, 0)
    );
    for mut peer in peers {
        peer.send_frame(Frame::close(1000, ""));
        peer.read_to_close();
    }
    node.wait_counters("all are gone", |c| c.peers == 0);
    node.stop();
}

#[test]
fn more_than_the_queue_holds_is_refused_as_a_whole() {
    let node = Embedded::listening(|_| {});
    let mut peer = Raw::upgraded(node.address(), "/");
    node.wait_counters("it is there", |c| c.peers == 1);
    let message = || Message::text("x");
    let too_many = std::iter::repeat_with(message).take(BROADCAST_QUEUE_MAX + 1);
    let error = node.handle().broadcast(too_many).unwrap_err();
    assert!(
        error.to_string().contains(&BROADCAST_QUEUE_MAX.to_string()),
        "{error}"
    );
    // An endless source is refused too, and does not hang.
    assert!(
        node.handle()
            .broadcast(std::iter::repeat_with(message))
            .is_err()
    );
    node.broadcast("the first that is sent");
    assert_eq!(peer.read_frame(), Frame::text("the first that is sent"));
}

#[test]
fn a_handle_outlives_its_node_and_may_be_shared() {
    let mut node = Embedded::listening(|_| {});
    let handle = node.handle().clone();
    let thread = std::thread::spawn(move || {
        handle.stop();
        handle
    });
    let handle = thread.join().unwrap();
    node.stop();
    handle.stop();
    // Nobody takes it, and nothing breaks.
    let _ = handle.broadcast([Message::text("into the void")]);
    assert_eq!(handle.counters().peers, 0);
}

#[test]
fn stopping_before_the_start_ends_at_once() {
    let config = Config {
        binds: vec!["127.0.0.1:0".parse().unwrap()],
        ..Config::default()
    };
    let node = Node::new(config).unwrap();
    node.handle().stop();
    node.run(&mut |_: &wsmesh::Received<'_>| {}).unwrap();
}

#[test]
fn what_cannot_work_is_an_error_at_the_start() {
    assert!(matches!(
        Node::new(Config::default()),
        Err(StartError::Config(_))
    ));
    let taken = RawListener::bind();
    let config = Config {
        binds: vec![taken.address().to_string().parse().unwrap()],
        ..Config::default()
    };
    let error = Node::new(config).unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
}

#[test]
fn several_nodes_live_in_one_process() {
    let first = Embedded::listening(|_| {});
    let url = format!("ws://{}", first.address());
    let second = Embedded::listening(|config| config.peers = vec![url.parse().unwrap()]);
    // A broadcast goes to neighbors that have said hello, not to those that are only connected.
    second.wait_counters("they have met", |c| c.neighbors == 1);
    first.wait_counters("they have met", |c| c.neighbors == 1);
    second.broadcast("up");
    first.broadcast("down");
    first.received.wait_for(" / up");
    second.received.wait_for_line(&format!("{url} / down"));
}

#[test]
fn the_same_peer_twice_is_dialed_once() {
    let listener = RawListener::bind();
    let url = listener.url("/").parse::<PeerUrl>().unwrap();
    let node = Embedded::listening(|config| config.peers = vec![url.clone(), url]);
    let _peer = listener.accept_upgraded();
    node.wait_counters("it is connected", |c| c.peers == 1);
    assert!(listener.try_accept().is_none(), "dialed twice");
}

#[test]
fn a_burst_beyond_the_outbox_is_no_fault_of_peers_that_read() {
    let mut node = Embedded::listening(|config| {
        config.limits.message_bytes_max = 32 << 10;
        config.limits.outbox_bytes_max = 64 << 10;
    });
    let mut peer = Raw::upgraded(node.address(), "/");
    node.wait_counters("it is there", |c| c.peers == 1);
    // With what each frame costs, twice as much as may wait.
    let burst = (0..1000).map(|n| Message::text(format!("{n:060}")));
    node.handle().broadcast(burst).unwrap();
    for n in 0..1000 {
        assert_eq!(peer.read_frame(), Frame::text(format!("{n:060}")));
    }
    node.stop();
}

#[test]
fn a_message_that_peers_would_refuse_is_refused_here() {
    let node = Embedded::listening(|config| config.limits.message_bytes_max = 1000);
    let mut peer = Raw::upgraded(node.address(), "/");
    node.wait_counters("it is there", |c| c.peers == 1);
    let messages = [Message::text("fits"), Message::binary(vec![0; 1001])];
    let error = node.handle().broadcast(messages).unwrap_err();
    assert!(matches!(
        error,
        BroadcastError::TooBig {
            bytes: 1001,
            bytes_max: 1000
        }
    ));
    node.broadcast("the first that is sent");
    assert_eq!(peer.read_frame(), Frame::text("the first that is sent"));
}

#[test]
fn making_the_messages_may_take_its_time_and_use_the_handle() {
    let node = Embedded::listening(|_| {});
    let mut peer = Raw::upgraded(node.address(), "/");
    node.wait_counters("it is there", |c| c.peers == 1);
    let handle = node.handle().clone();
    let thread = std::thread::spawn(move || {
        handle.broadcast(std::iter::once_with(|| {
            handle.broadcast([Message::text("inner")]).unwrap();
            Message::text("outer")
        }))
    });
    assert_eq!(peer.read_frame(), Frame::text("inner"));
    assert_eq!(peer.read_frame(), Frame::text("outer"));
    thread.join().unwrap().unwrap();
}

#[test]
fn more_bytes_than_may_wait_are_refused_as_a_whole() {
    let node = Embedded::listening(|config| {
        config.limits.message_bytes_max = 1000;
        config.limits.outbox_bytes_max = 4 << 10;
    });
    let messages = (0..5).map(|_| Message::binary(vec![0; 1000]));
    let error = node.handle().broadcast(messages).unwrap_err();
    assert!(matches!(
        error,
        BroadcastError::Full {
            waiting: 5,
            bytes: 5000,
            bytes_max: 4096
        }
    ));
}

#[test]
fn a_crowd_that_is_refused_is_bounded_and_still_hears_why() {
    let node = Embedded::listening(|config| config.limits.connections_max = 1);
    let _admitted = Raw::upgraded(node.address(), "/");
    let address = node.address();
    let mut crowd: Vec<Raw> = (0..REFUSALS_MAX + 20)
        .map(|_| Raw::connect(address))
        .collect();
    let counters = node.wait_counters("all are refused", |c| {
        c.refused_full == REFUSALS_MAX as u64 + 20
    });
    assert!(counters.refused_abruptly > 0, "{counters:?}");
    for client in &mut crowd {
        let (head, _) = client.read_answer();
        assert!(head.contains(" 503 "), "{head}");
    }
}
