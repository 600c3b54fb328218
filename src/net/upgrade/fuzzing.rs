//! Heads of requests and of answers, fed with arbitrary bytes.

use tungstenite::handshake::derive_accept_key;

use super::{
    Dialing, Form, Offer, Refusal, Request, Response, gather, head::HEADERS_MAX, judge_request,
    judge_response,
};
use crate::{
    config::{AccessConfig, PeerUrl, limits::CHANNEL_BYTES_MAX},
    fuzzing::{assert_printable, pieces, split_choice},
    net::{
        Kind,
        access::{Access, fuzzing::guarded},
    },
    node_id::NodeId,
};

/// Small, so that a short input can be too large.
const HEAD_BYTES_MAX: usize = 1024;
const ID: NodeId = NodeId(7);

fn open() -> Access {
    Access::unread(AccessConfig::default(), false)
}

/// A request: what is granted ends where its head does, however it is cut; what is answered is one HTTP answer with
/// nothing in it that the other side has chosen.
pub(crate) fn feed_request(bytes: &[u8]) {
    let (choice, bytes) = split_choice(bytes);
    let access = match choice % 2 {
        0 => open(),
        _ => guarded(),
    };
    let judge = |bytes: &[u8]| judge_request(bytes, HEAD_BYTES_MAX, ID, &access);
    let whole = judge(bytes);
    let is_incomplete = |request: &Request| *request == Request::Incomplete;
    let (cut, taken) = in_pieces(bytes, choice, judge, is_incomplete);
    match whole {
        Request::Incomplete => {
            assert!(bytes.len() < HEAD_BYTES_MAX && is_incomplete(&cut));
        }
        Request::Upgrade {
            head_len,
            ref channel,
            kind,
            ref response,
            ..
        } => {
            assert!(head_len <= HEAD_BYTES_MAX);
            assert!(channel.starts_with('/') && channel.len() <= CHANNEL_BYTES_MAX);
            assert!(!channel.contains(['?', '#']));
            check_grant(response, kind);
            assert_eq!(
                judge(&bytes[..head_len]),
                whole,
                "what follows the head has decided"
            );
            assert!(is_incomplete(&judge(&bytes[..head_len - 1])));
            assert!((head_len..=bytes.len()).contains(&taken));
            assert_eq!(cut, whole, "the cuts have decided");
        }
        Request::Page { .. } => panic!("peers are shown no page"),
        Request::Answer { ref answer, form } => {
            assert!(
                !matches!(cut, Request::Upgrade { .. }),
                "the cuts have decided"
            );
            check_answer(answer, form);
        }
    }
}

/// What is decided in the end if the bytes come in pieces, as a connection gets them, and after how many bytes.
fn in_pieces<T>(
    bytes: &[u8],
    choice: u8,
    judge: impl Fn(&[u8]) -> T,
    is_incomplete: impl Fn(&T) -> bool,
) -> (T, usize) {
    let (mut head, mut taken) = (Vec::new(), 0);
    for piece in pieces(bytes, choice / 2) {
        taken += piece.len();
        let Some(gathered) = gather(&mut head, piece, HEAD_BYTES_MAX) else {
            assert!(head.len() < HEAD_BYTES_MAX);
            continue;
        };
        let verdict = judge(&gathered);
        if !is_incomplete(&verdict) {
            return (verdict, taken);
        }
        head = gathered.into_owned();
    }
    (judge(b""), taken)
}

/// Our own fields, each once, and nothing behind them.
fn check_grant(response: &[u8], kind: Kind) {
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut parsed = httparse::Response::new(&mut headers);
    let status = parsed.parse(response);
    assert_eq!(status, Ok(httparse::Status::Complete(response.len())));
    assert_eq!(parsed.code, Some(101));
    let mut names: Vec<_> = parsed.headers.iter().map(|field| field.name).collect();
    names.sort_unstable();
    let all = [
        "Connection",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
        "Upgrade",
        "Wsmesh-Node",
    ];
    assert!(
        names.windows(2).all(|pair| pair[0] < pair[1])
            && names.iter().all(|name| all.contains(name))
    );
    let has = |name| names.contains(&name);
    assert!(has("Connection") && has("Sec-WebSocket-Accept") && has("Upgrade"));
    assert!(kind == Kind::Plain || has("Wsmesh-Node") && has("Sec-WebSocket-Protocol"));
}

/// One whole HTTP answer, whose body is as long as it says.
fn check_answer(answer: &Refusal, form: Form) {
    assert_printable(&answer.to_string());
    let response = answer.response(form, ID);
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_len)) = parsed.parse(&response) else {
        panic!("it is no answer");
    };
    let length = parsed
        .headers
        .iter()
        .find(|field| field.name == "Content-Length");
    let length = std::str::from_utf8(length.expect("it has a length").value).expect("it is text");
    let body_len = if form == Form::Whole {
        response.len() - head_len
    } else {
        answer.reason.len() + 1
    };
    assert_eq!(length.parse(), Ok(body_len));
    assert!(form == Form::Whole || response.len() == head_len);
}

/// An answer, in which ACCEPT stands for the key that we expect: what is granted ends where its head does, however it
/// is cut, and nobody becomes a neighbor who was not asked to.
pub(crate) fn feed_answer(bytes: &[u8]) {
    let (choice, bytes) = split_choice(bytes);
    let url: PeerUrl = "ws://a/c".parse().expect("it is a URL");
    let dialing = match choice % 3 {
        0 => Dialing::new(&url, Offer::Subprotocol, ID, None),
        1 => Dialing::new(&url, Offer::Nothing, ID, Some("0123456789abcdef-all")),
        _ => Dialing::of_client(&url, &["mqtt".to_owned(), "wamp".to_owned()], "X-Y: z\r\n"),
    };
    check_own(&dialing, choice % 3 == 0);
    let accept = derive_accept_key(key_of(&dialing.request));
    let bytes = with_key(bytes, accept.as_bytes());
    let judge = |bytes: &[u8]| judge_response(bytes, HEAD_BYTES_MAX, &dialing.expected, ID);
    let whole = judge(&bytes);
    let is_incomplete = |response: &Response| *response == Response::Incomplete;
    let (cut, taken) = in_pieces(&bytes, choice, judge, is_incomplete);
    match &whole {
        Response::Incomplete => assert!(bytes.len() < HEAD_BYTES_MAX && is_incomplete(&cut)),
        Response::Granted { head_len, kind } => {
            assert!(*head_len <= HEAD_BYTES_MAX && (*head_len..=bytes.len()).contains(&taken));
            assert_eq!(
                judge(&bytes[..*head_len]),
                whole,
                "what follows the head has decided"
            );
            assert!(is_incomplete(&judge(&bytes[..head_len - 1])));
            assert_eq!(cut, whole, "the cuts have decided");
            assert!(*kind == Kind::Plain || choice % 3 == 0);
            assert!(
                bytes
                    .windows(accept.len())
                    .any(|window| window == accept.as_bytes())
            );
        }
        Response::Itself => assert!(cut == whole || is_incomplete(&cut)),
        Response::Declined(reason) | Response::Refused(reason) => {
            assert_printable(reason);
            assert!(!matches!(cut, Response::Granted { .. } | Response::Itself));
        }
    }
}

/// What we ask for ourselves is granted by ourselves, and the grant is understood.
fn check_own(dialing: &Dialing, is_neighbor: bool) {
    let granted = judge_request(&dialing.request, HEAD_BYTES_MAX, NodeId(8), &open());
    let Request::Upgrade {
        head_len,
        response,
        kind,
        ..
    } = granted
    else {
        panic!("{granted:?}");
    };
    assert_eq!(head_len, dialing.request.len());
    assert_eq!(kind == Kind::Neighbor, is_neighbor);
    let granted = judge_response(&response, HEAD_BYTES_MAX, &dialing.expected, ID);
    match granted {
        Response::Granted { head_len, kind } => {
            assert_eq!(
                (head_len, kind == Kind::Neighbor),
                (response.len(), is_neighbor)
            );
        }
        // A node wants to be dialed as one.
        refused => assert!(
            !is_neighbor && matches!(refused, Response::Refused(_)),
            "{refused:?}"
        ),
    }
}

fn key_of(request: &[u8]) -> &[u8] {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let status = parsed.parse(request);
    assert_eq!(status, Ok(httparse::Status::Complete(request.len())));
    let field = parsed
        .headers
        .iter()
        .find(|field| field.name == "Sec-WebSocket-Key");
    field.expect("it has a key").value
}

fn with_key(bytes: &[u8], accept: &[u8]) -> Vec<u8> {
    const PLACE: &[u8] = b"ACCEPT";
    match bytes
        .windows(PLACE.len())
        .position(|window| window == PLACE)
    {
        Some(at) => [&bytes[..at], accept, &bytes[at + PLACE.len()..]].concat(),
        None => bytes.to_vec(),
    }
}
