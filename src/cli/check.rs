//! `wsmesh check-config`: what a node would be told, and by whom.

use std::fmt::Write;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, Command};

use super::file::Settings;
use super::{NodeOptions, reporting};

/// The name of the subcommand.
pub(super) const CHECK_CONFIG: &str = "check-config";

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// What is printed: a file that says all of it.
    #[arg(skip)]
    report: String,
}

impl CheckOptions {
    /// Takes down where each value comes from, which the options themselves do not know.
    pub(super) fn note(&mut self, command: &Command, matches: &ArgMatches, settings: &Settings) {
        self.report = report(command, matches, settings);
    }

    /// Ends the process if the values do not fit each other.
    pub(crate) fn run(self) -> ExitCode {
        if let Err(error) = self.node.into_config() {
            error.exit();
        }
        reporting::print(&self.report)
    }
}

/// A line for each option, and where its value comes from.
fn report(command: &Command, matches: &ArgMatches, settings: &Settings) -> String {
    let mut lines = Vec::new();
    for arg in command.get_arguments() {
        let (id, Some(name)) = (arg.get_id().as_str(), arg.get_long()) else {
            continue;
        };
        let raw = matches.try_get_raw(id).ok().flatten();
        let values = raw.map(|values| values.map(|value| value.to_string_lossy().into_owned()));
        let values: Vec<String> = values.map(Iterator::collect).unwrap_or_default();
        let setting = settings.all.iter().find(|setting| setting.option == name);
        let source = match (matches.value_source(id), setting) {
            (Some(ValueSource::CommandLine), _) => format!("--{name}"),
            (Some(ValueSource::EnvVariable), _) => variable(arg),
            (Some(_), Some(setting)) => format!("{}:{}", settings.file.display(), setting.line),
            _ => "default".to_owned(),
        };
        let shown = match (arg.get_action(), values.as_slice()) {
            (_, []) => {
                lines.push((format!("# {name} ="), "not set".to_owned()));
                continue;
            }
            (ArgAction::SetTrue | ArgAction::Count, [.., value]) => bare(value),
            (ArgAction::Append, values) => {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                format!("[{}]", values.join(", "))
            }
            (_, [.., value]) => quoted(value),
        };
        // Of itself a file says nothing.
        let mark = if name == "config" { "# " } else { "" };
        lines.push((format!("{mark}{name} = {shown}"), source));
    }
    let width = lines.iter().map(|(line, _)| line.chars().count());
    let width = width.filter(|width| *width <= WIDTH_MAX).max().unwrap_or(0);
    lines
        .iter()
        .fold(String::new(), |mut text, (line, source)| {
            let _ = writeln!(text, "{line:width$}  # {source}");
            text
        })
}

/// Longer lines do not push the others' comments to the right.
const WIDTH_MAX: usize = 48;

fn variable(arg: &clap::Arg) -> String {
    let name = arg.get_env().map(|name| name.to_string_lossy());
    name.unwrap_or_default().into_owned()
}

/// A switch or a number: the environment may say `on` where a file says `true`.
fn bare(value: &str) -> String {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => "true".to_owned(),
        "false" | "no" | "off" => "false".to_owned(),
        _ => value.to_owned(),
    }
}

/// A text in TOML, whose escapes are those of JSON. A password is left out.
fn quoted(value: &str) -> String {
    let hidden = value.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split('/').next()?;
        let (_, host) = authority.rsplit_once('@')?;
        let path = &rest[authority.len()..];
        Some(format!("{scheme}://…@{host}{path}"))
    });
    serde_json::Value::String(hidden.unwrap_or_else(|| value.to_owned())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(quoted("http://u:p@proxy:1/"), "\"http://…@proxy:1/\"");
        assert_eq!(quoted("ws://a/x@y"), "\"ws://a/x@y\"");
        assert_eq!(quoted("a\"\n\u{1}"), "\"a\\\"\\n\\u0001\"");
    }
}
