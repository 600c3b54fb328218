//! Options of sockets that std does not know.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::limits::LISTEN_BACKLOG;

/// Unsent bytes that the kernel takes for one connection beyond what is in flight. Without it the
/// kernel absorbs megabytes for a peer that does not read, and our own account sees nothing of it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// Opens a listening socket. On Linux accepted connections inherit its TCP options, which spares
/// their system calls.
pub(crate) fn listen(
    address: SocketAddr,
    unacknowledged_max: Duration,
) -> io::Result<mio::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // A restarted node gets its port back at once.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    tune(&SockRef::from(&socket), unacknowledged_max)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Sets the options of an accepted connection that it did not inherit.
pub(crate) fn tune_accepted(stream: &mio::net::TcpStream, unacknowledged_max: Duration) {
    if !cfg!(target_os = "linux") {
        tune_dialed(stream, unacknowledged_max);
    }
}

/// Sets the options of a dialed connection.
pub(crate) fn tune_dialed(stream: &mio::net::TcpStream, unacknowledged_max: Duration) {
    // The connection works without them, only less well.
    if let Err(error) = tune(&SockRef::from(stream), unacknowledged_max) {
        log::debug!("cannot set TCP options: {error}");
    }
}

/// Small frames go at once, unsent bytes stay on our side, and a peer that acknowledges nothing
/// (or whose window stays shut) for `unacknowledged_max` is dropped by the kernel.
fn tune(socket: &SockRef<'_>, unacknowledged_max: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.set_tcp_user_timeout(Some(unacknowledged_max))?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = unacknowledged_max;
    Ok(())
}
