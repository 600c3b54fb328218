//! What the node prints of messages.

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Frame, Node, Program, Raw, tools};

const QUIET: [&str; 4] = ["--bind", "127.0.0.1:0", "--interval", "off"];

fn node_with(format: &str) -> Node {
    Node::listening(["--interval", "off", "--format", format])
}

#[test]
fn json_is_an_object_a_line_and_loses_nothing() {
    let node = node_with("json");
    let mut peer = Raw::upgraded(node.address(), "/a%20b");
    let text = "\"\\\n\r\u{1b}[2J\u{9b}\u{202e}ü\u{1f980}";
    peer.send_frame(Frame::text(text));
    peer.send_frame(Frame::binary([0, 10, 255]));
    let lines = node.stdout.wait_until("2 lines", 2, |_| true);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        assert_eq!(line["peer"], peer.local_address().to_string());
        assert_eq!(line["kind"], "accepted");
        assert_eq!(line["channel"], "/a%20b");
        let time = line["time"].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
        assert_eq!(line.as_object().unwrap().len(), 5);
    }
    assert_eq!(lines[0]["text"], text);
    assert_eq!(lines[1]["base64"], "AAr/");
    // What could steer a terminal does not stand there as it is.
    let all = node.stdout.all().concat();
    assert!(
        !all.chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{all:?}"
    );
}

#[test]
fn what_another_node_has_published_goes_by_its_whole_id() {
    let node = Node::listening(["--interval", "off"]);
    let command = [
        "--interval",
        "off",
        "--format",
        "json",
        "--peers",
        &node.url("/"),
    ];
    let other = Node::with(command);
    node.stderr.wait_for("connected");
    other.stderr.wait_for("connected");
    let mut peer = Raw::upgraded(node.address(), "/x");
    peer.send_frame(Frame::text("hi"));
    let line = other.stdout.wait_for("hi");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["kind"], &line["channel"]),
        (&"node".into(), &"/x".into())
    );
    assert_eq!(line["peer"].as_str().unwrap().len(), 32);
}

#[test]
fn a_template_says_what_is_wanted() {
    let node = node_with("100%% %c %p [%m] %t");
    let mut peer = Raw::upgraded(node.address(), "/x");
    peer.send_frame(Frame::text("a\nb"));
    let line = node.stdout.wait_for("100%");
    let expected = format!("100% /x {} [a\\nb] 20", peer.local_address());
    assert!(line.starts_with(&expected) && line.ends_with('Z'), "{line}");
}

#[test]
fn raw_is_what_was_sent_and_the_framing_tells_it_apart() {
    for (framing, expected) in [
        ("lines", &b"a\x1b\n\x00\xff\n"[..]),
        ("nul", b"a\x1b\0\x00\xff\0"),
        ("length", b"\0\0\0\x02a\x1b\0\0\0\x02\x00\xff"),
        ("raw", b"a\x1b\x00\xff"),
    ] {
        let mut command = Node::command(QUIET);
        command.args(["--format", "raw", "--framing", framing]);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut node = Node::start_with_stdout(command, writer.into());
        node.wait_listening(1);
        let mut peer = Raw::upgraded(node.address(), "/");
        peer.send_frames([Frame::text("a\u{1b}"), Frame::binary([0, 255])]);
        peer.sync();
        drop(peer);
        node.stop();
        drop(node);
        let mut printed = Vec::new();
        reader.read_to_end(&mut printed).unwrap();
        assert_eq!(printed, expected, "{framing}");
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let in_terminal = |variables: &[(&str, &str)]| {
        let mut command = tools::of_system("script")?;
        let program = env!("CARGO_BIN_EXE_wsmesh");
        // Killing `script` would not end what runs in its terminal.
        let line = format!(
            "exec timeout --foreground 60 {program} {} 2>&1",
            QUIET.join(" ")
        );
        command.args(["-qec", &line, "/dev/null"]);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        let mut terminal =
            Program::start_with_streams("script", command, Stdio::piped(), Stdio::null());
        let said = terminal.stdout.wait_for("listening on ");
        let address = said.split_once("listening on ").unwrap().1.trim();
        let mut peer = Raw::upgraded(address.parse().unwrap(), "/");
        peer.send_frame(Frame::text("painted"));
        let line = terminal.stdout.wait_for("painted");
        drop(peer);
        terminal.say("\u{3}");
        terminal.wait_exit();
        Some(line)
    };
    let Some(line) = in_terminal(&[]) else { return };
    assert!(line.starts_with("\u{1b}[36m127.0.0.1:"), "{line:?}");
    assert!(line.contains("\u{1b}[0m painted"), "{line:?}");
    for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let line = in_terminal(&[plain]).unwrap();
        assert!(line.starts_with("127.0.0.1:"), "{line:?}");
    }
    // A pipe is no terminal.
    let node = node_with("text");
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frame(Frame::text("plain"));
    assert!(node.stdout.wait_for("plain").starts_with("127.0.0.1:"));
}

#[test]
fn what_makes_no_sense_is_told() {
    for (options, parts) in [
        (["--format", "xml"], ["--format: `xml`", "text, json, raw"]),
        (["--format", "%q"], ["placeholder %q", "%t (time)"]),
        (["--framing", "nul"], ["--framing nul", "--format raw"]),
        (
            ["--framing", "crlf"],
            ["--framing: `crlf`", "lines, nul, length or raw"],
        ),
    ] {
        let mut command = Node::command(QUIET);
        let output = command.args(options).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "{said}");
        }
    }
}
