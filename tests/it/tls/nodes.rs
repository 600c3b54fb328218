//! Nodes that are connected with TLS.

use super::authority::text;
use super::{Authority, NO_OPTIONS, certified, client, dialing, listening, url_of};
use crate::support::{Frame, Node, Raw};

/// Asserts that what is published at each of two nodes is heard at the other.
#[track_caller]
fn assert_relayed(encrypted: &mut Node, other: &mut Node, authority: &Authority) {
    other.stderr.wait_for("neighbor wss://localhost:");
    encrypted.stderr.wait_for("neighbor 127.0.0.1:");
    let mut plain = Raw::upgraded(other.address(), "/");
    let mut secret = client::upgrade(encrypted.address(), authority.client_config());
    plain.send_frame(Frame::text("from the one"));
    let heard = secret.read().unwrap();
    assert_eq!(heard, tungstenite::Message::text("from the one"));
    secret
        .send(tungstenite::Message::text("from the other"))
        .unwrap();
    assert_eq!(plain.read_frame(), Frame::text("from the other"));
    encrypted.stdout.wait_for("from the one");
    other.stdout.wait_for("from the other");
    secret.close(None).unwrap();
    other.stop();
    encrypted.stderr.wait_for("code 1001");
    encrypted.stop();
    for node in [encrypted, other] {
        node.assert_no_error_logged();
        assert!(!node.stderr.contain("cut off"), "each end was told");
    }
}

#[test]
fn two_nodes_are_neighbors_over_tls_and_relay() {
    let authority = Authority::new("test");
    let mut one = listening(&authority.local("one"), NO_OPTIONS);
    one.stderr.wait_for(" with TLS");
    let mut two = dialing(&url_of(&one), authority.ca_options());
    assert_relayed(&mut one, &mut two, &authority);
}

#[test]
fn a_node_is_known_by_its_key_alone_or_by_its_chain_too() {
    let authority = Authority::new("test");
    // Neither the name nor the issuer would do.
    let files = authority.issue("one", &["elsewhere.example"], |_| {});
    let one = listening(&files, NO_OPTIONS);
    let said = one.stderr.wait_for("the key of this node in TLS is ");
    let pin = said.rsplit(' ').next().unwrap();
    let other_pin = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let both = format!("{other_pin},{pin}");
    let two = dialing(&url_of(&one), ["--tls-pin", &both]);
    two.stderr.wait_for("neighbor wss://localhost:");

    let wrong = dialing(&url_of(&one), ["--tls-pin", other_pin]);
    let failure = wrong.stderr.wait_for("cannot reach peer");
    let expected = format!("its key is {pin}, which is not in --tls-pin");
    assert!(failure.contains(&expected), "{failure}");

    let ca = authority.ca();
    let strict = dialing(&url_of(&one), ["--tls-pin", &both, "--tls-ca", text(&ca)]);
    strict
        .stderr
        .wait_for("its certificate is not for localhost");
}

#[test]
fn clients_need_a_certificate_where_it_is_asked_for() {
    let authority = Authority::new("test");
    let (files, ca) = (authority.local("one"), authority.ca());
    let mut one = listening(&files, ["--tls-client-ca", text(&ca)]);
    let id = authority.client("two");
    let options = authority.ca_options();
    let known = options
        .iter()
        .map(String::as_str)
        .chain(id.client_options());
    let mut two = dialing(&url_of(&one), known);
    two.stderr.wait_for("neighbor wss://localhost:");

    let stranger = dialing(&url_of(&one), &options);
    let failure = stranger.stderr.wait_for("cannot reach peer");
    assert!(failure.contains("--tls-client-cert"), "{failure}");
    let refused = one.stderr.wait_for("no upgrade with 127.0.0.1:");
    assert!(
        refused.contains("--tls-client-ca asks for one"),
        "{refused}"
    );

    // A certificate of somebody else's authority is none.
    let elsewhere = Authority::new("elsewhere");
    let id = elsewhere.client("three");
    let known = options
        .iter()
        .map(String::as_str)
        .chain(id.client_options());
    let stranger = dialing(&url_of(&one), known);
    stranger
        .stderr
        .wait_for("does not trust our certificate (--tls-client-cert)");
    two.stop();
    one.stop();
}

#[test]
fn listeners_with_and_without_tls_stand_side_by_side() {
    let authority = Authority::new("test");
    let files = authority.local("node");
    let mut command = Node::command(["--interval", "off", "--bind", "127.0.0.1:0"]);
    command
        .args(["--bind", "wss://127.0.0.1:0"])
        .args(files.options());
    let mut node = Node::start(command);
    let addresses = node.wait_listening(2).to_vec();
    let mut plain = Raw::upgraded(addresses[0], "/");
    let mut secret = client::upgrade(addresses[1], authority.client_config());
    plain.send_frame(Frame::text("in clear"));
    assert_eq!(
        secret.read().unwrap(),
        tungstenite::Message::text("in clear")
    );
    secret.send(tungstenite::Message::text("sealed")).unwrap();
    assert_eq!(plain.read_frame(), Frame::text("sealed"));
    node.stop();
    let (_, close) = plain.read_to_close();
    assert_eq!(close.close_code(), Some(1001));
}

#[test]
fn a_load_test_dials_with_tls() {
    let (authority, node) = certified();
    let url = url_of(&node);
    let measure = [
        "bench",
        &url,
        "-n",
        "20",
        "--mode",
        "echo",
        "--messages",
        "100",
        "--json",
    ];
    let options = authority.ca_options();
    let known = measure
        .into_iter()
        .chain(options.iter().map(String::as_str));
    let output = Node::command(known).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["measure"]["lost"], 0, "{report}");
    let unknown = Node::command(measure).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let wrong = [&measure[..], &["--tls-ca", "/nowhere.pem"]].concat();
    let output = Node::command(wrong).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--tls-ca /nowhere.pem: there is no such file"),
        "{said}"
    );
}

/// A reader that takes its time, in both directions at once.
#[test]
fn large_messages_go_both_ways() {
    let authority = Authority::new("test");
    let options = ["--echo", "--max-message", "16MiB", "--outbox", "40MiB"];
    let node = listening(&authority.local("node"), options);
    let mut socket = client::upgrade(node.address(), authority.client_config());
    let payload: Vec<u8> = (0..16 << 20)
        .map(|at: u32| (at.wrapping_mul(at) >> 8) as u8)
        .collect();
    let message = tungstenite::Message::binary(payload);
    socket.send(message.clone()).unwrap();
    // All of it is on its way back before anything is read.
    node.stdout.wait_for("[binary, 16777216 bytes]");
    assert!(socket.read().unwrap() == message, "damaged");
    let mut socket = client::upgrade(node.address(), authority.client_config());
    socket
        .send(tungstenite::Message::binary(vec![0; (16 << 20) + 1]))
        .unwrap();
    let heard = socket.read().unwrap();
    let tungstenite::Message::Close(Some(close)) = heard else {
        panic!("no Close")
    };
    assert_eq!(u16::from(close.code), 1009);
}

#[test]
fn a_peer_that_does_not_read_is_closed_and_the_others_hear() {
    let authority = Authority::new("test");
    let node = listening(&authority.local("node"), ["--echo"]);
    let mut speaker = client::upgrade(node.address(), authority.client_config());
    let stalled = client::upgrade(node.address(), authority.client_config());
    let message = tungstenite::Message::binary(vec![7; 1 << 20]);
    // More than the outbox and the buffers of the kernel take.
    for _ in 0..40 {
        speaker.send(message.clone()).unwrap();
        assert!(speaker.read().unwrap() == message);
        if node.stderr.contain("reads too slowly") {
            break;
        }
    }
    node.stderr.wait_for("reads too slowly");
    client::assert_echoed(&mut speaker, "still here");
    drop(stalled);
}
