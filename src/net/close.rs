//! Why a connection ended, and the close codes that say so to the peer.

use std::{fmt, time::Duration};

use tungstenite::protocol::frame::coding::CloseCode;

use crate::{config::Config, printable::Printable};

/// Longest reason that fits into a Close frame beside its code (RFC 6455 §5.5).
const REASON_BYTES_MAX: usize = 123;

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The peer sent a Close, with its code (none: an empty Close) and reason.
    ByPeer(Option<u16>, String),
    /// This node stops: 1001.
    Shutdown,
    /// … and will be back: 1012.
    Restart,
    /// The peer broke the protocol: 1002.
    Protocol(String),
    /// The peer sent text that is not UTF-8: 1007.
    NotUtf8,
    /// Nothing was received for so long, though a ping was sent: 1008.
    Silent(Duration),
    /// The peer sent a message larger than so many bytes: 1009.
    TooBig(usize),
    /// The peer does not read fast enough, so many bytes wait for it: 1013.
    Slow(usize),
    /// The peer sends more than it may, in these words: 1008.
    TooFast(String),
    /// The node is short of memory, of which it holds so many bytes for this peer, more than for others: 1013.
    Memory(usize),
    /// The node wants it, with this code and in these words.
    ByNode(u16, String),
    /// The peer went away without a Close.
    Vanished,
    /// … and with TLS without the end that TLS asks for: somebody else may have cut it off.
    CutOff,
    /// TLS has not come about, or not gone on.
    Tls(String),
    /// The other side is this very node.
    Itself,
    /// What we dialed may not know our subprotocol.
    Declined(String),
    /// It was no upgrade, and was answered otherwise.
    Answered(String),
    /// Who asked for an upgrade may not come in, and was told so.
    Denied(String),
    /// The connection failed.
    Failed(String),
}

impl CloseReason {
    /// Why connections are closed when the node goes.
    pub(crate) fn going(config: &Config) -> Self {
        match config.restart_notice {
            false => Self::Shutdown,
            true => Self::Restart,
        }
    }

    /// The code and reason to send; none where the peer cannot or need not hear one.
    pub(crate) fn frame(&self) -> Option<(CloseCode, String)> {
        let code = match self {
            Self::Shutdown => CloseCode::Away,
            Self::Restart => CloseCode::Restart,
            Self::Protocol(_) => CloseCode::Protocol,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::Silent(_) | Self::TooFast(_) => CloseCode::Policy,
            Self::TooBig(_) => CloseCode::Size,
            Self::Slow(_) | Self::Memory(_) => CloseCode::Again,
            Self::ByNode(code, _) => (*code).into(),
            Self::ByPeer(..)
            | Self::Vanished
            | Self::CutOff
            | Self::Tls(_)
            | Self::Itself
            | Self::Declined(_)
            | Self::Answered(_)
            | Self::Denied(_)
            | Self::Failed(_) => return None,
        };
        let mut reason = match self {
            Self::ByNode(_, reason) => reason.clone(),
            reason => reason.to_string(),
        };
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        Some((code, reason))
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer(None, _) => write!(f, "closed by peer"),
            Self::ByPeer(Some(code), reason) if reason.is_empty() => {
                write!(f, "closed by peer with code {code}")
            }
            Self::ByPeer(Some(code), reason) => {
                write!(f, "closed by peer with code {code} ({})", Printable(reason))
            }
            Self::Shutdown => write!(f, "node is stopping"),
            Self::Restart => write!(f, "node is restarting"),
            Self::Protocol(what) => write!(f, "protocol error: {what}"),
            Self::NotUtf8 => write!(f, "text is not UTF-8"),
            Self::Silent(time) => write!(f, "nothing received for {time:.1?}"),
            Self::TooBig(max) => write!(f, "message is larger than {max} bytes"),
            Self::Slow(pending) => write!(f, "reads too slowly: {pending} bytes waiting"),
            Self::TooFast(what) => f.write_str(what),
            Self::Memory(held) => write!(f, "this node is short of memory: {held} bytes held"),
            Self::ByNode(code, reason) => {
                write!(
                    f,
                    "closed by this node with code {code} ({})",
                    Printable(reason)
                )
            }
            Self::Vanished => write!(f, "connection ended without a Close"),
            Self::CutOff => write!(
                f,
                "connection was cut off, without a Close and without the end of TLS (close_notify)"
            ),
            Self::Tls(what) => write!(f, "TLS failed: {what}"),
            Self::Itself => write!(f, "leads to this node itself"),
            Self::Answered(answer) | Self::Denied(answer) => write!(f, "answered {answer}"),
            Self::Declined(error) | Self::Failed(error) => write!(f, "connection failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_chooses_its_own_words() {
        let reason = CloseReason::ByNode(1013, "this node is full".to_owned());
        let frame = reason.frame().expect("has a code");
        assert_eq!(frame, (CloseCode::Again, "this node is full".to_owned()));
        let shown = "closed by this node with code 1013 (this node is full)";
        assert_eq!(reason.to_string(), shown);
    }

    #[test]
    fn a_long_reason_still_fits_a_close_frame() {
        let (_, reason) = CloseReason::Protocol("ü".repeat(200))
            .frame()
            .expect("has a code");
        assert!(reason.len() <= REASON_BYTES_MAX && reason.len() > REASON_BYTES_MAX - 2);
    }
}
