//! The tour of the README, as a newcomer takes it.

use super::stage::Stage;
use crate::support::{Node, Tab};

/// A node says who has published something: the address of who is connected to it, or the id of another node.
#[track_caller]
fn assert_prints(node: &Node, text: &str, is_here: bool) {
    let line = node.stdout.wait_for(&format!("/chat {text}"));
    let (who, _) = line.split_once("/chat ").unwrap();
    let is_id = who.len() == 8 && who.chars().all(|c| c.is_ascii_hexdigit());
    assert_eq!(is_id, !is_here, "{line}");
    assert!(
        is_id || who.parse::<std::net::SocketAddr>().is_ok(),
        "{line}"
    );
}

#[test]
fn the_tour_goes_as_it_says() {
    let mut stage = Stage::of("README.md", "A tour of five minutes");
    let mut first = stage.node("--status 9090");
    let second = stage.node("--bind localhost:8085");
    let third = stage.node("--bind localhost:8086");
    for port in [8080, 8085] {
        let url = format!("ws://localhost:{}", stage.port(port));
        third.stdout.wait_for(&format!("{url} Message to client "));
    }
    let page = format!("http://127.0.0.1:{}/", stage.port(9090));
    let Some(mut tab) = Tab::open(&stage.folder, &page) else {
        return;
    };
    const WITH_BOTH: &str = "document.querySelectorAll('#mesh circle').length === 3";
    tab.wait(WITH_BOTH);
    tab.submit("channel", "/chat");
    tab.wait_text("joined", "listening to /chat");
    stage.prints("pub ws://localhost:8086/chat hello");
    tab.wait_text("log", "hello");
    for (node, is_here) in [(&first, false), (&second, false), (&third, true)] {
        assert_prints(node, "hello", is_here);
    }
    let sub = stage.start("sub ws://localhost:8085/chat");
    second.stderr.wait_for("connected on /chat");
    tab.submit("text", "from the page");
    sub.stdout.wait_for_line("from the page");

    first.signal("INT");
    assert_eq!(first.wait_exit().code(), Some(0));
    tab.wait_text("state", "does not answer");
    stage.repeat("pub ws://localhost:8086/chat hello");
    stage.prints("pub ws://localhost:8086/chat hello");
    second.stdout.wait_for_count(2, "/chat hello");
    stage.repeat("--status 9090");
    let _first = stage.node("--status 9090");
    tab.wait(WITH_BOTH);
    tab.wait_text("joined", "listening to /chat");
    stage.end();
}
