//! Some nodes on a network that neither delays nor loses anything unless told to: what they agree on,
//! frame by frame. The simulation asks the same of thousands over a worse one.

mod arbitrary;
mod dialing;
mod hostile;
mod joining;
mod messages;
mod missing;
mod table;
mod withdrawing;
