//! What it costs to pass on what a peer has published: to the other plain peers of the node, and to another
//! node.

use crate::Outcome;
use crate::chain::Chain;
use crate::measure::Series;
use crate::plan::{Plan, Scenario, in_turns};
use crate::servers::{FLOOR, SERVERS, UWEBSOCKETS, WSMESH};
use crate::subject::Subject;
use crate::table::{Column, Report, Row};

/// Messages that are published.
const SIZES_BYTES: [usize; 3] = [64, 1024, 16 * 1024];
/// A burst of one publisher.
const BURST_COUNT: usize = 100;
const BURST_BYTES: usize = 64;
/// Messages of one round along the chain.
const HOP_MESSAGES: usize = 500;
const HOP_BYTES: usize = 1024;

/// What wsmesh may need for a delivery, as a multiple of what the floor needs …
const RELAY_BY_FLOOR_MAX: f64 = 1.05;
/// … which joins the messages of a burst …
const RELAY_BURST_BY_FLOOR_MAX: f64 = 2.0;
/// … and of what the fastest of the others needs.
const RELAY_BY_UWEBSOCKETS_MAX: f64 = 1.0;
/// Time until everyone has a message, as a multiple of the floor's: half of the messages, and all but one in a
/// hundred.
const SERVED_BYTES: usize = 1024;
const SERVED_BY_FLOOR_MAX: [(usize, f64); 2] = [(50, 1.10), (99, 1.25)];
/// Messages of one turn.
const SERVED_AT_ONCE: usize = 10;
/// CPU time of a node that passes a message from one neighbor to another, as a multiple of the floor's for handing
/// it from one peer to another.
const HOP_BY_FLOOR_MAX: f64 = 2.0;

/// A plain peer publishes, all others get it.
pub(crate) fn relay(
    plan: &Plan,
    peers: usize,
    servers: &[usize],
    report: &mut Report,
) -> Outcome<()> {
    let mut subjects = Subject::start_at(servers)?;
    for subject in subjects.iter_mut().flatten() {
        subject.connect(peers)?;
        subject.connect_publisher()?;
    }
    let mut publish = |times, count, bytes| {
        in_turns(
            plan.rounds,
            SERVERS.len(),
            times * count * peers,
            |which| match &mut subjects[which] {
                Some(subject) => subject.publish(times, count, bytes).map(Some),
                None => Ok(None),
            },
        )
    };
    for bytes in SIZES_BYTES {
        eprintln!("relay of {bytes} bytes, {peers} peers …");
        let columns = publish(plan.times(peers), 1, bytes)?;
        let row = Row::new(format!("relay of {bytes} B"), peers, "µs/delivery", columns);
        report.ratio(&row, WSMESH, FLOOR, RELAY_BY_FLOOR_MAX);
        if row.has(UWEBSOCKETS) {
            report.ratio(&row, WSMESH, UWEBSOCKETS, RELAY_BY_UWEBSOCKETS_MAX);
        }
        report.rows.push(row);
    }
    eprintln!("relay of a burst, {peers} peers …");
    let columns = publish(1, BURST_COUNT, BURST_BYTES)?;
    let name = format!("relay of {BURST_COUNT} × {BURST_BYTES} B");
    let row = Row::new(name, peers, "µs/delivery", columns);
    report.ratio(&row, WSMESH, FLOOR, RELAY_BURST_BY_FLOOR_MAX);
    report.rows.push(row);
    if plan.has(Scenario::Relay) {
        served(plan, peers, &mut subjects, report)?;
    }
    Ok(())
}

/// How soon everyone has a message. The two take turns, so that what slows the machine for a while slows both.
fn served(
    plan: &Plan,
    peers: usize,
    subjects: &mut [Option<Subject>],
    report: &mut Report,
) -> Outcome<()> {
    eprintln!(
        "{} messages until everyone has them, {peers} peers …",
        plan.served
    );
    let mut series = vec![Series::default(); SERVERS.len()];
    for turn in 0..plan.served / SERVED_AT_ONCE * 2 {
        // First the one, then the other; then the other is first.
        let which = [FLOOR, WSMESH][(turn + turn / 2) % 2];
        if let Some(subject) = &mut subjects[which] {
            for seconds in subject.publish_timed(SERVED_AT_ONCE, SERVED_BYTES)? {
                series[which].push(seconds * 1e3);
            }
        }
    }
    for (percent, wanted) in SERVED_BY_FLOOR_MAX {
        let columns = series.iter().map(|all| match all.count() {
            0 => Column::default(),
            _ => Column::of(all.percentile(percent)),
        });
        let name = format!("everyone has {SERVED_BYTES} B, p{percent}");
        let row = Row::new(name, peers, "ms", columns.collect());
        report.ratio(&row, WSMESH, FLOOR, wanted);
        report.rows.push(row);
    }
    Ok(())
}

/// A message goes from node to node. Beside it, the floor hands on what one peer sends to one other.
pub(crate) fn hop(plan: &Plan, report: &mut Report) -> Outcome<()> {
    eprintln!("a hop from node to node …");
    let mut chain = Chain::start()?;
    let mut floor = Subject::start(SERVERS[FLOOR])?;
    floor.connect(1)?;
    floor.connect_publisher()?;
    let columns = in_turns(
        plan.rounds,
        SERVERS.len(),
        HOP_MESSAGES,
        |which| match which {
            FLOOR => floor.publish(HOP_MESSAGES, 1, HOP_BYTES).map(Some),
            WSMESH => chain.pass(HOP_MESSAGES, HOP_BYTES).map(Some),
            _ => Ok(None),
        },
    )?;
    let row = Row::new(format!("a hop of {HOP_BYTES} B"), 1, "µs/message", columns);
    report.ratio(&row, WSMESH, FLOOR, HOP_BY_FLOOR_MAX);
    report.rows.push(row);
    Ok(())
}
