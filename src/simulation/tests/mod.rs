//! What the simulation itself promises, whatever runs in it: a network of streams, and the same run for the
//! same seed.

mod bare;
mod network;
mod world;

/// Simulations allocate all the time; with this one they take about two thirds of the time that they take with
/// the allocator of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
