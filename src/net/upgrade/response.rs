//! What a dialed connection is asked and answers.

use std::fmt::Write as _;

use tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::{
    NODE_HEADER,
    head::{Fields, HEADERS_MAX},
};
use crate::{config::PeerUrl, node_id::NodeId, printable::Excerpt};

/// What the dialed side answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// More bytes are needed.
    Incomplete,
    /// The upgrade is granted; `head_len` bytes belong to it, what follows are frames.
    Granted { head_len: usize },
    /// The other side is this very node.
    Itself,
    /// Anything else, in words for the log.
    Refused(String),
}

/// An upgrade request and the accept key that its answer must carry.
#[derive(Debug)]
pub(crate) struct Dialing {
    pub(crate) request: Vec<u8>,
    pub(crate) accept: String,
}

impl Dialing {
    pub(crate) fn new(url: &PeerUrl, id: NodeId) -> Self {
        let key = generate_key();
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{NODE_HEADER}: {id}\r\n\r\n",
            url.target(),
            url.host_header(),
        );
        Self {
            request: request.into_bytes(),
            accept: derive_accept_key(key.as_bytes()),
        }
    }
}

/// Judges the bytes received so far (RFC 6455 §4.1).
pub(crate) fn judge_response(
    bytes: &[u8],
    head_bytes_max: usize,
    accept: &str,
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
        return Response::Refused(refusal_text(code, response.reason, &fields));
    }
    let fault = if !fields.has_token("upgrade", "websocket") {
        "the answer does not upgrade to websocket"
    } else if !fields.has_token("connection", "upgrade") {
        "the answer lacks Connection: Upgrade"
    } else if fields.only("sec-websocket-accept") != Some(accept) {
        "the answer has a wrong Sec-WebSocket-Accept"
    } else if fields.count("sec-websocket-extensions") > 0 {
        "the answer has an extension that was not asked for"
    } else if fields.count("sec-websocket-protocol") > 0 {
        "the answer has a subprotocol that was not asked for"
    } else {
        return Response::Granted { head_len };
    };
    Response::Refused(fault.to_owned())
}

/// What to tell a person about an answer that is no upgrade.
fn refusal_text(code: u16, reason: Option<&str>, fields: &Fields<'_>) -> String {
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
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::upgrade::{Request, judge_request};

    const HEAD_BYTES_MAX: usize = 2048;
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn id() -> NodeId {
        NodeId(7)
    }

    #[test]
    fn our_own_request_is_granted() {
        let url: PeerUrl = "ws://[::1]:8080/a?b".parse().unwrap();
        let dialing = Dialing::new(&url, NodeId(8));
        let request = String::from_utf8(dialing.request).unwrap();
        assert!(request.contains("Host: [::1]:8080\r\n"), "{request}");
        let Request::Upgrade {
            target, response, ..
        } = judge_request(request.as_bytes(), HEAD_BYTES_MAX, id())
        else {
            panic!("not an upgrade: {request}");
        };
        assert_eq!(target, "/a?b");
        assert_eq!(
            judge_response(&response, HEAD_BYTES_MAX, &dialing.accept, id()),
            Response::Granted {
                head_len: response.len()
            }
        );
    }

    #[test]
    fn we_recognize_ourselves() {
        let url: PeerUrl = "ws://localhost:8080".parse().unwrap();
        let dialing = Dialing::new(&url, id());
        let request = judge_request(&dialing.request, HEAD_BYTES_MAX, id());
        let Request::Answer { answer, .. } = request else {
            panic!("granted")
        };
        let response = answer.response(true, id());
        let judge = |id| judge_response(&response, HEAD_BYTES_MAX, &dialing.accept, id);
        assert_eq!(judge(id()), Response::Itself);
        assert!(
            matches!(judge(NodeId(8)), Response::Refused(_)),
            "another node's loop"
        );
    }

    #[test]
    fn an_answer_that_is_no_upgrade_is_told_in_words() {
        let granted = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        );
        let refused = |from: &str, to: &str| {
            let response = granted.replacen(from, to, 1);
            match judge_response(response.as_bytes(), HEAD_BYTES_MAX, ACCEPT, id()) {
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

    proptest! {
        #[test]
        fn arbitrary_heads_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let response = judge_response(&bytes, HEAD_BYTES_MAX, ACCEPT, id());
            prop_assert!(response != Response::Incomplete || bytes.len() < HEAD_BYTES_MAX);
        }
    }
}
