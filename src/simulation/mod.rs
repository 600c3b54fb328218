//! A deterministic simulation of the mesh: thousands of nodes with the real protocol in a virtual network.

mod chance;
mod clock;
mod connection;
mod dialing;
mod event;
mod geography;
mod histogram;
mod ledger;
mod network;
mod outage;
mod protocol;
mod queue;
mod trace;
mod traffic;
mod weather;
mod world;

#[cfg(test)]
mod bare;
#[cfg(test)]
mod network_tests;
