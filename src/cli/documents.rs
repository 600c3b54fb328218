//! What is made of the definition of the options: completions for shells, and pages for `man`.

use std::io;
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::reporting::{complain, print, usage_error};

#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

impl CompletionsOptions {
    pub(crate) fn run(self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "wsmesh", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

#[derive(Debug, Args)]
pub(crate) struct ManOptions {
    /// A subcommand; without it the page of the node
    subcommand: Option<String>,
}

impl ManOptions {
    pub(crate) fn run(self) -> ExitCode {
        let mut command = super::command().disable_help_flag(true);
        command.build();
        let page = match &self.subcommand {
            None => Some(&command),
            Some(name) => command.find_subcommand(name),
        };
        let Some(page) = page.cloned() else {
            let name = self.subcommand.unwrap_or_default();
            usage_error("man", format!("there is no subcommand `{name}`")).exit();
        };
        match render(page) {
            Ok(page) => print(&String::from_utf8_lossy(&page)),
            Err(error) => complain(error),
        }
    }
}

fn render(command: clap::Command) -> io::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or("wsmesh").to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .title(name.to_uppercase())
        .render(&mut page)?;
    Ok(page)
}
