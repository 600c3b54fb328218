//! What the program is built of, held against `deny.toml`: licences, versions, where it comes from. Cargo says what
//! there is; the file is read as it is written, one entry a line, because `cargo deny` reads it, too.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::support::tools;

/// A package of those that are built on this system, tests and benchmarks included.
struct Package {
    name: String,
    version: Vec<u64>,
    licence: String,
    source: Option<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version=1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let is_built = |package: &&Value| nodes.iter().any(|node| node["id"] == package["id"]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let packages = metadata["packages"].as_array().unwrap().iter();
    let of_others = packages
        .filter(is_built)
        .filter(|package| package["name"] != "wsmesh");
    let packages: Vec<_> = of_others
        .map(|package| Package {
            name: text(&package["name"]).unwrap(),
            version: version(package["version"].as_str().unwrap()),
            licence: text(&package["license"]).unwrap_or_default(),
            source: text(&package["source"]),
        })
        .collect();
    assert!(packages.len() > 50, "{} packages", packages.len());
    packages
}

/// Its numbers; what is said beside them does not count here.
fn version(text: &str) -> Vec<u64> {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    numbers
        .split('.')
        .map(|number| number.parse().expect(text))
        .collect()
}

/// The entries of a list in `deny.toml`.
fn list(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = fs::read_to_string(path).unwrap();
    let start = format!("\n{name} = [\n");
    let (_, after) = text
        .split_once(&start)
        .unwrap_or_else(|| panic!("{name} is missing"));
    let (entries, _) = after.split_once("\n]").unwrap();
    let quoted = |line: &str| line.split('"').nth(1).expect("an entry a line").to_owned();
    let lines = entries.lines().filter(|line| !line.trim().starts_with('#'));
    let entries: Vec<_> = lines.map(quoted).collect();
    assert!(!entries.is_empty());
    entries
}

/// Whether a package is meant by `name`, `name@1.2` or `name:>=1.2.0, <1.2.3`.
fn is_meant(spec: &str, package: &Package) -> bool {
    let (name, versions) = spec.split_once(['@', ':']).unwrap_or((spec, ""));
    let fits = |bound: &str| match bound {
        "" => true,
        _ if bound.starts_with(">=") => package.version >= version(&bound[2..]),
        _ if bound.starts_with('<') => package.version < version(&bound[1..]),
        _ => package.version.starts_with(&version(bound)),
    };
    name == package.name && versions.split(", ").all(fits)
}

/// Whether one may use what has this licence, by those that are allowed (SPDX, and `/` of old for `OR`).
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    // An exception gives more than the licence alone, so it may be left out.
    let mut words = spaced.split_whitespace().collect::<Vec<_>>();
    while let Some(at) = words.iter().position(|word| *word == "WITH") {
        words.drain(at..(at + 2).min(words.len()));
    }
    let mut words = words.into_iter().peekable();
    any_of(&mut words, allowed) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn any_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut is_allowed = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        is_allowed |= all_of(words, allowed);
    }
    is_allowed
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut is_allowed = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        is_allowed &= one(words, allowed);
    }
    is_allowed
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    match words.next() {
        Some("(") => any_of(words, allowed) & words.next_if_eq(&")").is_some(),
        Some(licence) => allowed.iter().any(|allowed| allowed == licence),
        None => false,
    }
}

#[test]
fn licences_are_read_as_they_are_meant() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned()];
    for (expression, is) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND ISC", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("MIT OR GPL-3.0 AND X", true),
        ("MIT AND (GPL-3.0 OR X)", false),
        ("MIT WITH Y OR X", true),
        ("MIT ISC", false),
        ("(MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), is, "{expression}");
    }
}

#[test]
fn all_licences_are_allowed_ones() {
    let allowed = list("allow");
    for Package { name, licence, .. } in packages() {
        assert!(
            is_allowed(&licence, &allowed),
            "{name} has the licence {licence:?}"
        );
    }
}

#[test]
fn everything_comes_from_crates_io() {
    for Package { name, source, .. } in packages() {
        let place = "registry+https://github.com/rust-lang/crates.io-index";
        assert_eq!(source.as_deref(), Some(place), "{name}");
    }
    // Other systems, too: what is locked and not built here.
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let (sources, sums) = (
        lock.matches("\nsource = ").count(),
        lock.matches("\nchecksum = ").count(),
    );
    let from_there =
        lock.matches("\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n");
    assert_eq!((from_there.count(), sums), (sources, sources));
}

#[test]
fn no_version_with_a_known_fault_is_used() {
    let denied = list("deny");
    for package in packages() {
        let found = denied.iter().find(|spec| is_meant(spec, &package));
        assert!(found.is_none(), "{} is denied: {found:?}", package.name);
    }
}

#[test]
fn nothing_is_there_in_two_versions_without_a_reason() {
    let mut versions: BTreeMap<String, Vec<Package>> = BTreeMap::new();
    for package in packages() {
        versions
            .entry(package.name.clone())
            .or_default()
            .push(package);
    }
    let mut skipped = list("skip");
    for (name, mut packages) in versions {
        packages.retain(|package| {
            let spec = skipped.iter().position(|spec| is_meant(spec, package));
            spec.map(|at| skipped.swap_remove(at)).is_none()
        });
        assert!(
            packages.len() <= 1,
            "{name} is there {} times",
            packages.len()
        );
    }
    assert!(skipped.is_empty(), "no longer there: {skipped:?}");
}

/// Advisories are as new as their database, which only somebody with a network can fetch.
#[test]
fn the_database_of_advisories_knows_nothing_against_it() {
    let home = std::env::var_os("CARGO_HOME").map(Into::into);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let database = home.unwrap_or_default().join("advisory-dbs");
    let is_fetched = fs::read_dir(database).is_ok_and(|mut entries| entries.next().is_some());
    let cargo_deny = |arguments: &[&str]| {
        let mut command = Command::new("cargo-deny");
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .output()
            .ok()
    };
    if !is_fetched || cargo_deny(&["--version"]).is_none() {
        // In CI, too: there is no database that a build may rely on.
        return tools::skipped(
            "advisories are not checked: there is no cargo-deny with a database (cargo deny fetch)",
        );
    }
    let output = cargo_deny(&["--offline", "check", "advisories"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
