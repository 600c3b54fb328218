//! The terminal around the node: signals, streams that are closed or stalled, and what peers may show
//! on it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Frame, Lines, Node, Raw, RawListener, eventually, letters};

#[test]
fn ctrl_c_says_goodbye_and_ends_with_0() {
    for (signal, options) in [("INT", &[][..]), ("TERM", &["--drain", "off"])] {
        let listener = RawListener::bind();
        let url = listener.url("/");
        let own = ["--interval", "off", "--peers", &url];
        let mut node = Node::listening(own.iter().chain(options));
        let mut accepted = Raw::upgraded(node.address(), "/");
        let (mut dialed, _) = listener.accept_upgraded();
        let mut idle = Raw::connect(node.address());
        node.wait_connected(2);
        node.signal(signal);

        let (before, close) = accepted.read_to_close();
        assert_eq!((before, close.close_code()), (vec![], Some(1001)));
        // What a peer still has to say before its own Close is heard.
        accepted.send_frame(Frame::text("last words"));
        accepted.finish_close(&close);
        let (before, close) = dialed.read_to_close();
        assert_eq!((before, close.close_code()), (vec![], Some(1001)));
        assert!(dialed.was_masked());
        let (head, _) = idle.read_answer();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        drop(idle);
        assert!(
            std::net::TcpStream::connect(node.address()).is_err(),
            "no new connections"
        );
        dialed.finish_close(&close);
        drop((accepted, dialed));
        assert_eq!(node.wait_exit().code(), Some(0));
        node.stdout.wait_for("last words");
        node.assert_no_error_logged();
    }
}

#[test]
fn what_is_queued_still_goes_out_after_ctrl_c() {
    let mut node = Node::listening(["--interval", "off", "--echo"]);
    let mut peer = Raw::upgraded_narrow(node.address(), "/");
    let messages: Vec<Frame> = (0..3).map(|n| Frame::binary(vec![n; 300 << 10])).collect();
    peer.send_frames(messages.clone());
    // All have been received, so all echoes are queued; hardly any of it fits into the kernel.
    node.stdout.wait_for_count(3, "[binary, 307200 bytes]");
    node.signal("INT");
    node.stderr.wait_for("stopping");
    let (before, close) = peer.read_to_close();
    assert_eq!(before.len(), 3);
    assert!(before == messages, "byte for byte");
    assert_eq!(close.close_code(), Some(1001));
    peer.finish_close(&close);
    drop(peer);
    assert_eq!(node.wait_exit().code(), Some(0));
}

#[test]
fn peers_that_do_not_answer_are_given_up_after_the_shutdown_timeout() {
    let timeout = Duration::from_millis(300);
    let mut node = Node::listening(["--interval", "off", "--shutdown-timeout", "300ms"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    let begun = Instant::now();
    node.signal("TERM");
    assert_eq!(peer.read_to_close().1.close_code(), Some(1001));
    assert_eq!(node.wait_exit().code(), Some(0));
    let took = begun.elapsed();
    assert!(took >= timeout, "{took:?}");
    assert!(
        took < Duration::from_secs(5),
        "not the 5 s of --close-timeout: {took:?}"
    );
    // What stays behind is said.
    node.stderr.wait_for("1 connection");
}

#[test]
fn a_second_ctrl_c_ends_at_once_with_1() {
    for signal in ["INT", "TERM"] {
        let mut node = Node::listening(["--shutdown-timeout", "1h", "--close-timeout", "1h"]);
        let mut peer = Raw::upgraded(node.address(), "/");
        node.signal("INT");
        assert_eq!(peer.read_to_close().1.close_code(), Some(1001));
        assert!(node.is_running());
        node.signal(signal);
        assert_eq!(node.wait_exit().code(), Some(1));
    }
}

#[test]
fn a_lost_terminal_does_not_end_it() {
    let mut node = Node::listening(["--interval", "off", "--echo"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    node.signal("HUP");
    node.signal("PIPE");
    node.stderr.wait_for("SIGHUP");
    peer.send_frame(Frame::text("still there"));
    assert_eq!(peer.read_frame(), Frame::text("still there"));
    drop(peer);
    node.stop();
}

/// Both ends of a pipe of which nobody reads the reading end: gone, or just left.
fn pipe() -> (std::io::PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

#[test]
fn a_closed_standard_output_does_not_end_it() {
    let command = Node::command(["--bind", "127.0.0.1:0", "--interval", "off", "--echo"]);
    let (reader, stdout) = pipe();
    drop(reader);
    let mut node = Node::start_with_stdout(command, stdout);
    node.wait_listening(1);
    let mut peer = Raw::upgraded(node.address(), "/");
    for text in ["one", "two", "three"] {
        peer.send_frame(Frame::text(text));
        assert_eq!(peer.read_frame(), Frame::text(text));
    }
    node.stderr.wait_for("standard output is closed");
    drop(peer);
    node.stop();
    assert_eq!(node.stderr.count("standard output"), 1, "said once");
}

#[test]
fn a_closed_standard_error_does_not_end_it() {
    let options = [
        "--bind",
        "127.0.0.1:0",
        "--interval",
        "off",
        "--echo",
        "-vv",
    ];
    let (reader, gone) = pipe();
    drop(reader);
    let broken = Node::start_with_streams(Node::command(options), Stdio::piped(), gone);
    // Started with the descriptors really closed, as `2>&-` does it.
    let mut shell = std::process::Command::new("sh");
    let program = Node::command(options);
    shell.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-"]);
    shell.arg(program.get_program()).args(program.get_args());
    let closed = Node::start(shell);
    for mut node in [broken, closed] {
        let address = SocketAddr::from(([127, 0, 0, 1], node.wait_listening_port()));
        let mut peer = Raw::upgraded(address, "/");
        peer.send_frame(Frame::text("hello"));
        assert_eq!(peer.read_frame(), Frame::text("hello"));
        drop(peer);
        node.stop();
    }
}

#[test]
fn a_standard_output_that_nobody_reads_does_not_stall_the_node() {
    let command = Node::command(["--bind", "127.0.0.1:0", "--interval", "off", "--echo"]);
    let (reader, stdout) = pipe();
    let mut node = Node::start_with_stdout(command, stdout);
    node.wait_listening(1);
    let mut peer = Raw::upgraded(node.address(), "/");
    let text = Frame::text(letters(64 << 10));
    for _ in 0..16 {
        peer.send_frame(text.clone());
        assert!(peer.read_frame() == text);
    }
    let before = node.resident_bytes();
    for _ in 0..160 {
        peer.send_frame(text.clone());
        assert!(peer.read_frame() == text);
    }
    // 10 MiB came and nobody took them.
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
    node.stderr.wait_for("standard output is not read");

    // Somebody reads after all: whole lines, and what comes from now on.
    let stdout = Lines::read_from(reader);
    node.stderr.wait_for("standard output missed");
    peer.send_frame(Frame::text("heard again"));
    stdout.wait_for("heard again");
    let who = peer.local_address();
    let expected = format!("{who} {}", text.payload_text());
    for line in stdout.all() {
        assert!(
            line == expected || line.ends_with("heard again"),
            "{:.80}",
            line
        );
    }
    drop(peer);
    node.stop();
}

#[test]
fn a_standard_output_that_nobody_reads_does_not_keep_it_from_ending() {
    let command = Node::command(["--bind", "127.0.0.1:0", "--interval", "off"]);
    let (_reader, stdout) = pipe();
    let mut node = Node::start_with_stdout(command, stdout);
    node.wait_listening(1);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frames((0..4).map(|_| Frame::text(letters(64 << 10))));
    peer.sync();
    drop(peer);
    node.stop();
    // What was lost is said.
    node.stderr.wait_for("did not take the last");
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_stall_the_node() {
    let options = [
        "--bind",
        "127.0.0.1:0",
        "--interval",
        "off",
        "--echo",
        "-vv",
    ];
    let (_reader, stderr) = pipe();
    let mut node = Node::start_with_streams(Node::command(options), Stdio::piped(), stderr);
    let address = SocketAddr::from(([127, 0, 0, 1], node.wait_listening_port()));
    // Each is worth some lines of the log.
    for _ in 0..1500 {
        let mut raw = Raw::connect(address);
        raw.send("GET / HTTP/1.1\r\n\r\n");
        assert!(raw.read_answer().0.starts_with("HTTP/1.1 400 "));
    }
    let mut peer = Raw::upgraded(address, "/");
    peer.send_frame(Frame::text("hello"));
    assert_eq!(peer.read_frame(), Frame::text("hello"));
    drop(peer);
    node.signal("TERM");
    eventually("the node ends", || node.try_exit().is_some());
    assert_eq!(node.try_exit().unwrap().code(), Some(0));
}

#[test]
fn what_a_peer_sends_cannot_steer_the_terminal() {
    let listener = RawListener::bind();
    let mut node = Node::listening(["--interval", "off", "-vv", "--peers", &listener.url("/")]);
    let nasty = "\u{1b}[2J\u{1b}]0;title\u{7}\r\nforged line\u{9b}31m\u{202e}\u{2028}\u{0}\u{8}";

    let mut texts = Raw::upgraded(node.address(), "/");
    texts.send_frames([Frame::text(nasty), Frame::text("after")]);
    node.stdout.wait_for("after");
    let mut binary = Raw::upgraded(node.address(), "/b");
    binary.send_frames([Frame::binary(nasty), Frame::binary("after")]);
    node.stdout.wait_for("[binary, 5 bytes]");
    // In a path, as far as a request line can carry it at all.
    let mut path = Raw::connect(node.address());
    path.send(Raw::request(node.address(), "/\u{9b}31m\u{202e}x"));
    let head = path.read_head();
    if head.starts_with("HTTP/1.1 101 ") {
        path.send_frames([Frame::text("by path")]);
        node.stdout.wait_for("by path");
    }
    // In the reason of a Close.
    texts.send_frame(Frame::close(4000, nasty));
    assert_eq!(texts.read_to_close().1.close_code(), Some(4000));
    drop(texts);
    // In the answer to a dial.
    let mut dialed = listener.accept();
    dialed.read_head();
    dialed.send("HTTP/1.1 301 \u{9b}31m\u{202e}\r\nLocation: ws://b/\u{9b}2J\r\n\r\n");
    node.stderr.wait_for("301");
    // And in what is not even HTTP.
    let mut garbage = Raw::connect(node.address());
    garbage.send("\u{1b}[2J\r\n\r\n");
    garbage.read_to_end();

    node.wait_closed(1);
    drop((binary, path, garbage, dialed, listener));
    node.stop();
    let lines = [node.stdout.wait_end(), node.stderr.all()].concat();
    for line in &lines {
        let is_safe = |c: char| !c.is_control() && !"\u{202e}\u{2028}".contains(c);
        assert!(line.chars().all(is_safe), "{line:?}");
        assert!(!line.starts_with("forged"), "{line:?}");
    }
    assert!(
        lines.iter().any(|line| line.contains("forged line")),
        "it is shown all the same"
    );
}

#[test]
fn a_long_path_does_not_make_every_line_long() {
    let node = Node::listening(["--interval", "off"]);
    let target = format!("/{}?{}", letters(250), letters(4000));
    let mut peer = Raw::upgraded(node.address(), &target);
    peer.send_frame(Frame::text("short"));
    let line = node.stdout.wait_for("short");
    assert!(line.contains("… short") && line.len() < 200, "{line}");
    let connected = node.stderr.wait_for("connected on /");
    assert!(connected.len() < 300, "{connected}");
}
