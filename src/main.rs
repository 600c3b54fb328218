//! The `wsmesh` program: reads its options, starts a node, waits for its end.
//!
//! A thin user of the library. Exit status 0 after a stop that was asked for, 1 after a failure
//! while running, 2 after a wrong option; until options, environment and their relations are
//! found right, nothing is opened.

mod activation;
mod cli;
mod console;

use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;

use wsmesh::{Config, Node, Printable, StartError, Supervisor};

use crate::cli::{Cli, Reloading, StreamOptions, Subcommand, usage_error};
use crate::console::{LogStream, StdinInput, StdoutOutput, start_logging};

/// An option is wrong, or a file that it names.
const STATUS_WRONG: u8 = 2;

fn main() -> ExitCode {
    let mut cli = Cli::from_process();
    match cli.take_subcommand() {
        Some(Subcommand::Simulate(options)) => return options.run(),
        Some(Subcommand::Bench(options)) => return options.run(),
        Some(Subcommand::Pub(options)) => return options.run(),
        Some(Subcommand::Sub(options)) => return options.run(),
        Some(Subcommand::CheckConfig(options)) => return options.run(),
        Some(Subcommand::Completions(options)) => return options.run(),
        Some(Subcommand::Man(options)) => return options.run(),
        None => {}
    }
    let options = cli.node;
    let logging = options.logging();
    let streams = options.streams().clone();
    let config = options.into_config().unwrap_or_else(|error| error.exit());
    let rust_log = std::env::var("RUST_LOG").ok();
    let rust_log = rust_log.filter(|directives| !directives.is_empty());

    let Ok(log_stream) = LogStream::open(logging.log_format) else {
        // Without standard error there is nothing to say it with.
        return ExitCode::FAILURE;
    };
    if let Err(error) = start_logging(&log_stream, logging.bounds(), rust_log.as_deref()) {
        let what = format!("RUST_LOG: {error}");
        usage_error(Printable(&what)).exit();
    }
    let supervisor = Supervisor::named_by(|name| std::env::var_os(name));
    let supervisor = supervisor.unwrap_or_else(|error| usage_error(error).exit());
    let sockets = activation::passed_sockets();
    let sockets = sockets.unwrap_or_else(|error| usage_error(error).exit());
    let code = match run(config, &streams, supervisor, sockets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let is_configuration = matches!(
                error.downcast_ref(),
                Some(StartError::Files(_) | StartError::Unwanted { .. })
            );
            log_stream.say(error);
            match is_configuration {
                true => ExitCode::from(STATUS_WRONG),
                false => ExitCode::FAILURE,
            }
        }
    };
    log::logger().flush();
    log_stream.finish();
    code
}

fn run(
    config: Config,
    streams: &StreamOptions,
    supervisor: Supervisor,
    sockets: Vec<TcpListener>,
) -> Result<(), Box<dyn Error>> {
    // A connection costs a descriptor; the usual soft limit of 1024 is for programs that use select.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("cannot raise the limit of descriptors: {error}");
    }
    let mut output = StdoutOutput::open(streams.format.clone(), streams.framing)?;
    let mut node = Node::with_sockets(config, sockets)?;
    node.report_to(supervisor);
    node.handle_signals()?;
    if let Some(mut options) = Reloading::of_process() {
        node.reload_from(move || options.read());
    }
    if let Some(intake) = streams.intake() {
        node.publish_from(Box::new(StdinInput::open()?), intake);
    }
    node.run(&mut output)?;
    output.finish();
    Ok(())
}
