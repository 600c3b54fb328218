//! What is measured, and what each figure has to be.

use wsmesh::config::Limits;

use crate::command::ServerCommand;
use crate::plan::{Plan, QUICK_ACKNOWLEDGEMENTS, Scenario, in_turns};
use crate::relay;
use crate::servers::{self, ARTICLE, COMMANDED, FLOOR, SERVERS, Server, WSMESH};
use crate::subject::Subject;
use crate::table::{Column, Report, Row};
use crate::tls;
use crate::{Outcome, Role};

/// Messages of a broadcast.
pub(crate) const SIZES_BYTES: [usize; 3] = [64, 1024, 16 * 1024];
const LARGEST_BYTES: usize = 16 * 1024;

/// Broadcasts one after another.
const STREAM_COUNT: usize = 20;
const STREAM_BYTES: usize = 1024;

/// A burst: so many messages of so many bytes at once.
const BURST_COUNT: usize = 100;
const BURST_BYTES: usize = 64;

/// Peers that connect in one round of the accept scenario.
const ACCEPT_PEERS_MAX: usize = 2000;
/// It differs more from round to round than the others: so many times the rounds.
const ACCEPT_ROUNDS: usize = 3;

/// Beyond this the article's design is left out of streams and bursts: it takes minutes.
const SLOW_ARTICLE_PEERS_MAX: usize = 1000;

/// What wsmesh may need, as a multiple of what the floor needs …
const BROADCAST_BY_FLOOR_MAX: f64 = 1.10;
const BURST_BY_FLOOR_MAX: f64 = 0.05;
const ACCEPT_BY_FLOOR_MAX: f64 = 1.15;
const PING_BY_FLOOR_MAX: f64 = 1.15;
/// … and of what the article's design needs.
const BROADCAST_BY_ARTICLE_MAX: f64 = 1.0 / 3.0;
/// Memory of a peer that has sent a ping.
const IDLE_PEER_BYTES_MAX: f64 = 600.0;
/// «Nothing retained» in KiB: what shared buffers and the allocator's pages may take once, however
/// many peers there are.
const RETAINED_KIB_MAX: f64 = 256.0;
/// «No measurable CPU» while idle, as a share of a core.
const IDLE_SHARE_MAX: f64 = 0.0001;
const IDLE_WAKE_UPS_MAX: f64 = 0.0;

/// The stalled peer: how many read beside it, what is sent, in portions that the others can take.
const STALLED_READERS: usize = 49;
const STALLED_PORTION: usize = 10;
const STALLED_BUFFER_BYTES: usize = 4096;

/// Measures everything in the plan.
pub(crate) fn run(plan: &Plan) -> Outcome<Report> {
    let mut report = Report::default();
    let has_rivals = plan.has(Scenario::Rivals);
    let servers = match has_rivals {
        true => servers::installed()?,
        false => (0..COMMANDED).collect(),
    };
    if plan.has(Scenario::Accept) || has_rivals {
        let peers = plan
            .peers
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
            .min(ACCEPT_PEERS_MAX);
        accept(plan, peers, &servers, &mut report)?;
    }
    let in_turns = [
        Scenario::Broadcast,
        Scenario::Stream,
        Scenario::Burst,
        Scenario::Ping,
    ];
    for &peers in &plan.peers {
        if in_turns.iter().any(|&scenario| plan.has(scenario)) {
            fan_out(plan, peers, &mut report)?;
        }
        if plan.has(Scenario::Relay) || has_rivals {
            relay::relay(plan, peers, &servers, &mut report)?;
        }
        if plan.has(Scenario::Memory) || has_rivals {
            memory(plan, peers, &servers, &mut report)?;
        }
        if plan.has(Scenario::Tls) {
            tls::tls(plan, peers, &mut report)?;
        }
    }
    if plan.has(Scenario::Hop) {
        relay::hop(plan, &mut report)?;
    }
    if plan.has(Scenario::Stalled) {
        stalled(plan, &mut report)?;
    }
    if plan.has(Scenario::Idle) {
        let peers = plan.peers.iter().copied().max().unwrap_or_default();
        idle(plan, peers, &mut report)?;
    }
    Ok(report)
}

fn accept(plan: &Plan, peers: usize, servers: &[usize], report: &mut Report) -> Outcome<()> {
    eprintln!("accept, {peers} peers …");
    let mut subjects = Subject::start_at(servers)?;
    let rounds = ACCEPT_ROUNDS * plan.rounds;
    let columns = in_turns(rounds, SERVERS.len(), peers, |which| {
        let Some(subject) = &mut subjects[which] else {
            return Ok(None);
        };
        let cost = subject.connect(peers)?;
        subject.drop_peers()?;
        Ok(Some(cost))
    })?;
    let row = Row::new("accept and upgrade", peers, "µs/peer", columns);
    report.ratio(&row, WSMESH, FLOOR, ACCEPT_BY_FLOOR_MAX);
    report.rows.push(row);
    Ok(())
}

/// All that is measured with the same open connections. Pings go last: a peer that has sent
/// something acknowledges later, which moves cost to the server.
fn fan_out(plan: &Plan, peers: usize, report: &mut Report) -> Outcome<()> {
    let start = |&server| Subject::start(server);
    let mut subjects: Vec<_> = SERVERS[..COMMANDED]
        .iter()
        .map(start)
        .collect::<Outcome<_>>()?;
    for subject in &mut subjects {
        subject.connect(peers)?;
    }
    if plan.has(Scenario::Broadcast) {
        for bytes in SIZES_BYTES {
            eprintln!("broadcast of {bytes} bytes, {peers} peers …");
            let times = plan.times(peers);
            let columns = in_turns(plan.rounds, COMMANDED, times * peers, |which| {
                subjects[which]
                    .send(times, ServerCommand::Broadcast { count: 1, bytes })
                    .map(Some)
            })?;
            let row = Row::new(
                format!("broadcast of {bytes} B"),
                peers,
                "µs/delivery",
                columns,
            );
            report.ratio(&row, WSMESH, FLOOR, BROADCAST_BY_FLOOR_MAX);
            report.ratio(&row, WSMESH, ARTICLE, BROADCAST_BY_ARTICLE_MAX);
            report.rows.push(row);
        }
    }
    if plan.has(Scenario::Stream) {
        stream(plan, peers, &mut subjects, report)?;
    }
    if plan.has(Scenario::Burst) {
        burst(plan, peers, &mut subjects, report)?;
    }
    if plan.has(Scenario::Ping) {
        eprintln!("ping, {peers} peers …");
        let times = (plan.pings / peers).max(1);
        let columns = in_turns(plan.rounds, COMMANDED, times * peers, |which| {
            subjects[which].ping(times).map(Some)
        })?;
        let row = Row::new("ping answered", peers, "µs/ping", columns);
        report.ratio(&row, WSMESH, FLOOR, PING_BY_FLOOR_MAX);
        report.rows.push(row);
    }
    Ok(())
}

/// The same as one broadcast, with less of the kernel's work in it: peers that hear much save
/// acknowledgements. For information: the targets are for one broadcast.
fn stream(plan: &Plan, peers: usize, subjects: &mut [Subject], report: &mut Report) -> Outcome<()> {
    eprintln!("stream of {STREAM_BYTES} bytes, {peers} peers …");
    let command = ServerCommand::Broadcast {
        count: 1,
        bytes: STREAM_BYTES,
    };
    let columns = in_turns(plan.rounds, COMMANDED, STREAM_COUNT * peers, |which| {
        if which == ARTICLE && peers > SLOW_ARTICLE_PEERS_MAX {
            return Ok(None);
        }
        subjects[which].send(QUICK_ACKNOWLEDGEMENTS, command)?;
        subjects[which].send_on(STREAM_COUNT, command).map(Some)
    })?;
    report.rows.push(Row::new(
        format!("stream of {STREAM_BYTES} B"),
        peers,
        "µs/delivery",
        columns,
    ));
    Ok(())
}

fn burst(plan: &Plan, peers: usize, subjects: &mut [Subject], report: &mut Report) -> Outcome<()> {
    eprintln!("burst of {BURST_COUNT} messages of {BURST_BYTES} bytes, {peers} peers …");
    let (count, bytes) = (BURST_COUNT, BURST_BYTES);
    let coalescing = COMMANDED;
    let mut columns = in_turns(plan.rounds, COMMANDED + 1, count * peers, |which| {
        if which == ARTICLE && peers > SLOW_ARTICLE_PEERS_MAX {
            return Ok(None);
        }
        let cost = if which == coalescing {
            subjects[FLOOR].send(1, ServerCommand::Coalesce { count, bytes })?
        } else {
            subjects[which].send(1, ServerCommand::Broadcast { count, bytes })?
        };
        Ok(Some(cost))
    })?;
    let name = format!("burst of {count} × {bytes} B");
    let coalesced = columns.split_off(coalescing);
    let row = Row::new(&name, peers, "µs/delivery", columns);
    report.ratio(&row, WSMESH, FLOOR, BURST_BY_FLOOR_MAX);
    report.rows.push(row);
    report.rows.push(Row::new(
        format!("{name}, one write"),
        peers,
        "µs/delivery",
        coalesced,
    ));
    Ok(())
}

fn memory(plan: &Plan, peers: usize, servers: &[usize], report: &mut Report) -> Outcome<()> {
    eprintln!("memory, {peers} peers …");
    let mut idle = vec![Column::default(); SERVERS.len()];
    let mut retained = vec![Column::default(); COMMANDED];
    for &place in servers {
        let mut subject = Subject::start(SERVERS[place])?;
        let before = subject.anonymous_bytes()?;
        subject.connect(peers)?;
        subject.ping(1)?;
        let connected = subject.anonymous_bytes()?;
        idle[place] = Column::of((connected as f64 - before as f64) / peers as f64);
        if place >= COMMANDED || !plan.has(Scenario::Memory) {
            continue;
        }
        subject.send(
            2,
            ServerCommand::Broadcast {
                count: 1,
                bytes: LARGEST_BYTES,
            },
        )?;
        subject.send(
            2,
            ServerCommand::Broadcast {
                count: BURST_COUNT,
                bytes: BURST_BYTES,
            },
        )?;
        let after = subject.anonymous_bytes()?;
        retained[place] = Column::of((after as f64 - connected as f64) / 1024.0);
    }
    let idle = Row::new("memory of an idle peer", peers, "B/peer", idle);
    report.at_most(&idle, WSMESH, IDLE_PEER_BYTES_MAX);
    report.rows.push(idle);
    if !plan.has(Scenario::Memory) {
        return Ok(());
    }
    let retained = Row::new("kept after broadcasts", peers, "KiB", retained);
    report.at_most(&retained, WSMESH, RETAINED_KIB_MAX);
    report.rows.push(retained);
    Ok(())
}

/// The generator fails the run if a peer that reads misses a single message.
fn stalled(plan: &Plan, report: &mut Report) -> Outcome<()> {
    // What the stalled peer may pin, and what the others have not read yet.
    let portion_bytes = STALLED_PORTION * LARGEST_BYTES;
    let growth_max = (Limits::default().outbox_bytes_max + portion_bytes) as f64 / 1024.0;
    eprintln!("one peer stalls …");
    let article = stalled_growth(plan, Role::Article)?;
    for (role, article, name) in [
        (Role::Wsmesh, article, "one peer stalls"),
        (
            Role::WsmeshDropOldest,
            Column::default(),
            "one peer stalls, drop oldest",
        ),
    ] {
        let columns = vec![Column::default(), article, stalled_growth(plan, role)?];
        let row = Row::new(name, STALLED_READERS + 1, "KiB grown", columns);
        report.at_most(&row, WSMESH, growth_max);
        report.rows.push(row);
    }
    Ok(())
}

/// Largest growth of the server's memory during the broadcasts, in KiB.
fn stalled_growth(plan: &Plan, role: Role) -> Outcome<Column> {
    let mut subject = Subject::start(Server::Own(role))?;
    subject.connect(STALLED_READERS)?;
    subject.ping(1)?;
    subject.send(
        1,
        ServerCommand::Broadcast {
            count: STALLED_PORTION,
            bytes: LARGEST_BYTES,
        },
    )?;
    subject.stall(STALLED_BUFFER_BYTES)?;
    let before = subject.anonymous_bytes()?;
    let mut most = before;
    for _ in 0..plan.stalled_messages / STALLED_PORTION {
        let portion = ServerCommand::Broadcast {
            count: STALLED_PORTION,
            bytes: LARGEST_BYTES,
        };
        subject.send_on(1, portion)?;
        most = most.max(subject.anonymous_bytes()?);
    }
    Ok(Column::of((most - before) as f64 / 1024.0))
}

fn idle(plan: &Plan, peers: usize, report: &mut Report) -> Outcome<()> {
    eprintln!("idle, {peers} peers …");
    let mut cpu = Vec::new();
    let mut sleeps = Vec::new();
    for &server in &SERVERS[..COMMANDED] {
        let mut subject = Subject::start(server)?;
        subject.connect(peers)?;
        subject.ping(1)?;
        let (used, woken) = subject.idle(plan.idle)?;
        cpu.push(Column::of(used.as_secs_f64() * 1e6));
        sleeps.push(Column::of(woken as f64));
    }
    let name = format!("idle for {:?}", plan.idle);
    let cpu = Row::new(&name, peers, "µs", cpu);
    report.at_most(&cpu, WSMESH, plan.idle.as_secs_f64() * 1e6 * IDLE_SHARE_MAX);
    report.rows.push(cpu);
    let sleeps = Row::new(&name, peers, "wake-ups", sleeps);
    report.at_most(&sleeps, WSMESH, IDLE_WAKE_UPS_MAX);
    report.rows.push(sleeps);
    Ok(())
}
