//! A section of a document, whose commands are run as they stand there.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::read;
use crate::support::{Node, Program, Scratch, eventually_some, tools};

/// A folder in which a shell runs the commands of a section, one after the other. Only ports are others than in the
/// document: free ones.
pub(super) struct Stage {
    pub(super) folder: Scratch,
    commands: VecDeque<String>,
    /// Blocks that are no commands, by language.
    files: VecDeque<(String, String)>,
    /// The port that is meant, by the one in the document.
    ports: BTreeMap<u16, u16>,
    /// Commands that have been run.
    done: Vec<String>,
}

impl Stage {
    #[track_caller]
    pub(super) fn of(document: &str, title: &str) -> Stage {
        let text = read(document);
        let section = text
            .split("\n## ")
            .find(|section| section.starts_with(&format!("{title}\n")));
        let section = section.unwrap_or_else(|| panic!("no section {title:?} in {document}"));
        let mut stage = Stage {
            folder: Scratch::new("stage"),
            commands: VecDeque::new(),
            files: VecDeque::new(),
            ports: BTreeMap::new(),
            done: Vec::new(),
        };
        // Between fences, every other part is a block.
        for block in section.split("```").skip(1).step_by(2) {
            let (language, lines) = block.split_once('\n').unwrap();
            match language {
                // What is printed, which a test looks for itself.
                "text" => {}
                "sh" => stage.commands.extend(lines.lines().map(str::to_owned)),
                other => stage.files.push_back((other.to_owned(), lines.to_owned())),
            }
        }
        stage
    }

    /// Says which port here is one of the document.
    pub(super) fn map(&mut self, port: u16, to: u16) {
        self.ports.insert(port, to);
    }

    /// Which port here is one of the document.
    #[track_caller]
    pub(super) fn port(&self, port: u16) -> u16 {
        self.ports[&port]
    }

    /// The next command, which must have this part.
    #[track_caller]
    fn take(&mut self, part: &str) -> String {
        let command = self
            .commands
            .pop_front()
            .unwrap_or_else(|| panic!("no command is left for {part:?}"));
        assert!(command.contains(part), "{command} instead of {part:?}");
        let command = command.replace("cargo run --release --", "wsmesh");
        self.done.push(command.clone());
        command
    }

    /// Puts a command that was run before that of the section that comes next.
    #[track_caller]
    pub(super) fn repeat(&mut self, part: &str) {
        let command = self.done.iter().find(|command| command.contains(part));
        self.commands.push_front(
            command
                .unwrap_or_else(|| panic!("{part:?} was not run"))
                .clone(),
        );
    }

    /// A text of the document, with the ports that are meant.
    fn translated(&self, text: &str) -> String {
        let of_port = |text: String, (from, to): (&u16, &u16)| {
            text.replace(&format!(":{from}"), &format!(":{to}"))
        };
        self.ports.iter().fold(text.to_owned(), of_port)
    }

    /// A shell that runs this in the folder, and knows `wsmesh`.
    fn shell(&self, script: &str) -> Command {
        let program = Node::command([""; 0]);
        let mut shell = Command::new("bash");
        for (name, _) in program.get_envs() {
            shell.env_remove(name);
        }
        let folder = Path::new(program.get_program()).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = tools::folders();
        let path: Vec<_> = [folder.display().to_string()]
            .into_iter()
            .chain(tools)
            .chain([path])
            .collect();
        shell
            .env("PATH", path.join(":"))
            .args(["-c", script])
            .current_dir(&*self.folder);
        shell
    }

    /// Starts the node that the next command starts, on free ports.
    #[track_caller]
    pub(super) fn node(&mut self, part: &str) -> Node {
        let command = self.take(part);
        let mut listening = BTreeMap::new();
        let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        for at in 1..words.len() {
            let option = words[at - 1].clone();
            if !matches!(option.as_str(), "--bind" | "--status") {
                continue;
            }
            let kept = words[at]
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .len();
            let port: u16 = words[at][kept..].parse().unwrap();
            listening.insert(option, port);
            if !self.ports.contains_key(&port) {
                words[at].replace_range(kept.., "0");
            } else if kept == 0 {
                words[at] = self.port(port).to_string();
            }
        }
        let mut node =
            Node::start(self.shell(&format!("exec {}", self.translated(&words.join(" ")))));
        node.wait_listening(1);
        self.map(listening["--bind"], node.address().port());
        if let Some(port) = listening.get("--status") {
            let line = node.stderr.wait_for("status at ");
            let (_, to) = line.trim_end_matches('/').rsplit_once(':').unwrap();
            self.map(*port, to.parse().unwrap());
        }
        node
    }

    /// Runs the next command to its end.
    #[track_caller]
    pub(super) fn run(&mut self, part: &str) -> Output {
        let command = self.take(part);
        self.run_text(&command)
    }

    fn run_text(&self, command: &str) -> Output {
        let mut shell = self.shell(&self.translated(command));
        shell.stdin(Stdio::null()).output().unwrap()
    }

    /// … which must succeed, and returns what it prints.
    #[track_caller]
    pub(super) fn prints(&mut self, part: &str) -> String {
        let output = self.run(part);
        assert!(output.status.success(), "{part}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// … again and again until it succeeds and prints what is wanted.
    #[track_caller]
    pub(super) fn comes_to_print(
        &mut self,
        part: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> String {
        let command = self.take(part);
        eventually_some(&command, || {
            let output = self.run_text(&command);
            let text = String::from_utf8(output.stdout).unwrap();
            (output.status.success() && is_wanted(&text)).then_some(text)
        })
    }

    /// Starts the next command, which runs on.
    #[track_caller]
    pub(super) fn start(&mut self, part: &str) -> Program {
        self.start_with_stdout(part, Stdio::piped())
    }

    /// … with a standard output of the caller's choice.
    #[track_caller]
    pub(super) fn start_with_stdout(&mut self, part: &str, stdout: Stdio) -> Program {
        let command = self.take(part);
        let command = self.translated(&command);
        // In the place of the shell, so that it can be ended.
        let is_simple = !command.contains('|');
        let script = if is_simple {
            format!("exec {command}")
        } else {
            command
        };
        Program::start_with_stdout(part, self.shell(&script), stdout)
    }

    /// Saves the next block that is no command, after some changes that only a test needs.
    #[track_caller]
    pub(super) fn save(&mut self, language: &str, name: &str, changes: &[(&str, &str)]) {
        let (found, mut text) = self
            .files
            .pop_front()
            .unwrap_or_else(|| panic!("no block is left for {name}"));
        assert_eq!(found, language, "{name}");
        for (old, new) in changes {
            assert!(text.contains(old), "{name} has no {old:?}");
            text = text.replace(old, new);
        }
        fs::write(self.folder.join(name), self.translated(&text)).unwrap();
    }

    /// Asserts that nothing of the section is left.
    #[track_caller]
    pub(super) fn end(self) {
        assert!(self.commands.is_empty(), "not run: {:?}", self.commands);
        assert!(self.files.is_empty(), "not used: {:?}", self.files);
    }
}
