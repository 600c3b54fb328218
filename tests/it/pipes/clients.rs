//! `wsmesh pub` and `wsmesh sub`, as scripts use them.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, ToSocketAddrs};
use std::process::{Command, Output, Stdio};

use crate::support::{Frame, Lines, Node, Program, Raw, RawListener, Scratch, letters, tools};

const TIMED_OUT: i32 = 27;

fn quiet_node(options: &[&str]) -> Node {
    let own = ["--interval", "off"];
    Node::listening(own.iter().chain(options))
}

/// Runs a client to its end, with this on its standard input.
#[track_caller]
fn run(words: &[&str], stdin: &[u8]) -> Output {
    let mut command = Node::command(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || _ = pipe.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[track_caller]
fn assert_fails(words: &[&str], stdin: &[u8], status: i32, parts: &[&str]) {
    let output = run(words, stdin);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[track_caller]
fn assert_done(words: &[&str], stdin: &[u8]) -> Vec<u8> {
    let output = run(words, stdin);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
    assert_eq!(said, "", "{words:?}");
    output.stdout
}

/// A client that runs on.
fn start(words: &[&str]) -> Program {
    Program::start("client", Node::command(words))
}

/// The texts that a peer hears, as many as there are to be.
fn texts(peer: &mut Raw, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| peer.read_frame().payload_text())
        .collect()
}

#[test]
fn a_text_is_published() {
    let node = quiet_node(&[]);
    let mut peer = Raw::upgraded(node.address(), "/alerts");
    let url = node.url("/alerts");
    assert_done(&["pub", &url, "water in the cellar"], b"");
    assert_done(&["pub", &url, "--", "-v"], b"");
    assert_done(&["pub", &url, "--binary", "AB"], b"");
    assert_done(&["pub", &url, ""], b"");
    assert_eq!(peer.read_frame(), Frame::text("water in the cellar"));
    assert_eq!(peer.read_frame(), Frame::text("-v"));
    assert_eq!(peer.read_frame(), Frame::binary("AB"));
    assert_eq!(peer.read_frame(), Frame::text(""));
}

#[test]
fn standard_input_is_published() {
    let node = quiet_node(&["--max-publish-rate", "off"]);
    let mut peer = Raw::upgraded(node.address(), "/");
    let url = node.url("/");
    for (options, stdin, expected) in [
        (&["-"][..], &b"hi\n"[..], vec![Frame::text("hi")]),
        (
            &[],
            b"one\n\ntwo",
            ["one", "", "two"].map(Frame::text).to_vec(),
        ),
        (&["--binary"], b"x\n", vec![Frame::binary("x")]),
        (
            &[],
            b"\xff\ng\xc3\xbcn\n",
            vec![Frame::binary([0xff]), Frame::text("gün")],
        ),
        (
            &["--framing", "nul"],
            b"a\nb\0c",
            ["a\nb", "c"].map(Frame::text).to_vec(),
        ),
        (
            &["--framing", "length"],
            b"\0\0\0\x02hi\0\0\0\0",
            ["hi", ""].map(Frame::text).to_vec(),
        ),
        (
            &["--framing", "raw"],
            b"a\nb\n",
            vec![Frame::text("a\nb\n")],
        ),
        (&[], b"", vec![]),
    ] {
        let words = [&["pub", &url][..], options].concat();
        assert_done(&words, stdin);
        let heard: Vec<_> = expected.iter().map(|_| peer.read_frame()).collect();
        assert_eq!(heard, expected, "{options:?}");
    }
    assert!(peer.sync().is_empty());
}

#[test]
fn all_of_many_messages_are_taken_before_it_ends() {
    let node = quiet_node(&["--max-publish-rate", "off"]);
    let sub = start(&["sub", &node.url("/"), "--count", "20000"]);
    node.wait_connected(1);
    let lines: Vec<_> = (0..20_000)
        .map(|n| format!("{n} {}", letters(n % 300)))
        .collect();
    assert_done(&["pub", &node.url("/")], lines.join("\n").as_bytes());
    let mut sub = sub;
    assert_eq!(sub.wait_exit().code(), Some(0));
    assert!(sub.stdout.wait_end() == lines);
}

/// Fifty at once are too many for the node, and evenly spread they are not.
#[test]
fn a_rate_keeps_within_that_of_the_node() {
    let node = quiet_node(&["--max-publish-rate", "20"]);
    let url = node.url("/");
    let lines = "x\n".repeat(50);
    assert_fails(
        &["pub", &url],
        lines.as_bytes(),
        1,
        &["1008", "messages a second"],
    );
    let node = quiet_node(&["--max-publish-rate", "20"]);
    let url = node.url("/");
    let mut peer = Raw::upgraded(node.address(), "/");
    assert_done(&["pub", &url, "--rate", "18"], lines.as_bytes());
    assert_eq!(texts(&mut peer, 50), vec!["x"; 50]);
    for (words, parts) in [
        (&["--rate", "0"][..], &["--rate 0", "1000000"][..]),
        (
            &["--rate", "5", "TEXT"],
            &["--rate is for messages from standard input"],
        ),
    ] {
        assert_fails(&[&["pub", &url], words].concat(), b"", 2, parts);
    }
}

#[test]
fn what_sub_prints_raw_pub_reads_again() {
    let node = quiet_node(&[]);
    let url = node.url("/");
    let mut sub = start(&["sub", &url, "--count", "3", "--format", "json"]);
    let mut command = Node::command(["sub", &url, "--count", "3"]);
    command.args(["--format", "raw", "--framing", "length"]);
    let raw = command.stdout(Stdio::piped()).spawn().unwrap();
    node.wait_connected(2);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frames([
        Frame::text("a\nb"),
        Frame::binary([0, 255]),
        Frame::text(""),
    ]);
    let raw = raw.wait_with_output().unwrap();
    assert_eq!(raw.stdout, b"\0\0\0\x03a\nb\0\0\0\x02\0\xff\0\0\0\0");
    assert_done(&["pub", &url, "--framing", "length"], &raw.stdout);
    let frames = [peer.read_frame(), peer.read_frame(), peer.read_frame()];
    let expected = [
        Frame::text("a\nb"),
        Frame::binary([0, 255]),
        Frame::text(""),
    ];
    assert_eq!(frames, expected);
    assert_eq!(sub.wait_exit().code(), Some(0));
    let lines = sub.stdout.wait_end();
    assert!(
        lines[0].contains(r#""kind":"dialed","channel":"/","text":"a\nb"}"#),
        "{lines:?}"
    );
    assert!(lines[1].ends_with(r#""base64":"AP8="}"#), "{lines:?}");
}

#[test]
fn sub_ends_after_so_many_with_a_close() {
    let server = RawListener::bind();
    let mut sub = start(&["sub", &server.url("/x"), "--count", "2"]);
    let (mut peer, head) = server.accept_upgraded();
    assert!(
        head.starts_with("GET /x HTTP/1.1\r\n") && !head.contains("Wsmesh"),
        "{head}"
    );
    peer.send_frames(["one", "two\u{1b}", "three"].map(Frame::text));
    let (before, close) = peer.read_to_close();
    assert_eq!((before, close.close_code()), (vec![], Some(1000)));
    peer.finish_close(&close);
    assert_eq!(sub.wait_exit().code(), Some(0));
    assert_eq!(sub.stdout.wait_end(), ["one", "two\\u{1b}"]);
}

#[test]
fn ctrl_c_ends_sub_with_a_close_and_0() {
    for signal in ["INT", "TERM"] {
        let server = RawListener::bind();
        let mut sub = start(&["sub", &server.url("/")]);
        let (mut peer, _) = server.accept_upgraded();
        peer.send_frame(Frame::text("hi"));
        sub.stdout.wait_for("hi");
        sub.signal(signal);
        let (_, close) = peer.read_to_close();
        assert_eq!(close.close_code(), Some(1000));
        peer.finish_close(&close);
        assert_eq!(sub.wait_exit().code(), Some(0));
    }
}

#[test]
fn ctrl_c_ends_pub_with_1() {
    let server = RawListener::bind();
    let mut client = start(&["pub", &server.url("/")]);
    let (mut peer, _) = server.accept_upgraded();
    client.say("hi");
    assert_eq!(peer.read_frame(), Frame::text("hi"));
    client.signal("INT");
    let (_, close) = peer.read_to_close();
    peer.finish_close(&close);
    assert_eq!(client.wait_exit().code(), Some(1));
    client
        .stderr
        .wait_for("interrupted; messages sent before: 1");
}

#[test]
fn sub_ends_in_silence_when_nobody_reads_any_more() {
    let node = quiet_node(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    let command = Node::command(["sub", &node.url("/")]);
    let mut sub = Program::start_with_stdout("sub", command, writer.into());
    node.wait_connected(1);
    // It is told even when there is nothing to print.
    drop(reader);
    assert_eq!(sub.wait_exit().code(), Some(0));
    assert_eq!(sub.stderr.wait_end(), [""; 0]);
    assert!(node.wait_closed(1)[0].contains("code 1000"));
}

#[test]
fn a_reader_that_takes_its_time_misses_nothing() {
    let server = RawListener::bind();
    let (reader, writer) = std::io::pipe().unwrap();
    let command = Node::command(["sub", &server.url("/"), "--count", "3000"]);
    let mut sub = Program::start_with_stdout("sub", command, writer.into());
    let (mut peer, _) = server.accept_upgraded();
    // More than the pipe and all buffers between hold.
    let text = letters(5000);
    let sending = {
        let text = text.clone();
        std::thread::spawn(move || {
            for number in 0..3000 {
                peer.send_frame(Frame::text(format!("{number} {text}")));
            }
            peer
        })
    };
    let lines = Lines::read_from(reader);
    let mut peer = sending.join().unwrap();
    let (_, close) = peer.read_to_close();
    peer.finish_close(&close);
    assert_eq!(sub.wait_exit().code(), Some(0));
    let lines = lines.wait_end();
    assert_eq!(lines.len(), 3000);
    let in_order = (0..).zip(&lines);
    in_order.for_each(|(number, line)| assert!(*line == format!("{number} {text}")));
}

#[test]
fn when_the_time_is_over_the_status_is_27() {
    let node = quiet_node(&[]);
    let silent = RawListener::bind();
    let timeout = ["--timeout", "200ms"];
    let url = node.url("/");
    let words = [&["sub", &url, "--count", "1"][..], &timeout].concat();
    assert_fails(
        &words,
        b"",
        TIMED_OUT,
        &["200ms", "messages still awaited: 1"],
    );
    let url = silent.url("/");
    let words = [&["sub", &url][..], &timeout].concat();
    assert_fails(
        &words,
        b"",
        TIMED_OUT,
        &[&url, "there is no connection within 200ms"],
    );
    let words = [&["pub", &url, "hi"][..], &timeout].concat();
    assert_fails(&words, b"", TIMED_OUT, &["there is no connection"]);
    // It has all, and does not say so.
    let server = RawListener::bind();
    let url = server.url("/");
    let client = start(&[&["pub", &url, "hi"][..], &timeout].concat());
    let (mut peer, _) = server.accept_upgraded();
    let (before, _) = peer.read_to_close();
    assert_eq!(before, [Frame::text("hi")]);
    let mut client = client;
    assert_eq!(client.wait_exit().code(), Some(TIMED_OUT));
    client
        .stderr
        .wait_for("not answered our Close within 200ms; messages sent before: 1");
}

#[test]
fn pub_fails_when_the_server_has_not_taken_it() {
    type End = fn(&mut Raw, Frame);
    let ends: [(End, &str); 4] = [
        (
            |peer, _| peer.send_frame(Frame::close(1009, "no more than 1KiB")),
            "code 1009 (no more than 1KiB)",
        ),
        (
            |peer, _| peer.send_frame(Frame::close(1008, "not here")),
            "code 1008 (not here)",
        ),
        (
            |peer, _| peer.send_frame(Frame::close(1001, "")),
            "code 1001",
        ),
        (|peer, _| peer.finish(), "instead of answering our Close"),
    ];
    for (end, said) in ends {
        let server = RawListener::bind();
        let mut client = start(&["pub", &server.url("/"), "hi"]);
        let (mut peer, _) = server.accept_upgraded();
        let (before, close) = peer.read_to_close();
        assert_eq!(before, [Frame::text("hi")]);
        end(&mut peer, close);
        drop(peer);
        assert_eq!(client.wait_exit().code(), Some(1));
        client.stderr.wait_for(said);
    }
    // It closes before it has all, also with 1000.
    let server = RawListener::bind();
    let mut client = start(&["pub", &server.url("/")]);
    let (mut peer, _) = server.accept_upgraded();
    client.say("one");
    assert_eq!(peer.read_frame(), Frame::text("one"));
    peer.send_frame(Frame::close(1000, "that will do"));
    peer.read_to_close();
    drop(peer);
    assert_eq!(client.wait_exit().code(), Some(1));
    client
        .stderr
        .wait_for("code 1000 (that will do); messages sent before: 1");
}

#[test]
fn a_node_that_refuses_says_why() {
    let scratch = Scratch::new("clients");
    let file = |name: &str, token: &str| {
        let path = scratch.join(name);
        fs::write(&path, token).unwrap();
        path.display().to_string()
    };
    let screen = "0123456789abcdef-screen";
    let tokens = file("tokens", &format!("{screen} subscribe /a\n"));
    let token = file("token", screen);
    let node = quiet_node(&["--token-file", &tokens]);
    let url = node.url("/a");
    assert_fails(
        &["pub", &url, "hi"],
        b"",
        1,
        &[&url, "401", "--token-file names the token"],
    );
    let with_token = ["--token-file", &token];
    let words = [&["pub", &url, "hi"][..], &with_token].concat();
    assert_fails(&words, b"", 1, &["code 1008", "does not allow publishing"]);
    let elsewhere = node.url("/b");
    let words = [&["sub", &elsewhere][..], &with_token].concat();
    assert_fails(&words, b"", 1, &["403"]);
    let small = quiet_node(&["--max-message", "1KiB"]);
    let words = ["pub", &small.url("/"), "--framing", "raw"];
    assert_fails(
        &words,
        &[b'x'; 2000],
        1,
        &["code 1009", "larger than 1024 bytes"],
    );
}

#[test]
fn who_is_not_there_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", gone.local_addr().unwrap());
    drop(gone);
    assert_fails(&["pub", &url, "hi"], b"", 1, &[&url, "refused"]);
    assert_fails(&["sub", &url], b"", 1, &[&url, "refused"]);
    assert_fails(
        &["sub", "ws://mesh.invalid/"],
        b"",
        1,
        &["mesh.invalid", "does not resolve"],
    );
    let http = RawListener::bind();
    let mut client = start(&["sub", &http.url("/")]);
    let mut peer = http.accept();
    peer.read_head();
    peer.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.wait_exit().code(), Some(1));
    client
        .stderr
        .wait_for("answered 404 Not Found instead of an upgrade");
}

#[test]
fn the_address_that_listens_is_found_among_others() {
    // On many machines the name has two addresses, of which the other has nobody.
    for address in ("localhost", 0).to_socket_addrs().unwrap() {
        let listener = TcpListener::bind(address).unwrap();
        let server = RawListener::of(listener);
        let url = format!("ws://localhost:{}/", server.address().port());
        let mut client = start(&["pub", &url, "hi"]);
        let (mut peer, _) = server.accept_upgraded();
        let (before, close) = peer.read_to_close();
        assert_eq!(before, [Frame::text("hi")]);
        peer.finish_close(&close);
        assert_eq!(client.wait_exit().code(), Some(0));
    }
}

#[test]
fn too_large_a_message_ends_pub_after_those_before() {
    let node = quiet_node(&[]);
    let mut peer = Raw::upgraded(node.address(), "/");
    let url = node.url("/");
    let words = ["pub", &url, "--max-message", "4B"];
    let said = ["message 3 is larger than --max-message 4B", "is sent"];
    assert_fails(&words, b"one\ntwo\nthree\nfour\n", 1, &said);
    assert_eq!(texts(&mut peer, 2), ["one", "two"]);
    let words = ["pub", &url, "--framing", "length"];
    assert_fails(
        &words,
        b"\0\0\0\x05hi",
        1,
        &["ended within a message, after 2 bytes"],
    );
    assert!(peer.sync().is_empty());
}

#[test]
fn requests_carry_what_is_wanted() {
    let scratch = Scratch::new("clients");
    let token = scratch.join("token");
    fs::write(&token, "secret-of-mine\n").unwrap();
    let server = RawListener::bind();
    let mut command = Node::command(["pub", &server.url("/x?y"), "hi", "--header", "X-Room: blue"]);
    command.args([
        "--token-file",
        token.to_str().unwrap(),
        "--subprotocol",
        "mqtt,wamp",
    ]);
    let mut client = Program::start("pub", command);
    let (mut peer, head) = server.accept_upgraded();
    for line in [
        "GET /x?y HTTP/1.1",
        "X-Room: blue",
        "Authorization: Bearer secret-of-mine",
        "Sec-WebSocket-Protocol: mqtt, wamp",
    ] {
        assert!(head.lines().any(|of_head| of_head == line), "{head}");
    }
    let (_, close) = peer.read_to_close();
    peer.finish_close(&close);
    assert_eq!(client.wait_exit().code(), Some(0));
}

#[test]
fn tls_is_spoken_to_who_is_believed() {
    let scratch = Scratch::new("clients");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, content: String| {
        let path = scratch.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let cert = file("cert.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let options = ["--bind", "wss://localhost:0", "--interval", "off"];
    let mut command = Node::command(options);
    command.args(["--tls-cert", &cert, "--tls-key", &key]);
    let mut node = Node::start(command);
    node.stderr.wait_for(" with TLS");
    node.wait_listening(1);
    let url = format!("wss://localhost:{}/", node.address().port());
    assert_fails(&["pub", &url, "hi"], b"", 1, &["TLS", "--tls-ca"]);
    assert_done(&["pub", &url, "hi", "--tls-ca", &cert], b"");
    node.stdout.wait_for("hi");
    let words = ["pub", &url, "hi", "--tls-ca", "missing.pem"];
    assert_fails(&words, b"", 2, &["--tls-ca missing.pem"]);
}

#[test]
fn what_makes_no_sense_is_told() {
    let url = "ws://127.0.0.1:1/";
    for (words, parts) in [
        (&["pub"][..], &["URL"][..]),
        (&["pub", "127.0.0.1:1", "x"], &["URL: `127.0.0.1:1`"]),
        (
            &["pub", url, "x", "--framing", "nul"],
            &["--framing", "TEXT"],
        ),
        (
            &["pub", url, "x", "--timeout", "5"],
            &["--timeout: `5` has no unit"],
        ),
        (
            &["sub", url, "--framing", "nul"],
            &["--framing nul", "--format raw"],
        ),
        (&["sub", url, "--count", "0"], &["--count 0", "at least 1"]),
        (&["sub", url, "--format", "xml"], &["--format: `xml`"]),
        (&["sub", url, "--max-message", "0"], &["--max-message 0B"]),
        (
            &["sub", url, "--header", "Host: x"],
            &["--header: `Host: x`"],
        ),
        (
            &["pub", url, "x", "--subprotocol", "a b"],
            &["--subprotocol: `a b`"],
        ),
        (
            &["pub", url, "x", "--token-file", "missing"],
            &["--token-file missing"],
        ),
    ] {
        assert_fails(words, b"", 2, parts);
    }
}

#[test]
fn files_and_devices_are_standard_input_too() {
    let node = quiet_node(&[]);
    let scratch = Scratch::new("clients");
    let path = scratch.join("lines");
    fs::write(&path, "one\ntwo\n").unwrap();
    let mut peer = Raw::upgraded(node.address(), "/");
    let with = |stdin: Stdio| {
        let mut command = Node::command(["pub", &node.url("/")]);
        command.stdin(stdin).status().unwrap().code()
    };
    assert_eq!(with(fs::File::open(&path).unwrap().into()), Some(0));
    assert_eq!(texts(&mut peer, 2), ["one", "two"]);
    assert_eq!(with(Stdio::null()), Some(0));
    assert!(peer.sync().is_empty());
}

/// Python `websockets`, which says a line of what happens to it.
fn websockets() -> Option<(Program, String)> {
    let mut python: Command = tools::python()?;
    python
        .arg(tools::peer_script("websockets_peer.py"))
        .arg("listen");
    let peer = Program::start("websockets", python);
    let said = peer.stdout.wait_for("listening ");
    let url = format!("ws://127.0.0.1:{}/a", said.trim_start_matches("listening "));
    Some((peer, url))
}

#[test]
fn python_takes_what_is_published() {
    let Some((peer, url)) = websockets() else {
        return;
    };
    assert_done(&["pub", &url, "gr\u{fc}n"], b"");
    peer.stdout.wait_for("gr\u{fc}n");
    peer.stdout.wait_for("closed 0 1000");
    let words = ["pub", &url, "--framing", "raw", "--binary"];
    assert_done(&words, &[0xff; 300_000]);
    peer.stdout.wait_for("binary 1 300000 ");
    peer.stdout.wait_for("closed 1 1000");
}

#[test]
fn what_python_says_is_heard() {
    let Some((mut peer, url)) = websockets() else {
        return;
    };
    let mut sub = start(&["sub", &url, "--count", "1000"]);
    peer.stdout.wait_for("open 0 /a");
    peer.say("burst 0 1000 hello");
    assert_eq!(sub.wait_exit().code(), Some(0));
    let lines = sub.stdout.wait_end();
    let expected: Vec<_> = (0..1000).map(|number| format!("hello {number}")).collect();
    assert!(lines == expected);
    peer.stdout.wait_for("closed 0 1000");
    let mut sub = start(&["sub", &url]);
    peer.stdout.wait_for("open 1 /a");
    peer.say("close 1 1008 enough of you");
    assert_eq!(sub.wait_exit().code(), Some(1));
    sub.stderr.wait_for("code 1008 (enough of you)");
}
