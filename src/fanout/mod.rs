//! Load tests for WebSocket servers: many connections, messages to all of them, and what becomes of each.
//!
//! ```no_run
//! use wsmesh::fanout::{Plan, run};
//!
//! let plan = Plan { urls: vec!["ws://localhost:8080".parse()?], connections: 1000, ..Plan::default() };
//! let report = run(&plan, &mut |_| {})?;
//! println!("{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It connects, warms up, measures and closes. Every message says whose it is, its number, and when it was
//! meant to be sent; so each connection can tell what was lost, came twice, late or damaged, and the latency
//! is that from the *intended* time: a server that holds up the sender does not look faster for it.
//!
//! `load` decides, without sockets: what is to be opened and sent when, and what each event means. It
//! consists of when to connect (`ramp`) and from where (`ports`), when to send (`pacing`), what is on its way (`flights`), what each
//! connection has heard of each sender (`track`), what a message looks like (`payload`), and what is counted
//! (`tally`, `timeline`). `targets` finds the servers; `run` is the loop around it, with the connections of a node;
//! `process` looks at processes; `report` tells what came of it.

mod flights;
mod load;
mod pacing;
mod payload;
mod plan;
mod ports;
mod process;
mod ramp;
mod report;
mod run;
mod tally;
mod targets;
#[cfg(test)]
mod tests;
mod timeline;
mod track;

pub use load::{Outcome, Phase};
pub use plan::{Mode, Plan, PlanError};
pub use process::{CpuTime, Memory, machine};
pub use report::{Bounds, Comparison, Report, ReportError, Verdict};
pub use run::{LoadError, Progress, run};
pub use targets::Tried;
