//! Names that stand for several peers.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;

use crate::dialing::with_hosts;
use crate::support::{Frame, Node, RawListener, Scratch};

/// All listen on this port: of addresses that a name leads to.
fn listeners_on_one_port<const N: usize>(hosts: [&str; N]) -> [RawListener; N] {
    loop {
        let first = RawListener::bind_to(format!("{}:0", hosts[0]).parse().unwrap());
        let port = first.address().port();
        let rest = hosts[1..].iter().map(|host| {
            let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
            std::net::TcpListener::bind(address)
        });
        // Another test may have the port at another address.
        if let Ok(rest) = rest.collect::<Result<Vec<_>, _>>() {
            let all = [first]
                .into_iter()
                .chain(rest.into_iter().map(RawListener::of));
            let all: Vec<_> = all.collect();
            return all.try_into().unwrap_or_else(|_| unreachable!("one each"));
        }
    }
}

#[test]
fn all_addresses_of_a_name_are_dialed_and_its_changes_are_followed() {
    let scratch = Scratch::new("dns");
    let hosts = scratch.join("hosts");
    // The file itself stays, or the node would go on to see the old one.
    let lead_to = |addresses: &[&str]| {
        let lines = addresses
            .iter()
            .map(|address| format!("{address} mesh.test\n"));
        let lines: String = lines.collect();
        // At once, and as long as ever: there is no moment in which half of it is there.
        let file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&hosts);
        file.unwrap()
            .write_all_at(format!("{lines:\n<200}").as_bytes(), 0)
            .unwrap();
    };
    let [one, two, three] = listeners_on_one_port(["127.7.11.1", "127.7.11.2", "127.7.11.3"]);
    lead_to(&["127.7.11.1", "127.7.11.2"]);
    let port = one.address().port();
    let url = format!("dns+ws://mesh.test:{port}");
    let options = [
        "--interval",
        "off",
        "--resolve-interval",
        "100ms",
        "--retry-min",
        "10ms",
        "--retry-max",
        "50ms",
        "--peers",
        &url,
    ];
    let Some(mut node) = with_hosts(&hosts, &options) else {
        return;
    };
    let (mut at_one, head) = one.accept_upgraded();
    assert!(
        head.contains(&format!("Host: mesh.test:{port}\r\n")),
        "{head}"
    );
    let (at_two, _) = two.accept_upgraded();
    node.wait_connected(2);

    lead_to(&["127.7.11.2", "127.7.11.3"]);
    let (mut at_three, _) = three.accept_upgraded();
    node.stderr
        .wait_for("127.7.11.3 dialed from now on, 127.7.11.1 no more");
    // The connection lives on, and carries what it did; once it is lost it is not dialed again, as the others are.
    assert_eq!(at_one.sync(), []);
    at_three.send_frame(Frame::text("to all"));
    assert_eq!(at_one.read_frame(), Frame::text("to all"));
    drop((at_one, at_two));
    let (mut again, _) = two.accept_upgraded();
    node.wait_closed(2);

    // A name that does not resolve leaves things as they are, and is told once.
    lead_to(&[]);
    node.stderr.wait_for("the name does not resolve");
    drop(again);
    (again, _) = two.accept_upgraded();
    assert!(one.try_accept().is_none());
    lead_to(&["127.7.11.1", "127.7.11.2", "127.7.11.3"]);
    let (at_one, _) = one.accept_upgraded();
    assert_eq!(again.sync(), []);
    assert_eq!(node.stderr.count("the name does not resolve"), 1);
    drop((at_one, again, at_three));
    node.stop();
}

#[test]
fn nodes_behind_one_name_find_one_another_and_each_leaves_itself_alone() {
    let scratch = Scratch::new("dns-nodes");
    let hosts = scratch.join("hosts");
    fs::write(&hosts, "127.7.12.1 mesh.test\n127.7.12.2 mesh.test\n").unwrap();
    // A port that is free for both.
    let port = listeners_on_one_port(["127.7.12.1", "127.7.12.2"])[0]
        .address()
        .port();
    let url = format!("dns+ws://mesh.test:{port}");
    let node = |host: &str| {
        let bind = format!("{host}:{port}");
        let options = [
            "--interval",
            "off",
            "--retry-min",
            "10ms",
            "--retry-max",
            "100ms",
            "--bind",
            &bind,
            "--peers",
            &url,
        ];
        with_hosts(&hosts, &options)
    };
    let Some(nodes) = node("127.7.12.1").zip(node("127.7.12.2")) else {
        return;
    };
    for node in [&nodes.0, &nodes.1] {
        node.stderr.wait_for("joined the mesh");
        node.stderr
            .wait_for("is this node itself: leaving it alone");
    }
}

#[test]
fn localhost_is_whatever_this_machine_has() {
    let listener = RawListener::bind();
    let port = listener.address().port();
    let url = format!("dns+ws://localhost:{port}/x");
    let node = Node::with(["--interval", "off", "--peers", &url]);
    let (mut peer, head) = listener.accept_upgraded();
    assert!(
        head.starts_with("GET /x HTTP/1.1\r\n")
            && head.contains(&format!("Host: localhost:{port}\r\n"))
    );
    node.stderr
        .wait_for(&format!("peer ws://127.0.0.1:{port}/x connected"));
    assert_eq!(peer.sync(), []);
}
