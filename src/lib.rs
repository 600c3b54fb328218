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
//! let handle = node.handle(); // publishes, broadcasts, reads counters, stops; from any thread
//! std::thread::spawn(move || handle.publish("/sensors", Message::text("21.5")));
//! node.run(&mut |received: &Received<'_>| {
//!     println!("{} sent {} bytes in {}", received.from, received.message.len(), received.path);
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Architecture
//!
//! One thread, one `mio::Poll`, one slab of connections. Nothing blocks; the only other threads resolve
//! names, because the system's resolver can only block, and wait for the end of a minute in which the log left lines out.
//! Bytes go one way:
//!
//! ```text
//!             ┌──────────────────────────── net ────────────────────────────┐
//!  poll ────► │ token ─► connection ─► transport ─► upgrade ──┐             │
//!  (ready)    │          (one read a   (socket, TLS) (HTTP)   ├─► Event ────┼─► node::relay ─► output
//!             │           turn, shared               session ─┘             │    │    ▲  │
//!             │           buffer)                   (WebSocket)             │    │    │  └ gathered for plain
//!             │                                                             │    ▼    │    peers of a channel
//!             │                                                             │   mesh ─► Output
//!  poll ◄──── │ transport ◄─ outbox ◄─────────── frame ◄────────────────────┼─── Send, Dial, Close,
//!  (writable) │ (one writev  (bounded)     (encoded once,                   │    echo, broadcast
//!             │  a turn,                    shared)                         │
//!             │  or TLS)                                                    │
//!             └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! What a plain peer sends is *published*: it goes to the node's output, to the plain peers of its channel,
//! and by the mesh to all other nodes, which do the same. What neighbors send goes to the mesh, which says
//! what of it is to be delivered and what to be passed on.
//!
//! One turn of the loop: wait until something is ready or due → take the time, once → note what is ready
//! → accept a portion → read each noted connection once, within a budget, and those that have not upgraded yet within one of their
//! own, in which addresses take turns → do what is due (deadlines,
//! dialing, the mesh, the periodic broadcast, which is flushed peer by peer) → send what was gathered for
//! channels, peer by peer too → flush every other connection with something queued → free the slots of those
//! that have ended, which the mesh may want to tell others. With nothing ready and nothing due the node sleeps.
//!
//! With TLS, `transport` lets `net::tls` stand between the socket and the two ends that it has, the loop's buffer
//! and the outbox; all above is the same. During the TLS handshake a dial's request waits in the outbox, and an
//! accepted connection is one that has not sent its request yet, so that the deadline and the limits of upgrades
//! hold for it. A step of a handshake takes time and counts against what handshakes have of the turn. The end is a
//! close_notify before the socket's; a peer that leaves it out was cut off. SIGHUP makes `net::tls::Settings`
//! anew of the files; each connection keeps what it began with. So it is with what a configuration says that is told
//! anew: `config` knows what of it can be in force at once, and the rest waits for the next start.
//!
//! ## Modules
//!
//! | module | ring | what it owns |
//! |---|---|---|
//! | [`config`] | core | what a node is told; every bound, default and unit ([`config::limits`]) |
//! | `message`, `node_id`, `counters`, `printable`, `rate` | core | messages; names of nodes; what is counted; making a peer's text safe to show; how much may come in a second |
//! | `framing` | core | how messages follow one another in a stream of bytes |
//! | `pages` | core | what the status listener answers: a snapshot in, bytes out; the page for browsers |
//! | `subprotocol` | core | what two nodes agree on before they speak |
//! | `net` | shell | connections: from sockets to whole messages and back; who is a neighbor, who is in which channel, whom to dial; knows nothing of what messages mean |
//! | `net::access` | pure but for reading | who may come in, and as what: tokens with their rights, pages of browsers |
//! | `net::{upgrade, introduction, tunnel, session, outbox, dialer, channels, admission, arrivals, advances, intake, backoff, names, keepalive, spread, timer}` | pure | the decisions: no socket and no clock; of randomness only keys and masks, which must not be guessed |
//! | `net::files` | shell | files that options name |
//! | `net::tls` | shell | certificates and keys, from files; encrypting between `transport` and outbox, on sockets that others hold; what went wrong, in words |
//! | `net::{kernel, transport, socket, listener, resolver}` | shell | the system calls; `kernel` is where sockets come from |
//! | `net::{network, shared, peers, inbound, room, outbound, reading, sending, ending, reloading, following, memory, connection}` | shell | what ties the two together; `room`: who gives way to others before the upgrade; `memory`: what all connections hold |
//! | `mesh` | core | the protocol between nodes, without I/O: who is a neighbor of whom, which way messages take, that each is taken in once |
//! | `node` | shell | the loop; the only place that sees connections and what messages mean |
//! | `node::{relay, broadcast, intake}` | shell | what becomes of messages: between connections and mesh; the periodic broadcast; what is published of a stream |
//! | `node::stopping` | shell | how a node goes: neighbors hear of it first and are closed last |
//! | `node::reloading` | shell | what the node is told anew while it runs |
//! | `node::memory` | shell | how much all peers together may make the node hold, and who gives it up |
//! | `node::ordeal`, `net::kernel::simulated` (in tests) | shell | whole nodes on a simulated kernel and clock, made by a seed; what must hold after every turn |
//! | `node::status` | shell | how the node stands, for who asks at the status listener |
//! | [`simulation`] | edge | the mesh on thousands of virtual nodes, what it must show there, and what it is compared with |
//! | `fuzzing` (in tests) | edge | what is fed with arbitrary bytes, and what must hold then; the targets stand beside what they feed |
//! | `supervisor` | shell | what systemd is told: ready, reading files again, stopping, how it stands, that the loop turns |
//! | `output`, `feed` | shell | where messages go that are received, and where those come from that are read from a stream |
//! | [`client`] | edge | publishing and listening as a plain peer: a third loop around `net`, of one connection |
//! | [`fanout`] | edge | load tests of any WebSocket server: another loop around `net`, with decisions of its own |
//! | `cli`, `console`, `activation` (in the program) | edge | options; standard output and error that never block, log lines within their bounds; sockets that were opened before |
//!
//! `net` never imports `node` or `mesh`; the core imports neither `net` nor `node`; `simulation` drives `mesh` in
//! place of both, `fanout` and `client` drive `net` in place of `node`, and nothing of the three is part of a running node. A test
//! holds the tree against this.
//!
//! ## Invariants
//!
//! - The clock is read once a turn, in `node`, and once more at its end, only to count how long it took; all sockets come from `net::kernel`. Time and chances are arguments
//!   of everything else. (`supervisor` reads it for systemd, which wants a number; the log has a calendar. A load test has a loop of its own, and reads the clock for each thing that it has received,
//!   too. For the dates of certificates, rustls looks at the calendar by itself.)
//! - A token names one connection for ever: it carries a generation, and slots are freed only at the
//!   end of a turn. A stale event matches nothing. So it is with the id of a dial.
//! - A neighbor is who negotiated our subprotocol and, if we dialed, said that it is a node. Everyone
//!   else is a plain peer, and that a server declines the offer is no reason not to be connected.
//! - Who may come in is judged with the request head, before anything is kept of who asks; of a token nothing is kept
//!   but its hash, and of what it allows two rights of the connection.
//! - Whom a proxy asks for is known with the request head, or before it with the PROXY protocol. Until then its connection counts among all, and for no
//!   address; from then on it is one of its client, in every respect.
//! - A handshake waits for no more than one of each other address: those that have not upgraded are read in turns by network
//!   and address, little of it in one turn of the loop, and when they have all their places, whose address has most of
//!   them gives one up. To answer TLS takes long, so a network whose handshakes come to nothing waits for its next ones.
//! - A plain peer that may listen is in the index of its channel from the upgrade until its slot is free.
//! - What waits for a peer in user space is in its outbox, all of it, and counted. Tungstenite works on
//!   a stream that queues every write at once, so its own buffer is always empty. With TLS, beside it are the
//!   bytes that are encrypted already, some records at most.
//! - Received bytes that are decrypted and wait raise no event: a connection stays noted to be read until its
//!   buffers are as empty as its socket.
//! - A connection in clear pays nothing for those with TLS: its frames are shared and written as they are.
//! - Who asks at the status listener is no peer and has places of its own, so that a full node can be looked at. It is
//!   answered in its turn of the loop, from counters that are kept anyway and a bounded number of peers, and then closed.
//!   An upgrade there makes a plain peer like any other, and never a neighbor.
//! - A peer is not read while it leaves more of our answers (pongs, echoes) waiting than the high-water
//!   mark: what a peer makes us answer is bounded by what it takes.
//! - A peer is slow only when its socket takes no more: before a message overflows, the outbox is
//!   flushed. A neighbor that is slow is closed, whatever the policy for plain peers: it misses nothing
//!   without knowing.
//! - What connections and history hold is accounted for as it changes, a connection's own with the connection and a shared
//!   frame once, by itself. At the end of a turn it is within `--memory`: who holds most has given it up. During a turn it
//!   is above it by no more than the turn takes in.
//! - What is gathered for channels in a turn is sent in that turn: it is bounded by what a turn reads.
//! - Nothing is sent to a neighbor but what the mesh says, and what is for direct peers only to those that
//!   have said hello.
//! - A plain peer that sends faster than it may is closed, or not read until its deadline, which wakes the loop once; its
//!   silence until then is ours. What has come already is taken, a read at most, and made up for by waiting longer.
//! - A stream is read no faster than its slowest listener takes it, unless that takes nothing for a while: then the limit
//!   of the outbox has its answer.
//! - What was received is worked through message by message; what the node answers to one is queued
//!   before the next is looked at.
//! - After the decision to close nothing but the Close is queued: no peer sees a silent gap.
//! - A node that goes relays to the last, and what its plain peers say before they answer their Close is published: neighbors
//!   are closed when no other peer is left. They have said by then that they count on it no more, unless there is no time.
//! - Every connection has a deadline, but for an open one when pings are off.
//! - Nothing that a peer sends ends the process, and every bound has an answer: a close code, an HTTP
//!   status, a log line, a counter.
//! - What happens is logged as often as it happens, whoever causes it; the program's logger bounds what is written of each
//!   place in the code. (Who uses the library with a logger of their own should do the same.) What only repeats, such as the
//!   same failure to dial, is said at `debug`.
//! - A listening socket that somebody else has opened takes the place of the one that would be opened for its address, and
//!   changes nothing else.

mod budget;
pub mod client;
pub mod config;
mod counters;
pub mod fanout;
mod feed;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod mesh;
mod message;
mod net;
mod node;
mod node_id;
mod output;
mod pages;
mod printable;
mod rate;
mod signals;
pub mod simulation;
mod subprotocol;
mod supervisor;

pub use config::Config;
pub use counters::Counters;
pub use feed::Input;
pub use framing::{Decoder, Framing, Piece};
pub use message::Message;
pub use net::{FileError, FilesError, PeerName, TlsError};
pub use node::{BroadcastError, Handle, IntakeConfig, Node, PublishError, RunError, StartError};
pub use node_id::{NodeId, NodeIdError};
pub use output::{Output, Received};
pub use printable::{Excerpt, Printable, Quoted};
pub use supervisor::{Supervisor, SupervisorError};
