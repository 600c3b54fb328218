//! Why a node does not start or does not go on.

use std::{io, net::SocketAddr};

use crate::{
    config::{BindAddress, ConfigError},
    net::FilesError,
};

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Tokens, certificates or keys are missing, wrong or do not fit.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// An address to listen on has a name that does not resolve.
    #[error("cannot listen on {bind}: the name does not resolve: {error}")]
    Resolve {
        /// The address as configured.
        bind: BindAddress,
        /// What the system's resolver says.
        error: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {bind} ({address}): {error}{}", hint(.error))]
    Listen {
        /// The address as configured.
        bind: BindAddress,
        /// What it resolved to.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A socket was opened for the node, and nothing says what it is for.
    #[error(
        "a socket that listens on {address} was passed (LISTEN_FDS), and that is no address of --bind or --status: \
         give --bind {address} (or wss://{address} for TLS), or take it out of the socket unit"
    )]
    Unwanted {
        /// Where it listens.
        address: SocketAddr,
    },
    /// The system has no poll for us.
    #[error("cannot set up the event loop: {0}")]
    Poll(io::Error),
}

/// What a person can do about it.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program, or another --bind, listens there ([::] includes IPv4): choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need privileges: choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

/// Why a running node had to give up: the system's poll fails.
#[derive(Debug, thiserror::Error)]
#[error("the event loop failed: {0}")]
pub struct RunError(pub io::Error);
