//! wsmesh

pub mod config;
pub mod message;
pub mod node;
mod printable;

pub use config::Config;
pub use message::Message;
pub use node::Node;
pub use printable::Printable;
