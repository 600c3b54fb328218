//! What a load test does, and what of it makes no sense.

use std::net::IpAddr;
use std::time::Duration;

use super::payload::HEAD_BYTES;
use crate::config::limits::{CONNECTIONS_CEILING, MESSAGE_BYTES_CEILING};
use crate::config::{
    ConfigError, HeaderField, PeerUrl, RequestError, TlsConfig, check_count, check_request,
    check_size, choice,
};

/// What the connections do (`--mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Some publish, and each message is expected at all others. For a relay.
    #[default]
    Publish,
    /// None sends; what the server sends by itself is counted.
    Listen,
    /// Each sends, and expects its own message back. For an echo server.
    Echo,
    /// None sends; the connections are held.
    Idle,
}

choice!(
    Mode,
    "mode",
    Publish = "publish",
    Listen = "listen",
    Echo = "echo",
    Idle = "idle"
);

/// The most connections that may be opened, with several addresses of ours.
const CONNECTIONS_MAX: usize = CONNECTIONS_CEILING;
/// The most connections that may publish.
const PUBLISHERS_MAX: usize = 256;
/// Each connection keeps an account of each publisher: so many accounts, of 48 bytes.
const ACCOUNTS_MAX: usize = 1 << 22;
/// The most messages that may be sent at once, and the most a second.
const BURST_MAX: usize = 100_000;
/// See [`BURST_MAX`].
const RATE_MAX: usize = 10_000_000;

/// Everything that a load test is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The servers; connections are spread over them in turn.
    pub urls: Vec<PeerUrl>,
    /// What the connections do.
    pub mode: Mode,
    /// Connections in all, those that publish among them.
    pub connections: usize,
    /// Connections that publish; the others only hear. In mode `publish` only.
    pub publishers: usize,
    /// Connections opened a second; `None` as fast as they are taken.
    pub connect_rate: Option<usize>,
    /// Connections that are being opened at the same time.
    pub in_flight: usize,
    /// Addresses of ours to connect from, in turn; none: the system's choice. Each has its own ports.
    pub sources: Vec<IpAddr>,
    /// Further header fields of each upgrade request.
    pub fields: Vec<HeaderField>,
    /// Subprotocols that are asked for.
    pub subprotocols: Vec<String>,
    /// A secret, sent as `Authorization: Bearer`; not part of any report.
    pub token: Option<String>,
    /// Whom to believe where TLS is spoken, and what to show there; of it only what is for dialing.
    pub tls: TlsConfig,
    /// Messages a second, of all that send together, each due at its own time whatever has become of those
    /// before. `None`: each sender sends its next message when the last one is everywhere.
    pub rate: Option<usize>,
    /// Size of a message.
    pub size_bytes: usize,
    /// Whether messages are binary; otherwise they are text.
    pub is_binary: bool,
    /// Messages sent at once.
    pub burst: usize,
    /// Messages to measure; `None` as many as the duration takes.
    pub messages: Option<usize>,
    /// Time to measure.
    pub duration: Duration,
    /// Time of sending before that, which does not count.
    pub warm_up: Duration,
    /// How long a message is waited for, before it is taken for lost.
    pub patience: Duration,
    /// Time that a connection may take to be upgraded.
    pub handshake_timeout: Duration,
    /// Silence before a ping; `None`: never.
    pub ping_interval: Option<Duration>,
    /// Processes of the servers, on this machine, whose CPU time and memory are reported.
    pub servers: Vec<u32>,
    /// Whether somebody has said that servers beyond this machine may be loaded.
    pub has_consent: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            mode: Mode::default(),
            connections: 100,
            publishers: 1,
            connect_rate: None,
            in_flight: 256,
            sources: Vec::new(),
            fields: Vec::new(),
            subprotocols: Vec::new(),
            token: None,
            tls: TlsConfig::default(),
            rate: None,
            size_bytes: 64,
            is_binary: false,
            burst: 1,
            messages: None,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            patience: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Some(Duration::from_secs(30)),
            servers: Vec::new(),
            has_consent: false,
        }
    }
}

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no server.
    #[error("no URL: write for example wsmesh bench ws://localhost:8080")]
    NoUrl,
    /// A value that is too small or too large.
    #[error(transparent)]
    Bounds(#[from] ConfigError),
    /// Nobody would hear anything.
    #[error(
        "--connections {connections} with --publishers {publishers}: nobody is left to hear a message; \
         raise --connections"
    )]
    NobodyListens {
        /// Connections in all.
        connections: usize,
        /// Those that publish.
        publishers: usize,
    },
    /// What each has heard of each would take too much memory.
    #[error(
        "--connections {connections} with --publishers {publishers} are too many together: their product is \
         {ACCOUNTS_MAX} at most"
    )]
    Accounts {
        /// Connections in all.
        connections: usize,
        /// Those that publish.
        publishers: usize,
    },
    /// What each upgrade request carries.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Plan {
    /// Checks each value against its bounds, and the values against each other.
    ///
    /// # Errors
    /// The first that is wrong, by the name of its option.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.urls.is_empty() {
            return Err(PlanError::NoUrl);
        }
        for (flag, value, most) in [
            ("--connections", self.connections, CONNECTIONS_MAX),
            ("--publishers", self.publishers, PUBLISHERS_MAX),
            ("--in-flight", self.in_flight, CONNECTIONS_MAX),
            ("--burst", self.burst, BURST_MAX),
            ("--connect-rate", self.connect_rate.unwrap_or(1), RATE_MAX),
            ("--rate", self.rate.unwrap_or(1), RATE_MAX),
            ("--messages", self.messages.unwrap_or(1), u32::MAX as usize),
        ] {
            check_count(flag, value, most)?;
        }
        self.tls.check_pairs()?;
        check_size("--size", self.size_bytes, HEAD_BYTES, MESSAGE_BYTES_CEILING)?;
        let (connections, publishers) = (self.connections, self.publishers);
        // A single publisher among others hears the others.
        if self.mode == Mode::Publish && connections < 2.max(publishers) {
            return Err(PlanError::NobodyListens {
                connections,
                publishers,
            });
        }
        if self.mode == Mode::Publish && connections * publishers > ACCOUNTS_MAX {
            return Err(PlanError::Accounts {
                connections,
                publishers,
            });
        }
        check_request(&self.fields, &self.subprotocols, self.token.is_some())?;
        Ok(())
    }

    /// How many of the connections send.
    pub(super) fn senders(&self) -> usize {
        match self.mode {
            Mode::Publish => self.publishers,
            Mode::Echo => self.connections,
            Mode::Listen | Mode::Idle => 0,
        }
    }

    /// The header fields of an upgrade request, a line each.
    pub(super) fn field_lines(&self) -> String {
        HeaderField::lines(&self.fields, self.token.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            urls: vec!["ws://localhost:8080".parse().unwrap()],
            ..Plan::default()
        }
    }

    fn error(change: impl FnOnce(&mut Plan)) -> String {
        let mut plan = plan();
        change(&mut plan);
        plan.check().unwrap_err().to_string()
    }

    #[test]
    fn what_makes_no_sense_is_told_by_its_option() {
        assert_eq!(plan().check(), Ok(()));
        assert!(error(|plan| plan.urls.clear()).contains("ws://localhost:8080"));
        for (told, beginning) in [
            (
                error(|plan| plan.connections = 0),
                "--connections 0 is out of bounds: from 1 to ",
            ),
            (
                error(|plan| plan.publishers = 257),
                "--publishers 257 is out of bounds: from 1 to 256",
            ),
            (
                error(|plan| plan.rate = Some(0)),
                "--rate 0 is out of bounds",
            ),
            (
                error(|plan| plan.size_bytes = 55),
                "--size 55B is out of bounds: from 56B",
            ),
            (
                error(|plan| plan.connections = 1),
                "--connections 1 with --publishers 1: ",
            ),
            (
                error(|plan| plan.subprotocols = vec!["mqtt".to_owned(), "a b".to_owned()]),
                "--subprotocol: `a b` is not the name",
            ),
            (
                error(|plan| plan.subprotocols = vec![String::new()]),
                "--subprotocol: `` is not the name",
            ),
            (
                error(|plan| plan.subprotocols = vec!["mqtt".to_owned(); 2]),
                "--subprotocol: `mqtt` is named twice",
            ),
            (
                error(|plan| {
                    plan.token = Some("secret".to_owned());
                    plan.fields = vec!["authorization: Basic eA==".parse().unwrap()];
                }),
                "--header Authorization and --token-file",
            ),
        ] {
            assert!(told.starts_with(beginning), "{told}");
        }
        let echo = Plan {
            mode: Mode::Echo,
            connections: 1,
            ..plan()
        };
        assert_eq!(echo.check(), Ok(()));
    }

    #[test]
    fn header_fields_are_what_a_request_can_hold() {
        let field = |text: &str| text.parse::<HeaderField>();
        assert_eq!(field("X-Room:  blue ").unwrap().to_string(), "X-Room: blue");
        for (text, part) in [
            ("X-Room", "no colon"),
            (": x", "name of a header field"),
            ("X Room: x", "name of a header field"),
            ("X: a\r\nY: b", "cannot hold"),
            ("host: a", "already"),
            ("Sec-WebSocket-Key: a", "already"),
        ] {
            let error = field(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let plan = Plan {
            fields: vec![field("A: b").unwrap()],
            token: Some("secret".to_owned()),
            ..plan()
        };
        assert_eq!(
            plan.field_lines(),
            "A: b\r\nAuthorization: Bearer secret\r\n"
        );
    }
}
