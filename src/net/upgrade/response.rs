//! What a dialed connection is asked and answers.

use std::fmt::Write as _;

use tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::{
    NODE_HEADER,
    head::{Fields, HEADERS_MAX},
};
use crate::{
    config::PeerUrl,
    net::{Kind, tls},
    node_id::NodeId,
    printable::Excerpt,
    subprotocol::SUBPROTOCOL,
};

/// What the dialed side answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// More bytes are needed.
    Incomplete,
    /// The upgrade is granted; `head_len` bytes belong to it, what follows are frames.
    Granted { head_len: usize, kind: Kind },
    /// The other side is this very node.
    Itself,
    /// An answer that a strict server may give to a subprotocol that it does not know, in words for the log.
    Declined(String),
    /// Anything else, in words for the log.
    Refused(String),
}

/// Whether a dial offers our subprotocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Subprotocol,
    Nothing,
}

/// What was asked for beside the upgrade.
#[derive(Debug)]
enum Asked {
    /// By a node.
    Node(Offer),
    /// By a client: one of these subprotocols, or none.
    Client(Vec<String>),
}

/// What the answer to an upgrade request is judged by.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The accept key that it must carry.
    accept: String,
    asked: Asked,
}

/// An upgrade request and the answer that it expects.
#[derive(Debug)]
pub(crate) struct Dialing {
    pub(crate) request: Vec<u8>,
    pub(crate) expected: Expected,
    /// The host to be proven by TLS, where it is spoken.
    pub(crate) tls_host: Option<Box<str>>,
}

impl Dialing {
    /// By the node `id`, which shows a token if it has one for whom it dials.
    pub(crate) fn new(url: &PeerUrl, offer: Offer, id: NodeId, token: Option<&str>) -> Self {
        let mut fields = format!("{NODE_HEADER}: {id}\r\n");
        if let Some(token) = token {
            let _ = write!(fields, "Authorization: Bearer {token}\r\n");
        }
        if offer == Offer::Subprotocol {
            push_subprotocols(&mut fields, SUBPROTOCOL);
        }
        Self::with(url, &fields, Asked::Node(offer))
    }

    /// By a client that is no node, with header fields of its own; each of them ends a line.
    pub(crate) fn of_client(url: &PeerUrl, subprotocols: &[String], fields: &str) -> Self {
        let mut fields = fields.to_owned();
        if !subprotocols.is_empty() {
            push_subprotocols(&mut fields, &subprotocols.join(", "));
        }
        Self::with(url, &fields, Asked::Client(subprotocols.to_vec()))
    }

    fn with(url: &PeerUrl, fields: &str, asked: Asked) -> Self {
        let key = generate_key();
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{fields}\r\n",
            url.target(),
            url.host_header(),
        );
        Self {
            request: request.into_bytes(),
            expected: Expected {
                accept: derive_accept_key(key.as_bytes()),
                asked,
            },
            tls_host: url.is_tls().then(|| url.server_name().into()),
        }
    }
}

fn push_subprotocols(fields: &mut String, names: &str) {
    fields.push_str("Sec-WebSocket-Protocol: ");
    fields.push_str(names);
    fields.push_str("\r\n");
}

/// Judges the bytes received so far (RFC 6455 §4.1).
pub(crate) fn judge_response(
    bytes: &[u8],
    head_bytes_max: usize,
    expected: &Expected,
    id: NodeId,
) -> Response {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_len = match response.parse(&bytes[..bytes.len().min(head_bytes_max)]) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) if bytes.len() < head_bytes_max => {
            return Response::Incomplete;
        }
        Ok(httparse::Status::Partial) => {
            return Response::Refused("the answer's head is too large".to_owned());
        }
        Err(_) if tls::is_tls_answer(bytes) => {
            let text = "the answer is TLS: dial wss:// instead of ws://".to_owned();
            return Response::Refused(text);
        }
        Err(_) => return Response::Refused("the answer is not HTTP".to_owned()),
    };
    let code = response.code.unwrap_or_default();
    let fields = Fields(response.headers);
    if code == 508 && fields.only(NODE_HEADER) == Some(&id.to_string()) {
        return Response::Itself;
    }
    if response.version != Some(1) {
        return Response::Refused("the answer is not HTTP/1.1".to_owned());
    }
    if code != 101 {
        let body = &bytes[head_len..];
        let text = refusal_text(code, response.reason, &fields, body);
        return match code {
            401 => {
                let option = match expected.asked {
                    Asked::Node(_) => "--peer-token-file",
                    Asked::Client(_) => "--token-file",
                };
                Response::Refused(format!("{text}; {option} names the token to show"))
            }
            // A node does not let us in as what we want to be.
            403 if fields.has_node() => Response::Refused(text),
            // It has no time, or no room: nothing that another request would change.
            408 | 429 => Response::Refused(text),
            400..=499 => Response::Declined(text),
            _ => Response::Refused(text),
        };
    }
    let fault = if !fields.has_token("upgrade", "websocket") {
        "the answer does not upgrade to websocket"
    } else if !fields.has_token("connection", "upgrade") {
        "the answer lacks Connection: Upgrade"
    } else if fields.only("sec-websocket-accept") != Some(&expected.accept) {
        "the answer has a wrong Sec-WebSocket-Accept"
    } else if fields.count("sec-websocket-extensions") > 0 {
        "the answer has an extension that was not asked for"
    } else {
        match granted_kind(&fields, &expected.asked) {
            Ok(kind) => return Response::Granted { head_len, kind },
            Err(fault) => fault,
        }
    };
    Response::Refused(fault.to_owned())
}

/// What the other side is, by what it has selected of our offer. There are servers that select whatever
/// they are offered; a neighbor says that it is a node.
fn granted_kind(fields: &Fields<'_>, asked: &Asked) -> Result<Kind, &'static str> {
    let selected = match fields.count("sec-websocket-protocol") {
        0 => None,
        _ => Some(fields.only("sec-websocket-protocol").unwrap_or_default()),
    };
    match (selected, asked) {
        (Some(SUBPROTOCOL), Asked::Node(Offer::Subprotocol)) if fields.has_node() => {
            Ok(Kind::Neighbor)
        }
        (Some(SUBPROTOCOL), Asked::Node(Offer::Subprotocol)) => Ok(Kind::Plain),
        (Some(one), Asked::Client(asked)) if asked.iter().any(|asked| asked == one) => {
            Ok(Kind::Plain)
        }
        (Some(_), _) => Err("the answer has a subprotocol that was not asked for"),
        (None, Asked::Node(Offer::Nothing)) if fields.has_node() => {
            Err("it is a node, to be dialed with our subprotocol")
        }
        (None, _) => Ok(Kind::Plain),
    }
}

/// What to tell a person about an answer that is no upgrade.
fn refusal_text(code: u16, reason: Option<&str>, fields: &Fields<'_>, body: &[u8]) -> String {
    let mut text = format!("answered {code}");
    if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
        let _ = write!(text, " {}", Excerpt(reason));
    }
    text.push_str(" instead of an upgrade");
    if let Some(location) = fields.only("location") {
        let _ = write!(
            text,
            "; redirects are not followed, dial {} instead",
            Excerpt(location)
        );
    }
    // What came with the head of a text for people says more than a code.
    let line =
        String::from_utf8_lossy(body.split(|byte| *byte == b'\n').next().unwrap_or_default());
    let is_text = fields
        .only("content-type")
        .is_some_and(|kind| kind.starts_with("text/plain"));
    if is_text && !line.trim().is_empty() {
        let _ = write!(text, ": {}", Excerpt(line.trim()));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::upgrade::{Form, Request, judge_request};
    use crate::{config::AccessConfig, net::access::Access};

    const HEAD_BYTES_MAX: usize = 2048;
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn open() -> Access {
        Access::unread(AccessConfig::default(), false)
    }

    fn id() -> NodeId {
        NodeId(7)
    }

    fn expected(offer: Offer) -> Expected {
        asking(Asked::Node(offer))
    }

    fn asking(asked: Asked) -> Expected {
        let accept = ACCEPT.to_owned();
        Expected { accept, asked }
    }

    /// The standard's example of a grant.
    fn grant() -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
    }

    /// What we make of it with further header fields.
    fn judge_grant(fields: &str, offer: Offer) -> Result<Kind, String> {
        judge_grant_of(fields, Asked::Node(offer))
    }

    fn judge_grant_of(fields: &str, asked: Asked) -> Result<Kind, String> {
        let response = grant().replacen("Upgrade:", &format!("{fields}Upgrade:"), 1);
        match judge_response(response.as_bytes(), HEAD_BYTES_MAX, &asking(asked), id()) {
            Response::Granted { kind, .. } => Ok(kind),
            Response::Refused(text) => Err(text),
            other => panic!("{fields}: {other:?}"),
        }
    }

    const NODE: &str = "Wsmesh-Node: 00000000000000000000000000000008\r\n";
    const SELECTED: &str = "Sec-WebSocket-Protocol: wsmesh.v1\r\n";

    #[test]
    fn a_neighbor_selects_our_subprotocol_and_names_itself() {
        let offer = Offer::Subprotocol;
        let both = format!("{SELECTED}{NODE}");
        assert_eq!(judge_grant(&both, offer), Ok(Kind::Neighbor));
        assert_eq!(judge_grant("", offer), Ok(Kind::Plain));
        assert_eq!(judge_grant(NODE, offer), Ok(Kind::Plain));
        assert_eq!(judge_grant(SELECTED, offer), Ok(Kind::Plain), "an echo");
        let bad_name = format!("{SELECTED}Wsmesh-Node: 8\r\n");
        assert_eq!(judge_grant(&bad_name, offer), Ok(Kind::Plain));
    }

    #[test]
    fn a_subprotocol_that_was_not_offered_is_refused() {
        let twice = format!("{NODE}{SELECTED}{SELECTED}");
        for (fields, offer) in [
            ("Sec-WebSocket-Protocol: mqtt\r\n", Offer::Subprotocol),
            ("Sec-WebSocket-Protocol: \r\n", Offer::Subprotocol),
            ("Sec-WebSocket-Protocol: WSMESH.v1\r\n", Offer::Subprotocol),
            (
                "Sec-WebSocket-Protocol: mqtt, wsmesh.v1\r\n",
                Offer::Subprotocol,
            ),
            (&twice, Offer::Subprotocol),
            (SELECTED, Offer::Nothing),
            ("Sec-WebSocket-Protocol: mqtt\r\n", Offer::Nothing),
        ] {
            let fault = judge_grant(fields, offer).expect_err(fields);
            assert!(
                fault.contains("a subprotocol that was not asked for"),
                "{fault}"
            );
        }
    }

    #[test]
    fn a_node_that_was_dialed_without_the_offer_is_dialed_anew() {
        let fault = judge_grant(NODE, Offer::Nothing).expect_err("a node");
        assert!(fault.contains("it is a node"), "{fault}");
        assert_eq!(judge_grant("", Offer::Nothing), Ok(Kind::Plain));
    }

    #[test]
    fn a_refusal_may_be_for_the_subprotocol() {
        for (code, is_declined) in [
            (400, true),
            (401, false),
            (403, true),
            (426, true),
            (499, true),
            (408, false),
            (429, false),
            (200, false),
            (301, false),
            (503, false),
            (508, false),
        ] {
            let response = format!("HTTP/1.1 {code} X\r\n\r\n");
            let expected = expected(Offer::Subprotocol);
            let response = judge_response(response.as_bytes(), HEAD_BYTES_MAX, &expected, id());
            let found = matches!(response, Response::Declined(_));
            assert_eq!(found, is_declined, "{code}: {response:?}");
        }
    }

    #[test]
    fn our_own_request_is_granted() {
        let url: PeerUrl = "ws://[::1]:8080/a?b".parse().unwrap();
        let dialing = Dialing::new(&url, Offer::Subprotocol, NodeId(8), None);
        let request = String::from_utf8(dialing.request).unwrap();
        assert!(request.contains("Host: [::1]:8080\r\n"), "{request}");
        let Request::Upgrade {
            channel,
            kind,
            response,
            ..
        } = judge_request(request.as_bytes(), HEAD_BYTES_MAX, id(), &open())
        else {
            panic!("not an upgrade: {request}");
        };
        assert_eq!((channel.as_str(), kind), ("/a", Kind::Neighbor));
        assert_eq!(
            judge_response(&response, HEAD_BYTES_MAX, &dialing.expected, NodeId(8)),
            Response::Granted {
                head_len: response.len(),
                kind: Kind::Neighbor,
            }
        );
    }

    #[test]
    fn a_client_is_plain_wherever_it_goes_and_gets_one_of_the_subprotocols_that_it_asked_for() {
        let asked = || Asked::Client(vec!["mqtt".to_owned(), "wamp".to_owned()]);
        for (fields, is_granted) in [
            ("", true),
            (NODE, true),
            ("Sec-WebSocket-Protocol: wamp\r\n", true),
            (SELECTED, false),
            ("Sec-WebSocket-Protocol: mqtt, wamp\r\n", false),
        ] {
            let granted = judge_grant_of(fields, asked());
            assert_eq!(granted.is_ok(), is_granted, "{fields}: {granted:?}");
            assert!(granted.is_err() || granted == Ok(Kind::Plain));
        }
        let nothing = Asked::Client(Vec::new());
        assert!(judge_grant_of("Sec-WebSocket-Protocol: wamp\r\n", nothing).is_err());

        let url: PeerUrl = "ws://a/b".parse().unwrap();
        let names = ["mqtt".to_owned(), "wamp".to_owned()];
        let dialing = Dialing::of_client(&url, &names, "X-Y: z\r\n");
        let request = String::from_utf8(dialing.request).unwrap();
        for line in ["X-Y: z", "Sec-WebSocket-Protocol: mqtt, wamp", "Host: a"] {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
        }
        assert!(!request.contains(NODE_HEADER) && request.ends_with("wamp\r\n\r\n"));
    }

    #[test]
    fn a_request_without_the_offer_names_no_subprotocol() {
        let url: PeerUrl = "ws://a".parse().unwrap();
        let dialing = Dialing::new(&url, Offer::Nothing, NodeId(8), None);
        let request = String::from_utf8(dialing.request).unwrap();
        assert!(!request.contains("Protocol"), "{request}");
        assert!(request.ends_with("\r\n\r\n") && !request.contains("\r\n\r\n\r\n"));
    }

    #[test]
    fn we_recognize_ourselves() {
        let url: PeerUrl = "ws://localhost:8080".parse().unwrap();
        let dialing = Dialing::new(&url, Offer::Subprotocol, id(), None);
        let request = judge_request(&dialing.request, HEAD_BYTES_MAX, id(), &open());
        let Request::Answer { answer, .. } = request else {
            panic!("granted")
        };
        let response = answer.response(Form::Whole, id());
        let judge = |id| judge_response(&response, HEAD_BYTES_MAX, &dialing.expected, id);
        assert_eq!(judge(id()), Response::Itself);
        assert!(
            matches!(judge(NodeId(8)), Response::Refused(_)),
            "another node's loop"
        );
    }

    #[test]
    fn an_answer_that_is_no_upgrade_is_told_in_words() {
        let granted = grant();
        let expected = expected(Offer::Subprotocol);
        let refused = |from: &str, to: &str| {
            let response = granted.replacen(from, to, 1);
            match judge_response(response.as_bytes(), HEAD_BYTES_MAX, &expected, id()) {
                Response::Refused(text) => text,
                other => panic!("{from} -> {to}: {other:?}"),
            }
        };
        assert_eq!(
            refused("101 Switching Protocols", "200 OK"),
            "answered 200 OK instead of an upgrade"
        );
        let moved = refused(
            "101 Switching Protocols",
            "301 Moved\r\nLocation: ws://b/\u{9b}2J",
        );
        assert!(moved.ends_with("dial ws://b/\\u{9b}2J instead"), "{moved}");
        assert!(refused(ACCEPT, "AAAA").contains("Sec-WebSocket-Accept"));
        assert!(refused("Upgrade: websocket", "Upgrade: x").contains("upgrade"));
        assert!(refused("Connection: Upgrade", "Connection: x").contains("Connection"));
        assert!(
            refused("Upgrade:", "Sec-WebSocket-Extensions: x\r\nUpgrade:").contains("extension")
        );
        assert!(
            refused("Upgrade:", "Sec-WebSocket-Protocol: x\r\nUpgrade:").contains("subprotocol")
        );
        assert!(refused("HTTP/1.1", "SSH-2.0").contains("not HTTP"));
        assert!(refused("HTTP/1.1", "HTTP/1.0").contains("not HTTP/1.1"));
    }

    #[test]
    fn the_first_line_of_an_answer_for_people_is_shown() {
        let refused = |response: &str| {
            let expected = expected(Offer::Nothing);
            match judge_response(response.as_bytes(), HEAD_BYTES_MAX, &expected, id()) {
                Response::Refused(text) => text,
                other => panic!("{response}: {other:?}"),
            }
        };
        let head = "HTTP/1.1 503 Busy\r\nContent-Type: text/";
        let bare = "answered 503 Busy instead of an upgrade";
        for (rest, shown) in [
            ("plain\r\n\r\n \u{1b}no room \r\nlater", r": \u{1b}no room"),
            ("plain; charset=utf-8\r\n\r\nno room", ": no room"),
            ("plain\r\n\r\n\nno room", ""),
            ("plain\r\n\r\n", ""),
            ("html\r\n\r\n<p>no room", ""),
        ] {
            assert_eq!(refused(&format!("{head}{rest}")), format!("{bare}{shown}"));
        }
    }

    #[test]
    fn an_answer_in_tls_is_told_as_such() {
        let expected = expected(Offer::Subprotocol);
        for answer in [&[0x15, 3, 1, 0, 2, 2, 70][..], &[0x16, 3]] {
            let response = judge_response(answer, HEAD_BYTES_MAX, &expected, id());
            assert!(
                matches!(&response, Response::Refused(text) if text.contains("dial wss://")),
                "{response:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_heads_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let expected = expected(Offer::Subprotocol);
            let response = judge_response(&bytes, HEAD_BYTES_MAX, &expected, id());
            prop_assert!(response != Response::Incomplete || bytes.len() < HEAD_BYTES_MAX);
        }

        /// Only our subprotocol, byte by byte, makes a neighbor.
        #[test]
        fn a_damaged_selection_makes_no_neighbor(at in 0..SUBPROTOCOL.len(), byte in any::<u8>()) {
            let damaged = format!("{NODE}Sec-WebSocket-Protocol: ");
            let response = grant().replacen("Upgrade:", &format!("{damaged}{SUBPROTOCOL}\r\nUpgrade:"), 1);
            let at = response.find(&damaged).expect("it stands there") + damaged.len() + at;
            let mut response = response.into_bytes();
            let is_damaged = std::mem::replace(&mut response[at], byte) != byte;
            let response = judge_response(&response, HEAD_BYTES_MAX, &expected(Offer::Subprotocol), id());
            let is_neighbor = matches!(response, Response::Granted { kind: Kind::Neighbor, .. });
            prop_assert_eq!(is_neighbor, !is_damaged);
        }
    }
}
