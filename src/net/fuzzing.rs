//! What strangers send, as arbitrary bytes in arbitrary pieces.

use tungstenite::protocol::Role;

pub(crate) use super::{
    access::fuzzing::feed_tokens,
    introduction::fuzzing::feed_introduction,
    tls::fuzzing::feed_pem,
    upgrade::fuzzing::{feed_answer, feed_request},
};
use super::{
    contexts::Contexts,
    frame::Outgoing,
    outbox::Outbox,
    session::{Session, Step},
    tunnel::{self, Tunnel},
};
use crate::{
    config::{PeerUrl, ProxyUrl},
    fuzzing::{assert_printable, pieces, split_choice},
    message::Message,
};

/// Small, so that a short input can be too large.
const MESSAGE_BYTES_MAX: usize = 512;

/// A session, and what has become of it.
struct Peer {
    session: Session,
    outbox: Outbox,
    heard: Vec<Step>,
    /// How it ended, if it has.
    end: Option<Step>,
}

impl Peer {
    fn new(role: Role) -> Self {
        Self {
            session: Session::new(role, MESSAGE_BYTES_MAX),
            outbox: Outbox::default(),
            heard: Vec::new(),
            end: None,
        }
    }

    /// Works through bytes up to the end of the session, if it comes to that.
    fn receive(&mut self, mut bytes: &[u8], is_end: bool, contexts: &mut Contexts) {
        while self.end.is_none() {
            let before = bytes.len();
            let step = self
                .session
                .step(&mut bytes, is_end, &mut self.outbox, contexts);
            match step {
                Step::Drained => return assert!(bytes.is_empty() && !is_end),
                Step::Finished | Step::Broken(_) => self.end = Some(step),
                Step::Message(ref message) => {
                    assert!(message.len() <= MESSAGE_BYTES_MAX && bytes.len() < before);
                    self.heard.push(step);
                }
                step => self.heard.push(step),
            }
        }
    }
}

/// WebSocket frames, on both sides of a connection: however they are cut the same is heard, answered and decided, and
/// what was heard can be sent on.
pub(crate) fn feed_session(bytes: &[u8]) {
    let (choice, bytes) = split_choice(bytes);
    let role = match choice % 2 {
        0 => Role::Server,
        _ => Role::Client,
    };
    let mut contexts = Contexts::default();
    let mut whole = Peer::new(role);
    whole.receive(bytes, false, &mut contexts);
    whole.receive(&[], true, &mut contexts);
    // A second one shares the contexts, in turns: nothing of one may be heard by the other.
    let (mut cut, mut other) = (Peer::new(role), Peer::new(role));
    for piece in pieces(bytes, choice) {
        cut.receive(piece, false, &mut contexts);
        other.receive(piece, false, &mut contexts);
    }
    for peer in [&mut cut, &mut other] {
        peer.receive(&[], true, &mut contexts);
        assert_eq!((&peer.heard, &peer.end), (&whole.heard, &whole.end));
    }
    let (sent, sent_cut, sent_other) = (
        whole.outbox.take_all(),
        cut.outbox.take_all(),
        other.outbox.take_all(),
    );
    // What a client sends is masked by chance.
    match role {
        Role::Server => assert!(sent == sent_cut && sent == sent_other),
        Role::Client => assert!(sent.len() == sent_cut.len() && sent.len() == sent_other.len()),
    }
    // A Pong for a Ping with its mask, and one Close with the words of an error.
    assert!(
        sent.len() <= 3 * bytes.len() + 2 + 4 + 125,
        "{} bytes",
        sent.len()
    );
    if let Some(Step::Broken(reason)) = &whole.end {
        assert_printable(&reason.to_string());
    }
    for step in whole.heard {
        match step {
            Step::Message(message) => check_relayed(message, role),
            Step::Close(reason) => assert_printable(&reason.to_string()),
            _ => {}
        }
    }
}

/// What was heard in one role is sent in that role to somebody in the other, and heard there.
fn check_relayed(message: Message, role: Role) {
    let piece = Outgoing::new(message.clone()).piece_for(role);
    let mut peer = Peer::new(match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    });
    peer.receive(&piece.bytes, false, &mut Contexts::default());
    assert_eq!((peer.heard, peer.end), (vec![Step::Message(message)], None));
}

/// Answers of a proxy: however they are cut the same is sent and decided, and what comes after them is left alone.
pub(crate) fn feed_tunnel(bytes: &[u8]) {
    const PROXIES: [&str; 4] = [
        "http://proxy",
        "http://me:secret@proxy",
        "socks5://proxy",
        "socks5://me:secret@proxy",
    ];
    const PEERS: [&str; 4] = [
        "ws://a",
        "wss://10.0.0.7",
        "ws://[fe80::1%eth0]",
        "ws://a.example:9/c",
    ];
    let (choice, bytes) = split_choice(bytes);
    let proxy: ProxyUrl = PROXIES[usize::from(choice % 4)].parse().expect("a proxy");
    let to: PeerUrl = PEERS[usize::from(choice / 4 % 4)].parse().expect("a URL");
    let whole = talk(Tunnel::new(&proxy, &to), std::iter::once(bytes));
    let cut = talk(Tunnel::new(&proxy, &to), pieces(bytes, choice / 16));
    assert_eq!(whole, cut);
    let (sent, step, taken) = whole;
    assert!(sent.len() <= 3 && taken <= bytes.len());
    match step {
        tunnel::Step::Wait => assert_eq!(taken, bytes.len()),
        tunnel::Step::Failed(reason) => {
            assert_printable(&reason);
            assert!(!reason.contains("secret"));
        }
        tunnel::Step::Open => {
            assert_eq!(taken, answers_end(bytes), "it ends elsewhere");
            let alone = talk(Tunnel::new(&proxy, &to), std::iter::once(&bytes[..taken]));
            assert_eq!(
                alone,
                (sent, tunnel::Step::Open, taken),
                "what follows has decided"
            );
        }
        tunnel::Step::Send(_) => unreachable!("it is sent"),
    }
}

/// Where the answers of a proxy end that opens the connection, by what they say of themselves.
fn answers_end(bytes: &[u8]) -> usize {
    if bytes[0] != 5 {
        let ends = |end: &[u8]| {
            bytes
                .windows(end.len())
                .position(|part| part == end)
                .map(|at| at + end.len())
        };
        return ends(b"\n\n")
            .into_iter()
            .chain(ends(b"\r\n\r\n"))
            .min()
            .expect("it has an end");
    }
    // The choice of the method, and perhaps the welcome.
    let reply = if bytes[1] == 0 {
        &bytes[2..]
    } else {
        &bytes[4..]
    };
    let address_bytes = match reply[3] {
        3 => 1 + usize::from(reply[4]),
        4 => 16,
        _ => 4,
    };
    bytes.len() - reply.len() + 4 + address_bytes + 2
}

/// What is sent, how it ends, and how many bytes were taken for it.
fn talk<'a>(
    mut tunnel: Tunnel,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Vec<u8>>, tunnel::Step, usize) {
    let (mut sent, mut taken) = (vec![tunnel.request()], 0);
    for mut piece in pieces {
        while !piece.is_empty() {
            let before = piece.len();
            let step = tunnel.step(&mut piece);
            taken += before - piece.len();
            match step {
                tunnel::Step::Wait => assert!(piece.is_empty()),
                tunnel::Step::Send(message) => sent.push(message),
                end => return (sent, end, taken),
            }
        }
    }
    (sent, tunnel::Step::Wait, taken)
}
