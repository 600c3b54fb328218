//! What an accepted connection asks for.

use std::{borrow::Cow, fmt::Write as _};

use tungstenite::handshake::derive_accept_key;

use super::{
    NODE_HEADER, Refusal, Status,
    claim::{claim_of, kind_of, selection},
    head::{Fields, HEADERS_MAX},
    refusal::NO_TLS,
};
use crate::{
    config::limits::CHANNEL_BYTES_MAX,
    net::{
        Kind,
        access::{Access, Rights},
        tls,
    },
    node_id::NodeId,
    pages::Page,
};

const VERSION_REFUSAL: Refusal = Refusal {
    status: Status::VersionNotSupported,
    reason: "only HTTP/1.1 is spoken here",
    detail: String::new(),
};

/// What a request head turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// More bytes are needed.
    Incomplete,
    /// A WebSocket upgrade; `head_len` bytes belong to it, what follows are frames.
    Upgrade {
        head_len: usize,
        /// The path that was asked for.
        channel: String,
        kind: Kind,
        rights: Rights,
        response: Vec<u8>,
    },
    /// A page of the status listener, which the node makes.
    Page { page: Page, form: Form },
    /// Everything else, and why it is refused.
    Answer { answer: Refusal, form: Form },
}

/// How much of an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// HEAD: all but the body.
    Head,
}

impl Form {
    pub(super) fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            _ => Self::Whole,
        }
    }
}

/// A request head that is one, with what it asks for.
pub(super) struct Asked<'a> {
    pub(super) head_len: usize,
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: Cow<'a, str>,
    pub(super) version: Option<u8>,
    pub(super) fields: Fields<'a>,
}

/// Judges the bytes received so far (RFC 6455 §4.2.1, RFC 9112).
pub(crate) fn judge_request(
    bytes: &[u8],
    head_bytes_max: usize,
    id: NodeId,
    access: &Access,
) -> Request {
    read_head(bytes, head_bytes_max, |asked| {
        let kind = kind_of(&asked.fields);
        judge_http(asked.version, &asked.fields).and_then(|()| upgrade(asked, kind, id, access))
    })
}

/// Reads a request head and has it judged when it is whole.
pub(super) fn read_head(
    bytes: &[u8],
    head_bytes_max: usize,
    judge: impl FnOnce(&Asked<'_>) -> Result<Request, Refusal>,
) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let refuse = |refusal| Request::Answer {
        answer: refusal,
        form: Form::Whole,
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
        Err(_) if tls::is_tls(bytes) => return refuse(NO_TLS),
        Err(error) => return refuse(refusal_of(error)),
    };
    let asked = Asked {
        head_len,
        method: request.method.unwrap_or_default(),
        target: origin_form(request.path.unwrap_or_default()),
        version: request.version,
        fields: Fields(request.headers),
    };
    judge(&asked).unwrap_or_else(|answer| Request::Answer {
        answer,
        form: Form::of(asked.method),
    })
}

/// Grants an upgrade, or says why not.
pub(super) fn upgrade(
    asked: &Asked<'_>,
    kind: Kind,
    id: NodeId,
    access: &Access,
) -> Result<Request, Refusal> {
    let Asked { target, fields, .. } = asked;
    let claim = claim_of(target, fields, kind);
    let accept = judge_upgrade(asked.method, target, fields, id)?;
    let rights = access.judge(claim)?;
    Ok(Request::Upgrade {
        head_len: asked.head_len,
        channel: claim.channel.to_owned(),
        kind,
        rights,
        response: grant(&accept, kind, fields, id).into_bytes(),
    })
}

/// As many as an answer has that selects a subprotocol and names a node.
const GRANT_BYTES: usize = 256;

/// A node hears that we are one, even if it did not offer our subprotocol: it will the next time.
fn grant(accept: &str, kind: Kind, fields: &Fields<'_>, id: NodeId) -> String {
    let mut response = String::with_capacity(GRANT_BYTES);
    response.push_str(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: ",
    );
    response.push_str(accept);
    response.push_str("\r\n");
    if let Some(selected) = selection(kind, fields) {
        let _ = write!(response, "Sec-WebSocket-Protocol: {selected}\r\n");
    }
    if kind == Kind::Neighbor || fields.has_node() {
        let _ = write!(response, "{NODE_HEADER}: {id}\r\n");
    }
    response.push_str("\r\n");
    response
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(
            Status::HeadTooLarge,
            "the request has too many header fields",
        ),
        httparse::Error::Version => VERSION_REFUSAL,
        _ => Refusal::new(Status::BadRequest, "this is not an HTTP request"),
    }
}

/// What HTTP demands of any request, and that it has no body, which nobody here would read.
pub(super) fn judge_http(version: Option<u8>, fields: &Fields<'_>) -> Result<(), Refusal> {
    let bad = |reason| Err(Refusal::new(Status::BadRequest, reason));
    if version != Some(1) {
        return Err(VERSION_REFUSAL);
    }
    let is_host = |host: &str| !host.is_empty() && !host.contains([' ', '\t', '/', '@']);
    if !fields.only("host").is_some_and(is_host) {
        return bad("a request needs exactly one Host");
    }
    let has_length = fields.all("content-length").any(|length| length != "0");
    if has_length || fields.count("transfer-encoding") > 0 {
        return bad("a request with a body is not accepted here");
    }
    Ok(())
}

/// The accept key for an upgrade, or the answer for everything else.
fn judge_upgrade(
    method: &str,
    target: &str,
    fields: &Fields<'_>,
    id: NodeId,
) -> Result<String, Refusal> {
    let refuse = |status, reason| Err(Refusal::new(status, reason));
    let is_upgrade = fields.has_token("upgrade", "websocket");
    let is_health = target == "/healthz" || target.starts_with("/healthz?");
    if !is_upgrade && is_health && matches!(method, "GET" | "HEAD") {
        return refuse(Status::Ok, "ok");
    }
    if method != "GET" {
        return refuse(Status::MethodNotAllowed, "only GET is accepted here");
    }
    if !target.starts_with('/') || target.contains('#') {
        return refuse(Status::BadRequest, "the request target is not a path");
    }
    if target.find('?').unwrap_or(target.len()) > CHANNEL_BYTES_MAX {
        return refuse(
            Status::UriTooLong,
            "the path is too long: it is the channel, and that has 255 bytes at most",
        );
    }
    if !is_upgrade || !fields.has_token("connection", "upgrade") {
        return refuse(
            Status::UpgradeRequired,
            "this is a WebSocket endpoint: connect with a WebSocket client, for example a ws:// URL",
        );
    }
    if fields.only("sec-websocket-version") != Some("13") {
        return refuse(
            Status::UpgradeRequired,
            "only version 13 of the WebSocket protocol is spoken here",
        );
    }
    let key = fields.only("sec-websocket-key");
    let Some(key) = key.filter(|key| is_websocket_key(key)) else {
        return refuse(
            Status::BadRequest,
            "Sec-WebSocket-Key must be 16 bytes in base64",
        );
    };
    let asks = fields.only(NODE_HEADER);
    if asks.is_some_and(|asks| asks == id.to_string()) {
        return refuse(Status::LoopDetected, "this node has dialed itself");
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
fn origin_form(target: &str) -> Cow<'_, str> {
    let rest = ["http://", "https://", "ws://", "wss://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        });
    let Some(rest) = rest else {
        return Cow::Borrowed(target);
    };
    match rest.find(['/', '?']) {
        None => Cow::Borrowed("/"),
        Some(at) if rest[at..].starts_with('?') => Cow::Owned(format!("/{}", &rest[at..])),
        Some(at) => Cow::Borrowed(&rest[at..]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::AccessConfig;

    const HEAD_BYTES_MAX: usize = 2048;
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn id() -> NodeId {
        NodeId(7)
    }

    /// Nobody needs a token.
    fn open() -> Access {
        Access::unread(AccessConfig::default(), false)
    }

    fn upgrade(target: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n\
             Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n\r\n"
        )
    }

    fn judge(request: &str) -> Request {
        judge_request(request.as_bytes(), HEAD_BYTES_MAX, id(), &open())
    }

    /// The status line's code of what is not an upgrade; 101 for an upgrade, 0 while incomplete.
    fn status(request: &str) -> u16 {
        match judge(request) {
            Request::Incomplete => 0,
            Request::Upgrade { .. } => 101,
            Request::Page { page, .. } => panic!("{page:?}"),
            Request::Answer { answer, form } => {
                let response = String::from_utf8(answer.response(form, id())).unwrap();
                response[9..12].parse().unwrap()
            }
        }
    }

    #[test]
    fn tls_hears_that_none_is_spoken_from_its_first_byte_on() {
        for hello in [&[0x16][..], &[0x16, 3, 1, 2, 0, 1, 0]] {
            let request = judge_request(hello, HEAD_BYTES_MAX, id(), &open());
            let Request::Answer { answer, .. } = request else {
                panic!("{request:?}");
            };
            assert_eq!(answer, NO_TLS);
        }
    }

    #[test]
    fn the_example_of_the_standard_is_granted() {
        let request = upgrade("/chat?room=1");
        let Request::Upgrade {
            head_len,
            channel,
            kind,
            rights,
            response,
        } = judge(&(request.clone() + "rest"))
        else {
            panic!("not an upgrade");
        };
        assert_eq!(head_len, request.len());
        assert_eq!((channel.as_str(), kind), ("/chat", Kind::Plain));
        assert_eq!(rights, Rights::ALL);
        let response = String::from_utf8(response).unwrap();
        assert!(
            response.contains(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
            "{response}"
        );
        assert!(!response.contains("Protocol:") && !response.contains(NODE_HEADER));
    }

    /// What we grant to a request with further header fields.
    fn granted(fields: &str) -> (Kind, String) {
        let request = upgrade("/").replacen("Upgrade:", &format!("{fields}Upgrade:"), 1);
        match judge(&request) {
            Request::Upgrade { kind, response, .. } => (kind, String::from_utf8(response).unwrap()),
            other => panic!("{fields}: {other:?}"),
        }
    }

    #[test]
    fn who_offers_our_subprotocol_is_a_neighbor() {
        for fields in [
            "Sec-WebSocket-Protocol: wsmesh.v1\r\n",
            "sec-websocket-protocol:\twsmesh.v1 \r\n",
            "Sec-WebSocket-Protocol: mqtt, wsmesh.v1\r\n",
            "Sec-WebSocket-Protocol: wsmesh.v2,,wsmesh.v1,mqtt\r\n",
            "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: a, wsmesh.v1\r\n",
        ] {
            let (kind, response) = granted(fields);
            assert_eq!(kind, Kind::Neighbor, "{fields}");
            let selected = response.matches("Sec-WebSocket-Protocol: wsmesh.v1\r\n");
            assert_eq!(selected.count(), 1, "{response}");
            assert!(response.contains(&format!("{NODE_HEADER}: {}\r\n", id())));
        }
    }

    #[test]
    fn who_offers_something_else_is_plain() {
        for fields in [
            "Sec-WebSocket-Protocol: mqtt\r\n",
            "Sec-WebSocket-Protocol: WSMESH.V1\r\n",
            "Sec-WebSocket-Protocol: wsmesh.v1.1, xwsmesh.v1, wsmesh.v1;q=1\r\n",
            "Sec-WebSocket-Protocol: wsmesh v1\r\n",
            "Sec-WebSocket-Protocol: \r\n",
            "Sec-WebSocket-Protocol: \u{ff},wsmesh.v1\u{ff}\r\n",
            "X-Protocol: wsmesh.v1\r\n",
        ] {
            let (kind, response) = granted(fields);
            assert_eq!(kind, Kind::Plain, "{fields}");
            assert!(!response.contains("Protocol:"), "{response}");
            assert!(!response.contains(NODE_HEADER), "{response}");
        }
    }

    #[test]
    fn a_node_hears_that_we_are_one_whatever_it_offers() {
        let (kind, response) = granted("Wsmesh-Node: 00000000000000000000000000000008\r\n");
        assert_eq!(kind, Kind::Plain);
        assert!(!response.contains("Protocol:"), "{response}");
        assert!(response.contains(&format!("{NODE_HEADER}: {}\r\n", id())));
    }

    #[test]
    fn a_path_is_no_longer_than_a_channel() {
        let target = |bytes| format!("/{}?{}", "x".repeat(bytes - 1), "y".repeat(300));
        assert_eq!(status(&upgrade(&target(CHANNEL_BYTES_MAX))), 101);
        assert_eq!(status(&upgrade(&target(CHANNEL_BYTES_MAX + 1))), 414);
        let Request::Answer { answer, .. } = judge(&upgrade(&target(CHANNEL_BYTES_MAX + 1))) else {
            panic!("no answer");
        };
        assert!(answer.reason.contains(&CHANNEL_BYTES_MAX.to_string()));
    }

    #[test]
    fn a_whole_url_as_target_counts_as_its_path_and_query() {
        for (url, expected) in [
            ("http://h", "/"),
            ("ws://h/a?b", "/a?b"),
            ("WS://h?q=/admin", "/?q=/admin"),
            ("/plain?x", "/plain?x"),
        ] {
            assert_eq!(origin_form(url), expected);
        }
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
            ("GET / ", "GET ws://localhost:8080 ", 101),
            ("localhost:8080", "", 400),
            ("localhost:8080", "a b", 400),
            ("Upgrade: websocket", "Upgrade: \u{a0}websocket", 426),
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
        assert_eq!(status(&get.replace("healthz", "healthz?full")), 200);
        let Request::Answer { answer, form } = judge(&get.replace("GET", "HEAD")) else {
            panic!("no answer");
        };
        let response = String::from_utf8(answer.response(form, id())).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("\r\n\r\n"));
        assert_eq!(status(&get.replace("GET", "PUT")), 405);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 426);
    }

    proptest! {
        #[test]
        fn arbitrary_heads_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let request = judge_request(&bytes, HEAD_BYTES_MAX, id(), &open());
            prop_assert!(request != Request::Incomplete || bytes.len() < HEAD_BYTES_MAX);
        }

        /// Cutting or changing a good head never panics and never grants more than it should.
        #[test]
        fn damaged_heads_are_survived(at in 0usize..200, byte in any::<u8>()) {
            let mut request = upgrade("/").into_bytes();
            let at = at % request.len();
            request[at] = byte;
            if let Request::Upgrade { head_len, .. } = judge_request(&request, HEAD_BYTES_MAX, id(), &open()) {
                prop_assert!(head_len <= request.len());
            }
        }
    }
}
