//! Options of a node from a file: TOML, in which each key is the long name of an option. The command line and the
//! environment go before it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Args, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wsmesh::Printable;

use super::{check::CHECK_CONFIG, one_line};

/// The long name of the option that names the file, which a file cannot name.
const FILE_OPTION: &str = "config";
/// Longest file that is read: a hundred times what all options need.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How much alike two words must be, from 0 to 1, for one to be meant by the other.
const LIKENESS_MIN: f64 = 0.75;

#[derive(Debug, Args)]
pub(super) struct FileOptions {
    /// Read options from this file
    ///
    /// TOML, with the options by their long names: bind = ["localhost:8080"], max-head = "16KiB", echo = true. The
    /// command line goes before the environment, and that before the file. An unknown name is an
    /// error. wsmesh check-config prints what comes of it.
    #[arg(long, env = "WSMESH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What a file says of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) option: String,
    /// As they would be typed.
    values: Vec<String>,
    /// In the file, counted from 1.
    pub(super) line: usize,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) file: PathBuf,
    pub(super) all: Vec<Setting>,
}

/// What the file says that the command line or the environment names; without one nothing.
pub(super) fn read(command: &Command, words: &[OsString]) -> Result<Settings, String> {
    let Some(file) = named_file(command, words) else {
        return Ok(Settings::default());
    };
    let shown = file.display().to_string();
    let failed = |what: &dyn Display| {
        format!(
            "--config {}: {}",
            Printable(&shown),
            Printable(&what.to_string())
        )
    };
    let length = fs::metadata(&file).map_err(|error| failed(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(failed(&format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(&file).map_err(|error| failed(&error))?;
    match parse(&text, command) {
        Ok(all) => Ok(Settings { file, all }),
        Err((line, what)) => Err(format!("{}:{line}: {what}", Printable(&shown))),
    }
}

/// The file of a command line that may be wrong otherwise; that is told later.
fn named_file(command: &Command, words: &[OsString]) -> Option<PathBuf> {
    let lenient = command.clone().ignore_errors(true);
    let matches = lenient.try_get_matches_from(words).ok()?;
    let matches = match matches.subcommand() {
        None => &matches,
        Some((CHECK_CONFIG, of_check)) => of_check,
        Some(_) => return None,
    };
    let file = matches.try_get_one::<PathBuf>(FILE_OPTION).ok().flatten();
    file.cloned()
}

/// Lets what a file says stand where the defaults are: the command line and the environment go before both.
pub(super) fn apply(settings: &Settings, command: Command) -> Command {
    settings.all.iter().fold(command, |command, setting| {
        let values: Vec<clap::builder::OsStr> = setting
            .values
            .iter()
            .map(|value| value.clone().into())
            .collect();
        let id = option(&command, &setting.option).map(|arg| arg.get_id().clone());
        match id {
            Some(id) => command.mut_arg(id, |arg| arg.default_values(values)),
            None => command,
        }
    })
}

fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let mut options = command.get_arguments();
    options.find(|arg| arg.get_long() == Some(name))
}

/// What a text says, each value tried; or the first line that is wrong, and what is wrong there.
fn parse(text: &str, command: &Command) -> Result<Vec<Setting>, (usize, String)> {
    let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        (line_of(offset), error.message().to_owned())
    })?;
    let mut pairs: Vec<_> = table.get_ref().iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    let settings = pairs.into_iter().map(|(key, value)| {
        let line = line_of(key.span().start);
        let name = key.get_ref().as_ref();
        let values = values_of(name, value, command).map_err(|what| (line, what))?;
        Ok(Setting {
            option: name.to_owned(),
            values,
            line,
        })
    });
    settings.collect()
}

/// The values of an option, as they would be typed.
fn values_of(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    command: &Command,
) -> Result<Vec<String>, String> {
    let arg = match option(command, name) {
        Some(_) if name == FILE_OPTION => {
            return Err("`config` names a file, and stands in none".to_owned());
        }
        Some(arg) => arg,
        None => return Err(unknown(name, command)),
    };
    let value = value.get_ref();
    let values = match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(_)) => vec![typed(value)],
        (ArgAction::SetTrue, _) => Err(format!("`{name}` is true or false"))?,
        (ArgAction::Append, DeValue::Array(items)) if items.is_empty() => {
            Err(format!("`{name}` is an empty list: leave it out"))?
        }
        (ArgAction::Append, DeValue::Array(items)) => {
            items.iter().map(|item| typed(item.get_ref())).collect()
        }
        (_, DeValue::Array(_)) => Err(format!("`{name}` takes one value, and not a list"))?,
        _ => vec![typed(value)],
    };
    let values: Option<Vec<String>> = values.into_iter().collect();
    let values = values.ok_or_else(|| {
        format!("`{name}` takes a text, a number, or true or false; there are no sections")
    })?;
    try_out(name, arg.get_action(), &values, command)?;
    Ok(values)
}

/// A value as it would be typed; `None` for what nobody can type.
fn typed(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(is_on) => Some(is_on.to_string()),
        _ => None,
    }
}

/// Whether the values would do on the command line.
fn try_out(
    name: &str,
    action: &ArgAction,
    values: &[String],
    command: &Command,
) -> Result<(), String> {
    let program = "wsmesh".to_owned();
    let words: Vec<String> = match action {
        ArgAction::SetTrue => return Ok(()),
        ArgAction::Count => {
            let number: Option<u8> = values[0].parse().ok();
            let wrong = || format!("`{name}` is a number from 0 to 255");
            return number.map(|_| ()).ok_or_else(wrong);
        }
        _ => values
            .iter()
            .map(|value| format!("--{name}={value}"))
            .collect(),
    };
    // What is wrong with the environment is told where it is used.
    let alone = command.clone().mut_args(|arg| arg.env(None));
    match alone.try_get_matches_from([program].into_iter().chain(words)) {
        Ok(_) => Ok(()),
        Err(error) => Err(one_line(&error)),
    }
}

/// There is no such option; perhaps another one is meant.
fn unknown(name: &str, command: &Command) -> String {
    let names = command.get_arguments().filter_map(Arg::get_long);
    let likeness = |known: &str| strsim::jaro(name, known);
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match nearest.filter(|nearest| likeness(nearest) >= LIKENESS_MIN) {
        Some(nearest) => format!("is `{nearest}` meant?"),
        None => "the names are those of the options, see wsmesh --help".to_owned(),
    };
    format!("unknown option `{}`; {hint}", Printable(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn settings(text: &str) -> Vec<(String, Vec<String>, usize)> {
        let all = parse(text, &command()).unwrap().into_iter();
        all.map(|it| (it.option, it.values, it.line)).collect()
    }

    fn setting(option: &str, values: &[&str], line: usize) -> (String, Vec<String>, usize) {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        (option.to_owned(), values, line)
    }

    #[test]
    fn values_are_those_that_would_be_typed() {
        let text = "# a node\nbind = ['a:1', \"b:2\"]\necho = true\n\nmax-connections = 20\nverbose = 2\n\
                    relay = \"off\"\nmax-head = '16KiB'\npeers = 'ws://a,ws://b'\n";
        let expected = [
            setting("bind", &["a:1", "b:2"], 2),
            setting("echo", &["true"], 3),
            setting("max-connections", &["20"], 5),
            setting("verbose", &["2"], 6),
            setting("relay", &["off"], 7),
            setting("max-head", &["16KiB"], 8),
            setting("peers", &["ws://a,ws://b"], 9),
        ];
        assert_eq!(settings(text), expected);
        assert_eq!(settings(""), []);
    }

    #[test]
    fn errors_name_the_line_and_what_is_wrong() {
        for (text, line, parts) in [
            ("\nbnd = 'a:1'", 2, ["`bnd`", "is `bind` meant?"]),
            ("x = 1", 1, ["`x`", "see wsmesh --help"]),
            ("config = 'a'", 1, ["`config`", "stands in none"]),
            ("echo = 'yes'", 1, ["`echo`", "true or false"]),
            (
                "echo = true\nverbose = -1",
                2,
                ["`verbose`", "from 0 to 255"],
            ),
            ("allow = []", 1, ["`allow`", "empty list"]),
            ("interval = ['1s']", 1, ["`interval`", "one value"]),
            ("[limits]\nmax-head = 1", 1, ["`limits`", "unknown"]),
            ("[echo]\na = 1", 1, ["`echo`", "true or false"]),
            ("bind = [['a:1']]", 1, ["`bind`", "a text"]),
            (
                "bind = 'a:1'\n\ninterval = 10",
                3,
                ["--interval: `10`", "no unit"],
            ),
            ("bind = 'a:1'\nbind = 'b:1'", 2, ["duplicate", "key"]),
            ("bind =", 1, ["", ""]),
            ("a = \"\n", 1, ["", ""]),
        ] {
            let (at, what) = parse(text, &command()).unwrap_err();
            assert_eq!(at, line, "{text}: {what}");
            for part in parts {
                assert!(what.contains(part), "{text}: {what}");
            }
            assert!(!what.is_empty() && !what.contains('\n'), "{text}: {what}");
        }
    }
}
