//! The node as a service: what a supervisor hears of it, sockets that are open before it starts, the units of systemd.

mod activation;
mod notify;
mod units;
