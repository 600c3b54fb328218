//! What a node publishes of its standard input.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{
    End, Frame, Node, Program, Raw, RawListener, Scratch, eventually, letters, tools,
};

const QUIET: [&str; 5] = ["--bind", "127.0.0.1:0", "--interval", "off", "--stdin"];

fn reading(options: &[&str]) -> Node {
    Node::listening([&QUIET[2..], options].concat())
}

/// A node with this as its standard input.
#[track_caller]
fn reading_from(stdin: impl Into<Stdio>, options: &[&str]) -> Program {
    let mut command = Node::command(QUIET);
    command.args(options);
    Program::start_reading("wsmesh", command, stdin.into())
}

fn file(scratch: &Scratch, content: impl AsRef<[u8]>) -> File {
    let path = scratch.join("input");
    fs::write(&path, content).unwrap();
    File::open(path).unwrap()
}

#[test]
fn each_line_is_published_in_the_mesh() {
    let mut node = reading(&["--stdin-channel", "/x"]);
    let other = Node::listening(["--interval", "off", "--peers", &node.url("/")]);
    other.stderr.wait_for("neighbor");
    node.wait_connected(1);
    let mut near = Raw::upgraded(node.address(), "/x");
    let mut far = Raw::upgraded(other.address(), "/x");
    let mut elsewhere = Raw::upgraded(node.address(), "/");
    for line in ["one", "", "gr\u{fc}n"] {
        node.say(line);
        assert_eq!(near.read_frame(), Frame::text(line));
        assert_eq!(far.read_frame(), Frame::text(line));
    }
    other.stdout.wait_for("/x gr\u{fc}n");
    assert!(elsewhere.sync().is_empty());
    // The end of it is not the end of the node.
    node.close_stdin();
    node.stderr.wait_for("standard input has ended");
    far.send_frame(Frame::text("still there"));
    assert_eq!(near.read_frame(), Frame::text("still there"));
    node.stdout.wait_for("still there");
    assert_eq!(node.stdout.all().len(), 1, "it does not hear itself");
    drop((near, far, elsewhere));
    node.stop();
}

#[test]
fn all_is_delivered_before_it_exits() {
    const COUNT: usize = 10_000;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut node = reading_from(reader, &["--exit-on-eof"]);
    let said = node.stderr.wait_for("listening on ");
    let address = said
        .split_once("listening on ")
        .unwrap()
        .1
        .trim()
        .to_owned();
    let url = format!("ws://{address}/");
    let other = Node::listening(["--interval", "off", "--peers", &url]);
    other.stderr.wait_for("neighbor");
    node.stderr.wait_for("neighbor");
    let count = COUNT.to_string();
    let subs = [url, other.url("/")].map(|url| {
        let command = Node::command(["sub", &url, "--count", &count]);
        Program::start("sub", command)
    });
    node.stderr.wait_for("peer 127");
    other.stderr.wait_for("peer 127");
    let lines: Vec<_> = (0..COUNT)
        .map(|number| format!("{number} {}", letters(number % 500)))
        .collect();
    writer.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(writer);
    assert_eq!(node.wait_exit().code(), Some(0));
    for mut sub in subs {
        assert_eq!(sub.wait_exit().code(), Some(0));
        assert!(sub.stdout.wait_end() == lines);
    }
    other.stderr.wait_for("code 1001");
}

#[test]
fn it_reads_no_faster_than_its_peers() {
    const COUNT: usize = 400;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut node = reading_from(reader, &["--exit-on-eof"]);
    let said = node.stderr.wait_for("listening on ");
    let address = said.split_once("listening on ").unwrap().1.trim();
    let mut peer = Raw::upgraded_narrow(address.parse().unwrap(), "/");
    node.stderr.wait_for("connected");
    // Five times as much as may wait for a peer.
    let text = letters(50_000);
    let written = Arc::new(AtomicUsize::new(0));
    let writing = {
        let (text, written) = (text.clone(), Arc::clone(&written));
        std::thread::spawn(move || {
            for number in 0..COUNT {
                writeln!(writer, "{number} {text}").unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    eventually("some is read", || written.load(Ordering::Relaxed) > 10);
    for number in 0..COUNT {
        let frame = peer.read_frame();
        assert!(frame == Frame::text(format!("{number} {text}")), "{number}");
    }
    let (before, close) = peer.read_to_close();
    assert_eq!((before, close.close_code()), (vec![], Some(1001)));
    peer.finish_close(&close);
    writing.join().unwrap();
    assert_eq!(node.wait_exit().code(), Some(0));
}

#[test]
fn it_waits_for_somebody_to_tell() {
    let scratch = Scratch::new("stdin");
    let server = RawListener::bind();
    let input = file(&scratch, "one\ntwo\nthree");
    let url = server.url("/");
    let mut node = reading_from(input, &["--exit-on-eof", "--peers", &url]);
    let (mut peer, _) = server.accept_upgraded();
    let (before, close) = peer.read_to_close();
    assert_eq!(before, ["one", "two", "three"].map(Frame::text));
    assert_eq!(close.close_code(), Some(1001));
    assert!(matches!(peer.finish_close(&close), End::Closed));
    assert_eq!(node.wait_exit().code(), Some(0));
}

#[test]
fn framings_tell_messages_apart() {
    for (options, input, expected) in [
        (
            &["--framing", "nul"][..],
            &b"a\nb\0c"[..],
            ["a\nb", "c"].map(Frame::text).to_vec(),
        ),
        (
            &["--framing", "length"],
            b"\0\0\0\x02hi\0\0\0\0",
            ["hi", ""].map(Frame::text).to_vec(),
        ),
        (&["--framing", "raw"], b"a\nb", vec![Frame::text("a\nb")]),
        (
            &["--stdin-binary"],
            b"a\nb",
            ["a", "b"].map(Frame::binary).to_vec(),
        ),
        (
            &[],
            b"a\n\xff\n",
            vec![Frame::text("a"), Frame::binary([0xff])],
        ),
    ] {
        let scratch = Scratch::new("stdin");
        let server = RawListener::bind();
        let url = server.url("/");
        let options = [&["--exit-on-eof", "--peers", &url][..], options].concat();
        let mut node = reading_from(file(&scratch, input), &options);
        let (mut peer, _) = server.accept_upgraded();
        let (before, close) = peer.read_to_close();
        assert_eq!(before, expected, "{options:?}");
        peer.finish_close(&close);
        assert_eq!(node.wait_exit().code(), Some(0));
    }
}

#[test]
fn what_is_too_large_is_left_out_and_told() {
    let mut node = reading(&["--max-message", "1KiB"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    node.say(&letters(2000));
    node.say("after");
    assert_eq!(peer.read_frame(), Frame::text("after"));
    node.stderr
        .wait_for("larger than --max-message 1KiB and left out");
    drop(peer);
    node.stop();
}

#[test]
fn a_length_that_is_cut_off_is_an_error() {
    let scratch = Scratch::new("stdin");
    let input = file(&scratch, b"\0\0\0\x09half");
    let mut node = reading_from(input, &["--framing", "length", "--exit-on-eof"]);
    assert_eq!(node.wait_exit().code(), Some(0));
    node.stderr
        .wait_for("ended within a message, after 4 bytes");
}

#[test]
fn an_empty_input_ends_it_at_once() {
    let mut node = reading_from(Stdio::null(), &["--exit-on-eof"]);
    assert_eq!(node.wait_exit().code(), Some(0));
}

/// In the background of a terminal, what is typed is for whoever is in the foreground.
#[test]
fn a_terminal_is_read_in_the_foreground_only() {
    let Some(mut command) = tools::of_system("script") else {
        return;
    };
    let program = env!("CARGO_BIN_EXE_wsmesh");
    let of_node = QUIET.join(" ");
    let line = format!(
        "bash -mc 'timeout --foreground 60 {program} {of_node} & read -r word; echo read $word; fg >/dev/null'"
    );
    command.args(["-qec", &line, "/dev/null"]);
    let mut terminal =
        Program::start_with_streams("script", command, Stdio::piped(), Stdio::null());
    let said = terminal.stdout.wait_for("listening on ");
    let address = said.split_once("listening on ").unwrap().1.trim();
    let mut peer = Raw::upgraded(address.parse().unwrap(), "/");
    terminal.say("word");
    terminal.stdout.wait_for("read word");
    assert!(peer.sync().is_empty());
    terminal.say("typed in the foreground");
    assert_eq!(peer.read_frame(), Frame::text("typed in the foreground"));
    drop(peer);
    terminal.say("\u{3}");
    terminal.wait_exit();
}

#[test]
fn what_makes_no_sense_is_told() {
    for (options, parts) in [
        (&["--exit-on-eof"][..], ["--exit-on-eof", "--stdin"]),
        (&["--stdin-binary"], ["--stdin-binary", "--stdin"]),
        (&["--stdin-channel", "/x"], ["--stdin-channel", "--stdin"]),
        (
            &["--stdin", "--stdin-channel", "x"],
            ["--stdin-channel: `x`", "must start with /"],
        ),
        (&["--framing", "nul"], ["--framing nul", "--stdin"]),
    ] {
        let output = Node::command(&QUIET[..4]).args(options).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "{said}");
        }
    }
}
