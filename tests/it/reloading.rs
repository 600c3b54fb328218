//! SIGHUP: the file of the options is read again, and what can change does.

use std::fs;
use std::path::PathBuf;

use crate::support::{Frame, Node, Raw, RawListener, Scratch, eventually};

/// A file of options that a test changes.
struct Options {
    _scratch: Scratch,
    file: PathBuf,
}

impl Options {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let file = scratch.join("node.toml");
        Self {
            _scratch: scratch,
            file,
        }
    }

    fn write(&self, text: &str) {
        let always = "bind = '127.0.0.1:0'\ninterval = 'off'\n";
        fs::write(&self.file, format!("{always}{text}")).unwrap();
    }

    /// A node that is told so, and options beside it.
    fn node(&self, text: &str, options: &[&str]) -> Node {
        self.write(text);
        let file = ["--config", self.file.to_str().unwrap()];
        let mut node = Node::with(file.iter().chain(options));
        node.wait_listening(1);
        node
    }

    /// Tells a node something else, and waits until it says that it has read it.
    #[track_caller]
    fn tell(&self, node: &Node, text: &str) {
        const DONE: &str = "SIGHUP: all files are read again";
        let before = node.stderr.count(DONE);
        self.write(text);
        node.signal("HUP");
        node.stderr.wait_for_count(before + 1, DONE);
    }
}

#[test]
fn new_peers_are_dialed_and_others_no_more() {
    let options = Options::new("reload-peers");
    let [old, stays, new] = [
        RawListener::bind(),
        RawListener::bind(),
        RawListener::bind(),
    ];
    let urls = |listeners: [&RawListener; 2]| {
        format!(
            "peers = {:?}\n",
            listeners.map(|listener| listener.url("/"))
        )
    };
    let mut node = options.node(
        &urls([&old, &stays]),
        &["--retry-max", "20ms", "--retry-min", "10ms"],
    );
    let (mut at_old, _) = old.accept_upgraded();
    let (mut at_stays, _) = stays.accept_upgraded();
    let mut accepted = Raw::upgraded(node.address(), "/");
    node.wait_connected(3);

    options.tell(&node, &urls([&stays, &new]));
    node.stderr.wait_for(&format!(
        "SIGHUP: peer {} is dialed from now on",
        new.url("/")
    ));
    node.stderr.wait_for(&format!(
        "SIGHUP: peer {} is not dialed any more",
        old.url("/")
    ));
    let (mut at_new, _) = new.accept_upgraded();
    let (_, close) = at_old.read_to_close();
    assert_eq!(close.close_code(), Some(1000));
    at_old.finish_close(&close);
    // The others have not noticed anything.
    accepted.send_frame(Frame::text("to all"));
    for peer in [&mut at_stays, &mut at_new] {
        assert_eq!(peer.read_frame(), Frame::text("to all"));
    }
    // Who is kept is dialed again when it is lost, the other one is not.
    drop((at_stays, at_new));
    let again = [stays.accept_upgraded(), new.accept_upgraded()];
    assert!(old.try_accept().is_none());
    drop((accepted, again));
    node.stop();
    node.assert_no_error_logged();
}

#[test]
fn a_neighbor_that_is_not_configured_any_more_stays_a_neighbor() {
    let options = Options::new("reload-neighbor");
    let other = Node::listening(["--interval", "off"]);
    let node = options.node(&format!("peers = ['{}']\n", other.url("/")), &[]);
    node.stderr.wait_for("joined the mesh");
    options.tell(&node, "");
    let mut peers = [&node, &other].map(|node| Raw::upgraded(node.address(), "/"));
    peers[0].send_frame(Frame::text("still a neighbor"));
    assert_eq!(peers[1].read_frame(), Frame::text("still a neighbor"));
    assert!(!node.stderr.contain(" closed: "));
    // And the reverse: it is there already.
    options.tell(&node, &format!("peers = ['{}']\n", other.url("/")));
    peers[1].send_frame(Frame::text("and again"));
    assert_eq!(peers[0].read_frame(), Frame::text("and again"));
    assert_eq!(
        other.stderr.count(" connected"),
        2,
        "one neighbor and one peer"
    );
}

#[test]
fn limits_hold_at_once_and_the_command_line_goes_before_the_file() {
    let options = Options::new("reload-limits");
    let mut node = options.node(
        "max-connections = 2\nmax-head = '1KiB'\n",
        &["--max-head", "2KiB"],
    );
    let status_of = |node: &Node, padding: usize| {
        let mut raw = Raw::connect(node.address());
        let request = Raw::request(node.address(), "/");
        let padding = format!("X: {}\r\n\r\n", "y".repeat(padding));
        raw.send(request.replace("\r\n\r\n", &format!("\r\n{padding}")));
        let status = raw.read_head()[..12].to_owned();
        (status, raw)
    };
    let (status, first) = status_of(&node, 1500);
    assert_eq!(status, "HTTP/1.1 101", "by the command line");
    let (status, second) = status_of(&node, 0);
    assert_eq!(status, "HTTP/1.1 101");
    assert_eq!(status_of(&node, 0).0, "HTTP/1.1 503");
    options.tell(
        &node,
        "max-connections = 4\nmax-head = '512B'\nmax-publish-rate = 1\n",
    );
    let line = node.stderr.wait_for("SIGHUP: in force from now on: ");
    assert!(
        line.ends_with(": --max-connections, --max-publish-rate"),
        "{line}"
    );
    let (status, third) = status_of(&node, 1500);
    assert_eq!(status, "HTTP/1.1 101");
    // One that was there before sends more than it may by now.
    let mut first = first;
    first.send_frames((0..5).map(|_| Frame::text("too much")));
    assert_eq!(first.read_to_close().1.close_code(), Some(1008));
    drop((first, second, third));
    node.stop();
}

#[test]
fn what_cannot_change_is_named_and_waits_for_the_next_start() {
    let options = Options::new("reload-fixed");
    let mut node = options.node("", &[]);
    let address = node.address();
    options.tell(
        &node,
        "network = 'another'\nmax-message = '1KiB'\nformat = 'json'\nverbose = 2\ndegree = 6\n",
    );
    for option in [
        "--network",
        "--max-message",
        "--format",
        "--verbose",
        "--degree",
    ] {
        let line = node
            .stderr
            .wait_for(&format!("SIGHUP: {option} cannot change"));
        assert!(line.contains(" WARN "), "{line}");
    }
    assert!(!node.stderr.contain("in force from now on"));
    let mut peer = Raw::upgraded(address, "/");
    peer.send_frame(Frame::binary(vec![1; 2000]));
    node.stdout.wait_for("[binary, 2000 bytes]");
    drop(peer);
    node.stop();
}

#[test]
fn an_error_leaves_everything_as_it_was() {
    let options = Options::new("reload-error");
    let peer = RawListener::bind();
    let right = format!("peers = ['{}']\nmax-connections = 1\n", peer.url("/"));
    let mut node = options.node(&right, &[]);
    let (mut dialed, _) = peer.accept_upgraded();
    for (count, (text, line, what)) in [
        (
            "max-connections = 9\npeers = ['localhost']\n",
            4,
            "--peers: `localhost` has no scheme",
        ),
        (
            "max-connections = 9\npears = ['ws://a']\n",
            4,
            "unknown option `pears`",
        ),
        (
            "max-connections = 9\noutbox = '5KiB'\n",
            4,
            "--outbox 5KiB is too small",
        ),
        (
            "max-connections = 9\ntoken-file = '/nowhere'\n",
            0,
            "--token-file /nowhere",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        options.write(text);
        node.signal("HUP");
        let lines = node
            .stderr
            .wait_for_count(count + 1, "what was read before stays in force");
        let told = &lines[count];
        let place = format!("node.toml:{line}");
        assert!(told.contains(" ERROR ") && told.contains(what), "{told}");
        assert!(line == 0 || told.contains(&place), "{told}");
    }
    assert_eq!(dialed.sync(), []);
    let mut one = Raw::upgraded(node.address(), "/");
    one.send_frame(Frame::text("hello"));
    assert_eq!(dialed.read_frame(), Frame::text("hello"));
    let mut another = Raw::connect(node.address());
    assert!(
        another.read_head().starts_with("HTTP/1.1 503 "),
        "--max-connections is 1 still"
    );
    eventually("nobody else is dialed", || peer.try_accept().is_none());
    drop((one, another, dialed));
    node.stop();
}
