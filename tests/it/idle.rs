//! What a node does not do: wake up, use the processor or hold a thread while there is nothing to do,
//! or make a system call where one does for many.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::{Frame, Node, Raw, RawListener, eventually, letters};

const ASLEEP: [&str; 4] = ["--interval", "off", "--ping-interval", "off"];
const WHILE: Duration = Duration::from_millis(700);

#[track_caller]
fn pass(time: Duration) {
    let begun = Instant::now();
    eventually("some time has passed", || begun.elapsed() > time);
}

/// Wake-ups of the process so far: how often it went to sleep by itself.
#[track_caller]
fn wake_ups(node: &Node) -> u64 {
    node.status_field("voluntary_ctxt_switches")
}

/// Processor time that the process has used, from the scheduler's clock.
#[track_caller]
fn processor_time(node: &Node) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", node.id()))
        .expect("/proc tells about a running process");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first field is a number"))
}

/// Asserts that it does nothing at all for a while.
#[track_caller]
fn assert_asleep(what: &str, node: &Node) {
    // What was caused before may still be under way.
    let mut last = wake_ups(node);
    eventually(&format!("{what}: it falls asleep"), || {
        pass(Duration::from_millis(100));
        std::mem::replace(&mut last, wake_ups(node)) == last
    });
    let (before, used) = (wake_ups(node), processor_time(node));
    pass(WHILE);
    assert_eq!(wake_ups(node) - before, 0, "{what}: it woke up");
    let used = processor_time(node) - used;
    assert!(used < WHILE / 100, "{what}: it was busy for {used:?}");
}

#[test]
fn an_idle_node_does_not_wake_up() {
    let listener = RawListener::bind();
    let url = listener.url("/");
    let options = [&ASLEEP[..], &["--peers", &url]].concat();
    let node = Node::listening(options);
    let (mut dialed, _) = listener.accept_upgraded();
    let mut peers: Vec<Raw> = (0..20)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    for peer in &mut peers {
        peer.send_frame(Frame::text("hello"));
        peer.sync();
    }
    dialed.sync();
    assert_eq!(
        node.status_field("Threads"),
        1,
        "addresses need no thread to resolve them"
    );
    assert_asleep("with peers", &node);
    drop((peers, dialed));
    // Its own redial is the only thing that is ever due.
    node.wait_closed(21);
}

#[test]
fn only_names_take_a_second_thread() {
    let listener = RawListener::bind();
    let url = format!("ws://localhost:{}/", listener.address().port());
    let node = Node::with([&ASLEEP[..], &["--peers", &url]].concat());
    let (mut peer, _) = listener.accept_upgraded();
    peer.sync();
    assert_eq!(node.status_field("Threads"), 2);
    assert_asleep("with a name", &node);
}

#[test]
fn a_peer_that_is_not_read_any_more_does_not_keep_it_awake() {
    let options = [&ASLEEP[..], &["--echo", "--outbox", "2MiB"]].concat();
    let mut command = Node::command(["--bind", "127.0.0.1:0"]);
    command.args(options);
    let mut node = Node::start_with_stdout(command, std::process::Stdio::null());
    node.wait_listening(1);
    // It sends and never reads, until the node has stopped to read it.
    let peer = Raw::upgraded_narrow(node.address(), "/");
    let mut sender = peer.sender();
    let frame = Frame::binary(vec![1; 60_000]).masked().encode();
    sender
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while sender.write_all(&frame).is_ok() {}
    assert_asleep("with a peer that waits for itself", &node);
}

#[test]
fn an_output_that_is_stalled_does_not_keep_it_awake() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut command = Node::command(["--bind", "127.0.0.1:0"]);
    command.args(ASLEEP);
    let mut node = Node::start_with_stdout(command, writer.into());
    node.wait_listening(1);
    let mut peer = Raw::upgraded(node.address(), "/");
    for _ in 0..40 {
        peer.send_frame(Frame::text(letters(64 << 10)));
    }
    peer.sync();
    node.stderr.wait_for("standard output is not read");
    assert_asleep("with a full pipe", &node);
}

#[test]
fn connections_that_are_half_closed_do_not_keep_it_awake() {
    let options = [
        &ASLEEP[..],
        &["--handshake-timeout", "1h", "--close-timeout", "1h"],
    ]
    .concat();
    let node = Node::listening(options);
    // One in the middle of its head, one that has said goodbye and stays, one after an error.
    let mut head = Raw::connect(node.address());
    head.send("GET / HTTP/1.1\r\n");
    let mut closed = Raw::upgraded(node.address(), "/");
    closed.send_frame(Frame::close(1000, ""));
    closed.read_to_close();
    let mut wrong = Raw::upgraded(node.address(), "/");
    wrong.send(Frame::text("unmasked").encode());
    wrong.read_to_close();
    let mut half = Raw::upgraded_narrow(node.address(), "/");
    half.finish();
    assert_asleep("with halves", &node);
}

#[test]
fn used_up_descriptors_do_not_keep_it_busy() {
    let node = Node::listening(ASLEEP);
    node.limit_descriptors(node.descriptors() + 10);
    let _crowd: Vec<Raw> = (0..50).map(|_| Raw::connect(node.address())).collect();
    node.stderr.wait_for("cannot accept more connections");
    let used = processor_time(&node);
    pass(WHILE);
    let used = processor_time(&node) - used;
    assert!(used < WHILE / 10, "it was busy for {used:?}");
}

/// Write calls of the process so far; a single buffer to a socket (`send`) is not among them.
#[track_caller]
fn write_calls(node: &Node) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/io", node.id()))
        .expect("/proc tells about a running process");
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("syscw: ")?.parse().ok());
    count.expect("syscw is a number")
}

#[test]
fn a_burst_leaves_in_one_piece() {
    const BURST: usize = 100;
    let options = [&ASLEEP[..], &["--echo"]].concat();
    let node = Node::listening(options);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.sync();
    let before = write_calls(&node);
    peer.send_frames((0..BURST).map(|n| Frame::text(format!("message {n}"))));
    for n in 0..BURST {
        assert_eq!(peer.read_frame(), Frame::text(format!("message {n}")));
    }
    node.stdout.wait_for("message 99");
    let calls = write_calls(&node) - before;
    // One for the peer and one for standard output, if the burst arrives in one piece.
    assert!(
        (1..=10).contains(&calls),
        "{calls} write calls for {BURST} messages"
    );
}
