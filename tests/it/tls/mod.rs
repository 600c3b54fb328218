//! TLS, in both directions: the program under real certificates, right ones and wrong ones.

mod authority;
mod client;
mod errors;
mod foreign;
mod handshakes;
mod nodes;
mod reload;
mod scanned;
mod start;

use std::ffi::OsStr;

use self::authority::{Authority, Files};
use crate::support::Node;

/// A node that listens with TLS, and nowhere else.
#[track_caller]
fn listening<A: AsRef<OsStr>>(files: &Files, options: impl IntoIterator<Item = A>) -> Node {
    let mut command = Node::command(["--interval", "off", "--bind", "wss://127.0.0.1:0"]);
    command.args(files.options()).args(options);
    let mut node = Node::start(command);
    node.wait_listening(1);
    node
}

/// A node that dials `url` and listens in clear.
#[track_caller]
fn dialing<A: AsRef<OsStr>>(url: &str, options: impl IntoIterator<Item = A>) -> Node {
    let mut command = Node::command(["--interval", "off", "--bind", "127.0.0.1:0"]);
    command.args(["--peers", url]).args(options);
    let mut node = Node::start(command);
    node.wait_listening(1);
    node
}

/// Its URL, with a name that stands in the certificate.
fn url_of(node: &Node) -> String {
    format!("wss://localhost:{}", node.address().port())
}

const NO_OPTIONS: [&str; 0] = [];

/// An authority and a node with a certificate of it, which tells each peer what it says and nothing else.
fn certified() -> (Authority, Node) {
    let authority = Authority::new("test");
    let options = "--echo --relay off --max-publish-rate off --allow-origin null";
    let options = options.split(' ');
    let node = listening(&authority.local("node"), options);
    (authority, node)
}
