//! Whom a proxy asks for: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that it was asked from at the end, so the end is read: the last address that is not of a
//! proxy that is believed is the client's. What stands before it says nobody who is believed, and is not looked at.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{
    head::HEADERS_MAX,
    refusal::{Refusal, Status},
};

/// The list of each proxy and its client, separated by commas.
const PLAIN: &str = "x-forwarded-for";
/// The same with names, so that more can be said.
const NAMED: &str = "forwarded";

/// What a proxy says of who has asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    At(IpAddr, Option<u16>),
    /// The proxy does not know, or does not tell (RFC 7239 §6.2, §6.3).
    Untold,
}

/// What stands in a field is not what should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// The client that a proxy asks for, by the head of its request: with the port of the proxy's own connection if no other
/// is told, so that clients can be told apart. It is the proxy itself if it names nobody. Nothing, if this is no head.
///
/// # Errors
/// There is no telling, because a field is malformed or the two contradict each other.
pub(crate) fn client_of(
    head: &[u8],
    head_bytes_max: usize,
    proxy: SocketAddr,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<SocketAddr>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = &head[..head.len().min(head_bytes_max)];
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return Ok(None);
    }
    let bad = |reason| Refusal::new(Status::BadRequest, reason);
    let client = |name, askers: fn(&str) -> Result<Vec<&str>, Malformed>, asker| {
        let values = request.headers.iter().rev();
        let values = values.filter(|field| field.name.eq_ignore_ascii_case(name));
        let texts = values.map(|field| std::str::from_utf8(field.value).map_err(|_| Malformed));
        client_among(texts, askers, asker, proxy, &is_proxy)
    };
    let plain = client(PLAIN, plain_askers, asker_of).map_err(|Malformed| {
        bad("X-Forwarded-For, as the proxy sends it, is no list of addresses")
    })?;
    let named = client(NAMED, named_askers, named_asker).map_err(|Malformed| {
        bad("Forwarded, as the proxy sends it, is not as RFC 7239 wants it")
    })?;
    match (plain, named) {
        // Most proxies write one field and pass on the other as the client has made it up.
        (Some(plain), Some(named)) if plain.ip() != named.ip() => Err(bad(
            "X-Forwarded-For and Forwarded name different clients: the proxy must remove the field that it does not write",
        )),
        (plain, named) => Ok(Some(plain.or(named).unwrap_or(proxy))),
    }
}

/// The client by one kind of field, of which the values are given from the last to the first.
fn client_among<'a>(
    values: impl Iterator<Item = Result<&'a str, Malformed>>,
    askers: fn(&'a str) -> Result<Vec<&'a str>, Malformed>,
    asker_of: fn(&str) -> Result<Asker, Malformed>,
    proxy: SocketAddr,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<SocketAddr>, Malformed> {
    let mut nearest = None;
    for value in values {
        let askers = askers(value?)?;
        for asker in askers.iter().rev().map(|text| trim(text)) {
            match asker_of(asker)? {
                Asker::At(address, port) => {
                    let address = address.to_canonical();
                    let client = SocketAddr::new(address, port.unwrap_or(proxy.port()));
                    if !is_proxy(address) {
                        return Ok(Some(client));
                    }
                    nearest = Some(client);
                }
                Asker::Untold => return Ok(nearest.or(Some(proxy))),
            }
        }
    }
    // All are proxies: the first of them asks for itself.
    Ok(nearest)
}

fn plain_askers(value: &str) -> Result<Vec<&str>, Malformed> {
    let askers = value.split(',').filter(|text| !trim(text).is_empty());
    Ok(askers.collect())
}

fn named_askers(value: &str) -> Result<Vec<&str>, Malformed> {
    let mut askers = split_unquoted(value, ',')?;
    askers.retain(|text| !trim(text).is_empty());
    Ok(askers)
}

/// Who asks by one element of Forwarded: `for=192.0.2.60;proto=http;by=203.0.113.43`.
fn named_asker(element: &str) -> Result<Asker, Malformed> {
    let mut asker = None;
    for pair in split_unquoted(element, ';')? {
        let pair = trim(pair);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=').ok_or(Malformed)?;
        if name.eq_ignore_ascii_case("for") {
            let value = unquoted(value)?;
            if asker.replace(asker_of(&value)?).is_some() {
                return Err(Malformed);
            }
        }
    }
    Ok(asker.unwrap_or(Asker::Untold))
}

/// Parts between separators that do not stand in a quoted string. A string that does not end is malformed, so nobody can
/// begin one that hides what the proxy adds.
fn split_unquoted(text: &str, separator: char) -> Result<Vec<&str>, Malformed> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|c| {
        let is_literal = std::mem::take(&mut is_escaped);
        match c {
            _ if is_literal => {}
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            c => return c == separator && !is_quoted,
        }
        false
    });
    let parts = parts.collect();
    match is_quoted {
        false => Ok(parts),
        true => Err(Malformed),
    }
}

/// The value of a token or a quoted string (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> Result<Cow<'_, str>, Malformed> {
    let Some(rest) = value.strip_prefix('"') else {
        return match value.contains(['"', '\\']) {
            false => Ok(Cow::Borrowed(value)),
            true => Err(Malformed),
        };
    };
    let inner = rest.strip_suffix('"').ok_or(Malformed)?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err(Malformed),
            '\\' => text.push(chars.next().ok_or(Malformed)?),
            c => text.push(c),
        }
    }
    Ok(Cow::Owned(text))
}

/// Who asks: an address with or without a port, or a name that tells nothing (RFC 7239 §6). An IPv6 address stands in
/// brackets, or by itself where there is no port.
fn asker_of(text: &str) -> Result<Asker, Malformed> {
    if let Ok(address) = text.parse() {
        return Ok(Asker::At(address, None));
    }
    let (name, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(bracketed) => {
            let (address, port) = bracketed.ok_or(Malformed)?;
            let address: Ipv6Addr = address.parse().map_err(|_| Malformed)?;
            let port = match port {
                "" => None,
                port => port_of(port.strip_prefix(':').ok_or(Malformed)?)?,
            };
            return Ok(Asker::At(address.into(), port));
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, port_of(port)?),
            None => (text, None),
        },
    };
    match name.parse::<Ipv4Addr>() {
        Ok(address) => Ok(Asker::At(address.into(), port)),
        Err(_) if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) => Ok(Asker::Untold),
        Err(_) => Err(Malformed),
    }
}

/// A port, if it is told.
fn port_of(text: &str) -> Result<Option<u16>, Malformed> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().map(Some).map_err(|_| Malformed),
        false if is_obfuscated(text) => Ok(None),
        false => Err(Malformed),
    }
}

/// A name that a proxy makes up so as not to tell an address.
fn is_obfuscated(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let inner = text.strip_prefix('_');
    inner.is_some_and(|inner| !inner.is_empty() && inner.bytes().all(is_inner))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Subnet;

    const HEAD_BYTES_MAX: usize = 8192;

    fn proxy() -> SocketAddr {
        "10.0.0.2:4711".parse().expect("it is one")
    }

    /// The client by these header lines, for who believes 10.0.0.0/8 and fd00::/8; the status of a refusal.
    fn client(fields: impl AsRef<[u8]>) -> Result<String, Status> {
        let head = [
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            fields.as_ref(),
            b"\r\n\r\n",
        ]
        .concat();
        let ranges =
            ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse::<Subnet>().expect("it is one"));
        let is_proxy = |address| ranges.iter().any(|range| range.contains(address));
        let client = client_of(&head, HEAD_BYTES_MAX, proxy(), is_proxy);
        client
            .map(|client| client.map_or(String::new(), |client| client.to_string()))
            .map_err(|refusal| refusal.status)
    }

    #[track_caller]
    fn assert_client(fields: &str, expected: &str) {
        assert_eq!(client(fields).as_deref(), Ok(expected), "{fields}");
    }

    #[test]
    fn the_last_address_that_is_not_of_a_proxy_is_the_clients() {
        for (value, expected) in [
            ("203.0.113.7", "203.0.113.7:4711"),
            (" 203.0.113.7\t", "203.0.113.7:4711"),
            ("203.0.113.7:80", "203.0.113.7:80"),
            ("203.0.113.7:_x", "203.0.113.7:4711"),
            ("2001:db8::7", "[2001:db8::7]:4711"),
            ("[2001:db8::7]", "[2001:db8::7]:4711"),
            ("[2001:DB8::7]:80", "[2001:db8::7]:80"),
            ("::ffff:203.0.113.7", "203.0.113.7:4711"),
            ("198.51.100.1, 203.0.113.7", "203.0.113.7:4711"),
            (
                "198.51.100.1,203.0.113.7, 10.0.0.9,fd00::1",
                "203.0.113.7:4711",
            ),
            // What clients make up stands before it, and need not even be right.
            ("nonsense, 203.0.113.7", "203.0.113.7:4711"),
            ("\", , 203.0.113.7,,", "203.0.113.7:4711"),
            // The first of many proxies asks for itself.
            ("10.0.0.8:99, 10.0.0.9", "10.0.0.8:99"),
            // Nobody is named, or nobody with an address.
            ("", "10.0.0.2:4711"),
            (" , ", "10.0.0.2:4711"),
            ("unknown", "10.0.0.2:4711"),
            ("198.51.100.1, Unknown", "10.0.0.2:4711"),
            ("198.51.100.1, _hidden, 10.0.0.9", "10.0.0.9:4711"),
        ] {
            assert_client(&format!("X-Forwarded-For: {value}"), expected);
        }
        assert_client("X: y", "10.0.0.2:4711");
        let lines = "x-forwarded-for: 198.51.100.1\r\nX-FORWARDED-FOR: 203.0.113.7";
        assert_client(lines, "203.0.113.7:4711");
    }

    #[test]
    fn the_standard_field_is_read_as_well() {
        for (value, expected) in [
            ("for=203.0.113.7", "203.0.113.7:4711"),
            ("For=\"203.0.113.7\"", "203.0.113.7:4711"),
            (
                "proto=https;by=10.0.0.2;FOR=203.0.113.7:80",
                "203.0.113.7:80",
            ),
            ("for=\"[2001:db8::7]\"", "[2001:db8::7]:4711"),
            ("for=\"[2001:db8::7]:80\";proto=http", "[2001:db8::7]:80"),
            ("for=\"[2001:db8::7]:_port\"", "[2001:db8::7]:4711"),
            ("for=\"203.0.113\\.7\"", "203.0.113.7:4711"),
            (
                "for=198.51.100.1, for=203.0.113.7, for=10.0.0.9",
                "203.0.113.7:4711",
            ),
            ("for=nonsense;;, for=203.0.113.7;", "203.0.113.7:4711"),
            (
                "host=\"a,b;for=1.2.3.4\";for=203.0.113.7",
                "203.0.113.7:4711",
            ),
            ("for=unknown", "10.0.0.2:4711"),
            ("for=\"_gazonk\", for=10.0.0.9", "10.0.0.9:4711"),
            ("for=unknown:80", "10.0.0.2:4711"),
            ("proto=https", "10.0.0.2:4711"),
            ("", "10.0.0.2:4711"),
        ] {
            assert_client(&format!("Forwarded: {value}"), expected);
        }
    }

    #[test]
    fn a_field_that_is_malformed_at_its_end_is_refused() {
        for value in [
            "nonsense",
            "203.0.113.7, nonsense",
            "nonsense, 10.0.0.9",
            "203.0.113",
            "203.0.113.7:",
            "203.0.113.7:65536",
            "203.0.113.7:8 0",
            "[2001:db8::7",
            "[203.0.113.7]",
            "[2001:db8::7]80",
            "[2001:db8::7]:-1",
            "2001:db8::7:80:90:1:2:3:4",
            "_",
            "_a b",
            "unknownn",
            "203.0.113.7 10.0.0.1",
        ] {
            let plain = client(format!("X-Forwarded-For: {value}"));
            assert_eq!(plain, Err(Status::BadRequest), "{value}");
            if !value.contains(' ') {
                let named = client(format!("Forwarded: for=\"{value}\""));
                assert_eq!(named, Err(Status::BadRequest), "{value}");
            }
        }
        for value in [
            "for",
            "203.0.113.7",
            "for=203.0.113.7;for=203.0.113.7",
            "for=\"203.0.113.7",
            "for=203.0.113.7\"",
            "for=\"203.0.113.7\"\"\"",
            "for=\"203.0.113.7\\\"",
            "for=\"a\", for=10.0.0.9",
        ] {
            let named = client(format!("Forwarded: {value}"));
            assert_eq!(named, Err(Status::BadRequest), "{value}");
        }
        let not_utf8 = client(b"X-Forwarded-For: \xff, 203.0.113.7");
        assert_eq!(not_utf8, Err(Status::BadRequest));
    }

    /// Which of the two the proxy writes, and which the client, nobody can see.
    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        let plain = "X-Forwarded-For: 203.0.113.7\r\nForwarded: ";
        for (named, expected) in [
            ("for=203.0.113.7", Ok("203.0.113.7:4711".to_owned())),
            ("for=\"203.0.113.7:80\"", Ok("203.0.113.7:4711".to_owned())),
            ("", Ok("203.0.113.7:4711".to_owned())),
            ("for=198.51.100.1", Err(Status::BadRequest)),
            ("for=unknown", Err(Status::BadRequest)),
        ] {
            assert_eq!(client(format!("{plain}{named}")), expected, "{named}");
        }
    }

    #[test]
    fn what_is_no_head_tells_of_nobody() {
        for head in [
            "",
            "GET / HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\n",
            "\0\r\n\r\n",
        ] {
            let client = client_of(head.as_bytes(), HEAD_BYTES_MAX, proxy(), |_| true);
            assert_eq!(client, Ok(None), "{head:?}");
        }
    }

    fn written(address: IpAddr, port: Option<u16>, is_named: bool) -> String {
        let node = match (address, port) {
            (IpAddr::V6(address), None) if is_named => format!("[{address}]"),
            (address, None) => address.to_string(),
            (address, Some(port)) => SocketAddr::new(address, port).to_string(),
        };
        match is_named {
            false => node,
            true => format!("for=\"{node}\""),
        }
    }

    proptest! {
        #[test]
        fn arbitrary_fields_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), name in 0usize..2) {
            let mut fields = [&b"X-Forwarded-For: "[..], b"Forwarded: "][name].to_vec();
            fields.extend(&bytes);
            let _ = client(fields);
        }

        /// Whatever a client sends, its proxy adds where it comes from, and there is no other way to read that.
        #[test]
        fn a_client_cannot_say_that_it_is_another_one(
            made_up in "[ -~\t]{0,40}|(for=|\"|\\\\|,|;|1\\.2\\.3\\.4| |\\[|_x){0,12}",
            bits in any::<u32>(),
            bits_v6 in any::<u128>(),
            is_v6 in any::<bool>(),
            port in any::<Option<u16>>(),
            separator in "[ \t]?,[ \t]?|\r\nX-Forwarded-For: ",
            is_named in any::<bool>(),
        ) {
            let address = match is_v6 {
                false => IpAddr::from(bits.to_be_bytes()),
                true => IpAddr::from(bits_v6.to_be_bytes()).to_canonical(),
            };
            prop_assume!(address.is_ipv6() == is_v6);
            let is_proxy = match address {
                IpAddr::V4(address) => address.octets()[0] == 10,
                IpAddr::V6(address) => address.octets()[0] == 0xfd,
            };
            prop_assume!(!is_proxy);
            let name = ["X-Forwarded-For", "Forwarded"][usize::from(is_named)];
            let separator = separator.replace("X-Forwarded-For", name);
            let added = written(address, port, is_named);
            let heard = client(format!("{name}: {made_up}{separator}{added}"));
            let expected = SocketAddr::new(address, port.unwrap_or(proxy().port())).to_string();
            // It may only spoil its own request, and not even that in the older field.
            prop_assert!(heard == Ok(expected) || is_named && heard == Err(Status::BadRequest), "{:?}", heard);
        }
    }
}
