//! The pictures of the README, and that they can be made again.

use std::fs;
use std::path::Path;

use super::root;
use crate::support::{Node, Scratch, tools};

const PICTURES: [&str; 3] = ["page.webp", "page-dark.webp", "terminal.svg"];

#[track_caller]
fn assert_are_pictures(folder: &Path) {
    for name in PICTURES {
        let bytes = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let start: &[u8] = match name.ends_with(".webp") {
            true => b"RIFF",
            false => b"<svg ",
        };
        assert!(bytes.starts_with(start) && bytes.len() > 3000, "{name}");
    }
}

#[test]
fn pictures_are_there_and_small() {
    let folder = root().join("docs/pictures");
    assert_are_pictures(&folder);
    let sizes = PICTURES.map(|name| fs::metadata(folder.join(name)).unwrap().len());
    assert!(sizes.iter().sum::<u64>() < 150 * 1024, "{sizes:?}");
    // Whoever shows it knows neither scripts nor files of others.
    let terminal = fs::read_to_string(folder.join("terminal.svg")).unwrap();
    assert!(!terminal.contains("<script") && !terminal.contains("href"));
    for said in [
        "$ wsmesh --bind localhost:8080 --status 9090",
        "Message to client",
        "/chat hello",
    ] {
        assert!(terminal.contains(said), "{said}");
    }
}

#[test]
fn pictures_are_made_again() {
    let (Some(mut node_js), Some(_), Some(_)) = (
        tools::node_js(),
        tools::chromium(),
        tools::of_system("script"),
    ) else {
        return;
    };
    let scratch = Scratch::new("pictures");
    let program = Node::command([""; 0]);
    node_js.arg(root().join("docs/pictures/make"));
    node_js.arg("--program").arg(program.get_program());
    node_js
        .arg("--into")
        .arg(&*scratch)
        .args(["--seconds", "1"]);
    let output = node_js.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_are_pictures(&scratch);
}
