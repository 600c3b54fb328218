//! What the supervisor of the process (systemd, or anything with its protocol) is told: that the node is ready, reads its files
//! again, stops, how it stands, and that its loop still turns.
//!
//! The protocol is a datagram to a socket for each thing to tell, lines of `NAME=value` (sd_notify(3)). Nothing is
//! answered, so nothing waits.

use std::{
    ffi::{OsStr, OsString},
    fmt::{self, Display},
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
    process,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    config::limits::{DURATION_MIN, STANDING_INTERVAL},
    counters::Counters,
    printable::Printable,
};

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHED: &str = "WATCHDOG_PID";

/// Who has started this process and wants to hear how it does. By default nobody.
#[derive(Debug, Default)]
pub struct Supervisor {
    line: Option<Line>,
}

/// What in the environment is no way to reach a supervisor.
#[derive(Debug, thiserror::Error)]
#[error("{variable} `{}` {problem}", Printable(.value))]
pub struct SupervisorError {
    variable: &'static str,
    value: String,
    problem: String,
}

impl Supervisor {
    /// The one that the variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` name, if any.
    ///
    /// # Errors
    /// What they say makes no sense, or there is no socket to be had.
    pub fn named_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SupervisorError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let Some(named) = set(SOCKET) else {
            return Ok(Self::default());
        };
        let (socket, address) = open(&named).map_err(|error| SupervisorError {
            variable: SOCKET,
            value: named.to_string_lossy().into_owned(),
            problem: format!("cannot be told anything: {error}"),
        })?;
        let own = process::id().to_string();
        let is_watched = set(WATCHED).is_none_or(|process| process == OsStr::new(&own));
        let watchdog = set(WATCHDOG).filter(|_| is_watched);
        let watchdog = watchdog.map(|interval| parse_interval(&interval));
        Ok(Self {
            line: Some(Line {
                socket,
                address,
                phase: Phase::Starting,
                ping_interval: watchdog.transpose()?,
                ping_at: None,
                standing: Standing::default(),
                told: None,
            }),
        })
    }

    /// Files are being read again, until the end of the turn.
    pub(crate) fn on_reloading(&mut self) {
        if let Some(line) = &mut self.line
            && line.phase == Phase::Running
        {
            line.phase = Phase::Reloading;
            // It wants to know which of two reloads this is, by the clock that it has, too.
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            line.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
        }
    }

    /// The node closes its connections and ends.
    pub(crate) fn on_stopping(&mut self, connections: usize) {
        if let Some(line) = &mut self.line {
            line.phase = Phase::Stopping;
            line.tell(&format!(
                "STOPPING=1\nSTATUS=stopping, connections to close: {connections}"
            ));
        }
    }

    /// A turn of the loop is done. After the first one the node is ready.
    pub(crate) fn on_turn(&mut self, counters: &Counters, now: Instant) {
        if let Some(line) = &mut self.line {
            line.standing = Standing::of(counters);
            line.on_turn(now);
        }
    }

    /// When there is something to tell again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let line = self.line.as_ref()?;
        let deadlines = [line.ping_at, line.standing_due()];
        deadlines.into_iter().flatten().min()
    }
}

/// The way to a supervisor, and what it knows.
#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
    phase: Phase,
    /// Half of the time without a ping after which it takes the node for hung; `None`: it does not look.
    ping_interval: Option<Duration>,
    ping_at: Option<Instant>,
    standing: Standing,
    /// What it knows of that, and since when.
    told: Option<(Standing, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Reloading,
    Stopping,
}

impl Line {
    fn on_turn(&mut self, now: Instant) {
        match self.phase {
            Phase::Starting => self.tell_standing("READY=1\n", now),
            Phase::Reloading => self.tell("READY=1"),
            Phase::Running if self.standing_due().is_some_and(|due| due <= now) => {
                self.tell_standing("", now);
            }
            Phase::Running | Phase::Stopping => {}
        }
        if self.phase != Phase::Stopping {
            self.phase = Phase::Running;
        }
        if let Some(interval) = self.ping_interval
            && self.ping_at.is_none_or(|due| due <= now)
        {
            self.tell("WATCHDOG=1");
            self.ping_at = Some(now + interval);
        }
    }

    /// When it is to be told how the node stands, if that has changed.
    fn standing_due(&self) -> Option<Instant> {
        let (standing, at) = self.told?;
        let has_changed = self.phase == Phase::Running && standing != self.standing;
        has_changed.then(|| at + STANDING_INTERVAL)
    }

    fn tell_standing(&mut self, before: &str, now: Instant) {
        self.tell(&format!("{before}STATUS={}", self.standing));
        self.told = Some((self.standing, now));
    }

    fn tell(&self, what: &str) {
        if let Err(error) = self.socket.send_to_addr(what.as_bytes(), &self.address) {
            let name = what.split('=').next().unwrap_or_default();
            log::warn!("the supervisor at {SOCKET} was not told {name}: {error}");
        }
    }
}

/// How a node stands, in a few words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    neighbors: u64,
    plain_peers: u64,
}

impl Standing {
    fn of(counters: &Counters) -> Self {
        Self {
            neighbors: counters.neighbors,
            plain_peers: counters.peers - counters.neighbor_connections,
        }
    }
}

impl Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = |count| if count == 1 { "" } else { "s" };
        let (neighbors, plain) = (self.neighbors, self.plain_peers);
        let (of_neighbors, of_plain) = (ending(neighbors), ending(plain));
        write!(
            f,
            "{neighbors} neighbor{of_neighbors}, {plain} plain peer{of_plain}"
        )
    }
}

/// A socket to tell by, and where to.
fn open(named: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match named.as_bytes() {
        [b'@', name @ ..] => abstract_address(name)?,
        [b'/', ..] => SocketAddr::from_pathname(named)?,
        _ => {
            let what = "it is neither a path from / on nor a name that begins with @";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A name that is no file.
#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Half of so many microseconds.
fn parse_interval(value: &OsStr) -> Result<Duration, SupervisorError> {
    let microseconds = value.to_str().and_then(|value| value.parse().ok());
    match microseconds.filter(|microseconds| *microseconds > 0) {
        Some(microseconds) => Ok((Duration::from_micros(microseconds) / 2).max(DURATION_MIN)),
        None => Err(SupervisorError {
            variable: WATCHDOG,
            value: value.to_string_lossy().into_owned(),
            problem: "is not a number of microseconds".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A supervisor that reads what it is told, and the variables that name it.
    struct Reader(UnixDatagram);

    impl Reader {
        #[cfg(target_os = "linux")]
        fn new(name: &str) -> (Self, OsString) {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("wsmesh-test-{}-{name}", process::id());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            socket.set_nonblocking(true).unwrap();
            (Self(socket), format!("@{name}").into())
        }

        fn all(&self) -> Vec<String> {
            let mut all = Vec::new();
            let mut buffer = [0; 1024];
            while let Ok(length) = self.0.recv(&mut buffer) {
                all.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            all
        }
    }

    fn supervisor(variables: &[(&str, &OsStr)]) -> Result<Supervisor, SupervisorError> {
        Supervisor::named_by(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn counters(neighbors: u64, plain_peers: u64) -> Counters {
        Counters {
            neighbors,
            // One of the nodes has not said hello yet.
            neighbor_connections: neighbors + 1,
            peers: neighbors + 1 + plain_peers,
            ..Counters::default()
        }
    }

    #[test]
    fn without_a_supervisor_nothing_is_due() {
        let mut nobody = supervisor(&[(WATCHDOG, OsStr::new("1000000"))]).unwrap();
        nobody.on_turn(&Counters::default(), Instant::now());
        nobody.on_reloading();
        nobody.on_stopping(1);
        assert_eq!(nobody.next_deadline(), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_is_told_what_happens_and_nothing_twice() {
        let (reader, name) = Reader::new("phases");
        let mut supervisor = supervisor(&[(SOCKET, &name)]).unwrap();
        let now = Instant::now();
        supervisor.on_turn(&counters(0, 1), now);
        assert_eq!(reader.all(), ["READY=1\nSTATUS=0 neighbors, 1 plain peer"]);
        assert_eq!(supervisor.next_deadline(), None);
        supervisor.on_turn(&counters(0, 1), now + SECOND);
        assert_eq!(reader.all(), [""; 0]);

        supervisor.on_reloading();
        supervisor.on_turn(&counters(0, 1), now + SECOND);
        let told = reader.all();
        let time = told[0]
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(told[1..], ["READY=1"]);

        supervisor.on_stopping(3);
        supervisor.on_reloading();
        supervisor.on_turn(&counters(1, 0), now + 100 * SECOND);
        assert_eq!(
            reader.all(),
            ["STOPPING=1\nSTATUS=stopping, connections to close: 3"]
        );
        assert_eq!(supervisor.next_deadline(), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn how_it_stands_is_told_when_it_has_changed_and_rarely() {
        let (reader, name) = Reader::new("standing");
        let mut supervisor = supervisor(&[(SOCKET, &name)]).unwrap();
        let now = Instant::now();
        let later = now + STANDING_INTERVAL;
        supervisor.on_turn(&counters(0, 0), now);
        for count in 0..1000 {
            supervisor.on_turn(&counters(1, count), later - SECOND);
        }
        assert_eq!(reader.all().len(), 1, "READY");
        assert_eq!(supervisor.next_deadline(), Some(later));
        supervisor.on_turn(&counters(1, 2), later);
        assert_eq!(reader.all(), ["STATUS=1 neighbor, 2 plain peers"]);
        assert_eq!(supervisor.next_deadline(), None);
        // What is as it was needs no telling.
        supervisor.on_turn(&counters(1, 3), later + SECOND);
        supervisor.on_turn(&counters(1, 2), later + SECOND);
        assert_eq!(supervisor.next_deadline(), None);
        supervisor.on_turn(&counters(1, 2), later + 100 * SECOND);
        assert_eq!(reader.all(), [""; 0]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_watchdog_is_pinged_twice_in_its_time_whatever_happens() {
        let (reader, name) = Reader::new("watchdog");
        let own = OsString::from(process::id().to_string());
        let interval = OsString::from("4000000");
        let variables = [(SOCKET, &*name), (WATCHDOG, &*interval), (WATCHED, &*own)];
        let mut watched = supervisor(&variables).unwrap();
        let now = Instant::now();
        watched.on_turn(&counters(0, 0), now);
        assert_eq!(watched.next_deadline(), Some(now + 2 * SECOND));
        watched.on_turn(&counters(0, 0), now + SECOND);
        watched.on_turn(&counters(0, 0), now + 2 * SECOND);
        watched.on_stopping(0);
        watched.on_turn(&counters(0, 0), now + 4 * SECOND);
        let told = reader.all();
        assert_eq!(told.iter().filter(|what| *what == "WATCHDOG=1").count(), 3);

        // Somebody else is watched.
        let other = OsString::from("1");
        let variables = [(SOCKET, &*name), (WATCHDOG, &*interval), (WATCHED, &*other)];
        let mut watched = supervisor(&variables).unwrap();
        watched.on_turn(&counters(0, 0), now);
        assert_eq!(watched.next_deadline(), None);
    }

    #[test]
    fn what_names_nobody_is_told_with_its_variable() {
        let long = OsString::from(format!("/{}", "x".repeat(200)));
        for (variables, expected) in [
            (
                &[(SOCKET, OsStr::new("vsock:2:1"))][..],
                "NOTIFY_SOCKET `vsock:2:1` ",
            ),
            (&[(SOCKET, &*long)], "NOTIFY_SOCKET `/xxx"),
            (
                &[(SOCKET, OsStr::new("/run/x")), (WATCHDOG, OsStr::new("-1"))],
                "WATCHDOG_USEC `-1` is not a number of microseconds",
            ),
        ] {
            let error = supervisor(variables).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        // A supervisor that is gone is no reason to go as well.
        let mut gone = supervisor(&[(SOCKET, OsStr::new("/nowhere/at/all"))]).unwrap();
        gone.on_turn(&counters(0, 0), Instant::now());
    }
}
