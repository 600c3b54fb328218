//! wsmesh
pub mod config;
mod counters;
mod message;
mod net;
mod node;
mod printable;

pub use config::Config;
pub use counters::Counters;
pub use message::Message;
pub use net::{CloseReason, PeerName};
pub use node::{BroadcastError, Handle, Node, Output, Received, RunError, StartError};
pub use printable::Printable;
