//! What floods of handshakes that never finish do to those that do: without a flood, beside it, and while it goes to
//! somebody else, in turns.
//!
//! A node listens in clear and with TLS, with its bounds as they are by default. Somebody comes every few milliseconds:
//! connects, upgrades, and waits for the answer to a ping. Who has to wait for the one before has come when it should
//! have, or one long wait would hide many. A flood from another address holds as many connections as that may have, nearly,
//! and replaces the oldest at its rate; each says what it says and no more. On the core that it shares with who comes it runs
//! only while nobody else wants to; whether it was a flood all the same is told by what it has reached. What it takes of that
//! core even so, and of the machine, it takes while it goes to somebody else, too: the rest is what it does by way of the node.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, SockRef, Socket, Type};

use crate::keys::{Keys, NAME};
use crate::subject::{Node, beside};
use crate::{Arguments, Outcome, median};

/// The slowest of a hundred handshakes beside a flood, of that without.
const SLOWEST_MAX: f64 = 2.0;

/// Connections of a flood: one address may have 2,048 that have not upgraded …
const FLOOD_HOLDS: usize = 2000;
/// … and those that it replaces in a second.
const FLOOD_RATE: f64 = 1000.0;
const FLOOD_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// From one who comes to the next.
const INTERVAL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// What each connection of a flood says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Flood {
    Nothing,
    HalfHead,
    HalfHello,
    Hello,
}

/// What a process of this benchmark does instead of measuring.
#[derive(Args)]
pub(crate) struct Errand {
    #[arg(long, hide = true)]
    flood: Option<Flood>,
    /// Handshakes to be made and timed.
    #[arg(long, hide = true)]
    come: Option<usize>,
    #[arg(long, hide = true)]
    server: Option<SocketAddr>,
    /// Where the certificate of the server is, if it speaks TLS.
    #[arg(long, hide = true)]
    keys: Option<PathBuf>,
    /// Connections that a flood holds.
    #[arg(long, hide = true)]
    hold: Option<usize>,
}

pub(crate) enum Role {
    Flood(Flood, usize, Option<SocketAddr>),
    Come(usize, SocketAddr, Option<PathBuf>),
}

impl Errand {
    pub(crate) fn role(&self) -> Option<Role> {
        let flood = |flood| Role::Flood(flood, self.hold.unwrap_or(FLOOD_HOLDS), self.server);
        let come = |times| Some(Role::Come(times, self.server?, self.keys.clone()));
        self.flood.map(flood).or_else(|| self.come.and_then(come))
    }
}

impl Role {
    pub(crate) fn run(self) -> Outcome<()> {
        match self {
            Self::Flood(flood, hold, Some(server)) => flood.run(hold, server),
            Self::Flood(flood, hold, None) => flood.run(hold, somebody(hold)?),
            Self::Come(times, server, folder) => {
                let tls = folder.map(|folder| Keys::of(folder).client()).transpose()?;
                let mut comes_at = Instant::now();
                for _ in 0..times {
                    thread::sleep(comes_at.saturating_duration_since(Instant::now()));
                    shake_hands(server, tls.as_ref())?;
                    println!("{}", comes_at.elapsed().as_secs_f64() * 1e6);
                    comes_at += INTERVAL;
                }
                Ok(())
            }
        }
    }
}

/// Returns whether nobody waits longer than wanted.
pub(crate) fn run(arguments: &Arguments) -> Outcome<bool> {
    let (times, rounds, hold) = match arguments.bench {
        true => (400, 7, FLOOD_HOLDS),
        false => (3, 1, 20),
    };
    let rounds = arguments.rounds.unwrap_or(rounds).max(1);
    let keys = Keys::make()?;
    let outcome = measure(&keys, times, rounds, hold);
    keys.remove()?;
    outcome
}

/// One kind of handshake and of flood.
struct Case {
    flood: Flood,
    kind: usize,
    rounds: Vec<Round>,
}

/// The slowest of a hundred handshakes, in microseconds.
struct Round {
    alone: f64,
    /// While the flood goes to somebody else.
    elsewhere: f64,
    beside: f64,
    /// Connections a second that the flood has opened here.
    rate: f64,
}

const KINDS: [&str; 2] = ["in clear", "with TLS"];

fn measure(keys: &Keys, times: usize, rounds: usize, hold: usize) -> Outcome<bool> {
    let mut cases: Vec<_> = Flood::value_variants()
        .iter()
        .flat_map(|&flood| {
            (0..KINDS.len()).map(move |kind| Case {
                flood,
                kind,
                rounds: Vec::new(),
            })
        })
        .collect();
    for round in 1..=rounds {
        for case in &mut cases {
            eprintln!(
                "handshakes {} beside {:?}, round {round} of {rounds} …",
                KINDS[case.kind], case.flood
            );
            let node = listen(keys)?;
            let (alone, _) = slowest(keys, case.kind, &node, times, None)?;
            let flooding = Flooding::start(case.flood, hold, None)?;
            let (elsewhere, _) = slowest(keys, case.kind, &node, times, Some(flooding))?;
            let flooding = Flooding::start(case.flood, hold, Some(&node))?;
            let (beside, rate) = slowest(keys, case.kind, &node, times, Some(flooding))?;
            case.rounds.push(Round {
                alone,
                elsewhere,
                beside,
                rate,
            });
        }
    }
    let mut is_met = true;
    println!(
        "| handshake | beside connections that say | a second | p99 alone | the flood elsewhere | beside it \
         | of elsewhere | of alone | wanted |\n|---|---|---|---|---|---|---|---|---|"
    );
    for case in &cases {
        let all = |figure: fn(&Round) -> f64| median(case.rounds.iter().map(figure));
        let (alone, elsewhere, beside) = (
            all(|round| round.alone),
            all(|round| round.elsewhere),
            all(|round| round.beside),
        );
        let rate = all(|round| round.rate);
        let of_alone = all(|round| round.beside / round.alone);
        let of_elsewhere = all(|round| round.beside / round.elsewhere);
        let (kind, said) = (KINDS[case.kind], case.flood.said());
        println!(
            "| {kind} | {said} | {rate:.0} | {alone:.0} µs | {elsewhere:.0} µs | {beside:.0} µs \
             | {of_elsewhere:.2} | {of_alone:.2} | {SLOWEST_MAX:.2} |"
        );
        is_met &= of_alone < SLOWEST_MAX;
    }
    println!();
    Ok(is_met)
}

/// A node that listens in clear and with TLS.
fn listen(keys: &Keys) -> Outcome<Node> {
    let (cert, key) = (keys.cert(), keys.key());
    let path = |path: &PathBuf| path.display().to_string();
    let options = ["--tls-cert", &path(&cert), "--tls-key", &path(&key)];
    Node::listening(&["127.0.0.1:0", "wss://127.0.0.1:0"], &options)
}

/// The slowest but one in a hundred of so many handshakes with the node, in microseconds; and how many connections a second
/// the flood meanwhile has opened.
fn slowest(
    keys: &Keys,
    kind: usize,
    node: &Node,
    times: usize,
    flooding: Option<Flooding>,
) -> Outcome<(f64, f64)> {
    let mut command = beside()?;
    command.args(["--come", &times.to_string()]);
    command.args(["--server", &node.addresses()[kind].to_string()]);
    if kind == 1 {
        command.arg("--keys").arg(keys.folder());
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let rate = flooding.map_or(Ok(0.0), Flooding::end)?;
    let lines = String::from_utf8(output.stdout)?;
    let mut took = Vec::with_capacity(times);
    for line in lines.lines() {
        took.push(line.parse::<f64>()?);
    }
    if took.len() != times || !output.status.success() {
        return Err(format!("{} of {times} handshakes came about", took.len()).into());
    }
    took.sort_by(f64::total_cmp);
    Ok((took[(times * 99).div_ceil(100) - 1], rate))
}

/// A flood, which ends with this.
struct Flooding {
    child: Child,
    told: Lines<BufReader<ChildStdout>>,
}

impl Flooding {
    /// Without a node it goes to somebody else.
    fn start(flood: Flood, hold: usize, node: Option<&Node>) -> Outcome<Self> {
        let place = usize::from(flood.is_of_tls());
        let name = flood.to_possible_value().ok_or("it has a name")?;
        let program = beside()?;
        // The command line of `taskset`, and that of `chrt` before it.
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0"])
            .arg(program.get_program())
            .args(program.get_args())
            .args(["--flood", name.get_name(), "--hold", &hold.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(node) = node {
            command.args(["--server", &node.addresses()[place].to_string()]);
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("it is piped")?;
        let told = BufReader::new(stdout).lines();
        let mut flooding = Self { child, told };
        match flooding.told.next() {
            Some(Ok(_)) => Ok(flooding),
            _ => Err("the flood does not come about".into()),
        }
    }

    /// Returns how many connections it has opened a second.
    fn end(mut self) -> Outcome<f64> {
        drop(self.child.stdin.take());
        let rate = self.told.next().ok_or("the flood has ended by itself")??;
        Ok(rate.parse()?)
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        // It may have gone by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Flood {
    fn said(self) -> &'static str {
        match self {
            Self::Nothing => "nothing, where TLS is spoken",
            Self::HalfHead => "half a request head",
            Self::HalfHello => "half a ClientHello",
            Self::Hello => "a ClientHello and nothing more",
        }
    }

    /// Whether it floods where TLS is spoken.
    fn is_of_tls(self) -> bool {
        self != Self::HalfHead
    }

    fn words(self) -> Outcome<Vec<u8>> {
        let hello = || {
            let nobody = ClientConfig::builder_with_provider(Arc::new(
                rustls::crypto::ring::default_provider(),
            ))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
            let mut hello = Vec::new();
            ClientConnection::new(Arc::new(nobody), NAME.try_into()?)?.write_tls(&mut hello)?;
            Ok::<_, Box<dyn std::error::Error>>(hello)
        };
        Ok(match self {
            Self::Nothing => Vec::new(),
            Self::HalfHead => b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgr".to_vec(),
            Self::HalfHello => {
                let hello = hello()?;
                hello[..hello.len() / 2].to_vec()
            }
            Self::Hello => hello()?,
        })
    }

    /// Until standard input ends.
    fn run(self, hold: usize, server: SocketAddr) -> Outcome<()> {
        rlimit::increase_nofile_limit(u64::MAX)?;
        let words = self.words()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            until.store(true, Ordering::Relaxed);
        });
        let mut held = VecDeque::new();
        for _ in 0..hold {
            held.push_back(begun(server, &words)?);
        }
        println!("ready");
        let (start, mut opened) = (Instant::now(), 0_u32);
        while !is_over.load(Ordering::Relaxed) {
            while f64::from(opened) < start.elapsed().as_secs_f64() * FLOOD_RATE {
                held.pop_front();
                held.push_back(begun(server, &words)?);
                opened += 1;
            }
            thread::sleep(Duration::from_micros(500));
        }
        println!("{}", f64::from(opened) / start.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Somebody who takes connections and keeps as many as a flood has.
fn somebody(hold: usize) -> Outcome<SocketAddr> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(FLOOD_ADDRESS, 0).into())?;
    socket.listen(i32::try_from(hold)?)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let mut held = VecDeque::new();
        for stream in listener.incoming() {
            held.push_back(stream);
            if held.len() > hold {
                held.pop_front();
            }
        }
    });
    Ok(address)
}

/// A connection of a flood, which says what it says and no more.
fn begun(server: SocketAddr, words: &[u8]) -> Outcome<Socket> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(FLOOD_ADDRESS, 0).into())?;
    socket.connect(&server.into())?;
    socket.set_linger(Some(Duration::ZERO))?;
    // The node may have hung up already.
    let _ = socket.send(words);
    Ok(socket)
}

/// Connects, upgrades, and has a ping answered.
fn shake_hands(server: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Outcome<()> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A reset leaves no port that has to rest.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    match tls {
        None => upgrade(stream),
        Some(tls) => {
            let tls = ClientConnection::new(Arc::clone(tls), NAME.try_into()?)?;
            upgrade(StreamOwned::new(tls, stream))
        }
    }
}

fn upgrade(mut stream: impl Read + Write) -> Outcome<()> {
    stream.write_all(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
    while !heard.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut buffer)?;
        heard.extend_from_slice(&buffer[..read]);
        if read == 0 {
            break;
        }
    }
    if !heard.starts_with(b"HTTP/1.1 101 ") {
        return Err(String::from_utf8_lossy(&heard).into());
    }
    // A ping without payload, masked, and its pong.
    stream.write_all(&[0x89, 0x80, 0, 0, 0, 0])?;
    let mut pong = [0; 2];
    stream.read_exact(&mut pong)?;
    match pong {
        [0x8A, 0] => Ok(()),
        _ => Err(format!("{pong:?} is no pong").into()),
    }
}
