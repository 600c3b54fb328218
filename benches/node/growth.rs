//! How a node grows with its connections. One of them publishes to all others, each next message when all have
//! the last; another node then holds as many idle, each heard from, for what they take of memory.

use std::path::Path;

use crate::subject::Node;
use crate::{Arguments, Outcome, median, plot};

/// Descriptors of a process beside its connections.
const DESCRIPTORS_BESIDE: u64 = 64;

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

pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
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
        return Ok(());
    }
    let medians = all.iter().map(|all| medians(all));
    let rows: Vec<_> = listeners.iter().copied().zip(medians).collect();
    print_table(&rows);
    draw(&rows)
}

fn measure(listeners: usize, duration: &str) -> Outcome<Figures> {
    let connections = listeners + 1;
    let node = Node::start(&[])?;
    let held = [
        "--mode",
        "idle",
        "--ping-interval",
        "500ms",
        "--warm-up",
        "1500ms",
    ];
    let idle = node.load(connections, &[&held[..], &["--duration", "100ms"]].concat())?;
    let node = Node::start(&["--max-publish-rate", "off", "--max-publish-bytes", "off"])?;
    let publish = node.load(connections, &["--size", "1KiB", "--duration", duration])?;
    Ok(Figures {
        cpu_us: publish.figure("/server/cpu_us_per_delivery")?,
        first_us: publish.figure("/measure/first_us/p50")?,
        last_us: publish.figure("/measure/last_us/p50")?,
        last_p99_us: publish.figure("/measure/last_us/p99")?,
        per_second: publish.figure("/connect/per_second")?,
        memory_bytes: idle.figure("/server/memory_bytes_per_connection")?,
        kernel_bytes: idle.figure("/kernel/objects_bytes_per_connection")?,
        generator_share: publish.figure("/generator/cpu_share")?,
    })
}

/// Of each figure by itself.
fn medians(all: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(all.iter().map(figure));
    Figures {
        cpu_us: of(|figures| figures.cpu_us),
        first_us: of(|figures| figures.first_us),
        last_us: of(|figures| figures.last_us),
        last_p99_us: of(|figures| figures.last_p99_us),
        per_second: of(|figures| figures.per_second),
        memory_bytes: of(|figures| figures.memory_bytes),
        // What the kernel keeps of earlier rounds it does not need again: the first one shows most.
        kernel_bytes: all
            .iter()
            .map(|figures| figures.kernel_bytes)
            .fold(0.0, f64::max),
        generator_share: of(|figures| figures.generator_share),
    }
}

fn print_table(rows: &[(usize, Figures)]) {
    println!(
        "| listeners | CPU a delivery | the first has it | the last has it, p50 | p99 | connections a second | \
         memory of the node a connection | kernel, both ends | generator |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (count, figures) in rows {
        println!(
            "| {count} | {:.2} µs | {} | {} | {} | {:.0} | {} | {:.0} % |",
            figures.cpu_us,
            time(figures.first_us),
            time(figures.last_us),
            time(figures.last_p99_us),
            figures.per_second,
            // Of few connections it is less than what else the machine takes and gives back.
            match *count < 1000 {
                true => " | ".to_owned(),
                false => format!(
                    "{:.0} B | {:.1} KB",
                    figures.memory_bytes,
                    figures.kernel_bytes / 1e3
                ),
            },
            figures.generator_share * 100.0,
        );
    }
}

fn draw(rows: &[(usize, Figures)]) -> Outcome<()> {
    let points = |of: fn(&Figures) -> f64| {
        let points = rows
            .iter()
            .map(|(count, figures)| (*count as f64, of(figures)));
        points.collect()
    };
    let lines = [
        plot::Line {
            name: "time until the last listener has a message, ms",
            color: "#0b62a4",
            points: points(|figures| figures.last_us / 1e3),
        },
        plot::Line {
            name: "CPU time of the node for a delivery, µs",
            color: "#c0392b",
            points: points(|figures| figures.cpu_us),
        },
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node/growth.svg");
    std::fs::write(&path, plot::draw(&lines))?;
    println!("\nDrawn: {}\n", path.display());
    Ok(())
}

fn time(micros: f64) -> String {
    match micros {
        ..1000.0 => format!("{micros:.0} µs"),
        _ => format!("{:.1} ms", micros / 1e3),
    }
}
