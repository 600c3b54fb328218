//! wsmesh: a brokerless WebSocket mesh in one small program.
//!
//! This is the library under the program `wsmesh`; the program parses options, connects the standard
//! streams, and runs a [`Node`]. To run one inside another program:
//!
//! ```no_run
//! use wsmesh::{Config, Message, Node, Received};
//!
//! let config = Config { binds: vec!["localhost:8080".parse()?], ..Config::default() };
//! let node = Node::new(config)?;
//! let handle = node.handle(); // stops the node, broadcasts, reads counters; from any thread
//! std::thread::spawn(move || handle.broadcast([Message::text("hello")]));
//! node.run(&mut |received: &Received<'_>| {
//!     println!("{} sent {} bytes", received.from, received.message.len());
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Architecture
//!
//! One thread, one `mio::Poll`, one slab of connections. Nothing blocks; the only other thread resolves
//! names, because the system's resolver can only block. Bytes go one way:
//!
//! ```text
//!             ┌──────────────────────────── net ────────────────────────────┐
//!  poll ────► │ token ─► connection ─► transport ─► upgrade ──┐             │
//!  (ready)    │          (one read a      (socket)   (HTTP)   ├─► Event ────┼─► node ─► output
//!             │           turn, shared               session ─┘             │   │
//!             │           buffer)                   (WebSocket)             │   │ echo,
//!             │                                                             │   │ broadcast
//!  poll ◄──── │ transport ◄─ outbox ◄─────────── frame ◄────────────────────┼───┘
//!  (writable) │ (one writev  (bounded)     (encoded once,                   │
//!             │  a turn)                    shared)                         │
//!             └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! One turn of the loop: wait until something is ready or due → take the time, once → note what is ready
//! → accept a portion → read each noted connection once, within a budget → do what is due (deadlines,
//! dialing, the periodic broadcast, which is flushed peer by peer) → flush every other connection with
//! something queued → free the slots of those that have ended. With nothing ready and nothing due the node sleeps.
//!
//! ## Modules
//!
//! | module | ring | what it owns |
//! |---|---|---|
//! | [`config`] | core | what a node is told; every bound, default and unit ([`config::limits`]) |
//! | `message`, `counters`, `printable` | core | messages; what is counted; making a peer's text safe to show |
//! | `net` | shell | connections: from sockets to whole messages and back; knows nothing of their meaning |
//! | `net::{upgrade, session, outbox, dialer, admission, backoff, keepalive, timer}` | pure | the decisions: no socket and no clock; of randomness only keys and masks, which must not be guessed |
//! | `net::{transport, socket, listener, resolver}` | shell | the system calls |
//! | `net::{network, inbound, outbound, connection}` | shell | what ties the two together |
//! | `node` | shell | the loop; the only place that sees connections and what messages mean |
//! | `cli`, `console` (in the program) | edge | options; standard output and error that never block |
//!
//! `net` never imports `node`; the core imports neither. A test holds the tree against this.
//!
//! ## Invariants
//!
//! - The clock is read once a turn, in `node`. Everything else gets the time as an argument.
//! - A token names one connection for ever: it carries a generation, and slots are freed only at the
//!   end of a turn. A stale event matches nothing.
//! - What waits for a peer in user space is in its outbox, all of it, and counted. Tungstenite works on
//!   a stream that queues every write at once, so its own buffer is always empty.
//! - A peer is not read while it leaves more of our answers (pongs, echoes) waiting than the high-water
//!   mark: what a peer makes us answer is bounded by what it takes.
//! - A peer is slow only when its socket takes no more: before a message overflows, the outbox is
//!   flushed.
//! - What was received is worked through message by message; what the node answers to one is queued
//!   before the next is looked at.
//! - After the decision to close nothing but the Close is queued: no peer sees a silent gap.
//! - Every connection has a deadline, but for an open one when pings are off.
//! - Nothing that a peer sends ends the process, and every bound has an answer: a close code, an HTTP
//!   status, a log line, a counter.

mod budget;
pub mod config;
mod counters;
mod mesh;
mod message;
mod net;
mod node;
mod node_id;
mod printable;
pub mod simulation;

pub use config::Config;
pub use counters::Counters;
pub use message::Message;
pub use net::PeerName;
pub use node::{BroadcastError, Handle, Node, Output, Received, RunError, StartError};
pub use node_id::{NodeId, NodeIdError};
pub use printable::{Excerpt, Printable};
