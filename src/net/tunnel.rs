//! Asking a proxy for a connection to somebody else. Pure: bytes in, bytes out.

use data_encoding::BASE64;

use crate::config::{PeerUrl, ProxyKind, ProxyUrl};
use crate::printable::Excerpt;

/// Bytes of a proxy's answer, which has few header fields and nothing that matters after the first line.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// No authentication, and that by user and password (RFC 1928 §3).
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;

/// What to do after bytes of the proxy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More bytes are needed.
    Wait,
    /// Send this, and go on.
    Send(Vec<u8>),
    /// From now on the other side is at the end of the connection.
    Open,
    /// In words for the log.
    Failed(String),
}

/// What is awaited of the proxy.
#[derive(Debug)]
enum Awaited {
    Head,
    Method,
    Welcome,
    Reply,
}

/// A connection that a proxy is being asked for.
#[derive(Debug)]
pub(crate) struct Tunnel {
    proxy: ProxyUrl,
    host: Box<str>,
    port: u16,
    awaited: Awaited,
    /// What has come of it.
    received: Vec<u8>,
}

impl Tunnel {
    pub(crate) fn new(proxy: &ProxyUrl, to: &PeerUrl) -> Self {
        Self {
            awaited: match proxy.kind() {
                ProxyKind::Http => Awaited::Head,
                ProxyKind::Socks5 => Awaited::Method,
            },
            proxy: proxy.clone(),
            // The zone of an address means something on this machine only.
            host: to.host().split('%').next().unwrap_or_default().into(),
            port: to.port(),
            received: Vec::new(),
        }
    }

    /// What to send first.
    pub(crate) fn request(&self) -> Vec<u8> {
        match self.proxy.kind() {
            ProxyKind::Http => self.connect(),
            ProxyKind::Socks5 if self.proxy.credentials().is_some() => {
                vec![5, 2, NO_AUTHENTICATION, PASSWORD]
            }
            ProxyKind::Socks5 => vec![5, 1, NO_AUTHENTICATION],
        }
    }

    /// Works through received bytes up to the next thing to do, and takes what it has worked through off `unread`.
    pub(crate) fn step(&mut self, unread: &mut &[u8]) -> Step {
        while let Some((first, rest)) = unread.split_first() {
            *unread = rest;
            self.received.push(*first);
            if self.is_complete() {
                let answer = std::mem::take(&mut self.received);
                return match self.awaited {
                    Awaited::Head => judge_head(&answer),
                    Awaited::Method => self.on_method(&answer),
                    Awaited::Welcome => self.on_welcome(&answer),
                    Awaited::Reply => judge_reply(&answer),
                };
            }
            if self.received.len() >= ANSWER_BYTES_MAX {
                return Step::Failed("the proxy's answer is too large".to_owned());
            }
        }
        Step::Wait
    }

    fn is_complete(&self) -> bool {
        let received = self.received.as_slice();
        match (&self.awaited, received) {
            (Awaited::Head, _) => received.ends_with(b"\r\n\r\n") || received.ends_with(b"\n\n"),
            (Awaited::Method | Awaited::Welcome, _) => received.len() == 2,
            // Who does not speak SOCKS says something else from the first byte on.
            (Awaited::Reply, [version, ..]) if *version != 5 => true,
            (Awaited::Reply, [_, _, _, 3, length, ..]) => {
                received.len() == 7 + usize::from(*length)
            }
            (Awaited::Reply, [_, _, _, 4, ..]) => received.len() == 22,
            (Awaited::Reply, [_, _, _, 3]) => false,
            (Awaited::Reply, _) => received.len() == 10,
        }
    }

    fn connect(&self) -> Vec<u8> {
        let host = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        let authorization = self.proxy.credentials().map(|credentials| {
            let pair = format!("{}:{}", credentials.user, credentials.password);
            format!(
                "Proxy-Authorization: Basic {}\r\n",
                BASE64.encode(pair.as_bytes())
            )
        });
        let authorization = authorization.unwrap_or_default();
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n").into_bytes()
    }

    fn on_method(&mut self, answer: &[u8]) -> Step {
        match (answer, self.proxy.credentials()) {
            ([5, NO_AUTHENTICATION], _) => self.ask(),
            ([5, PASSWORD], Some(credentials)) => {
                self.awaited = Awaited::Welcome;
                let mut message = vec![1];
                for part in [&credentials.user, &credentials.password] {
                    // They have 255 bytes at most.
                    message.push(part.len() as u8);
                    message.extend_from_slice(part.as_bytes());
                }
                Step::Send(message)
            }
            ([5, _], _) => Step::Failed(
                "the proxy wants to know who asks: put user and password into its URL, socks5://USER:PASSWORD@…"
                    .to_owned(),
            ),
            _ => Step::Failed("what answers at the proxy's address is not SOCKS 5".to_owned()),
        }
    }

    fn on_welcome(&mut self, answer: &[u8]) -> Step {
        match answer {
            [_, 0] => self.ask(),
            _ => Step::Failed("the proxy does not take this user and password".to_owned()),
        }
    }

    fn ask(&mut self) -> Step {
        self.awaited = Awaited::Reply;
        let mut message = vec![5, 1, 0];
        match self.host.parse() {
            Ok(std::net::IpAddr::V4(address)) => {
                message.push(1);
                message.extend_from_slice(&address.octets());
            }
            Ok(std::net::IpAddr::V6(address)) => {
                message.push(4);
                message.extend_from_slice(&address.octets());
            }
            Err(_) => {
                // A name has 253 bytes at most.
                message.extend([3, self.host.len() as u8]);
                message.extend_from_slice(self.host.as_bytes());
            }
        }
        message.extend_from_slice(&self.port.to_be_bytes());
        Step::Send(message)
    }
}

fn judge_head(answer: &[u8]) -> Step {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    // With too many fields the first line is there all the same.
    let is_http = match response.parse(answer) {
        Ok(_) | Err(httparse::Error::TooManyHeaders) => true,
        Err(_) => false,
    };
    match response.code.filter(|_| is_http) {
        Some(200..=299) => Step::Open,
        Some(code) => {
            let reason = Excerpt(response.reason.unwrap_or_default());
            let hint = match code {
                407 => ": put user and password into its URL, http://USER:PASSWORD@…",
                _ => "",
            };
            Step::Failed(format!("the proxy refuses with {code} {reason}{hint}"))
        }
        None => Step::Failed("what answers at the proxy's address is not HTTP".to_owned()),
    }
}

/// RFC 1928 §6.
fn judge_reply(answer: &[u8]) -> Step {
    let what = match answer {
        [5, 0, ..] => return Step::Open,
        [5, 1, ..] => "it has failed",
        [5, 2, ..] => "its rules do not allow it",
        [5, 3, ..] => "the network cannot be reached",
        [5, 4, ..] => "the host cannot be reached",
        [5, 5, ..] => "nobody listens there",
        [5, 6, ..] => "it took too long",
        [5, 7, ..] => "it does not open connections",
        [5, 8, ..] => "it does not know this kind of address",
        [5, ..] => "it does not say why",
        _ => return Step::Failed("what answers at the proxy's address is not SOCKS 5".to_owned()),
    };
    Step::Failed(format!("the proxy does not connect: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tunnel(proxy: &str, to: &str) -> Tunnel {
        let (proxy, to): (ProxyUrl, PeerUrl) = (proxy.parse().unwrap(), to.parse().unwrap());
        Tunnel::new(&proxy, &to)
    }

    /// What is sent, how it ends, and what is left of the bytes, which come in pieces.
    fn talk(tunnel: &mut Tunnel, bytes: &[u8], piece_bytes: usize) -> (Vec<Vec<u8>>, Step, usize) {
        let mut sent = vec![tunnel.request()];
        let mut left = bytes.len();
        for mut piece in bytes.chunks(piece_bytes) {
            while !piece.is_empty() {
                let before = piece.len();
                let step = tunnel.step(&mut piece);
                left -= before - piece.len();
                match step {
                    Step::Wait => {}
                    Step::Send(message) => sent.push(message),
                    end => return (sent, end, left),
                }
            }
        }
        (sent, Step::Wait, left)
    }

    #[test]
    fn a_proxy_of_http_is_asked_by_connect() {
        let answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nHTTP/1.1 101";
        for piece_bytes in 1..answer.len() {
            let mut tunnel = tunnel("http://me:p%40ss@proxy", "wss://mesh.example/x");
            let (sent, end, left) = talk(&mut tunnel, answer, piece_bytes);
            let asked = "CONNECT mesh.example:443 HTTP/1.1\r\nHost: mesh.example:443\r\n\
                         Proxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n";
            assert_eq!(sent, [asked.as_bytes()]);
            assert_eq!(
                (end, left),
                (Step::Open, 12),
                "what follows is the other side's"
            );
        }
        let asked = tunnel("proxy", "ws://[::1]:8080").request();
        assert_eq!(
            asked,
            b"CONNECT [::1]:8080 HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"
        );
    }

    #[test]
    fn a_proxy_of_socks_is_asked_in_three_steps() {
        let answer = [&[5, 2, 1, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80][..], b"rest"].concat();
        for piece_bytes in 1..answer.len() {
            let mut tunnel = tunnel("socks5://me:secret@proxy", "ws://mesh.example:8080");
            let (sent, end, left) = talk(&mut tunnel, &answer, piece_bytes);
            let asked = [&[5, 1, 0, 3, 12][..], b"mesh.example", &[0x1f, 0x90]].concat();
            assert_eq!(
                sent,
                [vec![5, 2, 0, 2], b"\x01\x02me\x06secret".to_vec(), asked]
            );
            assert_eq!((end, left), (Step::Open, 4));
        }
        for (to, asked, answer) in [
            (
                "ws://10.0.0.7:1",
                &[5, 1, 0, 1, 10, 0, 0, 7, 0, 1][..],
                &[5, 0, 5, 0, 0, 3, 1, 65, 0, 80][..],
            ),
            (
                "ws://[::1]:1",
                &[
                    5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1,
                ],
                &[
                    5, 0, 5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80,
                ],
            ),
        ] {
            let mut tunnel = tunnel("socks5://proxy", to);
            let (sent, end, left) = talk(&mut tunnel, answer, 1);
            assert_eq!(sent, [&[5, 1, 0][..], asked]);
            assert_eq!((end, left), (Step::Open, 0));
        }
    }

    #[test]
    fn what_goes_wrong_is_told_in_words() {
        for (proxy, answer, expected) in [
            (
                "http://p",
                &b"HTTP/1.1 407 Who?\r\n\r\n"[..],
                "407 Who?: put user and password",
            ),
            (
                "http://p",
                b"HTTP/1.0 503 Nobody\r\n\r\n",
                "refuses with 503 Nobody",
            ),
            ("http://p", b"\x05\x00nonsense\r\n\r\n", "is not HTTP"),
            ("http://p", &[b'x'; ANSWER_BYTES_MAX], "too large"),
            ("socks5://p", b"HTTP/1.1 400", "is not SOCKS 5"),
            ("socks5://p", b"\x05\xff", "wants to know who asks"),
            ("socks5://p", b"\x05\x02", "wants to know who asks"),
            (
                "socks5://u:p@p",
                b"\x05\x02\x01\x01",
                "does not take this user",
            ),
            (
                "socks5://p",
                b"\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00",
                "rules do not allow",
            ),
            (
                "socks5://p",
                b"\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
                "nobody listens there",
            ),
            ("socks5://p", b"\x05\x00\x04", "is not SOCKS 5"),
        ] {
            let (_, end, _) = talk(&mut tunnel(proxy, "ws://a"), answer, 3);
            let Step::Failed(text) = end else {
                panic!("{end:?}")
            };
            assert!(text.contains(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), is_socks in any::<bool>()) {
            let proxy = if is_socks { "socks5://u:p@p" } else { "http://u:p@p" };
            talk(&mut tunnel(proxy, "ws://a"), &bytes, 7);
        }
    }
}
