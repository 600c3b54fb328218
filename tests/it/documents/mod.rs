//! What people read: the README, and what it leads to. That commands run and all options are there, `house` asserts;
//! here [`tour`] and [`recipes`] do what somebody does who follows them, in a [`stage`] of their own.

mod pictures;
mod recipes;
mod stage;
mod statuses;
mod tour;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document by its path in the tree.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of all documents, the README first.
pub(crate) fn paths() -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    paths.sort();
    paths.insert(0, "README.md".to_owned());
    paths
}

/// All documents, one after the other.
pub(crate) fn text() -> String {
    paths().iter().map(|path| read(path)).collect()
}

/// Lines that are no part of a block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What links can lead to within a document, named as GitHub names it.
fn anchors(text: &str) -> BTreeSet<String> {
    let titles = prose(text).filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    let anchor = |title: &str| -> String {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars()
            .filter(|c| c.is_alphanumeric() || "-_".contains(*c))
            .collect()
    };
    titles.map(anchor).collect()
}

/// Where the links and pictures of a document lead to.
fn links(text: &str) -> Vec<String> {
    let targets = |line: &str, start: &str, end: char| -> Vec<String> {
        let rests = line.split(start).skip(1);
        rests
            .filter_map(|rest| rest.split(end).next().map(str::to_owned))
            .collect()
    };
    let of_line = |line| {
        [
            targets(line, "](", ')'),
            targets(line, "src=\"", '"'),
            targets(line, "srcset=\"", '"'),
        ]
        .concat()
    };
    prose(text).flat_map(of_line).collect()
}

#[test]
fn links_lead_to_what_is_there() {
    let mut count = 0;
    for path in paths().into_iter().chain(["SECURITY.md".to_owned()]) {
        for link in links(&read(&path)) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(&path).parent().unwrap();
            let target = match file {
                "" => path.clone(),
                file => folder.join(file).display().to_string(),
            };
            assert!(root().join(&target).exists(), "{path}: {link}");
            if !anchor.is_empty() {
                let anchors = anchors(&read(&target));
                assert!(
                    anchors.contains(anchor),
                    "{path}: {link} is none of {anchors:?}"
                );
            }
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} links found");
}

/// Somebody who begins at the README gets everywhere.
#[test]
fn the_readme_leads_to_every_document() {
    let links = links(&read("README.md"));
    for path in paths().iter().skip(1) {
        let is_target = |link: &String| link.split('#').next() == Some(path);
        assert!(links.iter().any(is_target), "no link to {path}");
    }
}
