//! What is fed with arbitrary bytes, and what must hold of the answers: not only that nothing panics, but that what
//! is read can be written and read again, that it makes no difference how bytes are cut, that bounds are kept.
//!
//! To add a target: write a [`Target`], give it a line in [`TARGETS`],
//! and put a first input into `tests/fuzz/corpus/NAME/`.
//!
//! `cargo test` feeds each target with its corpus. `tests/fuzz/run NAME SECONDS` looks for further inputs, guided by
//! what of the code they reach; it needs a C++ compiler, no nightly toolchain and no tool of cargo. What it finds
//! stands in `target/fuzz`; `tests/fuzz/run NAME keep` adds to the corpus what is short and reaches something new.

mod values;

use crate::{mesh, net, node::ordeal::schedule};

/// Panics where something does not hold.
pub type Target = fn(&[u8]);

/// By name; see the head of this file.
pub const TARGETS: [(&str, Target); 13] = [
    ("answers", net::fuzzing::feed_answer),
    ("connections", schedule::follow),
    ("control", mesh::fuzzing::feed_control),
    ("frames", mesh::fuzzing::feed_frame),
    ("heads", net::fuzzing::feed_request),
    ("introductions", net::fuzzing::feed_introduction),
    ("pem", net::fuzzing::feed_pem),
    ("proxies", net::fuzzing::feed_tunnel),
    ("sessions", net::fuzzing::feed_session),
    ("subnets", values::feed_subnet),
    ("templates", values::feed_template),
    ("tokens", net::fuzzing::feed_tokens),
    ("values", values::feed_values),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, feed)| *feed)
}

/// The first byte decides something, the others are fed.
pub(crate) fn split_choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes
        .split_first()
        .map_or((0, bytes), |(choice, rest)| (*choice, rest))
}

/// Pieces of lengths that `choice` decides, the last one perhaps shorter.
pub(crate) fn pieces(mut bytes: &[u8], choice: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(choice);
    std::iter::from_fn(move || {
        // Small steps of a linear congruence: short pieces, and now and then a long one.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let piece_bytes = match state >> 30 {
            0 => 1,
            1 => 1 + (state >> 8 & 3) as usize,
            2 => 1 + (state >> 8 & 31) as usize,
            _ => 1 + (state >> 8 & 255) as usize,
        };
        let (piece, rest) = bytes.split_at(piece_bytes.min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What a person reads has nothing that steers a terminal, whatever was fed.
#[track_caller]
pub(crate) fn assert_printable(text: &str) {
    let shown = crate::Printable(text).to_string();
    assert_eq!(shown, text, "it is not safe to show");
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, panic::catch_unwind, path::Path};

    use super::*;

    fn corpus() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
    }

    #[test]
    fn what_was_found_once_holds_for_ever() {
        for (name, feed) in TARGETS {
            let mut inputs = 0;
            for entry in fs::read_dir(corpus().join(name)).expect(name) {
                let path = entry.expect(name).path();
                let bytes = fs::read(&path).expect(name);
                let held = catch_unwind(|| feed(&bytes)).is_ok();
                assert!(held, "{name} does not hold for {}", path.display());
                inputs += 1;
            }
            assert!(inputs > 0, "nothing to feed {name} with");
        }
    }

    #[test]
    fn the_corpus_is_small_and_has_a_place_for_each_target() {
        let entries = |path: &Path| {
            fs::read_dir(path)
                .expect("a folder")
                .map(|entry| entry.expect("an entry"))
        };
        let folders: BTreeSet<_> = entries(&corpus()).map(|entry| entry.file_name()).collect();
        let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).into()).collect();
        assert_eq!(folders, names);
        let files =
            entries(&corpus()).flat_map(|folder| entries(&folder.path()).collect::<Vec<_>>());
        let bytes: u64 = files
            .map(|file| file.metadata().expect("a file").len())
            .sum();
        assert!(bytes < 100 * 1024, "{bytes} bytes");
    }

    #[test]
    fn pieces_are_all_there_is() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for choice in 0..=255 {
            assert_eq!(pieces(&bytes, choice).collect::<Vec<_>>().concat(), bytes);
        }
    }
}
