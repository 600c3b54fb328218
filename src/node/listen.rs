//! Opens the addresses to listen on.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use super::StartError;
use crate::{
    config::{
        BindAddress, Config,
        limits::{DIALS_MAX, NAMED_ADDRESSES_MAX, REFUSALS_MAX, STATUS_CONNECTIONS_MAX},
    },
    net::{Entrance, Listener, Network, is_same},
};

/// Descriptors that are not for accepted connections: standard streams, poll, listeners, files.
const DESCRIPTORS_RESERVED: usize = 48;
/// Descriptors for each dial: a connection, and one more address being tried.
const DESCRIPTORS_PER_DIAL: usize = 2;
/// How often another free port is sought that is free for all addresses of a name.
const PORT_ATTEMPTS: usize = 16;

/// Listens on every address, and returns how the node is called in its broadcasts: its first address,
/// with the port that was picked.
pub(super) fn open(config: &Config, network: &mut Network) -> Result<Option<String>, StartError> {
    let unacknowledged_max = config.limits.unacknowledged_max();
    let mut name = None;
    let peers = config.binds.iter().map(|bind| (bind, Entrance::Peers));
    let status = config.status.bind.iter();
    let status = status.map(|address| (&address.0, Entrance::Status));
    let mut all = Vec::new();
    for (bind, entrance) in peers.chain(status) {
        all.push((bind, entrance, addresses_of(bind)?));
    }
    let wanted = || all.iter().flat_map(|(.., addresses)| addresses);
    let is_wanted = |passed: &SocketAddr| wanted().any(|address| is_same(*address, *passed));
    if let Some(address) = network.kernel().passed().find(|passed| !is_wanted(passed)) {
        return Err(StartError::Unwanted { address });
    }
    for (bind, entrance, addresses) in all {
        let kernel = network.kernel();
        let sockets = sockets_of(bind, &addresses, |address| {
            kernel.listen(address, unacknowledged_max)
        })?;
        for socket in sockets {
            let address = network
                .add_listener(socket, bind.is_tls(), entrance)
                .map_err(StartError::Poll)?;
            if entrance == Entrance::Peers {
                name.get_or_insert_with(|| bind.with_port(address.port()).to_string());
            }
        }
    }
    // The same address twice.
    match network.kernel().passed().next() {
        Some(address) => Err(StartError::Unwanted { address }),
        None => Ok(name),
    }
}

/// What a name stands for.
fn addresses_of(bind: &BindAddress) -> Result<Vec<SocketAddr>, StartError> {
    let resolved = (bind.host(), bind.port()).to_socket_addrs();
    let resolved = resolved.map_err(|error| StartError::Resolve {
        bind: bind.clone(),
        error,
    })?;
    let mut addresses = Vec::new();
    for address in resolved {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// One socket for each address of a name, all with the same port.
fn sockets_of(
    bind: &BindAddress,
    addresses: &[SocketAddr],
    mut listen: impl FnMut(SocketAddr) -> io::Result<Listener>,
) -> Result<Vec<Listener>, StartError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match listen_on_all(addresses, &mut listen) {
            Ok(sockets) => return Ok(sockets),
            // The port picked for the first address may be taken for the second.
            Err((_, error))
                if bind.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && attempts < PORT_ATTEMPTS => {}
            Err((address, error)) => {
                return Err(StartError::Listen {
                    bind: bind.clone(),
                    address,
                    error,
                });
            }
        }
    }
}

/// Listens on all addresses of a name. One that the machine does not have (a v6 address where v6 is
/// switched off) is left out as long as there is another.
fn listen_on_all(
    addresses: &[SocketAddr],
    mut listen: impl FnMut(SocketAddr) -> io::Result<Listener>,
) -> Result<Vec<Listener>, (SocketAddr, io::Error)> {
    let mut sockets: Vec<Listener> = Vec::new();
    let mut missing = None;
    let mut port = None;
    for address in addresses {
        let mut address = *address;
        address.set_port(port.unwrap_or(address.port()));
        match listen(address) {
            Ok(socket) => {
                port = socket.local_addr().ok().map(|address| address.port());
                sockets.push(socket);
            }
            Err(error) if is_absent(&error) => {
                log::debug!("this machine does not have {address}: {error}");
                missing = Some((address, error));
            }
            Err(error) => return Err((address, error)),
        }
    }
    match missing {
        Some(missing) if sockets.is_empty() => Err(missing),
        _ => Ok(sockets),
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Lowers `--max-connections` to what the descriptor limit of the process allows, and says so. Returns
/// too how many refused connections there is room for.
pub(super) fn fit_to_descriptors(mut config: Config) -> (Config, usize) {
    let Ok((descriptors, _)) = rlimit::Resource::NOFILE.get() else {
        return (config, REFUSALS_MAX);
    };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let refusals_max = REFUSALS_MAX.min(descriptors / 8);
    let dialed = config.peers.len() + config.named_peers.len() * NAMED_ADDRESSES_MAX;
    let for_dials = DESCRIPTORS_PER_DIAL * (dialed + DIALS_MAX);
    // Neighbors that were dialed are no accepted connections either.
    let for_neighbors = config.mesh.degree_max();
    let for_status = match config.status.bind {
        Some(_) => STATUS_CONNECTIONS_MAX,
        None => 0,
    };
    let reserved = DESCRIPTORS_RESERVED + refusals_max + for_dials + for_neighbors + for_status;
    let room = descriptors.saturating_sub(reserved).max(1);
    let wanted = config.limits.connections_max;
    if wanted > room {
        log::warn!(
            "--max-connections {wanted} lowered to {room}: the system allows this process {descriptors} descriptors"
        );
        config.limits.connections_max = room;
    }
    (config, refusals_max)
}
