//! What subcommands that run for a while and report have in common.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// An error of a subcommand's options: exits with status 2 and points to its help.
pub(super) fn usage_error(subcommand: &str, what: impl Display) -> clap::Error {
    let mut command = super::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(command) => command.error(clap::error::ErrorKind::ValueValidation, what),
        None => super::usage_error(what),
    }
}

/// Says on standard error what has gone wrong.
pub(super) fn complain(what: impl Display) -> ExitCode {
    // Where it cannot be said there is nobody to hear it.
    let _ = writeln!(io::stderr(), "error: {what}");
    ExitCode::FAILURE
}

/// Writes a report to standard output.
pub(super) fn print(report: &str) -> ExitCode {
    let mut output = io::stdout().lock();
    let written = output.write_all(report.as_bytes());
    match written.and_then(|()| output.flush()) {
        // Whoever has stopped reading does not want the rest.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format_args!("cannot write the report: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

/// On standard error, and only for people.
pub(super) fn progress_bar(template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.expect("the template is right"))
}
