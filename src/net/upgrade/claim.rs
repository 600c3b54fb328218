//! What a request shows of who asks, and what is selected of the subprotocols that it offers.

use super::head::Fields;
use crate::{
    net::{Kind, access::Claim},
    subprotocol::{PLAIN_SUBPROTOCOL, SUBPROTOCOL, TOKEN_SUBPROTOCOL},
};

/// A neighbor is who offers our subprotocol, perhaps among others; of these we speak none.
pub(super) fn kind_of(fields: &Fields<'_>) -> Kind {
    let mut offered = fields.list("sec-websocket-protocol");
    match offered.any(|subprotocol| subprotocol == SUBPROTOCOL) {
        true => Kind::Neighbor,
        false => Kind::Plain,
    }
}

/// What the request shows of who asks. What stands there twice counts as nothing that fits.
pub(super) fn claim_of<'a>(target: &'a str, fields: &Fields<'a>, kind: Kind) -> Claim<'a> {
    let (channel, query) = target.split_once('?').unwrap_or((target, ""));
    let bearer = fields.only("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let is_from_page = fields.count("origin") > 0;
    Claim {
        kind,
        channel,
        host: fields.only("host").unwrap_or_default(),
        origin: is_from_page.then(|| fields.only("origin").unwrap_or_default()),
        token: bearer.or_else(|| token_offer(fields)?.strip_prefix(TOKEN_SUBPROTOCOL)),
        url_token: query
            .split('&')
            .find_map(|part| part.strip_prefix("token=")),
    }
}

/// The token among the offered subprotocols, as it stands there.
fn token_offer<'a>(fields: &Fields<'a>) -> Option<&'a str> {
    let mut offered = fields.list("sec-websocket-protocol");
    offered.find(|subprotocol| subprotocol.starts_with(TOKEN_SUBPROTOCOL))
}

/// What is selected of the offered subprotocols. Who offers nothing but a token gets that back, because browsers
/// would not take less.
pub(super) fn selection<'a>(kind: Kind, fields: &Fields<'a>) -> Option<&'a str> {
    if kind == Kind::Neighbor {
        return Some(SUBPROTOCOL);
    }
    let mut offered = fields.list("sec-websocket-protocol");
    offered
        .find(|subprotocol| *subprotocol == PLAIN_SUBPROTOCOL)
        .or_else(|| token_offer(fields).filter(|token| is_token(token)))
}

/// Whether a text is a token of HTTP (RFC 9110 §5.6.2), and nothing that could end a line.
fn is_token(text: &str) -> bool {
    let is_special = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || is_special(byte))
}
