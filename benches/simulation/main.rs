//! Holds the mesh to what it must show, with more nodes and seeds than a test can have, and puts flooding and
//! Plumtree beside it. Prints Markdown.
//!
//! ```text
//! cargo bench --bench simulation                    ten seeds of 10,000 nodes and 100,000 once: hours
//! cargo bench --bench simulation -- --quick         two seeds of 1,000 nodes: some minutes
//! cargo bench --bench simulation -- --only crash --nodes 5000 --seeds 3 --large 0
//! ```
//!
//! Runs as many simulations at once as there are cores; a run of 10,000 nodes takes up to 3 GB, one of 100,000
//! up to 8 GB. The figures do not depend on the machine, only the time that they take does.

mod table;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use mimalloc::MiMalloc;
use wsmesh::config::Time;
use wsmesh::simulation::{Finding, Gate, Phase, ProtocolKind, Report, Scenario, on_all_cores, run};

use table::Table;

/// A simulation allocates all the time; with this one it takes about two thirds of the time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Hostile members are measured with messages of 8 KiB, of which each node keeps 1 MiB.
const HOSTILE_NODES_MAX: usize = 1_000;

#[derive(Parser)]
struct Arguments {
    /// Nodes of each run.
    #[arg(long)]
    nodes: Option<usize>,
    /// Seeds of each gate.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them: what takes hours can be run in parts.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Nodes of the large run at the end; 0 for none.
    #[arg(long)]
    large: Option<usize>,
    /// 1,000 nodes, two seeds, no large run.
    #[arg(long)]
    quick: bool,
    /// Only gates with this in their name.
    #[arg(long)]
    only: Option<String>,
    /// Set by `cargo bench`. Without it this is a test of the benchmark itself.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What came of one gate and seed.
struct Outcome {
    gate: Gate,
    seed: u64,
    findings: Vec<Finding>,
    reports: Vec<Report>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (nodes, seeds, large) = match (arguments.bench, arguments.quick) {
        (true, false) => (10_000, 10, 100_000),
        (true, true) => (1_000, 2, 0),
        (false, _) => (60, 1, 100),
    };
    let nodes = arguments.nodes.unwrap_or(nodes);
    let seeds = arguments.seeds.unwrap_or(seeds);
    let large = arguments.large.unwrap_or(large);
    let first = arguments.first;
    let started = Instant::now();
    let wanted = |gate: &Gate| match &arguments.only {
        Some(only) => gate.to_string().contains(only.as_str()),
        None => true,
    };
    let jobs: Vec<(Gate, u64)> = Gate::ALL
        .into_iter()
        .filter(wanted)
        .flat_map(|gate| (first..first + seeds).map(move |seed| (gate, seed)))
        .collect();
    let outcomes = check_all(&jobs, nodes, started);
    println!("{}", judgement(&outcomes, nodes));
    println!("{}", comparison(&outcomes));
    if large > 0 {
        println!("{}", large_run(large, started));
    }
    println!(
        "Took {}.",
        Time(Duration::from_secs(started.elapsed().as_secs().max(1)))
    );
    let is_met = outcomes
        .iter()
        .flat_map(|outcome| &outcome.findings)
        .all(|finding| finding.is_met);
    // Bounds are for meshes larger than that of a test of the benchmark.
    if is_met || !arguments.bench {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs everything, on all cores.
fn check_all(jobs: &[(Gate, u64)], nodes: usize, start: Instant) -> Vec<Outcome> {
    let outcomes = Mutex::new(Vec::new());
    on_all_cores(jobs, |(gate, seed)| {
        let nodes = match gate {
            Gate::Hostile => nodes.min(HOSTILE_NODES_MAX),
            _ => nodes,
        };
        let began = Instant::now();
        let (findings, mut reports) = gate.check(nodes, *seed, start);
        // Nothing is required beside it, it is only shown.
        if *gate == Gate::Compared {
            let scenario = Scenario {
                protocol: ProtocolKind::Plumtree,
                ..gate.scenario(nodes, *seed)
            };
            let report = run(&scenario, start, &mut |_| ());
            reports.push(report.expect("the scenarios of the gates are within bounds"));
        }
        let seconds = began.elapsed().as_secs();
        eprintln!("{gate}, {nodes} nodes, seed {seed}: {seconds} s");
        for finding in findings.iter().filter(|finding| !finding.is_met) {
            eprintln!("  {finding}");
        }
        let outcome = Outcome {
            gate: *gate,
            seed: *seed,
            findings,
            reports,
        };
        let mut outcomes = outcomes.lock().expect("no thread panics with it");
        outcomes.push(outcome);
    });
    let mut outcomes = outcomes.into_inner().expect("no thread panics with it");
    // In the order of the requirements, whichever was ready first.
    outcomes.sort_by_key(|outcome| {
        let place = Gate::ALL.iter().position(|gate| *gate == outcome.gate);
        (place, outcome.seed)
    });
    outcomes
}

/// For each figure the worst of all seeds.
fn judgement(outcomes: &[Outcome], nodes: usize) -> Table {
    let mut table = Table::new(&[
        "gate",
        "figure",
        "median",
        "worst",
        "bound",
        "seeds that meet it",
    ]);
    let mut at = 0;
    while let Some(first) = outcomes.get(at) {
        let of_gate = outcomes[at..].iter().take_while(|it| it.gate == first.gate);
        let of_gate: Vec<&Outcome> = of_gate.collect();
        at += of_gate.len();
        for (place, finding) in first.findings.iter().enumerate() {
            let all = of_gate.iter().filter_map(|it| it.findings.get(place));
            let mut all: Vec<&Finding> = all.collect();
            // From good to bad: those that must be small come small first.
            let is_ceiling = finding.is_ceiling;
            all.sort_by(|a, b| match is_ceiling {
                true => a.value.total_cmp(&b.value),
                false => b.value.total_cmp(&a.value),
            });
            let met = all.iter().filter(|it| it.is_met).count();
            let value =
                |finding: Option<&&Finding>| finding.map_or(String::new(), |it| short(it.value));
            let sign = if is_ceiling { "≤" } else { "≥" };
            table.row(vec![
                finding.gate.to_string(),
                finding.what.clone(),
                value(all.get(all.len() / 2)),
                value(all.last()),
                format!("{sign} {}", short(finding.bound)),
                format!("{met} of {}", all.len()),
            ]);
        }
    }
    table.title(format!(
        "{nodes} nodes (hostile members: {HOSTILE_NODES_MAX} at most)"
    ))
}

/// The protocols side by side: of each figure the median of all seeds.
fn comparison(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(&[
        "protocol",
        "delivered",
        "last p50",
        "last p99",
        "median",
        "copies for a delivery",
        "bytes for a delivery",
        "control B/s",
    ]);
    let compared = outcomes.iter().filter(|it| it.gate == Gate::Compared);
    let reports: Vec<&Report> = compared.flat_map(|it| &it.reports).collect();
    for &protocol in ProtocolKind::ALL {
        let of_protocol = reports.iter().filter(|it| it.scenario.protocol == protocol);
        let steady = of_protocol.filter_map(|report| report.phase("steady"));
        let steady: Vec<&Phase> = steady.collect();
        if steady.is_empty() {
            continue;
        }
        let median = |figure: fn(&Phase) -> f64| {
            let mut figures: Vec<f64> = steady.iter().map(|phase| figure(phase)).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        table.row(vec![
            protocol.to_string(),
            format!("{:.4} %", median(|phase| phase.delivered) * 100.0),
            format!("{:.0} ms", median(|phase| phase.last.p50_ms)),
            format!("{:.0} ms", median(|phase| phase.last.p99_ms)),
            format!("{:.0} ms", median(|phase| phase.latency.p50_ms)),
            format!("{:.4}", median(|phase| phase.redundancy)),
            format!("{:.0}", median(|phase| phase.bytes_per_delivery)),
            format!("{:.0}", median(|phase| phase.bytes_per_node_second.control)),
        ]);
    }
    table.title("The same overlay and load under each protocol".to_owned())
}

/// One large mesh that joins, idles, publishes and loses half of its nodes.
fn large_run(nodes: usize, start: Instant) -> Table {
    let scenario = Scenario {
        nodes,
        publish_rate: 1,
        payload_bytes: 64,
        duration: Some(Time(Duration::from_secs(30))),
        crash: Some("50%".parse().expect("it is a share")),
        ..Scenario::default()
    };
    let began = Instant::now();
    let report = run(&scenario, start, &mut |_| ()).expect("the scenario is within bounds");
    let mut table = Table::new(&[
        "phase",
        "published",
        "delivered",
        "copies",
        "last p50",
        "last max",
        "control B/s",
        "dials/min",
        "degree",
        "eigenvalue",
        "whole after",
    ]);
    for phase in &report.phases {
        let overlay = &phase.overlay;
        let optional = |value: Option<f64>, unit: &str| {
            value.map_or(String::new(), |value| format!("{value:.2}{unit}"))
        };
        table.row(vec![
            phase.name.to_owned(),
            phase.publications.to_string(),
            format!("{:.4} %", phase.delivered * 100.0),
            format!("{:.4}", phase.redundancy),
            format!("{:.0} ms", phase.last.p50_ms),
            format!("{:.0} ms", phase.last.max_ms),
            format!("{:.0}", phase.bytes_per_node_second.control),
            format!("{:.2}", phase.dials_per_minute),
            format!("{} to {}", overlay.degree_min, overlay.degree_max),
            optional(overlay.second_eigenvalue, ""),
            optional(phase.whole_after, " s"),
        ]);
    }
    table.title(format!(
        "{nodes} nodes, half of which die; {} events in {} s, trace {:016x}",
        report.events,
        began.elapsed().as_secs(),
        report.trace
    ))
}

fn short(value: f64) -> String {
    match value {
        value if value.is_infinite() => "never".to_owned(),
        value if value == value.round() => format!("{value:.0}"),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}
