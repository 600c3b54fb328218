//! What is published somewhere reaches everyone, once: [`channels`] at one node, [`nodes`] across several.

mod channels;
mod line;
mod nodes;
mod site;

/// Without the broadcast at regular times.
const QUIET: [&str; 2] = ["--interval", "off"];
