//! What the simulation itself promises, whatever runs in it: a network of streams, and the same run for the
//! same seed.

mod bare;
mod network;
mod world;
