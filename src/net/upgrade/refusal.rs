//! HTTP answers that end a connection.

use std::fmt::Write as _;

use super::{Form, NODE_HEADER};
use crate::{node_id::NodeId, printable::Excerpt};

/// HTTP answers other than 101, each with the reason a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    /// Who asks has not shown that it may.
    Unauthorized,
    /// Who asks may not.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// … where there are pages, which can be read and no more.
    OnlyRead,
    RequestTimeout,
    UriTooLong,
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
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed | Self::OnlyRead => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::UriTooLong => "414 URI Too Long",
            Self::UpgradeRequired => "426 Upgrade Required",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
            Self::LoopDetected => "508 Loop Detected",
        }
    }

    /// Fields that the status calls for (RFC 9110 §11.6.1, §15.5.6, §15.5.22; RFC 6455 §4.4).
    fn fields(self) -> &'static str {
        match self {
            Self::Unauthorized => "WWW-Authenticate: Bearer\r\n",
            Self::MethodNotAllowed => "Allow: GET\r\n",
            Self::OnlyRead => "Allow: GET, HEAD\r\n",
            Self::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Self::TooManyRequests | Self::Unavailable => "Retry-After: 5\r\n",
            _ => "",
        }
    }
}

/// What HTTP in clear hears where TLS is spoken.
pub(crate) const TLS_ONLY: Refusal = Refusal {
    status: Status::BadRequest,
    reason: "this port speaks TLS: use a wss:// URL, or https:// for a page",
    detail: String::new(),
};

/// What TLS hears where none is spoken; few clients show it.
pub(super) const NO_TLS: Refusal = Refusal {
    status: Status::BadRequest,
    reason: "this port speaks no TLS: use a ws:// URL, or http:// for a page",
    detail: String::new(),
};

/// An answer that ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) reason: &'static str,
    /// What was asked for, where the log of this node should tell; the other side knows it.
    pub(crate) detail: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status.line(), self.reason)?;
        match self.detail.as_str() {
            "" => Ok(()),
            detail => write!(f, " (`{}`)", Excerpt(detail)),
        }
    }
}

impl Refusal {
    pub(crate) fn new(status: Status, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            detail: String::new(),
        }
    }

    /// The HTTP response.
    pub(crate) fn response(&self, form: Form, id: NodeId) -> Vec<u8> {
        let Self { status, reason, .. } = self;
        let mut response = format!("HTTP/1.1 {}\r\n{}", status.line(), status.fields());
        // A node that hears this from a node need not try in another way.
        if matches!(status, Status::LoopDetected | Status::Forbidden) {
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
        if form == Form::Whole {
            response.push_str(reason);
            response.push('\n');
        }
        response.into_bytes()
    }
}
