//! Feeds the target that the environment names with what libFuzzer makes up.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("TARGET").unwrap_or_default();
        let Some(target) = wsmesh::fuzzing::target(&name) else {
            eprintln!("no target is called `{name}`: see src/fuzzing/mod.rs");
            std::process::exit(2);
        };
        TARGET.get_or_init(|| target);
    },
    |bytes: &[u8]| TARGET.get().expect("it is chosen first")(bytes)
);
