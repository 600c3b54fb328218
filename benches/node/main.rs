//! A node under load, by the program itself: `wsmesh` on one core, `wsmesh bench` on another, as a person would
//! start them.
//!
//! ```text
//! cargo bench --bench node                                     ten minutes; prints Markdown, draws growth.svg
//! cargo bench --bench node -- --only growth --listeners 100,1000 --rounds 1
//! cargo bench --bench node -- --only disturbed
//! cargo bench --bench node -- --only handshakes
//! ```

mod disturbed;
mod growth;
mod handshakes;
#[path = "../keys/mod.rs"]
mod keys;
mod plot;
mod subject;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// The same figures for few connections and for many.
    Growth,
    /// What one that does not read, or that sends too much, does to the others.
    Disturbed,
    /// What floods of handshakes that never finish do to those that do.
    Handshakes,
}

#[derive(Parser)]
pub(crate) struct Arguments {
    /// The scenario to run, instead of all.
    #[arg(long, value_enum)]
    only: Option<Scenario>,
    /// Numbers of connections that listen, beside the one that publishes.
    #[arg(long, value_delimiter = ',')]
    listeners: Vec<usize>,
    /// Rounds, of which the medians are shown.
    #[arg(long)]
    rounds: Option<usize>,
    /// Set by `cargo bench`. Without it this is a test of the benchmark itself.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(flatten)]
    errand: handshakes::Errand,
}

fn main() -> ExitCode {
    let outcome = match cfg!(target_os = "linux") {
        true => {
            let arguments = Arguments::parse();
            match arguments.errand.role() {
                Some(role) => role.run().map(|()| true),
                None => run(&arguments),
            }
        }
        false => Err("Linux only: the figures come from /proc".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all is as wanted.
fn run(arguments: &Arguments) -> Outcome<bool> {
    let wanted = |scenario| arguments.only.is_none_or(|only| only == scenario);
    let mut is_met = true;
    println!("{}\n", wsmesh::fanout::machine());
    if wanted(Scenario::Growth) {
        growth::run(arguments)?;
    }
    if wanted(Scenario::Disturbed) {
        is_met &= disturbed::run(arguments)?;
    }
    if wanted(Scenario::Handshakes) {
        is_met &= handshakes::run(arguments)?;
    }
    if !arguments.bench {
        println!("Everything works. `cargo bench --bench node` measures.");
    }
    // Figures of a test mean nothing.
    Ok(is_met || !arguments.bench)
}

/// The one in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
