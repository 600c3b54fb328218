//! wsmesh and WebSocket implementations that nobody here wrote, each dialing the other.

mod peer;
mod tungstenite;

use std::time::Duration;

use self::peer::{Implementation, Peer};
use crate::support::{Node, need_descriptors};

/// Who opens the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dials {
    /// The foreign peer; wsmesh is the server.
    Foreign,
    /// wsmesh; the foreign peer is the server.
    Wsmesh,
}

/// A node and a foreign peer with connections between them.
struct Pair {
    node: Node,
    peer: Peer,
    dials: Dials,
}

impl Pair {
    /// `count` connections, all opened at once and all open; `None` if the implementation is not
    /// installed. With [`Dials::Wsmesh`] their paths are `/0`, `/1` and so on.
    #[track_caller]
    fn connected(
        implementation: Implementation,
        dials: Dials,
        count: usize,
        options: &[&str],
    ) -> Option<Pair> {
        if !implementation.is_installed() {
            return None;
        }
        // Each connection is waited for in the log.
        let mut options = [&["--log-repeats", "off"], options].concat();
        let (node, peer) = match dials {
            Dials::Foreign => {
                let node = Node::listening(options);
                let mut peer = Peer::dialing(implementation, &node.url("/some/path"))?;
                peer.say(&format!("connect {count}"));
                (node, peer)
            }
            Dials::Wsmesh => {
                let (peer, port) = Peer::listening(implementation)?;
                let urls: Vec<String> = (0..count)
                    .map(|path| format!("ws://127.0.0.1:{port}/{path}"))
                    .collect();
                let urls = urls.join(",");
                options.extend(["--peers", &urls]);
                (Node::listening(options), peer)
            }
        };
        peer.events.wait_for_count(count, "open ");
        node.wait_connected(count);
        Some(Pair { node, peer, dials })
    }

    /// Asserts that nothing went wrong that the peer has noticed.
    #[track_caller]
    fn assert_no_failure(&self) {
        assert_eq!(
            self.peer.events.count("failed "),
            0,
            "{}",
            self.peer.events.tail(30)
        );
    }
}

fn text_and_binary_come_back(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "off", "--echo"];
    let Some(mut pair) = Pair::connected(implementation, dials, 1, &options) else {
        return;
    };
    pair.peer.say("text 0 grüße ✓ 🌐");
    pair.peer.events.wait_for("text 0 16 ");
    pair.peer.events.wait_for("grüße ✓ 🌐");
    pair.peer.say("binary 0 00ff80fe0d0a1b");
    pair.peer.events.wait_for("binary 0 7 ");
    pair.peer.events.wait_for("00ff80fe0d0a1b");
    pair.peer.say("text 0 ");
    pair.peer.events.wait_for("text 0 0 00000000");

    let printed = pair.node.stdout.wait_for("grüße ✓ 🌐");
    match pair.dials {
        Dials::Foreign => assert!(printed.starts_with("127.0.0.1:"), "{printed}"),
        Dials::Wsmesh => assert!(printed.starts_with("ws://127.0.0.1:"), "{printed}"),
    }
    pair.node.stdout.wait_for(" [binary, 7 bytes] ");
    pair.assert_no_failure();
}

fn without_echo_nobody_hears_itself(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "300ms"];
    let Some(mut pair) = Pair::connected(implementation, dials, 2, &options) else {
        return;
    };
    pair.peer.say("text 0 hello from 0");
    pair.peer.say("text 1 hello from 1");
    pair.node.stdout.wait_for("hello from 0");
    pair.node.stdout.wait_for("hello from 1");

    let bind = pair.node.address();
    for index in 0..2 {
        let expected = format!("Message to client {index} from {bind}");
        let heard = pair.peer.events.wait_for_count(3, &expected);
        // A peer keeps its index as long as nobody comes or goes.
        let last = &heard[1..];
        assert_eq!(last[0], last[1], "{heard:?}");
    }
    // What the one says the other hears, if they are in one channel, and nobody hears itself.
    let heard = |index: usize, from: usize| {
        let (start, end) = (format!("text {index} "), format!(" hello from {from}"));
        let lines = pair.peer.events.all();
        let heard = lines
            .iter()
            .filter(|l| l.starts_with(&start) && l.ends_with(&end));
        heard.count()
    };
    let others = match pair.dials {
        Dials::Foreign => 1,
        Dials::Wsmesh => 0,
    };
    assert_eq!((heard(0, 1), heard(1, 0)), (others, others));
    assert_eq!((heard(0, 0), heard(1, 1)), (0, 0), "echoed without --echo");
    pair.assert_no_failure();
}

fn pings_are_answered_both_ways(implementation: Implementation, dials: Dials) {
    // The node drops a peer that is silent for twice the interval; only pongs keep this one.
    let options = ["--interval", "off", "--ping-interval", "250ms"];
    let Some(mut pair) = Pair::connected(implementation, dials, 1, &options) else {
        return;
    };
    pair.peer.say("ping 0 are you there");
    pair.peer.events.wait_for("pong 0 are you there");
    let silent_for = Duration::from_millis(4 * 250);
    let begun = std::time::Instant::now();
    crate::support::eventually("four intervals have passed", || {
        assert!(
            !pair.peer.events.contain("closed "),
            "an answering peer was dropped"
        );
        begun.elapsed() > silent_for
    });
    pair.peer.say("ping 0 still");
    pair.peer.events.wait_for("pong 0 still");
    pair.assert_no_failure();
}

fn close_codes_come_back(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "off", "--retry-min", "60s"];
    let Some(mut pair) = Pair::connected(implementation, dials, 3, &options) else {
        return;
    };
    pair.peer.say("close 0 1000 ");
    pair.peer.events.wait_for("closed 0 1000");
    pair.peer.say("close 1 4000 going home");
    pair.peer.events.wait_for("closed 1 4000");
    pair.peer.say("close 2 3999 ");
    pair.peer.events.wait_for("closed 2 3999");
    pair.node.wait_closed(3);
    pair.assert_no_failure();
}

fn a_close_without_a_code_comes_back(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "off", "--retry-min", "60s"];
    let Some(mut pair) = Pair::connected(implementation, dials, 1, &options) else {
        return;
    };
    pair.peer.say("close 0");
    // RFC 6455, section 7.4.1: 1005 stands for none. Python's websockets always sends 1000.
    pair.peer.events.wait_for(match implementation {
        Implementation::Websockets => "closed 0 1000",
        Implementation::TokioTungstenite | Implementation::Ws => "closed 0 1005",
    });
    pair.node.wait_closed(1);
    pair.assert_no_failure();
}

/// The peer is still sending when the node has seen enough, and must hear why all the same.
fn too_large_a_message_is_answered_with_1009(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "off", "--retry-min", "60s"];
    let Some(mut pair) = Pair::connected(implementation, dials, 2, &options) else {
        return;
    };
    pair.peer.say(&format!("large 0 text {}", (1 << 20) + 1));
    pair.peer.events.wait_for("closed 0 1009");
    pair.peer.say(&format!("large 1 binary {}", 8 << 20));
    pair.peer.events.wait_for("closed 1 1009");
    pair.node.wait_closed(2);
    assert!(pair.node.stdout.all().is_empty(), "nothing was received");
}

fn a_stopping_node_says_1001(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "off"];
    let Some(mut pair) = Pair::connected(implementation, dials, 3, &options) else {
        return;
    };
    pair.node.stop();
    for number in 0..3 {
        pair.peer.events.wait_for(&format!("closed {number} 1001"));
    }
    pair.assert_no_failure();
}

fn a_mebibyte_comes_back(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "off", "--echo"];
    let Some(mut pair) = Pair::connected(implementation, dials, 1, &options) else {
        return;
    };
    for kind in ["text", "binary"] {
        pair.peer.say(&format!("large 0 {kind} {}", 1 << 20));
        let sent = pair.peer.events.wait_for(&format!("sent 0 {kind} "));
        let crc = sent.rsplit(' ').next().expect("a word");
        pair.peer
            .events
            .wait_for(&format!("{kind} 0 {} {crc}", 1 << 20));
    }
    pair.node
        .stdout
        .wait_until("a line of a MiB", 1, |line| line.len() > 1 << 20);
    pair.assert_no_failure();
}

fn a_thousand_connections_at_once(implementation: Implementation, dials: Dials) {
    need_descriptors(4096);
    let options = ["--interval", "1s", "--echo"];
    let Some(mut pair) = Pair::connected(implementation, dials, 1000, &options) else {
        return;
    };
    pair.peer.say("all everyone at once");
    pair.peer.events.wait_for_count(1000, " everyone at once");
    pair.node.stdout.wait_for_count(1000, " everyone at once");

    pair.peer.events.wait_for("Message to client 0 from ");
    pair.peer.events.wait_for("Message to client 999 from ");
    pair.node.stop();
    pair.peer.events.wait_for_count(1000, " 1001 ");
    pair.assert_no_failure();
}

fn a_thousand_messages_at_once(implementation: Implementation, dials: Dials) {
    let options = ["--interval", "off", "--echo"];
    let Some(mut pair) = Pair::connected(implementation, dials, 2, &options) else {
        return;
    };
    pair.peer.say("burst 0 1000 left");
    pair.peer.say("burst 1 1000 right");
    for (number, word) in [(0, "left"), (1, "right")] {
        let expected: Vec<String> = (0..1000).map(|at| format!(" {word} {at}")).collect();
        for (lines, prefix) in [
            (&pair.peer.events, format!("text {number} ")),
            (&pair.node.stdout, String::new()),
        ] {
            let came = lines.wait_until(&format!("1,000 × {word}"), 1000, |line| {
                line.starts_with(&prefix) && line.contains(word)
            });
            for (line, expected) in came.iter().zip(&expected) {
                assert!(line.ends_with(expected), "{line:?} instead of {expected:?}");
            }
        }
    }
    pair.assert_no_failure();
}

/// Makes tests of the scenarios with one implementation in one direction.
macro_rules! with {
    ($module:ident: $implementation:ident, $dials:ident; $($scenario:ident)*) => {
        mod $module {
            use super::{Dials, Implementation};

            $(
                #[test]
                fn $scenario() {
                    super::$scenario(Implementation::$implementation, Dials::$dials);
                }
            )*
        }
    };
}

/// Makes tests of the scenarios with every implementation, dialing and dialed.
macro_rules! with_everyone {
    ($($scenario:ident)*) => {
        with! { tokio_tungstenite_dials: TokioTungstenite, Foreign; $($scenario)* }
        with! { tokio_tungstenite_is_dialed: TokioTungstenite, Wsmesh; $($scenario)* }
        with! { npm_ws_dials: Ws, Foreign; $($scenario)* }
        with! { npm_ws_is_dialed: Ws, Wsmesh; $($scenario)* }
        with! { python_websockets_dials: Websockets, Foreign; $($scenario)* }
        with! { python_websockets_is_dialed: Websockets, Wsmesh; $($scenario)* }
    };
}

with_everyone! {
    text_and_binary_come_back
    without_echo_nobody_hears_itself
    pings_are_answered_both_ways
    close_codes_come_back
    a_close_without_a_code_comes_back
    too_large_a_message_is_answered_with_1009
    a_stopping_node_says_1001
    a_mebibyte_comes_back
    a_thousand_connections_at_once
    a_thousand_messages_at_once
}

/// The peers on each other, without wsmesh: what fails here is no fault of the node.
#[test]
fn foreign_peers_understand_each_other() {
    for (server, client) in [
        (Implementation::Websockets, Implementation::TokioTungstenite),
        (Implementation::Ws, Implementation::Websockets),
        (Implementation::TokioTungstenite, Implementation::Ws),
    ] {
        let Some((mut server, port)) = Peer::listening(server) else {
            return;
        };
        let url = format!("ws://127.0.0.1:{port}/path");
        let Some(mut client) = Peer::dialing(client, &url) else {
            return;
        };
        client.say("connect 2");
        client.events.wait_for_line("open 1 /path");
        server.events.wait_for_line("open 1 /path");
        let (client_events, server_events) = (client.events.clone(), server.events.clone());
        for (from, to) in [(&mut server, &client_events), (&mut client, &server_events)] {
            from.say("all for all");
            to.wait_for_count(2, " for all");
            from.say("text 0 grüße");
            to.wait_for(" grüße");
            from.say("binary 0 00ff");
            to.wait_for(" 00ff");
            from.say("large 0 text 100000");
            let sent = from.events.wait_for("sent 0 text ");
            to.wait_for(sent.trim_start_matches("sent 0 text"));
            from.say("burst 0 10 burst");
            to.wait_for(" burst 9");
            from.say("ping 0 hey");
            from.events.wait_for_line("pong 0 hey");
        }
        // The same connection may have another number on the other side.
        client.say("close 0 4001 bye");
        server.events.wait_for(" 4001 bye");
        client.events.wait_for("closed 0 4001");
        client.say("close 1 1000 ");
        server.events.wait_for(" 1000 ");
        client.events.wait_for("closed 1 1000");
        assert!(
            !client.events.contain("failed"),
            "{}",
            client.events.tail(9)
        );
        assert!(
            !server.events.contain("failed"),
            "{}",
            server.events.tail(9)
        );
    }
}
