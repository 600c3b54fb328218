//! Peers that go on without end, a byte at a time.

use std::io::Read as _;

use super::{KIB, MIB};
use crate::support::{Frame, LengthForm, Node, Raw, eventually, letters};

/// In a head and in the handshake of TLS it is the same: there is a deadline, for all of it (`upgrade`, `tls`).
/// In a frame there is none, as long as something comes; but what does not come costs no memory, and nobody waits for it.
#[test]
fn frames_that_come_byte_by_byte_cost_what_has_come() {
    const PEERS: usize = 100;
    let node = Node::listening(["--interval", "off", "--ping-interval", "1s"]);
    let mut bystander = Raw::upgraded(node.address(), "/");
    let mut peers: Vec<Raw> = (0..PEERS)
        .map(|_| Raw::upgraded(node.address(), "/other"))
        .collect();
    let before = node.resident_bytes();
    let claim = Frame::binary("").masked();
    let claim = claim.encode_claiming(MIB, LengthForm::SixtyFour);
    for peer in &mut peers {
        peer.send(&claim);
    }
    // More than twice the time after which a silent peer is dropped.
    let begun = std::time::Instant::now();
    eventually("time passes", || {
        for peer in &mut peers {
            peer.send([0x55]);
        }
        assert_eq!(bystander.sync(), []);
        begun.elapsed() > std::time::Duration::from_millis(2500)
    });
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(
        grown < 8 * MIB,
        "100 MiB are claimed, {} KiB are there",
        grown / KIB
    );
    assert!(
        !node.stderr.contain(" closed: "),
        "a frame may take its time"
    );
}

#[test]
fn who_drips_instead_of_answering_a_close_is_dropped_in_time() {
    let options = [
        "--interval",
        "off",
        "--max-publish-rate",
        "1",
        "--close-timeout",
        "300ms",
    ];
    let node = Node::listening(options);
    let mut peer = Raw::upgraded(node.address(), "/");
    peer.send_frames((0..4).map(|_| Frame::text("x")));
    let (_, close) = peer.read_to_close();
    assert_eq!(close.close_code(), Some(1008));
    let whole = Frame::binary(vec![0; 60_000]).masked().encode();
    let mut sent = 0;
    eventually("it is dropped", || {
        sent += 1;
        peer.try_send(&whole[sent - 1..sent]).is_err()
    });
    node.wait_closed(1);
}

/// Reading a byte now and then is reading too slowly. Where an outbox may be as large as it likes, it costs that.
#[test]
fn who_reads_a_byte_at_a_time_is_slow_all_the_same() {
    let message = letters(48 << 10);
    let node = |outbox| {
        let options = [
            "--interval",
            "25ms",
            "--message",
            &message,
            "--max-message",
            "64KiB",
        ];
        let limits = ["--close-timeout", "200ms", "--outbox", outbox];
        Node::listening(options.iter().chain(&limits))
    };
    let read_one = |peer: &Raw| peer.stream().read(&mut [0]).expect("there is always more");

    let small = node("256KiB");
    let slow = Raw::upgraded_narrow(small.address(), "/");
    let told = format!("peer {} closed: reads too slowly", slow.local_address());
    eventually("it is told that it is slow", || {
        read_one(&slow);
        small.stderr.contain(&told)
    });

    let large = node("256MiB");
    let slow = Raw::upgraded_narrow(large.address(), "/");
    let before = large.resident_bytes();
    eventually("without the limit memory grows and grows", || {
        read_one(&slow);
        large.resident_bytes() > before + 4 * MIB
    });
    assert!(!large.stderr.contain("reads too slowly"));
}
