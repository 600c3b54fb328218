//! Fan-out over TLS. Each connection encrypts for itself, so a frame that all share spares less than in clear.

use crate::Outcome;
use crate::command::ServerCommand;
use crate::keys::Keys;
use crate::plan::{Plan, in_turns};
use crate::scenarios::SIZES_BYTES;
use crate::servers::{COMMANDED, FLOOR, SERVERS, WSMESH};
use crate::subject::Subject;
use crate::table::{Column, Report, Row};

/// What wsmesh may need of CPU time and of memory, as a multiple of what the floor needs.
const BY_FLOOR_MAX: f64 = 1.3;

/// Both servers with all their peers, for what a message and an idle peer need.
pub(crate) fn tls(plan: &Plan, peers: usize, report: &mut Report) -> Outcome<()> {
    let keys = Keys::make()?;
    let outcome = with_keys(&keys, plan, peers, report);
    keys.remove()?;
    outcome
}

fn with_keys(keys: &Keys, plan: &Plan, peers: usize, report: &mut Report) -> Outcome<()> {
    eprintln!("TLS, memory, {peers} peers …");
    let mut subjects = Vec::new();
    let mut memory = vec![Column::default(); COMMANDED];
    for (place, &server) in SERVERS.iter().enumerate().take(COMMANDED) {
        if ![FLOOR, WSMESH].contains(&place) {
            subjects.push(None);
            continue;
        }
        let mut subject = Subject::start_encrypted(server, keys)?;
        let before = subject.anonymous_bytes()?;
        subject.connect(peers)?;
        subject.ping(1)?;
        let after = subject.anonymous_bytes()?;
        memory[place] = Column::of((after as f64 - before as f64) / peers as f64);
        subjects.push(Some(subject));
    }
    let row = Row::new("memory of an idle peer, TLS", peers, "B/peer", memory);
    report.ratio(&row, WSMESH, FLOOR, BY_FLOOR_MAX);
    report.rows.push(row);
    for bytes in SIZES_BYTES {
        eprintln!("broadcast of {bytes} bytes over TLS, {peers} peers …");
        let times = plan.times(peers);
        let command = ServerCommand::Broadcast { count: 1, bytes };
        let columns = in_turns(plan.rounds, COMMANDED, times * peers, |which| {
            let subject = subjects[which].as_mut();
            subject
                .map(|subject| subject.send(times, command))
                .transpose()
        })?;
        let name = format!("broadcast of {bytes} B, TLS");
        let row = Row::new(name, peers, "µs/delivery", columns);
        report.ratio(&row, WSMESH, FLOOR, BY_FLOOR_MAX);
        report.rows.push(row);
    }
    Ok(())
}
