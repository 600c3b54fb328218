//! Handshakes and records as no well-behaved client makes them.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tungstenite::Message;

use super::{certified, client, listening};
use crate::support::{End, Raw, eventually};

/// What a client says first.
fn hello(config: Arc<rustls::ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn a_handshake_byte_by_byte_comes_about() {
    let (authority, node) = certified();
    let config = authority.client_config();
    let mut socket = client::upgrade_in_pieces(node.address(), config, 1);
    client::assert_echoed(&mut socket, "patience");
    let config = authority.client_config();
    let mut socket = client::upgrade_in_pieces(node.address(), config, 7);
    client::assert_echoed(&mut socket, &"patience ".repeat(1000));
}

#[test]
fn a_handshake_that_is_not_done_in_time_is_given_up_whatever_comes() {
    let authority = super::Authority::new("test");
    let options = ["--handshake-timeout", "400ms", "-v"];
    let node = listening(&authority.local("node"), options);
    let mut silent = Raw::connect(node.address());
    let mut half = Raw::connect(node.address());
    let hello = hello(authority.client_config());
    half.send(&hello[..hello.len() / 2]);
    // The server's answer comes, and the client's does not.
    let mut whole = Raw::connect(node.address());
    whole.send(&hello);
    whole.read_exact(1);
    let mut slow = Raw::connect(node.address());
    let mut sent = 0;
    eventually("a slow handshake is given up", || {
        // One more byte keeps nobody waiting.
        let is_gone = slow.try_send(&hello[sent..=sent]).is_err() || sent + 2 == hello.len();
        sent += 1;
        is_gone || node.stderr.count("no TLS handshake within 400ms") >= 4
    });
    for raw in [&mut silent, &mut half, &mut whole] {
        raw.read_to_end();
    }
    node.stderr
        .wait_for_count(4, "no TLS handshake within 400ms");
}

/// What has come of a message of the handshake is held, by the library, until it is whole.
#[test]
fn halves_of_large_handshakes_count_as_memory() {
    const HALVES: usize = 40;
    let authority = super::Authority::new("test");
    let options = "--memory 1MiB --outbox 1MiB --max-message 256KiB --handshake-timeout 1h -v";
    let node = listening(&authority.local("node"), options.split(' '));
    // A ClientHello of 60 KiB, and three records of it.
    let record = [&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let mut half = record.repeat(3);
    half[5..9].copy_from_slice(&[1, 0, 0xf0, 0]);
    let halves: Vec<Raw> = (0..HALVES)
        .map(|_| {
            let mut raw = Raw::connect(node.address());
            raw.send(&half);
            raw
        })
        .collect();
    let held = 3 * 0x4000 * HALVES;
    let too_many = HALVES - (HALVES << 20) / held;
    node.stderr
        .wait_for_count(too_many, "this node is short of memory");
    drop(halves);
}

/// So look load balancers whether somebody is there.
#[test]
fn who_connects_and_goes_is_no_news() {
    let authority = super::Authority::new("test");
    let node = listening(&authority.local("node"), ["-v"]);
    let mut raw = Raw::connect(node.address());
    raw.finish();
    assert_eq!(raw.read_to_end(), (Vec::new(), End::Closed));
    let line = node.stderr.wait_for("ended during the TLS handshake");
    assert!(line.contains(" DEBUG "), "{line}");
}

#[test]
fn garbage_is_refused_and_others_are_served() {
    let (authority, node) = certified();
    let hello = hello(authority.client_config());
    let mut damaged = hello.clone();
    damaged[20..60].fill(0xff);
    let huge = [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 0xffff]].concat();
    let empty = [0x16, 3, 1, 0, 0].repeat(1000);
    let alerts = [0x15, 3, 1, 0, 2, 1, 90].repeat(1000);
    let endless = [
        &[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..],
        &[0; 0x4000],
    ]
    .concat();
    let early = [0x17, 3, 3, 0, 3, 1, 2, 3].to_vec();
    let twice = [&hello[..], &hello].concat();
    let old = [0x80, 0x2e, 1, 0, 2].repeat(100);
    let binary: Vec<u8> = (0..=255).rev().collect();
    for bytes in [
        damaged, huge, empty, alerts, endless, early, twice, old, binary,
    ] {
        let mut raw = Raw::connect(node.address());
        // The node may have had enough before the end.
        let _ = raw.try_send(&bytes);
        raw.finish();
        let (_, end) = raw.read_to_end();
        assert!(matches!(end, End::Closed | End::Reset));
        let mut socket = client::upgrade(node.address(), authority.client_config());
        client::assert_echoed(&mut socket, "served");
        socket.close(None).unwrap();
    }
    node.assert_no_error_logged();
}

#[test]
fn garbage_after_the_handshake_ends_that_connection_alone() {
    let (authority, node) = certified();
    let mut other = client::upgrade(node.address(), authority.client_config());
    let mut socket = client::upgrade(node.address(), authority.client_config());
    client::assert_echoed(&mut socket, "before");
    let raw = &mut socket.get_mut().sock.socket;
    raw.write_all(&[&[0x17, 3, 3, 0, 64][..], &[7; 64]].concat())
        .unwrap();
    let error = socket.read().unwrap_err().to_string();
    assert!(error.contains("BadRecordMac"), "{error}");
    let line = node.wait_closed(1).remove(0);
    assert!(line.contains("TLS failed: "), "{line}");
    client::assert_echoed(&mut other, "untouched");
}

#[test]
fn a_closed_connection_is_ended_as_tls_wants_it() {
    let (authority, mut node) = certified();
    let mut socket = client::upgrade(node.address(), authority.client_config());
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    // Without close_notify the library would say UnexpectedEof.
    let stream = socket.get_mut();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);

    let mut stream = client::connect(node.address(), authority.client_config(), usize::MAX);
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"),
        "{answer}"
    );

    let mut socket = client::upgrade(node.address(), authority.client_config());
    client::assert_echoed(&mut socket, "here");
    node.signal("TERM");
    let Message::Close(Some(close)) = socket.read().unwrap() else {
        panic!("no Close")
    };
    assert_eq!(u16::from(close.code), 1001);
    while socket.read().is_ok() {}
    assert_eq!(socket.get_mut().read(&mut [0; 10]).unwrap(), 0);
    node.wait_exit();
}

/// More in one segment than the node reads in a turn: what it has decrypted already raises no event.
#[test]
fn what_comes_in_one_piece_is_heard_to_its_end() {
    let (authority, node) = certified();
    let mut socket = client::upgrade(node.address(), authority.client_config());
    let count = 20_000;
    for number in 0..count {
        socket.write(Message::text(number.to_string())).unwrap();
        if number % 1000 == 999 {
            socket.flush().unwrap();
            for number in number - 999..=number {
                assert_eq!(socket.read().unwrap(), Message::text(number.to_string()));
            }
        }
    }
    assert_eq!(node.stdout.wait_for_count(count, "127.0.0.1:").len(), count);
}
