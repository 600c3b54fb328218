//! Sockets that systemd, or anything with its protocol, has opened for this process: `LISTEN_FDS`.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The first descriptor after the standard streams.
const FIRST: usize = 3;

/// The listening sockets that this process was started with.
///
/// # Errors
/// One of them is something else, and what to do about it.
pub(crate) fn passed_sockets() -> Result<Vec<TcpListener>, String> {
    let mut passed = ListenFd::from_env();
    let places = 0..passed.len();
    let sockets = places.map(|place| {
        let socket = passed.take_tcp_listener(place).ok().flatten();
        let listens = |socket: &TcpListener| SockRef::from(socket).is_listener();
        let socket = socket.filter(|socket| listens(socket).unwrap_or_default());
        socket.ok_or_else(|| {
            let descriptor = FIRST + place;
            format!(
                "LISTEN_FDS: descriptor {descriptor} is no TCP socket that listens; write ListenStream=ADDRESS:PORT into \
                 the socket unit, and no Accept=yes"
            )
        })
    });
    sockets.collect()
}
