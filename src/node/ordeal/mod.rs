//! Ordeals: whole nodes, as they are in the program, on a simulated kernel and in a time of their own, among peers
//! good and bad. A seed makes everything: who comes when and how it behaves, how bytes are cut up, which calls
//! are interrupted, when descriptors run out, when the node is to stop. After every turn it is looked whether all
//! is well, and in the end whether every good peer has heard what it should.
//!
//! A failure names its seed and tells what has happened last. `WSMESH_ORDEAL=17` runs that seed alone,
//! `WSMESH_ORDEAL=1000..9000` those seeds.
//!
//! A [`schedule`] does the same by bytes instead of a seed: they are the target `connections` of fuzzing.
#![cfg_attr(
    not(test),
    allow(dead_code, reason = "fuzzing does not take all of it")
)]

#[cfg(test)]
mod certificate;
#[cfg(test)]
mod course;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod draining;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod line;
mod member;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod plan;
pub(crate) mod schedule;
#[cfg(test)]
mod tests;
mod watch;
mod wire;
