//! `wsmesh simulate`: thousands of nodes in a virtual network, and what comes of it.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use wsmesh::config::{Count, Every, Size, Time};
use wsmesh::simulation::{PerMinute, Progress, ProtocolKind, Report, Scenario, Share, run};

use super::reporting::{print, progress_bar, usage_error};
use super::typed::typed;

#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    /// Nodes
    ///
    /// All start at once. 10,000 take some minutes and 2 GB, 100,000 half an hour and 8 GB.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().nodes))]
    nodes: Count,

    /// Configured peers of each node
    ///
    /// Drawn from all that can be dialed.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().seeds))]
    seeds: Count,

    /// Neighbors that each node looks for
    ///
    /// As --degree of a node.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().degree))]
    degree: Count,

    /// mesh, flood or plumtree
    ///
    /// What runs on the nodes: the protocol of this program or, to compare it with, flooding or
    /// Plumtree over the same overlay.
    #[arg(long, value_name = "NAME", value_parser = typed::<ProtocolKind>())]
    #[arg(default_value_t = defaults().protocol)]
    protocol: ProtocolKind,

    /// Time before the first message
    ///
    /// For the overlay to settle. Without it 1m up to 1000 nodes, 2m up to 5000, and 3m beyond.
    #[arg(long, value_name = "TIME", value_parser = typed::<Time>())]
    settle: Option<Time>,

    /// Time of publishing, or off
    ///
    /// Of each phase in which messages are published: the steady one, after a crash, under churn.
    #[arg(long, value_name = "TIME", value_parser = typed::<Every>())]
    #[arg(default_value_t = Every(defaults().duration.map(|duration| duration.0)))]
    duration: Every,

    /// Messages a second, of all publishers together
    ///
    /// At most 4 during a partition, so that histories hold what is missed.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().publish_rate))]
    publish_rate: Count,

    /// Nodes that publish
    ///
    /// In turn; drawn anew for each phase.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().publishers))]
    publishers: Count,

    /// Size of a message
    ///
    /// At least 8 bytes, for its number.
    #[arg(long, value_name = "SIZE", value_parser = typed::<Size>())]
    #[arg(default_value_t = Size(defaults().payload_bytes))]
    payload: Size,

    /// Let so many nodes die at once: 50%
    ///
    /// At the moment at which others publish; the root of the tree is among them.
    #[arg(long, value_name = "SHARE", value_parser = typed::<Share>())]
    crash: Option<Share>,

    /// Let so many nodes die and start again: 5%/min
    ///
    /// One after the other while others publish; each starts again after 5 to 30 s.
    #[arg(long, value_name = "SHARE/min", value_parser = typed::<PerMinute>())]
    churn: Option<PerMinute>,

    /// Cut the network in two for so long
    ///
    /// Nothing gets from one half of the nodes to the other, and the connections between them die.
    #[arg(long, value_name = "TIME", value_parser = typed::<Time>())]
    partition: Option<Time>,

    /// Nodes that cannot be dialed: 50%
    ///
    /// As behind a NAT. They dial others.
    #[arg(long, value_name = "SHARE", value_parser = typed::<Share>())]
    #[arg(default_value_t = defaults().undialable)]
    undialable: Share,

    /// Deaths without a word
    ///
    /// Share of deaths in which the host goes at once, so that nobody hears of it. In the others the
    /// kernel closes the connections.
    #[arg(long, value_name = "SHARE", value_parser = typed::<Share>())]
    #[arg(default_value_t = defaults().silent)]
    silent: Share,

    /// Nodes that want to do harm
    ///
    /// Of --nodes. They announce what does not exist, tell of addresses that lead to a victim, claim
    /// the root, ask for everything again and again, say hello again and again, or read nothing.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().hostile))]
    hostile: Count,

    /// Segments that are lost
    ///
    /// And are sent again, as TCP does; what comes behind them waits.
    #[arg(long, value_name = "SHARE", value_parser = typed::<Share>())]
    #[arg(default_value_t = defaults().loss)]
    loss: Share,

    /// Time in which each connection stalls once, or off
    ///
    /// For 1 to 5 s, in each direction of its own.
    #[arg(long, value_name = "TIME", value_parser = typed::<Every>())]
    #[arg(default_value_t = Every(defaults().stall.map(|stall| stall.0)))]
    stall: Every,

    /// Bits a second that a node can send
    ///
    /// What is more waits.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().bandwidth))]
    bandwidth: Count,

    /// Number that all chance comes from
    ///
    /// The same number and options give the same run on any machine; the report ends with a hash
    /// of all that happened.
    #[arg(long, value_name = "N", value_parser = typed::<Count>())]
    #[arg(default_value_t = Count(defaults().seed as usize))]
    seed: Count,

    /// Report as JSON
    ///
    /// One object on a line.
    #[arg(long)]
    json: bool,
}

fn defaults() -> Scenario {
    Scenario::default()
}

impl SimulateOptions {
    fn scenario(&self) -> Scenario {
        Scenario {
            nodes: self.nodes.0,
            seeds: self.seeds.0,
            degree: self.degree.0,
            protocol: self.protocol,
            settle: self.settle,
            duration: self.duration.0.map(Time),
            publish_rate: self.publish_rate.0,
            publishers: self.publishers.0,
            payload_bytes: self.payload.0,
            crash: self.crash,
            churn: self.churn,
            partition: self.partition,
            undialable: self.undialable,
            silent: self.silent,
            hostile: self.hostile.0,
            loss: self.loss,
            stall: self.stall.0.map(Time),
            bandwidth: self.bandwidth.0,
            seed: self.seed.0 as u64,
        }
    }

    /// Runs the simulation and reports on standard output. Ends the process if an option is wrong.
    pub(crate) fn run(&self) -> ExitCode {
        let bar = progress_bar("{msg:10} {wide_bar} {pos}/{len} s, {eta} left");
        let on_progress = &mut |progress: Progress| {
            bar.set_length(progress.of.as_secs());
            bar.set_position(progress.at.as_secs());
            bar.set_message(progress.phase);
        };
        let report = run(&self.scenario(), Instant::now(), on_progress);
        bar.finish_and_clear();
        let report = report.unwrap_or_else(|error| usage_error("simulate", error).exit());
        print(&match self.json {
            true => to_json(&report),
            false => report.to_string(),
        })
    }
}

fn to_json(report: &Report) -> String {
    let json = serde_json::to_string(report);
    let json = json.expect("it has no map with keys that are not text");
    json + "\n"
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use crate::cli::{Cli, Subcommand, command};
    use wsmesh::config::Time;
    use wsmesh::simulation::{PerMinute, ProtocolKind, Scenario, Share};

    fn parse(line: &str) -> Result<Option<Subcommand>, clap::Error> {
        let words = ["wsmesh", "simulate"].into_iter();
        let matches = command().try_get_matches_from(words.chain(line.split_whitespace()))?;
        Ok(Cli::from_arg_matches(&matches)?.take_subcommand())
    }

    fn scenario(line: &str) -> Scenario {
        match parse(line) {
            Ok(Some(Subcommand::Simulate(options))) => options.scenario(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_not_said_has_the_defaults_of_the_library() {
        assert_eq!(scenario(""), Scenario::default());
    }

    #[test]
    fn every_option_reaches_its_place() {
        let time = |text: &str| Some(text.parse::<Time>().unwrap());
        let expected = Scenario {
            nodes: 11,
            seeds: 12,
            degree: 13,
            protocol: ProtocolKind::Plumtree,
            settle: time("14s"),
            duration: None,
            publish_rate: 15,
            publishers: 16,
            payload_bytes: 17,
            crash: Some(Share::percent(18)),
            churn: Some(PerMinute(Share::percent(19))),
            partition: time("20s"),
            undialable: Share::percent(21),
            silent: Share::percent(22),
            hostile: 23,
            loss: Share::percent(24),
            stall: time("25s"),
            bandwidth: 26,
            seed: 27,
        };
        let line = "--nodes 11 --seeds 12 --degree 13 --protocol plumtree --settle 14s \
             --duration off --publish-rate 15 --publishers 16 --payload 17B --crash 18% \
             --churn 19%/min --partition 20s --undialable 21% --silent 22% --hostile 23 --loss 24% \
             --stall 25s --bandwidth 26 --seed 27 --json";
        assert_eq!(scenario(line), expected);
    }

    #[test]
    fn errors_name_the_option_and_what_was_typed() {
        for (line, parts) in [
            ("--nodes many", ["--nodes: `many`", "whole number"]),
            ("--nodes -1", ["--nodes: `-1`", "negative"]),
            ("--crash 50", ["--crash: `50`", "50%"]),
            ("--churn 5%", ["--churn: `5%`", "5%/min"]),
            ("--protocol gossip", ["--protocol: `gossip`", "plumtree"]),
            ("--partition 5", ["--partition: `5`", "no unit"]),
            ("--payload x", ["--payload: `x`", "64KiB"]),
            ("--bind a:1", ["--bind", "--help"]),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            let error = error.to_string();
            for part in parts {
                assert!(error.contains(part), "{line}: {error}");
            }
        }
    }

    #[test]
    fn every_option_has_both_helps_and_a_line() {
        let mut command = command();
        let simulate = command.find_subcommand_mut("simulate").unwrap();
        for arg in simulate.get_arguments() {
            let has_both = arg.get_help().is_some() && arg.get_long_help().is_some();
            assert!(has_both, "{:?}", arg.get_long());
        }
        let options = simulate.get_arguments().count() + 1;
        let help = simulate.clone().term_width(100).render_help().to_string();
        let lines = help.lines().filter(|line| line.starts_with("  "));
        assert_eq!(lines.count(), options, "{help}");
    }

    #[test]
    fn a_node_takes_no_options_of_a_simulation() {
        let words = ["wsmesh", "--bind", "localhost:1", "simulate"];
        assert!(command().try_get_matches_from(words).is_err());
        let words = ["wsmesh", "--bind", "localhost:1", "--nodes", "5"];
        assert!(command().try_get_matches_from(words).is_err());
        Cli::command().debug_assert();
    }
}
