//! What is published somewhere reaches everyone, once: [`channels`] at one node, [`nodes`] across several;
//! [`strangers`] who are no nodes.

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
