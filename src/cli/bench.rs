//! `wsmesh bench`: load tests of WebSocket servers.

use std::fs::{self, OpenOptions};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use indicatif::HumanCount;
use wsmesh::config::{Count, Every, PeerUrl, Size, Time};
use wsmesh::fanout::{
    Bounds, Comparison, LoadError, Mode, Phase, Plan, Progress, Report, Verdict, run,
};

use super::reporting::{complain, print, progress_bar, usage_error};
use super::request::RequestOptions;
use super::typed::{ip_address, typed};

/// Something that was to be shown is not shown because the load test itself was too busy.
const STATUS_UNCLEAR: u8 = 3;
/// Descriptors of the program beside those of the connections.
const DESCRIPTORS_BESIDE: u64 = 32;

/// Options that do nothing in other modes.
const EFFECTS: [(&str, &[Mode]); 8] = [
    ("publishers", &[Mode::Publish]),
    ("rate", &SENDING),
    ("size", &SENDING),
    ("binary", &SENDING),
    ("burst", &SENDING),
    ("messages", &SENDING),
    ("patience", &SENDING),
    ("max_p99", &[Mode::Publish, Mode::Echo, Mode::Listen]),
];
const SENDING: [Mode; 2] = [Mode::Publish, Mode::Echo];

#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// Servers, over which the connections are spread in turn
    ///
    /// Only this machine, unless --i-own-this-server is given.
    #[arg(id = "URL", value_name = "URL", value_parser = typed::<PeerUrl>(), value_delimiter = ',')]
    #[arg(required_unless_present = "compare")]
    urls: Vec<PeerUrl>,

    /// publish, listen, echo or idle
    ///
    /// publish: some connections publish, and each message is expected at all others. listen: none
    /// sends, what the server sends by itself is counted. echo: each connection sends, and expects
    /// its own message back. idle: the connections are held.
    #[arg(long, value_name = "MODE", value_parser = typed::<Mode>())]
    #[arg(default_value_t = defaults().mode)]
    mode: Mode,

    /// Connections in all
    ///
    /// Those that publish are among them. Each address of this machine has some 28,000 ports to
    /// connect from: see --source.
    #[arg(short = 'n', long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().connections))]
    connections: Count,

    /// Connections that publish
    ///
    /// In mode publish. The first ones; they hear each other.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().publishers))]
    publishers: Count,

    /// Connections opened a second
    ///
    /// Without it as fast as the server takes them.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    connect_rate: Option<Count>,

    /// Connections that are being opened at the same time
    ///
    /// No more than the server lets wait: many have a backlog of 128 or 511.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().in_flight))]
    in_flight: Count,

    /// Addresses of this machine to connect from, in turn
    ///
    /// For more connections than one address has ports: on the loopback 127.0.0.1, 127.0.0.2 and
    /// so on. Faster, too, when many of its ports are in use.
    #[arg(long, value_name = "ADDR", value_parser = ip_address(), value_delimiter = ',')]
    source: Vec<IpAddr>,

    #[command(flatten)]
    request: RequestOptions,

    /// Messages a second, of all that send together
    ///
    /// Each is due at its own time, and latency counts from that time, whether or not it could be
    /// sent then. Without it each sends the next message when all have heard the last.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    rate: Option<Count>,

    /// Size of a message
    ///
    /// At least 56 bytes, for what each says of itself.
    #[arg(long, value_name = "SIZE", value_parser = typed::<Size>())]
    #[arg(default_value_t = Size(defaults().size_bytes))]
    size: Size,

    /// Send binary messages instead of text
    ///
    /// With the same content.
    #[arg(long)]
    binary: bool,

    /// Messages sent at once
    ///
    /// By one connection. A rate counts messages, not bursts.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().burst))]
    burst: Count,

    /// Messages to measure
    ///
    /// It ends when they are sent, or after --duration, whichever is first.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    messages: Option<Count>,

    /// Time to measure
    ///
    /// What is on its way then is still waited for.
    #[arg(long, value_name = "TIME", value_parser = typed::<Time>())]
    #[arg(default_value_t = Time(defaults().duration))]
    duration: Time,

    /// Time of sending before that does not count, or off
    ///
    /// A server that has just taken many connections is busy for a while.
    #[arg(long, value_name = "TIME", value_parser = typed::<Every>())]
    #[arg(default_value_t = Every(Some(defaults().warm_up)))]
    warm_up: Every,

    /// How long a message is waited for
    ///
    /// Then those who have not heard it have lost it.
    #[arg(long, value_name = "TIME", value_parser = typed::<Time>())]
    #[arg(default_value_t = Time(defaults().patience))]
    patience: Time,

    /// Time that a connection may take to be upgraded
    ///
    /// Then it has failed.
    #[arg(long, value_name = "TIME", value_parser = typed::<Time>())]
    #[arg(default_value_t = Time(defaults().handshake_timeout))]
    handshake_timeout: Time,

    /// Silence before a ping, or off
    ///
    /// After twice that without a byte the connection is lost.
    #[arg(long, value_name = "TIME", value_parser = typed::<Every>())]
    #[arg(default_value_t = Every(defaults().ping_interval))]
    ping_interval: Every,

    /// Processes of the server, to report what they use
    ///
    /// On this machine, and on Linux: CPU time and memory.
    #[arg(long, value_name = "PID", value_parser = typed::<Count>(), value_delimiter = ',')]
    pid: Vec<Count>,

    /// Report as JSON
    ///
    /// One object on a line.
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Report the course of the measurement as CSV
    ///
    /// One row for each interval.
    #[arg(long)]
    csv: bool,

    /// Write a page with plots, too
    ///
    /// One file that needs no other.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Show two reports of --json beside each other
    ///
    /// Nothing is measured then.
    #[arg(long, value_names = ["A", "B"], num_args = 2, conflicts_with = "URL")]
    compare: Vec<PathBuf>,

    /// Deliveries that may be lost or damaged
    ///
    /// More end the program with status 1.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    max_lost: Option<Count>,

    /// Connections that may fail, or end early
    ///
    /// More end the program with status 1.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    max_failed: Option<Count>,

    /// Time within which 99 of 100 deliveries are made
    ///
    /// A longer one ends the program with status 1, or 3 if the load test itself was so busy that
    /// nothing can be said.
    #[arg(long, value_name = "TIME", value_parser = typed::<Time>())]
    max_p99: Option<Time>,

    /// Load a server that is not on this machine
    ///
    /// Only a server that is yours to load, or whose owner has agreed.
    #[arg(long)]
    i_own_this_server: bool,
}

fn defaults() -> Plan {
    Plan::default()
}

impl BenchOptions {
    /// Measures or compares, and reports on standard output. Ends the process if an option is wrong.
    pub(crate) fn run(&self) -> ExitCode {
        if let [one, other] = &self.compare[..] {
            return match (read_report(one), read_report(other)) {
                (Ok(one), Ok(other)) => print(&Comparison::of(&one, &other).to_string()),
                (Err(error), _) | (_, Err(error)) => usage_error("bench", error).exit(),
            };
        }
        let plan = self.plan();
        let plan = plan.unwrap_or_else(|error| usage_error("bench", error).exit());
        // Not after the measurement, which may have taken an hour.
        let page = self.html.as_deref().map(Page::at).transpose();
        let page = page.unwrap_or_else(|error| usage_error("bench", error).exit());
        match self.measure(&plan) {
            Ok(report) => self.tell(&report, page),
            Err(error) => {
                page.inspect(Page::leave);
                match error {
                    LoadError::System(_) | LoadError::NoAnswer { .. } => complain(error),
                    _ => usage_error("bench", error).exit(),
                }
            }
        }
    }

    /// Finds an option that was typed and would do nothing, which is never what was meant.
    pub(super) fn check_effects(&self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let known = Self::augment_args(clap::Command::new("bench"));
        let mut typed = known
            .get_arguments()
            .filter(|arg| is_typed(arg.get_id().as_str()));
        if !self.compare.is_empty()
            && let Some(other) = typed.find(|arg| arg.get_id() != "compare")
        {
            return Err(usage_error(
                "bench",
                format_args!(
                    "{} and --compare: nothing is measured then; leave out one of them",
                    shown(other)
                ),
            ));
        }
        let modes_of = |arg: &clap::Arg| {
            let (_, modes) = EFFECTS.iter().find(|(id, _)| arg.get_id() == id)?;
            (!modes.contains(&self.mode)).then_some(modes)
        };
        let Some((arg, modes)) = typed.find_map(|arg| Some((arg, modes_of(arg)?))) else {
            return Ok(());
        };
        let modes: Vec<_> = modes.iter().map(Mode::to_string).collect();
        let what = format!(
            "{} does nothing with --mode {}: it is for --mode {}",
            shown(arg),
            self.mode,
            modes.join(" or ")
        );
        Err(usage_error("bench", what))
    }

    fn plan(&self) -> Result<Plan, String> {
        let token = self.request.token()?;
        let pid_of = |pid: &Count| {
            let of_process = u32::try_from(pid.0);
            of_process.map_err(|_| format!("--pid {}: there is no such process", pid.0))
        };
        let servers = self.pid.iter().map(pid_of).collect::<Result<_, _>>()?;
        let plan = Plan {
            urls: self.urls.clone(),
            mode: self.mode,
            connections: self.connections.0,
            publishers: self.publishers.0,
            connect_rate: self.connect_rate.map(|rate| rate.0),
            in_flight: self.in_flight.0,
            sources: self.source.clone(),
            fields: self.request.header.clone(),
            subprotocols: self.request.subprotocol.clone(),
            token,
            tls: self.request.tls.to_config(),
            rate: self.rate.map(|rate| rate.0),
            size_bytes: self.size.0,
            is_binary: self.binary,
            burst: self.burst.0,
            messages: self.messages.map(|messages| messages.0),
            duration: self.duration.0,
            warm_up: self.warm_up.0.unwrap_or_default(),
            patience: self.patience.0,
            handshake_timeout: self.handshake_timeout.0,
            ping_interval: self.ping_interval.0,
            servers,
            has_consent: self.i_own_this_server,
        };
        plan.check().map_err(|error| error.to_string())?;
        // A connection costs a descriptor; the usual soft limit of 1024 is for programs that use select.
        let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX);
        let needed = plan.connections as u64 + DESCRIPTORS_BESIDE;
        if descriptors < needed {
            return Err(format!(
                "--connections {}: this process may open {descriptors} descriptors and needs {needed}; raise the \
                 limit with `ulimit -n {needed}`, or ask the one who runs the system",
                plan.connections
            ));
        }
        Ok(plan)
    }

    fn measure(&self, plan: &Plan) -> Result<Report, LoadError> {
        let bar = progress_bar("{prefix:10} {wide_bar} {msg}");
        bar.set_length(1000);
        let on_progress = &mut |progress: Progress| {
            let Progress {
                share,
                connections,
                deliveries_per_second,
                latency_p99,
                left,
                ..
            } = progress;
            let share = share.unwrap_or(1.0);
            let left = left.map_or(String::new(), |left| format!(", {} s left", left.as_secs()));
            bar.set_position((share * 1000.0) as u64);
            bar.set_prefix(phase_in_words(progress.phase));
            bar.set_message(format!(
                "{} connections, {}/s, p99 {:.1} ms{left}",
                HumanCount(connections as u64),
                HumanCount(deliveries_per_second as u64),
                latency_p99.as_secs_f64() * 1e3,
            ));
        };
        let report = run(plan, on_progress);
        bar.finish_and_clear();
        report
    }

    /// Prints the report, and says by the exit status whether it is what was wanted.
    fn tell(&self, report: &Report, page: Option<Page<'_>>) -> ExitCode {
        let printed = print(&match () {
            () if self.json => report.to_json() + "\n",
            () if self.csv => report.to_csv(),
            () => report.to_string(),
        });
        if let Some(page) = page
            && let Err(error) = page.write(report)
        {
            return complain(error);
        }
        if printed != ExitCode::SUCCESS {
            return printed;
        }
        if let Some(failure) = report.failure() {
            return complain(failure);
        }
        let bounds = Bounds {
            lost: self.max_lost.map(|max| max.0 as u64),
            failed: self.max_failed.map(|max| max.0 as u64),
            p99: self.max_p99.map(|max| max.0),
        };
        match report.judge(&bounds) {
            Verdict::Met => ExitCode::SUCCESS,
            Verdict::Missed(points) => complain(format_args!("missed: {}", points.join("; "))),
            Verdict::Unclear(points) => {
                complain(format_args!(
                    "nothing can be said of: {}; the load test itself was too busy",
                    points.join("; ")
                ));
                ExitCode::from(STATUS_UNCLEAR)
            }
        }
    }
}

/// Where the page with plots is to be.
struct Page<'a> {
    path: &'a Path,
    is_new: bool,
}

impl<'a> Page<'a> {
    /// Makes sure that it can be written. What is there stays until there is something to write.
    fn at(path: &'a Path) -> Result<Self, String> {
        let is_new = !path.exists();
        let page = Self { path, is_new };
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened
            .map(|_| page)
            .map_err(|error| format!("--html {}: it cannot be written: {error}", path.display()))
    }

    fn write(&self, report: &Report) -> Result<(), String> {
        let written = fs::write(self.path, report.to_html());
        written.map_err(|error| format!("--html {}: {error}", self.path.display()))
    }

    /// There is nothing to write.
    fn leave(&self) {
        if self.is_new {
            // An empty file is a small nuisance, and no reason for a further error.
            let _ = fs::remove_file(self.path);
        }
    }
}

/// As it is typed.
fn shown(arg: &clap::Arg) -> String {
    let id = arg.get_id().to_string();
    arg.get_long().map_or(id, |long| format!("--{long}"))
}

fn phase_in_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Connect => "connecting",
        Phase::WarmUp => "warming up",
        Phase::Measure => "measuring",
        Phase::Drain => "waiting",
        Phase::Close => "closing",
    }
}

fn read_report(path: &Path) -> Result<Report, String> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| format!("--compare {}: {error}", path.display()))?;
    Report::from_json(&text).map_err(|error| format!("--compare {}: {error}", path.display()))
}
