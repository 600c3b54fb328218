//! The units of systemd in the tree, as systemd itself reads them.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::{Node, Scratch, tools};

const UNITS: [&str; 2] = ["wsmesh.service", "wsmesh.socket"];
/// Of 10: how much a service could do that somebody has taken over. Most of it is the network.
const EXPOSURE_MAX: f64 = 1.5;

fn unit(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// All values of a setting.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter(|(name, _)| *name == setting);
    values.map(|(_, value)| value).collect()
}

/// The units in a folder of the test, with the program where it is.
fn units_beside(scratch: &Scratch) {
    for name in UNITS {
        let text = unit(name).replace("/usr/local/bin/wsmesh", env!("CARGO_BIN_EXE_wsmesh"));
        fs::write(scratch.join(name), text).unwrap();
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn systemd_understands_the_units() {
    let Some(mut analyze) = tools::of_system("systemd-analyze") else {
        return;
    };
    let scratch = Scratch::new("units");
    units_beside(&scratch);
    analyze.args(["verify", "--man=no"]).args(UNITS);
    let output = analyze.current_dir(&*scratch).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let about_ours = |line: &&str| line.contains("wsmesh");
    assert_eq!(said.lines().find(about_ours), None, "{said}");
}

#[test]
fn the_service_can_do_little_else() {
    let Some(mut analyze) = tools::of_system("systemd-analyze") else {
        return;
    };
    let scratch = Scratch::new("units-security");
    units_beside(&scratch);
    let command = ["security", "--offline=true", "--no-pager", UNITS[0]];
    let output = analyze.args(command).current_dir(&*scratch).output();
    let said = said(&output.unwrap());
    let overall = said
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let level = overall.and_then(|line| line.split(": ").nth(1)?.split(' ').next()?.parse().ok());
    let level: f64 = level.unwrap_or_else(|| panic!("a level in {said}"));
    assert!(level <= EXPOSURE_MAX, "{said}");
}

#[test]
fn the_units_fit_each_other_and_the_program() {
    let (service, socket) = (unit(UNITS[0]), unit(UNITS[1]));
    let command = values(&service, "ExecStart")[0];
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let binds = words.windows(2).filter(|pair| pair[0] == "--bind");
    let binds: Vec<&str> = binds.map(|pair| pair[1]).collect();
    assert_eq!(values(&socket, "ListenStream"), binds);
    let checked = Node::command(["check-config"])
        .args(&words)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
}
