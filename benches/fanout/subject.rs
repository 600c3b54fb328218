//! One server under test with its own generator, each a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::{GeneratorCommand, ServerCommand};
use crate::keys::Keys;
use crate::servers::{SERVERS, Server};
use crate::{Outcome, Role, measure};

/// The core of the servers: one at a time is busy.
const SERVER_CORE: usize = 0;
/// The core of the generators.
const GENERATOR_CORE: usize = 1;

/// Longest silence of a role before the run is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A process is quiet when its CPU time stands still for this long.
const QUIET: Duration = Duration::from_millis(4);

/// Longest wait for that.
const QUIET_TIMEOUT: Duration = Duration::from_secs(20);

/// Time after which a peer's TCP acknowledges the next segments at once (its retransmission
/// timeout, 200 ms here). Half of a delivery's cost depends on it, so each sample starts so: it is
/// also the state in which a periodic broadcast finds its peers.
const PAUSE: Duration = Duration::from_millis(300);

/// What some work has cost.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// User and system time of the server.
    pub(crate) cpu: Duration,
    /// From the command to the last byte received.
    pub(crate) elapsed: Duration,
    /// Share of a core that the generator used meanwhile.
    pub(crate) generator_share: f64,
}

pub(crate) struct Subject {
    /// First, so that it is gone before its server hangs up on it.
    generator: Process,
    server: Process,
    address: SocketAddr,
    last_sent: Instant,
}

impl Subject {
    pub(crate) fn start(server: Server) -> Outcome<Self> {
        let (server, address) = Process::start_server(server.name(), &server.command()?)?;
        let generator = Process::start_generator()?;
        Ok(Self::new(generator, server, address))
    }

    /// The same, with TLS between the two.
    pub(crate) fn start_encrypted(server: Server, keys: &Keys) -> Outcome<Self> {
        let with_keys = |mut command: Command| {
            command.arg("--keys").arg(keys.folder());
            command
        };
        let command = with_keys(server.command()?);
        let (server, address) = Process::start_server(server.name(), &command)?;
        let generator = Process::start_generator_by(&with_keys(Role::Generator.command()?))?;
        Ok(Self::new(generator, server, address))
    }

    /// A generator whose connections lead through this server, at whatever addresses.
    pub(crate) fn new(generator: Process, server: Process, address: SocketAddr) -> Self {
        Self {
            generator,
            server,
            address,
            last_sent: Instant::now(),
        }
    }

    /// Starts those at the given places among [`SERVERS`], and gives each at its place.
    pub(crate) fn start_at(places: &[usize]) -> Outcome<Vec<Option<Self>>> {
        let start = |(place, &server)| {
            let is_wanted = places.contains(&place);
            is_wanted.then(|| Self::start(server)).transpose()
        };
        SERVERS.iter().enumerate().map(start).collect()
    }

    /// Opens `count` peers more.
    pub(crate) fn connect(&mut self, count: usize) -> Outcome<Cost> {
        self.costs(|subject| {
            let server = subject.address;
            subject
                .generator
                .ask(&GeneratorCommand::Connect { server, count }, "done")
        })
    }

    /// Resets all connections and waits until the server has got over it.
    pub(crate) fn drop_peers(&mut self) -> Outcome<()> {
        self.generator.ask(&GeneratorCommand::Drop, "done")?;
        self.wait_until_quiet()
    }

    /// Opens one peer that never reads.
    pub(crate) fn stall(&mut self, buffer_bytes: usize) -> Outcome<()> {
        let server = self.address;
        self.generator.ask(
            &GeneratorCommand::Stall {
                server,
                buffer_bytes,
            },
            "done",
        )
    }

    /// Lets the server send to all after a pause, `times` times, and waits each time until every
    /// peer has received every message, whole and as it was sent.
    pub(crate) fn send(&mut self, times: usize, command: ServerCommand) -> Outcome<Cost> {
        self.pause();
        self.send_on(times, command)
    }

    /// The same without the pause.
    pub(crate) fn send_on(&mut self, times: usize, command: ServerCommand) -> Outcome<Cost> {
        let (ServerCommand::Broadcast { count, bytes } | ServerCommand::Coalesce { count, bytes }) =
            command
        else {
            return Err("this sends nothing".into());
        };
        let cost = self.costs(|subject| {
            for _ in 0..times {
                subject
                    .generator
                    .ask(&GeneratorCommand::Expect { count, bytes }, "ready")?;
                subject.server.tell(&command)?;
                subject.generator.hear_word("done")?;
            }
            Ok(())
        });
        self.last_sent = Instant::now();
        cost
    }

    /// Opens one more peer, to publish by.
    pub(crate) fn connect_publisher(&mut self) -> Outcome<()> {
        let server = self.address;
        self.generator
            .ask(&GeneratorCommand::Publisher { server }, "done")
    }

    /// Lets that peer publish after a pause, `times` times `count` messages at once, and waits each time until
    /// every other peer has received all.
    pub(crate) fn publish(&mut self, times: usize, count: usize, bytes: usize) -> Outcome<Cost> {
        self.pause();
        let cost = self.costs(|subject| {
            for _ in 0..times {
                subject.generator.publish(count, bytes)?;
            }
            Ok(())
        });
        self.last_sent = Instant::now();
        cost
    }

    /// The same with single messages. Gives for each the seconds until every other peer has received it.
    pub(crate) fn publish_timed(&mut self, times: usize, bytes: usize) -> Outcome<Vec<f64>> {
        self.pause();
        let mut served = Vec::with_capacity(times);
        for _ in 0..times {
            let published = Instant::now();
            self.generator.publish(1, bytes)?;
            served.push(published.elapsed().as_secs_f64());
        }
        self.last_sent = Instant::now();
        Ok(served)
    }

    fn pause(&self) {
        let pause = PAUSE.saturating_sub(self.last_sent.elapsed());
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }

    /// Lets every peer send a ping and get its answer, `rounds` times.
    pub(crate) fn ping(&mut self, rounds: usize) -> Outcome<Cost> {
        self.costs(|subject| {
            subject
                .generator
                .ask(&GeneratorCommand::Ping { rounds }, "done")
        })
    }

    pub(crate) fn anonymous_bytes(&self) -> Outcome<u64> {
        measure::anonymous_bytes(self.server.id())
    }

    /// CPU time and number of wake-ups of the server while nothing happens.
    pub(crate) fn idle(&self, duration: Duration) -> Outcome<(Duration, u64)> {
        self.wait_until_quiet()?;
        let id = self.server.id();
        let before = (measure::cpu(id)?, measure::sleeps(id)?);
        thread::sleep(duration);
        Ok((
            measure::cpu(id)? - before.0,
            measure::sleeps(id)? - before.1,
        ))
    }

    fn costs(&mut self, work: impl FnOnce(&mut Self) -> Outcome<()>) -> Outcome<Cost> {
        self.wait_until_quiet()?;
        let (server, generator) = (self.server.id(), self.generator.id());
        let before = (measure::cpu(server)?, measure::cpu(generator)?);
        let started = Instant::now();
        work(self)?;
        let elapsed = started.elapsed();
        let generator_cpu = measure::cpu(generator)? - before.1;
        self.wait_until_quiet()?;
        Ok(Cost {
            cpu: measure::cpu(server)? - before.0,
            elapsed,
            generator_share: generator_cpu.as_secs_f64() / elapsed.as_secs_f64(),
        })
    }

    fn wait_until_quiet(&self) -> Outcome<()> {
        self.server.wait_until_quiet()?;
        self.generator.wait_until_quiet()
    }
}

impl Drop for Subject {
    /// Resets the connections: thousands that wait for their last segments would slow the servers
    /// after this one down. A generator that has failed cannot; its own end has to do.
    fn drop(&mut self) {
        let _ = self.generator.ask(&GeneratorCommand::Drop, "done");
    }
}

/// A child of the driver that takes and answers in lines. It leaves when its standard input ends,
/// so nothing stays behind when the driver is killed.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    /// A server, and where it listens.
    pub(crate) fn start_server(
        name: &'static str,
        command: &Command,
    ) -> Outcome<(Self, SocketAddr)> {
        let mut server = Self::start(name, command, SERVER_CORE)?;
        let line = server.hear()?;
        let address = line
            .strip_prefix("listening on ")
            .and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| format!("the server says `{line}`"))?;
        Ok((server, address))
    }

    pub(crate) fn start_generator() -> Outcome<Self> {
        Self::start_generator_by(&Role::Generator.command()?)
    }

    fn start_generator_by(command: &Command) -> Outcome<Self> {
        let mut generator = Self::start(Role::Generator.name(), command, GENERATOR_CORE)?;
        generator.hear_word("ready")?;
        Ok(generator)
    }

    /// Lets a generator publish, and waits until all its peers have received it.
    pub(crate) fn publish(&mut self, count: usize, bytes: usize) -> Outcome<()> {
        self.ask(&GeneratorCommand::Expect { count, bytes }, "ready")?;
        self.tell(&GeneratorCommand::Publish { count, bytes })?;
        self.hear_word("done")
    }

    fn start(name: &'static str, command: &Command, core: usize) -> Outcome<Self> {
        // The command, not a system call: there is no safe one in std, and this keeps the id.
        let mut child = Command::new("taskset")
            .arg("-c")
            .arg(core.to_string())
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start `taskset` (of util-linux): {error}"))?;
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            name,
            child,
            stdin,
            lines,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn tell(&mut self, command: &impl std::fmt::Display) -> Outcome<()> {
        Ok(writeln!(self.stdin, "{command}")?)
    }

    pub(crate) fn ask(&mut self, command: &impl std::fmt::Display, answer: &str) -> Outcome<()> {
        self.tell(command)?;
        self.hear_word(answer)
    }

    fn hear(&mut self) -> Outcome<String> {
        let name = self.name;
        match self.lines.recv_timeout(ANSWER_TIMEOUT) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("{name} is silent").into()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(format!("{name} has gone").into()),
        }
    }

    fn hear_word(&mut self, word: &str) -> Outcome<()> {
        let line = self.hear()?;
        if line == word {
            Ok(())
        } else {
            Err(format!("`{line}` instead of `{word}`").into())
        }
    }

    pub(crate) fn wait_until_quiet(&self) -> Outcome<()> {
        let deadline = Instant::now() + QUIET_TIMEOUT;
        let mut before = measure::cpu(self.id())?;
        loop {
            thread::sleep(QUIET);
            let now = measure::cpu(self.id())?;
            if now == before {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not come to rest", self.name).into());
            }
            before = now;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have gone by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
