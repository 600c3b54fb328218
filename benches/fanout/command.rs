//! What the driver says to the roles: a line each on their standard input.

use std::net::SocketAddr;
use std::str::FromStr;
use std::{fmt, io};

/// For a server.
#[derive(Clone, Copy)]
pub(crate) enum ServerCommand {
    /// Send `count` messages of `bytes` bytes to every peer, as the server's design does it.
    Broadcast { count: usize, bytes: usize },
    /// The same, all frames of a peer in one write: the floor only.
    Coalesce { count: usize, bytes: usize },
    /// Answer as soon as there are so many neighbors: wsmesh only.
    Await { neighbors: u64 },
}

/// For the generator. It answers each with a line of its own when that is done.
#[derive(Clone, Copy)]
pub(crate) enum GeneratorCommand {
    /// Open `count` peers and upgrade them.
    Connect { server: SocketAddr, count: usize },
    /// Open one peer that never reads, with a receive buffer of about `buffer_bytes`.
    Stall {
        server: SocketAddr,
        buffer_bytes: usize,
    },
    /// Open one more peer, to publish by.
    Publisher { server: SocketAddr },
    /// Publish `count` messages of `bytes` bytes; no answer.
    Publish { count: usize, bytes: usize },
    /// Answer at once; then wait until every peer has got `count` messages of `bytes` bytes.
    Expect { count: usize, bytes: usize },
    /// Send a ping from every peer and wait for all pongs, `rounds` times.
    Ping { rounds: usize },
    /// Reset all connections.
    Drop,
}

impl fmt::Display for ServerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broadcast { count, bytes } => write!(f, "broadcast {count} {bytes}"),
            Self::Coalesce { count, bytes } => write!(f, "coalesce {count} {bytes}"),
            Self::Await { neighbors } => write!(f, "await {neighbors}"),
        }
    }
}

impl FromStr for ServerCommand {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = Words::of(line);
        match words.name() {
            "broadcast" => Ok(Self::Broadcast {
                count: words.next()?,
                bytes: words.next()?,
            }),
            "coalesce" => Ok(Self::Coalesce {
                count: words.next()?,
                bytes: words.next()?,
            }),
            "await" => Ok(Self::Await {
                neighbors: words.next()?,
            }),
            _ => Err(words.unknown()),
        }
    }
}

impl fmt::Display for GeneratorCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { server, count } => write!(f, "connect {server} {count}"),
            Self::Stall {
                server,
                buffer_bytes,
            } => write!(f, "stall {server} {buffer_bytes}"),
            Self::Publisher { server } => write!(f, "publisher {server}"),
            Self::Publish { count, bytes } => write!(f, "publish {count} {bytes}"),
            Self::Expect { count, bytes } => write!(f, "expect {count} {bytes}"),
            Self::Ping { rounds } => write!(f, "ping {rounds}"),
            Self::Drop => write!(f, "drop"),
        }
    }
}

impl FromStr for GeneratorCommand {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = Words::of(line);
        match words.name() {
            "connect" => Ok(Self::Connect {
                server: words.next()?,
                count: words.next()?,
            }),
            "stall" => Ok(Self::Stall {
                server: words.next()?,
                buffer_bytes: words.next()?,
            }),
            "publisher" => Ok(Self::Publisher {
                server: words.next()?,
            }),
            "publish" => Ok(Self::Publish {
                count: words.next()?,
                bytes: words.next()?,
            }),
            "expect" => Ok(Self::Expect {
                count: words.next()?,
                bytes: words.next()?,
            }),
            "ping" => Ok(Self::Ping {
                rounds: words.next()?,
            }),
            "drop" => Ok(Self::Drop),
            _ => Err(words.unknown()),
        }
    }
}

/// The next command on standard input; `None` at its end, which is how a role is told to leave.
/// Call it only when there is something to read: it blocks.
pub(crate) fn next<C: FromStr<Err = String>>() -> io::Result<Option<C>> {
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    line.trim().parse().map(Some).map_err(io::Error::other)
}

struct Words<'a> {
    line: &'a str,
    name: &'a str,
    rest: std::str::SplitWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let mut rest = line.split_whitespace();
        Self {
            line,
            name: rest.next().unwrap_or_default(),
            rest,
        }
    }

    fn name(&self) -> &'a str {
        self.name
    }

    fn next<T: FromStr>(&mut self) -> Result<T, String> {
        let value = self.rest.next().and_then(|word| word.parse().ok());
        value.ok_or_else(|| self.unknown())
    }

    fn unknown(&self) -> String {
        format!("cannot read the command `{}`", self.line)
    }
}
