//! How a node grows with its connections: the same figures for few and for many.
//!
//! ```text
//! cargo bench --bench growth                                   five minutes; prints Markdown, draws growth.svg
//! cargo bench --bench growth -- --listeners 100,1000 --rounds 1
//! ```
//!
//! Starts a node on one core and loads it by `wsmesh bench` on another, as a person would: one connection
//! publishes to all others, each next message when all have the last. Another node then holds as many
//! connections idle, each heard from once, for what they take of memory.

mod plot;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use clap::Parser;
use serde_json::Value;

const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";
/// Connections that one address of the loopback is asked for; it has some more ports.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;
/// Descriptors of either process beside its connections.
const DESCRIPTORS_BESIDE: u64 = 64;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Arguments {
    /// Numbers of connections that listen, beside the one that publishes.
    #[arg(long, value_delimiter = ',')]
    listeners: Vec<usize>,
    /// Rounds, of which the medians are shown.
    #[arg(long)]
    rounds: Option<usize>,
    /// Set by `cargo bench`. Without it this is a test of the benchmark itself.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one number of connections has shown in one round.
#[derive(Clone, Copy)]
struct Figures {
    cpu_us: f64,
    first_us: f64,
    last_us: f64,
    last_p99_us: f64,
    per_second: f64,
    memory_bytes: f64,
    kernel_bytes: f64,
    generator_share: f64,
}

fn main() -> ExitCode {
    let outcome = match cfg!(target_os = "linux") {
        true => run(&Arguments::parse()),
        false => Err("Linux only: the figures come from /proc".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("growth: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let (mut listeners, rounds, duration) = match arguments.bench {
        true => (vec![1, 10, 100, 1000, 10_000, 19_000], 5, "3s"),
        false => (vec![1, 20], 1, "100ms"),
    };
    if !arguments.listeners.is_empty() {
        listeners.clone_from(&arguments.listeners);
    }
    let rounds = arguments.rounds.unwrap_or(rounds).max(1);
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    listeners.retain(|count| {
        let fits = *count as u64 + DESCRIPTORS_BESIDE < descriptors;
        if !fits {
            eprintln!(
                "{count} connections: left out, a process may have {descriptors} descriptors here"
            );
        }
        fits
    });
    let mut all = vec![Vec::new(); listeners.len()];
    // In turns, so that a machine that is slow for a while is not so for one number only.
    for round in 1..=rounds {
        for (count, figures) in listeners.iter().zip(&mut all) {
            eprintln!("round {round} of {rounds}, {count} connections …");
            figures.push(measure(*count, duration)?);
        }
    }
    if !arguments.bench {
        println!("Everything works. `cargo bench --bench growth` measures.");
        return Ok(());
    }
    let rows: Vec<_> = listeners
        .iter()
        .copied()
        .zip(all.iter().map(|all| median(all)))
        .collect();
    print_table(&rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/growth/growth.svg");
    let points = |of: fn(&Figures) -> f64| {
        rows.iter()
            .map(|(count, figures)| (*count as f64, of(figures)))
            .collect()
    };
    let lines = [
        plot::Line {
            name: "time to the last listener, ms",
            color: "#0b62a4",
            points: points(|figures| figures.last_us / 1e3),
        },
        plot::Line {
            name: "CPU of the node a delivery, µs",
            color: "#c0392b",
            points: points(|figures| figures.cpu_us),
        },
    ];
    std::fs::write(&path, plot::draw(&lines))?;
    println!("\nDrawn: {}", path.display());
    Ok(())
}

fn print_table(rows: &[(usize, Figures)]) {
    println!(
        "| listeners | CPU a delivery | first has it | last has it, p50 | p99 | connections a second | \
         memory of the node a connection | kernel, both ends | generator |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (count, figures) in rows {
        println!(
            "| {count} | {:.2} µs | {} | {} | {} | {:.0} | {:.0} B | {:.1} KB | {:.0} % |",
            figures.cpu_us,
            time(figures.first_us),
            time(figures.last_us),
            time(figures.last_p99_us),
            figures.per_second,
            figures.memory_bytes,
            figures.kernel_bytes / 1e3,
            figures.generator_share * 100.0,
        );
    }
}

fn time(micros: f64) -> String {
    match micros {
        ..1000.0 => format!("{micros:.0} µs"),
        _ => format!("{:.1} ms", micros / 1e3),
    }
}

/// Of each figure by itself.
fn median(all: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<_> = all.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        cpu_us: of(|figures| figures.cpu_us),
        first_us: of(|figures| figures.first_us),
        last_us: of(|figures| figures.last_us),
        last_p99_us: of(|figures| figures.last_p99_us),
        per_second: of(|figures| figures.per_second),
        memory_bytes: of(|figures| figures.memory_bytes),
        kernel_bytes: of(|figures| figures.kernel_bytes),
        generator_share: of(|figures| figures.generator_share),
    }
}

fn measure(listeners: usize, duration: &str) -> Outcome<Figures> {
    let connections = listeners + 1;
    let publish = load(connections, &["--size", "1KiB", "--duration", duration])?;
    let held = [
        "--mode",
        "idle",
        "--ping-interval",
        "500ms",
        "--warm-up",
        "1500ms",
    ];
    let idle = load(connections, &[&held[..], &["--duration", "100ms"]].concat())?;
    let figure = |report: &Value, path: &str| {
        let value = report.pointer(path).and_then(Value::as_f64);
        value.ok_or_else(|| format!("no {path} in {report}"))
    };
    if figure(&publish, "/measure/lost")? + figure(&publish, "/connect/failed")? > 0.0 {
        return Err(format!("something was lost: {publish}").into());
    }
    Ok(Figures {
        cpu_us: figure(&publish, "/server/cpu_us_per_delivery")?,
        first_us: figure(&publish, "/measure/first_us/p50")?,
        last_us: figure(&publish, "/measure/last_us/p50")?,
        last_p99_us: figure(&publish, "/measure/last_us/p99")?,
        per_second: figure(&publish, "/connect/per_second")?,
        memory_bytes: figure(&idle, "/server/memory_bytes_per_connection")?,
        kernel_bytes: figure(&idle, "/kernel/objects_bytes_per_connection")?,
        generator_share: figure(&publish, "/generator/cpu_share")?,
    })
}

/// Loads a node of its own, and returns the report.
fn load(connections: usize, options: &[&str]) -> Outcome<Value> {
    let node = Node::start()?;
    let (connections, pid) = (connections.to_string(), node.0.id().to_string());
    let addresses = 1..=connections
        .parse::<usize>()?
        .div_ceil(CONNECTIONS_PER_ADDRESS);
    let addresses: Vec<_> = addresses.map(|last| format!("127.0.0.{last}")).collect();
    let output = pinned(GENERATOR_CORE)
        .args([
            "bench",
            &node.1,
            "-n",
            &connections,
            "--pid",
            &pid,
            "--json",
        ])
        .args(["--source", &addresses.join(",")])
        .args(options)
        .output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

/// A node and its URL. It goes with this.
struct Node(Child, String);

impl Node {
    fn start() -> Outcome<Self> {
        const ANY: &str = "200000";
        let mut node = pinned(SERVER_CORE)
            .args([
                "--bind",
                "127.0.0.1:0",
                "--interval",
                "off",
                "--max-publish-rate",
                "off",
            ])
            .args([
                "--max-connections",
                ANY,
                "--max-connections-per-address",
                ANY,
            ])
            .args(["--max-handshakes", ANY])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(node.stderr.take().ok_or("no standard error")?).lines();
        let url = loop {
            let line = log.next().ok_or("the node does not start")??;
            if let Some((_, address)) = line.split_once("listening on ") {
                break format!("ws://{address}");
            }
        };
        // It says something of each connection, which somebody has to take.
        std::thread::spawn(move || log.for_each(drop));
        Ok(Self(node, url))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have gone by itself; either way it is gone afterwards.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, on one core.
fn pinned(core: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, env!("CARGO_BIN_EXE_wsmesh")]);
    command
}
