//! Header fields of an upgrade request beside those that every one has.

use std::fmt;
use std::str::FromStr;

use crate::printable::Printable;

/// Longest header line of one's own, and the most of them.
const FIELD_BYTES_MAX: usize = 4096;
const FIELDS_MAX: usize = 32;

/// A header field of the upgrade request: `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    name: String,
    value: String,
}

/// Why a text is no [`HeaderField`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}; write for example `X-Room: blue`", Printable(typed))]
pub struct HeaderFieldError {
    typed: String,
    problem: &'static str,
}

impl HeaderField {
    fn new(name: &str, value: String) -> Self {
        let name = name.to_owned();
        Self { name, value }
    }

    /// Whether it says who asks.
    pub(crate) fn is_authorization(&self) -> bool {
        self.name.eq_ignore_ascii_case("authorization")
    }

    /// The header fields of an upgrade request, a line each, with a token if there is one.
    pub(crate) fn lines(fields: &[Self], token: Option<&str>) -> String {
        let token = token.map(|token| Self::new("Authorization", format!("Bearer {token}")));
        let fields = fields.iter().cloned().chain(token);
        fields.map(|field| format!("{field}\r\n")).collect()
    }
}

impl FromStr for HeaderField {
    type Err = HeaderFieldError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem| HeaderFieldError {
            typed: text.to_owned(),
            problem,
        };
        let (name, value) = text.split_once(':').ok_or(error("has no colon"))?;
        let value = value.trim();
        if !is_http_token(name) {
            return Err(error("does not begin with the name of a header field"));
        }
        if !value
            .bytes()
            .all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
        {
            return Err(error(
                "has a value with characters that a header cannot hold",
            ));
        }
        if text.len() > FIELD_BYTES_MAX {
            return Err(error("is too long"));
        }
        let ours = [
            "host",
            "connection",
            "upgrade",
            "content-length",
            "transfer-encoding",
        ];
        let lower = name.to_ascii_lowercase();
        if ours.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
            return Err(error("is part of every upgrade request already"));
        }
        Ok(Self::new(name, value.to_owned()))
    }
}

/// A name, as HTTP has them.
fn is_http_token(name: &str) -> bool {
    let may_be_in = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(may_be_in)
}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

/// Why an upgrade request cannot carry what it is to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More header fields than fit.
    #[error("--header is given {0} times, which is too often: at most {FIELDS_MAX} times")]
    Fields(usize),
    /// The server would have to choose.
    #[error("--header Authorization and --token-file both say who asks: leave out one of them")]
    Authorization,
    /// An upgrade request cannot hold it.
    #[error(
        "--subprotocol: `{}` is not the name of a subprotocol; write for example --subprotocol mqtt,wamp",
        Printable(.0)
    )]
    Subprotocol(String),
    /// Each may be asked for once.
    #[error("--subprotocol: `{}` is named twice", Printable(.0))]
    SubprotocolTwice(String),
}

/// Checks what the upgrade requests of a client carry: fields, subprotocols, a token.
pub(crate) fn check_request(
    fields: &[HeaderField],
    subprotocols: &[String],
    has_token: bool,
) -> Result<(), RequestError> {
    if fields.len() > FIELDS_MAX {
        return Err(RequestError::Fields(fields.len()));
    }
    if has_token && fields.iter().any(HeaderField::is_authorization) {
        return Err(RequestError::Authorization);
    }
    for (index, name) in subprotocols.iter().enumerate() {
        if !is_http_token(name) {
            return Err(RequestError::Subprotocol(name.clone()));
        }
        if subprotocols[..index].contains(name) {
            return Err(RequestError::SubprotocolTwice(name.clone()));
        }
    }
    Ok(())
}
