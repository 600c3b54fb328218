//! The HTTP side of a connection: what a request head asks for and what a response head grants.
//! Pure: bytes in, verdict out; deadlines and buffers belong to the connection.
//!
//! Tungstenite's own handshakes are not used: they drop what is not an upgrade without a reply, check
//! no Host, and have limits of their own.

use std::fmt::Write as _;

use httparse::Header;
use tungstenite::handshake::{client::generate_key, derive_accept_key};

use crate::{config::PeerUrl, printable::Printable};

/// Header fields of one head; more are refused with 431.
const HEADERS_MAX: usize = 64;

/// Names the node that dials, so that a node recognizes itself behind any address.
const NODE_HEADER: &str = "Wsmesh-Node";

/// A random name of a running node. A restart is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(u128);

impl NodeId {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// HTTP answers other than 101, each with the reason a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    MethodNotAllowed,
    RequestTimeout,
    UpgradeRequired,
    TooManyRequests,
    HeadTooLarge,
    Unavailable,
    VersionNotSupported,
    /// The node has dialed itself.
    LoopDetected,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::UpgradeRequired => "426 Upgrade Required",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
            Self::LoopDetected => "508 Loop Detected",
        }
    }

    /// Fields that the status calls for (RFC 9110 §15.5.6, §15.5.22; RFC 6455 §4.4).
    fn fields(self) -> &'static str {
        match self {
            Self::MethodNotAllowed => "Allow: GET\r\n",
            Self::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Self::TooManyRequests | Self::Unavailable => "Retry-After: 5\r\n",
            _ => "",
        }
    }
}

/// An answer that ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) reason: &'static str,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "answered {}: {}", self.status.line(), self.reason)
    }
}

impl Refusal {
    pub(crate) fn new(status: Status, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// The whole HTTP response; to a HEAD request it goes without its body.
    pub(crate) fn response(&self, with_body: bool, id: NodeId) -> Vec<u8> {
        let Self { status, reason } = self;
        let mut response = format!("HTTP/1.1 {}\r\n{}", status.line(), status.fields());
        if *status == Status::LoopDetected {
            let _ = write!(response, "{NODE_HEADER}: {id}\r\n");
        }
        let _ = write!(
            response,
            "Connection: {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            if *status == Status::UpgradeRequired {
                "Upgrade, close"
            } else {
                "close"
            },
            reason.len() + 1,
        );
        if with_body {
            response.push_str(reason);
            response.push('\n');
        }
        response.into_bytes()
    }
}

/// What a request head turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// More bytes are needed.
    Incomplete,
    /// A WebSocket upgrade; `head_len` bytes belong to it, what follows are frames.
    Upgrade {
        head_len: usize,
        target: String,
        response: Vec<u8>,
    },
    /// Everything else: a page, or why it is refused.
    Answer { answer: Refusal, with_body: bool },
}

/// Judges the bytes received so far (RFC 6455 §4.2.1, RFC 9112).
pub(crate) fn judge_request(bytes: &[u8], head_bytes_max: usize, id: NodeId) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let refuse = |refusal| Request::Answer {
        answer: refusal,
        with_body: true,
    };
    let head_len = match request.parse(&bytes[..bytes.len().min(head_bytes_max)]) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) if bytes.len() < head_bytes_max => {
            return Request::Incomplete;
        }
        Ok(httparse::Status::Partial) => {
            return refuse(Refusal::new(
                Status::HeadTooLarge,
                "the request head is too large",
            ));
        }
        Err(error) => return refuse(refusal_of(error)),
    };
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let fields = Fields(request.headers);
    match judge_fields(method, request.version, target, &fields, id) {
        Ok(accept) => Request::Upgrade {
            head_len,
            target: origin_form(target).to_owned(),
            response: format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .into_bytes(),
        },
        Err(refusal) => Request::Answer {
            answer: refusal,
            with_body: method != "HEAD",
        },
    }
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(
            Status::HeadTooLarge,
            "the request has too many header fields",
        ),
        httparse::Error::Version => {
            Refusal::new(Status::VersionNotSupported, "only HTTP/1.1 is spoken here")
        }
        _ => Refusal::new(Status::BadRequest, "this is not an HTTP request"),
    }
}

/// The accept key for an upgrade, or the answer for everything else.
fn judge_fields(
    method: &str,
    version: Option<u8>,
    target: &str,
    fields: &Fields<'_>,
    id: NodeId,
) -> Result<String, Refusal> {
    let bad = |reason| Refusal::new(Status::BadRequest, reason);
    let is_page = matches!(method, "GET" | "HEAD") && target == "/healthz";
    if version != Some(1) {
        return Err(Refusal::new(
            Status::VersionNotSupported,
            "only HTTP/1.1 is spoken here",
        ));
    }
    if fields.count("host") != 1 {
        return Err(bad("a request needs exactly one Host"));
    }
    if fields.count("transfer-encoding") > 0
        || fields
            .all("content-length")
            .any(|length| length.trim() != "0")
    {
        return Err(bad("a request with a body is not accepted here"));
    }
    if !fields.has_token("upgrade", "websocket") && is_page {
        return Err(Refusal::new(Status::Ok, "ok"));
    }
    if method != "GET" {
        return Err(Refusal::new(
            Status::MethodNotAllowed,
            "only GET is accepted here",
        ));
    }
    if !origin_form(target).starts_with('/') || target.contains('#') {
        return Err(bad("the request target is not a path"));
    }
    if !fields.has_token("upgrade", "websocket") || !fields.has_token("connection", "upgrade") {
        return Err(Refusal::new(
            Status::UpgradeRequired,
            "this is a WebSocket endpoint: connect with a WebSocket client, for example a ws:// URL",
        ));
    }
    if fields.only("sec-websocket-version") != Some("13") {
        return Err(Refusal::new(
            Status::UpgradeRequired,
            "only version 13 of the WebSocket protocol is spoken here",
        ));
    }
    let key = fields
        .only("sec-websocket-key")
        .filter(|key| is_websocket_key(key))
        .ok_or_else(|| bad("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    if fields.only(NODE_HEADER) == Some(&id.to_string()) {
        return Err(Refusal::new(
            Status::LoopDetected,
            "this node has dialed itself",
        ));
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// 16 bytes in base64: 22 digits of which the last carries four bits, and two of padding.
fn is_websocket_key(key: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    match key.as_bytes() {
        [digits @ .., last, b'=', b'='] if digits.len() == 21 => {
            digits.iter().all(|byte| digit(*byte)) && b"AQgw".contains(last)
        }
        _ => false,
    }
}

/// Path and query of a request target, which may be a whole URL (RFC 9112 §3.2.2).
fn origin_form(target: &str) -> &str {
    let rest = ["http://", "https://", "ws://", "wss://"]
        .iter()
        .find_map(|scheme| {
            target
                .get(..scheme.len())?
                .eq_ignore_ascii_case(scheme)
                .then(|| &target[scheme.len()..])
        });
    match rest {
        None => target,
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
    }
}

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
        let _ = write!(text, " {}", Printable(reason));
    }
    text.push_str(" instead of an upgrade");
    if let Some(location) = fields.only("location") {
        let _ = write!(
            text,
            "; redirects are not followed, dial {} instead",
            Printable(location)
        );
    }
    text
}

/// Header fields by lower-case name.
struct Fields<'a>(&'a [Header<'a>]);

impl<'a> Fields<'a> {
    /// Values of the field that are text; a value that is not counts as empty, so it fits nothing.
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let fields = self
            .0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| std::str::from_utf8(field.value).unwrap_or_default())
    }

    fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// The value of a field that stands there exactly once.
    fn only(&self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        values
            .next()
            .filter(|_| values.next().is_none())
            .map(str::trim)
    }

    /// Whether a comma-separated list, which may be spread over several fields, has the token.
    fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD_BYTES_MAX: usize = 2048;
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn id() -> NodeId {
        NodeId(7)
    }

    fn upgrade(target: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n\
             Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n\r\n"
        )
    }

    fn judge(request: &str) -> Request {
        judge_request(request.as_bytes(), HEAD_BYTES_MAX, id())
    }

    /// The status line's code of what is not an upgrade; 101 for an upgrade, 0 while incomplete.
    fn status(request: &str) -> u16 {
        match judge(request) {
            Request::Incomplete => 0,
            Request::Upgrade { .. } => 101,
            Request::Answer { answer, with_body } => {
                let response = String::from_utf8(answer.response(with_body, id())).unwrap();
                response[9..12].parse().unwrap()
            }
        }
    }

    #[test]
    fn the_example_of_the_standard_is_granted() {
        let request = upgrade("/chat?room=1");
        let Request::Upgrade {
            head_len,
            target,
            response,
        } = judge(&(request.clone() + "rest"))
        else {
            panic!("not an upgrade");
        };
        assert_eq!(head_len, request.len());
        assert_eq!(target, "/chat?room=1");
        let response = String::from_utf8(response).unwrap();
        assert!(
            response.contains(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
            "{response}"
        );
    }

    #[test]
    fn a_head_is_incomplete_until_its_last_byte() {
        let request = upgrade("/");
        for len in 0..request.len() {
            assert_eq!(status(&request[..len]), 0, "{len} bytes");
        }
        assert_eq!(status(&request), 101);
    }

    #[test]
    fn each_demand_of_the_standard_has_its_answer() {
        let request = upgrade("/");
        for (from, to, expected) in [
            ("GET", "POST", 405),
            ("GET", "get", 405),
            ("HTTP/1.1", "HTTP/1.0", 505),
            ("HTTP/1.1", "HTTP/2.0", 505),
            ("Host: localhost:8080\r\n", "", 400),
            ("Host: localhost:8080\r\n", "Host: a\r\nHost: b\r\n", 400),
            ("Upgrade: websocket\r\n", "", 426),
            ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n", 426),
            ("Upgrade: websocket\r\n", "Upgrade: h2c, WebSocket\r\n", 101),
            (
                "Connection: keep-alive, Upgrade",
                "Connection: keep-alive",
                426,
            ),
            (
                "Connection: keep-alive, Upgrade",
                "Connection: UPGRADE",
                101,
            ),
            ("Version: 13", "Version: 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            (KEY, "dGhlIHNhbXBsZSBub25jZQ=", 400),
            (KEY, "dGhlIHNhbXBsZSBub25jZR==", 400),
            (KEY, "short", 400),
            ("Sec-WebSocket-Key", "X-Key", 400),
            (
                "Sec-WebSocket-Version",
                "Content-Length: 3\r\nSec-WebSocket-Version",
                400,
            ),
            (
                "Sec-WebSocket-Version",
                "Content-Length: 0\r\nSec-WebSocket-Version",
                101,
            ),
            (
                "Sec-WebSocket-Version",
                "Transfer-Encoding: chunked\r\nSec-WebSocket-Version",
                400,
            ),
            ("GET / ", "GET * ", 400),
            ("GET / ", "GET /a#b ", 400),
            ("GET / ", "GET ws://localhost:8080/a ", 101),
            (
                "Host",
                "Wsmesh-Node: 00000000000000000000000000000007\r\nHost",
                508,
            ),
            (
                "Host",
                "Wsmesh-Node: 00000000000000000000000000000008\r\nHost",
                101,
            ),
        ] {
            assert!(request.contains(from), "{from}");
            assert_eq!(
                status(&request.replacen(from, to, 1)),
                expected,
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn what_is_not_http_is_a_bad_request() {
        for garbage in [
            "\0\x01\x02\x03\r\n\r\n",
            "hello\r\n\r\n",
            "\u{1f980}\r\n\r\n",
        ] {
            assert_eq!(status(garbage), 400, "{garbage:?}");
        }
    }

    #[test]
    fn the_head_is_bounded_in_bytes_and_fields() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(status(&long), 431);
        let complete_but_long = upgrade(&format!("/{}", "x".repeat(HEAD_BYTES_MAX)));
        assert_eq!(status(&complete_but_long), 431);
        let many = "a:1\r\n".repeat(HEADERS_MAX + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
    }

    #[test]
    fn the_health_page_answers_get_and_head() {
        let get = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(status(get), 200);
        let Request::Answer { answer, with_body } = judge(&get.replace("GET", "HEAD")) else {
            panic!("no answer");
        };
        let response = String::from_utf8(answer.response(with_body, id())).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("\r\n\r\n"));
        assert_eq!(status(&get.replace("GET", "PUT")), 405);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 426);
    }

    #[test]
    fn our_own_request_is_granted() {
        let url: PeerUrl = "ws://[::1]:8080/a?b".parse().unwrap();
        let dialing = Dialing::new(&url, NodeId(8));
        let request = String::from_utf8(dialing.request).unwrap();
        assert!(request.contains("Host: [::1]:8080\r\n"), "{request}");
        let Request::Upgrade {
            target, response, ..
        } = judge(&request)
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
    }

    proptest! {
        #[test]
        fn arbitrary_heads_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let request = judge_request(&bytes, HEAD_BYTES_MAX, id());
            prop_assert!(request != Request::Incomplete || bytes.len() < HEAD_BYTES_MAX);
            let response = judge_response(&bytes, HEAD_BYTES_MAX, ACCEPT, id());
            prop_assert!(response != Response::Incomplete || bytes.len() < HEAD_BYTES_MAX);
        }

        /// Cutting or changing a good head never panics and never grants more than it should.
        #[test]
        fn damaged_heads_are_survived(at in 0usize..200, byte in any::<u8>()) {
            let mut request = upgrade("/").into_bytes();
            let at = at % request.len();
            request[at] = byte;
            if let Request::Upgrade { head_len, .. } = judge_request(&request, HEAD_BYTES_MAX, id()) {
                prop_assert!(head_len <= request.len());
            }
        }
    }
}
