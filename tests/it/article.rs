//! wsmesh among programs that are as the article describes them: each must be able to take the
//! other's place.

mod program;

use std::time::Duration;

use self::program::Article;
use crate::support::{Lines, Node, eventually};

const INTERVAL: Duration = Duration::from_millis(100);
const OPTIONS: [&str; 2] = ["--interval", "100ms"];

/// Waits until `ears` have heard three broadcasts of the program at `bind`.
#[track_caller]
fn hears(ears: &Lines, bind: std::net::SocketAddr) {
    let said = format!(" from {bind}");
    let what = format!("three broadcasts of {bind}");
    ears.wait_until(&what, 3, |line| {
        line.contains(" Message to client ") && line.ends_with(&said)
    });
}

/// Without wsmesh: what fails here is no fault of the node.
#[test]
fn it_works_by_itself() {
    let first = Article::start(&[], INTERVAL);
    let second = Article::start(&[first.url()], INTERVAL);
    hears(&first.received, second.address());
    hears(&second.received, first.address());
    first.lose_all_peers();
    eventually("both have no peer", || {
        first.peer_count() + second.peer_count() == 0
    });
}

#[test]
fn it_dials_wsmesh() {
    let node = Node::listening(OPTIONS);
    let article = Article::start(&[node.url("")], INTERVAL);
    hears(&article.received, node.address());
    hears(&node.stdout, article.address());
}

#[test]
fn wsmesh_dials_it() {
    let article = Article::start(&[], INTERVAL);
    let url = article.url();
    let node = Node::listening(OPTIONS.into_iter().chain(["--peers", &url]));
    hears(&article.received, node.address());
    hears(&node.stdout, article.address());
}

#[test]
fn wsmesh_dials_it_without_listening() {
    let article = Article::start(&[], INTERVAL);
    let node = Node::with(["--interval", "100ms", "--peers", &article.url()]);
    hears(&node.stdout, article.address());
    article
        .received
        .wait_for_count(3, " Message to client 0 from ");
}

/// The three terminals of the article, with wsmesh in two of them and in one of them, at every
/// place: everyone hears everyone.
#[test]
fn everyone_of_three_hears_everyone() {
    // First wsmesh, the article's, wsmesh …
    let first = Node::listening(OPTIONS);
    let second = Article::start(&[first.url("")], INTERVAL);
    let urls = format!("{},{}", first.url(""), second.url());
    let third = Node::listening(OPTIONS.into_iter().chain(["--peers", &urls]));
    for (ears, others) in [
        (&first.stdout, [second.address(), third.address()]),
        (&second.received, [first.address(), third.address()]),
        (&third.stdout, [first.address(), second.address()]),
    ] {
        for bind in others {
            hears(ears, bind);
        }
    }

    // … then the article's, wsmesh, the article's.
    let first = Article::start(&[], INTERVAL);
    let first_url = first.url();
    let second = Node::listening(OPTIONS.into_iter().chain(["--peers", &first_url]));
    let third = Article::start(&[first_url.clone(), second.url("")], INTERVAL);
    for (ears, others) in [
        (&first.received, [second.address(), third.address()]),
        (&second.stdout, [first.address(), third.address()]),
        (&third.received, [first.address(), second.address()]),
    ] {
        for bind in others {
            hears(ears, bind);
        }
    }
}

#[test]
fn every_client_has_an_index_of_its_own() {
    let node = Node::listening(OPTIONS);
    let clients: Vec<Article> = (0..5)
        .map(|_| Article::start(&[node.url("")], Duration::from_secs(3600)))
        .collect();
    node.wait_connected(clients.len());
    let index = |client: &Article| {
        let lines = client.received.all();
        let last = lines.last()?;
        let (_, text) = last.split_once(" Message to client ")?;
        let (index, _) = text.split_once(" from ")?;
        index.parse::<usize>().ok()
    };
    // The first broadcasts may still have gone to fewer.
    eventually("the indices 0 to 4", || {
        let mut indices: Vec<_> = clients.iter().filter_map(index).collect();
        indices.sort_unstable();
        indices == [0, 1, 2, 3, 4]
    });
}

#[test]
fn a_lost_peer_is_dialed_again() {
    let article = Article::start(&[], INTERVAL);
    let url = article.url();
    let node = Node::with(["--interval", "off", "--retry-min", "10ms", "--peers", &url]);
    for count in 1..=3 {
        node.wait_connected(count);
        eventually("the article's program has a peer", || {
            article.peer_count() == 1
        });
        article.lose_all_peers();
        node.wait_closed(count);
    }
    node.wait_connected(4);
    hears(&node.stdout, article.address());
}
