//! A way between nodes that a test can cut without a word: packets vanish, connections stay.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How soon a connection on which nothing comes notices a change.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A cable that all connections of some [`Proxy`]s go through.
#[derive(Clone, Default)]
pub(super) struct Cable {
    /// Counts cutting and mending: cut while odd.
    changes: Arc<AtomicUsize>,
}

impl Cable {
    /// From now on nothing passes, and nobody is told.
    pub(super) fn cut(&self) {
        assert_eq!(self.changes.fetch_add(1, Ordering::SeqCst) % 2, 0);
    }

    /// New connections pass. Those that something was lost of end, as both ends find out by a reset.
    pub(super) fn mend(&self) {
        assert_eq!(self.changes.fetch_add(1, Ordering::SeqCst) % 2, 1);
    }

    fn state(&self) -> usize {
        self.changes.load(Ordering::SeqCst)
    }
}

/// Listens, and forwards each connection to one address, by way of a cable.
pub(super) struct Proxy {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Proxy {
    #[track_caller]
    pub(super) fn start(target: SocketAddr, cable: &Cable) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, cable) = (Arc::clone(&is_over), cable.clone());
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                forward(near, target, &cable, &over);
            }
        });
        Proxy { address, is_over }
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if nobody listens any more, it is awake.
        let _ = TcpStream::connect(self.address);
    }
}

fn forward(near: TcpStream, target: SocketAddr, cable: &Cable, is_over: &Arc<AtomicBool>) {
    // Whoever is not there is not there on this side either.
    let Ok(far) = TcpStream::connect(target) else {
        return;
    };
    let born = cable.state();
    let twin = |stream: &TcpStream| stream.try_clone().expect("a descriptor is left");
    for (from, to) in [(twin(&near), twin(&far)), (far, near)] {
        from.set_read_timeout(Some(LOOK_INTERVAL))
            .expect("SO_RCVTIMEO");
        to.set_nodelay(true).expect("TCP_NODELAY");
        let (cable, is_over) = (cable.clone(), Arc::clone(is_over));
        thread::spawn(move || pump(from, to, born, &cable, &is_over));
    }
}

/// Passes on what comes; of a connection that was there during a cut, or began in one, nothing any more.
fn pump(mut from: TcpStream, mut to: TcpStream, born: usize, cable: &Cable, is_over: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    let mut has_ended = false;
    while !is_over.load(Ordering::SeqCst) {
        let is_mended = |state: usize| state.is_multiple_of(2);
        let is_whole = |state: usize| state == born && is_mended(state);
        let state = cable.state();
        if !is_whole(state) && is_mended(state) {
            break;
        }
        if has_ended {
            thread::sleep(LOOK_INTERVAL);
            continue;
        }
        match from.read(&mut buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // What came while the cable was being cut is lost as well.
            Ok(len) if len > 0 => {
                if is_whole(cable.state()) && to.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            Ok(_) | Err(_) if is_whole(cable.state()) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            // The other side hears of the end when the cable is mended.
            Ok(_) | Err(_) => has_ended = true,
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
