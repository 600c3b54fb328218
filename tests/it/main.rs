//! The integration tests: one binary, one module a subject.
//!
//! Every test starts the real program on port 0, waits on conditions with a deadline and cleans
//! up after itself, so all of them run side by side. [`support`] holds what they share.
//!
//! Tests against software from other registries (npm, PyPI) need `tests/setup` to have run; without
//! it they say `SKIPPED` and pass, except under `CI=true`, where a missing tool is a failure.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic at once"
)]

mod abuse;
mod access;
mod article;
mod autobahn;
mod bench;
mod configuration;
mod dependencies;
mod detour;
mod dialing;
mod documents;
mod draining;
mod foreign;
mod forwarded;
mod frames;
mod house;
mod idle;
mod introduced;
mod keepalive;
mod library;
mod logs;
mod mesh;
mod names;
mod people;
mod pipes;
mod reloading;
mod service;
mod simulate;
mod status;
mod subprotocol;
mod support;
mod terminal;
mod tls;
mod upgrade;
