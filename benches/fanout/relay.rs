//! What it costs to pass on what a peer has published: to the other plain peers of the node, and to another
//! node.

use crate::chain::Chain;
use crate::command::ServerCommand;
use crate::measure::Series;
use crate::plan::{FLOOR, Plan, ROLES, WSMESH, in_turns};
use crate::subject::Subject;
use crate::table::{Column, Report, Row};
use crate::{Outcome, Role};

/// Messages that are published.
const SIZES_BYTES: [usize; 3] = [64, 1024, 16 * 1024];
/// A burst of one publisher.
const BURST_COUNT: usize = 100;
const BURST_BYTES: usize = 64;
/// Messages of one round along the chain.
const HOP_MESSAGES: usize = 500;
const HOP_BYTES: usize = 1024;

/// What wsmesh may need for a delivery, as a multiple of what the floor needs that only has to send.
const RELAY_BY_FLOOR_MAX: f64 = 1.15;
/// CPU time of a node that passes a message from one neighbor to another.
const HOP_MICROSECONDS_MAX: f64 = 20.0;

/// A plain peer publishes, all others get it.
pub(crate) fn relay(plan: &Plan, peers: usize, report: &mut Report) -> Outcome<()> {
    let mut floor = Subject::start(Role::Floor)?;
    let mut wsmesh = Subject::start(Role::Wsmesh)?;
    floor.connect(peers)?;
    wsmesh.connect(peers)?;
    wsmesh.connect_publisher()?;
    for bytes in SIZES_BYTES {
        eprintln!("relay of {bytes} bytes, {peers} peers …");
        let times = plan.times(peers);
        let columns = in_turns(plan.rounds, ROLES.len(), times * peers, |which| {
            Ok(match which {
                FLOOR => Some(floor.send(times, ServerCommand::Broadcast { count: 1, bytes })?),
                WSMESH => Some(wsmesh.publish(times, 1, bytes)?),
                _ => None,
            })
        })?;
        let row = Row::new(format!("relay of {bytes} B"), peers, "µs/delivery", columns);
        report.ratio(&row, WSMESH, FLOOR, RELAY_BY_FLOOR_MAX);
        report.rows.push(row);
    }
    eprintln!("relay of a burst, {peers} peers …");
    let (count, bytes) = (BURST_COUNT, BURST_BYTES);
    let columns = in_turns(plan.rounds, ROLES.len(), count * peers, |which| {
        Ok(match which {
            FLOOR => Some(floor.send(1, ServerCommand::Coalesce { count, bytes })?),
            WSMESH => Some(wsmesh.publish(1, count, bytes)?),
            _ => None,
        })
    })?;
    let name = format!("relay of {count} × {bytes} B, one write");
    report
        .rows
        .push(Row::new(name, peers, "µs/delivery", columns));
    Ok(())
}

/// A message goes from node to node.
pub(crate) fn hop(plan: &Plan, report: &mut Report) -> Outcome<()> {
    eprintln!("a hop from node to node …");
    let mut chain = Chain::start()?;
    let mut values = Series::default();
    for round in 0..=plan.rounds {
        let cpu = chain.pass(HOP_MESSAGES, HOP_BYTES)?;
        if round > 0 {
            values.push(cpu.as_secs_f64() * 1e6 / HOP_MESSAGES as f64);
        }
    }
    let wsmesh = Column {
        values,
        ..Column::default()
    };
    let columns = vec![Column::default(), Column::default(), wsmesh];
    let row = Row::new(format!("a hop of {HOP_BYTES} B"), 1, "µs/message", columns);
    report.at_most(&row, WSMESH, HOP_MICROSECONDS_MAX);
    report.rows.push(row);
    Ok(())
}
