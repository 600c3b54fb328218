//! A deterministic simulation of the mesh: up to a hundred thousand nodes with the real protocol, in a
//! virtual network that delays, loses, stalls, is cut and heals, with nodes that die and nodes that do harm.
//!
//! [`run()`] takes a [`Scenario`] and returns a [`Report`]. Virtual time is in whole microseconds, all chance
//! comes from one seed, nothing iterates in an order of its own, and no rounding of a machine steers anything:
//! equal scenarios give equal reports, down to the hash of everything that happened ([`Report::trace`]).
//!
//! | module | what it owns |
//! |---|---|
//! | `run`, `scenario`, `report` | the phases; what is asked and what is told |
//! | `world` | nodes and what they hear; drives each protocol as the program's node does |
//! | `network`, `outage`, `connection`, `weather`, `geography` | streams between hosts, and what happens to them |
//! | `dialing` | whom a node dials and when again, as the real network does |
//! | `protocol`, `layered`, `plumtree`, `hostile` | what runs on nodes: the mesh, what it is compared with, those who do harm |
//! | `gates`, `cores` | what the mesh must show; many runs at once |
//! | `ledger`, `measure`, `survey`, `traffic`, `histogram`, `trace` | what is seen of it |
//! | `queue`, `event`, `clock`, `chance` | what happens next; time and randomness |

mod chance;
mod clock;
mod connection;
mod cores;
mod dialing;
mod event;
mod gates;
mod geography;
mod histogram;
mod hostile;
mod layered;
mod ledger;
mod measure;
mod network;
mod outage;
mod plumtree;
mod protocol;
mod queue;
mod report;
mod run;
mod scenario;
mod survey;
mod trace;
mod traffic;
mod weather;
mod world;

#[cfg(test)]
mod tests;

pub use self::{
    cores::on_all_cores,
    gates::{Finding, Gate},
    report::{Bytes, Phase, Report, Times},
    run::{Progress, run},
    scenario::{
        NODES_CEILING, PHASE_MAX, PUBLISH_RATE_CEILING, PerMinute, PerMinuteError, ProtocolKind,
        STALL_INTERVAL_MIN, Scenario, ScenarioError, Share, ShareError,
    },
    survey::Overlay,
};
