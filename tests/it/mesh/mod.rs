//! What is published somewhere reaches everyone, once.
//!
//! [`channels`] at one node, [`nodes`] across several, [`strangers`] who are no nodes; then what goes wrong: [`line`],
//! [`crowd`] and [`settling`] with nodes that come and go, [`partition`] with a cable that is cut, [`hostile`] with
//! members that mean harm, [`load`] with many peers. [`page`] is the leaf of `docs/LEAF.md`.
//!
//! [`site`] is a node that can be killed and started again, [`member`] a neighbor by hand, [`proxy`] the cable.

mod channels;
mod crowd;
mod hostile;
mod line;
mod load;
mod member;
mod nodes;
mod page;
mod partition;
mod proxy;
mod settling;
mod site;
mod strangers;

/// Without the broadcast at regular times.
const QUIET: [&str; 2] = ["--interval", "off"];
