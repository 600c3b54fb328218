//! Plain clients for scripts: publish what is to be said and end, or listen and hand over what comes.
//!
//! ```no_run
//! use wsmesh::client::{Connect, What, publish};
//!
//! let connect = Connect::to("ws://localhost:8080/alerts".parse()?);
//! publish(&connect, What::One(wsmesh::Message::text("water in the cellar")))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `run` is the loop: one connection of `net`, to the first address of the server that accepts it. What is
//! done with it is an errand: `publishing` or `listening`. Each ends with a Close of ours, and what was published counts as
//! taken when the server has answered that: it has received all that went before.

mod listening;
mod publishing;
mod run;

use std::time::Duration;

pub use self::{listening::listen, publishing::publish};
use crate::{
    config::{
        ConfigError, HeaderField, Limits, PeerUrl, ProxyConfig, RequestError, TlsConfig,
        check_request, check_size, limits,
    },
    feed::Input,
    framing::Framing,
    message::Message,
    net::FilesError,
};

/// Whom to connect to, and how.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The server, and the channel at it.
    pub url: PeerUrl,
    /// Header fields of the upgrade request beside those that each has.
    pub fields: Vec<HeaderField>,
    /// Subprotocols to ask for.
    pub subprotocols: Vec<String>,
    /// A secret, sent as `Authorization: Bearer`.
    pub token: Option<String>,
    /// Whom to believe where TLS is spoken, and what to show there; of it only what is for dialing.
    pub tls: TlsConfig,
    /// Proxies to connect through.
    pub proxies: ProxyConfig,
    /// The largest message that is sent or taken in.
    pub message_bytes_max: usize,
    /// Time for everything; `None`: as long as it takes.
    pub timeout: Option<Duration>,
}

impl Connect {
    /// Directly, and with nothing that it would not have by itself.
    pub fn to(url: PeerUrl) -> Self {
        Self {
            url,
            fields: Vec::new(),
            subprotocols: Vec::new(),
            token: None,
            tls: TlsConfig::default(),
            proxies: ProxyConfig::default(),
            message_bytes_max: limits::CLIENT_MESSAGE_BYTES_MAX,
            timeout: None,
        }
    }

    /// Checks each value against its bounds, and the values against each other.
    fn check(&self) -> Result<(), ClientError> {
        let (max, ceiling) = (self.message_bytes_max, limits::MESSAGE_BYTES_CEILING);
        check_size("--max-message", max, 1, ceiling)?;
        self.tls.check_pairs()?;
        check_request(&self.fields, &self.subprotocols, self.token.is_some())?;
        Ok(())
    }

    /// What the connection keeps to.
    fn limits(&self) -> Limits {
        Limits {
            head_bytes_max: 64 * 1024,
            message_bytes_max: self.message_bytes_max,
            // Never reached: what waits is looked at before something is sent.
            outbox_bytes_max: 2 * (limits::CLIENT_PENDING_BYTES_MAX + self.message_bytes_max),
            close_timeout: limits::CLIENT_CLOSE_TIMEOUT,
            ..Limits::default()
        }
    }
}

/// What is to be published.
pub enum What<'a> {
    /// This.
    One(Message),
    /// The messages of a stream, up to its end.
    Stream {
        /// Where they come from.
        input: Box<dyn Input + Send + 'a>,
        /// How they are told apart.
        framing: Framing,
        /// Whether they are binary. Otherwise they are text, as far as they are UTF-8.
        is_binary: bool,
        /// Messages a second at most, evenly spread; `None`: as fast as they are taken.
        rate: Option<usize>,
    },
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A value is out of its bounds, or contradicts another one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The upgrade request cannot carry what it is to.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Certificates or keys are missing, wrong or do not fit.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The time for it is over.
    #[error("{0}")]
    TimedOut(String),
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}
