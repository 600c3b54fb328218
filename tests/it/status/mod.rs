//! What a node shows of itself: the status listener, over real sockets and in a browser.

mod listener;
mod page;

use std::net::SocketAddr;

use crate::support::{Node, Raw};

/// A node with a status listener on a free port, and where that is.
#[track_caller]
fn node(options: &[&str]) -> (Node, SocketAddr) {
    let own = ["--interval", "off", "--status", "127.0.0.1:0"];
    let node = Node::listening(own.iter().chain(options));
    let at = status_address(&node);
    (node, at)
}

#[track_caller]
fn status_address(node: &Node) -> SocketAddr {
    const SAID: &str = "status at http://";
    let line = node.stderr.wait_for(SAID);
    let (_, rest) = line.split_once(SAID).unwrap();
    rest.trim_end_matches('/').parse().unwrap()
}

/// Sends a request of these lines, and returns what is answered until the connection ends.
#[track_caller]
fn ask_with(at: SocketAddr, line: &str, fields: &str) -> String {
    let mut raw = Raw::connect(at);
    raw.send(format!("{line} HTTP/1.1\r\nHost: {at}\r\n{fields}\r\n"));
    String::from_utf8(raw.read_to_end().0).unwrap()
}

#[track_caller]
fn ask(at: SocketAddr, line: &str) -> String {
    ask_with(at, line, "")
}

/// The body of a page that is there.
#[track_caller]
fn page(at: SocketAddr, path: &str) -> String {
    let answer = ask(at, &format!("GET {path}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

#[track_caller]
fn json(at: SocketAddr, path: &str) -> serde_json::Value {
    serde_json::from_str(&page(at, path)).unwrap()
}

/// A figure of `/metrics`, by its whole name.
#[track_caller]
fn metric(at: SocketAddr, name: &str) -> f64 {
    let text = page(at, "/metrics");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}
