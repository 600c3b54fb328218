//! wsmesh

pub mod config;
pub mod message;
mod printable;

pub use config::Config;
pub use message::Message;
pub use printable::Printable;
