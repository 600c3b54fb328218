//! What people are told when TLS does not come about, on both sides.

use rcgen::date_time_ymd;

use super::{Authority, Files, NO_OPTIONS, certified, dialing, listening, url_of};
use crate::support::{End, Node, Raw, RawListener};

/// What a node that dials says of a server with this certificate, and what that one says.
#[track_caller]
fn failures(files: &Files, options: &[String]) -> (String, String) {
    let server = listening(files, NO_OPTIONS);
    let client = dialing(&url_of(&server), options);
    let said = client.stderr.wait_for("cannot reach peer wss://localhost:");
    (said, server.stderr.wait_for("no upgrade with 127.0.0.1:"))
}

#[test]
fn a_certificate_that_has_expired_is_told_with_its_date() {
    let authority = Authority::new("test");
    let files = authority.issue("old", &["localhost"], |params| {
        params.not_after = date_time_ymd(2021, 2, 3);
    });
    let (client, server) = failures(&files, &authority.ca_options());
    assert!(
        client.contains("its certificate has expired, at 2021-02-03T00:00:00Z"),
        "{client}"
    );
    assert!(server.contains("our certificate has expired"), "{server}");
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_told_with_its_date() {
    let authority = Authority::new("test");
    let files = authority.issue("new", &["localhost"], |params| {
        params.not_before = date_time_ymd(2121, 2, 3);
    });
    let (client, _) = failures(&files, &authority.ca_options());
    let expected = "its certificate is not valid before 2121-02-03T00:00:00Z";
    assert!(client.contains(expected), "{client}");
}

#[test]
fn a_wrong_name_is_told_with_the_right_ones() {
    let authority = Authority::new("test");
    let names = ["a.example", "*.b.example", "10.0.0.1"];
    let files = authority.issue("other", &names, |_| {});
    let (client, server) = failures(&files, &authority.ca_options());
    let expected = "its certificate is not for localhost, which was dialed, but for a.example, \
                    *.b.example, 10.0.0.1";
    assert!(client.contains(expected), "{client}");
    assert!(
        server.contains("does not trust our certificate"),
        "{server}"
    );
}

#[test]
fn an_unknown_issuer_is_told_with_what_to_do() {
    let authority = Authority::new("test");
    let files = authority.local("node");
    let elsewhere = Authority::new("elsewhere");
    for options in [elsewhere.ca_options().to_vec(), Vec::new()] {
        let (client, server) = failures(&files, &options);
        let expected = "of an issuer that is not trusted here: give the certificate of a private \
                        authority with --tls-ca";
        assert!(client.contains(expected), "{client}");
        assert!(
            server.contains("does not trust our certificate"),
            "{server}"
        );
    }
}

#[test]
fn a_server_certificate_of_an_authority_is_told_apart() {
    let authority = Authority::new("test");
    let files = authority.issue("authority", &["localhost"], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let (client, _) = failures(&files, &authority.ca_options());
    assert!(
        client.contains("(CA:TRUE)") && client.contains("--tls-pin"),
        "{client}"
    );
}

#[test]
fn http_in_clear_is_answered_where_tls_is_spoken() {
    let (_, node) = certified();
    let mut raw = Raw::connect(node.address());
    raw.send(Raw::request(node.address(), "/"));
    let (head, body) = raw.read_answer();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert_eq!(
        body,
        "this port speaks TLS: use a wss:// URL, or https:// for a page\n"
    );
    let line = node.stderr.wait_for("no upgrade with 127.0.0.1:");
    assert!(
        line.contains("HTTP in clear where this node speaks TLS"),
        "{line}"
    );
}

#[test]
fn a_node_that_dials_without_tls_where_it_is_spoken_is_told_so() {
    let (_, node) = certified();
    let url = format!("ws://{}", node.address());
    let client = dialing(&url, NO_OPTIONS);
    let line = client.stderr.wait_for("cannot reach peer ws://");
    let expected =
        "answered 400 Bad Request instead of an upgrade: this port speaks TLS: use a wss:// URL";
    assert!(line.contains(expected), "{line}");
    // Other servers answer in TLS.
    let server = RawListener::bind();
    let client = dialing(&server.url("/"), ["--retry-min", "1ms"]);
    let mut raw = server.accept();
    raw.read_head();
    raw.send([0x15, 3, 1, 0, 2, 2, 10]);
    client
        .stderr
        .wait_for("the answer is TLS: dial wss:// instead of ws://");
}

#[test]
fn a_node_that_dials_with_tls_where_none_is_spoken_is_told_so() {
    let node = Node::listening(["--interval", "off"]);
    let client = dialing(&url_of(&node), NO_OPTIONS);
    let line = client.stderr.wait_for("cannot reach peer wss://localhost:");
    assert!(
        line.contains("it answers in plain HTTP, without TLS: dial ws://"),
        "{line}"
    );
    let line = node.stderr.wait_for("no upgrade with 127.0.0.1:");
    assert!(line.contains("TLS where this node speaks none"), "{line}");
    assert!(line.contains("--bind wss://"), "{line}");
}

#[test]
fn an_end_without_the_word_for_it_is_told_as_such() {
    let authority = Authority::new("test");
    let files = authority.local("server");
    let listener = RawListener::bind();
    let url = format!("wss://localhost:{}/", listener.address().port());
    let client = dialing(&url, authority.ca_options());
    let raw = listener.accept();
    let tls = rustls::ServerConnection::new(files.server()).unwrap();
    let stream = rustls::StreamOwned::new(tls, raw.stream().try_clone().unwrap());
    let socket = tungstenite::accept(stream).unwrap_or_else(|error| panic!("{error}"));
    client.stderr.wait_for("peer wss://localhost:");
    raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
    let line = client.stderr.wait_for(" closed: ");
    assert!(
        line.contains("connection was cut off, without a Close"),
        "{line}"
    );
    drop(socket);
}

#[test]
fn who_finds_no_room_hears_an_alert_and_no_handshake_is_made() {
    let authority = Authority::new("test");
    let options = ["--max-connections-per-address", "1"];
    let node = listening(&authority.local("node"), options);
    let first = super::client::upgrade(node.address(), authority.client_config());
    let mut second = Raw::connect(node.address());
    let (bytes, end) = second.read_to_end();
    assert_eq!(
        bytes,
        [0x15, 3, 3, 0, 2, 2, 80],
        "a fatal alert: internal_error"
    );
    assert_eq!(end, End::Closed);
    drop(first);
}
