//! What people write in options, as arbitrary text.

use std::{fmt::Display, net::IpAddr, str::FromStr};

use super::{assert_printable, split_choice};
use crate::{
    NodeId,
    config::{
        AllowedOrigin, BindAddress, BroadcastScope, Count, Every, HeaderField, NetworkName, Origin,
        PeerUrl, Pin, ProxyUrl, Size, SlowPeer, Subnet, Template, Time, UpTo, Values,
        check_channel, limits::CHANNEL_BYTES_MAX,
    },
    simulation::{PerMinute, Share},
};

/// A value of an option: what is shown of it is read as the same again, and an error can be shown.
pub(crate) fn feed_values(bytes: &[u8]) {
    let (choice, bytes) = split_choice(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match choice % 18 {
        0 => drop(check::<Time>(text)),
        1 => drop(check::<Every>(text)),
        2 => {
            if let Some(Count(_)) = check(text) {
                assert!(text.trim().bytes().all(|byte| byte.is_ascii_digit()));
            }
        }
        3 => drop(check::<UpTo>(text)),
        4 => drop(check::<Size>(text)),
        5 => check_peer(text),
        6 => {
            if let Some(address) = check::<BindAddress>(text) {
                assert!(!address.host().is_empty());
            }
        }
        7 => check_proxy(text),
        8 => drop(check::<Pin>(text)),
        9 => check_origin(text),
        10 => drop(check::<NetworkName>(text)),
        11 => drop(check::<SlowPeer>(text)),
        12 => drop(check::<BroadcastScope>(text)),
        13 => drop(check::<NodeId>(text)),
        14 => drop(check::<Share>(text)),
        15 => drop(check::<PerMinute>(text)),
        16 => {
            if let Err(error) = check_channel(text) {
                assert_printable(&error.to_string());
            }
        }
        _ => {
            if let Err(error) = text.parse::<HeaderField>() {
                assert_printable(&error.to_string());
            }
        }
    }
}

fn check<T: FromStr<Err: Display> + Display + PartialEq>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            let shown = value.to_string();
            assert_printable(&shown);
            let again = shown.parse::<T>();
            assert!(again.is_ok_and(|again| again == value), "shown as {shown}");
            Some(value)
        }
        Err(error) => {
            assert_printable(&error.to_string());
            None
        }
    }
}

/// What is dialed goes into a request line and a Host, where it must not end the line.
fn check_peer(text: &str) {
    let Some(url) = check::<PeerUrl>(text) else {
        return;
    };
    let target = url.target();
    assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(url.path().len() <= CHANNEL_BYTES_MAX && check_channel(url.path()).is_ok());
    let host = url.host_header();
    assert!(!host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(url.port() > 0);
    let scheme = if url.is_tls() { "wss" } else { "ws" };
    let other: PeerUrl = format!("{scheme}://{host}{target}")
        .parse()
        .expect("it is a URL");
    // A zone is nobody else's business.
    assert!(other == url || url.host().contains('%'));
}

/// The password is shown nowhere.
fn check_proxy(text: &str) {
    const PASSWORD: &str = "a-password-of-its-own";
    // A host is shown in lower case, and may be called so.
    if text.to_ascii_lowercase().contains(PASSWORD) {
        return;
    }
    let scheme_end = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(scheme_end);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    match format!("{scheme}me:{PASSWORD}@{rest}").parse::<ProxyUrl>() {
        Ok(proxy) => {
            let shown = proxy.to_string();
            assert!(!format!("{proxy:?} {shown}").contains(PASSWORD));
            let credentials = proxy.credentials().expect("it has some");
            assert_eq!(
                (credentials.user.as_str(), credentials.password.as_str()),
                ("me", PASSWORD)
            );
            assert_eq!(
                shown.parse::<ProxyUrl>().expect("a proxy").to_string(),
                shown
            );
        }
        Err(error) => assert!(!error.to_string().contains(PASSWORD)),
    }
    // A scheme that stands behind it does not make a scheme of it.
    let misplaced = format!("me:{PASSWORD}@{text}").parse::<ProxyUrl>();
    assert!(
        misplaced
            .err()
            .is_none_or(|error| !error.to_string().contains(PASSWORD))
    );
    match text.parse::<ProxyUrl>() {
        Ok(proxy) => assert!(proxy.port() > 0 && !proxy.host().is_empty()),
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// A page of an allowed origin may come in, and one of another scheme may not.
fn check_origin(text: &str) {
    let Some(allowed) = check::<AllowedOrigin>(text) else {
        return;
    };
    if let AllowedOrigin::Of(_) = allowed {
        assert!(allowed.allows(text) && allowed.allows(&text.to_ascii_uppercase()));
        assert!(!allowed.allows("null") && !allowed.allows(&format!("x{text}")));
        let (_, authority) = text.split_once("://").expect("it has a scheme");
        assert!(Origin::is_same_host(text, authority));
    }
}

/// A range of addresses, and after sixteen bytes of an address its text.
pub(crate) fn feed_subnet(bytes: &[u8]) {
    let Some((octets, text)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Some(subnet) = check::<Subnet>(text) else {
        return;
    };
    let written_bits = text.split_once('/').map_or("", |(_, bits)| bits);
    assert!(written_bits.bytes().all(|byte| byte.is_ascii_digit()));
    let address = IpAddr::from(*octets);
    let (first, bits) = match subnet.to_string().split_once('/') {
        Some((first, bits)) => (first.to_owned(), bits.parse().expect("a number")),
        None => (subnet.to_string(), u32::MAX),
    };
    let first: IpAddr = first.parse().expect("an address");
    assert!(subnet.contains(first));
    // The near ones, which a slip would take for within: one bit of the first address is another one.
    for bit in 0..128u32 {
        let other: IpAddr = match first {
            IpAddr::V4(first) if bit < 32 => {
                (first.to_bits() ^ 1 << (31 - bit)).to_be_bytes().into()
            }
            IpAddr::V6(first) => (first.to_bits() ^ 1 << (127 - bit)).to_be_bytes().into(),
            IpAddr::V4(_) => break,
        };
        if other.is_ipv4() == first.is_ipv4() && other == other.to_canonical() {
            assert_eq!(subnet.contains(other), bit >= bits, "{other} in {subnet}");
        }
    }
    let is_in = match (first, address.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            (first.to_bits() ^ address.to_bits()).leading_zeros() >= bits.min(32)
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => {
            (first.to_bits() ^ address.to_bits()).leading_zeros() >= bits.min(128)
        }
        _ => false,
    };
    assert_eq!(subnet.contains(address), is_in, "{address} in {subnet}");
    let bits = bits.min(128) as u8;
    assert!(Subnet::around(address, bits).contains(address));
    assert_eq!(Subnet::around(first, bits), subnet);
}

/// A text with placeholders: it is read as it is shown, and without placeholders it is rendered as it was meant.
pub(crate) fn feed_template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let template = match text.parse::<Template>() {
        Ok(template) => template,
        Err(error) => return assert_printable(&error.to_string()),
    };
    assert_eq!(template.to_string(), text);
    let values = |index| Values {
        index,
        bind: "{bind}",
        seq: 7,
        time: "{time}",
    };
    let rendered = template.render(&values(1));
    assert_eq!(
        template.is_per_peer(),
        rendered != template.render(&values(2))
    );
    let plain = text.replace("{{", "").replace("}}", "");
    if !plain.contains(['{', '}']) {
        assert_eq!(rendered, text.replace("{{", "{").replace("}}", "}"));
    }
}
