//! What a node shows of itself: the status listener, over real sockets and in a browser.

mod listener;
mod page;
mod tls;

use std::net::SocketAddr;

use crate::support::{Metrics, Node, Raw};

/// A node with a status listener on a free port, and where that is.
#[track_caller]
fn node(options: &[&str]) -> (Node, SocketAddr) {
    let own = ["--interval", "off", "--status", "127.0.0.1:0"];
    let node = Node::listening(own.iter().chain(options));
    let at = node.status_address();
    (node, at)
}

/// Sends a request of these lines, and returns what is answered until the connection ends.
#[track_caller]
fn ask_with(at: SocketAddr, line: &str, fields: &str) -> String {
    let mut raw = Raw::connect(at);
    raw.send(format!("{line} HTTP/1.1\r\nHost: {at}\r\n{fields}\r\n"));
    String::from_utf8(raw.read_to_end().0).unwrap()
}

#[track_caller]
pub(crate) fn ask(at: SocketAddr, line: &str) -> String {
    ask_with(at, line, "")
}

/// The body of a page that is there.
#[track_caller]
pub(crate) fn page(at: SocketAddr, path: &str) -> String {
    let answer = ask(at, &format!("GET {path}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

#[track_caller]
fn json(at: SocketAddr, path: &str) -> serde_json::Value {
    serde_json::from_str(&page(at, path)).unwrap()
}

/// A figure of `/metrics`, by its whole name without `wsmesh_`.
#[track_caller]
fn metric(at: SocketAddr, name: &str) -> f64 {
    Metrics::read(at).value(name)
}
