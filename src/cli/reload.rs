//! The options read again while the node runs: the command line and the environment say what they said, the file may
//! say something else.

use std::ffi::OsString;

use clap::{Arg, FromArgMatches};
use wsmesh::{Config, Printable};

use super::{Cli, Said, command, one_line};

/// Options that say nothing to the node itself, by their headings.
const OF_THE_PROGRAM: [&str; 2] = ["Standard input and output", "Logging"];

/// Reads the options of a node again.
#[derive(Debug)]
pub(crate) struct Reloading {
    words: Vec<OsString>,
    /// What was said at the start to the program and not to the node.
    of_the_program: Vec<(String, Vec<OsString>)>,
}

impl Reloading {
    /// For the command line of the process, if it names a file, or the environment does.
    pub(crate) fn of_process() -> Option<Self> {
        Self::of(std::env::args_os().collect())
    }

    fn of(words: Vec<OsString>) -> Option<Self> {
        let said = Said::by(command(), words.clone()).ok()?;
        let has_file = !said.settings.file.as_os_str().is_empty();
        has_file.then(|| Self {
            words,
            of_the_program: of_the_program(&said),
        })
    }

    /// What is said now.
    ///
    /// # Errors
    /// What is wrong: a line of the file, or values that do not fit each other and where they stand.
    pub(crate) fn read(&mut self) -> Result<Config, String> {
        let said = Said::by(command(), self.words.clone()).map_err(|error| one_line(&error))?;
        let cli = Cli::from_arg_matches(&said.matches).map_err(|error| one_line(&error))?;
        let config = cli.node.into_config();
        let config = config.map_err(|error| with_places(&one_line(&error), &said))?;
        let now = of_the_program(&said);
        for ((option, before), (_, after)) in self.of_the_program.iter().zip(&now) {
            if before != after {
                log::warn!(
                    "SIGHUP: --{option} cannot change while the node runs: the new value waits for the next start"
                );
            }
        }
        Ok(config)
    }
}

/// What is said to the program and not to the node.
fn of_the_program(said: &Said) -> Vec<(String, Vec<OsString>)> {
    let is_such = |arg: &&Arg| {
        let heading = arg.get_help_heading();
        heading.is_some_and(|heading| OF_THE_PROGRAM.contains(&heading))
    };
    let args = said.command.get_arguments().filter(is_such);
    let values = args.filter_map(|arg| {
        let raw = said
            .matches
            .try_get_raw(arg.get_id().as_str())
            .ok()
            .flatten();
        let values = raw.map(|values| values.map(ToOwned::to_owned).collect());
        Some((arg.get_long()?.to_owned(), values.unwrap_or_default()))
    });
    values.collect()
}

/// An error with the lines of the file that say what it names.
fn with_places(what: &str, said: &Said) -> String {
    let names = |option: &str| {
        let mut words = what.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.any(|word| word.strip_prefix("--") == Some(option))
    };
    let file = said.settings.file.display().to_string();
    let settings = said.settings.all.iter();
    let places: Vec<_> = settings
        .filter(|setting| names(&setting.option))
        .map(|setting| format!("{}:{}", Printable(&file), setting.line))
        .collect();
    match places.is_empty() {
        true => what.to_owned(),
        false => format!("{what} (see {})", places.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file of its own that is gone with it.
    struct File(std::path::PathBuf);

    impl File {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("wsmesh-{name}-{}.toml", std::process::id())))
        }

        fn write(&self, text: &str) {
            fs::write(&self.0, text).unwrap();
        }

        fn words(&self, options: &str) -> Vec<OsString> {
            let path = self.0.to_str().unwrap();
            let words = ["wsmesh", "--config", path].into_iter();
            words
                .chain(options.split_whitespace())
                .map(OsString::from)
                .collect()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_command_line_goes_before_the_file_again() {
        let file = File::new("precedence");
        file.write("bind = 'localhost:0'\nmax-connections = 5\nmax-handshakes = 6\n");
        let mut reloading = Reloading::of(file.words("--max-handshakes 7")).unwrap();
        let limits = reloading.read().unwrap().limits;
        assert_eq!((limits.connections_max, limits.handshakes_max), (5, 7));
        file.write("bind = 'localhost:0'\nmax-connections = 8\nmax-handshakes = 9\n");
        let limits = reloading.read().unwrap().limits;
        assert_eq!((limits.connections_max, limits.handshakes_max), (8, 7));
    }

    #[test]
    fn an_error_names_the_line_and_the_key() {
        let file = File::new("errors");
        file.write("bind = 'localhost:0'\n");
        let mut reloading = Reloading::of(file.words("")).unwrap();
        for (text, line, what) in [
            (
                "bind = 'localhost:0'\ninterval = '1'\n",
                2,
                "--interval: `1` has no unit",
            ),
            ("bnd = 'localhost:0'\n", 1, "unknown option `bnd`"),
            (
                "bind = 'localhost:0'\n\nmax-head = '1'\n",
                3,
                "--max-head 1B is out of bounds",
            ),
        ] {
            file.write(text);
            let error = reloading.read().unwrap_err();
            let place = format!("{}:{line}", file.0.display());
            assert!(error.contains(what) && error.contains(&place), "{error}");
            assert!(
                !error.contains('\n') && !error.contains("--help"),
                "{error}"
            );
        }
        fs::remove_file(&file.0).unwrap();
        assert!(reloading.read().unwrap_err().contains("No such file"));
    }

    #[test]
    fn without_a_file_nothing_can_change() {
        let words = ["wsmesh", "--bind", "localhost:0"].map(OsString::from);
        assert!(Reloading::of(words.to_vec()).is_none());
    }
}
