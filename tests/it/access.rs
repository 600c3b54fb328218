//! Who may come in, and as what: tokens with their rights, and the pages of browsers.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::support::raw::header;
use crate::support::{Frame, Node, Program, Raw, RawListener, Scratch, tools};

/// May do everything.
const MEMBER: &str = "0123456789abcdef-member";
/// Hears, and says nothing.
const LISTENER: &str = "0123456789abcdef-listener";
/// Says something in one channel, and hears nothing.
const SENSOR: &str = "0123456789abcdef-sensor";
const STRANGER: &str = "0123456789abcdef-stranger";

fn token_file(scratch: &Scratch) -> String {
    let path = scratch.join("tokens");
    let lines = [
        "# of the test".to_owned(),
        MEMBER.to_owned(),
        format!("{LISTENER} subscribe # a screen"),
        format!("{SENSOR} publish /sensors/*"),
    ];
    fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

/// A node that wants tokens, and its file.
fn guarded(options: &[&str]) -> (Scratch, Node) {
    let scratch = Scratch::new("tokens");
    let file = token_file(&scratch);
    let quiet: &[&str] = match options.contains(&"--interval") {
        true => &[],
        false => &["--interval", "off"],
    };
    let own = ["-v", "--token-file", &file];
    let node = Node::listening(own.iter().chain(quiet).chain(options));
    (scratch, node)
}

/// Asks for an upgrade with further header lines.
fn ask(node: &Node, target: &str, fields: &str) -> Raw {
    let mut peer = Raw::connect(node.address());
    let request = Raw::request(node.address(), target);
    peer.send(request.replacen("Upgrade:", &format!("{fields}Upgrade:"), 1));
    peer
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[track_caller]
fn with_token(node: &Node, target: &str, token: &str) -> Raw {
    let mut peer = ask(node, target, &bearer(token));
    peer.expect_upgraded();
    peer
}

#[track_caller]
fn assert_refused(mut peer: Raw, status: &str, reason: &str) -> String {
    let (head, body) = peer.read_answer();
    assert!(
        head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
        "{head}"
    );
    assert!(body.contains(reason), "{body}");
    head
}

fn assert_tells_no_token(node: &Node) {
    for line in node.stderr.all() {
        assert!(!line.contains("0123456789abcdef"), "{line}");
    }
}

#[test]
fn only_who_shows_a_token_comes_in() {
    let (_scratch, mut node) = guarded(&[]);
    let head = assert_refused(ask(&node, "/", ""), "401 Unauthorized", "wants a token");
    assert_eq!(header(&head, "www-authenticate").as_deref(), Some("Bearer"));
    for fields in [
        bearer(STRANGER),
        bearer(""),
        bearer(&MEMBER[1..]),
        bearer(MEMBER) + &bearer(MEMBER),
        format!("Authorization: Basic {MEMBER}\r\n"),
        format!("Sec-WebSocket-Protocol: {MEMBER}\r\n"),
        format!("Sec-WebSocket-Protocol: wsmesh.v1, wsmesh.token.{STRANGER}\r\n"),
    ] {
        assert_refused(ask(&node, "/", &fields), "401 Unauthorized", "token");
    }
    let in_url = format!("/?token={MEMBER}");
    assert_refused(ask(&node, &in_url, ""), "401 Unauthorized", "wants a token");
    node.stderr.wait_for("WARN");

    let selected = |offer: &str| {
        let mut peer = ask(&node, "/", &format!("Sec-WebSocket-Protocol: {offer}\r\n"));
        header(&peer.expect_upgraded(), "sec-websocket-protocol")
    };
    let shown = format!("wsmesh.token.{MEMBER}");
    assert_eq!(
        selected(&format!("wsmesh.plain, {shown}")).as_deref(),
        Some("wsmesh.plain")
    );
    assert_eq!(
        selected(&format!("{shown},wsmesh.v1")).as_deref(),
        Some("wsmesh.v1")
    );
    assert_eq!(selected(&shown), Some(shown.clone()));
    with_token(&node, "/", MEMBER);

    let mut health = Raw::connect(node.address());
    health.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(health.read_head().starts_with("HTTP/1.1 200 "));
    node.stop();
    assert_tells_no_token(&node);
}

#[test]
fn a_token_in_the_url_is_taken_where_that_is_switched_on() {
    let (_scratch, mut node) = guarded(&["--token-in-url"]);
    let target = |token| format!("/sensors/a?unit=C&token={token}&x");
    assert_refused(
        ask(&node, &target(STRANGER), ""),
        "401 Unauthorized",
        "no token",
    );
    let mut peer = ask(&node, &target(SENSOR), "");
    peer.expect_upgraded();
    peer.send_frame(Frame::text("21.5"));
    node.stdout.wait_for("/sensors/a 21.5");
    node.stop();
    assert_tells_no_token(&node);
}

#[test]
fn a_token_is_good_for_its_rights_and_channels_only() {
    let (_scratch, mut node) = guarded(&[]);
    for (target, token) in [("/alerts", SENSOR), ("/sensors", SENSOR)] {
        assert_refused(
            ask(&node, target, &bearer(token)),
            "403 Forbidden",
            "not for this channel",
        );
    }
    for token in [LISTENER, SENSOR] {
        let fields = bearer(token) + "Sec-WebSocket-Protocol: wsmesh.v1\r\n";
        assert_refused(
            ask(&node, "/", &fields),
            "403 Forbidden",
            "does not make a neighbor",
        );
    }
    let mut sensor = with_token(&node, "/sensors/a", SENSOR);
    let mut listener = with_token(&node, "/sensors/a", LISTENER);
    let mut other = with_token(&node, "/sensors/a", LISTENER);
    let mut member = with_token(&node, "/sensors/a", MEMBER);
    sensor.send_frame(Frame::text("one"));
    assert_eq!(member.read_frame(), Frame::text("one"));
    member.send_frame(Frame::text("two"));
    for text in ["one", "two"] {
        assert_eq!(listener.read_frame(), Frame::text(text));
    }
    assert_eq!(sensor.sync(), [], "who may not listen hears nothing");

    listener.send_frames(["three", "four"].map(Frame::text));
    let (heard, close) = listener.read_to_close();
    assert_eq!(heard, []);
    assert_eq!(close.close_code(), Some(1008));
    assert!(close.close_reason().contains("does not allow publishing"));
    let lines = node.wait_closed(1);
    assert!(lines[0].contains(" WARN "), "{lines:?}");
    assert_eq!(member.sync(), [], "what it said is nobody's");
    assert_eq!(other.sync().len(), 2, "it goes on for others");
    node.stop();
    assert_tells_no_token(&node);
}

#[test]
fn who_may_not_listen_does_not_hear_the_periodic_broadcast_either() {
    let (_scratch, node) = guarded(&["--interval", "50ms", "--message", "tick"]);
    let mut sensor = with_token(&node, "/sensors/a", SENSOR);
    let mut listener = with_token(&node, "/", LISTENER);
    for _ in 0..3 {
        assert_eq!(listener.read_frame(), Frame::text("tick"));
    }
    assert_eq!(sensor.sync(), []);
}

#[test]
fn nodes_show_their_token_each_time_they_dial() {
    let (scratch, a) = guarded(&[]);
    let own = scratch.join("own");
    let dialing = |url: &str, options: &[&str]| {
        let options = [
            "-v",
            "--interval",
            "off",
            "--retry-min",
            "10ms",
            "--peers",
            url,
        ]
        .into_iter()
        .chain(options.iter().copied());
        Node::with(options)
    };
    let stranger = dialing(&a.url("/"), &[]);
    let said = stranger.stderr.wait_for("cannot reach peer");
    assert!(said.contains("answered 401 Unauthorized"), "{said}");
    assert!(said.contains("--peer-token-file"), "{said}");
    a.stderr.wait_for("this node wants a token");

    fs::write(&own, LISTENER).unwrap();
    let own = own.display().to_string();
    let screen = dialing(&a.url("/"), &["--peer-token-file", &own]);
    let said = screen.stderr.wait_for("cannot reach peer");
    let what = "answered 403 Forbidden instead of an upgrade: this token does not make a neighbor";
    assert!(said.contains(what), "{said}");

    fs::write(&own, format!("{MEMBER} # of b\n")).unwrap();
    let mut b = dialing(&a.url("/"), &["--peer-token-file", &own]);
    b.wait_connected(1);
    assert!(b.stderr.contain("neighbor ws://"));
    b.stop();
    assert_tells_no_token(&b);
    assert_tells_no_token(&a);

    // Also after a connection is lost, and as the file says then.
    let listener = RawListener::bind();
    let b = dialing(&listener.url("/"), &["--peer-token-file", &own]);
    let authorization = |head: &str| header(head, "authorization");
    let (first, head) = listener.accept_upgraded();
    assert_eq!(authorization(&head), Some(format!("Bearer {MEMBER}")));
    fs::write(&own, STRANGER).unwrap();
    b.signal("HUP");
    b.stderr.wait_for("SIGHUP: all files are read again");
    first.reset();
    let (_second, head) = listener.accept_upgraded();
    assert_eq!(authorization(&head), Some(format!("Bearer {STRANGER}")));
}

#[test]
fn tokens_are_read_again_and_connections_stay() {
    let (scratch, mut node) = guarded(&[]);
    let mut before = with_token(&node, "/", MEMBER);
    let file = scratch.join("tokens");
    fs::write(&file, format!("{MEMBER} nonsense\n")).unwrap();
    node.signal("HUP");
    let said = node.stderr.wait_for("SIGHUP: --token-file");
    let what = format!(
        "{}: line 1: after the token stand its rights",
        file.display()
    );
    assert!(said.contains(" ERROR ") && said.contains(&what), "{said}");
    assert!(
        said.ends_with("what was read before stays in force"),
        "{said}"
    );
    with_token(&node, "/", MEMBER);

    fs::write(&file, STRANGER).unwrap();
    node.signal("HUP");
    node.stderr.wait_for("SIGHUP: all files are read again");
    assert_refused(
        ask(&node, "/", &bearer(MEMBER)),
        "401 Unauthorized",
        "no token",
    );
    let mut after = with_token(&node, "/", STRANGER);
    before.send_frame(Frame::text("still here"));
    assert_eq!(after.read_frame(), Frame::text("still here"));
    node.stop();
    assert_tells_no_token(&node);
}

#[test]
fn a_wrong_file_is_told_before_anything_is_opened() {
    let scratch = Scratch::new("wrong");
    let file = scratch.join("tokens");
    fs::write(&file, "short\n").unwrap();
    let file = file.display().to_string();
    for (options, expected) in [
        (
            &["--token-file", "/nowhere"][..],
            "--token-file /nowhere: there is no such file",
        ),
        (
            &["--token-file", &file],
            "line 1: a token of 5 characters can be guessed",
        ),
        (
            &["--peer-token-file", &file],
            "a token of 5 characters can be guessed",
        ),
        (&["--token-in-url"], "--token-in-url without --token-file"),
        (
            &["--allow-origin", "example.org"],
            "`example.org` is no origin",
        ),
        (
            &["--allow", "10.0.0.7/8"],
            "--allow: `10.0.0.7/8` has more bits than it says: do you mean 10.0.0.0/8?",
        ),
    ] {
        let bind = ["--bind", "127.0.0.1:0"];
        let mut node = Node::with(bind.iter().chain(options));
        assert_eq!(node.wait_exit().code(), Some(2));
        node.stderr.wait_for(expected);
        assert!(!node.stderr.contain("listening on"));
    }
}

#[test]
fn who_connects_from_elsewhere_is_kept_out() {
    let from = |node: &Node, source: [u8; 4]| {
        let mut peer = Raw::connect_by(node.address(), |socket| {
            socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        });
        peer.send(Raw::request(node.address(), "/"));
        peer
    };
    let (here, elsewhere) = ([127, 0, 0, 1], [127, 9, 8, 7]);
    let node = Node::listening(["--interval", "off"]);
    from(&node, elsewhere).expect_upgraded();
    for options in [["--allow", "127.0.0.0/16,::1"], ["--deny", "127.9.8.0/24"]] {
        let node = Node::listening(options);
        from(&node, here).expect_upgraded();
        let (head, body) = from(&node, elsewhere).read_answer();
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
        assert!(body.contains("no connections from this address"), "{body}");
        node.stderr.wait_for("refusing 127.9.8.7:");
    }
}

#[test]
fn a_variable_that_keeps_somebody_out_is_not_unset_by_a_slip() {
    for (name, option) in [
        ("WSMESH_ALLOW", "--allow"),
        ("WSMESH_DENY", "--deny"),
        ("WSMESH_TLS_CLIENT_CA", "--tls-client-ca"),
        ("WSMESH_TOKEN_FILE", "--token-file"),
        ("WSMESH_TRUST_FORWARDED_FOR", "--trust-forwarded-for"),
        ("WSMESH_PROXY_PROTOCOL", "--proxy-protocol"),
    ] {
        let mut command = Node::command(["--bind", "127.0.0.1:0"]);
        command.env(name, "");
        let mut node = Node::start(command);
        assert_eq!(node.wait_exit().code(), Some(2), "{name}");
        let said = node.stderr.wait_end().join(" ");
        assert!(said.contains(option) || said.contains(name), "{said}");
    }
}

/// It listens for other machines as long as that takes to say, and nobody connects.
#[test]
fn a_node_that_anybody_can_enter_says_so_once() {
    const WARNING: &str = "whoever reaches this node can listen, publish and become a neighbor";
    let scratch = Scratch::new("open");
    let tokens = token_file(&scratch);
    let said = |options: &[&str]| {
        let mut node = Node::with(["--interval", "off"].iter().chain(options));
        node.stderr.wait_for("listening on");
        // What is said at the start is said before it stops.
        node.stop();
        (node.stderr.count(WARNING), node.stderr.all())
    };
    let open = ["--bind", "0.0.0.0:0", "--bind", "0.0.0.0:0"];
    let (count, lines) = said(&open);
    assert_eq!(count, 1, "{lines:?}");
    let line = lines.iter().find(|line| line.contains(WARNING)).unwrap();
    assert!(
        line.contains(" WARN ") && line.contains("--token-file"),
        "{line}"
    );
    for guard in [
        ["--token-file", &tokens],
        ["--allow", "127.0.0.0/8"],
        ["--bind", "127.0.0.1:0"],
    ] {
        let bind: &[&str] = if guard[0] == "--bind" { &[] } else { &open };
        let (count, lines) = said(&[bind, &guard].concat());
        assert_eq!(count, 0, "{lines:?}");
    }
}

/// A request as a browser makes it for a page.
fn from_page(node: &Node, origin: &str) -> Raw {
    ask(node, "/", &format!("Origin: {origin}\r\n"))
}

#[test]
fn pages_of_other_hosts_are_kept_out_unless_they_are_named() {
    let mut node = Node::listening(["--interval", "off"]);
    for origin in ["https://evil.example", "null", ""] {
        assert_refused(from_page(&node, origin), "403 Forbidden", "--allow-origin");
    }
    let said = node.stderr.wait_for("no upgrade with");
    assert!(
        said.contains(" WARN ") && said.contains("(`https://evil.example`)"),
        "{said}"
    );
    let same_host = format!("http://{}:3000", node.address().ip());
    from_page(&node, &same_host).expect_upgraded();
    Raw::upgraded(node.address(), "/");
    node.stop();

    let named = ["--allow-origin", "https://app.example,null"];
    let node = Node::listening(named);
    for origin in ["https://app.example", "HTTPS://App.example:443", "null"] {
        from_page(&node, origin).expect_upgraded();
    }
    assert_refused(
        from_page(&node, "https://evil.example"),
        "403 Forbidden",
        "--allow-origin",
    );
    // Without the defence any page may listen to what goes on in the house of who looks at it.
    let open = Node::listening(["--allow-origin", "any"]);
    from_page(&open, "https://evil.example").expect_upgraded();
}

/// Opens a page from a file, whose origin is `null`.
fn open_page(scratch: &Scratch, script: &str) -> Option<Program> {
    let mut browser = tools::chromium()?;
    let path = scratch.join("page.html");
    fs::write(&path, format!("<!doctype html><script>{script}</script>")).unwrap();
    let profile = scratch.join("profile");
    browser.arg(format!("--user-data-dir={}", Path::display(&profile)));
    browser.arg(format!("file://{}", path.display()));
    Some(Program::start("chromium", browser))
}

#[test]
fn a_browser_shows_its_token_among_the_subprotocols() {
    let (scratch, node) = guarded(&["--allow-origin", "null"]);
    let url = node.url("/chat");
    let script = format!(
        "const ws = new WebSocket('{url}', ['wsmesh.plain', 'wsmesh.token.{MEMBER}']);\n\
         ws.onopen = () => ws.send('by ' + ws.protocol);"
    );
    if let Some(_browser) = open_page(&scratch, &script) {
        node.stdout.wait_for("/chat by wsmesh.plain");
    }
}

#[test]
fn a_browser_that_opens_a_strange_page_does_not_connect() {
    let scratch = Scratch::new("stranger");
    let node = Node::listening(["--interval", "off"]);
    let script = format!("new WebSocket('{}')", node.url("/"));
    if let Some(_browser) = open_page(&scratch, &script) {
        let said = node.stderr.wait_for("no upgrade with");
        assert!(
            said.contains("403 Forbidden") && said.contains("(`null`)"),
            "{said}"
        );
        assert!(!node.stderr.contain(" connected"));
    }
}

#[test]
fn python_websockets_shows_a_token_both_ways() {
    const SCRIPT: &str = "
import asyncio, sys, websockets
async def say(text, **options):
    async with websockets.connect(sys.argv[1], **options) as socket:
        await socket.send(text)
async def main():
    await say('by a header', additional_headers={'Authorization': 'Bearer ' + sys.argv[2]})
    await say('by a subprotocol', subprotocols=['wsmesh.plain', 'wsmesh.token.' + sys.argv[2]])
    try:
        await say('by nothing')
    except websockets.exceptions.InvalidStatus as error:
        print(error.response.status_code)
asyncio.run(main())
";
    let Some(mut python) = tools::python() else {
        return;
    };
    let (_scratch, node) = guarded(&[]);
    python.args(["-c", SCRIPT, &node.url("/chat"), MEMBER]);
    let mut program = Program::start("python", python);
    node.stdout.wait_for("/chat by a header");
    node.stdout.wait_for("/chat by a subprotocol");
    program.stdout.wait_for_line("401");
    assert!(program.wait_exit().success());
    assert!(!node.stdout.contain("by nothing"));
}
