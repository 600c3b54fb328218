//! wsmesh as a server under test, through its library.

use wsmesh::config::{Limits, MeshConfig, SlowPeer, TlsConfig};
use wsmesh::{Config, Message, Node, Received};

use std::net::SocketAddr;
use std::time::Duration;

use crate::command::{self, ServerCommand};
use crate::keys::Keys;
use crate::{Outcome, wire};

/// More connections than any scenario opens, all from one address.
const CONNECTIONS_MAX: usize = 100_000;

/// How often it is looked whether the neighbors are there.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Serves until standard input ends.
pub(crate) fn run(
    slow_peer: SlowPeer,
    dial: Option<SocketAddr>,
    keys: Option<&Keys>,
) -> Outcome<()> {
    let peers = dial.map(|address| format!("ws://{address}").parse());
    let config = Config {
        binds: vec![match keys {
            None => "127.0.0.1:0".parse()?,
            Some(_) => "wss://127.0.0.1:0".parse()?,
        }],
        tls: TlsConfig {
            cert: keys.map(Keys::cert),
            key: keys.map(Keys::key),
            ..TlsConfig::default()
        },
        peers: peers.into_iter().collect::<Result<_, _>>()?,
        interval: None,
        slow_peer,
        // Nodes in a row stay in it: none looks for another neighbor.
        mesh: MeshConfig {
            degree: 1,
            ..MeshConfig::default()
        },
        limits: Limits {
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_MAX,
            handshakes_max: CONNECTIONS_MAX,
            ping_interval: None,
            publish_rate_max: None,
            publish_bytes_max: None,
            ..Limits::default()
        },
        ..Config::default()
    };
    let node = Node::new(config)?;
    let handle = node.handle();
    for address in node.local_addresses() {
        println!("listening on {address}");
    }
    std::thread::spawn(move || {
        while let Ok(Some(command)) = command::next() {
            let (count, bytes) = match command {
                ServerCommand::Broadcast { count, bytes } => (count, bytes),
                ServerCommand::Coalesce { .. } => continue,
                ServerCommand::Await { neighbors } => {
                    while handle.counters().neighbors < neighbors {
                        std::thread::sleep(LOOK_INTERVAL);
                    }
                    println!("joined");
                    continue;
                }
            };
            // Each with memory of its own, as messages of a real application have.
            let messages = (0..count).map(|_| Message::Text(wire::text(bytes).into()));
            if let Err(error) = handle.broadcast(messages) {
                eprintln!("the broadcast was refused: {error}");
            }
        }
        handle.stop();
    });
    node.run(&mut |_: &Received<'_>| {})?;
    Ok(())
}
