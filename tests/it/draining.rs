//! A node that goes: nothing is lost, nobody waits for nothing, and peers do not come back all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Frame, Node, Raw, eventually};

/// Peers are counted by what the log says of each.
const QUIET: [&str; 4] = ["--interval", "off", "--log-repeats", "off"];

/// How long a peer listens before it says the next thing.
const PAUSE: Duration = Duration::from_millis(3);

/// Messages between the Close of the node and that of a peer.
const LAST_WORDS: usize = 3;

/// What is known of the peers of a test.
#[derive(Default)]
struct Ledger {
    /// How much each has said.
    said: BTreeMap<String, usize>,
    /// What each has heard, in order.
    heard: BTreeMap<String, Vec<String>>,
    /// The code of the Close of each that is gone.
    closed: BTreeMap<String, Option<u16>>,
    /// Nobody says anything new.
    is_quiet: bool,
    /// All go.
    is_over: bool,
}

impl Ledger {
    /// What somebody says next.
    fn next(&mut self, name: &str) -> Frame {
        let said = self.said.entry(name.to_owned()).or_default();
        *said += 1;
        Frame::text(format!("{name} {}", *said - 1))
    }

    /// All that was said by others.
    fn said_to(&self, listener: &str) -> BTreeSet<String> {
        let others = self.said.iter().filter(|(name, _)| *name != listener);
        others
            .flat_map(|(name, count)| (0..*count).map(move |number| format!("{name} {number}")))
            .collect()
    }

    /// What all have heard who are not at this node, but for who has said it.
    fn heard_everywhere_but_at(&self, node: &str) -> BTreeSet<String> {
        let listeners = self.heard.iter();
        let listeners = listeners.filter(|(name, _)| !name.starts_with(node));
        let listeners: Vec<_> = listeners
            .map(|(name, heard)| (name, heard.iter().collect::<BTreeSet<_>>()))
            .collect();
        let all = self.said_to("");
        let is_known = |text: &String| {
            listeners
                .iter()
                .all(|(name, heard)| text.starts_with(&format!("{name} ")) || heard.contains(text))
        };
        all.into_iter().filter(is_known).collect()
    }

    #[track_caller]
    fn assert_heard(&self, listener: &str, all: &BTreeSet<String>) {
        let heard = &self.heard[listener];
        let known: BTreeSet<_> = heard.iter().cloned().collect();
        assert_eq!(known.len(), heard.len(), "{listener} hears something twice");
        let missed: Vec<_> = all.difference(&known).collect();
        assert!(missed.is_empty(), "{listener} has missed {missed:?}");
    }
}

/// A peer that talks and listens until it hears a Close.
fn talker(name: String, node: SocketAddr, ledger: &Arc<Mutex<Ledger>>) -> JoinHandle<()> {
    let mut peer = Raw::upgraded(node, "/");
    peer.sync();
    let ledger = Arc::clone(ledger);
    ledger
        .lock()
        .unwrap()
        .heard
        .insert(name.clone(), Vec::new());
    std::thread::spawn(move || {
        loop {
            while !peer.is_silent_for(PAUSE) {
                let frame = peer.read_frame();
                if frame.opcode == Frame::CLOSE {
                    let code = frame.close_code();
                    // What it says before its own Close counts as well.
                    for _ in 0..LAST_WORDS {
                        let text = ledger.lock().unwrap().next(&name);
                        peer.send_frame(text);
                    }
                    peer.finish_close(&frame);
                    ledger.lock().unwrap().closed.insert(name, code);
                    return;
                }
                let text = frame.payload_text();
                let mut ledger = ledger.lock().unwrap();
                ledger.heard.get_mut(&name).unwrap().push(text);
            }
            let mut ledger = ledger.lock().unwrap();
            if ledger.is_over {
                return;
            }
            if !ledger.is_quiet {
                peer.send_frame(ledger.next(&name));
            }
        }
    })
}

/// Three nodes in a line, of which the one between goes while several talk at each of them.
#[test]
fn what_is_said_before_and_while_a_node_goes_reaches_everybody_once() {
    let a = Node::listening(QUIET);
    let dialing = |peer: &Node| {
        let url = peer.url("/");
        let node = Node::listening([&QUIET[..], &["--peers", &url]].concat());
        node.stderr.wait_for("joined the mesh");
        node
    };
    let mut b = dialing(&a);
    let c = dialing(&b);
    // Nobody talks before all are there to hear it.
    let ledger = Arc::new(Mutex::new(Ledger {
        is_quiet: true,
        ..Ledger::default()
    }));
    let nodes = [("a", &a), ("b", &b), ("c", &c)];
    let names = nodes.iter().flat_map(|(node, at)| {
        let count = if *node == "b" { 12 } else { 3 };
        (0..count).map(move |number| (format!("{node}{number}"), at.address()))
    });
    let peers: Vec<_> = names
        .map(|(name, address)| (name.clone(), talker(name, address, &ledger)))
        .collect();
    ledger.lock().unwrap().is_quiet = false;
    let said = |least: usize| {
        let ledger = ledger.lock().unwrap();
        ledger.said.len() == peers.len() && ledger.said.values().all(|count| *count >= least)
    };
    eventually("all talk", || said(50));
    // What has come through the mesh by then is with everybody, also with those who are closed first.
    let (said_before, heard_before) = {
        let ledger = ledger.lock().unwrap();
        b.signal("TERM");
        (ledger.said.clone(), ledger.heard_everywhere_but_at("b"))
    };
    assert!(heard_before.len() > 500, "{}", heard_before.len());
    assert_eq!(b.wait_exit().code(), Some(0));
    let (at_b, others): (Vec<_>, Vec<_>) = peers
        .into_iter()
        .partition(|(name, _)| name.starts_with('b'));
    let at_b: Vec<_> = at_b
        .into_iter()
        .map(|(name, peer)| {
            peer.join().unwrap();
            name
        })
        .collect();
    eventually("the others talk on", || {
        let ledger = ledger.lock().unwrap();
        let mut others = others.iter().map(|(name, _)| name);
        others.all(|name| ledger.said[name] >= said_before[name] + 100)
    });
    ledger.lock().unwrap().is_quiet = true;
    let (patience, quiet_at) = (DEADLINE / 2, Instant::now());
    eventually("all is heard, or never will be", || {
        let ledger = ledger.lock().unwrap();
        let mut others = others.iter().map(|(name, _)| name);
        let is_all = others.all(|name| ledger.heard[name].len() >= ledger.said_to(name).len());
        is_all || quiet_at.elapsed() > patience
    });
    ledger.lock().unwrap().is_over = true;
    let others: Vec<_> = others
        .into_iter()
        .map(|(name, peer)| {
            peer.join().unwrap();
            name
        })
        .collect();
    let ledger = ledger.lock().unwrap();
    for name in &others {
        ledger.assert_heard(name, &ledger.said_to(name));
    }
    for name in &at_b {
        let own = format!("{name} ");
        let of_others = heard_before.iter().filter(|text| !text.starts_with(&own));
        ledger.assert_heard(name, &of_others.cloned().collect());
        assert_eq!(ledger.closed[name], Some(1001));
    }
    for node in [&a, &b, &c] {
        assert!(!node.stderr.contain("missed"));
        node.assert_no_error_logged();
    }
}

/// What a page of the status says: its status line and its body.
#[track_caller]
fn ask(at: SocketAddr, path: &str) -> (String, String) {
    let mut raw = Raw::connect(at);
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n"));
    let (head, body) = raw.read_answer();
    (head.lines().next().unwrap_or_default().to_owned(), body)
}

#[test]
fn a_node_that_goes_is_not_ready_lets_nobody_in_and_serves_who_is_there() {
    let options = [
        "--status",
        "127.0.0.1:0",
        "--close-timeout",
        "1h",
        "--shutdown-timeout",
        "1h",
    ];
    let mut node = Node::listening([&QUIET[..], &options].concat());
    let line = node.stderr.wait_for("status at http://");
    let at = line.rsplit("//").next().unwrap().trim_end_matches('/');
    let at: SocketAddr = at.parse().unwrap();
    assert_eq!(ask(at, "/readyz").0, "HTTP/1.1 200 OK");
    // It is accepted before the others, and asks for nothing yet.
    let mut late = Raw::connect(node.address());
    let mut peers: Vec<_> = (0..20)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    node.wait_connected(20);
    node.signal("TERM");
    node.stderr
        .wait_for("draining: peers to close within 2s: 20; a second signal");
    let (status, body) = ask(at, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.contains("stopping"), "{body}");
    assert_eq!(ask(at, "/healthz").0, "HTTP/1.1 200 OK");
    assert!(TcpStream::connect(node.address()).is_err());
    assert!(late.read_answer().0.starts_with("HTTP/1.1 503 "));
    // What one says is heard by those who are still there, and a Close is the last that each hears.
    let mut last = peers.pop().unwrap();
    last.send_frame(Frame::text("still there"));
    node.stdout.wait_for("still there");
    for mut peer in peers {
        let (_, close) = peer.read_to_close();
        assert_eq!(close.close_code(), Some(1001));
        peer.finish_close(&close);
    }
    assert!(node.is_running(), "one has not gone yet");
    let (_, close) = last.read_to_close();
    last.finish_close(&close);
    drop(last);
    assert_eq!(node.wait_exit().code(), Some(0));
    node.assert_no_error_logged();
}

#[test]
fn closes_are_spread_and_not_one_burst() {
    const COUNT: usize = 30;
    let mut node = Node::listening([&QUIET[..], &["--drain", "2s", "--restart-notice"]].concat());
    let peers: Vec<_> = (0..COUNT)
        .map(|_| Raw::upgraded(node.address(), "/"))
        .collect();
    node.wait_connected(COUNT);
    let begun = Instant::now();
    node.signal("TERM");
    let hearing = peers.into_iter().map(|mut peer| {
        std::thread::spawn(move || {
            let (_, close) = peer.read_to_close();
            let after = begun.elapsed();
            assert_eq!(close.close_code(), Some(1012));
            peer.finish_close(&close);
            after
        })
    });
    let hearing: Vec<_> = hearing.collect();
    let mut after: Vec<_> = hearing.into_iter().map(|it| it.join().unwrap()).collect();
    after.sort();
    assert_eq!(node.wait_exit().code(), Some(0));
    // A busy machine makes them late, and never early.
    assert!(after[COUNT / 2] > Duration::from_millis(900), "{after:?}");
    assert!(after[COUNT - 1] > Duration::from_millis(1900), "{after:?}");
}

#[test]
fn without_peers_it_is_over_at_once() {
    let a = Node::listening(QUIET);
    for signal in ["INT", "TERM"] {
        let options = [
            "--drain",
            "1h",
            "--shutdown-timeout",
            "1h",
            "--peers",
            &a.url("/"),
        ];
        let mut b = Node::listening([&QUIET[..], &options].concat());
        b.stderr.wait_for("joined the mesh");
        let begun = Instant::now();
        b.signal(signal);
        assert_eq!(b.wait_exit().code(), Some(0));
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        a.stderr.wait_for("closed by peer with code 1001");
    }
}

#[test]
fn without_time_to_drain_all_are_closed_at_once() {
    for (options, signal) in [
        (["--drain", "off"], "TERM"),
        (["--drain", "0"], "TERM"),
        (["--drain", "1h"], "INT"),
    ] {
        let mut node = Node::listening([&QUIET[..], &options].concat());
        let peers: Vec<_> = (0..100)
            .map(|_| Raw::upgraded(node.address(), "/"))
            .collect();
        node.wait_connected(100);
        let begun = Instant::now();
        node.signal(signal);
        for mut peer in peers {
            let (_, close) = peer.read_to_close();
            peer.finish_close(&close);
        }
        assert_eq!(node.wait_exit().code(), Some(0));
        // One each tenth of a second would take ten.
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_second_signal_ends_a_drain_at_once_with_1() {
    for second in ["INT", "TERM"] {
        let mut node = Node::listening([&QUIET[..], &["--drain", "1h"]].concat());
        let mut peers: Vec<_> = (0..100)
            .map(|_| Raw::upgraded(node.address(), "/"))
            .collect();
        node.wait_connected(100);
        node.signal("TERM");
        node.stderr.wait_for("draining: ");
        node.signal(second);
        assert_eq!(node.wait_exit().code(), Some(1));
        peers.clear();
    }
}
