//! Options of sockets that std does not know.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::limits::LISTEN_BACKLOG;

/// Unsent bytes that the kernel takes for one connection beyond what is in flight. Without it the
/// kernel absorbs megabytes for a peer that does not read, and our own account sees nothing of it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// The kernel takes milliseconds in 31 bits.
#[cfg(any(target_os = "linux", target_os = "android"))]
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

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
    tune(&SockRef::from(&socket), unacknowledged_max);
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Makes a listening socket that somebody else has opened like one of ours.
pub(crate) fn take_over(
    socket: std::net::TcpListener,
    unacknowledged_max: Duration,
) -> io::Result<mio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    let options = SockRef::from(&socket);
    options.listen(LISTEN_BACKLOG)?;
    tune(&options, unacknowledged_max);
    Ok(mio::net::TcpListener::from_std(socket))
}

/// Starts to connect, from one of our addresses and ports or from any.
pub(crate) fn connect(
    address: SocketAddr,
    source: Option<SocketAddr>,
    unacknowledged_max: Duration,
) -> io::Result<mio::net::TcpStream> {
    let stream = match source {
        Some(source) => connect_from(source, address)?,
        None => mio::net::TcpStream::connect(address)?,
    };
    tune(&SockRef::from(&stream), unacknowledged_max);
    Ok(stream)
}

/// Starts to connect from one of our addresses and ports, which may have been in use until just now.
fn connect_from(source: SocketAddr, to: SocketAddr) -> io::Result<mio::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Else a port rests for a minute after each connection.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&source.into())?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

/// Sets the options of an accepted connection that it did not inherit.
pub(crate) fn tune_accepted(stream: &mio::net::TcpStream, unacknowledged_max: Duration) {
    if !cfg!(target_os = "linux") {
        tune(&SockRef::from(stream), unacknowledged_max);
    }
}

/// Small frames go at once, unsent bytes stay on our side, and a peer that acknowledges nothing
/// (or whose window stays shut) for `unacknowledged_max` is dropped by the kernel. A connection works
/// without each of these, only less well.
fn tune(socket: &SockRef<'_>, unacknowledged_max: Duration) {
    let tell = |option: &str, result: io::Result<()>| {
        if let Err(error) = result {
            log::debug!("cannot set {option}: {error}");
        }
    };
    tell("TCP_NODELAY", socket.set_tcp_nodelay(true));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let timeout = unacknowledged_max.min(USER_TIMEOUT_MAX);
        tell(
            "TCP_USER_TIMEOUT",
            socket.set_tcp_user_timeout(Some(timeout)),
        );
        tell(
            "TCP_NOTSENT_LOWAT",
            socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX),
        );
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = unacknowledged_max;
}
