//! What one peer that behaves badly does to the others: with it and without it in turns, by ratios.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::subject::Node;
use crate::{Arguments, Outcome, median};

/// Time to the last of those who read, with one that does not, of that without.
const READER_MAX: f64 = 1.05;
/// The slowest of a hundred of one publisher's deliveries, beside one that floods, of that without.
const FLOOD_MAX: f64 = 3.0;
/// Messages a second of the one that floods: as many as it may for as long as it likes.
const FLOOD_RATE: u32 = 4900;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disturber {
    /// Reads nothing.
    Stopped,
    /// Reads a little, again and again.
    Slow,
    /// Publishes as much as it may, in the channel of the others.
    Flooding,
}

/// Returns whether nobody is disturbed more than wanted.
pub(crate) fn run(arguments: &Arguments) -> Outcome<bool> {
    let (many, few, rounds, duration) = match arguments.bench {
        true => (1000, 100, 9, "3s"),
        false => (20, 5, 1, "100ms"),
    };
    let rounds = arguments.rounds.unwrap_or(rounds).max(1);
    let large = ["--rate", "20", "--size", "16KiB", "--duration", duration];
    let small = ["--rate", "100", "--size", "64B", "--duration", duration];
    let reader = Disturbed {
        node: &["--slow-peer", "drop-oldest"],
        listeners: many,
        load: &large,
        figure: "/measure/last_us/p50",
    };
    let publisher = Disturbed {
        node: &[],
        listeners: few,
        load: &small,
        figure: "/measure/delivery_us/p99",
    };
    let cases = [
        (
            "a receiver that has stopped, time to the last of the others",
            &reader,
            Disturber::Stopped,
            READER_MAX,
        ),
        (
            "a receiver that is slow, time to the last of the others",
            &reader,
            Disturber::Slow,
            READER_MAX,
        ),
        (
            "a publisher that floods, p99 of another's deliveries",
            &publisher,
            Disturber::Flooding,
            FLOOD_MAX,
        ),
    ];
    let mut is_met = true;
    println!("| beside | without it | with it | ratio | wanted |\n|---|---|---|---|---|");
    for (name, disturbed, disturber, wanted) in cases {
        eprintln!("{name} …");
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            pairs.push((
                disturbed.measure(None)?,
                disturbed.measure(Some(disturber))?,
            ));
        }
        let ratio = median(pairs.iter().map(|(without, with)| with / without));
        let (without, with) = (
            median(pairs.iter().map(|pair| pair.0)),
            median(pairs.iter().map(|pair| pair.1)),
        );
        println!("| {name} | {without:.0} µs | {with:.0} µs | {ratio:.2} | {wanted:.2} |");
        is_met &= ratio <= wanted;
    }
    println!();
    Ok(is_met)
}

/// Those who are to be left in peace.
struct Disturbed<'a> {
    node: &'a [&'a str],
    listeners: usize,
    load: &'a [&'a str],
    figure: &'static str,
}

impl Disturbed<'_> {
    fn measure(&self, disturber: Option<Disturber>) -> Outcome<f64> {
        let node = Node::start(self.node)?;
        let disturbing = disturber.map(|disturber| Disturbing::start(disturber, node.address()));
        let disturbing = disturbing.transpose()?;
        let report = node.load(self.listeners + 1, self.load)?;
        if disturbing.is_some_and(Disturbing::has_ended) {
            return Err("the node has thrown out the one that should disturb".into());
        }
        report.figure(self.figure)
    }
}

/// A thread that does what it should not until this goes.
struct Disturbing {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Disturbing {
    fn start(disturber: Disturber, server: SocketAddr) -> Outcome<Self> {
        let stream = upgraded(server)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::spawn(move || match disturber {
            Disturber::Stopped => wait(stream, &until),
            Disturber::Slow => trickle(stream, &until),
            Disturber::Flooding => flood(stream, &until),
        });
        let thread = Some(thread);
        Ok(Self { is_over, thread })
    }

    /// It could not go on.
    fn has_ended(self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Disturbing {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

/// A peer that takes little before the node has to wait for it.
fn upgraded(server: SocketAddr) -> Outcome<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(&server.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(stream),
        false => Err(String::from_utf8_lossy(&head).into()),
    }
}

const REST: Duration = Duration::from_millis(20);

fn wait(stream: TcpStream, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(REST);
    }
    drop(stream);
}

fn trickle(mut stream: TcpStream, is_over: &AtomicBool) {
    let mut buffer = [0; 1024];
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(REST);
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// Publishes at its rate, made up for when it was late, and throws away what it hears.
fn flood(mut stream: TcpStream, is_over: &AtomicBool) {
    let Ok(mut ears) = stream.try_clone() else {
        return;
    };
    let listener = thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while ears.read(&mut buffer).is_ok_and(|len| len > 0) {}
    });
    // A text of 64 bytes, masked with zeros.
    let mut frame = vec![0x81, 0x80 | 64, 0, 0, 0, 0];
    frame.extend([b'x'; 64]);
    let (start, mut sent) = (Instant::now(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(FLOOD_RATE)) as usize;
        if stream.write_all(&frame.repeat(due - sent)).is_err() {
            return;
        }
        sent = due;
        thread::sleep(Duration::from_millis(1));
    }
    // So that who listens hears an end. The node may have gone already.
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = listener.join();
}
